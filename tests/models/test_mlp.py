import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.models import mlp


def test_init_is_uniform_within_one_over_the_root_of_the_fan_in():
    params = mlp.init(jax.random.key(0), (400, 300, 1))
    assert jax.tree.map(jnp.shape, params) == {
        "layer1": {"kernel": (400, 300), "bias": (300,)},
        "layer2": {"kernel": (300, 1), "bias": (1,)},
    }
    kernel, bias = params["layer1"]["kernel"], params["layer1"]["bias"]
    for leaf in (kernel, bias):
        assert 0.99 * 0.05 < jnp.abs(leaf).max() <= 0.05
    # The variance of the uniform distribution over +-b is b^2 / 3; 120,000 draws.
    np.testing.assert_allclose(jnp.var(kernel), 0.05**2 / 3, rtol=0.02)
    np.testing.assert_allclose(jnp.mean(kernel), 0, atol=5e-4)
    assert jnp.abs(params["layer2"]["kernel"]).max() <= 1 / np.sqrt(300)
    # Another key, other numbers; the same key, the same.
    other = mlp.init(jax.random.key(1), (400, 300, 1))
    assert jnp.all(other["layer1"]["kernel"] != kernel)
    assert jnp.all(mlp.init(jax.random.key(0), (400, 300, 1))["layer1"]["kernel"] == kernel)


@pytest.mark.parametrize("sizes", [(3,), (), (3, 0, 1)])
def test_init_refuses_sizes_that_make_no_network(sizes):
    with pytest.raises(ValueError, match="two widths or more"):
        mlp.init(jax.random.key(0), sizes)


def test_apply_on_numbers_written_out():
    params = {
        "layer1": {
            "kernel": jnp.array([[1.0, 2.0, -1.0], [0.0, -1.0, 3.0]]),
            "bias": jnp.array([0.5, 0.0, -1.0]),
        },
        "layer2": {"kernel": jnp.array([[2.0], [1.0], [-1.0]]), "bias": jnp.array([0.25])},
    }
    # s = (1.5, 0, 4) and (-0.5, -4, 6); relu; then 3 + 0 - 4 + 0.25 and -6 + 0.25.
    outputs = mlp.apply(params, jnp.array([[1.0, 2.0], [-1.0, 2.0]]))
    np.testing.assert_allclose(outputs, [[-0.75], [-5.75]])
