"""Processes that are killed, interrupted and cut off, from outside."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from chainrule.training.checkpoints import manifest
from tests.training import killed


def begin(folder, epochs, *options):
    return subprocess.Popen(
        [sys.executable, "-u", killed.__file__, str(folder), str(epochs), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def undisturbed(folder, epochs):
    """What a process prints at its end that nothing happens to; ours compiles by other settings."""
    with begin(folder, epochs) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    return out.splitlines()[-1]


def kept(folder):
    return sorted(int(path.name[5:]) for path in folder.iterdir() if path.suffix == "")


@pytest.mark.parametrize("kills", [1, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.timeout(1800)
def test_a_training_killed_at_random_moments_ends_as_one_that_was_not(tmp_path, kills):
    moments, before = np.random.default_rng(kills), 0
    for kill in range(kills):
        with begin(tmp_path, 10_000, *(["--resume"] if kill else [])) as process:
            first = process.stdout.readline()
            assert first == f"step {before + 1}\n", process.stderr.read()
            for _ in range(2):  # at the third step the first one is saved
                process.stdout.readline()
            # Saving takes most of the time: almost all moments are in the middle of it.
            time.sleep(moments.uniform(0.3, 0.8))
            process.kill()
        before = max(kept(tmp_path), default=0)
        for step in kept(tmp_path):
            says = manifest.read(tmp_path / f"step-{step:08d}")
            manifest.check_files(tmp_path / f"step-{step:08d}", says)
        assert before > 0
    epochs = before // 5 + 1
    with begin(tmp_path, epochs, "--resume") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == undisturbed(tmp_path / "whole", epochs)


def test_a_second_interrupt_stops_at_once_and_leaves_what_was_saved(tmp_path):
    with begin(tmp_path, 2, "--sleep", "60") as process:
        while process.stdout.readline() != "evaluates\n":
            pass
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None  # it would end this step and save
        # The evaluation goes on for a minute. Two signals that a busy machine hands over together
        # are one, so that it may take a third.
        for _ in range(20):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert process.wait(1) == -signal.SIGINT
                break
        assert process.poll() is not None
    assert max(kept(tmp_path)) in (3, 4)  # the epoch's own is saved after its evaluation


def test_a_disk_that_fills_up_is_said_and_the_checkpoints_before_stay(tmp_path):
    with begin(tmp_path, 3, "--full-after", "7") as process:
        _, err = process.communicate()
    assert process.returncode == 1
    said = re.search(
        r"^OSError: the checkpoint of step (\d) .*File too large.*steps \[(.*)\] are unchanged$",
        err,
        re.MULTILINE,
    )
    failed, before = int(said[1]), [int(step) for step in said[2].split(", ")]
    assert kept(tmp_path) == before
    assert before[-1] == failed - 1
    assert failed >= 6  # saving may be two steps behind
    for step in kept(tmp_path):
        says = manifest.read(tmp_path / f"step-{step:08d}")
        manifest.check_files(tmp_path / f"step-{step:08d}", says)
    with begin(tmp_path, 3, "--resume") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == undisturbed(tmp_path / "whole", 3)
    assert not list(tmp_path.glob("*.partial"))


def test_a_closed_standard_output_ends_without_a_complaint_and_with_whole_checkpoints(tmp_path):
    with begin(tmp_path, 3) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(60) == 1
    assert err == ""
    for step in kept(tmp_path):
        says = manifest.read(tmp_path / f"step-{step:08d}")
        manifest.check_files(tmp_path / f"step-{step:08d}", says)
    assert not list(tmp_path.glob("*.partial"))
