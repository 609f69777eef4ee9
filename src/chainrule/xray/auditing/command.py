"""``chainrule audit FILE.py:FUNCTION``: wrong rules, traps and margins of a function."""

from collections.abc import Sequence

from chainrule.xray.auditing.audit import audit
from chainrule.xray.command import called

__all__ = ["run"]
__dir__ = __all__.copy


def run(
    spec: str, shapes: Sequence[str] = (), *, check: bool = False, ignore: Sequence[str] = ()
) -> int:
    """Print the audit of a function.

    Args:
      spec: ``FILE.py:FUNCTION`` or ``package.module:FUNCTION``.
      shapes: one per argument; without them ``example_args()`` beside the function makes them.
      check: whether a wrong rule or a trap is a failure.
      ignore: what is meant to be as it is; see `chainrule.xray.audit`.

    Returns:
      The exit code: under ``check`` 1 if there is a wrong rule or a trap; else 0.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: as for `chainrule.xray.command.run`.
    """
    with called(spec, shapes) as (f, args):
        found = audit(f, *args, ignore=ignore)
        print(found)
    return int(check and not found.healthy)
