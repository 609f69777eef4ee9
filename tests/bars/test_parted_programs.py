"""The generator tells the truth: faults show, honest pairs agree, digits die where it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.bars import nan_truth, parted_networks, parted_programs

pytest.importorskip("equinox", reason="programs of other libraries: make zoo")

pytestmark = pytest.mark.bars

NAMES = [network.name for network in parted_networks.NETWORKS]


@pytest.fixture(autouse=True)
def as_people_run_it():
    with nan_truth.plain_jax(False):
        yield


def is_float(leaf):
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def in_float64(args):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, "float64") if is_float(leaf) else leaf, args)


def outcome(function, args, gradient):
    """Return a program's result and, behind it, its gradients, as one vector."""
    leaves, tree = jax.tree.flatten(args)
    floats = [place for place, leaf in enumerate(leaves) if is_float(leaf)]

    def of_floats(chosen):
        changed = dict(zip(floats, chosen, strict=True))
        return function(
            *jax.tree.unflatten(tree, [changed.get(i, x) for i, x in enumerate(leaves)])
        )

    chosen = [jnp.asarray(leaves[place]) for place in floats]
    found = jax.jit(jax.value_and_grad(of_floats) if gradient else of_floats)(chosen)
    return [np.asarray(part, "float64") for part in jax.tree.leaves(found)]


def difference(one, other):
    """Return how far apart two outcomes are, the value and the whole gradient each by its norm."""
    parts = [(one[0], other[0])]
    if len(one) > 1:
        parts.append(tuple(np.concatenate([x.ravel() for x in side[1:]]) for side in (one, other)))
    sizes = [np.linalg.norm(x - y) / np.linalg.norm(x) for x, y in parts]
    return float(np.max(np.nan_to_num(sizes, nan=np.inf)))


@pytest.mark.parametrize("make", ["faults", "honest", "cancellations"])
def test_the_same_seed_gives_the_same_programs(make, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        list(getattr(parted_programs, make)(3, 10, tmp_path / name))
    one, two = (
        {path.name: path.read_text() for path in (tmp_path / name).glob("*.py")}
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) >= 15


@pytest.mark.parametrize("network", parted_networks.NETWORKS, ids=NAMES)
def test_every_kind_of_fault_of_a_network_is_planted_in_turn(network):
    drawn = parted_programs.sites(np.random.default_rng(0), network)
    kinds = {site.kind for _, site in drawn}
    assert len(kinds) >= 8
    assert {site.kind for _, site in drawn[: len(kinds)]} == kinds
    assert all(site.text.strip() and site.index not in site.readers for _, site in drawn)


def test_faults_change_the_result_and_without_them_nothing_is_left(tmp_path):
    for fault in parted_programs.faults(1, 10, tmp_path):
        right = outcome(fault.a, fault.args, fault.options["loss"])
        fixed = outcome(fault.options["fixed"], fault.args, fault.options["loss"])
        wrong = outcome(fault.b, fault.args, fault.options["loss"])
        assert difference(right, fixed) < 3e-5, fault.name
        assert difference(right, wrong) > 1e-4, fault.name
        same_value = difference(right[:1], wrong[:1]) < 1e-5
        assert same_value is (fault.options["phase"] == "backward"), fault.name


def test_one_line_of_a_faulty_program_differs_from_the_fixed_one(tmp_path):
    for fault in parted_programs.faults(2, 10, tmp_path):
        wrong = (tmp_path / fault.file).read_text().splitlines()
        fixed = (tmp_path / fault.file.replace("_b", "_fixed")).read_text().splitlines()
        pairs = enumerate(zip(wrong, fixed, strict=True), 1)
        assert [number for number, (one, other) in pairs if one != other] == [fault.line[0]]


def test_honest_pairs_are_the_same_function(tmp_path):
    for pair in parted_programs.honest(1, 20, tmp_path):
        with jax.enable_x64(True):
            args = in_float64(pair.args)
            one, other = (outcome(f, args, pair.options["loss"]) for f in (pair.a, pair.b))
        assert difference(one, other) < 1e-9, pair.name
        assert np.isfinite(difference(outcome(pair.a, pair.args, False), one[:1])), pair.name


def test_digits_die_and_the_stable_form_keeps_them(tmp_path):
    for program in parted_programs.cancellations(1, 31, tmp_path):
        narrow = outcome(program.f, program.args, False)
        stable = outcome(program.stable, program.args, False)
        with jax.enable_x64(True):
            args = in_float64(program.args)
            truth = outcome(program.stable, args, False)
            assert difference(truth, outcome(program.f, args, False)) < 1e-4, program.name
        assert difference(truth, narrow) > 2e-4, program.name
        assert difference(truth, stable) < min(3e-4, 0.05 * difference(truth, narrow)), program.name
