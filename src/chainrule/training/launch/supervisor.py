"""Several processes on this machine as one training, supervised; imports no JAX.

Each process runs the same script on its own devices, and `jax.devices` lists those of all of them:
a script that takes its mesh from `chainrule.training.devices` needs no change. On a cluster, the
scheduler starts the processes, and the script calls ``jax.distributed.initialize()`` first.
"""

import collections
import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from chainrule import _require
from chainrule.training import interrupt
from chainrule.training.launch import _worker

__all__ = ["launch"]
__dir__ = __all__.copy

# How many seconds a process that may exit is given before it is killed.
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
    """Run a script in several processes until all of them have ended, or the first one fails.

    Standard output is that of rank 0; standard error is that of all, with the rank before each
    line; standard input is empty. If a process fails, its rank and the cause are printed at once,
    and all are killed. The processes listen on the loopback interface only.

    Args:
      script: a Python file.
      arguments: its command line.
      processes: how many, at least 1.
      port: on which rank 0 listens, on 127.0.0.1; a free one if not given.
      timeout: seconds after which all are killed.
      linger: seconds that the others may run after the first one has ended well: in a step that
        needs a process that has exited they would wait for ever.
      join: seconds that the first waits for the last to join; with 0 the processes do not join,
        unless the script does so.

    Returns:
      0 if all ended well, else 1, with the reason in one line on standard error.

    Raises:
      ValueError: a number is out of range, the port is taken, or an argument is no string.
      FileNotFoundError: there is no such script.
    """
    script = _require.path("script", script)
    if not script.is_file():
        raise FileNotFoundError(f"no script {script}")
    if isinstance(arguments, str) or not all(isinstance(one, str) for one in arguments):
        raise ValueError(f"arguments must be a list of strings, not {arguments!r}")
    _require.count("processes", processes)
    _require.real("timeout", timeout, above=0.0)
    _require.real("linger", linger, above=0.0)
    _require.count("join", join, least=0)
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
    """One process and what is known about it."""

    def __init__(self, rank: int, command: Sequence[str], places: dict[str, str]):
        self.rank = rank
        self.done = False
        self.last = collections.deque[str](maxlen=1)
        self._half = b""
        read, write = os.pipe()
        self._said = os.fdopen(read, "rb", buffering=0)
        self.process = subprocess.Popen(
            [sys.executable, "-u", _worker.__file__, str(write), *command],
            env=os.environ | places,
            stdin=subprocess.PIPE,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(write,),
            start_new_session=True,  # its own process group: what it starts is killed with it
        )
        os.close(write)

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *raised: object) -> None:
        """Kill it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for file in (self.process.stdin, self.process.stderr, self._said):
            assert file is not None
            with contextlib.suppress(BrokenPipeError):
                file.close()

    def register(self, selector: selectors.BaseSelector) -> None:
        assert self.process.stderr is not None
        selector.register(self._said, selectors.EVENT_READ, self._ended)
        selector.register(self.process.stderr, selectors.EVENT_READ, self._wrote)

    def may_end(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()

    def failure(self) -> str | None:
        """Return how it failed; None if it has not."""
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
        # Not readline, which would buffer later lines where the selector does not see them.
        piece = os.read(self.process.stderr.fileno(), 65536)
        *lines, self._half = (self._half + piece).split(b"\n")
        if not piece:
            lines, self._half = [self._half], b""
        for text in filter(None, (line.decode(errors="replace").rstrip() for line in lines)):
            self.last.append(text)
            print(f"[{self.rank}] {text}", file=sys.stderr, flush=True)
        return bool(piece)


def _supervise(workers: Sequence[_Worker], timeout: float, linger: float) -> str | None:
    """Wait until all have ended, and return None, or until one has failed, and return how."""
    clock, first_done = time.monotonic(), None
    with interrupt.caught() as caught, selectors.DefaultSelector() as selector:
        for each in workers:
            each.register(selector)
        while True:
            _hear(selector)
            if caught.number is not None:
                raise interrupt.Interrupted(caught.number)
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


def _hear(selector: selectors.BaseSelector) -> None:
    """Take what the processes say within a tenth of a second; those that are silent for good go."""
    for key, _ in selector.select(timeout=0.1):
        if not key.data():
            selector.unregister(key.fileobj)


def _cause(workers: Sequence[_Worker], selector: selectors.BaseSelector) -> str:
    """Return which processes failed: the first, then those that failed because of it."""
    first = [each for each in workers if each.failure()]
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        _hear(selector)
    others = [each for each in workers if each not in first and each.failure()]
    # A process that loses a peer aborts: one that ended otherwise failed first.
    failed = sorted([*first, *others], key=lambda each: each.process.poll() == -signal.SIGABRT)
    return "; ".join(str(each.failure()) for each in failed)


def _ending(workers: Sequence[_Worker]) -> str | None:
    for each in workers:
        each.may_end()
    for each in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            each.process.wait(_GRACE)
    return None


def _port(asked: int | None) -> int:
    """Return a port that rank 0 can listen on: on one that is taken it crashes silently."""
    if asked is not None:
        _require.count("port", asked, most=65_535)
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", asked or 0))
        except OSError as error:
            raise ValueError(
                f"port {asked} on 127.0.0.1 cannot be used ({error.strerror}): name another or none"
            ) from None
        return int(probe.getsockname()[1])
