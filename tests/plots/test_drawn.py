"""Every figure against what it showed when somebody last looked at it, `drawn.txt`."""

import importlib
import inspect
import pathlib
import pkgutil
import re

import pytest

from chainrule import plots
from tests.plots import figures
from tests.plots.drawings import described, differences, number
from tests.plots.make_drawn import stored

DRAWN = stored()
AGAIN = (
    "If that is meant, write it down anew and look at what changed, as pictures in a folder:\n"
    "python -m tests.plots.make_drawn changed/"
)


@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_shows_what_it_showed_when_it_was_last_looked_at(name):
    changed = differences(DRAWN.get(name, []), described(figures.FIGURES[name]()))
    assert not changed, "\n".join([f"the figure {name!r} changed:", *changed, AGAIN])


def test_every_drawing_function_is_looked_at():
    assert [*DRAWN] == [*figures.FIGURES]
    source = pathlib.Path(figures.__file__).read_text(encoding="utf-8")
    for _, module, _ in pkgutil.iter_modules(plots.__path__):
        if not module.startswith("_"):
            public = importlib.import_module(f"chainrule.plots.{module}")
            for name in public.__all__:
                draw = getattr(public, name)
                if inspect.isfunction(draw) and "Figure" in str(inspect.signature(draw)):
                    assert re.search(rf"\b{module}\.{name}\(", source), f"{module}.{name}"


def test_a_changed_line_is_told_from_one_that_is_off_in_its_last_digit():
    before = ["axes 0", "line [1. 0.3333] #0072b2 lw=1.3", "text '2.000'"]
    assert differences(before, ["axes 0", "line [1. 0.3334] #0072b2 lw=1.3", "text '2.000'"]) == []
    for line in ("[1. 0.3343] #0072b2 lw=1.3", "[1. 0.3333] #0073b2 lw=1.3", "[1. 0.3333] #0072b2"):
        changed = differences(before, [before[0], f"line {line}", before[2]])
        assert changed == [f"- {before[1]}", f"+ line {line}"]
    assert differences(before, before[:2]) == ["- text '2.000'"]
    assert differences(before[:2], before) == ["+ text '2.000'"]
    assert [number(x) for x in (1, -0.0, 1e-6, 12345, 0.1)] == [
        "1.",
        "0.",
        "1.e-06",
        "1.234e+04",
        "0.1",
    ]
