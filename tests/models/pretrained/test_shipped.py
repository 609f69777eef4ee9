"""The weights and the names that live in the package."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import data, training
from chainrule.models import lenet, vgg
from chainrule.models.pretrained import names, shipped
from chainrule.models.pretrained.preprocessing import DIGITS, preprocess

BLOCKS = ((16,), (32, 32), (64, 64))


def lenet_logits(params, images):
    return lenet.apply(params, preprocess(images, DIGITS))


def vgg_logits(variables, images):
    params, state = variables
    return vgg.apply(params, preprocess(images, DIGITS), state=state)


def wrong(digits):
    """How many digits each network takes for another."""
    images = digits.images[..., None]
    found = (
        training.predict(lenet_logits, lenet.pretrained(), images, size=500),
        training.predict(vgg_logits, vgg.pretrained("digits"), images, size=500),
    )
    return [int((np.argmax(logits, axis=1) != digits.labels).sum()) for logits in found]


def test_the_shipped_weights_read_the_embedded_digits():
    of_lenet, of_vgg = wrong(data.mnist("test", source="embedded"))
    assert of_lenet <= 10
    assert of_vgg <= 8


@pytest.mark.full
def test_the_shipped_weights_read_all_test_digits_as_well_as_is_said(full_mnist):
    counts = wrong(data.mnist("test", "idx", full_mnist))
    said = (9_949, 9_968)
    for count, right, least in zip(counts, said, (9_920, 9_950), strict=True):
        assert 10_000 - count >= least
        # Other machines round otherwise.
        assert abs(10_000 - count - right) <= 2
    for module, right in ((lenet, said[0]), (vgg, said[1])):
        assert f"{right:,} of 10,000 test digits" in " ".join(module.pretrained.__doc__.split())


@pytest.mark.parametrize(
    ("name", "init"),
    [
        ("lenet", lenet.init),
        ("vgg", lambda key: vgg.init(key, BLOCKS, 28, 1, 10, batch_norm=True, hidden=())),
    ],
)
def test_they_have_the_form_of_what_init_draws(name, init):
    params, state = shipped.read(name)
    drawn = jax.eval_shape(init, jax.random.key(0))
    drawn_state = jax.eval_shape(vgg.init_state, drawn)
    for ours, theirs in ((params, drawn), (state, drawn_state)):
        as_shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), ours)
        assert as_shapes == theirs
    words = shipped.metadata(name)
    errors = json.loads(words["held-out error by epoch"])
    assert errors[-1] < 0.008
    assert words["trained on"] == "the first 55000 training digits of MNIST"
    # Nothing was chosen by the test digits, and the file does not know them.
    assert not any("test" in text for text in words.values())


@pytest.mark.usefixtures("unchecked")
def test_only_what_is_shipped_can_be_had():
    with pytest.raises(ValueError, match="unknown name 'imagenet': expected one of digits"):
        vgg.pretrained("imagenet")
    with pytest.raises(ValueError, match="unknown name 'lent': did you mean 'lenet'"):
        shipped.read("lent")


def test_the_names_of_imagenet_stand_in_the_order_of_the_outputs():
    found = names.imagenet()
    assert len(set(found)) == 1000
    known = {
        0: "tench", 1: "goldfish", 2: "great white shark", 207: "golden retriever", 281: "tabby",
        388: "giant panda", 463: "bucket", 817: "sports car", 999: "toilet tissue",
    }  # fmt: skip
    assert {index: found[index] for index in known} == known


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names.txt: the file is empty"),
        (b"cat\n\ndog\n", "names.txt: line 2 is empty: expected the name of a class on every line"),
        (b"caf\xe9\n", "names.txt is no text in UTF-8"),
    ],
)
def test_a_list_of_names_has_one_on_every_line(content, message, tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        names.read(path)
    path.write_text("Katze\n  Hund \r\n", encoding="utf-8")
    assert names.read(path) == ("Katze", "Hund")


def test_top_is_what_sorting_gives_and_the_first_of_equals_comes_first():
    table = np.array([[0.1, 0.4, 0.4, 0.1], [0.7, 0.0, 0.1, 0.2]])
    assert vgg.top(table, 3, names=list("abcd")) == [
        [("b", 0.4), ("c", 0.4), ("a", 0.1)],
        [("a", 0.7), ("d", 0.2), ("c", 0.1)],
    ]
    drawn = np.random.default_rng(0).dirichlet(np.ones(1000), 3)
    for row, best in zip(drawn, vgg.top(drawn), strict=True):
        expected = sorted(range(1000), key=lambda index: -row[index])[:5]
        assert best == [(names.imagenet()[index], row[index]) for index in expected]


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        (np.ones((1, 3)), {}, "probabilities of 3 classes and no names: give names, a list of 3"),
        (np.ones((1, 3)), {"names": ["a"]}, "probabilities of 3 classes and 1 names"),
        (np.ones(1000), {}, r"probabilities \(1000,\): they must be \[batch, classes\]"),
        (np.ones((1, 1000)), {"k": 1001}, "k must be an int from 1 to 1000, not 1001"),
        (np.full((1, 1000), 2.0), {}, r"probabilities must be finite and .* at most 1, not 2\.0"),
        (np.ones((1, 1000), int), {}, "probabilities must be floating-point numbers, not int64"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_top_refuses(table, settings, message):
    with pytest.raises(ValueError, match=message):
        vgg.top(table, **settings)


def test_top_is_no_part_of_a_compiled_program():
    with pytest.raises(ValueError, match="probabilities are being traced by JAX: call top outside"):
        jax.jit(vgg.top)(jnp.ones((1, 1000)))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_embeddings_are_the_pools_of_the_features(batch_norm):
    init = functools.partial(vgg.init, batch_norm=batch_norm, hidden=())
    params = jax.jit(init, static_argnums=(1, 2))(jax.random.key(0), ((3,), (4, 5)), 8)
    state = vgg.init_state(params) if batch_norm else None
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    maps = vgg.features(params, images, state=state)
    for block in (1, 2):
        expected = np.asarray(maps[f"block{block}/pool"])
        kept = vgg.embed(params, images, block=block, pool=None, state=state)
        np.testing.assert_array_equal(kept, expected)
        for pool, reduce in (("average", np.mean), ("max", np.max)):
            found = vgg.embed(params, images, block=block, pool=pool, state=state)
            np.testing.assert_allclose(found, reduce(expected, axis=(1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block": 3}, "block must be an int from 1 to 2, not 3: there are 2 blocks"),
        ({"block": 1, "pool": "sum"}, "unknown pool 'sum': expected one of average, max"),
        ({"block": 2, "images": np.ones((1, 3, 8, 3), np.float32)}, "block2/pool: "),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_embed_refuses(settings, message):
    init = functools.partial(vgg.init, classes=2, hidden=())
    params = jax.eval_shape(lambda key: init(key, ((3,), (4,)), 8), jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), params)
    images = settings.pop("images", np.ones((1, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match=message):
        vgg.embed(params, images, **settings)
