"""The line of the program behind an operator, read for the names and numbers written there."""

import ast
import linecache
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["literals", "written"]


def literals(line: str) -> list[str]:
    """Return the floats written in a line, as they are written.

    Args:
      line: ``file.py:line (function)``.
    """
    nodes = [node for node in _on(line) if isinstance(node, ast.Constant)]
    return [repr(node.value) for node in nodes if isinstance(node.value, float)]


def written(line: str, matches: Callable[[ast.AST], Sequence[ast.AST] | None]) -> list[str] | None:
    """Return how the operands of an operator are written, None if that is not known.

    Args:
      line: ``file.py:line (function)``.
      matches: from an expression to its operands, or None where it is another operator.
    """
    found = [operands for node in _on(line) if (operands := matches(node)) is not None]
    return [ast.unparse(one) for one in found[0]] if len(found) == 1 else None


def _on(line: str) -> list[Any]:
    """Return the expressions that stand on a line."""
    file, _, number = line.partition(" (")[0].rpartition(":")
    if not number.isdigit():
        return []
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return []
    there = [node for node in ast.walk(tree) if isinstance(node, ast.expr)]
    return [node for node in there if node.lineno <= int(number) <= (node.end_lineno or 0)]


def __dir__() -> list[str]:
    return sorted(__all__)
