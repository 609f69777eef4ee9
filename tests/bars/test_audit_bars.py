"""How often an audit names the lines of wrong rules and of latent traps, in programs of a seed."""

import re

import jax
import pytest

from chainrule import xray
from tests.bars import latent_programs, nan_truth

pytest.importorskip("equinox", reason="programs of other libraries: make zoo")

COUNT, MISSES = 60, 3
HEALTHY, ALARMS = 40, 2


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


@pytest.mark.parametrize("name", BARS)
def test_the_audit_is_right_about_a_sample(name, tmp_path):
    assert missed(name, 11, 2, tmp_path) == []
