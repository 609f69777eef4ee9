import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import runs
from chainrule.models import mlp
from chainrule.ops import activations
from experiments import mlp_digits
from experiments import universal_approximation as approximation


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Run the experiment for one activation on the interval or on the square, once."""

    @functools.cache
    def run(dimension, activation):
        config = approximation.Config(
            units=(2, 16),
            shown=(2, 16),
            steps=60,
            seeds=3,
            dimensions=(dimension,),
            root=tmp_path_factory.mktemp("runs"),
        )
        with pytest.MonkeyPatch.context() as patch:
            one = {activation: approximation.ACTIVATIONS[activation]}
            patch.setattr(approximation, "ACTIVATIONS", one)
            return runs.load(approximation.main(config))

    return run


@pytest.mark.parametrize("function", approximation.FUNCTIONS)
@pytest.mark.parametrize(
    ("dimension", "activation"),
    [
        (1, "tanh"),
        (2, "ReLU"),
        pytest.param(1, "ReLU", marks=pytest.mark.soak),
        pytest.param(2, "tanh", marks=pytest.mark.soak),
    ],
)
def test_the_error_falls_with_the_units_and_with_training(fitted, dimension, activation, function):
    results = fitted(dimension, activation).record["results"]
    where = f"[0, 1]^{dimension}"
    prefix = f"{where}, {function}, {activation}"
    drawn = np.asarray(results[f"{prefix}, drawn: error by units, median"]["value"])
    trained = np.asarray(results[f"{prefix}, trained: error by units and seed"]["value"])
    assert trained.shape == (2, 3)
    medians = np.median(trained, axis=1)
    assert (np.diff(medians) < 0).all()
    assert (np.diff(drawn) < 0).all()
    assert (medians < drawn).all()
    affine = results[f"{where}, {function}: error of the best affine function"]["value"]
    assert 0 < trained[-1].max() < affine <= 1


@pytest.mark.parametrize(
    ("dimension", "activation", "fits"), [(1, "tanh", "fits_interval"), (2, "ReLU", "fits_square")]
)
def test_the_run_folder_holds_the_figures(fitted, dimension, activation, fits):
    loaded = fitted(dimension, activation)
    names = {f"{name}.{kind}" for name in ("errors", fits) for kind in ("png", "svg")}
    assert names <= {file.name for file in loaded.path.iterdir()}
    assert json.loads((loaded.path / "run.json").read_text())["compile_seconds"] > 0


@pytest.mark.parametrize("function", approximation.FUNCTIONS)
def test_the_network_that_is_written_down_joins_the_knots_by_lines(function, x64):
    params = approximation.write_down(function, 8)
    assert params["layer1"]["kernel"].shape == (1, 8)
    x = np.linspace(0, 1, 33)
    knots = np.linspace(0, 1, 9)
    heights = approximation.values(function, jnp.asarray(knots[:, None]))
    outputs = mlp.apply(params, jnp.asarray(x[:, None]))[:, 0]
    np.testing.assert_allclose(outputs, np.interp(x, knots, heights), atol=1e-12)


def test_twice_the_units_quarter_the_error_of_the_network_that_is_written_down(x64):
    x = approximation.grid(1, 1001)
    targets = approximation.values("smooth", x)
    coarse, fine = (
        approximation.errors(mlp.apply(approximation.write_down("smooth", n), x)[:, 0], targets)
        for n in (32, 64)
    )
    np.testing.assert_allclose(coarse / fine, 4, rtol=0.05)


def test_the_output_layer_is_the_best_for_its_hidden_layer(x64):
    inputs = approximation.grid(2, 9)
    targets = approximation.values("kink", inputs)
    hidden = approximation.draw(jax.random.key(0), 2, 6, 20.0)
    params = approximation.complete(hidden, inputs, targets, activations.tanh)

    features = np.tanh(np.asarray(inputs @ hidden["kernel"] + hidden["bias"][None, :]))
    features = np.hstack([features, np.ones((len(inputs), 1))])
    best, *_ = np.linalg.lstsq(features, targets)
    outputs = mlp.apply(params, inputs, activation=activations.tanh)[:, 0]
    np.testing.assert_allclose(outputs, features @ best, atol=1e-5)


def test_the_drawn_units_have_their_corner_in_the_domain_and_the_steepness_asked_for(x64):
    hidden = approximation.draw(jax.random.key(1), 2, 500, 20.0)
    steepness = jnp.linalg.norm(hidden["kernel"], axis=0)
    assert 1 <= steepness.min() < 2
    assert 19 < steepness.max() <= 20
    # Each line w . x + b = 0 passes through the unit square: its corners lie on both sides.
    corners = jnp.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    said = mlp.apply({"layer1": hidden}, corners)
    assert ((said.min(axis=0) <= 0) & (said.max(axis=0) >= 0)).all()


def test_what_training_descends_has_the_gradient_it_is_given(x64):
    # The gradient with the output weights held fixed is that of the loss as a whole.
    inputs = approximation.grid(1, 33)
    targets = approximation.values("oscillating", inputs)
    hidden = approximation.draw(jax.random.key(2), 1, 4, 20.0)

    def loss(hidden, hold):
        params = approximation.complete(hidden, inputs, targets, activations.tanh)
        best = hold(params["layer2"])
        outputs = mlp.apply({"layer1": hidden, "layer2": best}, inputs, activation=activations.tanh)
        size = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(best))
        return jnp.mean((outputs[:, 0] - targets) ** 2) + approximation.RIDGE * size

    held = jax.jit(jax.grad(functools.partial(loss, hold=jax.lax.stop_gradient)))(hidden)
    whole = jax.jit(jax.grad(functools.partial(loss, hold=lambda best: best)))(hidden)
    for one, other in zip(jax.tree.leaves(held), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_sizes_to_show_that_are_not_fitted_are_refused(tmp_path):
    config = approximation.Config(units=(2, 4), shown=(3,), root=tmp_path)
    with pytest.raises(ValueError, match=r"shown \(3,\) must be among units \(2, 4\)"):
        approximation.main(config)


def test_the_network_of_the_notes_draws_its_hidden_units_as_templates(tmp_path):
    changes = []
    for steps in (1, 4):
        config = mlp_digits.Config(
            steps=steps, every=1, seeds=1, seed=3, samples=50, hidden=6, root=tmp_path
        )
        loaded = runs.load(mlp_digits.main(config))
        name = "hidden weights, seed 3: root mean square of their change over theirs"
        changes.append(loaded.record["results"][name]["value"])
        assert (loaded.path / "templates.png").is_file()
    assert 0 < 2 * changes[0] < changes[1] < 0.2
