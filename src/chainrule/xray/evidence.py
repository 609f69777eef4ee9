"""What the numbers of a record say of one birth: each sentence rests on one that was computed."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray.elements import numbers
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record
from chainrule.xray.rerun import in_dtype
from chainrule.xray.source import literals

__all__ = ["EXACT", "Scene", "addition", "reason", "size"]
__dir__ = __all__.copy

_CLOSE = 1e-6  # of the largest singular value: what rounding leaves of a singular matrix's smallest


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """One birth, and the record around it.

    Attributes:
      record: the record that its operator stands in.
      node: the operator.
      step: inside a loop the step, as an index; else ().
      index: the first bad element.
      array: what is bad; of all steps, inside a loop.
      number: which output, or which input's contribution; None if unknown.
      backward: whether it is a contribution.
      nan: whether it is NaN, else Inf.
      matrix: of what is born inside a function of a matrix, that matrix.
    """

    record: Record
    node: Entry
    step: tuple[int, ...]
    index: tuple[int, ...]
    array: Any
    number: int | None
    backward: bool
    nan: bool
    matrix: Any = None

    def value(self, slot: Slot) -> Any:
        """Return the array in a slot, at the step."""
        array = numbers(self.record.value(slot))
        fixed = self.record.nodes[slot.node].kind == "constant"
        return array if fixed or not self.step or array is None else array[self.step]

    @functools.cached_property
    def taken(self) -> list[Any]:
        """What the operator took, at the step."""
        return [self.value(slot) for slot in self.node.inputs]

    def before(self, start: Entry, through: Callable[[Entry], bool]) -> Iterator[Entry]:
        """Yield the operators before one, as far as the way leads through some of them only."""
        seen, todo = set(), [start.index]
        while todo:
            for slot in self.record.nodes[todo.pop()].inputs:
                node = self.record.nodes[slot.node]
                if node.index not in seen and node.kind == "operator":
                    seen.add(node.index)
                    yield node
                    if through(node):
                        todo.append(node.index)


def reason(scene: Scene) -> str:
    """Return why something was born, where the numbers show it beyond doubt; else ""."""
    if scene.record.keep != "values":
        return ""
    tests = [_out_of_range, _empty_row, _product, _singular, _not_definite]
    return next(filter(None, (test(scene) for test in tests)), "")


def size(scene: Scene) -> str:
    """Return that a number is finite, and only too large for its dtype; "" if it is not."""
    return _too_large(scene) if scene.record.keep == "values" else ""


def addition(scene: Scene) -> str:
    """Return what went wrong before it: an epsilon that is 0, an integer that overflowed; or ""."""
    if scene.record.keep != "values":
        return ""
    return next(filter(None, (_epsilon(scene), _integer(scene))), "")


def _out_of_range(scene: Scene) -> str:
    node = scene.node
    if node.op != "gather" or scene.backward:
        return ""
    params = node.equation.params
    layout, sizes = params["dimension_numbers"], params["slice_sizes"]
    table, rows = scene.taken[:2]
    batch = tuple(i for d, i in enumerate(scene.index) if d not in layout.offset_dims)
    if rows.ndim != len(batch) + 1:
        return ""
    for axis, i in zip(layout.start_index_map, rows[batch], strict=True):
        if not 0 <= i <= (size := table.shape[axis]) - sizes[axis]:
            return (
                f"index out of range: {i} on an axis of size {size}, where mode='fill' (that of "
                "jnp.take) puts NaN"
            )
    return ""


def _empty_row(scene: Scene) -> str:
    """Tell that a softmax subtracts the maximum, -inf, from a row all of whose elements are it."""
    maxima = (
        node
        for node in scene.before(scene.node, lambda n: n.known.copies or n.known.elementwise)
        if node.op == "reduce_max" and node.inputs[0] == scene.node.inputs[0]
    )
    if scene.node.op != "sub" or scene.backward or not scene.nan or next(maxima, None) is None:
        return ""
    if np.ndim(x := scene.taken[0]) and x[scene.index] == -np.inf:
        return (
            "inf - inf is NaN: every element of this row is -inf, and so is their maximum, which "
            "is subtracted"
        )
    return ""


def _product(scene: Scene) -> str:
    """Tell 0 * inf from inf - inf in a sum of products."""
    if scene.node.op not in ("dot_general", "conv_general_dilated") or scene.backward:
        return ""
    if not scene.nan:
        return ""
    a, b = (jnp.asarray(x, v.aval.dtype) for x, v in zip(*_pair(scene), strict=True))

    def meet(x: Any, y: Any) -> Any:
        made = in_dtype(scene.node, None)(x.astype(a.dtype), y.astype(b.dtype))
        return np.asarray(made[0])[scene.index] > 0

    if meet(jnp.isinf(a), b == 0) or meet(a == 0, jnp.isinf(b)):
        return "0 * inf is NaN, in a sum of products"
    return "inf - inf is NaN, in a sum of products"


def _pair(scene: Scene) -> tuple[list[Any], list[Any]]:
    return scene.taken[:2], scene.node.equation.invars[:2]


def _singular(scene: Scene) -> str:
    if scene.matrix is not None:
        return _singular_values(scene.matrix)
    if scene.node.op == "triangular_solve" and not np.diagonal(scene.taken[0], 0, -2, -1).all():
        return "a triangular matrix with a 0 on its diagonal has no inverse"
    if scene.node.op == "custom_linear_solve":
        for node in scene.before(scene.node, lambda n: n.known.copies):
            if node.op == "lu":
                return _singular_values(scene.value(node.inputs[0]))
    return ""


def _singular_values(matrices: Any) -> str:
    """Return that one of the matrices is singular, with its singular values; "" if none is."""
    if np.ndim(matrices) < 2 or not np.isfinite(matrices).all():
        return ""
    sizes = np.linalg.svd(np.asarray(matrices, np.float64), compute_uv=False)
    largest, least = (x.ravel() for x in (sizes[..., 0], sizes[..., -1]))
    k = int(np.argmin(least / np.where(largest, largest, 1.0)))
    if least[k] > _CLOSE * largest[k]:
        return ""
    return (
        f"the matrix is singular: its singular values go from {largest[k]:.3g} down to "
        f"{least[k]:.1g}"
    )


def _not_definite(scene: Scene) -> str:
    if scene.node.op != "cholesky" or scene.backward:
        return ""
    matrix = np.asarray(scene.taken[0][scene.index[:-2]], np.float64)
    if not np.isfinite(matrix).all():
        return ""
    least = np.linalg.eigvalsh((matrix + matrix.T) / 2)[0]
    return f"the matrix is not positive definite: its smallest eigenvalue is {least:.4g}"


def _too_large(scene: Scene) -> str:
    dtype = scene.node.avals[0].dtype if scene.node.avals else np.float64
    number, node = scene.number, scene.node
    if scene.nan or number is None or not jnp.issubdtype(dtype, jnp.floating):
        return ""
    if jnp.dtype(dtype).itemsize >= 8 or node.kind != "operator":
        return ""
    if not scene.backward:
        what, dtype = "the result", node.avals[number].dtype
    else:
        aval = scene.record.nodes[node.inputs[number].node].avals[node.inputs[number].output]
        what, dtype = "the gradient", aval.dtype
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), np.errstate(all="ignore"):
        made = _in_float64(scene, number)
    if made is None:
        return ""
    value = float(np.abs(made[scene.index]))
    largest = float(jnp.finfo(dtype).max)
    if not largest < value < np.inf:
        return ""
    terms = np.size(scene.taken[0]) // max(made.size, 1) if node.op == "reduce_sum" else 0
    if scene.backward:
        terms = node.avals[0].size // max(made.size, 1)
        terms = terms if node.known.elementwise or node.known.copies else 0
    sums = f"the sum of {terms:,} {'gradients' if scene.backward else 'numbers'}"
    what = sums if terms > 1 else what
    return f"{what}, {value:.6g}, exceeds the largest {dtype}, {largest:.6g}"


def _in_float64(scene: Scene, number: int) -> Any:
    """Return in float64 what an operator made, or what it contributed to an input's gradient."""
    node = scene.node
    function = in_dtype(node, jnp.float64)
    inputs = [
        value if hasattr(value := scene.record.value(slot), "dtype") else jnp.asarray(value)
        for slot in node.inputs
    ]
    fixed = [scene.record.nodes[slot.node].kind == "constant" for slot in node.inputs]
    if scene.step:
        inputs = [x if c else x[scene.step] for x, c in zip(inputs, fixed, strict=True)]
    if not scene.backward:
        return np.asarray(function(*inputs)[number])
    if node.custom or node.op in ("scan", "while", "cond", "custom_linear_solve"):
        return None  # in float64 they run without their rule
    live = [k for k, g in enumerate(node.cotangents) if g is not None]
    gs = [jnp.asarray(node.cotangents[k], jnp.float64) for k in live]
    gs = [g[scene.step] for g in gs] if scene.step else gs

    def of(x: Any) -> list[Any]:
        outputs = function(*inputs[:number], x, *inputs[number + 1 :])
        return [outputs[k] for k in live]

    return np.asarray(jax.vjp(of, jnp.asarray(inputs[number], jnp.float64))[1](gs)[0])


def _epsilon(scene: Scene) -> str:
    """Tell that a number which is added before an operator is 0 in this dtype."""
    if not scene.node.known.singular:
        return ""
    for node in scene.before(scene.node, lambda n: n.known.copies or n.op == "sqrt"):
        constants = [s for s in node.inputs if scene.record.nodes[s.node].kind == "constant"]
        if node.op not in ("add", "max") or not constants or np.any(scene.value(constants[0])):
            continue
        dtype = node.avals[0].dtype
        least = f"the smallest {dtype} is {float(jnp.finfo(dtype).smallest_subnormal):.2g}"
        for text in literals(node.line):
            if float(text) and not np.any(jnp.asarray(float(text), dtype)):
                return f"; {text} is 0 in {dtype}, {least}"
        if node.op == "add":
            return f"; what is added before it is 0 in {dtype}: {least}"
    return ""


def _integer(scene: Scene) -> str:
    """Tell that a signed integer overflowed on the way."""
    for node in scene.before(scene.node, lambda n: n.known.copies or n.known.elementwise):
        exact = EXACT.get(node.op)
        dtype = node.avals[0].dtype
        if exact is None or not jnp.issubdtype(dtype, jnp.signedinteger):
            continue
        inputs = [np.asarray(scene.value(slot), np.float64) for slot in node.inputs]
        with np.errstate(all="ignore"):
            true = np.asarray(exact(node, *inputs))
        got = scene.value(Slot(node.index, 0))
        wrong = np.abs(true - got) > jnp.iinfo(dtype).max
        if wrong.shape == np.shape(scene.array)[len(scene.step) :]:
            wrong &= np.isin(np.arange(wrong.size).reshape(wrong.shape), _flat(scene, wrong.shape))
        if wrong.any():
            first = tuple(np.argwhere(wrong)[0])
            return f"; before it, {true[first]:.0f} did not fit {dtype} and became {got[first]}"
    return ""


def _flat(scene: Scene, shape: tuple[int, ...]) -> int:
    return int(np.ravel_multi_index(scene.index, shape)) if shape else 0


EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda _, a, b: a + b,
    "sub": lambda _, a, b: a - b,
    "mul": lambda _, a, b: a * b,
    "integer_pow": lambda node, a: a ** node.equation.params["y"],
    "square": lambda _, a: a * a,
    "reduce_sum": lambda node, a: a.sum(tuple(node.equation.params["axes"])),
    "reduce_prod": lambda node, a: a.prod(tuple(node.equation.params["axes"])),
    "cumsum": lambda node, a: a.cumsum(node.equation.params["axis"]),
    "cumprod": lambda node, a: a.cumprod(node.equation.params["axis"]),
}
"""Integer operators in float64, whose rounding is small beside what an overflow loses."""
