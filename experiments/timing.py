"""Wall-clock times side by side, on a machine that does other things as well."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


def alternate(
    calls: Mapping[Any, Callable[[], Any]], turns: int, *, at_least: float = 0.0
) -> dict[Any, np.ndarray]:
    """Time some calls in turn, so that whatever slows the machine down slows all of them.

    Each is called once beforehand, which is not counted: compilation and first allocations fall
    there. In a turn a call is repeated for a while, and the fastest counts: what other work takes
    from the machine makes a call slower, nothing makes it faster. Times drift from turn to turn;
    compare medians over the turns, or the ratios of one turn.

    Args:
      calls: name, anything that can be a key, to a function of no arguments; what it returns is
        waited for.
      turns: how many, at least 1.
      at_least: seconds to repeat a call for in a turn; with 0 it is called once.

    Returns:
      Name to ``[turns]`` seconds of a call.

    Raises:
      ValueError: fewer than one turn.

    Example:
      >>> seconds = alternate({"nothing": lambda: None, "sleep": lambda: time.sleep(0.002)}, 3)
      >>> seconds["sleep"].shape, bool(seconds["sleep"].min() > 0.002)
      ((3,), True)
    """
    if turns < 1:
        raise ValueError(f"turns must be at least 1, not {turns}")
    for call in calls.values():
        jax.block_until_ready(call())
    rows = [[_fastest(call, at_least) for call in calls.values()] for _ in range(turns)]
    return dict(zip(calls, np.asarray(rows).T, strict=True))


def _fastest(call: Callable[[], Any], at_least: float) -> float:
    best, spent = float("inf"), 0.0
    while True:
        clock = time.perf_counter()
        jax.block_until_ready(call())
        seconds = time.perf_counter() - clock
        best, spent = min(best, seconds), spent + seconds
        if spent >= at_least:
            return best
