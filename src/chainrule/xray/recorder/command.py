"""``chainrule autopsy FOLDER``: what was found out about a step that failed."""

import os

from chainrule.xray.recorder import replay as replays
from chainrule.xray.recorder.folder import read

__all__ = ["run"]
__dir__ = __all__.copy


def run(folder: str | os.PathLike[str], replay: bool = False, function: str | None = None) -> int:
    """Print what a folder says about a step that failed; run the step again only if asked.

    Args:
      folder: the folder.
      replay: whether to run it again, which imports its function.
      function: ``module:name`` or ``FILE.py:name`` of the function to run then; None for the
        recorded one.

    Returns:
      0; 1 if it ran again and was not equal to the bit.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: it is damaged, or the step cannot run again.
    """
    kept = read(folder)
    print(kept)
    if not replay and function is None:
        return 0
    found = replays.replay(kept, function)
    print(f"\n{found}")
    return int(bool(found.differ))
