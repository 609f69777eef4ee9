"""How good a rate `descent.choose` finds on twelve tasks, beside the usual range test."""

import jax
import numpy as np
import pytest

from chainrule import descent
from tests.bars import rates

SEEDS = (1, 2, 3)
WANTED, MOST = 10, 0.02


def choice(task, seed):
    return descent.choose(
        task.loss, task.draw(seed), task.batches, task.steps, optimizer=task.optimizer
    )


def test_two_of_the_twelve_tasks():
    for task in rates.tasks():
        if task.name in ("regression, sgd", "product of 100, sgd"):
            found = choice(task, 0)
            assert rates.regret(task, 0, found.rate) <= MOST, task.name
            assert found.cost <= 0.05


@pytest.mark.bars
@pytest.mark.timeout(7200)
def test_ten_of_twelve_tasks_get_a_rate_as_good_as_the_best_of_200():
    good, lines = 0, []
    for task in rates.tasks():
        jax.clear_caches()
        found = [choice(task, seed) for seed in SEEDS]
        assert max(one.cost for one in found) <= 0.05, task.name
        own, ramp = (
            [rates.regret(task, seed, rate) for seed, rate in zip(SEEDS, chosen, strict=True)]
            for chosen in (
                [one.rate for one in found],
                [rates.range_test(task, seed) for seed in SEEDS],
            )
        )
        good += np.median(own) <= MOST
        spent = ", ".join(one.sure for one in found)
        lines.append(
            f"{task.name:<28} {np.median(own):.4f} ({min(own):.4f} to {max(own):.4f})  "
            f"{np.median(ramp):.4f} ({min(ramp):.4f} to {max(ramp):.4f})  {spent}"
        )
        print(lines[-1], flush=True)
    assert good >= WANTED, lines
