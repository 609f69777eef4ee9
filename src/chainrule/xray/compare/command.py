"""``chainrule diff FILE.py:FUNCTION``: where two executions part, and where digits die."""

import os
from collections.abc import Sequence

from chainrule._files import printable
from chainrule.xray import command, lookup
from chainrule.xray.compare.run import diff

__all__ = ["run"]
__dir__ = __all__.copy


def run(
    spec: str,
    shapes: Sequence[str] = (),
    *,
    a: str | None = None,
    b: str | None = None,
    against: str | None = None,
    page: str | os.PathLike[str] | None = None,
    check: bool = False,
) -> int:
    """Print where two executions of a function part, or a function and another.

    Args:
      spec: ``FILE.py:FUNCTION`` or ``package.module:FUNCTION``.
      shapes: see `chainrule.xray.command.run`.
      a: how the first runs; see `chainrule.xray.diff`.
      b: how the second runs.
      against: a second function, or a file ``.xray``, ``.safetensors`` or ``.npz`` that counts as
        true; None for the function itself.
      page: where to write the page, ``diff.html``; None for nowhere.
      check: whether it is a failure that they part.

    Returns:
      The exit code: under ``check`` 1 if they part; else 0.
    """
    with command.called(spec, shapes) as (f, args):
        if against is None:
            found = diff(f, *args, a=a, b=b)
        elif against.endswith((".xray", ".safetensors", ".npz")):
            found = diff(against, f, *args, b=b)
        else:
            with lookup.function(against) as (g, _):
                found = diff(f, g, *args, a=a, b=b)
    print(found)
    if page is not None:
        print(f"\npage: {printable(found.save(page))}")
    return int(check and found.first is not None)
