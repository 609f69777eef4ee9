"""What could be written instead of an operator: expressions, tried as they are printed."""

import ast
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import source
from chainrule.xray.graph import Graph, Slot, Vertex

__all__ = ["Edit", "edits", "factored", "fused"]
__dir__ = __all__.copy


def _guarded(call: str, domain: str, fill: str = "0.0") -> str:
    """Return the double where: an element outside the domain reaches neither operator nor gradient.

    Of a quotient the divisor is replaced, else the first operand.
    """
    name = "y" if call == "x / y" else "x"
    tree = _renamed(call, {name: f"jnp.where({domain}, {name}, 1.0)"})
    return f"jnp.where({domain}, {tree}, {fill})"


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """Return an expression with other expressions in the place of names."""

    class Names(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            new = names.get(node.id)
            return node if new is None else ast.parse(new, mode="eval").body

    return ast.unparse(Names().visit(ast.parse(text, mode="eval")))


_INSIDE = "jnp.clip(x, eps - 1, 1 - eps)"
_FINITE = "jnp.where(x == -jnp.inf, low, x)"
_RIDGE = "x + ridge * jnp.eye(x.shape[-1], dtype=x.dtype)"

# In the expressions x and y are what the operator takes, f is the operator, n its exponent, last
# the last index of its axis, eps the distance of 1 to the next number, small a number whose root
# and inverse are moderate, low the smallest number, top the largest that exp takes. Simple ones
# come first.
_INSTEAD: dict[str, tuple[str, ...]] = {
    "log": ("jnp.log(jnp.maximum(x, small))", "jnp.log(x + tiny)",
            _guarded("jnp.log(x)", "x > 0")),
    "log2": ("jnp.log2(jnp.maximum(x, small))", _guarded("jnp.log2(x)", "x > 0")),
    "log1p": ("jnp.log1p(jnp.maximum(x, eps - 1))", _guarded("jnp.log1p(x)", "x > -1")),
    "sqrt": ("jnp.sqrt(x + small)", "jnp.sqrt(jnp.maximum(x, small))",
             _guarded("jnp.sqrt(x)", "x > 0")),
    "rsqrt": ("jax.lax.rsqrt(x + small)", "jax.lax.rsqrt(jnp.maximum(x, small))",
              _guarded("jax.lax.rsqrt(x)", "x > 0")),
    "cbrt": (_guarded("jnp.cbrt(x)", "x != 0"),),
    "div": ("x / jnp.maximum(y, small)", _guarded("x / y", "y != 0"),
            _guarded("x / y", "y != 0", "1.0")),
    "rem": (_guarded("jnp.fmod(x, y)", "y != 0"),),
    "pow": ("jnp.maximum(x, small) ** y", _guarded("x ** y", "x > 0"),
            "jnp.where(y == 0, 1.0, x ** jnp.where(y == 0, 1.0, y))", _guarded("x ** y", "x != 0")),
    "integer_pow": (_guarded("x ** n", "x != 0"),),
    "acos": (f"jnp.arccos({_INSIDE})",),
    "asin": (f"jnp.arcsin({_INSIDE})",),
    "atanh": (f"jnp.arctanh({_INSIDE})",),
    "erf_inv": (f"jax.scipy.special.erfinv({_INSIDE})",),
    "acosh": ("jnp.arccosh(jnp.maximum(x, 1 + eps))",),
    "atan2": ("jnp.arctan2(x, jnp.where((x == 0) & (y == 0), 1.0, y))",),
    "exp": ("jnp.exp(jnp.minimum(x, top))",),
    "exp2": ("jnp.exp2(jnp.minimum(x, top))",),
    "expm1": ("jnp.expm1(jnp.minimum(x, top))",),
    "mul": ("y * jnp.where(y == 0, 0.0, x)", "x * jnp.where(x == 0, 0.0, y)"),
    "sub": ("jnp.where(x == -jnp.inf, low, x) - jnp.where(y == -jnp.inf, low, y)",),
    "gather": ("f(x, jnp.clip(y, 0, last))", "jnp.nan_to_num(f(x, y))"),
    "cholesky": (f"f({_RIDGE})",),
    "lu": (f"f({_RIDGE})",),
    "custom": (f"f({_FINITE})", f"f({_RIDGE})"),
}  # fmt: skip
_SHOWN = {
    "f(x, jnp.clip(y, 0, last))": "jnp.clip(y, 0, last)",
    "jnp.nan_to_num(f(x, y))": "mode='fill', fill_value=0",
    f"f({_FINITE})": _FINITE,
    f"f({_RIDGE})": _RIDGE,
}
"""What changes where the operator itself stays as it is: what it takes, or a setting."""

_FUSED = {
    "log(logistic(a))": "jax.nn.log_sigmoid(a)",
    "log(sub(1, logistic(a)))": "jax.nn.log_sigmoid(-a)",
    "log(sub(1, square(tanh(a))))": "2 * (jnp.log(2.0) - a - jax.nn.softplus(-2 * a))",
    "log(sub(1, integer_pow(tanh(a))))": "2 * (jnp.log(2.0) - a - jax.nn.softplus(-2 * a))",
    "log(add(1, exp(a)))": "jax.nn.softplus(a)",
    "log(reduce_sum(exp(a)))": "jax.nn.logsumexp(a, axis=axes)",
    "div(exp(a), reduce_sum(exp(a)))": "jax.nn.softmax(a, axis=axes)",
    "div(1, add(1, exp(neg(a))))": "jax.nn.sigmoid(a)",
    "log(div(exp(a), reduce_sum(exp(a))))": "jax.nn.log_softmax(a, axis=axes)",
    "log(add(b, 1))": "jnp.log1p(b)",
    "log(sub(1, b))": "jnp.log1p(-b)",
    "mul(a, log(b))": "jax.scipy.special.xlogy(a, b)",
    "mul(log(b), a)": "jax.scipy.special.xlogy(a, b)",
}
"""From operators that lose numbers together to one function that does not."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """One expression in the place of one operator.

    Attributes:
      text: the expression in the program's own names, as far as its lines tell them.
      expression: the same in the names of ``names``.
      names: what each name of the expression is, besides what the operator takes.
      slots: what it reads beside that: name to slot.
    """

    text: str
    expression: str
    names: Mapping[str, Any]
    slots: Mapping[str, Slot]

    @property
    def apart(self) -> bool:
        """Whether it is to be built in without a choice, under which all inputs get a gradient."""
        return bool(self.slots)

    def __call__(self, operator: Any, inputs: Sequence[Any]) -> list[Any]:
        """Return what stands in for what an operator makes of its inputs."""
        own = inputs[: len(inputs) - len(self.slots)]
        more = dict(zip(self.slots, inputs[len(own) :], strict=True))
        taken = dict(zip("xy", own, strict=False)) | more

        def f(*some: Any) -> Any:
            outputs = operator(*some, *own[len(some) :])
            return outputs[0] if len(outputs) == 1 else outputs

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            made = eval(self.expression, {"jax": jax, "jnp": jnp, "f": f, **self.names, **taken})
        return made if isinstance(made, list) else [made]


def edits(graph: Graph, node: Vertex) -> Iterator[Edit]:
    """Yield what could stand in for one operator, by itself."""
    guarded = node.inputs[node.op in ("div", "rem")] if node.inputs else None
    if guarded is not None and graph.nodes[guarded.node].kind == "constant":
        return  # what is written out in the program is to be written otherwise, not guarded
    names = _numbers(graph, node)
    operands = source.operands(node.line, node.op)
    shown = {"x": "x", "y": "y"} | dict(zip("xy", operands, strict=False))
    shown |= {k: f"{v:.2g}" if isinstance(v, float) else str(v) for k, v in names.items()}
    for expression in _INSTEAD.get("custom" if node.custom else node.op, ()):
        if node.custom and not _helps(graph, node, expression):
            continue
        text = _SHOWN.get(expression, expression)
        text = text if text.startswith("mode") else _renamed(text, shown)
        if expression in _SHOWN or not operands:
            takes = "y is the index that" if node.op == "gather" else "x is what"
            text += f"  # for {node.op}" if operands else f"  # {takes} {node.op} takes"
        yield Edit(text, expression, names, {})


def factored(graph: Graph, index: int) -> Iterator[int]:
    """Yield where the matrix of a linear system was factored that an operator solves."""
    todo = [index] if graph.nodes[index].op == "custom_linear_solve" else []
    while todo:
        for slot in graph.nodes[todo.pop()].inputs:
            node = graph.nodes[slot.node]
            if node.op == "lu":
                yield slot.node
            todo += [slot.node] * node.known.copies


def _helps(graph: Graph, node: Vertex, expression: str) -> bool:
    """Tell whether a change of what a function with a custom rule takes can matter."""
    if expression == f"f({_RIDGE})":
        return node.known.of_matrix
    made = getattr(graph.nodes[node.inputs[0].node], "values", ())
    return bool(made) and bool(np.any(np.asarray(made[node.inputs[0].output]) == -np.inf))


def fused(
    graph: Graph, index: int, known: Mapping[str, str] | None = None
) -> Iterator[tuple[int, Edit]]:
    """Yield the functions in which an operator is one part, each with what it would replace.

    Args:
      graph: the graph.
      index: the number of the operator.
      known: from operators to the function; None for those that keep NaN away.
    """
    for pattern, expression in (_FUSED if known is None else known).items():
        tree = ast.parse(pattern, mode="eval").body
        for i, node in enumerate(graph.nodes[index:], index):
            bound: dict[str, tuple[Slot, Vertex, int]] = {}
            seen: set[int] = set()
            if node.op == pattern.partition("(")[0] and _match(
                graph, Slot(i, 0), tree, bound, seen
            ):
                if index not in seen:
                    continue
                sums = [graph.nodes[k] for k in seen if graph.nodes[k].op == "reduce_sum"]
                names = {"axes": sums[0].equation.params["axes"]} if sums else {}
                shown, unknown = {name: str(value) for name, value in names.items()}, ""
                for name, (_, reader, position) in bound.items():
                    operands = source.operands(reader.line, reader.op)
                    if position < len(operands):
                        shown[name] = operands[position]
                    elif f"{name})" in expression or f"{name}," in expression:
                        unknown += f"  # {name} is what {reader.op} takes"
                slots = {name: slot for name, (slot, _, _) in bound.items()}
                yield i, Edit(_renamed(expression, shown) + unknown, expression, names, slots)


def _match(
    graph: Graph, slot: Slot, tree: Any, bound: dict[str, Any], seen: set[int], by: Any = ()
) -> bool:
    """Tell whether an array was made as a pattern says, and bind the names in it."""
    node = graph.nodes[slot.node]
    while isinstance(tree, ast.Call) and (node.known.copies or node.op == "stop_gradient"):
        slot = node.inputs[0]
        node = graph.nodes[slot.node]
    if isinstance(tree, ast.Name):
        return bound.setdefault(tree.id, (slot, *by))[0] == slot
    if isinstance(tree, ast.Constant):
        return node.kind == "constant" and bool(jnp.all(jnp.asarray(node.constant) == tree.value))
    if node.op != tree.func.id or node.kind != "operator":
        return False
    seen.add(slot.node)
    return all(
        _match(graph, s, part, bound, seen, (node, k))
        for k, (s, part) in enumerate(zip(node.inputs, tree.args, strict=False))
    )


def _numbers(graph: Graph, node: Vertex) -> dict[str, Any]:
    """Return the numbers that the expressions of an operator name."""
    dtype = node.avals[0].dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        return {}
    about = jnp.finfo(dtype)
    small = max(float(about.eps) ** 2, 1.01 * float(about.smallest_normal))
    found = {"eps": float(about.eps), "tiny": 1.01 * float(about.smallest_normal), "small": small}
    found |= {
        "low": float(about.min),
        "top": math.log(about.max) - 1,
        "ridge": float(about.eps) ** 0.5,
    }
    if node.op == "integer_pow":
        found["n"] = node.equation.params["y"]
    if node.op == "gather":
        axes = node.equation.params["dimension_numbers"].start_index_map
        shape = graph.nodes[node.inputs[0].node].avals[node.inputs[0].output].shape
        found["last"] = shape[axes[0]] - 1
    return found
