"""Every page can be read: by a screen reader, on a telephone, in the light and in the dark.

An accessibility checker, axe, looks at every page, where it is installed; what it cannot decide,
the contrast of text in SVG and the names of what one can press, is measured here.
"""

import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import descent, explorer, runs, xray
from chainrule.plots import trajectory

SIZES = [(1440, 900), (390, 844)]


def wells():
    """Two wells, (w² - 1)² / 4, and descents into one of them, recorded by hand."""
    rates = np.asarray([0.1, 0.5, 2.5], np.float32)
    w = np.stack([np.full(len(rates), 0.5)] * 4, 1)
    for k in range(3):
        w[:, k + 1] = w[:, k] - rates * (w[:, k] ** 3 - w[:, k])
    sweep = explorer.Sweep(
        optimizer="sgd", start="w = 0.5", loss=(w**2 - 1) ** 2 / 4, grad_norm=np.abs(w**3 - w),
        verdicts=["descending", "converged", "oscillating"], edges={"edge": 2.0}, counts={"w": w},
    )  # fmt: skip
    live = explorer.Landscape(
        "wells", "two wells", "(w² - 1)² / 4", lambda w: (w[0] ** 2 - 1) ** 2 / 4, ("w",), [[0.5]],
        (0.1, 2.5), (0.1, 0.5), 4, [(-2.0, 2.0)], [[-1.0], [1.0]],
    )  # fmt: skip
    return explorer.page([live, explorer.Problem("w", "recorded", "", rates, [sweep], (0.1, 0.5))])


def played():
    """Two steps on the two wells, frame by frame."""
    w, grid = np.array([0.5, 0.6, 0.7]), np.linspace(-2, 2, 9)
    slope, model = w**3 - w, np.stack([grid**2] * 3)
    one = trajectory.Trajectory(0.1, w, (w**2 - 1) ** 2 / 4, slope, model)
    return trajectory.animation([one], grid, (grid**2 - 1) ** 2 / 4)


def layered(params, x):
    for name, w in params.items():
        with jax.named_scope(name):
            x = jnp.tanh(x @ w) + x
    return jnp.sum(jnp.sqrt(x * 0.0)) + jnp.sum(jnp.round(x))


def drawing(params, sheet, bias):
    rows = jnp.sum(sheet, 0)[:3] * params["w"] + params["of"]
    return jnp.sum(jnp.maximum(rows, bias[:3])), jax.nn.softmax(rows)


def summed(x):
    return jnp.sum(jax.nn.sigmoid(x) * x)


def summed_otherwise(x):
    half = jnp.tanh(0.5 * x)
    gate = 0.5 * (1.01 + half)
    return jnp.sum(gate * x)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The text of every kind of page."""
    root = tmp_path_factory.mktemp("runs")
    folders = []
    for loss in (0.25, 0.5):
        with runs.start("demo", seed=3, arguments={"eta": loss}, root=root) as run:
            run.result("final loss", loss, expected=0.2)
            run.result("by seed", [3.0, 1.0, loss], per="seed")
            run.save_trace({"loss": [1.0, loss], "errors": [3, 1]})
        folders.append(run.path)

    params = {f"block{k}": jnp.full((3, 3), 0.1 * k) for k in range(1, 4)}
    report = xray.xray(layered, params, jnp.ones((2, 3)), compiled=False)
    report.deaths()
    digit = jax.nn.relu(jnp.linspace(-1.0, 1.0, 144)).reshape(12, 12)
    args = {"w": jnp.ones(3), "of": 2.0}, digit, jnp.ones(20)
    drawn = xray.xray(drawing, *args, has_aux=True, compiled=False)
    found = xray.diff(summed, summed_otherwise, jnp.linspace(-1.0, 2.0, 12).reshape(3, 4))
    found.save(root / "diff.html")
    return {
        "diff": (root / "diff.html").read_text(),
        "x-ray": report.to_html(),
        "living": drawn.to_html(live=True),
        "report": (folders[0] / "report.html").read_text(),
        "compare": runs.page(runs.compare(*folders)),
        "explorer": wells(),
        "two wells": played(),
        "evidence": descent.choose(lambda w: w**2, jnp.array(1.0), None, 16).to_html(),
    }


STATES = {
    "x-ray": {
        "start": "",
        "open": "document.querySelector('#open').click()",
        "step": "for (let k = 0; k < 4; k += 1) document.querySelector('#forward').click()",
        "node": "location.hash = 'at=n0'",
        "search": "location.hash = 'find=tanh'",
        "keys": "document.querySelector('#keys').click()",
    },
    "diff": {"start": "", "node": "location.hash = 'at=n0'"},
    "living": {"start": "document.querySelector('#steps10').click()"},
    "report": {"start": ""},
    "compare": {"start": ""},
    "explorer": {
        "start": "",
        "adam": "Object.assign(state.a, begun('a', 4)); build('a'); draw()",
        "recorded": "choose(described.problems[1])",
    },
    "two wells": {"start": ""},
    "evidence": {"start": ""},
}


@pytest.fixture
def opened(visit, pages):
    """Open a page of a kind and size in one of its states."""

    def open_page(name, size, script, scheme="light"):
        page = visit(pages[name])
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
        if name == "explorer":
            page.wait_for_selector("html[data-ready=yes]")
        page.evaluate(script or "0")
        page.wait_for_timeout(50)
        return page

    return open_page


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", STATES)
def test_a_checker_finds_no_violation(opened, name, scheme):
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None:
        pytest.skip("axe-playwright-python, which brings axe, is not installed")
    axe = (pathlib.Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    wide = [(SIZES[0], state, script) for state, script in STATES[name].items()]
    for size, state, script in [(SIZES[1], "start", ""), *wide]:
        page = opened(name, size, script, scheme)
        page.evaluate(axe)
        found = page.evaluate("axe.run(document)")
        assert len(found["passes"]) > 10
        bad = {one["id"]: one["nodes"][0]["failureSummary"] for one in found["violations"]}
        assert bad == {}, (name, size, state, json.dumps(bad, indent=1))
        page.close()


# Contrast as WCAG defines it; a colour that lets through what is behind it is laid upon that.
CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((x, k) => a * x + (1 - a) * below[k]);
  const linear = (x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => rgb.map((x) => linear(x / 255))
    .reduce((sum, x, k) => sum + x * [0.2126, 0.7152, 0.0722][k], 0);
  const ratio = (a, b) => {
    const [p, q] = [light(a), light(b)].sort((x, y) => y - x);
    return (p + 0.05) / (q + 0.05);
  };
  const ground = (element) => {
    const above = [];
    for (let e = element; e; e = e.parentElement)
      above.unshift(parse(getComputedStyle(e).backgroundColor));
    return above.reduce((below, colour) => over(colour, below), [255, 255, 255]);
  };
  const rows = [];
  for (const text of document.querySelectorAll("svg.xray text")) {
    const style = getComputedStyle(text), paper = ground(text.closest("svg"));
    const body = text.parentElement.querySelector(":scope > rect.body");
    const behind = body ? getComputedStyle(body).fill : text.matches(".title") ? style.stroke
      : getComputedStyle(text.previousElementSibling).fill;
    const below = behind === "none" ? paper : over(parse(behind), paper);
    rows.push([text.textContent, ratio(parse(style.fill), below)]);
  }
  for (const e of document.querySelectorAll("body *:not(svg *):not(option)")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest("[disabled]") || e.matches("script, style"))
      continue;
    const paper = ground(e), ink = over(parse(getComputedStyle(e).color), paper);
    rows.push([e.textContent.slice(0, 40), ratio(ink, paper)]);
  }
  return rows;
}"""


@pytest.mark.parametrize("name", STATES)
def test_all_text_stands_out_from_what_is_behind_it(opened, name):
    for state, script in STATES[name].items():
        page = opened(name, SIZES[0], script)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(50)
            rows = page.evaluate(CONTRAST)
            assert len(rows) > 4
            faint = {text: round(ratio, 2) for text, ratio in rows if ratio < 4.5}
            assert faint == {}, (name, state, scheme)
        page.close()


@pytest.mark.parametrize("name", STATES)
def test_what_can_be_pressed_has_a_name(opened, name):
    for state, script in STATES[name].items():
        page = opened(name, SIZES[0], script)
        session = page.context.new_cdp_session(page)
        tree = session.send("Accessibility.getFullAXTree")["nodes"]
        named = {}
        for node in tree:
            role = node.get("role", {}).get("value")
            if not node["ignored"] and role in (
                "button", "link", "textbox", "searchbox", "slider", "combobox", "checkbox",
                "radio", "image", "dialog", "complementary",
            ):  # fmt: skip
                named.setdefault(role, []).append(node.get("name", {}).get("value", ""))
        assert not [role for role, names in named.items() if not all(names)], (state, named)
        if name == "x-ray" and state == "start":
            drawn = [text for text in named["button"] if text.startswith("params['block1']")]
            assert len(drawn) == 1
            assert "parameter, value" in drawn[0]
            assert named["searchbox"] == ["search"]
        page.close()


@pytest.mark.parametrize("name", STATES)
def test_nothing_is_wider_than_a_telephone(opened, name):
    page = opened(name, SIZES[1], "")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.title")
