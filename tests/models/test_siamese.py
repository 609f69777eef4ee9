import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import losses
from chainrule.models import siamese
from chainrule.ops.distances import euclidean


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def net(params, inputs):
    hidden = jnp.tanh(inputs.reshape(len(inputs), -1) @ params["layer1"]["kernel"])
    return hidden @ params["layer2"]["kernel"]


PARAMS = {"layer1": {"kernel": normal(0, 6, 5)}, "layer2": {"kernel": normal(1, 5, 4)}}
PAIRS = normal(2, 7, 2, 3, 2)
SAME = jnp.arange(7) % 2 == 0
EMBED = siamese.on_sphere(net)
# Each is one program here, and not one of every operator in it.
apply, distances, apply_untied = (
    jax.jit(one, static_argnums=2)
    for one in (siamese.apply, siamese.distances, siamese.apply_untied)
)


def assert_close(got, want, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), got, want)


def contrastive(z):
    return losses.contrastive(euclidean(z[:, 0], z[:, 1]), SAME)


def test_a_branch_is_the_network_on_its_input():
    pairs, alone = np.asarray(PAIRS), jax.jit(net)
    z = np.asarray(apply(PARAMS, pairs, net))
    for branch in range(2):
        assert_close(z[:, branch], alone(PARAMS, pairs[:, branch]))
    np.testing.assert_allclose(
        distances(PARAMS, pairs, net),
        np.linalg.norm(alone(PARAMS, pairs[:, 0]) - alone(PARAMS, pairs[:, 1]), axis=1),
        rtol=1e-5,
    )
    lengths = np.linalg.norm(apply(PARAMS, pairs, EMBED), axis=-1)
    np.testing.assert_allclose(lengths, np.ones((7, 2)), rtol=1e-6)


def test_swapping_the_inputs_changes_nothing():
    def loss(params, pairs):
        return losses.contrastive(siamese.distances(params, pairs, EMBED), SAME)

    both = jax.jit(jax.value_and_grad(loss))
    assert_close(both(PARAMS, PAIRS), both(PARAMS, PAIRS[:, ::-1]))
    # With weights that are not shared it does.
    apart = siamese.untie(PARAMS, 2)
    apart["branch2"] = jax.tree.map(lambda x: -0.5 * x[::-1], PARAMS)
    forward, back = (np.asarray(apply_untied(apart, p, EMBED)) for p in (PAIRS, PAIRS[:, ::-1]))
    left, right = (np.linalg.norm(z[:, 0] - z[:, 1], axis=1) for z in (forward, back))
    assert np.abs(left - right).max() > 0.1


@pytest.mark.parametrize("branches", [1, 2, 3])
def test_the_gradient_of_the_shared_weights_is_the_sum_of_what_the_branches_contribute(branches):
    inputs, weights = normal(3, 4, branches, 6), normal(4, 4, branches, 4)

    def loss(z):
        return jnp.sum(weights * z * z)

    parts = jax.jit(lambda p: siamese.contributions(loss, p, inputs, EMBED))(PARAMS)
    assert list(parts) == [f"branch{b + 1}" for b in range(branches)]
    total = jax.tree.map(lambda *leaves: sum(leaves), *parts.values())
    assert_close(total, jax.jit(jax.grad(lambda p: loss(siamese.apply(p, inputs, EMBED))))(PARAMS))
    # Each of them with the other branches held still.
    for b, part in enumerate(parts.values()):

        def one(params, b=b):
            z = siamese.apply(PARAMS, inputs, EMBED)
            return loss(z.at[:, b].set(EMBED(params, inputs[:, b])))

        assert_close(part, jax.jit(jax.grad(one))(PARAMS))


def test_untied_copies_compute_what_the_shared_network_does():
    copies = siamese.untie(PARAMS, 2)
    assert_close(apply(PARAMS, PAIRS, net), apply_untied(copies, PAIRS, net))
    drawn = siamese.init_untied(jax.random.key(0), lambda key: jax.random.normal(key, (3,)), 2)
    assert set(drawn) == {"branch1", "branch2"}
    assert jnp.all(drawn["branch1"] != drawn["branch2"])


def test_a_pair_of_an_image_with_itself_has_distance_and_gradient_0():
    itself = jnp.repeat(PAIRS[:, :1], 2, axis=1)
    # Not as one program: there two equal rows of a product may be rounded differently.
    distance, gradient = jax.value_and_grad(
        lambda params: jnp.sum(siamese.distances(params, itself, EMBED))
    )(PARAMS)
    assert distance == 0
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradient))


def test_triplets_and_jit_and_vmap():
    inputs = normal(5, 4, 3, 6)
    positive, negative = jax.jit(lambda p, x: siamese.anchor_distances(p, x, net))(PARAMS, inputs)
    z = np.asarray(jax.jit(net)(PARAMS, inputs.reshape(12, 6))).reshape(4, 3, 4)
    np.testing.assert_allclose(positive, np.linalg.norm(z[:, 0] - z[:, 1], axis=1), rtol=1e-5)
    np.testing.assert_allclose(negative, np.linalg.norm(z[:, 0] - z[:, 2], axis=1), rtol=1e-5)
    twice = np.stack([PAIRS, PAIRS[::-1]])
    found = jax.jit(jax.vmap(lambda x: siamese.distances(PARAMS, x, EMBED)))(twice)
    np.testing.assert_allclose(found[1], found[0, ::-1], rtol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_wrong_branches_are_refused():
    with pytest.raises(ValueError, match=r"inputs \(7, 6\): expected \[batch, branches, ...\]"):
        siamese.apply(PARAMS, jnp.ones((7, 6)), net)
    with pytest.raises(ValueError, match=r"\(4, 3, 6\) have 3 branches: a distance takes two"):
        siamese.distances(PARAMS, jnp.ones((4, 3, 6)), net)
    with pytest.raises(ValueError, match=r"\(4, 2, 6\) have 2 branches: a triplet has three"):
        siamese.anchor_distances(PARAMS, jnp.ones((4, 2, 6)), net)
    with pytest.raises(ValueError, match=r"of inputs \(8, 6\) is \(8, 2, 3\): expected one row"):
        siamese.apply(None, jnp.ones((4, 2, 6)), lambda _, x: x.reshape(8, 2, 3))
    with pytest.raises(ValueError, match=r"parameters \['branch1'\] for inputs \(4, 2, 6\)"):
        siamese.apply_untied({"branch1": PARAMS}, jnp.ones((4, 2, 6)), net)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: siamese.apply(None, [[[1.0]]], None), "inputs must be an array of numbers, not a"),
        (lambda: siamese.apply(None, PAIRS, 3), "embed must be a function .*, not an int"),
        (
            lambda: siamese.apply(None, PAIRS, lambda p, x: 1.0),
            "embed must return an array, one row an input, not a float",
        ),
        (
            lambda: siamese.contributions(3, PARAMS, PAIRS, EMBED),
            "loss must be a function of",
        ),
        (
            lambda: siamese.contributions(lambda z: z, PARAMS, PAIRS, EMBED),
            "loss must return a floating-point scalar",
        ),
        (lambda: siamese.on_sphere("x"), "embed must be a function .*, not a str"),
        (lambda: siamese.untie(PARAMS, 0), "branches must be an int from 1 to 65536, not 0"),
        (lambda: siamese.untie(PARAMS, 10**9), "branches must be an int from 1 to 65536, not 10"),
        (lambda: siamese.init_untied(0, lambda key: 0, 2), "pass one key made by"),
        (lambda: siamese.apply_untied(3, PAIRS, EMBED), r"parameters \['an int'\] for inputs"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_embedding_no_batch_or_no_branch_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()
