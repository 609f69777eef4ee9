"""Two ways to do the same work, timed in turn.

Machines drift: seconds of one hour say little about the next. What holds is the ratio of two
runs side by side, so that ours and the peer alternate, A B A B, after a warm-up; what is reported
is the median of the ratios of neighbours, with its range. Before anything is timed, both must give
the same answer.
"""

import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


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
    """One line of the table: a piece of work, our way and a peer's.

    Attributes:
      name: what is done.
      peer: what it is compared with.
      ours: does the work and returns its answer, on the host.
      theirs: the same, the peer's way.
      agree: raises unless the two answers are the same.
      target: the ratio to reach, our time over the peer's; None where there is none.
    """

    name: str
    peer: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    agree: Callable[[Any, Any], None]
    target: float | None = None


class Timing(NamedTuple):
    """What was measured of one row.

    Attributes:
      name: what is done.
      peer: what it is compared with.
      ratio: the median of our time over the peer's, pair by pair.
      low: the lowest ratio of a pair.
      high: the highest.
      ours_seconds: the median of our times.
      peer_seconds: the median of the peer's.
      first_seconds: our first call, compilation included.
      pairs: how many pairs were timed.
      target: the ratio to reach.
    """

    name: str
    peer: str
    ratio: float
    low: float
    high: float
    ours_seconds: float
    peer_seconds: float
    first_seconds: float
    pairs: int
    target: float | None


def measure(row: Row, *, long_seconds: float = 10.0) -> Timing:
    """Check that both sides agree, then time them in turn: 7 pairs, or 3 for long work."""
    first, answer = _timed(row.ours)
    row.agree(answer, row.theirs())
    warm, _ = _timed(row.theirs)
    pairs = 7 if warm + _timed(row.ours)[0] < long_seconds else 3
    times = [(_timed(row.ours)[0], _timed(row.theirs)[0]) for _ in range(pairs)]
    ratios = [ours / theirs for ours, theirs in times]
    return Timing(
        name=row.name,
        peer=row.peer,
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        ours_seconds=statistics.median(ours for ours, _ in times),
        peer_seconds=statistics.median(theirs for _, theirs in times),
        first_seconds=first,
        pairs=pairs,
        target=row.target,
    )


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    clock = time.perf_counter()
    answer = work()
    return time.perf_counter() - clock, answer
