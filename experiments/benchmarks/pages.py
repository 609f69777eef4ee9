"""Rows about the x-ray's page: how long a large graph takes to open, and to answer.

The peer is a page with nothing on it, in the same browser: what is beyond it is ours. The drawing
of the answer is waited for.
"""

import atexit
import functools
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from harness import Row, Scale

from chainrule import xray

OPEN, ANSWER = 2.0, 0.1
"""Seconds: to open a page, and to answer a click, a step or a search."""
DRAWN = "new Promise((r) => requestAnimationFrame(() => setTimeout(() => r(1))))"
CLICK = """() => {
  const box = document.querySelector("#view .closed") ?? document.querySelector("#view .box");
  const at = { bubbles: true, pointerId: 1, clientX: 1, clientY: 1 };
  for (const kind of ["pointerdown", "pointerup"]) box.dispatchEvent(new PointerEvent(kind, at));
}"""
PRESS = """(key) =>
  document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }))"""
SEARCH = """(text) => {
  const input = document.querySelector("#search");
  input.value = text;
  input.dispatchEvent(new Event("input"));
}"""


def pages(scale: Scale) -> Iterator[Row]:
    """A page of an unrolled program: opened, a group opened, a step backward, a search."""
    if (browser := _browser()) is None:
        return
    nodes = 3_000 if scale.quick else 10_000
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pages-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    long, empty = folder / "long.html", folder / "empty.html"
    long.write_text(_report(nodes).to_html(), encoding="utf-8")
    empty.write_text("<!doctype html><title>empty</title><p>nothing", encoding="utf-8")

    def opened(path: pathlib.Path) -> int:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(path.as_uri())
        answer: int = page.evaluate(DRAWN)
        page.close()
        return answer

    what = f"x-ray: a page of {nodes:,} nodes"
    yield Row(
        f"{what}, opened", lambda: opened(long), {"an empty page": lambda: opened(empty)},
        _drawn, OPEN, extra=True,
    )  # fmt: skip
    page, nothing = (browser.new_page(viewport={"width": 1440, "height": 900}) for _ in range(2))
    page.goto(long.as_uri())
    nothing.goto(empty.as_uri())
    words = iter(range(10**9))  # each search is a new one
    for name, script, argument in (
        ("a group opened", CLICK, lambda: None),
        ("a step backward", PRESS, lambda: "ArrowRight"),
        ("a search", SEARCH, lambda: f"tanh_{next(words) % 9 + 1}"),
        ("the next hit", PRESS, lambda: "n"),
    ):
        ours = functools.partial(_answered, page, script, argument)
        peer = functools.partial(_answered, nothing, "() => 1", argument)
        yield Row(f"{what}, {name}", ours, {"an empty page": peer}, _drawn, ANSWER, extra=True)


def _answered(page: Any, script: str, argument: Callable[[], Any]) -> int:
    page.evaluate(script, argument())
    answer: int = page.evaluate(DRAWN)
    return answer


def _drawn(ours: int, theirs: int) -> None:
    if not ours == theirs == 1:
        raise ValueError(f"a page was not drawn: {ours} and {theirs}, each to be 1")


@functools.cache
def _browser() -> Any:
    """Return a headless Chromium, None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return None
    if path is None:
        return None
    playwright = sync_playwright().start()
    browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
    atexit.register(playwright.stop)
    atexit.register(browser.close)
    return browser


def _report(nodes: int) -> Any:
    """Return a record of about so many nodes: the turns of a recurrent network."""

    def cell(w: jax.Array, h: jax.Array) -> jax.Array:
        return jnp.tanh(w * h) + 0.1

    def network(w: jax.Array, h: jax.Array) -> jax.Array:
        for _ in range(nodes // 4):
            h = cell(w, h)
        return jnp.sum(h)

    return xray.xray(network, jnp.float32(0.9), jnp.ones(4), compiled=False)


ROWS = {"x-ray: a page": pages}
