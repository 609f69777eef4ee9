"""How often the recorder is right about trainings that it was not written for."""

import collections

import jax
import pytest

from tests.bars import failing_trainings
from tests.bars.training_judge import BARS, judge, recorded, told

pytest.importorskip("equinox", reason="programs of other libraries: make zoo")

COUNT, CLEAN = 100, 20
SEEDS = (1, 2)


@pytest.fixture(autouse=True)
def as_people_train():
    """Types as users have them: some optimizers mix dtypes."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_the_step_the_line_and_the_row_of_a_training_are_named(tmp_path):
    for number, training in enumerate(failing_trainings.trainings(4, 1, tmp_path)):
        judged = judge(training, tmp_path / training.name)
        assert all(judged.met.values()), told(number, training, judged) + judged.said


@pytest.fixture(scope="module", params=SEEDS)
def all_judged(request, tmp_path_factory):
    """Bar -> how many trainings it is about, and those that miss it; printed as a table."""
    folder = tmp_path_factory.mktemp(f"seed_{request.param}")
    about, missed = collections.Counter(), collections.defaultdict(list)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for number, training in enumerate(
            failing_trainings.trainings(request.param, COUNT, folder)
        ):
            judged = judge(training, folder / training.name)
            for bar, met in judged.met.items():
                about[bar] += 1
                if not met:
                    missed[bar].append(told(number, training, judged))
            jax.clear_caches()
    print(f"\nseed {request.param}: {folder}")
    for bar in BARS:
        print(f"  {bar:<12} {about[bar] - len(missed[bar])} of {about[bar]}")
        for one in missed[bar]:
            print(f"    {one}")
    return about, missed


@pytest.mark.bars
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("bar", BARS)
def test_the_recorder_is_right_about_trainings_made_from_a_seed(all_judged, bar):
    about, missed = all_judged
    assert about[bar] >= 5, "too few trainings to say anything"
    assert len(missed[bar]) <= (1 - BARS[bar]) * about[bar] + 1e-9, missed[bar]


@pytest.mark.bars
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_clean_training_raises_an_alarm(tmp_path, seed):
    alarms = []
    for training in failing_trainings.clean(seed, CLEAN, tmp_path):
        error = recorded(training, tmp_path / training.name)
        alarms += [] if error is None else [f"{training.flavour} {training.kind}: {error}"]
        jax.clear_caches()
    assert alarms == []
