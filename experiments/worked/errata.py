"""The slips of the notes: what comes out as printed, and what is right."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rich.table import Table

from worked import slips
from worked.claims import tanh_network
from worked.printed import agrees, show


class Slip(NamedTuple):
    """A slip of the notes or of the course.

    Attributes:
      printed: what they say.
      right: what is meant, and where the numbers are from.
      expected: what comes out when it is right, in the form of `worked.printed`; empty where
        nobody printed it.
      compute: gives what comes out as printed (None where nothing does) and what is right.
    """

    printed: str
    right: str
    expected: str
    compute: Callable[[], tuple[Any, Any]]


ERRATA = (
    Slip(
        "backward through a graph: dl/dx = J dl/dy, summed over what x goes into",
        "J^T dl/dy (the equations of the MLP have the transpose). Here dq/dx0 of x1 = w1 x0, "
        "x2 = x0 + w2 x1, x3 = w1 (x1 + x2), q = |x3|",
        "",
        slips.transposes,
    ),
    Slip(
        "the Jacobian of f_N o ... o f_1 is J_1 ... J_N",
        "J_N ... J_1, the last map first. Here x -> W x -> its squares",
        "0.044 0.220; -0.156 0.416",
        slips.order,
    ),
    Slip(
        "w - eta times the sum over n of the gradients, eta = 0.01",
        "the mean, which their code takes. Here the losses of 784-200-1 after 0, 1, "
        "2 and 3 steps on 1,000 digits",
        "",
        slips.summed_step,
    ),
    Slip(
        "a square too many on the loss",
        "none: it multiplies the gradient by 2 l. Here (3, 0, 0, 0) against 0",
        "1.5 0 0 0",
        slips.stray_square,
    ),
    Slip(
        "one takes the mean of the squared error of 5 outputs, another its sum",
        "both, if said: with the sum everything is 5 times larger, and so is the step. Here the "
        "rate that makes the same step as 0.01 with the mean",
        "0.002",
        lambda: (0.01, 0.01 / float(tanh_network()[0][1])),
    ),
    Slip(
        "requires_grad_() on a tensor of the integers 1, 2, 2",
        "on floats: write 3.0 for 3. Here x^2 at 3",
        "6",
        slips.integers,
    ),
    Slip(
        "the course: no_grad sets requires_grad to False",
        "the flag stays; what is computed inside is not recorded. Here x, used once inside and "
        "once outside, at 3",
        "3",
        slips.unrecorded,
    ),
    Slip(
        "two descents side by side: eta = 1e-3, and detached eta = 1e-4",
        "at one rate. At 1e-3 the first ends at (0.4246, -0.4246), and the detached one here",
        "0.5907 -0.4093",
        slips.rates,
    ),
    Slip(
        "the course: universal approximation does take the number of training steps into account",
        "it does not: there are good weights, and a descent may not be there yet. Here the error "
        "for x^2 of 100 ReLU whose output weights take 10, 100 and 1,000 steps, and of the best",
        "",
        slips.steps_taken,
    ),
    Slip(
        "the course: a single hidden linear layer is a universal approximator",
        "a hidden layer with an activation that is no polynomial. Here the error of the "
        "best fit of x^2 on [-1, 1]: 1 and 100 linear units, and 100 ReLU",
        "0.00",
        slips.hidden_layer,
    ),
    Slip(
        "a convolution: sum over j of x_{i+j-1} u_k",
        "u_j. Here (1, 2, 3, 4) by (3, 2); as printed, with k = 1",
        "7 12 17",
        slips.convolution,
    ),
    Slip(
        "the middle number of that example is 6 + 9",
        "6 + 6, or 2 x 3 + 3 x 2; the result is printed right",
        "12",
        lambda: (6 + 9, slips.convolution()[1][1]),
    ),
    Slip(
        "padding is the size of the kernel",
        "it is the width of the frame of zeros around the input, as they say just before. Here "
        "50 pixels by a kernel of 3: padding 3, and padding 1, which keeps the size",
        "50",
        slips.padded,
    ),
    Slip(
        "with a stride or a dilation above 1 the map gets smaller",
        "unless it is padded. Here 20 pixels by a kernel of 3: dilation 4 (padding 0 and 4), "
        "stride 2 (padding 0 and 11)",
        "20 20",
        slips.map_sizes,
    ),
    Slip(
        "the layers of the forward pass have weights w_n^(l)",
        "w^(l), as on the slide before: one for all samples n. Here the parameters of 784-200-1 "
        "on 1,000 samples",
        "157201",
        slips.sampled_weights,
    ),
    Slip(
        "sigma on every layer of an MLP, the last one too",
        "not on the last, as in their own program: a ReLU there has no output below 0. Here the "
        "error for -x on [-1, 1]",
        "0",
        slips.bent_output,
    ),
    Slip(
        "a tanh network whose weights are torch.rand, uniform on [0, 1)",
        "weights around 0, of variance 1 / fan-in; those of one sign saturate the units. Here the "
        "smallest |tanh| of the hidden and of the output units, and the length of dl/dw1",
        "",
        slips.saturated,
    ),
    Slip(
        "q.backward, which is not called",
        "q.backward(). Here the gradient of w1 of the graph above, by jax.vjp",
        "5.0225 3.9351; -8.3880 22.2128",
        slips.uncalled,
    ),
    Slip(
        "sess.run(grads), where nothing is called grads",
        "sess.run([gw1, gw2]). Here the gradient of w2 of the graph above",
        "2.7960 1.8640; 6.6794 4.4529",
        slips.unnamed,
    ),
    Slip(
        "the course: the neuron's gradient of x0 is 0.40",
        "0.39; twice 0.20 is 0.40, but that 0.20 was rounded on the way",
        "0.39",
        slips.rounded,
    ),
)


Found = tuple[Slip, Any, Any]
"""A slip, what comes out as printed, and what is right."""
COLUMNS = ("the notes", "right", "as printed gives", "right gives", "")


def found() -> list[Found]:
    """Compute every slip both ways."""
    return [(slip, *slip.compute()) for slip in ERRATA]


def _cells(slip: Slip, printed: Any, right: Any) -> tuple[str, ...]:
    mark = "" if not slip.expected else "✓" if agrees(right, slip.expected) else "✗"
    return slip.printed, slip.right, show(printed), show(right), mark


def table(rows: list[Found]) -> Table:
    """Return the slips as a table for the terminal."""
    drawn = Table(title="Errata", title_justify="left", title_style="bold", show_lines=True)
    for column in COLUMNS:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*(cell.replace("; ", "\n") for cell in _cells(*row)))
    return drawn


def markdown(rows: list[Found]) -> str:
    """Return the slips as a table in Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(_cells(*row) for row in rows)]
    # A bar would end the cell, and a pair of underscores or asterisks would turn to italics.
    for mark in "|*_":
        lines = [tuple(cell.replace(mark, f"\\{mark}") for cell in line) for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
