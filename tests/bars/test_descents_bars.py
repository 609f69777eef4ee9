"""How often `descent.explain` is right about descents made from a seed, against exact Hessians."""

import jax
import pytest

from chainrule import descent
from tests.bars import descents

COUNT = 20
SEEDS = (1, 2, 3)


def judge(made):
    """Return what is wrong with the explanation of a descent, and the explanation."""
    true = descents.truth(made)
    optimizer = made.optimizer
    watched = descent.watch(made.loss, made.params, optimizer, made.steps, every=made.every)
    found = descent.explain(watched, loss=made.loss, optimizer=optimizer)
    wrong = []
    crossing, due = found.crossing.step, true.crossing
    if (crossing is None) != (due is None) or (
        due is not None and abs(crossing - due) > max(1, 0.05 * due)
    ):
        wrong.append(f"crosses at {crossing}, the exact Hessian at {due}")
    for one in found.survivals:
        if one.survives:
            again = descents.survives(made, true, one.since, one.factor, one.steps)
            if not again:
                wrong.append(
                    f"{one.factor} from {one.since} on does not survive in a run of its own"
                )
    return wrong, found


def test_a_few_descents_are_explained_as_an_exact_hessian_has_them():
    found = []
    for made in descents.descents(1, (1, 3)):
        wrong, explained = judge(made)
        assert wrong == [], f"{made.name}\n{explained}"
        found.append(explained)


@pytest.mark.bars
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_descents_are_explained_as_an_exact_hessian_has_them(seed):
    failures, crossed, claims = [], 0, 0
    for made in descents.descents(seed, range(COUNT)):
        jax.clear_caches()
        wrong, found = judge(made)
        crossed += bool(found.crossing.step)
        claims += sum(one.survives for one in found.survivals)
        failures += [f"{made.name}: {one}" for one in wrong]
    print(
        f"\nseed {seed}: {COUNT - len({f.partition(':')[0] for f in failures})} of {COUNT} right, "
    )
    print(f"  {crossed} cross on the way, {claims} survivals claimed", *failures, sep="\n    ")
    assert crossed >= 3, "too few cross to say anything"
    assert failures == []
