"""Programs of public bug reports: the x-ray says what is expected, and the book shows it."""

import re

import jax
import numpy as np
import pytest

from chainrule.xray.births import Datum
from tests.xray import cases

OPEN: dict[str, str] = {}
"""What the x-ray does not say yet, and why."""


def programs(dead=False, unless=()):
    """Return those with a birth, or those whose gradient dies, with their marks."""
    found = []
    for name, case in cases.CASES.items():
        if (case.kind == cases.DEAD) == dead:
            marks = [pytest.mark.zoo] if case.needs else []
            if name in unless:
                marks.append(pytest.mark.xfail(reason=unless[name], strict=True))
            found.append(pytest.param(name, id=name, marks=marks))
    return found


@pytest.fixture
def case(request):
    found = cases.CASES[request.param]
    for package in found.needs:
        pytest.importorskip(package)
    return found


@pytest.mark.parametrize("case", programs(unless=OPEN), indirect=True)
def test_the_first_line_is_the_marked_one_with_its_kind_and_its_reason(case):
    found = cases.report(case.name).nonfinite()
    text = str(found)
    assert cases.first_line(text) == case.born[0]
    assert set(case.born) <= set(re.findall(r"[\w.]+\.py:\d+", text))
    first = found.ordered[0]
    assert cases.kind(first) == case.kind
    if not isinstance(first, Datum):
        assert re.search(case.why, first.cause.reason)


@pytest.mark.parametrize("case", programs(), indirect=True)
def test_what_is_said_to_be_bad_in_the_end_is_bad_in_plain_jax(case):
    loss, args = cases.program(case.name)
    with cases.as_others_run():
        value, gradients = jax.jit(jax.value_and_grad(loss, range(len(args)), allow_int=True))(
            *args
        )
    floats = [g for g in jax.tree.leaves(gradients) if g.dtype != jax.dtypes.float0]
    reaches = cases.report(case.name).nonfinite().reaches
    assert ("the result" in reaches) == (not np.isfinite(value))
    bad = sum(not np.isfinite(np.asarray(g)).all() for g in floats)
    assert sum("gradient" in where for where in reaches) == bad
    assert reaches or any(birth.lost for birth in cases.report(case.name).nonfinite().births)


@pytest.mark.parametrize("case", programs(dead=True), indirect=True)
def test_a_program_whose_gradient_dies_is_finite_and_has_a_gradient_of_zero(case):
    report = cases.report(case.name)
    assert not report.nonfinite()
    assert any(not np.any(g) for g in jax.tree.leaves(report.grads[0]))


@pytest.mark.parametrize("case", programs(dead=True), indirect=True)
def test_the_line_where_a_gradient_dies_is_the_marked_one(case):
    assert cases.first_line(str(cases.report(case.name).deaths())) == case.born[0]


@pytest.mark.parametrize("case", [*programs(), *programs(dead=True)], indirect=True)
def test_the_book_shows_what_is_said_of_it(case):
    assert cases.rows()[case.name][:3] == cases.row(case.name), "run: python -m tests.xray.cases"


@pytest.mark.bars
@pytest.mark.parametrize("case", programs(), indirect=True)
def test_the_book_shows_what_cures_it(case):
    assert cases.rows()[case.name][3:] == cases.cured(case.name), "run: python -m tests.xray.cases"


def test_every_program_has_a_row_in_the_book():
    assert list(cases.rows()) == sorted(cases.CASES)


def test_what_is_open_is_a_program():
    assert set(OPEN) <= set(cases.CASES)
