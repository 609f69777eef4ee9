import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.models import vgg
from chainrule.training import export


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small VGG in a file, inputs and its logits; block 3 has kernels larger than its images."""
    params = jax.jit(
        lambda key: vgg.init(key, ((4,), (4,), (5,)), 8, 1, classes=3, batch_norm=True, hidden=(6,))
    )(jax.random.key(0))
    state = vgg.init_state(params)
    inputs = jax.random.normal(jax.random.key(1), (5, 8, 8, 1))
    path = tmp_path_factory.mktemp("programs") / "vgg.stablehlo"
    shape = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    export.save(path, lambda inputs: vgg.apply(params, inputs, state=state), shape)
    return path, inputs, jax.jit(vgg.apply)(params, inputs, state=state)


def test_the_program_runs_from_the_file_at_every_size_of_batch(saved):
    path, inputs, logits = saved
    program = export.load(path)
    for size in (5, 1):
        got = program.call(inputs[:size])
        np.testing.assert_allclose(got, logits[:size], rtol=1e-5, atol=1e-6)
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert "stablehlo.convolution" in program.mlir_module()
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError, match="Shape mismatch"):
        program.call(jnp.zeros((2, 9, 9, 1)))


def test_it_runs_where_this_package_is_not(saved, tmp_path):
    path, inputs, logits = saved
    np.save(tmp_path / "inputs.npy", inputs)
    code = (
        "import sys, jax.export, numpy as np\n"
        f"program = jax.export.deserialize(bytearray(open({str(path)!r}, 'rb').read()))\n"
        "np.save('logits.npy', program.call(np.load('inputs.npy')))\n"
        "assert not [name for name in sys.modules if 'chainrule' in name]\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), logits, rtol=1e-5, atol=1e-6)


def test_a_flipped_bit_and_a_torn_file_are_found(saved, tmp_path):
    whole = saved[0].read_bytes()
    path = tmp_path / "a.stablehlo"
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(ValueError, match=r"a\.stablehlo is damaged: it does not have the checksum"):
        export.load(path)
    for torn in (whole[:-1], whole[:middle], b""):
        path.write_bytes(torn)
        with pytest.raises(ValueError, match=r"a\.stablehlo is no program that was saved here"):
            export.load(path)
    with pytest.raises(FileNotFoundError, match=r"no file .*b\.stablehlo"):
        export.load(tmp_path / "b.stablehlo")


def test_a_tree_of_inputs_shares_one_batch(tmp_path):
    path = tmp_path / "a.stablehlo"
    pair = {"a": jnp.ones((2, 3)), "b": jnp.ones((2, 3))}
    export.save(path, lambda pair, scale: (pair["a"] + pair["b"]) * scale, pair, jnp.ones((2, 1)))
    four = jax.tree.map(lambda leaf: jnp.full((4, 3), 2.0), pair)
    got = export.load(path).call(four, jnp.full((4, 1), 3.0))
    np.testing.assert_array_equal(got, np.full((4, 3), 12))


def test_what_is_no_function_of_batches_is_refused(tmp_path):
    path = tmp_path / "a.stablehlo"
    with pytest.raises(ValueError, match=r"inputs of shapes \[\(2, 3\), \(\)\]: the first axis"):
        export.save(path, jnp.multiply, jnp.ones((2, 3)), jnp.ones(()))
    with pytest.raises(ValueError, match=r"inputs of shapes \[\]"):
        export.save(path, lambda: jnp.ones(3))
    with pytest.raises(ValueError, match="not one of batches of any size: Cannot divide evenly"):
        export.save(path, lambda x: x.reshape(4, -1), jnp.ones((2, 3)))
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((3, jnp.ones((2, 3))), {}, r"f must be a function of batches, not an int"),
        ((jnp.sin, "abc"), {}, r"inputs\[0\] must be an array of numbers, not a str"),
        (
            (jnp.sin, jnp.ones((2, 3))),
            {"platforms": "cpu"},
            r"platforms must be a list of some of cpu, .* not a str",
        ),
        (
            (jnp.sin, jnp.ones((2, 3))),
            {"platforms": ()},
            r"a list of some of cpu, cuda, rocm, tpu, not empty",
        ),
        ((jnp.sin, jnp.ones((2, 3))), {"platforms": ["gpu"]}, r"unknown platform 'gpu'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, arguments, settings, message, unchecked):
    with pytest.raises(ValueError, match=message):
        export.save(tmp_path / "a.stablehlo", *arguments, **settings)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_program_is_refused_unread(tmp_path):
    path = tmp_path / "a.stablehlo"
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"a\.stablehlo is no regular file"):
        export.load(path)
    path.unlink()
    path.touch()
    os.truncate(path, 50 * 2**30)
    with pytest.raises(ValueError, match=r"a\.stablehlo is no program that was saved here"):
        export.load(path)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    other, path = tmp_path / "other", tmp_path / "a.stablehlo"
    for link in (path, tmp_path / f"a.stablehlo.{os.getpid()}.partial"):
        link.symlink_to(other)
    export.save(path, jnp.sin, jnp.ones((2, 3)))
    assert export.load(path).call(jnp.zeros((5, 3))).shape == (5, 3)
    assert not path.is_symlink()
    assert not other.exists()
