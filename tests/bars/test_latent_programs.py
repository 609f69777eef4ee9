"""The generators tell the truth: rules are wrong, traps snap, and healthy programs do not."""

import jax
import numpy as np
import pytest

from tests.bars import latent_programs, latent_rules, latent_traps, latent_truth, nan_truth

pytest.importorskip("equinox", reason="programs of other libraries: make zoo")


@pytest.fixture(autouse=True)
def as_people_run_it():
    """JAX's own rules of promotion: these programs were not written under strict ones."""
    with nan_truth.plain_jax(False):
        yield


GENERATORS = {
    "wrong": latent_programs.wrong_rules,
    "right": latent_programs.right_rules,
    "trap": latent_programs.traps,
    "healthy": latent_programs.healthy,
}


@pytest.mark.parametrize("name", GENERATORS)
def test_the_same_seed_gives_the_same_programs(name, tmp_path):
    def drawn(folder):
        (tmp_path / folder).mkdir()
        made = list(GENERATORS[name](3, 4, tmp_path / folder))
        return [(one.name, one.file.read_text(), jax.tree.leaves(one.args)) for one in made]

    for (*first, leaves), (*second, again) in zip(drawn("a"), drawn("b"), strict=True):
        assert first == second
        assert all(map(np.array_equal, leaves, again))


@pytest.mark.bars
def test_wrong_rules_are_wrong_on_a_line_of_theirs(tmp_path):
    made = list(latent_programs.wrong_rules(5, 8, tmp_path))
    assert len({program.kind for program in made}) == 8
    for program in made:
        assert program.line in program.lines
        assert latent_truth.rule_error(program.f, program.args) > 1e-4, program.name


@pytest.mark.bars
def test_rules_without_a_fault_are_right(tmp_path):
    for program in latent_programs.right_rules(5, 8, tmp_path):
        assert latent_truth.finite(program.f, program.args)
        if program.kind == "right":
            assert latent_truth.rule_error(program.f, program.args) < 1e-6, program.name


@pytest.mark.bars
def test_traps_snap_where_they_are_provoked_and_not_today(tmp_path):
    for program in latent_programs.traps(5, 8, tmp_path):
        assert program.line == program.lines[0]
        assert latent_truth.finite(program.f, program.args), program.name
        assert latent_truth.within(program.args, program.provoke), program.name
        assert latent_truth.snaps(program), program.name


@pytest.mark.bars
def test_healthy_programs_stay_finite(tmp_path):
    for program in latent_programs.healthy(5, 6, tmp_path):
        assert latent_truth.stays_finite(program.f, program.args, draws=5000), program.name


def test_every_fault_is_one_replacement_and_every_trap_is_marked():
    for kernel in latent_rules.KERNELS:
        for spelling in (0, 1):
            text = latent_rules.source(kernel, spelling)
            for fault in kernel.faults:
                assert latent_rules.broken(text, fault).count(latent_rules.MARK) == 1
    for snare in latent_traps.SNARES:
        assert latent_traps.MARK in latent_traps.source(snare, safe=False)
        assert latent_traps.MARK not in latent_traps.source(snare, safe=True)
