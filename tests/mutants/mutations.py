"""Errors to plant: every small change of a module's meaning that somebody could make by mistake.

A mutation is a change of one node of the syntax tree: an operator or a comparison for another, a
constant off by one, a sign, an axis, a term or a call left out. Text that only people read
(docstrings, messages, annotations, ``__all__``) is left alone.
"""

import ast
import copy
import dataclasses
import pathlib
from collections.abc import Iterator

_COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.MatMult: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One planted error.

    Attributes:
      path: the file, below ``src``.
      line: where in it.
      kind: what sort of mistake it is.
      before: the text that stood there.
      after: the text that stands there instead.
      number: which of the changes of its file this is.
    """

    path: str
    line: int
    kind: str
    before: str
    after: str
    number: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.kind}: {self.before}  ->  {self.after}"


def mutations(src: pathlib.Path, path: pathlib.Path) -> list[Mutation]:
    """Return every change of one file that can be made."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for number, (_, _, node, new, kind) in enumerate(_changes(tree)):
        before, after = (" ".join(ast.unparse(one).split()) for one in (node, new))
        where = path.relative_to(src).as_posix()
        found.append(Mutation(where, node.lineno, kind, before, after, number))
    return found


def mutated(path: pathlib.Path, number: int) -> str:
    """Return the text of a file with one change made; comments and layout go."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for at, (parent, place, _, new, _) in enumerate(_changes(tree)):
        if at == number:
            field, index = place
            if index is None:
                setattr(parent, field, new)
            else:
                getattr(parent, field)[index] = new
            return ast.unparse(ast.fix_missing_locations(tree))
    raise ValueError(f"{path} has no change number {number}")


_Place = tuple[str, int | None]


def _changes(tree: ast.Module) -> Iterator[tuple[ast.AST, _Place, ast.AST, ast.AST, str]]:
    """Yield the parent, the place in it, the node, its replacement, and the kind of each change."""
    stack: list[ast.AST] = [tree]
    while stack:
        parent = stack.pop()
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list", "type_comment"):
                continue
            for index, node in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(node, ast.AST) or _only_read(node):
                    continue
                place = field, index if isinstance(value, list) else None
                for new, kind in _instead(node):
                    located = ast.copy_location(new, node)
                    yield parent, place, node, located, kind
                stack.append(node)


def _only_read(node: ast.AST) -> bool:
    """Tell whether people alone read what stands here."""
    if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr | ast.Assert):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {one.id for one in targets if isinstance(one, ast.Name)}
        return bool(names & {"__all__", "__version__"})
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return False


def _instead(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            new = copy.copy(node)
            new.ops = [_COMPARISONS[type(op)]()]
            yield new, "comparison"
        case ast.BinOp(left=left, op=op) if type(op) in _OPERATORS and not _is_text(node):
            new = copy.copy(node)
            new.op = _OPERATORS[type(op)]()
            yield new, "operator"
            if isinstance(op, ast.Add | ast.Sub):
                yield left, "dropped term"
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield operand, "sign"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand, "negation"
        case ast.BoolOp(op=op):
            new = copy.copy(node)
            new.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield new, "and, or"
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value), "constant"
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1), "constant"
        case ast.Constant(value=float(value)) if value:
            yield ast.Constant(10 * value), "constant"
        case ast.Call(func=func, args=[only], keywords=[]) if not isinstance(only, ast.Starred):
            if not (isinstance(func, ast.Name) and func.id in ("print", "super")):
                yield only, "dropped call"
        case ast.IfExp(body=body, orelse=orelse):
            new = copy.copy(node)
            new.body, new.orelse = orelse, body
            yield new, "branches"


def _is_text(node: ast.BinOp) -> bool:
    """Tell whether a sum joins texts."""
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in sides
    )
