"""What `chainrule descent` and `chainrule explore` do, without a clone."""

import json
import pathlib
import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import cli, descent, explorer, runs
from chainrule._jobs import own

LOSSES = """
import jax.numpy as jnp

def well(w):
    return (w**2 - 1) ** 2 / 2 + w / 5

def valley(w):
    return (1 - w[0]) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2

def rooted(w):
    return jnp.linalg.cholesky(jnp.diag(1 + w**2))[1, 1]
"""
WITH_ARGUMENTS = """
import jax.numpy as jnp

def loss(params, x):
    return jnp.mean((params["a"] * x + params["b"] - 1) ** 2)

def many(params, x):
    return jnp.mean((x @ params["kernel"] - 1) ** 2)

def example_args():
    return {"a": jnp.array(2.0), "b": jnp.array(-1.0)}, jnp.arange(3.0)
"""


@pytest.fixture
def explored(tmp_path, monkeypatch, capsys):
    """Explore a loss, and return the problem of the page, the run and what was printed."""
    monkeypatch.chdir(tmp_path)
    for display in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.setenv(display, "")
    (tmp_path / "own.py").write_text(LOSSES)
    (tmp_path / "with_args.py").write_text(WITH_ARGUMENTS)
    drawn = []
    page = explorer.page
    monkeypatch.setattr(explorer, "page", lambda ps: drawn.extend(ps) or page(ps))

    def explore(*arguments):
        call = ["explore", *arguments, "--rates", "6", "--steps", "5", "--optimizers", "sgd"]
        code = cli.main(call)
        printed = capsys.readouterr()
        if code:
            return printed.err
        (problem,) = drawn[-1:]
        place = re.sub(r"\s", "", printed.out.rpartition("rates: ")[2])
        return problem, runs.load(pathlib.Path(place).parent), printed.out

    return explore


def test_a_window_has_room_around_most_of_what_was_visited():
    ((low, high),) = own._window(np.linspace(-1, 1, 101)[:, None])
    # from the start, -1, to the 98th of a hundred, and 0.15 of that on either side
    assert (low, high) == pytest.approx((-1 - 0.15 * 1.96, 0.96 + 0.15 * 1.96))


def test_a_loss_of_one_number_is_explored_on_its_landscape(explored):
    problem, run, printed = explored("own.py:well", "--start=-0.5", "--start=1.4")
    assert printed.startswith("chainrule explore: loading JAX ...\nwell: measuring the edge")
    assert problem.axes == ("w",)
    assert problem.starts == pytest.approx(np.array([[-0.5], [1.4]]))
    assert problem.loss(jnp.array([1.4])) == pytest.approx((1.4**2 - 1) ** 2 / 2 + 0.28)
    edge = float(descent.edge(6 * 0.5**2 - 2))
    assert edge == np.inf  # the loss is concave there: rates around 0.1
    assert problem.rates == pytest.approx((0.001, 1.0))
    assert (problem.lanes, problem.steps) == (6, 5)
    ((low, high),) = problem.window
    assert low < -0.5 < high
    assert problem.floor == pytest.approx(-0.2048, abs=0.05)
    assert (run.path / "explorer.html").stat().st_size > 10_000
    assert 'href="explorer.html"' in (run.path / "report.html").read_text()


def test_a_loss_of_two_numbers_too_with_what_else_it_takes(explored):
    problem, _, _ = explored("own:valley", "--start=-1,2")
    assert problem.axes == ("w[0]", "w[1]")
    assert problem.loss(jnp.asarray(problem.starts[0])) == pytest.approx(14.0)
    problem, _, _ = explored("with_args.py:loss")
    assert problem.axes == ("a", "b")
    # (2 x - 2)^2 at 0, 1, 2
    assert problem.loss(jnp.asarray(problem.starts[0])) == pytest.approx(8 / 3)
    assert problem.starts == [[2, -1]]
    problem, _, _ = explored("with_args.py:loss", "--start=0,1")
    assert problem.loss(jnp.asarray(problem.starts[0])) == 0


def test_a_loss_that_a_page_cannot_compute_is_recorded(explored):
    problem, _, printed = explored("own.py:rooted", "--start=1,2")
    said = (
        "rooted: its descents are recorded, for a page cannot compute them: the page has no rule "
    )
    assert said + "for the primitive cholesky" in " ".join(printed.split())
    assert list(problem.sweeps[0].counts) == ["distance from the start"]


def test_of_any_other_parameters_there_are_curves_and_the_sweep():
    def loss(w):
        return jnp.sum(w**2 * jnp.arange(1.0, 6.0)) / 2

    problem = own.explored(
        "loss", loss, [jnp.ones(5)], {"sgd": optax.sgd},
        count=8, steps=3, say=lambda text: None,
    )  # fmt: skip
    (sweep,) = problem.sweeps
    assert sweep.edges["edge at the start"] == pytest.approx(2 / 5, rel=1e-4)
    moved = sweep.counts["distance from the start"]
    w = (1 - problem.rates[:, None] * np.arange(1.0, 6.0)) ** 3
    np.testing.assert_allclose(moved[:, -1], np.linalg.norm(w - 1, axis=1), rtol=1e-4)
    assert (moved[:, 0] == 0).all()
    explorer.page([problem])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["own.py:well"], "own.py:well: where to start? Give --start=1.5 or --start=-1,2, or"),
        (["own.py:well", "--start=x"], "--start must be numbers with commas between them, not 'x'"),
        (["own.py:well", "--start=1,2,3"], "--start has 3 numbers: one or two, or define"),
        (["with_args.py:loss", "--start=1"], "--start has 1 numbers, but the parameters of"),
        (
            ["own.py:well", *["--start=1"] * 3],
            "--start is given 3 times, but there are two descents",
        ),
        (["--start=1"], "--start goes with a loss: name one, as FILE.py:LOSS"),
        (["own.py:wall", "--start=1"], "own.py defines no function wall: did you mean well?"),
    ],
)
def test_what_cannot_be_explored_is_refused(explored, arguments, said):
    assert said in explored(*arguments)


def test_descent_is_the_main_job_and_says_what_it_does_from_the_start(tmp_path, capsys):
    call = ["descent", "--losses", "quadratic", "--etas", "0.5", "1.5", "--steps", "4"]
    assert cli.main([*call, "--root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("chainrule descent: loading JAX ...\n")
    (run,) = (tmp_path / "descent").iterdir()
    record = json.loads((run / "run.json").read_text())
    assert record["results"]["quadratic, eta 0.5: final loss"]["value"] == pytest.approx(
        0.5 * 0.25**4
    )
