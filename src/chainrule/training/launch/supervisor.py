"""Several processes on this machine as one training, supervised; imports no JAX.

Each runs the same script, on its own devices, and `jax.devices` lists those of all: a script that
takes its mesh from `chainrule.training.devices` needs no other word about it. On a cluster its
scheduler starts the processes, and the script calls ``jax.distributed.initialize()`` first.
"""

import collections
import contextlib
import os
import pathlib
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from chainrule.training.launch import _worker

# How long a process that is told to end may take before it is made to.
_GRACE = 2.0


def launch(
    script: str | os.PathLike[str],
    arguments: Sequence[str] = (),
    *,
    processes: int,
    port: int | None = None,
    timeout: float = 86_400.0,
    linger: float = 60.0,
    join: int = 30,
) -> int:
    """Run a script in several processes until all of them end, or the first one fails.

    Standard output is that of rank 0; what any of them says on standard error is passed on with
    its rank. When one fails, its rank and its cause are said at once, and the others are ended.

    Args:
      script: a Python file.
      arguments: its command line.
      processes: how many, at least 1.
      port: on which rank 0 listens, on 127.0.0.1; a free one when not given.
      timeout: seconds after which all are ended.
      linger: seconds that the others may go on after the first one has ended well: in a step that
        waits for a process that has left they would wait for ever.
      join: seconds that the first may wait for the last to come; with 0 none waits, and the script
        joins them by itself, or does not.

    Returns:
      0 when all ended well, else 1, with one line on standard error that says why.

    Raises:
      ValueError: a number out of range, or a port that is taken.
      FileNotFoundError: there is no such script.
    """
    script = pathlib.Path(script)
    if not script.is_file():
        raise FileNotFoundError(f"no script {script}")
    if processes < 1 or timeout <= 0 or linger <= 0 or join < 0:
        raise ValueError(
            f"processes={processes}, timeout={timeout}, linger={linger}, join={join}: "
            "these are numbers above 0, or at least 0 for join"
        )
    port = _port(port)
    with contextlib.ExitStack() as stack:
        workers = []
        for rank in range(processes):
            places = {
                _worker.RANK: str(rank),
                _worker.PROCESSES: str(processes),
                _worker.COORDINATOR: f"127.0.0.1:{port}",
                _worker.JOIN_SECONDS: str(join),
            }
            workers.append(stack.enter_context(_Worker(rank, [str(script), *arguments], places)))
        cause = _supervise(workers, timeout, linger)
    if cause is None:
        return 0
    print(f"launch: {cause}; all {processes} processes are ended", file=sys.stderr)
    return 1


class _Worker:
    """One process, and what is known of it."""

    def __init__(self, rank: int, command: Sequence[str], places: dict[str, str]):
        self.rank = rank
        self.done = False
        self.last = collections.deque[str](maxlen=1)
        self._half = b""
        read, write = os.pipe()
        self._said = os.fdopen(read, "rb", buffering=0)
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", _worker.__name__, str(write), *command],
            env=os.environ | places,
            stdin=subprocess.PIPE,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(write,),
            start_new_session=True,  # a group of its own: what it starts ends with it
        )
        os.close(write)

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *raised: object) -> None:
        """End it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for file in (self.process.stdin, self.process.stderr, self._said):
            assert file is not None
            with contextlib.suppress(BrokenPipeError):
                file.close()

    def hears(self, selector: selectors.BaseSelector) -> None:
        assert self.process.stderr is not None
        selector.register(self._said, selectors.EVENT_READ, self._ended)
        selector.register(self.process.stderr, selectors.EVENT_READ, self._wrote)

    def may_end(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()

    def failure(self) -> str | None:
        """Return how it failed, if it did."""
        code = self.process.poll()
        if code is None or (code == 0 and self.done):
            return None
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return f"rank {self.rank} ended {how}" + (f" ({self.last[0]})" if self.last else "")

    def _ended(self) -> bool:
        byte = self._said.read(1)
        self.done |= byte == _worker.DONE
        return bool(byte)

    def _wrote(self) -> bool:
        assert self.process.stderr is not None
        # Not readline, which would keep the lines after it out of the selector's sight.
        piece = os.read(self.process.stderr.fileno(), 65536)
        *lines, self._half = (self._half + piece).split(b"\n")
        if not piece:
            lines, self._half = [self._half], b""
        for text in filter(None, (line.decode(errors="replace").rstrip() for line in lines)):
            self.last.append(text)
            print(f"[{self.rank}] {text}", file=sys.stderr, flush=True)
        return bool(piece)


def _supervise(workers: Sequence[_Worker], timeout: float, linger: float) -> str | None:
    """Wait until all have ended, and return None, or until one must not go on, and return why."""
    clock, first_done = time.monotonic(), None
    with _signals() as came, selectors.DefaultSelector() as selector:
        for each in workers:
            each.hears(selector)
        while True:
            for key, _ in selector.select(timeout=0.1):
                if not key.data():
                    selector.unregister(key.fileobj)
            if came:
                raise SystemExit(128 + came[0])
            if any(each.failure() for each in workers):
                return _cause(workers, selector)
            if all(each.done for each in workers):
                return _ending(workers)
            now = time.monotonic()
            if first_done is None and any(each.done for each in workers):
                first_done = now
            running = [each.rank for each in workers if not each.done]
            if first_done is not None and now - first_done > linger:
                done = [each.rank for each in workers if each.done]
                return f"ranks {running} still ran {linger:g} s after ranks {done} had ended"
            if now - clock > timeout:
                return f"ranks {running} still ran after {timeout:g} s"


def _cause(workers: Sequence[_Worker], selector: selectors.BaseSelector) -> str:
    """Return who failed: the first, and those that it took with it."""
    first = [each for each in workers if each.failure()]
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        for key, _ in selector.select(timeout=0.1):
            if not key.data():
                selector.unregister(key.fileobj)
    others = [each for each in workers if each not in first and each.failure()]
    # A process that lost a peer aborts: who ended otherwise came first.
    failed = sorted([*first, *others], key=lambda each: each.process.poll() == -signal.SIGABRT)
    return "; ".join(str(each.failure()) for each in failed)


def _ending(workers: Sequence[_Worker]) -> str | None:
    for each in workers:
        each.may_end()
    for each in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            each.process.wait(_GRACE)
    return None


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Note SIGTERM and SIGINT, so that the processes are ended before this one."""
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _port(asked: int | None) -> int:
    """Return a port that can be listened on: rank 0 would die of another without a word."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", asked or 0))
        except OSError as error:
            raise ValueError(
                f"port {asked} on 127.0.0.1 is taken ({error.strerror}): take another, or none"
            ) from None
        return int(probe.getsockname()[1])
