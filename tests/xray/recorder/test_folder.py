import contextlib
import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import _files, cli, xray
from chainrule.xray.recorder import NonFiniteError, Recorder, folder, replay
from tests.xray.recorder import steps


def fly(root, step=steps.plain, **settings):
    """Make one step that fails, and return its error."""
    recorder = Recorder(root)
    recorder.watch(step, **settings)(jnp.ones(2), jnp.ones((4, 2)).at[3].set(-1.0))
    with pytest.raises(NonFiniteError) as raised:
        recorder.finish()
    return raised.value


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    """The folder of a step that failed, and its error."""
    root = tmp_path_factory.mktemp("flight")
    recorder = Recorder(root)
    recorder.watch(steps.pairs, first=20317)(steps.start(), steps.batch(0, equal=(5,)))
    with pytest.raises(NonFiniteError) as raised:
        recorder.finish()
    return root / "step-20317", raised.value


@pytest.fixture
def copied(flown, tmp_path):
    """A copy of it, to be spoilt."""
    return pathlib.Path(shutil.copytree(flown[0], tmp_path / "step-20317"))


def test_the_folder_holds_what_was_found_out_in_plain_files(flown):
    path, error = flown
    names = {"arguments.safetensors", "page.html", "record.xray", "report.txt", "step.json"}
    assert {file.name for file in path.iterdir()} == names
    kept = folder.read(path)
    assert kept.step == 20317
    assert str(error).partition("\nsaved: ")[0].partition("\n")[2] in kept.text
    about = json.loads((path / "step.json").read_text())
    assert about["births"][0]["op"] == "sqrt"
    assert about["samples"]["rows"] == [5]
    assert {"jax", "device", "chainrule"} <= about["surroundings"].keys()
    np.testing.assert_array_equal(kept.arrays()["batch['a']"], steps.batch(0)["a"])
    record = xray.load(path / "record.xray")
    assert record.function == "pairs"
    np.testing.assert_array_equal(record.node("batch['a']").value, steps.batch(0)["a"])
    assert "<svg" in (path / "page.html").read_text()


@pytest.mark.parametrize("wide", [False, True])
def test_a_folder_says_whether_floats_have_64_bits(wide):
    with jax.enable_x64(wide):
        assert folder.surroundings()["x64"] is wide


def test_the_command_prints_it_and_runs_no_code(flown, capsys, monkeypatch):
    monkeypatch.setattr(replay.lookup, "function", None)
    assert cli.main(["autopsy", str(flown[0])]) == 0
    printed = capsys.readouterr().out
    assert "step 20317 is not finite, in pairs" in printed
    assert "sample 5 of the batch" in printed
    assert f"page: {flown[0] / 'page.html'}" in printed


def test_a_replay_fails_again_to_the_bit(flown, capsys):
    assert cli.main(["autopsy", str(flown[0]), "--replay"]) == 0
    assert "replayed: it fails again, equal to the bit in all 4 arrays" in capsys.readouterr().out


def test_a_replay_that_is_not_equal_says_what_differs(copied, monkeypatch, capsys):
    about = json.loads((copied / "step.json").read_text())
    about["digests"]["result[1]['loss']"] = "0" * 64
    about["surroundings"]["jax"] = "0.1\x1b[31m"
    (copied / "step.json").write_text(json.dumps(about))
    spec = f"{steps.__file__}:pairs"
    assert cli.main(["autopsy", str(copied), "--function", spec]) == 1
    printed = capsys.readouterr().out
    assert "it fails again; 1 of 4 arrays differ (result[1]['loss'])" in printed
    assert r"recorded with 0.1\x1b[31m" in printed


def test_a_function_whose_file_has_changed_is_not_run(copied, tmp_path):
    about = json.loads((copied / "step.json").read_text())
    (tmp_path / "other.py").write_text("raise SystemExit('it ran')\n")
    about["spec"] = f"{tmp_path / 'other.py'}:pairs"
    (copied / "step.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"other\.py has changed since \(SHA-256 .*--function"):
        replay.replay(folder.read(copied))
    about["spec"] = str(tmp_path / "gone.py:pairs")
    (copied / "step.json").write_text(json.dumps(about))
    with pytest.raises(FileNotFoundError, match=r"gone\.py: name the function"):
        replay.replay(folder.read(copied))


def test_a_closure_is_recorded_and_replayed_under_a_name(tmp_path):
    eta = 0.01

    def step(w, x):
        return w - eta * x[0], jnp.mean(jnp.sqrt(x @ w))

    error = fly(tmp_path, step)
    kept = folder.read(tmp_path / "step-0")
    assert error.samples == (3,)
    with pytest.raises(ValueError, match="stands in no module under its own name"):
        replay.replay(kept)
    found = replay.replay(kept, f"{steps.__file__}:plain")
    assert found.bad
    assert found.differ == ("result[0]",)  # the loss is the same
    with pytest.raises(ValueError, match="could not run on what is in"):
        replay.replay(kept, f"{steps.__file__}:start")


def test_arguments_of_a_form_of_their_own_come_from_example_args(copied, tmp_path):
    about = json.loads((copied / "step.json").read_text())
    about["tree"] = None
    (copied / "step.json").write_text(json.dumps(about))
    assert replay.replay(folder.read(copied)).differ == ()
    source = pathlib.Path(steps.__file__).read_text()
    for name, old, new, said in (
        ("none", "def example_args", "def other_args", "define example_args"),
        ("shape", "size=(2, 8, 3)", "size=(2, 9, 3)", r"batch\['a'\] is float32\[9, 3\] there"),
    ):
        file = tmp_path / f"{name}.py"
        file.write_text(source.replace(old, new))
        with pytest.raises(ValueError, match=said):
            replay.replay(folder.read(copied), f"{file}:pairs")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: (p / "step.json").unlink(), "is no folder of a step that failed"),
        (lambda p: (p / "step.json").write_text("{" * 10**5), "cannot be read"),
        (lambda p: (p / "step.json").write_text('{"format": 7}'), "format 7"),
        (lambda p: (p / "step.json").write_text("[1]"), "cannot be read"),
        (lambda p: (p / "report.txt").write_text("another"), "report.txt has 7 bytes"),
        (lambda p: os.truncate(p / "record.xray", 100), "record.xray has 100 bytes"),
        (lambda p: flip(p / "arguments.safetensors"), "arguments.safetensors is not what was"),
        (lambda p: pipe(p / "page.html"), "no regular file"),
        (lambda p: edit(p, files={"../../x": [1, "0"]}), "with the files"),
        (lambda p: edit(p, files=3), "cannot be read"),
        (lambda p: edit(p, leaves=3), "leaves is 3"),
        (lambda p: edit(p, digests=[3]), r"digests is \[3\]"),
        (lambda p: edit(p, step="../x"), "with the files"),
    ],
)
def test_a_damaged_or_crafted_folder_is_refused(copied, spoil, said):
    spoil(copied)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        folder.read(copied)


def edit(path, **changes):
    about = json.loads((path / "step.json").read_text())
    (path / "step.json").write_text(json.dumps(about | changes))


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"tree": {"named": ["os", "system", []], "parts": []}},
        {"tree": {"named": ["os", "terminal_size", ["columns"]], "parts": ["leaf"]}},
        {"tree": {"list": ["leaf"] * 3}},
        {"tree": "leaf"},
        {"leaves": [{"name": "no such array", "dtype": "float32", "host": True}]},
        {"tree": json.loads("[" * 200 + "]" * 200)},
    ],
)
def test_a_crafted_form_of_the_arguments_is_refused_and_nothing_is_imported(
    copied, changes, tmp_path
):
    file = tmp_path / "bare.py"
    source = pathlib.Path(steps.__file__).read_text()
    file.write_text(source.replace("def example_args", "def other_args"))
    edit(copied, **changes)
    with pytest.raises(ValueError, match=r"holds no call|is loaded|could not run"):
        replay.replay(folder.read(copied), f"{file}:pairs")


def test_what_moves_a_cursor_in_the_report_is_escaped(copied):
    text = "step 1\x1b[2J\n"
    (copied / "report.txt").write_text(text)
    digest = _files.sha256(copied / "report.txt")
    edit(copied, files={"report.txt": [len(text), digest]})
    assert str(folder.read(copied)) == r"step 1\x1b[2J"


def test_a_name_that_is_taken_is_not_overwritten(tmp_path):
    (tmp_path / "step-0").write_text("somebody's")
    assert str(tmp_path / "step-0-2") in str(fly(tmp_path))
    assert (tmp_path / "step-0").read_text() == "somebody's"


def test_a_full_disk_hides_no_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*args, **settings):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder.tensors, "write", full)
    error = fly(tmp_path)
    assert error.samples == (3,)
    assert f"nothing was saved in {tmp_path}: No space left on device" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_hides_no_error(tmp_path):
    (tmp_path / "flight").write_text("a file")
    error = fly(tmp_path / "flight")
    assert error.births[0].op == "sqrt"
    assert "nothing was saved in" in str(error)


def test_killed_while_it_is_written_it_leaves_nothing_under_a_finished_name(tmp_path):
    """At every file that is renamed, synced or written, one after the other."""
    found, places = fly(tmp_path / "once").autopsy, ["replacing", "sync", "sha256", "dumps"]

    class Killed(BaseException):
        pass

    for place in places:
        root = tmp_path / place
        with pytest.MonkeyPatch.context() as patch:

            def kill(*args, **settings):
                raise Killed

            patch.setattr(_files, place, kill)
            patch.setattr(folder.shutil, "rmtree", lambda path: None)  # nothing runs any more
            with contextlib.suppress(Killed):
                folder.write(found, root)
        finished = [path.name for path in root.glob("step-*")]
        if finished:  # the names are on the disk, or not yet
            assert place == "sync"
            folder.read(root / finished[0])


@pytest.mark.soak
def test_killed_at_random_moments_whatever_has_a_finished_name_is_whole(tmp_path):
    program = (
        "import pathlib, sys, jax.numpy as jnp\n"
        "from chainrule.xray.recorder import Recorder, folder\n"
        "from tests.xray.recorder import steps\n"
        "recorder = Recorder(sys.argv[1])\n"
        "recorder.watch(steps.plain)(jnp.ones(2), jnp.ones((4, 2)).at[3].set(-1.0))\n"
        "try:\n    recorder.finish()\n"
        "except ArithmeticError as error:\n    found = error.autopsy\n"
        "print('ready', flush=True)\n"
        "while True:\n    folder.write(found, pathlib.Path(sys.argv[1]))\n"
    )
    rng = np.random.default_rng(0)
    for k in range(20):
        root = tmp_path / str(k)
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0, 0.3))
            child.send_signal(signal.SIGKILL)
        for path in root.glob("step-*"):
            folder.read(path)
