"""A step that failed, run again from its folder: equal to the bit, or what differs is said."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax

from chainrule import _files
from chainrule._files import printable
from chainrule.xray import lookup
from chainrule.xray.recorder import folder, trees
from chainrule.xray.recorder.autopsy import digests, nonfinite_in
from chainrule.xray.recorder.folder import Kept

__all__ = ["Replayed", "replay"]
__dir__ = __all__.copy


@dataclasses.dataclass(frozen=True)
class Replayed:
    """What became of a step that ran again.

    Attributes:
      bad: what is not finite now, by its path.
      equal: how many arrays are equal to the bit to what was recorded.
      differ: the paths of those that are not.
      elsewhere: what is another here: versions, the device.
    """

    bad: tuple[str, ...]
    equal: int
    differ: tuple[str, ...]
    elsewhere: tuple[str, ...]

    def __str__(self) -> str:
        fails = "fails again" if self.bad else "does not fail"
        text = f"replayed: it {fails}"
        if not self.differ:
            return f"{text}, equal to the bit in all {self.equal} arrays"
        names = ", ".join(self.differ[:4]) + ", ..." * (len(self.differ) > 4)
        why = ", ".join(self.elsewhere) or "nothing that was recorded: does it read anything else?"
        return (
            f"{text}; {len(self.differ)} of {self.equal + len(self.differ)} arrays differ "
            f"({names}); what is another here: {why}"
        )


def replay(kept: Kept, function: str | None = None) -> Replayed:
    """Run a step that failed again; this imports its function.

    Args:
      kept: its folder, as it was read.
      function: ``module:name`` or ``FILE.py:name``; None for the recorded one, if its file is
        unchanged.

    Raises:
      ValueError: the function is not importable, its file has changed, or the form of its
        arguments is not known.
    """
    about = kept.about
    with lookup.function(function or _recorded(about)) as (found, module):
        try:
            step = _as_it_ran(found, about)
            call = trees.build(step, module, about, kept.arrays())
        except (LookupError, TypeError, AttributeError, StopIteration) as error:
            what = f"{type(error).__name__}: {printable(error)}"
            raise ValueError(f"{kept.folder} holds no call of a step ({what})") from error
        try:
            ran = call.run()
        except Exception as error:  # another function than the one that failed, say
            what = f"{type(error).__name__}: {printable(error)}"
            raise ValueError(f"it could not run on what is in {kept.folder} ({what})") from error
    now, then = digests(ran), about["digests"]
    differ = tuple(sorted(name for name in {*now, *then} if now.get(name) != then.get(name)))
    here = folder.surroundings()
    elsewhere = tuple(
        printable(f"{name} {here.get(name)}, recorded with {value}")
        for name, value in about["surroundings"].items()
        if here.get(name) != value
    )
    names = tuple(map(printable, differ))
    return Replayed(nonfinite_in(ran), len(now) - len({*differ} & {*now}), names, elsewhere)


def _recorded(about: Any) -> str:
    spec, digest = about["spec"], about["sha256"]
    if spec is None:
        raise ValueError(
            "the function stands in no module under its own name: name it with --function "
            "module:name"
        )
    file = str(spec).rpartition(":")[0]
    if not os.path.isfile(file):
        raise FileNotFoundError(f"no file {printable(file)}: name the function with --function")
    if (now := _files.sha256(file)) != digest:
        raise ValueError(
            f"{printable(file)} has changed since (SHA-256 {now[:12]}..., then {str(digest)[:12]}"
            "...): name the function with --function to run it as it is"
        )
    return str(spec)


def _as_it_ran(found: Callable[..., Any], about: Any) -> Callable[..., Any]:
    if about["of_loss"] is True:
        return jax.jit(jax.value_and_grad(found, has_aux=True))
    return jax.jit(found) if about["jitted"] is True and not hasattr(found, "lower") else found
