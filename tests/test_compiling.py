import contextlib
import functools
import itertools
import os
import pathlib
import re
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from chainrule import compiling, descent, runs
from chainrule.models import lenet, vgg
from chainrule.ops.convolution import conv

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
from chainrule.models import lenet, vgg
from chainrule.ops.convolution import conv

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


KEPT = pytest.mark.filterwarnings("ignore:Error writing persistent compilation cache")


@pytest.fixture
def onednn():
    """The options, where this jaxlib has them."""
    with optimised():
        found = compiling.options()
    if not found:
        pytest.skip("this jaxlib has no switch for oneDNN")
    return found


@contextlib.contextmanager
def optimised():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@KEPT
def test_a_network_agrees_with_and_without_the_other_library(onednn):
    params = lenet.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, *lenet.INPUT_SHAPE))

    def loss(params, images):
        return jnp.sum(jnp.square(lenet.apply(params, images)))

    with optimised():
        plain, other = (
            jax.jit(jax.value_and_grad(loss), compiler_options=options).lower(params, images)
            for options in ({}, onednn)
        )
        plain, other = plain.compile(), other.compile()
    assert "__onednn$" in other.as_text()
    assert "__onednn$" not in plain.as_text()
    for a, b in zip(*(jax.tree.leaves(f(params, images)) for f in (plain, other)), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=2e-5 * float(jnp.max(jnp.abs(a))))


@KEPT
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_of_the_inputs_is_one_of_its_convolutions(onednn, dtype):
    inputs, kernel = jnp.ones((2, 12, 12, 16), dtype), jnp.ones((3, 3, 16, 32), dtype)

    def forward(inputs):
        return conv(inputs, kernel, padding=1)

    def by_inputs(g):
        return jax.vjp(forward, inputs)[1](g)[0]

    def handed_over(f, x):
        with optimised():
            text = jax.jit(f, compiler_options=onednn).lower(x).compile().as_text()
        short = {"float32": "f32", "bfloat16": "bf16"}[dtype]
        made = ",".join(map(str, jax.eval_shape(f, x).shape))
        return re.search(rf"{short}\[{made}\]\S*, .*__onednn\$convolution", text)

    if dtype == "bfloat16" and not handed_over(forward, inputs):
        pytest.skip("this processor has no instructions for bfloat16")
    assert handed_over(by_inputs, forward(inputs))


@KEPT
def test_sums_stay_with_the_library_that_is_fast_at_them(onednn):
    """XLA's plain loop takes 15 to 35 times as long for the gradient of a bias in bfloat16."""

    def handed_over(options):
        x = jax.ShapeDtypeStruct((4, 56, 56, 64), "bfloat16")
        with optimised():
            total = jax.jit(functools.partial(jnp.sum, axis=(0, 1, 2)), compiler_options=options)
            return "kind=kCustom" in total.lower(x).compile().as_text()

    if not handed_over({}):
        pytest.skip("this jaxlib sums in a loop of its own")
    assert handed_over(onednn)


@KEPT
def test_what_is_not_finite_spreads_alike_and_an_empty_batch_stays_empty(onednn):
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 16, 16))
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 16))
    images = images.at[0, 2, 3, 0].set(jnp.nan).at[1, 7, 7, 5].set(jnp.inf)
    with optimised():
        plain, other = (jax.jit(conv, compiler_options=options) for options in ({}, onednn))
        a, b = (np.asarray(f(images, kernel)) for f in (plain, other))
        assert other(images[:0], kernel).shape == (0, *a.shape[1:])
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    np.testing.assert_array_equal(np.isposinf(a), np.isposinf(b))
    assert 0 < np.isnan(a).sum() < a.size


HARMLESS = {"xla_embed_ir_in_executable": True}
"""Options that every jaxlib takes, and that change no number."""


def test_a_function_with_options_runs_in_every_trace():
    def f(x):
        return jnp.sum(jnp.sin(x) * x)

    whole = compiling.jit(f, compiler_options=HARMLESS)
    x = jnp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    with pytest.raises(ValueError, match="can only be passed to top-level"):
        jax.jit(jax.jit(f, compiler_options=HARMLESS))(x)
    for make in (
        lambda f: f,
        jax.jit,
        jax.grad,
        jax.vmap,
        lambda f: jax.jit(jax.grad(f)),
        lambda f: jax.grad(jax.checkpoint(f)),
        lambda f: lambda x: jax.lax.map(f, x),
        lambda f: lambda x: descent.sweep(f, x, jnp.asarray([0.1, 0.2]), 3).loss,
    ):
        np.testing.assert_allclose(make(whole)(x), make(f)(x), rtol=1e-6)


def test_an_error_of_the_function_itself_is_no_other_try(unchecked):
    calls = []

    def f(x):
        calls.append(x)
        raise ValueError("one of its own")

    with pytest.raises(ValueError, match="one of its own"):
        compiling.jit(f, compiler_options=HARMLESS)(jnp.ones(3))
    assert len(calls) == 1
    with pytest.raises(ValueError, match="compiler_options must be options by name, not an int"):
        compiling.jit(f, compiler_options=3)


@pytest.mark.parametrize(("part", "taken"), [(0.9, True), (1.0, False)])
def test_options_are_taken_where_they_make_a_program_faster(monkeypatch, part, taken):
    monkeypatch.setattr(compiling, "options", lambda: HARMLESS)
    # The first pair is warming up; of the others one is disturbed.
    pairs = [(9.0, 99.0), (2.0, 2.0 * part), (1.0, 50.0), (3.0, 3.0 * part)]
    moments = itertools.accumulate(x for pair in pairs for t in pair for x in (0.0, t))
    monkeypatch.setattr(compiling, "time", types.SimpleNamespace(perf_counter=moments.__next__))
    found = compiling.faster(lambda x: x + 1, jnp.ones(3), rounds=3)
    assert found == (HARMLESS if taken else {})


def test_what_cannot_be_measured_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="rounds must be an int of at least 1, not 0"):
        compiling.faster(jnp.sum, jnp.ones(3), rounds=0)
    monkeypatch.setattr(compiling, "options", dict)
    assert compiling.faster(jnp.sum, jnp.ones(3)) == {}


def test_options_that_this_jaxlib_does_not_know_are_left_out(monkeypatch):
    monkeypatch.setattr(compiling, "_ONEDNN", {"xla_no_such_option": True})
    assert compiling.options() == {}
    monkeypatch.setattr(jax, "default_backend", lambda: "cuda")
    assert compiling.options() == {}


@KEPT
def test_what_it_returns_may_be_changed(onednn):
    with optimised():
        compiling.options().clear()
        assert compiling.options() == onednn


def test_on_accelerators_each_convolution_of_vgg16_is_one_of_xlas_own():
    params = jax.eval_shape(vgg.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), "float32")

    def loss(params, images):
        return jnp.sum(vgg.apply(params, images))

    step = jax.jit(jax.grad(loss)).trace(params, images)
    for platform in ("cuda", "tpu"):
        program = step.lower(lowering_platforms=(platform,)).as_text()
        # 13 forward, 13 with respect to kernels, 12 with respect to inputs: the images need none.
        assert program.count("stablehlo.convolution") == 38
        # Of the three dense layers; what is unfolded on a CPU would be products as well.
        assert program.count("stablehlo.dot_general") <= 9
