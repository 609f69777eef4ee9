"""What the x-ray says of a program, held against what is true of it: the public names only."""

import re
from typing import Any

from chainrule import xray
from tests.bars import nan_truth
from tests.bars.nan_programs import Program

#: What share of the programs that a bar is about must do as it says.
BARS = {
    "runs": 1.0,  # no program makes the x-ray fail
    "line": 0.95,  # the first line that the text names is the marked one
    "cause": 0.95,  # and the first birth there has its kind and its phase
    "reaches": 1.0,  # what is bad in the end is what is bad in plain JAX
    "never false": 1.0,  # nothing that reaches or changes the end is called harmless or finite
    "clean": 1.0,  # a healthy program has no birth
    "harmless": 0.95,  # what changes nothing is called harmless
}
_LINE = re.compile(r"([\w.-]+\.py:\d+)")


def judge(program: Program) -> dict[str, bool]:
    """Return for each bar that a program is about whether it is met."""
    with nan_truth.plain_jax(program.x64):
        try:
            found = xray.xray(program.function, *program.args).nonfinite()
        except Exception:
            return {"runs": False, **dict.fromkeys(_about(program), False)}
        text = str(found)
    met = _met(program, found, text)
    return {"runs": True, **{bar: met[bar] for bar in _about(program)}}


def _about(program: Program) -> tuple[str, ...]:
    return {
        "clean": ("reaches", "clean"),
        "harmless": ("reaches", "harmless"),
        "hidden": ("reaches",),
        "lost": ("reaches", "never false"),
        "data": ("reaches", "never false", "line"),
        "reaches": ("reaches", "never false", "line", "cause"),
    }[program.truth.fate]


def _met(program: Program, found: Any, text: str) -> dict[str, bool]:
    truth = program.truth
    result = any("result" in where for where in found.reaches)
    gradients = sum("gradient" in where for where in found.reaches)
    first = next(iter(_LINE.findall(text)), "")
    here = [birth for birth in found.births if program.born in _LINE.findall(birth.line)]
    harmful = [birth for birth in found.births if not birth.harmless]
    # Bad data are no birth: they have to be named, and that they reach the end.
    named = bool(harmful) or (truth.fate == "data" and bool(found.arguments))
    return {
        "line": first == program.born,
        "cause": bool(here) and here[0].kind in truth.kinds and here[0].phase == truth.phase,
        "reaches": (result, gradients) == (truth.result, sum(truth.gradients)),
        "never false": bool(found) and named and "every gradient is finite" not in text,
        "clean": not found.births,
        # What nothing uses need not be looked at.
        "harmless": not harmful and (bool(found.births) or program.name.endswith("unused")),
    }
