r"""Every number of the notes and of the course, beside what the rules and `jax.grad` give.

    python experiments/worked_examples.py

Every value and gradient of an example is computed by the operators and the rules beside them, every
gradient once more by `jax.grad`, and both stand beside the number as it was printed. A tick means
that they round to the digits printed, and that they agree with each other to float32. Then come
claims that are shown by a number or a word, and the errata: what comes out as printed, and what is
right. The tables themselves are data, in `experiments/worked/`.

The *course* is Stanford's CS231n, with its circuits of values above and gradients below. The
*notes* are those that this package follows.

At the end their network (784-200-1, is it a 5?) takes the same 1,000 steps twice from one start,
with the gradients of the rules and with those of `jax.grad`, and the processor time of both is
taken in turn. Expected: one trace, to 1e-3 relative in float32, in the same time. The losses and
the errors that the notes print every 100 steps stand beside ours and are drawn; nobody knows their
seed. `mlp_digits.py` repeats ours over seeds, and `perceptron.py` has the notes' nine epochs.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from settings import Count, Digit, OnDigits, Positive, command
from worked import errata
from worked.claims import CLAIMS, jacobians
from worked.examples import EXAMPLES
from worked.printed import agrees, show
from worked.printouts import NETWORK
from worked.shapes import SHAPES

from chainrule import data, losses, runs
from chainrule.models import mlp
from chainrule.plots import backpropagation as figures

CONSOLE = Console()


@dataclasses.dataclass(frozen=True)
class Config(OnDigits):
    """The settings of the run."""

    eta: Positive = 1e-2
    """Learning rate of the two descents."""
    steps: Count = 1000
    """Their full-batch steps."""
    every: Count = 20
    """Steps that one takes before it is the other's turn; the time of each is taken."""
    hidden: Count = 200
    """Hidden units of their network."""
    samples: Count = 1000
    """How many training digits: the first ones."""
    digit: Digit = 5
    """The digit to tell from the others."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    if config.steps % config.every:
        raise ValueError(f"steps {config.steps} is not a multiple of every {config.every}")
    name = "worked_examples"
    with config.start(name, about=__doc__) as run:
        marks = [*_examples(run), *_claims(run), *_errata(run)]
        run.result("rows that agree with what is expected", sum(marks), len(marks))
        CONSOLE.print(f"{sum(marks)} of {len(marks)} rows agree with what is expected")
        _descents(config, run)
    return run.path


# --- tables --------------------------------------------------------------------------------------


def _examples(run: runs.Run) -> list[bool]:
    marks = []
    for example in EXAMPLES:
        values, hand, auto = example.run()
        computed, expected = {}, {}
        table = _table(example.name, "", "value", "expected", "gradient", "jax.grad", "expected")
        for name in example.names:
            value, grad = example.values.get(name, ""), example.grads.get(name, "")
            if not value and not grad:
                continue
            right = bool(jnp.allclose(hand[name], auto[name], rtol=1e-5, atol=1e-6))
            right &= not value or agrees(values[name], value)
            right &= not grad or agrees(hand[name], grad)
            marks.append(right)
            _row(table, right, name, values[name], value, hand[name], auto[name], grad)
            computed[name] = {"value": values[name], "by hand": hand[name], "jax.grad": auto[name]}
            expected[name] = {"value": value, "gradient": grad}
        CONSOLE.print(table, "")
        run.result(example.name, computed, expected)
    return marks


def _claims(run: runs.Run) -> list[bool]:
    table, marks = _table("What shows a claim", "", "by hand", "by JAX", "expected"), []
    for claim in (*CLAIMS, *SHAPES):
        sides = claim.compute()
        there = {k: v for k, v in zip(("by hand", "jax"), sides, strict=True) if v is not None}
        marks.append(all(agrees(side, claim.expected) for side in there.values()))
        _row(table, marks[-1], claim.name, *sides, claim.expected)
        run.result(claim.name, there, claim.expected)
    CONSOLE.print(table, "")

    table = _table("|W x|^2, from its end: the Jacobian of each step", "", "Jacobian")
    for name, jacobian in reversed(jacobians().items()):
        _row(table, None, name, jacobian)
    CONSOLE.print(table, "")

    table = _table("10-100-50-2: its parameters", "", "shape", "numbers")
    init = functools.partial(mlp.init, sizes=(10, 100, 50, 2))
    params = jax.eval_shape(init, jax.random.key(0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        _row(table, None, name, str(leaf.shape), leaf.size)
    CONSOLE.print(table, "")
    return marks


def _errata(run: runs.Run) -> list[bool]:
    found = errata.found()
    for slip, printed, right in found:
        numbers = {"as printed": printed, "right": right}
        run.result(f"erratum: {slip.printed}", numbers, slip.expected or None)
    CONSOLE.print(errata.table(found), "")
    run.save_text("errata.md", errata.markdown(found))
    return [agrees(right, slip.expected) for slip, _, right in found if slip.expected]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in (*columns, ""):
        table.add_column(column, header_style="dim")
    return table


def _row(table: Table, right: bool | None, *cells: Any) -> None:
    """Add a row, a matrix over several lines, and a mark unless there is nothing to compare."""
    mark = {True: "[green]✓[/]", False: "[bold red]✗[/]", None: ""}[right]
    table.add_row(*(escape(show(cell)).replace("; ", "\n") for cell in cells), mark)


# --- one descent, twice --------------------------------------------------------------------------


def _descents(config: Config, run: runs.Run) -> None:
    digits = data.first(config.digits("train"), config.samples)
    run.note(data=digits.provenance.to_dict())
    inputs = jnp.asarray(data.standardize(digits.images).inputs)
    targets = jnp.asarray(digits.labels[:, None] == config.digit, jnp.float32)
    start = mlp.init(jax.random.key(config.seed), (inputs.shape[1], config.hidden, 1))

    def loss(params: Any) -> jax.Array:
        return losses.squared_error(mlp.apply(params, inputs), targets)

    def by_hand(params: Any, _: Any) -> tuple[Any, jax.Array]:
        return mlp.gradient_step(params, inputs, targets, config.eta)

    def by_jax(params: Any, _: Any) -> tuple[Any, jax.Array]:
        value, grads = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda weight, grad: weight - config.eta * grad, params, grads), value

    def segment(step: Callable[..., Any]) -> Callable[..., Any]:
        scan = jax.jit(lambda params: jax.lax.scan(step, params, length=config.every))
        return run.compile(scan, start)

    @jax.jit
    def errors(params: Any) -> jax.Array:
        return jnp.sum((mlp.apply(params, inputs) > 0.5) != (targets > 0.5))

    segments = segment(by_hand), segment(by_jax)
    for descend in segments:  # warms up
        jax.block_until_ready(descend(start))
    ends, curves, seconds = [start, start], ([], []), ([], [])
    wrong = {0: int(errors(start))}
    for turn in range(config.steps // config.every):
        for side in (turn % 2, 1 - turn % 2):  # neither is always the first
            clock = time.process_time()  # of all threads: neighbours on the machine do not count
            ends[side], curve = jax.block_until_ready(segments[side](ends[side]))
            seconds[side].append(time.process_time() - clock)
            curves[side].append(curve)
        wrong[(turn + 1) * config.every] = int(errors(ends[0]))
    # A segment gives the losses before its steps, so that the last one is still to come.
    hand, auto = (
        np.append(np.concatenate(curve), loss(end)) for curve, end in zip(curves, ends, strict=True)
    )
    gap = np.max(np.abs(hand / auto - 1))
    ratios = np.divide(*seconds)
    lower, upper = np.quantile(ratios, (0.25, 0.75))

    curves = {"by hand/loss": hand, "jax.grad/loss": auto}
    run.save_trace({name: runs.Series(curve, loss=True) for name, curve in curves.items()})
    printed = {step: row.loss for step, row in NETWORK.items() if step <= config.steps}
    run.save_figure("traces", figures.traces(hand, auto, points={"the notes": printed}))
    _beside_the_notes(run, hand, wrong)
    run.result("loss at the end, by hand", hand[-1], expected=auto[-1])
    run.result("largest relative difference of the losses", gap, runs.Below(1e-3))
    name = "processor time of a step by hand over one by jax.grad, median"
    run.result(name, np.median(ratios), expected=1.0)
    run.result("the same, pair by pair", ratios, per="pair")
    CONSOLE.print(
        f"{config.steps} steps at {config.eta:g} from one start: loss {hand[0]:.5f} -> "
        f"{hand[-1]:.5f} by hand, {auto[-1]:.5f} by jax.grad, largest relative difference {gap:.1e}"
    )
    CONSOLE.print(
        f"a step by hand takes {1e3 * np.median(seconds[0]) / config.every:.2f} ms of processor "
        f"time, {np.median(ratios):.3f} of one by jax.grad: median of {len(ratios)} pairs of "
        f"{config.every} steps in turn, half of them from {lower:.3f} to {upper:.3f}"
    )


def _beside_the_notes(run: runs.Run, losses: np.ndarray, wrong: dict[int, int]) -> None:
    """Print the losses and the errors that the notes printed, beside ours."""
    columns = ("step", "loss, the notes", "loss", "errors, the notes", "errors")
    table = _table("784-200-1: is it a 5?", *columns)
    for step in sorted(wrong.keys() & NETWORK.keys()):
        row = NETWORK[step]
        cells = (str(step), repr(row.loss), losses[step], str(row.errors), str(wrong[step]))
        _row(table, None, *cells)
        run.result(f"loss after {step} steps", losses[step], row.loss)
        run.result(f"errors after {step} steps", wrong[step], row.errors)
    CONSOLE.print(table, "")


if __name__ == "__main__":
    command(main, Config, __doc__)
