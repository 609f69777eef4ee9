r"""Gradients by hand against `jax.grad` and against differences, element by element.

`check_gradients` compares three columns: the gradient written by hand, the one that JAX derives,
and the slope of the function itself. The first two can be wrong together (where a wrong rule was
registered with JAX); the third knows only the values of the function.

A gradient **with respect to an intermediate value** needs no further machinery: it is the gradient
with respect to a zero that is added to that value. Give the reference an argument of such zeros,
"probes":

Example:
  The notes' :math:`\|W x\|^2` with the intermediate :math:`q = W x`.

  >>> import jax, jax.numpy as jnp
  >>> def reference(w, x, probes):
  ...     q = w @ x + probes["q"]
  ...     return jnp.sum(q**2)
  >>> def mine(w, x, probes):
  ...     g_q = 2 * (w @ x)
  ...     return jnp.outer(g_q, x), w.T @ g_q, {"q": g_q}
  >>> w, x = jnp.array([[0.1, 0.5], [-0.3, 0.8]]), jnp.array([0.2, 0.4])
  >>> report = check_gradients(mine, reference, w, x, {"q": jnp.zeros(2)})
  >>> report.verdict
  'equal'
  >>> [row.name for row in report.rows]
  ['w', 'x', 'probes.q']

  The matrix transposed where it should not be:

  >>> def slip(w, x, probes):
  ...     g_w, _, g_q = mine(w, x, probes)
  ...     return g_w, w @ g_q["q"], g_q
  >>> report = check_gradients(slip, reference, w, x, {"q": jnp.zeros(2)})
  >>> row = report.rows[1]
  >>> row.name, row.verdict, row.worst
  ('x', 'wrong', (0,))
  >>> round(row.by_hand, 3), round(row.autodiff, 3), round(row.difference, 3)
  (0.304, -0.112, -0.112)

**In the terms of PyTorch**, the framework of the notes. There a gradient is a field of a tensor,
filled by a walk over a recorded graph; in JAX it is the value of a function.

========================================  ========================================================
PyTorch                                   JAX
========================================  ========================================================
``w.requires_grad = True``                nothing to mark: ``argnums`` of `jax.grad` names the
                                          arguments, by default the first
``loss.backward(); w.grad``               ``grads = jax.grad(loss)(w)``, of the structure of ``w``
``w.grad`` accumulates, ``zero_grad()``   a gradient is returned, not stored: to accumulate, add two
``torch.autograd.grad(loss, (a, b))``     ``jax.grad(loss, argnums=(0, 1))(a, b)``, a tuple
several outputs, ``backward(v)``          ``_, pull = jax.vjp(f, x); pull(v)``; with ones for ``v``
                                          it is the gradient of their sum
``x.detach()``                            ``jax.lax.stop_gradient(x)``
``with torch.no_grad():``                 nothing to switch off: a function that nobody
                                          differentiates records nothing
``x += 1`` after ``x`` was saved          cannot happen: arrays are immutable, ``x = x + 1`` is a
                                          new one, and the saved value stays
``create_graph=True``                     ``jax.grad(jax.grad(f))``: a gradient is a function
an integer tensor cannot require it       nor has an integer argument a gradient: TypeError
========================================  ========================================================
"""

import dataclasses
import functools
import inspect
import io
import numbers
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import _require

__all__ = ["GradientCheck", "Row", "Verdict", "check_gradients"]
__dir__ = __all__.copy

Verdict = Literal["equal", "rounding", "kink", "wrong"]
"""How one number of a gradient compares."""
_VERDICTS: tuple[Verdict, ...] = ("equal", "rounding", "kink", "wrong")

_EPS = float(np.finfo(np.float64).eps)
# The step that balances the truncation of a central difference with the rounding of the values.
_STEP = _EPS ** (1 / 3)


class Row(NamedTuple):
    """What was found for one array.

    Attributes:
      name: its place in the arguments, ``params.layer1.kernel``.
      shape: its shape.
      verdict: of its worst element: ``equal``, ``rounding``, ``kink`` or ``wrong``.
      max_abs: the largest absolute error by hand against `jax.grad`, over all elements.
      max_rel: the largest relative one.
      worst: the index of the element that the next three numbers belong to.
      by_hand: the gradient there, as ``mine`` gives it.
      autodiff: as `jax.grad` gives it.
      difference: as the central difference gives it.
      differenced: how many elements were compared with differences.
      note: what no number says, for example that no gradient was given.
    """

    name: str
    shape: tuple[int, ...]
    verdict: Verdict
    max_abs: float = np.nan
    max_rel: float = np.nan
    worst: tuple[int, ...] = ()
    by_hand: float = np.nan
    autodiff: float = np.nan
    difference: float = np.nan
    differenced: int = 0
    note: str = ""


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """One `Row` an array; ``print`` shows the table, and rich shows it in colour.

    Attributes:
      rows: in the order of the arguments.
    """

    rows: tuple[Row, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the rows' verdicts."""
        return max((row.verdict for row in self.rows), key=_VERDICTS.index, default="equal")

    def __rich__(self) -> Any:
        from rich.markup import escape
        from rich.table import Table

        colours = dict(zip(_VERDICTS, ("green", "green", "yellow", "bold red"), strict=True))
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("with respect to", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        for column in ("max abs", "max rel", "worst at", "by hand", "jax.grad", "difference"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("differenced", justify="right", no_wrap=True)
        table.add_column("")
        for row in self.rows:
            table.add_row(
                escape(f"{row.name} {list(row.shape)}"),
                f"[{colours[row.verdict]}]{row.verdict}[/]",
                *(f"{error:.1e}" for error in (row.max_abs, row.max_rel)),
                str(list(row.worst)),
                *(f"{value:.5g}" for value in (row.by_hand, row.autodiff, row.difference)),
                f"{row.differenced}/{int(np.prod(row.shape))}",
                escape(row.note),
            )
        return table

    def __str__(self) -> str:
        from rich.console import Console

        file = io.StringIO()
        Console(file=file, width=200, force_jupyter=False).print(self)
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def check_gradients(
    mine: Callable[..., Any],
    reference: Callable[..., Any],
    *args: Any,
    max_differences: int = 100,
) -> GradientCheck:
    r"""Compare gradients written by hand with `jax.grad` and with central differences.

    Everything runs in float64, whatever the arguments are. An element is

    - ``equal``: within 100 units in the last place of float64, relative to the largest element of
      its array;
    - ``rounding``: within 1e-5 of itself, or within 100 units in the last place of the dtype that
      ``mine`` returned, relative to the largest element of its array;
    - ``kink``: the three columns disagree, but the function has a corner here (ReLU at 0, a tie of
      a maximum), and the gradient by hand lies between the slopes around it: between those from the
      left and from the right, and those that `jax.grad` gives here and at 32 points close by;
    - ``wrong`` otherwise. Not finite is wrong, and so is agreeing with `jax.grad` but not with the
      function, as `jax.lax.stop_gradient` does on purpose.

    The first two hold only where the central difference agrees, within 1e-6 of the element, 1e-8 of
    the largest of its array and the rounding of the values.

    Args:
      mine: ``mine(*args)`` gives one gradient per argument, in trees like the arguments: bare for a
        single argument, else in a tuple. None stands for the gradient of an integer argument.
      reference: ``reference(*args)`` gives a real scalar. The gradient with respect to an
        intermediate value is that of an argument of zeros which is added to it.
      *args: pytrees of arrays; the point at which to compare.
      max_differences: at most this many elements of an array are compared with differences, which
        cost two calls of ``reference`` each: those where the other two columns disagree most, then
        others spread evenly; with 0, none. `jax.grad` is compared everywhere.

    Returns:
      A `GradientCheck`: one row for every array of real numbers in the arguments.

    Raises:
      ValueError: ``reference`` does not return a real scalar, ``mine`` not one gradient per
        argument, an argument is complex, or none holds floating-point numbers.

    Example:
      >>> report = check_gradients(lambda x: 2.001 * x, lambda x: jnp.sum(x**2), jnp.ones(3))
      >>> report.verdict, round(report.rows[0].max_abs, 6)
      ('wrong', 0.001)

      A ReLU at its corner has two slopes, and every number between them may be called its gradient:

      >>> corner = lambda x: jnp.sum(jax.nn.relu(x))
      >>> check_gradients(lambda x: (x >= 0).astype(x.dtype), corner, jnp.zeros(3)).verdict
      'kink'
    """
    _require.function("mine", mine, "of the arguments")
    _require.function("reference", reference, "of the arguments")
    max_differences = _require.count("max_differences", max_differences, least=0)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        args = jax.tree.map(_double, args)
        leaves, treedef = jax.tree_util.tree_flatten_with_path(args)
        values = {_name(reference, path): leaf for path, leaf in leaves}
        point = {
            name: np.asarray(leaf)
            for name, leaf in values.items()
            if jnp.issubdtype(leaf.dtype, jnp.inexact)
        }
        _check_point(point, values)

        def function(point: Point) -> jax.Array:
            leaves = values | {name: jnp.asarray(leaf) for name, leaf in point.items()}
            return reference(*jax.tree.unflatten(treedef, leaves.values()))

        given = _gradients_by_name(mine, reference, args)
        around = _Around(function, point)
        rows = [_row(name, given.get(name), around, max_differences) for name in point]
        for name in sorted(given.keys() - point.keys()):
            unknown = name not in values
            if unknown or given[name].dtype != jax.dtypes.float0:
                what = "what is no argument" if unknown else "integers: give None"
                note = f"the gradient of {what}"
                rows.append(Row(name, jnp.shape(given[name]), "wrong", note=note))
        return GradientCheck(tuple(rows))


Point = dict[str, Any]
"""Where a gradient was checked: the arrays by name."""


def _check_point(point: Point, values: dict[str, Any]) -> None:
    if wrong := [f"{name} {x.dtype}" for name, x in point.items() if np.iscomplexobj(x)]:
        raise ValueError(
            f"argument {', '.join(wrong)}: give the real and the imaginary part as two arguments"
        )
    if not point:
        found = ", ".join(f"{name} {x.dtype}" for name, x in values.items()) or "there is none"
        raise ValueError(f"no argument holds a floating-point number: {found}")


def _double(leaf: Any) -> jax.Array:
    if not isinstance(leaf, numbers.Number):
        _require.arrays(argument=leaf)
    try:
        array = jnp.asarray(leaf)
    except OverflowError:
        raise ValueError(f"argument {leaf}: an int must fit into 64 bits") from None
    return array.astype(jnp.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _name(function: Callable[..., Any], path: tuple[Any, ...]) -> str:
    """Name a leaf of the arguments: params.layer1.kernel."""
    parameters = inspect.signature(function).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    first = path[0].idx
    head = named[first] if first < len(named) else f"args[{first}]"
    return ".".join([head, *(jax.tree_util.keystr((key,), simple=True) for key in path[1:])])


def _gradients_by_name(
    mine: Callable[..., Any], reference: Callable[..., Any], args: tuple[Any, ...]
) -> dict[str, Any]:
    gradients = mine(*args)
    gradients = (gradients,) if len(args) == 1 else gradients
    if not isinstance(gradients, tuple | list) or len(gradients) != len(args):
        found = len(gradients) if isinstance(gradients, tuple | list) else type(gradients).__name__
        raise ValueError(f"mine returns {found}, and there are {len(args)} arguments: one each")
    leaves, _ = jax.tree_util.tree_flatten_with_path(tuple(gradients))
    return {_name(reference, path): leaf for path, leaf in leaves}


def _compiled(function: Callable[[Point], Any], point: Point) -> Callable[[Point], Any]:
    """Return the function under jit, or as it is if it branches on values."""
    compiled = jax.jit(function)
    try:
        compiled(point)
    except jax.errors.JAXTypeError:
        return function
    return compiled


def _step(x: Any) -> Any:
    return _STEP * np.maximum(np.abs(x), 0.01)


class _Around:
    """The function at one point and close by: its value, gradient and slopes."""

    def __init__(self, function: Callable[[Point], jax.Array], point: Point):
        self.point = point
        self.function = _compiled(function, point)
        value = self.function(point)
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", type(value).__name__)
        if shape != () or not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"reference returns {dtype} of shape {shape}: it must be a floating-point scalar"
            )
        self.value = float(value)
        self.gradient = _compiled(jax.grad(function), point)
        self.autodiff = jax.tree.map(np.asarray, self.gradient(point))

    @functools.cached_property
    def sampled(self) -> Point:
        """The gradients of `jax.grad` at the point and at 32 points close by, stacked."""
        rng = np.random.default_rng(0)
        grads = [self.autodiff]
        for _ in range(32):
            moved = {
                name: x + _step(x) / 10 * rng.uniform(-1, 1, x.shape)
                for name, x in self.point.items()
            }
            grads.append(self.gradient(moved))
        return jax.tree.map(lambda *stack: np.stack(stack), *grads)

    def slopes(self, name: str, index: int, shrink: int) -> tuple[float, float]:
        """Return the slopes from the left and from the right along one element, counted flat."""
        here = self.point[name]
        both = []
        for sign in (-1, 1):
            there = here.copy()
            there.flat[index] += sign * _step(here.flat[index]) / shrink
            rise = float(self.function(self.point | {name: there})) - self.value
            # Divided by the actual step: x + step is rounded.
            both.append(rise / (there.flat[index] - here.flat[index]))
        return both[0], both[1]


def _elements(error: np.ndarray, equal: np.ndarray, most: int) -> np.ndarray:
    """Choose what to difference: the largest errors, then an even spread."""
    order = np.argsort(-np.nan_to_num(error, nan=np.inf), kind="stable")
    count = min(most, max(1, int(np.count_nonzero(~equal))))
    worst, others = order[:count], np.sort(order[count:])
    spread = np.linspace(0, others.size - 1, min(others.size, most - count)).astype(int)
    return np.concatenate([worst, others[spread]])


def _corner(slopes: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    widest = np.max(slopes, axis=0) - np.min(slopes, axis=0)
    return widest > 1e-3 * np.max(np.abs(slopes), axis=0) + 2 * tolerance


@np.errstate(invalid="ignore")  # infinities are judged, not warned about
def _row(name: str, given: Any, around: _Around, most: int) -> Row:
    shape = around.point[name].shape
    if given is None:
        return Row(name, shape, "wrong", note="no gradient given")
    if jnp.shape(given) != shape:
        return Row(name, shape, "wrong", note=f"the gradient given is {jnp.shape(given)}")
    if 0 in shape:
        return Row(name, shape, "equal", 0.0, 0.0)

    # Flat from here on, so that a scalar is an array too.
    hand = np.asarray(given, dtype=np.float64).ravel()
    auto = around.autodiff[name].ravel()
    error = np.abs(hand - auto)
    magnitude = np.maximum(np.abs(hand), np.abs(auto))
    finite = np.isfinite(error)
    largest = np.max(magnitude, where=finite, initial=0)
    precision = float(jnp.finfo(jnp.asarray(given).dtype).eps)
    equal = error <= 100 * _EPS * largest
    close = finite & ((error <= 1e-5 * magnitude) | (error <= 100 * precision * largest))

    left, right = np.full_like(hand, np.nan), np.full_like(hand, np.nan)
    unsettled = _elements(error, equal, most)
    # The shorter second step tells a bend, where the two slopes come together, from a corner.
    for shrink in (1, 16):
        for index in unsettled.tolist():
            left[index], right[index] = around.slopes(name, index, shrink)
        central = (left + right) / 2
        noise = 100 * _EPS * shrink * abs(around.value) / _step(around.point[name].ravel())
        tolerance = 1e-6 * magnitude + 1e-8 * largest + noise
        settled = close & ~(np.abs(hand - central) > tolerance)
        unsettled = unsettled[~settled[unsettled]]

    kink = np.zeros_like(settled)
    if not settled.all():
        sampled = around.sampled[name].reshape(-1, hand.size)
        sided = np.stack([left, right])
        # Each shows a corner separately; a gap between the two is a wrong rule in JAX instead.
        corner = _corner(sampled, tolerance) | _corner(sided, tolerance)
        slopes = np.concatenate([sampled, sided])
        between = np.fmin.reduce(slopes) - tolerance <= hand
        between &= hand <= np.fmax.reduce(slopes) + tolerance
        kink = corner & between & ~settled

    rank = np.select([settled & equal, settled, kink], [0, 1, 2], 3)
    off = np.where(rank < 2, error, np.fmax(error, np.abs(hand - central)))
    off = np.where(rank == rank.max(), np.nan_to_num(off, nan=np.inf), -1)
    worst = int(np.argmax(off))
    return Row(
        name=name,
        shape=shape,
        verdict=_VERDICTS[rank.max()],
        max_abs=float(np.max(error)),
        max_rel=float(np.max(error / np.where(magnitude == 0, 1, magnitude))),
        worst=tuple(int(i) for i in np.unravel_index(worst, shape)),
        by_hand=float(hand[worst]),
        autodiff=float(auto[worst]),
        difference=float(central[worst]),
        differenced=int(np.count_nonzero(~np.isnan(central))),
        note="" if np.isfinite(hand).all() else "not finite",
    )
