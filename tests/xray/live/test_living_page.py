"""The living page in a browser: what is dragged, typed and drawn, and all that follows from it."""

import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.xray import cells, draw, words
from chainrule.xray.live import equations
from chainrule.xray.live.recorded import living
from chainrule.xray.stats import stats
from tests.xray.live import engine


def product(x, y, z):
    return (x + y) * z


def numbers(page):
    """Return value and gradient of every node that is one number, by its name."""
    said = page.eval_on_selector_all("#view .box", "list => list.map((g) => g.ariaLabel)")
    rows = [re.fullmatch(r"(\S+), .*?value (\S+), gradient (\S+)", text) for text in said]
    return {
        row[1]: tuple(float(n.replace("−", "-")) for n in row.groups()[1:]) for row in rows if row
    }


def by_jax(f, *args):
    report = xray.xray(f, *args, compiled=False)
    return {n.label: (float(n.value), float(n.cotangent)) for n in report.nodes}


def close(shown, expected):
    assert shown.keys() == expected.keys()
    for name, pair in expected.items():
        assert shown[name] == pytest.approx(pair, rel=1e-3), name


def settled(page):
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture(scope="module")
def living_page():
    return xray.xray(product, -2.0, 5.0, -4.0, compiled=False).to_html(live=True)


def test_what_is_typed_dragged_and_undone_is_followed_by_everything(visit, living_page):
    page = visit(living_page)
    x = page.get_by_role("spinbutton", name="x")
    close(numbers(page), by_jax(product, -2.0, 5.0, -4.0))
    x.fill("2^3 - 1/2")
    x.press("Enter")
    close(numbers(page), by_jax(product, 7.5, 5.0, -4.0))
    assert page.inner_text("#results output") == "−50"
    assert "set=0:0=7.5" in page.url.replace("%3A", ":").replace("%3D", "=")
    x.press("ArrowDown")
    settled(page)
    close(numbers(page), by_jax(product, 7.4, 5.0, -4.0))
    card = page.locator("#view [data-id=n1]").bounding_box()  # that of y
    page.mouse.move(card["x"] + 20, card["y"] + 20)
    page.mouse.down()
    page.mouse.move(card["x"] + 60, card["y"] + 20, steps=4)
    page.mouse.up()
    y = float(page.get_by_role("spinbutton", name="y").input_value())
    assert y == pytest.approx(5 + 40 * 0.1 / 4)
    close(numbers(page), by_jax(product, 7.4, y, -4.0))
    assert page.locator("#view .selected").count() == 0, "a drag is no click"
    page.get_by_role("slider", name="z, slider").focus()
    page.keyboard.press("Home")
    settled(page)
    close(numbers(page), by_jax(product, 7.4, y, -8.0))
    page.reload()
    close(numbers(page), by_jax(product, 7.4, y, -8.0))
    page.click("#reset")
    close(numbers(page), by_jax(product, -2.0, 5.0, -4.0))
    assert "set=" not in page.url
    page.keyboard.press("Control+z")
    close(numbers(page), by_jax(product, 7.4, y, -8.0))
    assert page.is_disabled("#undo")


def test_nonsense_changes_nothing_and_is_marked(visit, living_page):
    page = visit(living_page)
    x = page.get_by_role("spinbutton", name="x")
    for text in ("alert(1)", "2 +", "", "1e", "this.x", "(((", "x"):
        x.fill(text)
        x.press("Enter")
        assert x.get_attribute("aria-invalid") is not None, text
        close(numbers(page), by_jax(product, -2.0, 5.0, -4.0))
    x.fill("inf")
    x.press("Enter")
    assert x.get_attribute("aria-invalid") is None
    assert page.inner_text("#results output") == "−∞"
    page.evaluate("location.hash = 'set=0:0=nope;9:1=2;1:77=3;2:0=4'")  # what fits is taken
    page.wait_for_timeout(50)
    close(numbers(page), by_jax(product, -2.0, 5.0, 4.0))


def squares(params, x):
    return jnp.sum(jnp.square(jnp.maximum(x @ params["w"] + params["b"][None], 0.0) - 1.0))


def test_steps_of_descent_are_those_of_jax(visit):
    params = {"w": jnp.asarray([[0.5, -0.25], [0.75, 1.0]]), "b": jnp.asarray([0.1, -0.2])}
    x = jnp.asarray([[1.0, 2.0], [-1.0, 0.5], [0.25, -0.75]])
    page = visit(xray.xray(squares, params, x, compiled=False).to_html(live=True))
    assert page.is_checked("[aria-label=\"descend along params['w']\"]")
    page.set_viewport_size({"width": 390, "height": 844})  # a telephone, and no mouse
    page.focus("#step")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("0.05")
    for key in ("Shift+Tab", "Shift+Tab", "Enter", "Tab", "Enter"):  # a step, and ten
        page.keyboard.press(key)
    losses = [squares(params, x)]
    for _ in range(11):
        grads = jax.jit(jax.grad(squares))(params, x)
        params = jax.tree.map(lambda p, g: p - jnp.float32(0.05) * g, params, grads)
        losses.append(squares(params, x))
    text = f"11 steps: from {words.number(losses[0])} to {words.number(losses[-1])}"
    assert page.inner_text("#steps") == text
    shown = page.locator("fieldset input[role=spinbutton]").evaluate_all(
        "list => list.slice(0, 6).map((box) => Number(box.value.replace('−', '-')))"
    )
    np.testing.assert_allclose(shown, [*params["b"], *params["w"].ravel()], rtol=1e-4)
    points = page.get_attribute("#trace polyline", "points").split()
    heights = np.array([float(point.split(",")[1]) for point in points])
    falls = (heights - heights.min()) / np.ptp(heights)
    expected = (losses[0] - np.array(losses)) / (losses[0] - losses[-1])
    np.testing.assert_allclose(falls, expected, atol=0.01)
    page.keyboard.press("Control+z")
    assert page.inner_text("#steps").startswith("1 step: ")


def test_a_gate_that_lets_no_gradient_through_is_dashed_and_follows(visit):
    def f(z, w):
        return jnp.maximum(z, w) * 2.0

    page = visit(xray.xray(f, 2.0, -1.0, compiled=False).to_html(live=True))
    assert page.locator("#view text", has_text="routes").count() == 1
    shut = "list => list.map((path) => path.classList.contains('shut'))"
    before = page.eval_on_selector_all("#view path.edge", shut)
    assert sum(before[:2]) == 1
    page.get_by_role("spinbutton", name="w").fill("3")
    page.get_by_role("spinbutton", name="w").press("Enter")
    after = page.eval_on_selector_all("#view path.edge", shut)
    assert before[:2] == after[:2][::-1]


def test_a_digit_is_drawn_and_the_gradient_follows(visit):
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(144, 3)), jnp.float32)

    def score(drawing):
        logits = drawing.reshape(-1) @ kernel
        return -jax.nn.log_softmax(logits)[1], jax.nn.softmax(logits)

    f = xray.xray(score, jnp.zeros((12, 12)), has_aux=True, compiled=False)
    page = visit(f.to_html(live=True))
    sheet = page.locator("canvas[role=application]")
    box = sheet.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 60, steps=3)
    page.mouse.up()
    sheet.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    drawn = np.zeros(144, np.float32)
    for one in re.search(
        r"set=0:([^&]*)", page.url.replace("%3A", ":").replace("%3D", "=").replace("%2C", ",")
    )[1].split(","):
        k, value = one.split("=")
        drawn[int(k)] = float(value)
    assert 10 < np.count_nonzero(drawn) < 100
    assert drawn[5 * 12 + 6] == 1
    _, probabilities = score(jnp.asarray(drawn.reshape(12, 12)))
    shown = page.eval_on_selector_all("meter", "list => list.map((one) => one.value)")
    np.testing.assert_allclose(shown, probabilities, rtol=1e-4)
    page.get_by_role("button", name="clear").click()
    shown = page.eval_on_selector_all("meter", "list => list.map((one) => one.value)")
    np.testing.assert_allclose(shown, 1 / 3, rtol=1e-5)


def test_whole_numbers_truths_and_a_pass_without_gradients(visit):
    def f(x, which, yes):
        return jnp.where(yes, x[which], -x[which])

    x = jnp.asarray([1.0, 2.0, 4.0])
    report = xray.xray(f, x, jnp.int32(1), jnp.array(True), gradients=False, compiled=False)
    page = visit(report.to_html(live=True))
    for key in ("ArrowRight", "ArrowRight", "Escape"):  # there is nothing to go through
        page.keyboard.press(key)
    assert page.is_disabled("#step")
    for name, text, result in (("which", "2", "4"), ("yes", "0", "−4"), ("yes", "7", "4")):
        page.get_by_role("spinbutton", name=name).fill(text)
        page.get_by_role("spinbutton", name=name).press("Enter")
        assert page.inner_text("#results output") == result
    assert page.get_by_role("spinbutton", name="yes").input_value() == "1"
    page.get_by_role("slider", name="which, slider").focus()
    page.keyboard.press("Home")
    settled(page)
    assert page.inner_text("#results output") == "1"


def test_the_backward_pass_goes_on_with_the_new_numbers(visit, living_page):
    page = visit(living_page)
    page.evaluate("location.hash = 'set=2:0=6'")
    page.wait_for_timeout(50)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = page.inner_text("#equation").split("\n")
    assert said[1:] == [
        "mul_4 = add_3 · z = 18",
        "∂add_3 = ∂mul_4 · z = 6",
        "∂z = ∂mul_4 · add_3 = 3",
    ]


def test_what_cannot_live_stays_recorded_and_says_why(visit, monkeypatch):
    def f(x):
        return jnp.sum(jnp.linalg.eigh(x + x.T)[0] ** 2)

    page = visit(xray.xray(f, jnp.eye(2), compiled=False).to_html(live=True))
    said = page.inner_text("#recorded")
    assert said.startswith(
        "Recorded, not living: the page has no rule for the primitive eigh (eigh_"
    )
    assert "test_living_page.py:" in said
    assert page.locator("#live").count() == 0
    half = xray.xray(lambda x: jnp.sum(x * x), jnp.ones(2, jnp.bfloat16), compiled=False)
    assert "a page has no numbers of type bfloat16" in half.to_html(live=True)
    kept = xray.xray(product, 1.0, 2.0, 3.0, compiled=False, keep="stats")
    assert "only statistics were kept" in kept.to_html(live=True)
    monkeypatch.setattr(equations, "MOST", 5)
    with pytest.raises(
        equations.CannotLiveError, match="more than 5 numbers, those on the way included"
    ):
        living(xray.xray(product, 1.0, 2.0, 3.0, compiled=False).record)


def test_what_is_typed_is_read_by_a_parser_of_its_own():
    def parsed(text):
        return json.loads(
            engine.context().eval(f"JSON.stringify(String(numbers.parse({json.dumps(text)})))")
        )

    for text in (
        "1.5",
        "-2",
        "+.5",
        "3e-2",
        "2*(3+4)/7",
        "-2^2",
        "2^-1",
        "2^3^2",
        "1 - 2 - 3",
        "8/4/2",
    ):
        assert float(parsed(text)) == pytest.approx(eval(text.replace("^", "**"))), text
    assert float(parsed("−3 × ½".replace("½", "0.5"))) == -1.5
    assert float(parsed("sqrt(pi^2) + log(e)")) == pytest.approx(np.pi + 1)
    assert [parsed(text) for text in ("inf", "-∞", "nan")] == ["Infinity", "-Infinity", "NaN"]
    for text in (
        "",
        "2 3",
        "2..5",
        "()",
        "foo",
        "constructor",
        "sqrt 2",
        "(" * 150 + "1",
        "1" * 201,
    ):
        assert parsed(text) == "null", text
    folder = pathlib.Path(draw.__file__).parent / "page"
    scripts = "".join((folder / name).read_text("utf-8") for name in draw._LIVING)
    assert [line for line in scripts.splitlines() if line.count("`") % 2] == [], "indentation goes"
    assert not re.search(r"\beval\s*\(|\bFunction\s*\(|setTimeout\s*\(\s*[\"'`]", scripts)


def test_numbers_and_cells_read_as_those_of_python():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=300) * 10.0 ** rng.integers(-12, 12, 300)
    some = [*drawn.tolist(), 0.0, 1.0, -0.5, 9999.5, 12345.0, 999999.0, 1e6, 1e-5]
    for digits in (3, 4, 8):
        texts = engine.context().eval(
            f"JSON.stringify({json.dumps(some)}.map((x) => numbers.written(x, {digits})))"
        )
        assert json.loads(texts) == [words.number(x, digits) for x in some]
    for shape in ((), (1, 1), (3,), (2, 4), (30, 20), (50, 60), (2, 8, 8, 3), (0,)):
        x = rng.normal(size=shape).astype(np.float32)
        ours = cells.cell(x, stats(x), look=False)
        flat = {"dtype": "float32", "shape": [*shape], "data": x.ravel().tolist()}
        cell = json.loads(engine.context().eval(f"JSON.stringify(cells.cell({json.dumps(flat)}))"))
        assert cell["facts"] == [[*fact] for fact in ours["facts"]], shape
        assert cell["short"].split() == ours["short"].split(), shape
        if "image" not in ours and shape not in ((50, 60), (2, 8, 8, 3)):
            assert [t.split() for t in cell["text"]] == [t.split() for t in ours["text"]], shape
