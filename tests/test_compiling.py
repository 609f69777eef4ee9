import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from chainrule import compiling, runs

SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
    "jax_enable_compilation_cache",
)


@pytest.fixture
def fresh():
    """JAX's settings as a new process has them, and after the test as they were."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def multiply(number):
    """Compile a program that no test has compiled before, and run it."""
    return float(jax.jit(lambda x: jnp.sum(jnp.sin(x * number)))(jnp.ones(3)))


def kept(folder):
    return {file for file in folder.iterdir() if file.name.endswith("-cache")}


def test_what_is_compiled_is_kept_and_the_oldest_goes_beyond_the_bound(
    tmp_path, monkeypatch, fresh
):
    multiply(1.5)  # JAX has looked for a folder before, and found none
    folder = tmp_path / "new" / "folder"
    with compiling.keep(folder) as found:
        assert found == folder
        multiply(2.5)
    (first,) = kept(folder)
    bound = int(2.5 * first.stat().st_size)
    monkeypatch.setattr(compiling, "MAX_BYTES", bound)
    with compiling.keep(folder):
        for number in (3.5, 4.5, 5.5):
            multiply(number)
            assert 1 <= len(kept(folder)) <= 2
            assert sum(file.stat().st_size for file in kept(folder)) <= bound
    assert first not in kept(folder)


def test_after_the_block_jax_is_as_it_was_also_when_it_raises(tmp_path, fresh):
    before = {name: getattr(jax.config, name) for name in SETTINGS}

    def interrupted():
        with compiling.keep(tmp_path):
            assert jax.config.jax_compilation_cache_dir == str(tmp_path)
            assert jax.config.jax_compilation_cache_max_size == 268_435_456  # bytes, a quarter GiB
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert before == {name: getattr(jax.config, name) for name in SETTINGS}
    multiply(8.5)
    assert not kept(tmp_path)


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path, fresh):
    (tmp_path / "file").write_text("in the way")
    with compiling.keep(tmp_path / "file" / "folder") as found:
        assert found is None
        assert jax.config.jax_compilation_cache_dir is None
        assert multiply(6.5) == pytest.approx(3 * np.sin(6.5), rel=1e-5)


def test_a_lock_that_another_process_holds_is_waited_for_once(tmp_path, fresh, monkeypatch):
    monkeypatch.setattr(compiling, "LOCK_SECONDS", 0.1)
    code = "import filelock, sys\nwith filelock.FileLock(sys.argv[1]):\n print()\n input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / ".lockfile")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        holder.stdout.readline()
        keep = compiling.keep(tmp_path)
        with pytest.warns(UserWarning, match=r"not kept: another process holds .*\.lockfile; end"):
            assert keep.__enter__() is None
        assert jax.config.jax_compilation_cache_dir is None
        multiply(9.5)
        keep.__exit__(None, None, None)
        holder.communicate(b"\n")
    assert not kept(tmp_path)
    with compiling.keep(tmp_path) as found:
        assert found == tmp_path


def test_a_damaged_program_is_compiled_again(tmp_path, fresh):
    with compiling.keep(tmp_path):
        multiply(7.5)
        for file in kept(tmp_path):
            file.write_bytes(b"not a program")
        jax.clear_caches()
        with pytest.warns(UserWarning, match="Error reading persistent compilation cache"):
            assert multiply(7.5) == pytest.approx(3 * np.sin(7.5), rel=1e-5)


def nothing_is_kept(folder):
    with compiling.keep(folder) as found:
        return found is None and not folder.exists()


def test_settings_of_jax_go_first(tmp_path, monkeypatch, fresh):
    jax.config.update("jax_enable_compilation_cache", False)
    assert nothing_is_kept(tmp_path / "a")
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    assert nothing_is_kept(tmp_path / "a")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "theirs")
    monkeypatch.delitem(sys.modules, "jax")
    assert nothing_is_kept(tmp_path / "a")


@pytest.mark.parametrize("named", [True, False])
def test_the_folder_is_where_caches_are_expected(tmp_path, monkeypatch, fresh, named):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path) if named else "relative")
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path / "home")
    below = tmp_path if named else tmp_path / "home" / ".cache"
    with compiling.keep() as found:
        assert found == below / "chainrule" / "compiled"


SCRIPT = """
import jax, jax.numpy as jnp
from chainrule import compiling, runs

hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
with runs.start("demo", seed=0, arguments={{}}, root="runs", keep_programs={keep}):
    jax.jit(jnp.sum)(jnp.ones(3))
print(hits.count("/jax/compilation_cache/cache_hits"))
"""


def test_a_run_that_keeps_its_programs_finds_those_of_the_last_one_and_others_keep_none(tmp_path):
    def run(keep):
        (tmp_path / "demo.py").write_text(SCRIPT.format(keep=keep))
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = [sys.executable, "demo.py"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return int(done.stdout)

    assert run(keep=False) == 0
    assert not (tmp_path / "cache").exists()
    assert run(keep=True) == 0
    assert run(keep=True) >= 1


def test_a_run_in_somebody_elses_program_changes_no_setting(tmp_path, fresh):
    with runs.start("demo", seed=0, arguments={}, root=tmp_path):
        assert jax.config.jax_compilation_cache_dir is None
