"""The pages to play with live, say what is true, and are those of the book."""

import importlib.util
import pathlib
import re

import jax
import pytest

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
    assert shown == [*play.PAGES]
    assert len(shown) >= 6
    for path in tmp_path.iterdir():
        page = path.read_text(encoding="utf-8")
        assert 'id="live"' in page
        assert 'id="recorded"' not in page
        assert len(page) < 1_500_000


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
