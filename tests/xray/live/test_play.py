"""The pages to play with live, say what is true, and are those of the book."""

import importlib.util
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.models import lenet
from chainrule.models.pretrained.preprocessing import DIGITS, preprocess
from tests.xray.cases import as_others_run

NOTEBOOKS = pathlib.Path(__file__).resolve().parents[3] / "notebooks"


@pytest.fixture(scope="module")
def play():
    spec = importlib.util.spec_from_file_location("play", NOTEBOOKS / "play.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_of_the_book_live(play, tmp_path):
    play.write(tmp_path)
    text = (NOTEBOOKS / "play.md").read_text(encoding="utf-8")
    shown = re.findall(r'src="play_pages/(\w+)\.html"', text)
    assert shown == [*play.PAGES, "rates"]
    assert len(shown) >= 6
    for name in shown:
        page = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        assert len(page.encode()) < 1_500_000
        if name in play.PAGES:
            assert 'id="live"' in page
            assert 'id="recorded"' not in page


def test_a_seven_becomes_a_three_as_the_page_says(play):
    report = play.PAGES["digit"]()
    params, seven, label = lenet.pretrained(), report.node("drawing").value, jnp.int32(3)
    pixels = preprocess(seven[None, :, :, None], DIGITS)
    np.testing.assert_allclose(
        report.aux,
        jax.jit(lambda p, x: jax.nn.softmax(lenet.apply(p, x))[0])(params, pixels),
        rtol=1e-5,
        atol=1e-7,
    )
    assert report.aux.argmax() == 7
    slope = jax.jit(jax.grad(play.digit, argnums=1, has_aux=True))
    drawing = seven
    for _ in range(20):
        drawing = drawing - 0.1 * slope(params, drawing, label)[0]
    assert jax.jit(play.digit)(params, drawing, label)[1].argmax() == 3


def test_exclusive_or_is_learnt_as_the_page_says(play):
    record = play.PAGES["exclusive_or"]().record
    values = [node.value for node in record.nodes if node.is_argument]
    params, inputs, targets = (
        jax.tree.unflatten(tree, [values.pop(0) for _ in range(tree.num_leaves)])
        for tree in record.trees.arguments
    )

    slope = jax.jit(jax.grad(lambda w: play.exclusive_or(w, inputs, targets)[0]))

    def descended(eta):
        w = params
        for _ in range(50):
            grads = slope(w)
            w = jax.tree.map(lambda p, g: p - eta * g, w, grads)
        return float(play.exclusive_or(w, inputs, targets)[0])

    with as_others_run():
        assert 3.9 < float(record.output) < 4.1
        assert descended(0.1) < 0.04
        assert not descended(1.0) < 1e6
