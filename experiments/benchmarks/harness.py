"""Two or more ways to do the same work, timed in turn.

Machines drift: seconds of one hour say little about the next. What holds is the ratio of runs side
by side, so that ours and the peers alternate, A B C A B C, after a warm-up; what is reported is the
median of the ratios of neighbours, with its range. Before anything is timed, and again whenever it
is, all must give the same answer.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np

from chainrule.ops.convolution import plain_conv


class Scale(NamedTuple):
    """How much work the rows do.

    Attributes:
      quick: whether a part of it will do.
      data_dir: the folder of the four MNIST files; without it the embedded digits are taken.
    """

    quick: bool
    data_dir: pathlib.Path | None

    @property
    def source(self) -> str:
        """Where the digits come from."""
        return "embedded" if self.data_dir is None else "idx"


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Refuse two answers that differ by more than rounding in float32 may."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


class Row(NamedTuple):
    """One line of the table: a piece of work, our way and those of peers.

    Attributes:
      name: what is done.
      ours: does the work and returns its answer, on the host.
      peers: name to what does the same, that peer's way.
      agree: raises unless our answer and a peer's are the same.
      target: the ratio to reach, our time over that of the fastest peer; None where there is none.
      extra: whether the target is seconds beyond the peer's instead.
      operations: counts the floating-point operations of the work, where they are mostly those of
        products of matrices.
      shown: whether the answers stand in the results.
    """

    name: str
    ours: Callable[[], Any]
    peers: Mapping[str, Callable[[], Any]]
    agree: Callable[[Any, Any], None]
    target: float | None = None
    extra: bool = False
    operations: Callable[[], float] | None = None
    shown: bool = False


class Side(NamedTuple):
    """What was measured of one way to do the work.

    Attributes:
      seconds: the median.
      first_seconds: of the first call, compilation included.
      bytes: by how much a call raises the memory of the process at most, or all that a process of
        its own takes; None where the system does not say.
      answers: one a round, where they are to be shown.
    """

    seconds: float
    first_seconds: float
    bytes: int | None
    answers: tuple[Any, ...] = ()


class Timing(NamedTuple):
    """What was measured of one row and one of its peers.

    Attributes:
      name: what is done.
      peer: what it is compared with.
      middle: the median of our time over the peer's, round by round; or of what it is beyond.
      low: the lowest of a round.
      high: the highest.
      extra: whether these are seconds beyond the peer's, and no ratios.
      rounds: how many were timed.
      target: what ``middle`` is to be at most; stands with the fastest peer.
      operations: of the work, if they were counted.
      ours: our way.
      theirs: the peer's.
    """

    name: str
    peer: str
    middle: float
    low: float
    high: float
    extra: bool
    rounds: int
    target: float | None
    operations: float | None
    ours: Side
    theirs: Side


class Child(NamedTuple):
    """What a process left.

    Attributes:
      text: what it wrote to its output.
      bytes: the memory it took at most, up to its last milliseconds; None where the system does not
        say.
    """

    text: str
    bytes: int | None


def child(*command: str, **environment: str) -> Child:
    """Run Python with these arguments to its end.

    Raises:
      RuntimeError: it failed; with what it said.
    """
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        taken: list[int] = []
        watch = threading.Thread(target=_watch, args=(process.pid, taken))
        watch.start()
        process.wait()
        watch.join()
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{text}")
    return Child(text, max(taken, default=None))


def _watch(pid: int, taken: list[int]) -> None:
    """Note the high-water mark of a process until it ends.

    What ``wait`` reports of it would be at least the memory of its parent, this process.
    """
    while (found := memory("VmHWM", str(pid))) is not None:
        taken.append(found)
        time.sleep(0.003)


def operations(function: Callable[..., Any], *arguments: Any) -> float:
    """Return how many floating-point operations XLA counts in a function.

    It counts the body of a loop once, so that the convolution is taken in its plain form, and a
    descent by the step.
    """
    with mock.patch("chainrule.models.stack.rows.conv", plain_conv):
        return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


def pytorch(
    make: Callable[[Callable[..., Any]], Callable[[], Any]],
    name: str = "PyTorch",
    *,
    compiled: bool = True,
) -> dict[str, Callable[[], Any]]:
    """Return a peer as it is written, and through `torch.compile` where there is a C++ compiler.

    Args:
      make: from what is to be done with its function (nothing, or compiling it) to the work.
      name: of the peer.
      compiled: whether to take that as a peer too.
    """
    import torch

    peers = {name: make(lambda function: function)}
    if compiled and (shutil.which("g++") or shutil.which("clang++")):
        peers[f"{name}, compiled"] = make(torch.compile)
    return peers


def place() -> str:
    """Return PyTorch's name of where its side runs: on the accelerator where JAX runs on one.

    Raises:
      RuntimeError: JAX runs on an accelerator that PyTorch does not see.
    """
    import torch

    if jax.default_backend() == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"JAX runs on {jax.devices()[0].device_kind}, which PyTorch {torch.__version__} does "
            "not see: install its build for this accelerator, or set JAX_PLATFORMS=cpu"
        )
    return "cuda"


@contextlib.contextmanager
def rounding(precision: str | None) -> Iterator[None]:
    """Let both sides round products and convolutions of float32 as coarsely as this, no coarser.

    Left to themselves, both take TensorFloat-32 on some accelerators, each for other operators.

    Args:
      precision: as for `jax.default_matmul_precision`; None is float32 itself.
    """
    torch = sys.modules.get("torch")
    backends = [torch.backends.cuda.matmul, torch.backends.cudnn] if torch else []
    before = [backend.allow_tf32 for backend in backends]
    exact = None if jax.default_backend() == "cpu" else "float32"  # a CPU's default is float32
    for backend in backends:
        backend.allow_tf32 = precision is not None
    try:
        with jax.default_matmul_precision(precision or exact):
            yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def measure(row: Row, *, long_seconds: float = 10.0) -> list[Timing]:
    """Check that all sides agree, then time them in turn: 7 rounds, or 3 of long ones."""
    ways = {"": row.ours, **row.peers}
    first = {name: _timed(way) for name, way in ways.items()}
    _compare(row, {name: answer for name, (_, answer) in first.items()})
    peaks, clock = {name: peak(way) for name, way in ways.items()}, time.perf_counter()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, list[Any]] = {name: [] for name in ways}
    rounds, done = 7, 0
    while done < rounds:
        found = {name: _timed(way) for name, way in ways.items()}
        _compare(row, {name: answer for name, (_, answer) in found.items()})
        for name, (once, answer) in found.items():
            seconds[name].append(once)
            answers[name].append(answer.text if isinstance(answer, Child) else answer)
        done += 1
        if done == 1 and time.perf_counter() - clock >= long_seconds:
            rounds = 3
    sides = {
        name: Side(
            statistics.median(seconds[name]),
            first[name][0],
            peaks[name],
            tuple(answers[name]) if row.shown else (),
        )
        for name in ways
    }
    fastest = min(row.peers, key=lambda name: sides[name].seconds)
    counted = row.operations and row.operations()
    timings = []
    for name in row.peers:
        scores = [
            ours - theirs if row.extra else ours / theirs
            for ours, theirs in zip(seconds[""], seconds[name], strict=True)
        ]
        timings.append(
            Timing(
                name=row.name,
                peer=name,
                middle=statistics.median(scores),
                low=min(scores),
                high=max(scores),
                extra=row.extra,
                rounds=rounds,
                target=row.target if name == fastest else None,
                operations=counted,
                ours=sides[""],
                theirs=sides[name],
            )
        )
    return timings


def _compare(row: Row, answers: Mapping[str, Any]) -> None:
    for name in row.peers:
        row.agree(answers[""], answers[name])


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    clock = time.perf_counter()
    answer = work()
    return time.perf_counter() - clock, answer


def peak(work: Callable[[], Any]) -> int | None:
    """Return by how much a call raises the memory of the process at most.

    That of a child is all that it takes. None where the system does not say (it is Linux that
    does).
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls gave back, the process may hold still
    before = memory("VmRSS")
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the high-water mark, to now
    answer = work()
    if isinstance(answer, Child):
        return answer.bytes
    after = memory("VmHWM")
    return None if before is None or after is None else max(0, after - before)


def memory(field: str, process: str = "self") -> int | None:
    """Return a number of bytes that Linux keeps of a process; None elsewhere, or if it is gone."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None
