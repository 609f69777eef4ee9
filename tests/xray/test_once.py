"""Results that are one array in several shapes share its memory; numbers are those of the plain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.xray import _jax, _once

X = jnp.asarray(np.random.default_rng(0).normal(size=(64, 4, 128)).astype(np.float32))


def apart(x):
    return jax.lax.optimization_barrier(x)


SHARED = {
    "itself": lambda x: x,
    "behind a barrier": lambda x: apart(apart(x)),
    "reshaped": lambda x: apart(x.reshape(32, 8, 128)),
    "with an axis more": lambda x: jnp.expand_dims(x, 1),
    "with an axis less": lambda x: jnp.squeeze(jnp.expand_dims(x, 1), 1),
    "padded by nothing": lambda x: jax.lax.pad(x, 0.0, [(0, 0, 0)] * 3),
    "cut whole": lambda x: jax.lax.slice(x, (0, 0, 0), x.shape),
    "split into one": lambda x: jax.lax.split(x, (64,), 0)[0],
    "joined of one": lambda x: jax.lax.concatenate([x], 0),
    "along axes of its own": lambda x: jax.lax.broadcast_in_dim(x, (64, 1, 4, 128), (0, 2, 3)),
}
NOT_SHARED = {
    "transposed": lambda x: x.transpose(1, 0, 2),
    "reversed": lambda x: x[::-1],
    "every second": lambda x: jax.lax.slice(x, (0, 0, 0), x.shape, (2, 1, 1)),
    "padded inside": lambda x: jax.lax.pad(x, 0.0, [(0, 0, 1), (0, 0, 0), (0, 0, 0)]),
    "moved by padding": lambda x: jax.lax.pad(x, 0.0, [(1, -1, 0), (0, 0, 0), (0, 0, 0)]),
    "repeated": lambda x: jnp.broadcast_to(x[:, None], (64, 2, 4, 128)),
    "split into two": lambda x: jax.lax.split(x, (60, 4), 0)[1],
    "of another dtype": lambda x: jax.lax.bitcast_convert_type(x, jnp.int32),
    "of other numbers": lambda x: x + 0,
}


def where(array):
    return array.unsafe_buffer_pointer()


@pytest.mark.parametrize(
    ("name", "whether"),
    [*zip(SHARED, [True] * 10, strict=True), *zip(NOT_SHARED, [False] * 9, strict=True)],
)
def test_one_array_in_several_shapes_is_kept_once(name, whether):
    change = (SHARED | NOT_SHARED)[name]

    def f(x):
        made = jnp.sin(x)
        return {"made": made, "changed": change(apart(made)), "sum": jnp.sum(made)}

    found, wanted = _jax.compile_whole(f)(X), jax.jit(f)(X)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    assert found["changed"].shape == wanted["changed"].shape
    assert found["changed"].dtype == wanted["changed"].dtype
    assert (where(found["changed"]) == where(found["made"])) is whether


def test_what_is_not_finite_and_the_sign_of_zero_stay_to_the_bit():
    x = X.at[0, 0, :4].set(jnp.asarray([jnp.nan, -jnp.inf, -0.0, 0.0]))
    made, seen = _jax.compile_whole(lambda x: (x * 1, apart(x * 1).reshape(-1)))(x)
    np.testing.assert_array_equal(
        np.asarray(seen).view(np.int32), np.asarray(made).reshape(-1).view(np.int32)
    )


def test_what_is_no_array_of_numbers_passes_as_it_is():
    def f(key, x, n):
        return key, jax.random.split(key, 2000).reshape(40, 50), x.reshape(2, -1), n, 3.0, x[:0]

    key, keys, small, n, three, nothing = _jax.compile_whole(f)(jax.random.key(1), jnp.ones(4), 2)
    assert keys.shape == (40, 50)
    assert jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    np.testing.assert_array_equal(
        jax.random.key_data(keys), jax.random.key_data(f(key, jnp.ones(4), 2)[1])
    )
    assert (small.shape, int(n), float(three), nothing.shape) == ((2, 2), 2, 3.0, (0,))


def test_one_program_serves_calls_of_other_shapes():
    run = _jax.compile_whole(lambda x: (x + 1, apart(x + 1).reshape(-1)))
    for x in (X, X[:3], jnp.ones((300, 300)), X):
        made, flat = run(x)
        np.testing.assert_array_equal(made, x + 1)
        np.testing.assert_array_equal(flat, (x + 1).reshape(-1))


def test_on_several_devices_and_elsewhere_an_array_is_reshaped_where_it_lies():
    class Elsewhere(np.ndarray):
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])

        def devices(self):
            class Device:
                platform = "cuda"

            return {Device}

    array = np.arange(6.0).view(Elsewhere)
    assert isinstance(_once._view(array, (2, 3)), Elsewhere)
    assert type(_once._view(X, (-1,))) is np.ndarray


def test_a_record_holds_a_chain_of_shapes_in_the_memory_of_one():
    def loss(x):
        y = jnp.sin(x).reshape(32, 8, 128)
        return jnp.sum(jnp.square(jnp.squeeze(y[:, None], 1)))

    nodes = {node.op: node for node in xray.xray(loss, X).nodes}
    assert where(nodes["reshape"].value) == where(nodes["sin"].value)
    assert where(nodes["squeeze"].value) == where(nodes["sin"].value)
    assert where(nodes["reshape"].cotangent) == where(nodes["sin"].cotangent)
    assert nodes["reshape"].value.shape == (32, 8, 128)
