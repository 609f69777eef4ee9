"""The generator of deaths tells the truth, and sees what is no truth."""

import random

import jax.numpy as jnp
import pytest

from tests.bars import death_programs, nan_truth


def killer(name):
    return next(one for one in death_programs.KILLERS if one.name == name)


def test_the_same_seed_gives_the_same_programs_and_every_killer():
    def written():
        rng = random.Random(7)
        return [death_programs.write(rng, "one", one) for one in death_programs.KILLERS]

    assert written() == written()
    assert len({one.name for one in death_programs.KILLERS}) == len(death_programs.KILLERS)


def test_a_program_is_a_file_with_one_marked_line_and_its_twin_differs_there_alone(tmp_path):
    (program,) = death_programs.programs(5, 1, tmp_path)
    lines = [
        f"{path.name}:{number}"
        for path in tmp_path.iterdir()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.endswith("# DIES")
    ]
    assert lines == [program.dies]
    assert program.killed
    with nan_truth.plain_jax(False):
        value, other = program.function(*program.args), program.twin(*program.args)
    assert value != other
    _, files, twin = death_programs.write(random.Random(0), "one", killer("round"))
    pairs = [
        pair
        for file in files
        for pair in zip(files[file].split("\n"), twin[file].split("\n"), strict=True)
    ]
    assert sum(dead != alive for dead, alive in pairs) == 1


@pytest.mark.parametrize(
    ("dead", "killed"),
    [
        (lambda a, b: jnp.sum(jnp.round(a) * b), {0: 1.0}),
        (lambda a, b: jnp.sum(jnp.where(a > 1.5, a, 0.0) * b), {0: 0.5, 1: 0.5}),
        (lambda a, b: jnp.sum(0.01 * a * b), {}),  # less, but a hundredth is no death
        (lambda a, b: jnp.sum(a * b), {}),
    ],
)
def test_what_dies_is_measured_against_the_twin(dead, killed):
    args = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]), *3 * (jnp.zeros(()),)
    with nan_truth.plain_jax(False):
        found = death_programs.measure(
            lambda a, b, *_: dead(a, b), lambda a, b, *_: jnp.sum(a * b), args
        )
    assert found == killed
