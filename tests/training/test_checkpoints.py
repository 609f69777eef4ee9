import json
import os
import pathlib
import shutil
import signal
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import training
from chainrule.data.batches import Batches
from chainrule.training import feed
from chainrule.training.checkpoints import manifest
from chainrule.training.checkpoints.folder import Folder
from tests.training.crafted import craft

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(22, 3)).astype(np.float32)
TARGETS = (INPUTS @ [1.0, -2.0, 0.5] + 0.3).astype(np.float32)
BATCHES = Batches({"inputs": INPUTS, "targets": TARGETS}, 4, key=jax.random.key(5))
OPTIMIZER = optax.adam(optax.cosine_decay_schedule(0.1, 20))


def loss(params, state, batch, key):
    predictions = batch["inputs"] @ params["kernel"] + params["bias"]
    predictions = predictions + 0.01 * jax.random.normal(key)
    error = jnp.abs(predictions - batch["targets"])
    return jnp.mean(error**2), ({"calls": state["calls"] + 1}, {"error": jnp.mean(error)})


def start(optimizer=OPTIMIZER, seed=9, width=3, dtype=jnp.float32):
    params = {"bias": jnp.zeros((), dtype), "kernel": jnp.arange(width, dtype=dtype)}
    state = {"calls": jnp.float32(0)}
    return training.create(params, optimizer, key=jax.random.key(seed), state=state)


def fit(epochs=3, report=None, batches=BATCHES, begin=None, **settings):
    begin = start() if begin is None else begin
    return training.fit(begin, loss, OPTIMIZER, batches, epochs, report=report, **settings)


def equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(a) == jax.random.key_impl(b)
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def numbers(records):
    times = {"seconds", "compile_seconds", "examples_per_second"}
    return [{k: v for k, v in record.items() if k not in times} for record in records]


def kept(folder):
    return sorted(int(path.name[5:]) for path in folder.iterdir() if path.suffix == "")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of 15 steps without a break, a checkpoint after each, and its records."""
    folder, records = tmp_path_factory.mktemp("whole") / "checkpoints", []
    with training.Checkpoints(folder, every=1, keep=100, identity={"eta": 0.1}) as checkpoints:
        end = fit(report=records.append, checkpoints=checkpoints)
    return folder, end, records


@pytest.fixture
def copied(whole, tmp_path):
    """Its folder with the checkpoints of some steps only."""

    def copy(*steps):
        folder = tmp_path / "checkpoints"
        shutil.copytree(
            whole[0], folder, ignore=lambda d, names: {n for n in names if _other(n, steps)}
        )
        return folder

    def _other(name, steps):
        return name.startswith("step-") and int(name[5:]) not in steps

    return copy


def resume(folder, records=None, identity=None, **settings):
    identity = {"eta": 0.1} if identity is None else identity
    with training.Checkpoints(folder, resume=True, identity=identity) as checkpoints:
        report = None if records is None else records.append
        return fit(report=report, checkpoints=checkpoints, **settings)


# --- bit for bit --------------------------------------------------------------------------------


def test_checkpoints_change_no_number(whole):
    records = []
    equal(fit(report=records.append), whole[1])
    assert numbers(records) == numbers(whole[2])


@pytest.mark.parametrize("step", range(1, 16))
def test_a_training_resumes_at_every_step_bit_for_bit(whole, copied, step):
    records = []
    equal(resume(copied(step), records), whole[1])
    # The epoch that was cut in two has the mean over all of its steps.
    assert numbers(records) == numbers(whole[2])[step // 5 :]


def test_what_is_saved_is_the_state_after_that_many_steps(whole):
    step, state = jax.jit(training.make_step(loss, OPTIMIZER)), start()
    for _ in range(7):
        state, _ = step(state, BATCHES(int(state.step)))
    with training.Checkpoints(whole[0], resume=True, identity={"eta": 0.1}) as checkpoints:
        says = manifest.read(whole[0] / "step-00000007")
        restored, _ = checkpoints.restore(start(), identity=says.identity, step=7)
    assert int(restored.step) == 7
    for a, b in zip(jax.tree.leaves(restored.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    equal(restored.key, state.key)


def test_a_finished_training_is_resumed_without_a_step_and_can_be_prolonged(whole, copied):
    folder = copied(15)
    records = []
    equal(resume(folder, records), whole[1])
    assert records == []
    assert int(resume(folder, records, epochs=4).step) == 20
    assert [record["epoch"] for record in records] == [4]


def test_at_every_file_operation_of_saving_there_is_a_checkpoint_to_resume_from(
    whole, tmp_path, monkeypatch
):
    """What ``kill -9`` leaves is the folder as it is: here it is copied at every move in it."""
    folder, snapshots = tmp_path / "checkpoints", []

    def photographed(module, name):
        move = getattr(module, name)

        def first(*args, **kwargs):
            if not threading.current_thread().name.startswith("checkpoint"):
                return move(*args, **kwargs)
            snapshots.append(tmp_path / f"before-{name}-{len(snapshots)}")
            shutil.copytree(folder, snapshots[-1])
            return move(*args, **kwargs)

        monkeypatch.setattr(module, name, first)

    for module, name in ((os, "fsync"), (pathlib.Path, "rename"), (shutil, "rmtree")):
        photographed(module, name)
    with training.Checkpoints(folder, every=5, keep=1, identity={"eta": 0.1}) as checkpoints:
        fit(checkpoints=checkpoints)
    monkeypatch.undo()
    begun = [snapshot for snapshot in snapshots if kept(snapshot)]
    names = {snapshot.name.split("-")[1] for snapshot in begun}
    assert names == {"fsync", "rename", "rmtree"}
    # The files in turn make no difference: one of eight.
    for snapshot in [s for i, s in enumerate(begun) if "fsync" not in s.name or i % 8 == 0]:
        equal(resume(snapshot), whole[1])


# --- which are kept ----------------------------------------------------------------------------


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    scores = iter([0.5, 0.9, float("nan"), 0.7, 0.9, 0.1])
    with training.Checkpoints(tmp_path, keep=2, best="score", mode="max") as checkpoints:
        fit(6, evaluate=lambda _: {"score": next(scores)}, checkpoints=checkpoints)
        assert checkpoints.best() == 10
        best, says = checkpoints.restore(
            start(), step=10, identity=manifest.read(tmp_path / "step-00000010").identity
        )
        assert int(best.step) == 10
        assert says.record["score"] == 0.9
    assert kept(tmp_path) == [10, 25, 30]


def test_the_best_of_an_unknown_name_is_refused_with_the_names_there_are(tmp_path):
    with (
        training.Checkpoints(tmp_path, best="los") as checkpoints,
        pytest.raises(ValueError, match=r"best='los' is no entry of the records: \[.*'loss'"),
    ):
        fit(1, checkpoints=checkpoints)


# --- damage ------------------------------------------------------------------------------------


def biggest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def replace(path, make):
    path.unlink()
    make(path)


def progress(**changes):
    def damage(folder):
        craft(folder, progress=manifest.read(folder).progress | changes)

    return damage


NOTHING = {"loss": [], "error": [], "grad_norm": []}


DAMAGES = {
    "truncated": lambda f: biggest(f / "arrays").write_bytes(
        biggest(f / "arrays").read_bytes()[:-1]
    ),
    "flipped": lambda f: flip(biggest(f / "arrays")),
    "flipped metadata": lambda f: flip(f / "arrays" / "_METADATA"),
    "a file missing": lambda f: biggest(f / "arrays").unlink(),
    "no arrays": lambda f: shutil.rmtree(f / "arrays"),
    "empty": empty,
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "an empty manifest": lambda f: (f / "manifest.json").write_text(""),
    "a flipped manifest": lambda f: flip(f / "manifest.json"),
    "a foreign manifest": lambda f: (f / "manifest.json").write_text("[1, 2]"),
    "a deep manifest": lambda f: (f / "manifest.json").write_text("[" * 100_000),
    "a manifest of 50 GB": lambda f: os.truncate(f / "manifest.json", 50 * 2**30),
    "a file of 50 GB": lambda f: os.truncate(biggest(f / "arrays"), 50 * 2**30),
    "a directory as manifest": lambda f: replace(f / "manifest.json", os.mkdir),
    "a pipe as manifest": lambda f: replace(f / "manifest.json", os.mkfifo),
    "a pipe as file": lambda f: replace(biggest(f / "arrays"), os.mkfifo),
    "an older one under its name": lambda f: (
        shutil.rmtree(f),
        shutil.copytree(f.with_name("step-00000004"), f),
    ),
    "no format": lambda f: craft(f, remove=["format"]),
    "a word as format": lambda f: craft(f, format="2"),
    "no identity": lambda f: craft(f, remove=["identity"]),
    "a list as identity": lambda f: craft(f, identity=[1]),
    "a fraction as step": lambda f: craft(f, step=9.0),
    "a word as files": lambda f: craft(f, files="arrays"),
    "files elsewhere": lambda f: craft(f, files={"../step-00000004/manifest.json": [1, "0"]}),
    "files without a size": lambda f: craft(f, files={"arrays/_METADATA": "0"}),
    "no files": lambda f: (craft(f, files={}), shutil.rmtree(f / "arrays")),
    "no progress": lambda f: craft(f, progress={}),
    "no log": progress(log={}),
    "a short log": progress(log=NOTHING),
    "words in the log": progress(log={name: ["a"] * 4 for name in NOTHING}),
    "too many failures": progress(failures=10**30),
    "failures below 0": progress(failures=-1),
}


@pytest.mark.timeout(60)  # a pipe would be waited for, and 50 GB be read
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_warned_of_and_the_one_before_is_taken(whole, copied, damage):
    folder = copied(4, 9)
    damage(folder / "step-00000009")
    with pytest.warns(UserWarning, match=r"step-00000009.*: going back to step 4"):
        end = resume(folder)
    equal(end, whole[1])
    # The damaged one does not stand in the way of the one that is due at its step.
    assert kept(folder) == [5, 10, 15]
    assert (folder / "step-00000009.damaged").is_dir()


def test_where_all_are_damaged_no_training_starts(copied):
    folder = copied(4, 9)
    flip(biggest(folder / "step-00000009"))
    (folder / "step-00000004" / "manifest.json").unlink()
    with pytest.raises(
        ValueError, match=r"no checkpoint is complete: .*step-00000009.*step-00000004"
    ):
        resume(folder)
    assert kept(folder) == [4, 9]


def test_every_file_of_a_checkpoint_is_hashed(copied):
    folder = copied(4, 9)
    files = [p for p in (folder / "step-00000009").rglob("*") if p.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        if not content:
            continue
        flip(path)
        with (
            training.Checkpoints(folder, resume=True) as checkpoints,
            pytest.raises(ValueError, match=r"no checkpoint is complete"),
        ):
            checkpoints.restore(start(), step=9)
        path.write_bytes(content)


# --- another training --------------------------------------------------------------------------

OTHERS = {
    "setting": ({"identity": {"eta": 0.2}}, r"eta: 0\.1 in the checkpoint, 0\.2 here"),
    "new setting": (
        {"identity": {"eta": 0.1, "clip": 1.0}},
        r"clip: nothing in the checkpoint, 1\.0 here",
    ),
    "seed": ({"begin": start(seed=8)}, r"key of the steps: \[0, 9\] in the checkpoint, \[0, 8\]"),
    "batch size": (
        {"batches": Batches(BATCHES.data, 5, key=jax.random.key(5))},
        r"batch size: 4 in the checkpoint, 5 here",
    ),
    "data": (
        {"batches": Batches(BATCHES.data | {"inputs": -INPUTS}, 4, key=jax.random.key(5))},
        r"\['inputs'\]: float32\[22, 3\] [0-9a-f]{64} in the checkpoint, float32\[22, 3\] ",
    ),
}


@pytest.mark.parametrize(("settings", "message"), OTHERS.values(), ids=OTHERS)
def test_a_checkpoint_of_another_training_is_refused_with_what_differs(copied, settings, message):
    with pytest.raises(ValueError, match=r"belongs to another training: .*" + message):
        resume(copied(10), **settings)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            start(width=4),
            r"\['kernel'\]: \['float32', \[3\]\] in the checkpoint, \['float32', \[4\]\] here",
        ),
        (
            start(optax.sgd(0.1)),
            r"opt_state\[0\]\.mu\['bias'\]: \['float32', \[\]\] in the checkpoint, nothing here",
        ),
        (
            start(dtype=jnp.bfloat16),
            r"params\['bias'\]: \['float32', \[\]\] in the checkpoint, \['bfloat16', \[\]\] here",
        ),
    ],
    ids=["architecture", "optimizer", "dtype"],
)
def test_a_state_of_another_form_is_refused_with_what_differs(copied, other, message):
    folder = copied(10)
    identity = manifest.read(folder / "step-00000010").identity
    with (
        training.Checkpoints(folder, resume=True) as checkpoints,
        pytest.raises(ValueError, match=message),
    ):
        checkpoints.restore(other, identity=identity)


def test_another_format_is_refused_and_nothing_older_is_taken(copied, monkeypatch):
    folder = copied(5, 10)
    path = folder / "step-00000010" / "manifest.json"
    for number, advice in ((3, "a newer"), (1, "the older")):
        content = json.loads(path.read_text())["content"] | {"format": number}
        path.write_text(json.dumps({"sha256": manifest._digest(content), "content": content}))
        with pytest.raises(ValueError, match=rf"the format {number}, .* reads 2: use {advice}"):
            resume(folder)


# --- folders -----------------------------------------------------------------------------------


def test_a_folder_with_checkpoints_is_not_written_to_by_accident(copied):
    folder = copied(10)
    with pytest.raises(ValueError, match=r"holds the checkpoint of step 10: resume it, or name"):
        training.Checkpoints(folder)


def test_without_a_checkpoint_to_resume_no_training_starts(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint in .*: to start a new training, leave"
    ):
        training.Checkpoints(tmp_path, resume=True)


def test_two_trainings_do_not_write_one_folder(tmp_path):
    with (
        training.Checkpoints(tmp_path),
        pytest.raises(ValueError, match=r"is being written by another process"),
    ):
        training.Checkpoints(tmp_path)
    training.Checkpoints(tmp_path).close()  # free again


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 0}, r"keep must be an int of at least 1, not 0"),
        ({"keep": 1.5}, r"keep must be an int of at least 1, not 1\.5"),
        ({"every": 0}, r"every must be an int of at least 1, not 0"),
        ({"every": True}, r"every must be an int of at least 1, not True"),
        ({"mode": "least"}, r"unknown mode 'least': expected one of min, max"),
        ({"folder": 3}, r"folder must be a path, a str or a pathlib\.Path, not an int"),
        ({"folder": "a\0b"}, r"folder must be a path without a zero byte, not 'a\\x00b'"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, settings, message, unchecked):
    with pytest.raises(ValueError, match=message):
        training.Checkpoints(**{"folder": tmp_path} | settings)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"the folder .*file cannot be made: File exists"):
        training.Checkpoints(tmp_path / "file")


def test_nothing_is_removed_but_what_a_checkpoint_left_half_written(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept.txt").write_text("kept")
    folder = tmp_path / "checkpoints"
    for name in ("20261128-120000-s0.partial", "step-00000003.partial"):
        (folder / name).mkdir(parents=True)
        (folder / name / "run.json").write_text("of somebody")
    (folder / "step-00000004.partial").symlink_to(elsewhere)
    (folder / "foo.partial").symlink_to(elsewhere)
    (folder / "step-00000005.partial").write_text("a file")
    (folder / "step-5.partial").mkdir()
    others = set(folder.iterdir())
    (folder / "step-00000007.partial" / "arrays.orbax-checkpoint-tmp").mkdir(parents=True)
    (folder / "step-00000008.partial" / "arrays" / "d").mkdir(parents=True)
    (folder / "step-00000008.partial" / "manifest.json").write_text("{}")
    training.Checkpoints(folder).close()
    assert set(folder.iterdir()) == others
    # What is in the way of a checkpoint is an error, and stays too.
    with (
        training.Checkpoints(folder) as checkpoints,
        pytest.raises(OSError, match=r"step 4 could not be written to .* \(File exists\)"),
    ):
        checkpoints.save(start().replace(step=jnp.int32(4)))
    assert set(folder.iterdir()) == others
    assert [path.name for path in elsewhere.iterdir()] == ["kept.txt"]


def test_stray_names_are_no_checkpoints_and_stand_in_no_way(whole, copied, tmp_path):
    folder = copied(4)
    (folder / "step-00000010").write_text("a file")
    (folder / "step-00000099").symlink_to(tmp_path)
    (folder / "notes.txt").write_text("")
    equal(resume(folder), whole[1])
    assert (folder / "step-00000010").is_dir()
    assert (folder / "step-00000010.damaged").read_text() == "a file"
    assert (folder / "step-00000099").is_symlink()


def test_a_damaged_one_takes_no_name_that_is_taken(copied):
    folder = copied(4, 9)
    (folder / "step-00000009.damaged").mkdir()
    (folder / "step-00000009.damaged" / "notes.txt").write_text("of somebody")
    flip(biggest(folder / "step-00000009"))
    with pytest.warns(UserWarning, match="going back to step 4"):
        resume(folder)
    assert (folder / "step-00000009.damaged" / "notes.txt").exists()
    assert (folder / "step-00000009.damaged1" / "manifest.json").exists()


def test_a_directory_with_something_else_in_it_is_not_removed(copied):
    folder = copied(4)
    (folder / "step-00000004" / "notes.txt").write_text("of somebody")
    with training.Checkpoints(folder, keep=1, resume=True, identity={"eta": 0.1}) as checkpoints:
        fit(checkpoints=checkpoints)
    assert kept(folder) == [4, 15]


def test_a_folder_that_is_removed_meanwhile_is_not_made_again(tmp_path):
    folder = tmp_path / "checkpoints"
    with training.Checkpoints(folder) as checkpoints:
        shutil.rmtree(folder)
        with pytest.raises(OSError, match=r"\(No such file or directory\); those of steps before"):
            checkpoints.save(start())
    assert not folder.exists()


def test_the_reason_of_a_failure_is_not_a_path(tmp_path, monkeypatch):
    def refuse(folder, step):
        raise PermissionError(13, "Permission denied", str(folder.partial(step)))

    monkeypatch.setattr(Folder, "begin", refuse)  # root may write where it is forbidden
    with (
        training.Checkpoints(tmp_path) as checkpoints,
        pytest.raises(OSError, match=r"to .* \(Permission denied\); those of steps \[\]"),
    ):
        checkpoints.save(start())


class Source:
    """The samples of `BATCHES`, read one by one."""

    def __len__(self):
        return len(INPUTS)

    def __getitems__(self, rows):
        return [{"inputs": INPUTS[row], "targets": TARGETS[row]} for row in rows]


@pytest.mark.parametrize("ahead", [1, 2, 16])
def test_a_training_from_a_source_is_that_from_memory_and_resumed_too(
    whole, tmp_path, monkeypatch, ahead
):
    monkeypatch.setattr(feed, "_STEPS_AT_A_TIME", ahead)
    batches, records = Batches(Source(), 4, key=jax.random.key(5)), []

    def stop(record):
        if record["epoch"] == 2:
            raise RuntimeError("stopped")

    folder = tmp_path / "checkpoints"
    checkpoints = training.Checkpoints(folder, every=3)
    with checkpoints, pytest.raises(RuntimeError, match="stopped"):
        fit(report=stop, batches=batches, checkpoints=checkpoints)
    with training.Checkpoints(folder, resume=True) as checkpoints:
        equal(fit(report=records.append, batches=batches, checkpoints=checkpoints), whole[1])
    assert numbers(records) == numbers(whole[2])[1:]


def test_a_full_disk_is_said_before_anything_is_written(copied, monkeypatch):
    folder = copied(5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 990, 10))
    with pytest.raises(OSError, match=r"step 10 .*it needs \d+ bytes, and 10 are free"):
        resume(folder)
    assert [path.name for path in folder.iterdir()] == ["step-00000005"]


# --- signals and what is not finite ------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_saves_and_exits_with_its_code(
    whole, tmp_path, number, code, monkeypatch, capsys
):
    monkeypatch.setattr(training.loop, "SECONDS_A_CALL", 0.0)  # one step a call
    before = signal.getsignal(number)

    def tick(step, steps):
        if step == 7:
            os.kill(os.getpid(), number)

    records = []
    with (
        training.Checkpoints(tmp_path, identity={"eta": 0.1}) as checkpoints,
        pytest.raises(training.Interrupted) as ended,
    ):
        fit(report=records.append, tick=tick, checkpoints=checkpoints)
    assert ended.value.code == code
    assert f"{number.name}: saved step 7 in {tmp_path}" in capsys.readouterr().err
    assert kept(tmp_path) == [5, 7]
    assert signal.getsignal(number) is before
    equal(resume(tmp_path, records), whole[1])
    assert numbers(records) == numbers(whole[2])


def test_a_signal_during_the_last_save_is_not_lost(tmp_path, monkeypatch, capsys):
    save = training.Checkpoints.save

    def interrupted(checkpoints, train_state, **settings):
        save(checkpoints, train_state, **settings)
        if int(train_state.step) == 15:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training.Checkpoints, "save", interrupted)
    with training.Checkpoints(tmp_path) as checkpoints, pytest.raises(SystemExit, match="143"):
        fit(checkpoints=checkpoints)
    assert f"SIGTERM: saved step 15 in {tmp_path}" in capsys.readouterr().err
    assert kept(tmp_path) == [5, 10, 15]


@pytest.fixture
def interruptible():
    """Python's own handler, which is missing where SIGINT was ignored when it started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_without_checkpoints_or_in_another_thread_signals_keep_their_handlers(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(tick=lambda *_: os.kill(os.getpid(), signal.SIGINT))
    ends = []
    with training.Checkpoints(tmp_path) as checkpoints:
        thread = threading.Thread(target=lambda: ends.append(fit(1, checkpoints=checkpoints)))
        thread.start()
        thread.join()
    assert int(ends[0].step) == 5


def test_the_last_finite_state_is_saved_when_a_training_stops(tmp_path):
    def divides(params, state, batch, key):
        return params / jnp.mean(batch), (state, {})

    optimizer, values = optax.sgd(0.5), np.ones(8, np.float32)
    batches = Batches(values, 1, key=jax.random.key(0))
    values[int(batches.indices(3)[0])] = 0
    begin = training.create(jnp.asarray(1.0), optimizer, key=jax.random.key(0))
    with (
        training.Checkpoints(tmp_path) as checkpoints,
        pytest.raises(training.NonFiniteError) as stopped,
    ):
        training.fit(begin, divides, optimizer, batches, 1, checkpoints=checkpoints)
    assert kept(tmp_path) == [3]
    with training.Checkpoints(tmp_path, resume=True) as checkpoints:
        says = manifest.read(tmp_path / "step-00000003")
        restored, _ = checkpoints.restore(begin, identity=says.identity)
    equal(restored, stopped.value.train_state)


def test_no_warning_comes_out_of_saving(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with training.Checkpoints(tmp_path) as checkpoints:
            fit(1, checkpoints=checkpoints)
