"""The line of the program behind an operator, read for the names and numbers written there."""

import ast
import functools
import linecache
from typing import Any

__all__ = ["literals", "operands", "quoted"]
__dir__ = __all__.copy

_SIGNS = {"div": ast.Div, "pow": ast.Pow, "integer_pow": ast.Pow, "mul": ast.Mult, "sub": ast.Sub}
_NAMES = {
    "logistic": ("sigmoid",), "div": ("divide",), "pow": ("power",), "acos": ("arccos",),
    "asin": ("arcsin",), "atanh": ("arctanh",), "acosh": ("arccosh",), "atan2": ("arctan2",),
    "gather": ("take",), "erf_inv": ("erfinv",), "reduce_sum": ("sum",),
    "lu": ("solve", "inv", "det", "slogdet"),
}  # fmt: skip
_MADE = {"norm": "jnp.sum(jnp.square({}))", "std": "jnp.var({})"}  # what they take the root of


def quoted(line: str) -> str:
    """Return the text of a line, "" where its file is not here.

    Args:
      line: ``file.py:line (function)``.
    """
    file, _, number = line.partition(" (")[0].rpartition(":")
    return linecache.getline(file, int(number)).strip() if number.isdigit() else ""


def literals(line: str) -> list[str]:
    """Return the floats written in a line, as they are written.

    Args:
      line: ``file.py:line (function)``.
    """
    nodes = [node for node in _on(line) if isinstance(node, ast.Constant)]
    return [repr(node.value) for node in nodes if isinstance(node.value, float)]


def operands(line: str, op: str) -> list[str]:
    """Return how what an operator takes is written in a line, [] if that is not clear.

    Example:
      >>> operands("no_file.py:3 (f)", "log")
      []
    """
    found = [texts for node in _on(line) if (texts := _taken(node, op))]
    return found[0] if found and found.count(found[0]) == len(found) else []


def _taken(node: Any, op: str) -> list[str]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, _SIGNS.get(op, ())):
        return [ast.unparse(node.left), ast.unparse(node.right)]
    if not isinstance(node, ast.Call) or not node.args:
        return []
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in _NAMES.get(op, (op,)):
        return [ast.unparse(one) for one in node.args]
    if op == "sqrt" and name in _MADE and len(node.args) == 1:
        more = "".join(f", {k.arg}={ast.unparse(k.value)}" for k in node.keywords)
        return [_MADE[name].format(ast.unparse(node.args[0]))[:-1] + f"{more})"]
    return []


def _on(line: str) -> list[Any]:
    """Return the expressions that stand on a line."""
    file, _, number = line.partition(" (")[0].rpartition(":")
    nodes = _expressions(file) if number.isdigit() else ()
    return [node for node in nodes if node.lineno <= int(number) <= (node.end_lineno or 0)]


@functools.lru_cache(16)
def _expressions(file: str) -> tuple[Any, ...]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.expr))
