"""Where digits die between two dtypes: the cancellation by its name, and the stable form, tried."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from chainrule.xray.compare.errors import between
from chainrule.xray.compare.rows import Row
from chainrule.xray.edits import Edit, fused
from chainrule.xray.graph import Slot
from chainrule.xray.passes import Operator
from chainrule.xray.record import Record
from chainrule.xray.rerun import Change, prepare
from chainrule.xray.words import below

__all__ = ["Death", "find"]
__dir__ = __all__.copy

_HELPS = 1 / 8  # of the error that was there
_MOST = 6  # rows that are looked at
_SQUARES = ("square({})", "integer_pow({})", "mul({0}, {0})")
_MEAN = "div(reduce_sum({}), {})"

# From what cancels to what does not; `_match` of the edits reads the patterns.
_STABLE = {
    "log(add(1, b))": "jnp.log1p(b)",
    "log(add(b, 1))": "jnp.log1p(b)",
    "log(sub(1, b))": "jnp.log1p(-b)",
    "sub(exp(a), 1)": "jnp.expm1(a)",
    "sub(1, exp(a))": "-jnp.expm1(a)",
    "sub(1, cos(a))": "2 * jnp.sin(a / 2) ** 2",
    "sub(1, logistic(a))": "jax.nn.sigmoid(-a)",
    "sub(sqrt(a), sqrt(b))": "(a - b) / (jnp.sqrt(a) + jnp.sqrt(b))",
    "sub(sqrt(add(a, 1)), 1)": "a / (jnp.sqrt(a + 1) + 1)",
    "sub(sqrt(add(1, a)), 1)": "a / (jnp.sqrt(a + 1) + 1)",
    "sub(1, sqrt(sub(1, a)))": "a / (1 + jnp.sqrt(1 - a))",
    "sub(log(a), log(b))": "jnp.log1p((a - b) / b)",
    "log(div(a, b))": "jnp.log1p((a - b) / b)",
    "sub(div(1, a), div(1, b))": "(b - a) / (a * b)",
    "div(exp(a), reduce_sum(exp(a)))": "jax.nn.softmax(a, axis=axes)",
    "log(reduce_sum(exp(a)))": "jax.nn.logsumexp(a, axis=axes)",
    "log(add(1, exp(a)))": "jax.nn.softplus(a)",
    "log(add(exp(a), 1))": "jax.nn.softplus(a)",
    "log(logistic(a))": "jax.nn.log_sigmoid(a)",
} | {
    f"sub({one.format('a')}, {two.format('b')})": "(a - b) * (a + b)"
    for one in _SQUARES
    for two in _SQUARES
} | {
    f"sub({_MEAN.format(one.format('a'), 'n')}, {two.format(_MEAN.format('a', 'm'))})":
        "jnp.var(a, axis=axes)"
    for one in _SQUARES
    for two in _SQUARES[:2]
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Death:
    """An operator that loses digits of what came in, and what to write instead.

    Attributes:
      row: the operator.
      kind: what happens there.
      text: the stable form, in the program's own names where its lines tell them; "" if none that
        is known helps.
      before: the largest relative error of what it makes, in the narrower type.
      after: the same with the stable form in its place.
      result: the relative error of the program's results before and after.
    """

    row: Row
    kind: str
    text: str = ""
    before: float = 0.0
    after: float = 0.0
    result: tuple[float, float] = (0.0, 0.0)

    def __str__(self) -> str:
        where = below(self.row.line).partition(" (")[0]
        text = f"{where} {self.row.label}: {self.kind}, {self.row.lost:.0f} bits lost"
        if self.text:
            text += (
                f"\n  write {self.text}\n  tried: its error {self.before:.1e} becomes "
                f"{self.after:.1e}, that of the result {self.result[0]:.1e} becomes "
                f"{self.result[1]:.1e}"
            )
        return text


def find(narrow: Record, wide: Record, rows: Sequence[Row]) -> tuple[Death, ...]:
    """Return what happens in rows that lose digits, and the stable forms that hold.

    Args:
      narrow: the program in the narrower dtype.
      wide: the same in the wider one, which counts as true.
      rows: those that lose digits, worst first.
    """
    found = []
    for row in [row for row in rows if row.phase == "forward"][:_MOST]:
        subtracts = row.op in ("sub", "add", "reduce_sum", "dot_general", "cumsum")
        kind = "cancellation" if subtracts else f"{row.op} is ill-conditioned there"
        if row.note:
            kind = row.note
        tried = [
            one
            for edit in fused(narrow, row.node, _STABLE)
            if (one := _try(narrow, wide, *edit, Death(row, kind)))
        ]
        found.append(min(tried, key=lambda one: one.after, default=Death(row, kind)))
    return tuple(found)


def _try(narrow: Record, wide: Record, index: int, edit: Edit, death: Death) -> Death | None:
    """Return what a stable form does to the errors, None where it does not help."""
    nodes, node = list(narrow.nodes), narrow.nodes[index]
    more = tuple(edit.slots.values())
    parts = (*node.contributions, *(None for _ in more))
    nodes[index] = dataclasses.replace(node, inputs=(*node.inputs, *more), contributions=parts)
    changed = dataclasses.replace(narrow, nodes=tuple(nodes))
    try:
        after = prepare(changed, {(index,): _instead(edit, len(node.inputs))})(None)
    except (TypeError, ValueError, IndexError):  # it makes another shape
        return None
    slot = Slot(index, 0)
    errors = [between(wide.value(slot), one.value(slot)).relative for one in (narrow, after)]
    ends = [
        max(between(wide.value(s), one.value(s)).relative for s in narrow.outputs)
        for one in (narrow, after)
    ]
    if not (errors[1] <= _HELPS * errors[0] and ends[1] <= ends[0]):
        return None
    return dataclasses.replace(
        death, text=edit.text, before=errors[0], after=errors[1], result=(ends[0], ends[1])
    )


def _instead(edit: Edit, count: int) -> Change:
    def change(operator: Operator, setting: object) -> Operator:
        def stand_in(*inputs: jax.Array) -> list[jax.Array]:
            like = jax.eval_shape(lambda *x: list(operator(*x)), *inputs[:count])
            made = edit(operator, inputs)
            return [
                jnp.asarray(y, old.dtype).reshape(old.shape)
                for y, old in zip(made, like, strict=True)
            ]

        return stand_in

    return change
