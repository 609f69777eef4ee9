"""How often an audit names the lines of wrong rules and of latent traps, in programs of a seed."""

import re

import jax
import pytest

from chainrule import xray
from tests.bars import latent_programs, nan_truth
from tests.zoo import test_programs as zoo_programs

pytest.importorskip("equinox", reason="programs of other libraries: make zoo")

COUNT, MISSES = 60, 3
HEALTHY, ALARMS = 40, 2
SAMPLE = 2


def audited(program):
    """The audit of a program, run as its users run JAX: without the strictness of the tests."""
    with nan_truth.plain_jax(False):
        return xray.audit(program.f, *program.args)


def numbers(lines, program):
    """The numbers of lines that stand in the file of a program."""
    name = re.escape(program.file.name)
    return {int(n) for line in lines for n in re.findall(rf"{name}:(\d+)", line)}


def finds_rule(program):
    """Whether rules of the wrong function are named, one of their lines at least, and no other."""
    found = audited(program)
    named = [numbers((rule.line, *rule.parts, rule.called), program) for rule in found.rules]
    return bool(named) and all(one & set(program.lines) for one in named), found


def finds_trap(program):
    found = audited(program)
    named = numbers((one for t in found.traps for one in (t.line, t.within)), program)
    return bool(named & set(program.lines)), found


def is_quiet(program):
    found = audited(program)
    return found.healthy, found


BARS = {
    "wrong": (latent_programs.wrong_rules, finds_rule, COUNT, MISSES),
    "trap": (latent_programs.traps, finds_trap, COUNT, MISSES),
    "right": (latent_programs.right_rules, is_quiet, HEALTHY, ALARMS),
    "healthy": (latent_programs.healthy, is_quiet, HEALTHY, ALARMS),
}


def missed(name, seed, count, folder):
    """The programs of a seed of which the audit is wrong, each with what it said."""
    make, judge, _, _ = BARS[name]
    those = []
    for program in make(seed, count, folder):
        if count > SAMPLE:
            jax.clear_caches()  # none of them runs again
        met, found = judge(program)
        if not met:
            said = [f"{one.line}: {one.why}" for one in (*found.rules, *found.traps)]
            where = getattr(program, "lines", "")
            those.append(f"{program.file.name} {where} {program.kind}, {program.name}: {said}")
    return those


@pytest.mark.bars
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", BARS)
def test_the_audit_finds_what_is_planted_and_is_quiet_where_nothing_is(name, seed, tmp_path):
    _, _, count, most = BARS[name]
    those = missed(name, seed, count, tmp_path)
    print(f"\n{name}, seed {seed}: {count - len(those)} of {count}", *those, sep="\n  ")
    assert len(those) <= most


@pytest.mark.bars
@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore")  # their warnings are theirs
def test_programs_of_other_libraries_raise_few_alarms():
    """Each alarm is printed with the input on which the program did break."""
    alarms, count = [], 0
    for library in zoo_programs.LIBRARIES:
        for name, program in zoo_programs.programs(library).items():
            jax.clear_caches()
            loss, *args = program.build()
            with nan_truth.plain_jax(False):
                found = xray.audit(loss, *args)
            count += 1
            if not found.healthy:
                alarms.append(f"{name}: {found}")
    print(f"\n{len(alarms)} of {count} programs raise an alarm", *alarms, sep="\n")
    assert count >= HEALTHY
    assert len(alarms) <= ALARMS


@pytest.mark.parametrize("name", BARS)
def test_the_audit_is_right_about_a_sample(name, tmp_path):
    assert missed(name, 11, SAMPLE, tmp_path) == []
