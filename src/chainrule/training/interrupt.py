"""SIGTERM and SIGINT: a training ends its step, saves, and then exits as the signal asked."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils


class Interrupted(SystemExit):
    """A signal ended the training after its state was saved; the exit code is 128 + the signal.

    Attributes:
      signal: which one.
    """

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class Caught:
    """The signal that came, if one did.

    Attributes:
      number: None, as long as none came.
    """

    number: int | None = None

    def agreed(self) -> int | None:
        """Return the signal that any of the processes caught: all save, or none."""
        if jax.process_count() == 1:
            return self.number
        numbers = multihost_utils.process_allgather(np.int32(self.number or 0))
        return int(numbers.max()) or None


@contextlib.contextmanager
def caught(wanted: bool) -> Iterator[Caught]:
    """Note the first SIGTERM or SIGINT instead of ending; a second SIGINT stops at once.

    Args:
      wanted: without it, and outside the main thread, signals do what they did.
    """
    found = Caught()

    def note(number: int, frame: FrameType | None) -> None:
        found.number = number
        # By the operating system, which does not wait for Python.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    if not wanted or threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
