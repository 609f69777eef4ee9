"""SIGTERM and SIGINT: what is under way is finished and saved before the process exits.

Importing this module imports no JAX.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["Caught", "Interrupted", "caught"]
__dir__ = __all__.copy


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
      number: of the signal; None until one comes.
    """

    number: int | None = None


@contextlib.contextmanager
def caught(wanted: bool = True) -> Iterator[Caught]:
    """Note SIGTERM and SIGINT instead of ending the process; a second SIGINT ends it at once.

    Args:
      wanted: if not, and outside the main thread, signals keep their handlers.

    Yields:
      What holds the number of the signal as soon as one has come.
    """
    found = Caught()

    def note(number: int, frame: FrameType | None) -> None:
        found.number = number
        # The system's default action ends the process even while Python is busy in compiled code.
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
