"""The x-ray on programs of other libraries: its gradients are those of `jax.grad`."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray

pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("ignore")]  # their warnings are theirs
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def as_others_run():
    """JAX's own rules of promotion: these libraries were not written under strict ones."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def linen():
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(4, (3, 3))(x))
            x = nn.LayerNorm()(nn.avg_pool(x, (2, 2), (2, 2)))
            return nn.Dense(3)(x.reshape(x.shape[0], -1))

    net, x = Net(), jax.random.normal(KEY, (2, 8, 8, 1))
    return lambda params: jnp.mean(net.apply(params, x) ** 2), net.init(KEY, x)


def nnx():
    from flax import nnx

    net = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    graph, state = nnx.split(net)
    x = jax.random.normal(KEY, (4, 3))

    def loss(state):
        return jnp.mean(jnp.tanh(nnx.merge(graph, state)(x)))

    return loss, state


def equinox():
    import equinox as eqx

    net = eqx.nn.GRUCell(2, 3, key=KEY)
    xs = jax.random.normal(KEY, (5, 2))

    def loss(net):
        h, _ = jax.lax.scan(lambda h, x: (net(x, h), None), jnp.zeros(3), xs)
        return jnp.sum(h**2)

    return loss, net


def haiku():
    import haiku as hk

    net = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([4, 2])(x)))
    x = jax.random.normal(KEY, (3, 5))
    params = net.init(jax.random.PRNGKey(0), x)
    return lambda params: jnp.sum(jnp.sin(net.apply(params, x))), params


def diffrax():
    import diffrax as dfx

    def loss(params):
        term = dfx.ODETerm(lambda t, y, rate: -rate * y)
        solution = dfx.diffeqsolve(
            term, dfx.Tsit5(), 0.0, 1.0, 0.1, params["y"], args=params["rate"]
        )
        return jnp.sum(solution.ys**2)

    return loss, {"y": jnp.array([1.0, -2.0]), "rate": jnp.array(0.7)}


def distrax():
    import distrax as dx

    x = jax.random.normal(KEY, (6,))
    return (
        lambda p: -jnp.mean(dx.Normal(p["mean"], jnp.exp(p["log"])).log_prob(x)),
        {"mean": jnp.array(0.3), "log": jnp.array(-0.2)},
    )


def numpyro():
    import numpyro as ny
    import numpyro.distributions as dist
    from numpyro.infer.util import log_density

    y = jax.random.normal(KEY, (5,))

    def model():
        mean = ny.sample("mean", dist.Normal(0.0, 1.0))
        ny.sample("y", dist.Normal(mean, 0.5), obs=y)

    return lambda params: log_density(model, (), {}, params)[0], {"mean": jnp.array(0.4)}


def jraph():
    import jraph as jr

    graph = jr.GraphsTuple(
        nodes=jax.random.normal(KEY, (3, 2)), edges=None, globals=None,
        senders=jnp.array([0, 1, 2]), receivers=jnp.array([1, 2, 0]),
        n_node=jnp.array([3]), n_edge=jnp.array([3]),
    )  # fmt: skip

    def loss(kernel):
        net = jr.GraphConvolution(update_node_fn=lambda nodes: nodes @ kernel)
        return jnp.sum(jnp.tanh(net(graph).nodes))

    return loss, jax.random.normal(KEY, (2, 2))


PROGRAMS = [linen, nnx, equinox, haiku, diffrax, distrax, numpyro, jraph]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_the_gradients_are_those_of_jax_grad(program):
    pytest.importorskip({"linen": "flax", "nnx": "flax"}.get(program.__name__, program.__name__))
    loss, params = program()
    expected = jax.flatten_util.ravel_pytree(jax.grad(loss)(params))[0]
    (found,) = xray.xray(loss, params, argnums=0).grads
    found = jax.flatten_util.ravel_pytree(found)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected).max() > 0
