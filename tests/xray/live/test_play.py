"""The pages to play with live, say what is true, and are those of the book."""

import importlib.util
import pathlib
import re
from urllib.parse import parse_qs

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


@pytest.fixture(scope="module")
def digit(play):
    return play.PAGES["digit"]()


def test_a_stroke_changes_the_probabilities_to_those_of_lenet(visit, digit):
    text = digit.to_html(live=True, direction="right")
    assert len(text.encode()) < 1_500_000
    page, drawing = visit(text), np.array(digit.node("drawing").value)

    def shown():
        meters = "list => list.map((meter) => meter.value)"
        return np.array(page.eval_on_selector_all("#results meter", meters))

    def by_lenet():
        pixels = preprocess(jnp.asarray(drawing)[None, :, :, None], DIGITS)
        return np.asarray(jax.nn.softmax(lenet.apply(lenet.pretrained(), pixels))[0])

    before = shown()
    np.testing.assert_allclose(before, by_lenet(), atol=1e-4)
    sheet = page.locator("canvas[role=application]")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    x, y = (box["x"] + box["width"] * np.array([0.2, 0.8]), box["y"] + box["height"] * 0.8)
    page.mouse.move(x[0], y)
    page.mouse.down()
    page.mouse.move(x[1], y, steps=3)
    page.mouse.up()
    page.wait_for_function("location.hash.includes('set')")
    (kept,) = parse_qs(page.evaluate("location.hash.slice(1)"))["set"]
    for change in kept.partition(":")[2].split(","):
        at, value = change.split("=")
        drawing.flat[int(at)] = np.float32(value)
    assert np.sum(drawing != digit.node("drawing").value) > 28
    np.testing.assert_allclose(shown(), by_lenet(), atol=1e-4)
    assert np.abs(shown() - before).max() > 0.01


def test_a_seven_becomes_a_three_as_the_page_says(play, digit):
    report = digit
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
