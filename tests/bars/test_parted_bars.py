"""How often the first operator is named where two programs part, and never where they do not."""

import inspect
import itertools
import pathlib
import re

import jax
import pytest

from chainrule import xray
from tests.bars import nan_truth, parted_programs

pytest.importorskip("equinox", reason="programs of other libraries: make zoo")

FAULTS, HONEST, DIGITS = 100, 40, 31
NAMED = 0.95  # of the faults, and of the programs in which digits die
_LINE = re.compile(r"([\w.-]+\.py):(\d+)")


def named(found, file, lines):
    """Tell whether the first row stands on one of these lines of the file."""
    match = None if found.first is None else _LINE.search(found.first.line)
    return match is not None and match[1] == file and int(match[2]) in lines


def among(found, file, lines):
    """Tell whether one of these lines is among several that are to blame."""
    several = () if found.first is None else found.first.lines
    places = [(match[1], int(match[2])) for line in several if (match := _LINE.search(line))]
    return any((file, line) in places for line in lines)


def report(what, count, missed):
    print(f"\n{what}: {count - len(missed)} of {count}", *missed, sep="\n  ")


# The first runs: 91 of 100 of seed 201, and with what it missed mended 95 of seed 301 (96 after an
# error was mended) and 94 of seed 302; with what these missed mended, 81 of the 82 faults of seed
# 401 that were run, and 97 of 100 of seed 402. Nothing certain was wrong. What was mended since
# names 98 of seed 302. One fault takes 5 to 15 s of processor time, most of it to compile. A fault
# that leaves results and gradients equal, bit by bit, is none.
@pytest.mark.bars
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [301, 302])
def test_of_planted_faults_the_first_operator_is_named(seed, tmp_path):
    missed, leads, alike, alike_missed, claimed, hidden = [], 0, 0, 0, [], 0
    for fault in parted_programs.faults(seed, FAULTS, tmp_path):
        jax.clear_caches()
        with nan_truth.plain_jax(False):
            found = xray.diff(fault.a, fault.b, *fault.args)
        if found.first is None and not any(found.results.values()):
            hidden += 1
            continue
        good = named(found, fault.file, fault.line)
        missed += [] if good else [f"{fault.name}: {found.first}"]
        leads += not good and among(found, fault.file, fault.line)
        alike += not fault.options["port"]
        alike_missed += not fault.options["port"] and not good
        claimed += [f"{fault.name}: {found.first}"] if found.first and found.certain else []
    shown = FAULTS - hidden
    report(f"faults of seed {seed}", shown, missed)
    print(f"of the others, in {leads} the line is among several that are named")
    print(f"spelled alike: {alike - alike_missed} of {alike}")
    assert set(claimed).isdisjoint(missed), "what is said to be certain is right"
    assert hidden <= 0.05 * FAULTS
    assert shown - len(missed) >= NAMED * shown


@pytest.mark.bars
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [11])
def test_of_honest_pairs_none_raises_an_alarm(seed, tmp_path):
    alarms = []
    for pair in parted_programs.honest(seed, HONEST, tmp_path):
        jax.clear_caches()
        others = () if pair.options["how"] == "mode" else (pair.b,)
        with nan_truth.plain_jax(False):
            found = xray.diff(pair.a, *others, *pair.args)
        alarms += [] if found.first is None else [f"{pair.name}: {found.first}"]
    report(f"honest pairs of seed {seed}", HONEST, alarms)
    assert not alarms


@pytest.mark.bars
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [2])
def test_where_digits_die_is_named(seed, tmp_path):
    missed, stable = [], 0
    for program in parted_programs.cancellations(seed, DIGITS, tmp_path):
        jax.clear_caches()
        with nan_truth.plain_jax(False):
            found = xray.diff(program.f, *program.args, a="float32", b="float64")
        file = pathlib.Path(inspect.unwrap(program.f).__code__.co_filename).name
        good = named(found, file, (program.line,))
        missed += [] if good else [f"{program.name}: {found.first}"]
        stable += any(one.text for one in found.digits)
    report(f"cancellations of seed {seed}, {stable} with a stable form", DIGITS, missed)
    assert DIGITS - len(missed) >= NAMED * DIGITS


@pytest.mark.bars
def test_one_planted_fault_is_named(tmp_path):
    faults = parted_programs.faults(1, 8, tmp_path)
    fault = next(one for one in itertools.islice(faults, 3, None) if one.network == "siamese")
    with nan_truth.plain_jax(False):
        found = xray.diff(fault.a, fault.b, *fault.args)
    assert named(found, fault.file, fault.line)
