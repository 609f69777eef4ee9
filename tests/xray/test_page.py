"""The page, clicked through in a browser: it needs nothing but itself (fixture `visit`)."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import xray
from chainrule.ops import pooling


def layer(w, x):
    h = jnp.dot(w, x)
    return jnp.tanh(h) * x


def network(params, x):
    for name in params:
        with jax.named_scope(name):
            x = layer(params[name], x)
    return jnp.sum(x * x)


@pytest.fixture(scope="module")
def report():
    params = {f"block{k}": jnp.full((3, 3), 0.1 * k) for k in range(1, 4)}
    return xray.xray(network, params, jnp.array([1.0, -2.0, 0.5]), compiled=False)


def shown(page, kind="n"):
    of = f"^={kind}" if kind else ""
    return page.eval_on_selector_all(
        f"#view [data-id{of}]", "list => list.map((g) => g.dataset.id)"
    )


def test_groups_open_and_close_by_mouse_and_by_key(visit, report):
    page = visit(report.to_html(open="none"))
    assert shown(page, "g") == ["g0", "g1", "g2"]
    closed = len(shown(page))
    page.click("#view [data-id=g1]")
    assert len(shown(page)) == closed + 4  # the weights, dot, tanh, mul
    assert shown(page, "o") == ["o1"]
    page.focus("#view [data-id=g2]")
    page.keyboard.press("Enter")
    assert shown(page, "o") == ["o1", "o2"]
    page.click("#view [data-id=o1]", position={"x": 4, "y": 4})
    assert shown(page, "g") == ["g0", "g1"]
    page.keyboard.press("o")
    assert shown(page, "g") == []
    page.keyboard.press("c")
    assert shown(page, "g") == ["g0", "g1", "g2"]


def recurrence(w, h):
    for _ in range(200):
        h = layer(w, h) + h
    return jnp.sum(h)


@pytest.fixture(scope="module")
def long():
    return xray.xray(recurrence, jnp.eye(2), jnp.ones(2), compiled=False)


def test_a_long_program_starts_folded_and_opens_no_more_than_can_be_read(visit, long):
    assert len(long.nodes) > 800
    page = visit(long.to_html())
    assert [card.text_content() for card in page.locator("#view .closed text.name").all()] == [
        "▸ layer … add × 200"
    ]
    assert shown(page) == ["n0", "n1", "n802"]
    page.click("#open")
    boxes = page.locator("#view .box").count()
    assert 100 < boxes <= 300
    assert page.locator("#view text").count() < 4000
    said = page.inner_text("#found")
    assert re.match(r"\d+ of \d+ groups are open: 300 boxes are drawn at most", said)
    page.click("#close")
    assert page.inner_text("#found") == ""
    assert len(shown(page)) == 3


def test_the_first_box_of_a_wide_graph_is_in_sight_of_a_telephone(visit):
    def wide(params, sheet, bias):
        rows = jnp.sum(sheet, 0)[:3] * params["w"] + params["of"]
        return jnp.sum(jnp.maximum(rows, bias[:3])), jax.nn.softmax(rows)

    args = {"w": jnp.ones(3), "of": 2.0}, jnp.ones((12, 12)), jnp.ones(20)
    page = visit(xray.xray(wide, *args, has_aux=True).to_html(direction="down"))
    page.set_viewport_size({"width": 390, "height": 844})
    page.click("#fit")
    boxes = page.evaluate(
        "[...document.querySelectorAll('#view .box')].map((b) => b.getBoundingClientRect())"
        ".map(({ left, right, top }) => ({ left, right, top }))"
    )
    assert max(box["right"] for box in boxes) - min(box["left"] for box in boxes) > 390
    first = min(boxes, key=lambda box: box["top"])
    assert first["left"] >= 0
    assert first["right"] <= 390


def test_a_closed_function_is_one_step_until_it_is_opened(visit):
    @jax.jit
    def inner(x):
        return jnp.tanh(jnp.sin(x) * 2.0)

    page = visit(xray.xray(lambda x: jnp.sum(inner(x) * x), jnp.ones(3)).to_html())
    assert page.inner_text("#count") == "3 steps"
    for said in ("= 1", "reduce_sum", "mul_", "inner\n3 operators in one step"):
        page.keyboard.press("ArrowRight")
        assert said in page.inner_text("#equation")
    assert page.inner_text("#count") == "3 of 3"
    closed = page.locator("#view .box.closed.current")
    assert closed.count() == 1
    closed.click()
    assert page.inner_text("#count") == "5 of 5"
    assert page.inner_text("#equation").startswith("inner › sin_")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#equation").startswith("inner › mul_")
    page.click("#close")
    assert page.inner_text("#count") == "3 of 3"  # the whole function, some of it still to come
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#count") == "2 of 3"


def test_steps_and_hits_open_their_groups_only_wherever_they_are_folded(visit, long):
    page = visit(long.to_html())
    page.keyboard.press("ArrowRight")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
        current = page.get_attribute("#view .current", "data-id")
        assert current == f"n{long.node(page.inner_text('#panel h2')).index}"
    assert page.locator("#view .box").count() < 80
    page.keyboard.press("Escape")
    page.fill("#search", "tanh")
    assert page.inner_text("#found") == "200 found"
    for k in (1, 2):
        page.keyboard.press("Enter")
        assert page.inner_text("#found") == f"{k} of 200"
        assert page.locator("#view .selected").count() == 1


def test_the_empty_panel_lists_the_layers_with_a_bar_for_each_gradient(visit):
    def deep(params, x):
        for w in params.values():
            x = jnp.tanh(x @ w)
        return jnp.sum(x)

    params = {f"layer{k}": 0.05 * jnp.eye(4) for k in range(5)}
    report = xray.xray(deep, params, jnp.ones((2, 4)), argnums=0)
    flow = report.flow()
    page = visit(report.to_html())
    rows = page.locator("#panel .layers li").all_inner_texts()
    assert [row.split()[0] for row in rows] == [layer.name for layer in flow.layers]
    numbers = [float(row.split()[-1].replace("−", "-")) for row in rows]
    assert numbers == pytest.approx([layer.gradient_norm for layer in flow.layers], rel=1e-2)
    assert [" ".join(row.split()[1:-1]) for row in rows] == [
        ", ".join(layer.flags) for layer in flow.layers
    ]
    bars = page.eval_on_selector_all(
        "#panel .layers .bar i", "list => list.map((bar) => bar.getBoundingClientRect().width)"
    )
    logs = np.log10(numbers)
    share = (logs - logs.min()) / (logs.max() - logs.min())
    assert np.allclose(bars / np.max(bars), 0.04 + 0.96 * share, atol=0.02)
    page.click("#panel .layers li:nth-child(3) button")
    assert page.inner_text("#panel h2") == flow.layers[2].node


def test_births_stand_before_the_layers(visit):
    def f(p, x):
        with jax.named_scope("one"):
            return jnp.sum(jnp.sqrt((x @ p["w"]) * 0.0))

    page = visit(xray.xray(f, {"w": jnp.ones((3, 2))}, jnp.ones((4, 3))).to_html())
    titles = page.locator("#panel h3").all_inner_texts()
    assert titles[0] == "not finite"
    assert titles[-1].startswith("layers")


def test_the_panel_quotes_the_outermost_line_of_the_user_and_names_the_innermost(visit):
    def loss(x):
        return jnp.sum(
            pooling.max_pool(x, 2)  # quoted
        )

    report = xray.xray(loss, jnp.ones((1, 4, 4, 1)), compiled=False)
    page = visit(report.to_html())
    inner = next(n for n in report.nodes if "pooling.py" in n.line)
    page.evaluate(f"location.hash = 'at=n{inner.index}'")
    page.wait_for_selector("#panel .quote")
    assert page.inner_text("#panel .quote") == "pooling.max_pool(x, 2)  # quoted"
    lines = page.locator("#panel .line").all_inner_texts()
    assert lines[0].startswith("tests/xray/test_page.py:")
    assert "ops/pooling.py:" in lines[1]


def test_the_address_keeps_what_is_open_selected_and_searched_for(visit, report):
    page = visit(report.to_html(open="none"))
    page.click("#view [data-id=g1]")
    page.fill("#search", "tanh & x")
    page.fill("#search", "tanh")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    before = shown(page, ""), page.inner_text("#panel h2"), page.inner_text("#found")
    assert "open=0,1" in page.url.replace("%2C", ",")
    page.goto("about:blank")
    page.go_back()
    assert (shown(page, ""), page.inner_text("#panel h2")) == before[:2]
    assert page.input_value("#search") == "tanh"
    page.keyboard.press("Escape")
    page.click("#close")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "step=1" in page.url
    page.reload()
    assert page.inner_text("#count").startswith("1 of ")
    for nonsense in ("open=99,-1,x&at=n999&step=1e9", "%&=&&"):
        page.evaluate(f"location.hash = {nonsense!r}")
        page.wait_for_timeout(50)
        assert page.locator("#view .box").count() > 3


def test_the_map_shows_the_part_in_view_and_moves_it(visit, long):
    page = visit(long.to_html())
    page.click("#close")
    assert page.is_hidden("#map")  # all of it is in view
    page.click("#open")
    assert page.is_visible("#map")
    assert page.locator("#marks rect").count() == len(shown(page, ""))
    scale = float(re.search(r"scale\((.*)\)", page.get_attribute("#view", "transform"))[1])
    assert scale >= 1, "its text is too small to read"
    frame, window = (page.locator(f"#{name}").bounding_box() for name in ("map", "window"))
    assert window["width"] < frame["width"] or window["height"] < frame["height"]
    at = {"x": frame["width"] * 0.8, "y": frame["height"] * 0.8}
    page.click("#map", position=at)
    moved = page.locator("#window").bounding_box()
    for side, size in (("x", "width"), ("y", "height")):
        middle = moved[side] + moved[size] / 2
        assert middle == pytest.approx(frame[side] + at[side], abs=3)


@pytest.mark.parametrize("width", [1440, 1280, 390])
def test_text_is_never_smaller_than_11_pixels_and_the_toolbar_is_one_row(visit, report, width):
    page = visit(report.to_html(open="all"))
    page.set_viewport_size({"width": width, "height": 844})
    page.keyboard.press("f")
    smallest = page.evaluate(
        """() => {
          const all = (selector) => [...document.querySelectorAll(selector)];
          const moved = document.querySelector("#view").getAttribute("transform");
          const scale = Number(/scale\\((.*)\\)/.exec(moved)[1]);
          const size = (element) => parseFloat(getComputedStyle(element).fontSize);
          const drawn = all("#view text").map((text) => size(text) * scale);
          return Math.min(...drawn, ...all("body *").filter((e) => e.innerText).map(size));
        }"""
    )
    assert smallest >= 11
    assert page.locator("header").bounding_box()["height"] < 50
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    graph, panel = (page.locator(name).bounding_box() for name in ("main", "#panel"))
    if width == 390:
        assert graph["y"] < panel["y"]
        assert graph["height"] > 0.5 * 844
    for button in page.locator("header button:visible").all():
        box = button.bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width


def test_two_fingers_zoom(visit, report):
    page = visit(report.to_html(open="all"))
    before = page.get_attribute("#view", "transform")
    page.evaluate(
        """() => {
          const picture = document.querySelector("#picture");
          const send = (type, pointerId, clientX) => picture.dispatchEvent(
            new PointerEvent(type, { pointerId, clientX, clientY: 300, bubbles: true }));
          send("pointerdown", 1, 300); send("pointerdown", 2, 400);
          send("pointermove", 2, 500);
          send("pointerup", 1, 300); send("pointerup", 2, 500);
        }"""
    )
    scales = [
        float(re.search(r"scale\((.*)\)", text)[1])
        for text in (before, page.get_attribute("#view", "transform"))
    ]
    assert scales[1] == pytest.approx(2 * scales[0], rel=0.01)


def test_search_finds_what_is_hidden_in_a_group(visit, report):
    page = visit(report.to_html(open="none"))
    page.keyboard.press("/")
    page.keyboard.type("tanh")
    assert page.inner_text("#found") == "3 found"
    page.keyboard.press("Enter")
    assert page.inner_text("#found") == "1 of 3"
    label = page.inner_text("#panel h2")
    assert label.startswith("tanh_")
    assert page.get_attribute("#view .selected", "data-id") == f"n{report.node(label).index}"
    page.fill("#search", "block2")
    page.keyboard.press("Enter")
    assert page.inner_text("#panel h2") == "params['block2']"
    page.fill("#search", "no such thing")
    assert page.inner_text("#found") == "0 found"


def test_the_backward_pass_goes_one_operator_at_a_time_with_its_equation(visit, report):
    page = visit(report.to_html(open="none"))
    steps = int(re.search(r"\d+", page.inner_text("#count"))[0])
    assert steps == sum(n.kind == "operator" for n in report.nodes)
    assert page.is_hidden("#equation")
    page.keyboard.press("ArrowRight")
    assert f"∂{report.nodes[-1].label} = 1" in page.inner_text("#equation")
    below = page.locator("#equation").bounding_box()["y"]
    result = page.locator(f"#view [data-id=n{report.nodes[-1].index}]").bounding_box()
    assert result["y"] + result["height"] < below, "the equation covers the result"
    page.keyboard.press("o")
    assert page.locator("#view text.gradient", has_text="?").count() > 10
    page.keyboard.press("c")
    seen = []
    for step in range(1, steps + 1):
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#count") == f"{step} of {steps}"
        current = page.get_attribute("#view .current", "data-id")
        label = page.inner_text("#panel h2")
        assert current == f"n{report.node(label).index}"  # the group around it has opened
        seen.append(page.inner_text("#equation"))
    assert len(set(seen)) == steps
    assert f"{report.nodes[-1].label} = Σ {report.nodes[-2].label} = " in seen[0]
    last = seen[-1].split("\n")
    assert last[0].startswith("block1 › dot_general_")
    assert last[2].startswith("∂params['block1'] = ∂dot_general_")
    assert last[2].endswith(" ⊗ x")
    assert last[3].startswith("∂x += params['block1']ᵀ @ ∂dot_general_")
    assert len(shown(page, "o")) == 1  # and those left behind have closed
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#equation") == seen[-2]
    page.keyboard.press("Home")
    page.keyboard.press("End")
    page.keyboard.press("o")
    assert page.locator("#view text.gradient", has_text="?").count() == 0
    page.keyboard.press("Escape")
    assert page.is_hidden("#equation")


def test_the_page_zooms_pans_and_turns_dark(visit, report):
    page = visit(report.to_html())
    transform = page.get_attribute("#view", "transform")
    page.mouse.move(300, 400)
    page.mouse.wheel(0, -300)
    page.wait_for_function(
        "before => document.querySelector('#view').getAttribute('transform') !== before",
        arg=transform,
    )
    zoomed = page.get_attribute("#view", "transform")
    scale = [float(re.search(r"scale\((.*)\)", text)[1]) for text in (transform, zoomed)]
    assert scale[1] > 1.2 * scale[0]
    page.mouse.move(20, 700)
    page.mouse.down()
    page.mouse.move(80, 740, steps=3)
    page.mouse.up()
    panned = page.get_attribute("#view", "transform")
    x = [float(re.search(r"translate\(([^,]*)", text)[1]) for text in (zoomed, panned)]
    assert x[1] == pytest.approx(x[0] + 60, abs=1)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("t")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light == "rgb(255, 255, 255)"
    assert dark == "rgb(22, 25, 29)"
    page.keyboard.press("?")
    assert page.is_visible("#help")


def test_the_panel_holds_the_uses_their_sum_and_the_births(visit):
    def distance(w, a, b):
        return jnp.sqrt(jnp.sum((a * w - b * w) ** 2))

    found = xray.xray(distance, jnp.float32(2.0), jnp.ones(3), jnp.ones(3), compiled=False)
    page = visit(found.to_html())
    assert "Inf born backward" in page.inner_text("#panel")
    assert "test_page.py" in page.inner_text("#panel")
    page.click("#view [data-id=n0]")
    uses = page.inner_text("#panel .uses")
    assert uses.count("NaN") == 3
    assert "sum" in uses
    page.click("#panel .uses button >> nth=0")
    assert 0 in [slot.node for slot in found.node(page.inner_text("#panel h2")).inputs]


def test_where_gradients_die_is_marked_and_listed(visit):
    report = xray.xray(lambda w, v: jnp.sum(jnp.round(w) * v), jnp.ones(2), jnp.ones(2))
    assert "gradient dies in" not in report.to_html()  # it was not asked
    report.deaths()
    page = visit(report.to_html())
    (mark,) = page.locator("#view .died").all()
    assert mark.get_attribute("data-id") == f"n{report.node('round_2').index}"
    assert "gradient dies" in mark.text_content()
    (said,) = page.locator("#panel section.died .row").all_inner_texts()[:1]
    assert said == "the gradient dies in round (2 elements)"
    page.click("#panel section.died .link")
    assert page.inner_text("#panel h2") == "round_2"
    assert "no gradient gets to: w (all of 2)" in page.inner_text("#panel")
    assert page.locator("#view .died").count() == 1


def test_births_stand_in_the_order_of_the_text_each_beside_its_node(visit):
    def f(x, y):
        masked = jax.lax.stop_gradient(jnp.where(x > 0, 1 / x, 2.0))
        return jnp.sum(masked + jnp.log(x)) + jnp.sum(x * y)

    found = xray.xray(f, jnp.zeros(2), jnp.array([1.0, jnp.nan]), compiled=False)
    births = found.nonfinite().births
    assert [birth.op for birth in births if birth.phase == "forward"] == ["div", "log"]
    assert births[0].harmless
    page = visit(found.to_html())
    said = re.sub(r"/\S*/tests/", "tests/", str(found.nonfinite()))
    shown = page.locator("#panel .place, #panel .row, #panel .end").all_inner_texts()
    told = [line.strip() for line in said.splitlines() if line]
    assert told.pop() == "cures() tries what to write instead"  # which a page cannot
    assert shown[: len(told)] == told  # the deaths of gradients come below
    links = page.locator("#panel section.bad button")
    named = [found.node(text).op for text in links.all_inner_texts()]
    assert named == ["log", *(b.op for b in births if b.phase == "backward"), "input", "div"]
    links.nth(links.count() - 2).click()
    assert page.inner_text("#panel h2") == "y"


def test_cures_stand_on_the_page_once_they_were_tried(visit):
    found = xray.xray(lambda x, y: jnp.sqrt(jnp.sum(x * y)), jnp.zeros(2), jnp.array([1.0, 2.0]))
    page = visit(found.to_html())
    assert page.locator("#panel .good").count() == 0
    cures = found.nonfinite().cures()
    page = visit(found.to_html())
    shown = page.locator("#panel section.good").all_inner_texts()
    assert len(shown) == len(cures) > 0
    assert cures[0].text in shown[0]
    page.locator("#panel section.good button").first.click()
    assert page.inner_text("#panel h2") == found.nodes[cures[0].birth.node].label


def test_a_page_names_no_folder_of_the_machine(visit):
    def f(x):
        return jnp.sum(optax.losses.safe_softmax_cross_entropy(x, jnp.log(x)))

    found = xray.xray(f, jnp.zeros(2), compiled=False)
    lines = [line for node in found.nodes for line in (node.line, node.within) if line]
    folders = {str(pathlib.Path(line).parent) for line in lines}
    assert len(folders) > 1
    assert all(folder.startswith("/") for folder in folders)
    text = found.to_html()
    assert not [folder for folder in folders if folder in text]
    assert "tests/xray/test_page.py:" in text
    assert "optax/losses/_classification.py:" in text


def test_names_cannot_break_out_of_the_page(visit):
    name = "</script><img src=x onerror=alert(1)>"
    page = visit(xray.xray(lambda p: p[name] * 2.0, {name: 3.0}, compiled=False).to_html())
    assert page.text_content("#view .parameter text.name") == f"p['{name}']"
    assert page.locator("img").count() == 0


def test_a_notebook_shows_the_page_in_a_frame(visit, report):
    page = visit(f"<!doctype html><title>cell</title>{report._repr_html_()}")
    frame = page.frame_locator("iframe")
    assert page.get_attribute("iframe", "title") == "the x-ray of network"
    assert frame.locator("#view [data-id]").count() > 5
    before = frame.locator("#view").get_attribute("transform")
    page.mouse.move(200, 300)
    page.mouse.wheel(0, -300)  # belongs to the notebook
    page.wait_for_timeout(100)
    assert frame.locator("#view").get_attribute("transform") == before
