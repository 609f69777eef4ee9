import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import runs
from experiments import catapult, edge_of_stability


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    config = edge_of_stability.Config(
        degrees=(4,),
        etas=(0.5,),
        adam_etas=(0.003,),
        seeds=1,
        wild=50.0,
        wild_seeds=1,
        steps=1200,
        every=100,
        root=tmp_path_factory.mktemp("runs"),
    )
    return edge_of_stability.main(config)


@pytest.mark.parametrize("name", ["T4, plain, eta 0.5", "T4, Adam, eta 0.003"])
def test_a_descent_stays_at_its_edge(edge, name):
    result = runs.load(edge).record["results"][f"{name}: ratio in the second half, median"]
    assert result["expected"] == 1
    assert result["value"] == pytest.approx(1, abs=0.1)


def test_far_beyond_the_edge_it_diverges(edge):
    results = runs.load(edge).record["results"]
    assert results["T4, eta 50: diverged of 1 seeds"]["value"] == 1
    assert {path.stem for path in edge.glob("*.png")} == {"plain", "adam"}


def test_the_start_is_that_of_the_source():
    config = edge_of_stability.Config()
    params = edge_of_stability.init(config, 0)
    for name, gain in (("layer1", 1.9), ("layer2", 1.0)):
        kernel, bias = (np.asarray(params[name][leaf]) for leaf in ("kernel", "bias"))
        assert kernel.std() == pytest.approx(gain * np.sqrt(2 / 101), rel=0.25)
        assert not bias.any()
    x = np.linspace(-1, 1, 20)
    zero = jax.tree.map(jnp.zeros_like, params)
    loss = edge_of_stability.problem(config, 4)(zero)
    np.testing.assert_allclose(loss, np.mean((8 * x**4 - 8 * x**2 + 1) ** 2) / 2, rtol=1e-5)


def test_on_digits_plain_descent_alone_is_read(tmp_path, monkeypatch):
    made, digits = [], edge_of_stability.digits
    monkeypatch.setattr(edge_of_stability, "digits", lambda *a: made.append(digits(*a)) or made[0])
    config = edge_of_stability.Config(
        samples=30, etas=(0.05,), steps=4, every=2, seeds=1, root=tmp_path
    )
    loaded = runs.load(edge_of_stability.main(config))
    (one,) = made
    assert one.loss(jax.tree.map(jnp.zeros_like, one.draw(0))) == 0.5  # each is 1 from its target
    assert [kernel.shape for kernel in jax.tree.leaves(one.draw(0))[1::2]] == [
        (784, 200), (200, 200), (200, 10),
    ]  # fmt: skip
    (ratio,) = loaded.record["results"][
        "30 digits, plain, eta 0.05: ratio at the start, of each seed"
    ]["value"]
    flat, unravel = jax.flatten_util.ravel_pytree(one.draw(0))
    slope, v = jax.grad(lambda w: one.loss(unravel(w))), jnp.ones(flat.size)
    power = jax.jit(lambda v: jax.jvp(slope, (flat,), (v / jnp.linalg.norm(v),))[1])
    for _ in range(60):
        v = power(v)
    assert ratio == pytest.approx(float(jnp.linalg.norm(v)) * 0.05 / 2, rel=1e-2)
    assert {path.stem for path in loaded.path.glob("*.png")} == {"plain"}
    assert loaded.record["data"]["source"] == "embedded"


def test_the_catapult_has_its_four_regimes(tmp_path):
    run = catapult.main(catapult.Config(seeds=3, root=tmp_path))
    results = runs.load(run).record["results"]

    def spread(factor, name):
        return results[f"eta lambda {factor}: {name}, range"]["value"]

    assert spread(1.9, "peak / start") == [1, 1]
    assert spread(2.1, "peak / start")[0] > 2
    assert spread(3.9, "peak / start")[0] > 100
    for factor in (1.9, 2.1, 3.9):
        assert spread(factor, "final")[1] < 1e-4
        assert spread(factor, "end")[1] < 2
    assert results["eta lambda 4.1: final, median"]["value"] == "nan"
    assert {path.stem for path in run.glob("*.png")} == {"loss", "curvature"}
