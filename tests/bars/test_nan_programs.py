"""The generator tells the truth, and sees what is no truth."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.bars import nan_operators, nan_programs, nan_truth

TABLES = {
    "forward": nan_operators.FORWARD,
    "backward": nan_operators.BACKWARD,
    "data": nan_operators.DATA,
    "none": nan_operators.CLEAN,
}


def named(name):
    return next(one for table in TABLES.values() for one in table if one.name == name)


def measured(folder, operator, place="plain", mask="none"):
    draft = nan_programs.write(random.Random(0), "one", operator, place, mask, "float32")
    sources = {str(folder / file): text for file, text in draft.files.items()}
    return nan_truth.measure(sources, operator, nan_programs.PLACES[place], draft.dtype)


def test_the_same_seed_gives_the_same_programs():
    def drawn():
        rng = random.Random(7)
        return [nan_programs.draw(rng, "one", healthy=i % 5 == 0) for i in range(50)]

    assert [one.files for one in drawn()] == [one.files for one in drawn()]
    assert len({one.name for one in drawn()}) > 45


@pytest.mark.bars
def test_programs_are_files_with_one_marked_line_and_a_fifth_of_them_healthy(tmp_path):
    made = list(nan_programs.programs(11, 5, tmp_path))
    assert sum(program.truth.fate == "clean" for program in made) == 1
    for program in made:
        lines = [
            f"{path.name}:{number}"
            for path in tmp_path.glob(next(iter(program.files))[:-3] + "*")
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if line.endswith("# BORN")
        ]
        assert lines == list(filter(None, [program.born]))
        with nan_truth.plain_jax(program.x64):
            value = program.function(*program.args)
        assert math.isfinite(value) is not program.truth.result


@pytest.mark.parametrize(
    ("operator", "place", "mask", "fate", "ends"),
    [
        ("log of 0", "plain", "none", "reaches", (True, True, True)),
        ("log of 0", "scan", "where", "reaches", (False, False, True)),  # the where trap
        ("scale overflows", "plain", "where", "harmless", (False, False, False)),
        ("log of 0", "another file", "frozen before, where", "harmless", (False, False, False)),
        ("mean square overflows", "plain", "root below", "lost", (False, False, False)),
        ("sqrt below 0", "while_loop", "argmax", "lost", (False, False, False)),
        ("norm of 0", "vmap", "where", "reaches", (False, False, True)),
        ("product with NaN", "plain", "where", "data", (False, True, False)),
        ("log with room", "jit", "none", "clean", (False, False, False)),
    ],
)
def test_the_fate_of_programs_worked_out_by_hand(tmp_path, operator, place, mask, fate, ends):
    truth = measured(tmp_path, named(operator), place, mask)
    assert (truth.fate, (truth.result, *truth.gradients)) == (fate, ends)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("jnp.tanh(x)", "nothing is bad"),
        ("jnp.sqrt(x)", "only the gradient is"),
        ("jnp.log(x - 1.0)", "a NaN, not an Inf"),
    ],
)
def test_an_operator_that_does_not_do_what_its_row_says_is_refused(tmp_path, text, why):
    row = nan_operators._forward(why, text, nan_operators.near(1, 2), lambda r, m: 0.0, "Inf")
    assert measured(tmp_path, row) is None, why


def test_a_healthy_operator_that_hides_an_infinity_is_refused(tmp_path):
    hidden = nan_operators._clean(
        "1 / inf", "1.0 / (1.0 + jnp.exp(x))", lambda r, m: 1.0, lambda r, m: 100.0
    )
    assert measured(tmp_path, hidden) is None


def test_a_line_that_is_not_the_first_to_make_something_bad_is_refused(tmp_path, monkeypatch):
    late = nan_programs.Place("x = jnp.log(x)\n    $born")
    monkeypatch.setitem(nan_programs.PLACES, "late", late)
    row = nan_operators._forward("late", "x - 1.0", lambda r, m: 1.0, lambda r, m: 0.0, "Inf")
    assert measured(tmp_path, row, "late") is None


def test_births_are_operators_that_make_bad_of_finite():
    def f(x):
        y = jnp.log(x)
        return jnp.sum(y - y)

    line = f.__code__.co_firstlineno + 1
    first, second, *_ = nan_truth.births(f, (jnp.array([0.0, 1.0]),), [__file__])
    assert first == (f"test_nan_programs.py:{line}", "Inf")
    assert second == (f"test_nan_programs.py:{line + 1}", "NaN")
    assert nan_truth.births(lambda x: jnp.sum(x * jnp.inf), (jnp.ones(2),), [__file__]) == []


def test_a_swap_changes_what_is_bad_and_leaves_the_way_back():
    y = jnp.array([jnp.nan, 2.0, -jnp.inf])
    np.testing.assert_array_equal(nan_truth.swap(y, 3.0), [3.0, 2.0, 3.0])
    np.testing.assert_array_equal(jax.grad(lambda y: nan_truth.swap(y, 3.0).sum())(y), [1, 1, 1])


def test_every_operator_fits_a_place_and_every_place_an_operator():
    rows = [row for table in TABLES.values() for row in table]
    places = nan_programs.PLACES.values()
    assert all(any(nan_programs.fits(row, place) for place in places) for row in rows)
    assert all(any(nan_programs.fits(row, place) for row in rows) for place in places)
    assert len({row.name for row in rows}) == len(rows)
    for phase, table in TABLES.items():
        assert {row.phase for row in table} == {phase}
