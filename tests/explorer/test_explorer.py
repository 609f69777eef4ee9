"""The explorer, as text and in a browser: what it shows is what was recorded."""

import base64
import csv
import json
import re
import zlib

import numpy as np
import pytest

from chainrule import explorer
from chainrule.explorer import block, build

RATES = np.asarray([0.1, 0.25, 0.5, 1.6, 2.5], np.float32)
STEPS = 6
WORD = '</script><img src=x onerror="alert(1)">'


def sweep(curvature, start, optimizer="sgd", name="here"):
    """Descents on sum(curvature * w^2) / 2, by hand: w shrinks by 1 - eta * curvature a step."""
    shrink = 1 - RATES[:, None, None] * np.asarray(curvature, np.float32)
    w = np.asarray(start, np.float32) * shrink ** np.arange(STEPS + 1)[:, None]
    loss = np.sum(np.asarray(curvature) * w**2, axis=-1) / 2
    slopes = np.asarray(curvature) * w
    return explorer.Sweep(
        optimizer=optimizer,
        start=name,
        loss=loss,
        grad_norm=np.linalg.norm(slopes, axis=-1),
        verdicts=["descending", "descending", "converged", "oscillating", "diverged"],
        edges={"edge at the start": 2 / max(curvature)},
        factor=2.0,
        params=w,
        slopes=slopes,
        sharpness=np.full(loss.shape, max(curvature)),
    )


def line(**changes):
    w = np.linspace(-3, 3, 31)
    sweeps = [sweep([1.0], [s], o, f"w = {s:g}") for o in ("sgd", "adam") for s in (2.0, -1.0)]
    made = explorer.Problem(
        "line", "a line", "half of w²", RATES, sweeps, (0.1, 1.6), 0.0, ("w",), (w, w**2 / 2)
    )
    return made._replace(**changes)


def plane(**changes):
    u, v = np.linspace(-3, 3, 31), np.linspace(-2, 2, 21)
    loss = (u[None] ** 2 + 3 * v[:, None] ** 2) / 2
    made = explorer.Problem(
        "plane", "a plane", "", RATES, [sweep([1.0, 3.0], [2.0, 1.0])], (0.25, 0.5), 0.0,
        ("u", "v"), (u, v, loss), [[0.0, 0.0]],
    )  # fmt: skip
    return made._replace(**changes)


def network(**changes):
    one = sweep([1.0], [1.0])
    errors = np.arange(5 * (STEPS + 1)).reshape(5, -1)
    one = one._replace(params=None, slopes=None, sharpness=None, counts={"errors of 9": errors})
    made = explorer.Problem("network", "a network", WORD, RATES, [one], (0.1, 0.5))
    return made._replace(**changes)


def unpack(page):
    """Read the arrays back, written from the description of the format."""
    (text,) = re.findall(r'id="recorded">(.*?)</script>', page, re.DOTALL)
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(4, -1)
    (described,) = re.findall(r'id="described">(.*?)</script>', page, re.DOTALL)
    return json.loads(described), np.ascontiguousarray(planes.T).view("<f4").ravel()


# --- the text of the page ----------------------------------------------------------------------


def test_the_page_holds_the_numbers_of_the_sweeps():
    described, numbers = unpack(explorer.page([line(), plane(floor=np.float32(-1)), network()]))
    assert [p["kind"] for p in described["problems"]] == ["line", "plane", "network"]
    assert [p["floor"] for p in described["problems"]] == [0, -1, 0]
    for shown, problem in zip(described["problems"], (line(), plane(), network()), strict=True):
        rates = numbers[shown["rates"] :][: shown["count"]]
        np.testing.assert_array_equal(rates, RATES)
        for there, one in zip(shown["sweeps"], problem.sweeps, strict=True):
            loss = numbers[there["loss"] :][: one.loss.size].reshape(one.loss.shape)
            # Above a floor every bit counts.
            tolerance = 0 if shown["name"] == "plane" else 2**-16
            np.testing.assert_allclose(loss, one.loss.astype("f4"), rtol=tolerance)
            words = [described["verdicts"][i] for i in there["verdicts"]]
            assert words == list(one.verdicts)
            for axis in range(len(problem.axes)):
                at = there["params"] + axis * one.loss.size
                w = numbers[at:][: one.loss.size].reshape(one.loss.shape)
                np.testing.assert_allclose(w, one.params[..., axis], rtol=2**-16)
                at = there["slopes"] + axis * one.loss.size
                slope = numbers[at:][: one.loss.size].reshape(one.loss.shape)
                np.testing.assert_allclose(slope, one.slopes[..., axis], rtol=2**-12)
    errors = numbers[described["problems"][2]["sweeps"][0]["counts"][0] :][:35]
    np.testing.assert_array_equal(errors, np.arange(35))


def test_the_rates_begun_with_are_the_nearest_and_edges_may_be_missing():
    first = sweep([1.0], [2.0])
    none = first._replace(edges={"a": np.inf, "b": np.nan}, factor=np.nan)
    described, _ = unpack(explorer.page([line(sweeps=[none])]))
    (problem,) = described["problems"]
    assert problem["chosen"] == {"a": 0, "b": 3}
    assert problem["sweeps"][0]["edges"] == [["a", "inf"], ["b", None]]
    assert problem["sweeps"][0]["factor"] is None


def test_an_edge_that_moves_has_a_number_at_each_step():
    moving = sweep([1.0], [2.0])
    moving = moving._replace(factor=np.linspace(1, 5, moving.loss.size).reshape(moving.loss.shape))
    described, numbers = unpack(explorer.page([line(sweeps=[moving])]))
    (shown,) = described["problems"][0]["sweeps"]
    assert shown["factor"] is None
    found = numbers[shown["factors"] :][: moving.loss.size].reshape(moving.loss.shape)
    np.testing.assert_allclose(found, moving.factor, rtol=2**-8)
    short = moving._replace(factor=moving.factor[:, :-1])
    with pytest.raises(
        ValueError, match=r"factor of sgd from here has shape \(5, 6\), not \(5, 7\)"
    ):
        explorer.page([line(sweeps=[short])])


@pytest.mark.parametrize("bits", [8, 12, 16, 24])
def test_rounding_keeps_so_many_bits_and_leaves_what_is_not_finite(bits):
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.normal(size=500) * 10.0 ** rng.integers(-30, 30, 500), [np.inf, -np.inf, np.nan, 0]]
    ).astype(np.float32)
    largest = np.float32([np.finfo(np.float32).max])
    rounded = block.rounded(np.concatenate([values, largest]), bits)
    np.testing.assert_allclose(rounded[:-1], values, rtol=2.0**-bits)
    assert np.isfinite(rounded[-1])  # not rounded up to infinity
    assert (rounded[:500].view(np.uint32) % 2 ** (24 - bits) == 0).all()


def test_no_text_becomes_a_tag():
    named = sweep([1.0], [2.0], optimizer=WORD, name=WORD)._replace(edges={WORD: 1.0})
    page = explorer.page([line(name=WORD, title=WORD, about=WORD, sweeps=[named])], title=WORD)
    assert "<img" not in page
    assert page.count("</script>") == 3
    assert unpack(page)[0]["problems"][0]["about"] == WORD


def test_what_does_not_fit_is_refused_with_both_shapes():
    good = line().sweeps
    bare = good[0]._replace(params=None, sharpness=None)
    counting = good[3]._replace(counts={"x": good[3].loss})
    for problems, message in (
        ([], r"no problem to explore"),
        ([network(sweeps=good[:1])], r"no sweep, or neither axes nor counts"),
        ([line(grid=plane().grid)], r"has 1 axes and a grid of 3 arrays"),
        ([line(rates=RATES[:4])], r"loss of sgd from w = 2 has shape \(5, 7\), not \(4, 7\)"),
        ([line(sweeps=[good[1], bare])], r"from w = 2 has no sharpness; .* has no params"),
        ([line(sweeps=good[:3])], r"3 sweeps, but each optimizer from each start is 4"),
        ([line(sweeps=[*good[:3], counting])], r"counts \['x'\], not \[\]"),
    ):
        with pytest.raises(ValueError, match=message):
            explorer.page(problems)


# --- in a browser ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text():
    return explorer.page([line(), plane(), network()])


@pytest.fixture
def opened(visit, text):
    page = visit(text)
    page.wait_for_selector("html[data-ready=yes]")
    return page


def number(page, lane, key):
    return float(page.inner_text(f"#numbers [data-lane={lane}][data-key='{key}']"))


def point(page, view, x, y):
    """Where on the screen a place in a plot is, scrolled to."""
    picture = page.query_selector(f"#{view}")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    at = page.evaluate(f"[views.{view}.x({x}) / 560, views.{view}.y({y}) / 400]")
    return box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"]


def test_the_slider_changes_the_lane_and_the_numbers_to_those_of_the_trace(opened):
    one = line().sweeps[0]
    opened.click("#forward")
    opened.click("#forward")
    paths = set()
    for rate, word in enumerate(one.verdicts):
        opened.fill("fieldset.a .rate-slider", str(rate))
        assert number(opened, "a", "loss") == pytest.approx(one.loss[rate, 2], rel=2e-5)
        assert number(opened, "a", "w") == pytest.approx(one.params[rate, 2, 0], rel=2e-5)
        assert number(opened, "a", "next") == pytest.approx(one.loss[rate, 3], rel=2e-5)
        model = one.loss[rate, 2] - RATES[rate] / 2 * one.grad_norm[rate, 2] ** 2
        assert number(opened, "a", "promise") == pytest.approx(model, rel=1e-3, abs=1e-4)
        assert number(opened, "a", "over") == pytest.approx(RATES[rate] / 2, rel=1e-3)
        assert opened.inner_text("fieldset.a .verdict b") == word
        assert opened.inner_text("fieldset.a .rate output") == f"{RATES[rate]:.4g}"
        paths.add(opened.get_attribute("#loss .path.rest.a", "d"))
    assert len(paths) == 5
    assert number(opened, "b", "loss") == pytest.approx(one.loss[3, 2], rel=2e-5)  # left alone

    with opened.expect_download() as waiting:
        opened.click("#export")
    assert waiting.value.suggested_filename == "descent-line.csv"
    header, *rows = csv.reader(waiting.value.path().read_text().splitlines())
    assert header[:2] == ["step", "A/line/eta=2.5/optimizer=sgd/start=w = 2/loss"]
    assert header[4] == "B/line/eta=1.6/optimizer=sgd/start=w = 2/loss"
    values = np.asarray(rows, float)
    np.testing.assert_array_equal(values[:, 0], np.arange(STEPS + 1))
    np.testing.assert_allclose(values[:, 1], one.loss[4], rtol=2e-5)
    np.testing.assert_allclose(values[:, 6], one.params[3, :, 0], rtol=2e-5)

    opened.select_option("fieldset.b .start", label="w = -1")
    assert number(opened, "b", "w") == pytest.approx(-0.36, rel=2e-5)


def test_play_reaches_the_end_and_all_works_by_keyboard(opened):
    shown = "document.querySelector('#step-shown').textContent"
    opened.keyboard.press(" ")
    assert opened.inner_text("#play") == "pause"
    opened.wait_for_function("document.querySelector('#play').textContent === 'play'")
    assert opened.evaluate(shown) == "6 of 6"
    assert opened.inner_text("#numbers [data-lane=a][data-key=next]") == "the last step"
    seen = []
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "]", "}", "b"):
        opened.keyboard.press(key)
        seen.append(opened.evaluate(shown)[0])
    assert seen[:5] == ["0", "1", "2", "1", "6"]
    assert opened.inner_text("fieldset.a .rate output") == "0.25"
    assert opened.inner_text("fieldset.b .rate output") == "2.5"
    assert opened.query_selector("#loss .b") is None
    opened.keyboard.press(" ")
    opened.keyboard.press(" ")
    assert opened.inner_text("#play") == "play"
    assert int(opened.evaluate(shown)[0]) < 6  # it began anew and was stopped
    # A slider with the focus keeps its arrows.
    step = opened.evaluate(shown)
    opened.focus("fieldset.a .rate-slider")
    opened.keyboard.press("ArrowRight")
    assert opened.inner_text("fieldset.a .rate output") == "0.5"
    assert opened.evaluate(shown) == step


def test_planes_and_networks_and_what_the_pointer_tells(opened):
    assert opened.query_selector("#hover").is_hidden()
    opened.mouse.move(*point(opened, "loss", 0, 2))
    assert opened.inner_text("#hover").startswith("A, step 0\nloss 2\nw 2")
    opened.mouse.move(*point(opened, "rates", RATES[2], 1))
    assert opened.inner_text("#hover") == "η 0.5\nsgd: converged, final 0.00048828"
    opened.mouse.down()
    opened.mouse.up()
    assert opened.inner_text("fieldset.b .rate output") == "0.5"  # B was nearer

    opened.click("text=a plane")
    one = plane().sweeps[0]
    opened.click("#forward")
    assert number(opened, "b", "v") == pytest.approx(one.params[2, 1, 1], rel=2e-5)
    assert opened.get_attribute("#place .contour", "d").count("M") >= build.CONTOURS - 4
    radius = opened.eval_on_selector("#place circle.model.a", "c => Number(c.getAttribute('r'))")
    unit = opened.evaluate("views.place.x(1) - views.place.x(0)")
    assert radius == pytest.approx(unit * 0.25 * one.grad_norm[1, 1], rel=1e-3)

    opened.click("text=a network")
    assert opened.inner_text("#about") == WORD
    opened.keyboard.press("End")
    assert number(opened, "a", "errors of 9") == 6
    assert number(opened, "b", "errors of 9") == 20


# --- sent, toured, read on any screen -----------------------------------------------------------


def test_the_address_holds_what_is_shown_and_shows_it_again(visit, text, opened):
    opened.click("text=a plane")
    opened.click("#forward")
    opened.click("#forward")
    opened.click("text=a line")
    opened.select_option("fieldset.a .optimizer", label="adam")
    opened.select_option("fieldset.b .start", label="w = -1")
    opened.fill("fieldset.a .rate-slider", "2")
    opened.keyboard.press("ArrowRight")
    opened.click("#forward")
    opened.uncheck("fieldset.b .shown")
    address = opened.evaluate("location.hash")
    assert "problem=line&step=1&a.rate=1.6&a.optimizer=adam" in address
    again = visit(text)
    again.wait_for_selector("html[data-ready=yes]")  # by then it has written an address of its own
    again.goto(again.url.partition("#")[0] + address)
    again.reload()
    again.wait_for_selector("html[data-ready=yes]")
    assert again.evaluate("location.hash") == address
    assert again.inner_text("fieldset.a .rate output") == "1.6"
    assert again.eval_on_selector("fieldset.b .start", "s => s.selectedOptions[0].text") == "w = -1"
    assert not again.is_checked("fieldset.b .shown")
    assert number(again, "a", "w") == number(opened, "a", "w")
    # What an address says wrongly is left as it is.
    again.evaluate("location.hash = '#problem=plane&step=99&a.rate=x&a.optimizer=none'")
    again.wait_for_function("state.problem.name === 'plane'")
    assert again.inner_text("#step-shown") == "6 of 6"
    assert again.inner_text("fieldset.a .rate output") == "0.25"
    again.evaluate("location.hash = '#problem=nowhere'")
    assert again.evaluate("state.problem.name") == "plane"


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720), (390, 844)])
def test_the_charts_come_first_on_every_screen(opened, width, height):
    opened.set_viewport_size({"width": width, "height": height})
    boxes = {
        name: opened.query_selector(name).bounding_box()
        for name in ("#place", "#rates", "#lanes", "#transport", "#loss", "#numbers")
    }
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    tops = {name: box["y"] for name, box in boxes.items()}
    assert tops["#place"] < tops["#transport"] < tops["#lanes"] < tops["#loss"] <= tops["#numbers"]
    if width > 1000:  # the landscape and the sweep in the first screen
        for name in ("#place", "#rates"):
            assert boxes[name]["y"] + boxes[name]["height"] <= height
    else:
        assert boxes["#place"]["y"] + boxes["#place"]["height"] <= height
        assert tops["#lanes"] < tops["#rates"] < tops["#loss"]


def test_no_line_crosses_a_label(opened):
    opened.keyboard.press("End")
    for problem in ("a line", "a plane", "a network"):
        opened.click(f"text={problem}")
        bare = opened.evaluate(
            """[...document.querySelectorAll("svg text.over")].filter((text) => {
              if (text.classList.contains("lane-name") && text.getAttribute("y") < 22) return false;
              const box = text.previousElementSibling?.getBBox(), own = text.getBBox();
              return !box || !text.previousElementSibling.classList.contains("label-box") ||
                box.x > own.x || box.x + box.width < own.x + own.width || box.height < own.height;
            }).map((text) => text.textContent)"""
        )
        assert bare == []


def test_the_tour_has_six_stops_and_goes_on_by_what_is_done(opened):
    def said():
        return opened.inner_text("#tour-text")

    assert opened.query_selector("#tour").is_hidden()
    opened.focus("#tour-begin")
    opened.keyboard.press("Enter")
    assert said().startswith("1 of 6.")
    opened.keyboard.press("ArrowRight")
    assert said().startswith("2 of 6. In the picture of all rates, drag A past the dashed line")
    for _ in range(4):  # 0.1 to 2.5, beyond the edge at 2
        opened.keyboard.press("]")
    assert said().startswith("3 of 6.")
    for _ in range(3):
        opened.keyboard.press("{")
    assert said().startswith("4 of 6.")
    opened.select_option("fieldset.b .optimizer", label="adam")
    assert said().startswith("5 of 6.")
    opened.focus("#tour-next")
    opened.keyboard.press("End")
    assert said().startswith("6 of 6. The address of this page")
    assert opened.is_disabled("#tour-next")
    opened.click("#tour-back")
    assert said().startswith("5 of 6."), "what is done already is read again"
    opened.keyboard.press("Escape")
    assert opened.query_selector("#tour").is_hidden()
    assert opened.evaluate("document.activeElement.id") == "tour-begin"


def test_every_control_has_a_name_in_the_accessibility_tree(opened):
    names = opened.evaluate(
        """[...document.querySelectorAll("button, select, input")].map((one) =>
          one.getAttribute("aria-label") || one.textContent || one.labels?.[0]?.textContent)"""
    )
    assert all(name.strip() for name in names), names
    for lane in "AB":
        slider = opened.get_by_role("slider", name=f"learning rate of {lane}")
        assert slider.get_attribute("aria-valuetext")
