"""The explorer, as text and in a browser: it shows what was recorded, or what JAX computes, too."""

import base64
import csv
import json
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import descent, explorer
from chainrule.explorer import block, build

RATES = np.asarray([0.1, 0.25, 0.5, 1.6, 2.5], np.float32)
STEPS = 6
WORD = '</script><img src=x onerror="alert(1)">'


def sweep(optimizer="sgd", start="seed 0"):
    """Descents on w^2 / 2 from 1, by hand: w shrinks by 1 - eta a step; and a count of errors."""
    w = (1 - RATES[:, None]) ** np.arange(STEPS + 1)
    return explorer.Sweep(
        optimizer=optimizer,
        start=start,
        loss=w**2 / 2,
        grad_norm=np.abs(w),
        verdicts=["descending", "descending", "converged", "oscillating", "diverged"],
        edges={"edge at the start": 2.0},
        counts={"errors of 9": np.arange(5 * (STEPS + 1)).reshape(5, -1)},
    )


def line(**changes):
    made = explorer.Landscape(
        "line", "a line", "half of w²", lambda w: jnp.sum(w * w) / 2, ("w",), [[2.0]],
        (0.1, 2.5), (0.1, 1.6), STEPS, [(-3.0, 3.0)], [[0.0]], lanes=5,
    )  # fmt: skip
    return made._replace(**changes)


def plane(**changes):
    made = explorer.Landscape(
        "plane", "a plane", "", lambda w: jnp.sum(jnp.asarray([1.0, 3.0]) * w * w) / 2 - 1,
        ("u", "v"), [[2.0, 1.0], [-1.0, 1.5]], (0.05, 2.0), (0.25, 0.5), STEPS,
        [(-3.0, 3.0), (-2.0, 2.0)], [[0.0, 0.0]], lanes=9,
    )  # fmt: skip
    return made._replace(**changes)


def network(**changes):
    made = explorer.Problem("network", "a network", WORD, RATES, [sweep()], (0.1, 0.5))
    return made._replace(**changes)


def unpack(page):
    """Read the arrays back, written from the description of the format."""
    (text,) = re.findall(r'id="recorded">(.*?)</script>', page, re.DOTALL)
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(4, -1)
    (described,) = re.findall(r'id="described">(.*?)</script>', page, re.DOTALL)
    return json.loads(described), np.ascontiguousarray(planes.T).view("<f4").ravel()


# --- the text of the page ----------------------------------------------------------------------


def test_the_page_holds_the_numbers_of_the_sweeps_and_the_equations_of_a_loss():
    recorded = [network(), network(floor=np.float32(-1))]
    described, numbers = unpack(explorer.page([line(), plane(), *recorded]))
    assert [p["kind"] for p in described["problems"]] == ["line", "plane", "network", "network"]
    assert [p["floor"] for p in described["problems"]] == [0, -1, 0, -1]
    for shown, problem in zip(described["problems"][2:], recorded, strict=True):
        rates = numbers[shown["rates"] :][: shown["count"]]
        np.testing.assert_array_equal(rates, RATES)
        for there, one in zip(shown["sweeps"], problem.sweeps, strict=True):
            loss = numbers[there["loss"] :][: one.loss.size].reshape(one.loss.shape)
            # Above a floor every bit counts.
            tolerance = 0 if problem.floor else 2**-16
            np.testing.assert_allclose(loss, one.loss.astype("f4"), rtol=tolerance)
            words = [described["verdicts"][i] for i in there["verdicts"]]
            assert words == list(one.verdicts)
        errors = numbers[shown["sweeps"][0]["counts"][0] :][:35]
        np.testing.assert_array_equal(errors, np.arange(35))
    on_line, on_plane, *_ = described["problems"]
    w, loss = (numbers[at:][:241] for at in on_line["curve"][:2])
    np.testing.assert_allclose(loss, w**2 / 2, rtol=1e-4)
    assert on_line["starts"] == [[2.0], [2.0]]
    assert on_plane["starts"] == [[2.0, 1.0], [-1.0, 1.5]]
    first = sum(on_plane["contours"]["lengths"][:1])
    u, v = numbers[on_plane["contours"]["at"] :][: 2 * first].reshape(-1, 2).T
    level = (u**2 + 3 * v**2) / 2
    np.testing.assert_allclose(level, level.mean(), rtol=0.05)


def test_the_rates_begun_with_are_the_nearest_and_edges_may_be_missing():
    none = sweep()._replace(edges={"a": np.inf, "b": np.nan})
    described, _ = unpack(explorer.page([network(sweeps=[none], chosen=(0.11, 1.5))]))
    (problem,) = described["problems"]
    assert problem["chosen"] == [0, 3]
    assert problem["sweeps"][0]["edges"] == [["a", "inf"], ["b", None]]


def test_a_floor_that_is_not_known_is_the_lowest_in_the_window_if_that_is_below_zero():
    def floors(problem):
        return [p["floor"] for p in unpack(explorer.page([problem]))[0]["problems"]]

    assert floors(plane(minima=())) == [pytest.approx(-1, abs=1e-3)]
    assert floors(line(minima=(), window=[(1.0, 3.0)])) == [0]
    assert floors(line(floor=-2.0)) == [-2]


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
    named = sweep(WORD, WORD)._replace(edges={WORD: 1.0})
    problems = [network(name=WORD, title=WORD, sweeps=[named]), line(axes=(WORD,), about=WORD)]
    page = explorer.page(problems, title=WORD)
    assert "<img" not in page
    assert page.count("</script>") == 3
    assert unpack(page)[0]["problems"][0]["about"] == WORD


def test_what_does_not_fit_is_refused_with_both_shapes():
    good = [sweep(o, s) for o in ("sgd", "adam") for s in ("one", "two")]
    short = good[0]._replace(grad_norm=good[0].loss[:, 1:])
    counting = good[3]._replace(counts={"x": good[3].loss})
    for problems, message in (
        ([], r"no problem to explore"),
        ([network(sweeps=[good[0]._replace(counts={})])], r"no sweep, or no counts"),
        ([network(rates=RATES[:4])], r"loss of sgd from seed 0 has shape \(5, 7\), not \(4, 7\)"),
        ([network(sweeps=[short])], r"grad_norm of sgd from one has shape \(5, 6\), not \(5, 7\)"),
        ([network(sweeps=good[:3])], r"3 sweeps, but each optimizer from each start is 4"),
        ([network(sweeps=[*good[:3], counting])], r"counts \['x'\], not \['errors of 9'\]"),
        ([line(axes=())], r"landscape 'line' has 0 axes: one or two can be drawn"),
        ([line(starts=[[2.0, 1.0]])], r"starts must be one or two points of 1 finite number each"),
        (
            [plane(starts=[[2.0, np.inf]], window=[(1, 2), (2, 1)])],
            r"starts must.*; window must be 2",
        ),
        (
            [line(rates=(2.5, 0.1))],
            r"rates must be two positive rates, ascending, not \(2.5, 0.1\)",
        ),
        ([line(chosen=(0.0, 1.0))], r"chosen must be two positive rates, not \(0.0, 1.0\)"),
        ([line(minima=[[0.0, 1.0]])], r"minima must be points of 1 finite number each, not \[\["),
        ([line(floor=np.nan)], r"floor must be a finite number, not nan"),
        ([line(steps=0)], r"steps of landscape 'line' must be an int of at least 1, not 0"),
        (
            [line(loss=jnp.square)],
            r"loss must return a floating-point scalar, shape \(\), but returns float32",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            explorer.page(problems)


def test_a_loss_that_a_page_cannot_compute_is_refused_by_the_primitive():
    def loss(w):
        return jnp.sum(w) + jnp.sum(jnp.linalg.cholesky(jnp.outer(w, w)))

    message = (
        r"landscape 'line' cannot be .* for the page has no rule for the primitive cholesky: record"
    )
    with pytest.raises(ValueError, match=message):
        explorer.page([line(loss=loss)])


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


def typed(page, lane, name):
    """A number that one types: the rate, the start along an axis, a setting."""
    named = {"rate": f"learning rate of {lane.upper()}, typed"}.get(name)
    return page.get_by_role("spinbutton", name=named or f"{name} of {lane.upper()}", exact=True)


def by_jax(problem, start, eta, optimizer=optax.sgd):
    """Return the only lane of a sweep by JAX, on which a landscape is."""
    trace = descent.sweep(
        problem.loss, jnp.asarray(start, jnp.float32), jnp.asarray([eta]), problem.steps,
        optimizer=optimizer, record_params=True,
    )  # fmt: skip
    return descent.verdict(trace)[0], jax.tree.map(lambda leaf: np.asarray(leaf[0]), trace)


def point(page, view, x, y):
    """Where on the screen a place in a plot is, scrolled to."""
    picture = page.query_selector(f"#{view}")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    at = page.evaluate(f"[views.{view}.x({x}) / 560, views.{view}.y({y}) / 400]")
    return box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"]


def test_a_landscape_is_descended_from_where_one_drags_at_what_one_types_and_sent(visit, opened):
    opened.click("text=a plane")
    one, path = plane(), "#place .path.rest.a"
    paths = [opened.get_attribute(path, "d")]

    opened.mouse.move(*point(opened, "place", 2.0, 1.0))  # A's start
    opened.mouse.down()
    opened.mouse.move(*point(opened, "place", 1.0, -0.5), steps=3)
    opened.mouse.move(*point(opened, "place", -1.5, -1.0), steps=3)
    opened.mouse.up()
    start = [float(typed(opened, "a", f"{axis} of the start").input_value()) for axis in "uv"]
    assert start == pytest.approx([-1.5, -1.0], abs=0.02)
    assert float(typed(opened, "b", "u of the start").input_value()) == -1.0  # left alone
    paths.append(opened.get_attribute(path, "d"))

    opened.keyboard.press("End")
    assert opened.inner_text("fieldset.a .verdict b") == "descending"
    opened.focus("fieldset.a .rate-slider")
    opened.keyboard.press("ArrowRight")
    eta = float(typed(opened, "a", "rate").input_value())
    assert 0.25 < eta < 0.3
    opened.keyboard.press("Home")
    assert typed(opened, "a", "rate").input_value() == "0.05"
    opened.keyboard.press("End")
    assert opened.inner_text("fieldset.a .verdict b") == "diverged"
    paths.append(opened.get_attribute(path, "d"))

    opened.select_option("fieldset.a .optimizer", label="adam")
    typed(opened, "a", "rate").fill("0.3")
    typed(opened, "a", "b1").fill("0.5")
    opened.get_by_role("slider", name="b2 of A, slider").fill("0.9")
    typed(opened, "a", "u of the start").press("ArrowUp")
    start[0] = float(typed(opened, "a", "u of the start").input_value())
    assert start[0] == pytest.approx(-1.47, abs=0.02)
    paths.append(opened.get_attribute(path, "d"))
    assert len(set(paths)) == 4

    def matches(page):
        word, trace = by_jax(one, start, 0.3, lambda eta: optax.adam(eta, b1=0.5, b2=0.9))
        assert page.inner_text("fieldset.a .verdict b") == word
        assert number(page, "a", "u") == pytest.approx(trace.params[-1, 0], rel=2e-5, abs=1e-6)
        assert number(page, "a", "loss") == pytest.approx(trace.loss[-1], rel=2e-5)
        assert number(page, "a", "grad_norm") == pytest.approx(trace.grad_norm[-1], rel=2e-3)
        assert number(page, "a", "sharpness") == 3

    matches(opened)
    again = visit(explorer.page([line(), one]))
    again.wait_for_selector("html[data-ready=yes]")  # by then it has written an address of its own
    address = opened.evaluate("location.hash")
    again.goto(again.url.partition("#")[0] + address)
    again.reload()
    again.wait_for_selector("html[data-ready=yes]")
    assert again.evaluate("location.hash") == address
    assert again.get_attribute(path, "d") == paths[-1]
    matches(again)


def test_what_is_no_rate_start_or_decay_changes_nothing_and_is_marked(opened):
    opened.select_option("fieldset.a .optimizer", label="momentum")
    shown = opened.evaluate("location.hash")
    for name, texts in {
        "rate": ("0", "-1", "", "1e-60"),
        "w of the start": ("", "1e60"),
        "momentum": ("1", "-0.1"),
    }.items():
        for text in texts:
            typed(opened, "a", name).fill(text)
            assert typed(opened, "a", name).get_attribute("aria-invalid") is not None, (name, text)
            assert opened.evaluate("location.hash") == shown
        typed(opened, "a", name).blur()
        assert typed(opened, "a", name).get_attribute("aria-invalid") is None
    assert typed(opened, "a", "rate").input_value() == "0.1"
    typed(opened, "a", "rate").fill("7.5")  # beyond the slider
    assert opened.evaluate("state.a.rate") == 7.5
    assert opened.inner_text("fieldset.a .verdict b") == "diverged"


def test_the_numbers_are_those_of_the_trace_and_are_exported(opened):
    one = line()
    opened.click("#forward")
    opened.click("#forward")
    paths = set()
    for eta in (0.1, 0.5, 1.3, 2.5):
        typed(opened, "a", "rate").fill(str(eta))
        word, trace = by_jax(one, [2.0], eta)
        assert number(opened, "a", "loss") == pytest.approx(trace.loss[2], rel=2e-5)
        assert number(opened, "a", "w") == pytest.approx(trace.params[2, 0], rel=2e-5)
        assert number(opened, "a", "next") == pytest.approx(trace.loss[3], rel=2e-5)
        model = trace.loss[2] - eta / 2 * trace.grad_norm[2] ** 2
        assert number(opened, "a", "promise") == pytest.approx(model, rel=1e-3, abs=1e-4)
        assert number(opened, "a", "over") == pytest.approx(eta / 2, rel=1e-3)
        assert number(opened, "a", "edge") == 2
        assert opened.inner_text("fieldset.a .verdict b") == word
        paths.add(opened.get_attribute("#loss .path.rest.a", "d"))
    assert len(paths) == 4
    _, other = by_jax(one, [2.0], 1.6)
    assert number(opened, "b", "loss") == pytest.approx(other.loss[2], rel=2e-5)  # left alone

    opened.select_option("fieldset.b .optimizer", label="momentum")
    with opened.expect_download() as waiting:
        opened.click("#export")
    assert waiting.value.suggested_filename == "descent-line.csv"
    header, *rows = csv.reader(waiting.value.path().read_text().splitlines())
    assert header[:2] == ["step", "A/line/eta=2.5/optimizer=sgd/start=w = 2/loss"]
    assert header[4] == "B/line/eta=1.6/optimizer=momentum/momentum=0.9/start=w = 2/loss"
    values = np.asarray(rows, float)
    np.testing.assert_array_equal(values[:, 0], np.arange(STEPS + 1))
    np.testing.assert_allclose(values[:, 1], trace.loss, rtol=2e-5)
    np.testing.assert_allclose(values[:, 3], trace.params[:, 0], rtol=2e-5)


def test_recorded_descents_are_chosen_among_their_rates(opened):
    opened.click("text=a network")
    assert opened.inner_text("#about") == WORD
    assert "Every step was recorded in a run: of 5 descents" in opened.inner_text("#how")
    assert opened.query_selector("#of-edge").is_hidden()
    opened.keyboard.press("End")
    one = sweep()
    for rate, word in enumerate(one.verdicts):
        opened.fill("fieldset.a .rate-slider", str(rate))
        assert number(opened, "a", "loss") == pytest.approx(one.loss[rate, -1], rel=5e-5)
        assert number(opened, "a", "errors of 9") == 7 * rate + 6
        assert opened.inner_text("fieldset.a .verdict b") == word
        assert float(typed(opened, "a", "rate").input_value()) == pytest.approx(RATES[rate])
    typed(opened, "a", "rate").fill("0.3")  # the nearest is taken
    assert number(opened, "a", "errors of 9") == 13
    typed(opened, "a", "rate").press("ArrowUp")
    assert number(opened, "a", "errors of 9") == 20


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
    fifth = (2.5 / 0.1) ** 0.25  # of four steps from the lowest rate to the highest
    rates = [float(typed(opened, lane, "rate").input_value()) for lane in "ab"]
    assert rates == pytest.approx([0.1 * fifth, 1.6 * fifth], rel=1e-3)
    assert opened.query_selector("#loss .b") is None
    opened.keyboard.press(" ")
    opened.keyboard.press(" ")
    assert opened.inner_text("#play") == "play"
    assert int(opened.evaluate(shown)[0]) < 6  # it began anew and was stopped
    # A control with the focus keeps its keys.
    step = opened.evaluate(shown)
    typed(opened, "a", "rate").press("ArrowRight")
    opened.focus("fieldset.a .rate-slider")
    opened.keyboard.press("ArrowRight")
    assert float(typed(opened, "a", "rate").input_value()) > rates[0]
    assert opened.evaluate(shown) == step


def test_what_the_pointer_tells_and_takes_along(opened):
    assert opened.query_selector("#hover").is_hidden()
    opened.mouse.move(*point(opened, "loss", 0, 2))
    assert opened.inner_text("#hover").startswith("A, step 0\nloss 2\nw 2")
    opened.mouse.move(*point(opened, "rates", 0.5, 1))
    assert opened.inner_text("#hover") == "η 0.5\nsgd: descending, final 0.00048828"
    opened.mouse.down()
    opened.mouse.up()
    assert float(typed(opened, "b", "rate").input_value()) == pytest.approx(0.5, rel=0.02)  # nearer

    opened.click("text=a plane")
    _, trace = by_jax(plane(), [-1.0, 1.5], 0.5)
    opened.click("#forward")
    assert number(opened, "b", "v") == pytest.approx(trace.params[1, 1], rel=2e-5)
    assert opened.get_attribute("#place .contour", "d").count("M") >= build.CONTOURS - 4
    radius = opened.eval_on_selector("#place circle.model.a", "c => Number(c.getAttribute('r'))")
    unit = opened.evaluate("views.place.x(1) - views.place.x(0)")
    _, trace = by_jax(plane(), [2.0, 1.0], 0.25)
    assert radius == pytest.approx(unit * 0.25 * trace.grad_norm[1], rel=1e-3)


# --- sent, toured, read on any screen -----------------------------------------------------------


def test_what_an_address_says_wrongly_is_left_as_it_begins(opened):
    opened.evaluate(
        "location.hash = '#problem=plane&step=99&a.rate=x&a.optimizer=none&a.start=1&b.start=1,2"
        "&b.shown=no&b.optimizer=nesterov&b.momentum=3'"
    )
    opened.wait_for_function("state.problem.name === 'plane'")
    assert opened.inner_text("#step-shown") == "6 of 6"
    assert opened.evaluate("[state.a.rate, state.a.optimizer, state.a.start]") == [0.25, 0, [2, 1]]
    assert opened.evaluate("[state.b.start, state.b.settings]") == [[1, 2], {"momentum": 0.9}]
    assert not opened.is_checked("fieldset.b .shown")
    opened.evaluate("location.hash = '#problem=network&a.rate=1.7&a.start=nowhere&step=2'")
    opened.wait_for_function("state.problem.name === 'network'")
    assert opened.evaluate("[state.a.rate, state.a.start, state.step]") == [3, 0, 2]
    opened.evaluate("location.hash = '#problem=nowhere'")
    assert opened.evaluate("state.problem.name") == "network"


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


def test_the_tour_has_seven_stops_and_goes_on_by_what_is_done(opened):
    def said():
        return opened.inner_text("#tour-text")

    assert opened.query_selector("#tour").is_hidden()
    opened.focus("#tour-begin")
    opened.keyboard.press("Enter")
    assert said().startswith("1 of 7.")
    opened.keyboard.press("ArrowRight")
    assert said().startswith("2 of 7. In the picture of all rates, drag A past the dashed line")
    for _ in range(4):  # 0.1 to 2.5, beyond the edge at 2
        opened.keyboard.press("]")
    assert said().startswith("3 of 7. Drag the ring at A's start elsewhere")
    typed(opened, "a", "w of the start").fill("1")
    assert said().startswith("4 of 7.")
    opened.focus("#tour-next")
    for _ in range(3):
        opened.keyboard.press("{")
    assert said().startswith("5 of 7.")
    opened.select_option("fieldset.b .optimizer", label="adam")
    assert said().startswith("6 of 7.")
    opened.focus("#tour-next")
    opened.keyboard.press("End")
    assert said().startswith("7 of 7. The address of this page")
    assert opened.is_disabled("#tour-next")
    opened.click("#tour-back")
    assert said().startswith("6 of 7."), "what is done already is read again"
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
