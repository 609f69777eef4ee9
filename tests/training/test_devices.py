import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from chainrule.training import devices
from tests.training import on_devices


@pytest.fixture(scope="module")
def found():
    """What `on_devices` measures, on eight devices that one CPU is divided into."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    ran = subprocess.run(
        [sys.executable, on_devices.__file__],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_the_same_training_on_many_devices_as_on_one(found, count):
    assert found["devices"] == 8
    # After 20 steps; of the batches of 10, which 4 and 8 do not divide, no row counts twice.
    assert found[str(count)]["gap"] < 1e-5
    assert found[str(count)]["loss"] < 1e-4
    assert found[str(count)]["largest"] < 1e-4
    # Copied to two and to eight, spread over four.
    assert found[str(count)]["shard"] == [6, 4 if count == 4 else 16]


def test_what_four_devices_saved_in_parts_one_resumes(found):
    assert found["resumed on one"] < 1e-5


def test_predictions_of_a_number_of_rows_that_the_devices_do_not_divide(found):
    assert found["predict"] < 1e-6


def test_more_devices_than_there_are_are_refused_with_both_numbers(found, unchecked):
    start = "count must be an int from 1 to 8, not 9: there are so many (cpu), and XLA_FLAGS=--xla"
    assert found["nine"].startswith(start)
    for count in (0, 1.0):
        with pytest.raises(ValueError, match=rf"count must be an int from 1 to \d+, not {count}"):
            devices.mesh(count)


def test_what_lies_on_the_mesh_already_stays_there():
    mesh = devices.mesh(1)
    spread = devices.shard({"a": np.ones((2, 5), np.float32), "b": np.float32(1)}, mesh)
    assert spread["a"].sharding.spec == jax.sharding.PartitionSpec(None, "batch")
    assert spread["b"].sharding.spec == jax.sharding.PartitionSpec()
    assert devices.replicate(spread, mesh)["a"] is spread["a"]
    assert devices.replicate(np.ones(3, np.float32), mesh).sharding.is_fully_replicated


def test_processes_agree_on_the_largest_of_their_numbers(monkeypatch):
    assert devices.agree(3) == 3
    monkeypatch.setattr(jax, "process_count", lambda: 2)

    def gather(mine):
        assert mine.dtype == np.int32  # JAX has no wider ones, and would say so
        return np.stack([mine, np.int32(5)])

    monkeypatch.setattr(devices.multihost_utils, "process_allgather", gather)
    assert [devices.agree(number) for number in (3, 7)] == [5, 7]
