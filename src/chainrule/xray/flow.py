"""The flow through a network: per layer and per scope what goes forward and what comes back."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console, ConsoleOptions
from rich.markup import escape
from rich.table import Table

from chainrule.xray.arrivals import is_zero
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record
from chainrule.xray.stats import Stats, is_number
from chainrule.xray.words import rendered

__all__ = ["MANY", "SATURATED", "Flow", "LayerFlow", "flow"]
__dir__ = __all__.copy

VANISHING, EXPLODING = 1e-3, 1e3  #: of the gradient of the last layer
MANY = 0.5  #: of the units
LARGE = 1.0  #: the norm of a gradient that explodes, at least
_ALONE = (["kernel"], ["weight"], ["embedding"])  # what flax, equinox and haiku call them
SATURATED = 0.01  #: so close to the end of its range that at most 4 % of a gradient passes


class LayerFlow(NamedTuple):
    """One layer, or one named scope.

    Attributes:
      name: its scope, else the path of its parameters.
      node: the label of its output: the activation function, if it has one.
      shape: of its output.
      activation_rms: root mean square of its output.
      activation_norm: Euclidean norm of the same.
      gradient_norm: Euclidean norm of the gradient with respect to it; None where none flows.
      weight_norm: Euclidean norm of the parameters that it multiplies with; None of a scope.
      weight_gradient_norm: that of their gradient; None where none flows, and of a scope.
      zeros: share of exact zeros in its output.
      dead: share of ReLU units (along the last axis) that are 0 on all samples of this call; None
        of other activation functions, and where only statistics are kept.
      saturated: share of the elements of a tanh or sigmoid within a hundredth of an end; None of
        other activation functions, and where only statistics are kept.
      flags: "zero" where the gradient is exactly 0, "vanishing" or "exploding" where its norm is
        below a thousandth or above a thousand times that of the last layer that has one (and above
        1), "not finite", "dead" or "saturated" where half of the units are.
      samples: over how many samples a unit is counted as dead; None where none is counted.
    """

    name: str
    node: str
    shape: tuple[int, ...]
    activation_rms: float
    activation_norm: float
    gradient_norm: float | None
    weight_norm: float | None
    weight_gradient_norm: float | None
    zeros: float
    dead: float | None
    saturated: float | None
    flags: tuple[str, ...]
    samples: int | None = None


class Flow(NamedTuple):
    """What goes forward through a network and what comes back.

    Attributes:
      layers: in the order of execution, one for every product with a matrix of parameters. A
        layer that is used twice has two rows, one inside a scan has none (record it unrolled).
      scopes: one for every `jax.named_scope`, in the order of their first operators.
      operators: where there is neither, one for every operator that makes numbers.
      zero: whether the gradient of every argument is exactly 0.
    """

    layers: tuple[LayerFlow, ...]
    scopes: tuple[LayerFlow, ...]
    operators: tuple[LayerFlow, ...] = ()
    zero: bool = False

    def numbers(self) -> dict[str, float]:
        """Return the layers as one flat record, ``{"gradient_norm/layer1": ..., ...}``."""
        fields = ("activation_rms", "gradient_norm", "dead", "saturated")
        found = {f"{f}/{layer.name}": getattr(layer, f) for f in fields for layer in self.layers}
        return {name: float(value) for name, value in found.items() if value is not None}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        tables = {"layer": self.layers, "scope": self.scopes, "operator": self.operators}
        for what, rows in tables.items():
            if rows:
                yield _table(what, rows)
        if self.zero:
            yield "every gradient is exactly 0: deaths() says where they die"
        elif not any(tables.values()):
            yield "no operator makes a number"

    def __str__(self) -> str:
        return rendered(self)


def flow(record: Record) -> Flow:
    """Return what goes forward through a record, and what comes back."""
    return _Search(record).run()


class _Search:
    def __init__(self, record: Record) -> None:
        self.record = record
        self.nodes = record.nodes
        self.whole = record.keep == "values"

    def run(self) -> Flow:
        products: dict[int, list[Entry]] = {}
        latest: list[int | None] = []  # the layer that a node comes after
        ends: dict[int, Entry] = {}
        for node in self.nodes:
            before = [k for s in node.inputs if (k := latest[s.node]) is not None]
            if weights := self._weights(node, bool(before)):
                products[node.index] = weights
            latest.append(node.index if node.index in products else max(before, default=None))
            start = latest[-1]
            if start is not None and start not in ends and self._activates(node, self.nodes[start]):
                ends[start] = node
        owners: dict[str, set[str]] = {}  # some libraries have one scope for all layers of a kind
        for index, weights in products.items():
            owners.setdefault(self.nodes[index].scope, set()).add(weights[0].name)
        layers, names = [], []
        for index, weights in products.items():
            node = self.nodes[index]
            # A dotted scope is the class of a layer.
            own = len(owners[node.scope]) == 1 and "." not in node.scope.rpartition("/")[2]
            name = node.scope if own else ""
            name = name or _parent(weights[0].name)
            names.append(name)
            label = f"{name} ({names.count(name)})" if names.count(name) > 1 else name
            end = ends.get(index) or self._biased(node)
            layers.append(self._layer(label, end, weights))
        scopes = [self._layer(*scope) for scope in self._scopes()]
        operators: list[LayerFlow] = []
        if not layers and not scopes:
            made = [n for n in self.nodes if n.kind == "operator" and n.avals]
            operators = [self._layer(n.label, n) for n in made if is_number(n.avals[0])]
        wanted = [self.nodes[i] for i in self.record.wanted]
        zero = bool(wanted) and all(not n.note and is_zero(n.cotangent) for n in wanted)
        return Flow(_flagged(layers), _flagged(scopes), _flagged(operators), zero)

    def _weights(self, node: Entry, later: bool) -> list[Entry]:
        """Return the matrices of parameters that a node multiplies with, else nothing.

        Args:
          node: the node.
          later: whether it comes after another layer.
        """
        if not (node.known.product or node.custom):
            return []
        sources = [self._source(slot) for slot in node.inputs]
        found = [n for n in sources if n is not None and len(n.avals[0].shape) > 1]
        return [n for n in found if n.kind == "parameter"] or (
            # An argument by itself: the second of two, or the one that meets the layer before.
            found[-1:] if node.known.product and (later or len(found) == len(node.inputs)) else []
        )

    def _source(self, slot: Slot) -> Entry | None:
        """Return the argument that stands behind a slot, unchanged but for its shape."""
        node = self.nodes[slot.node]
        while node.known.copies or node.known.part:
            node = self.nodes[node.inputs[0].node]
        return node if node.is_argument and is_number(node.avals[0]) else None

    def _activates(self, node: Entry, start: Entry) -> bool:
        """Tell whether a node is the activation function of a layer, and not of the loss."""
        if not node.avals or node is start:
            return False
        shape, features = node.avals[0].shape, start.avals[0].shape[-1:]
        return (node.known.activation or self._is_maximum(node)) and shape[-1:] == features

    def _is_maximum(self, node: Entry) -> bool:
        """Tell whether a node is ``jnp.maximum(x, 0)``."""
        constants = [self.nodes[s.node] for s in node.inputs]
        return node.op == "max" and any(
            n.kind == "constant" and not n.avals[0].shape and _zero(n.value) for n in constants
        )

    def _biased(self, node: Entry) -> Entry:
        """Return the sum with the bias if one follows, else the node."""
        slot = Slot(node.index, 0)
        readers = [
            self.nodes[use.node] for use in self.record.readers[slot] if use.node is not None
        ]
        if len(readers) == 1 and readers[0].op == "add":
            others = [s for s in readers[0].inputs if s != slot]
            if others and self._source(others[0]) is not None:
                return readers[0]
        return node

    def _layer(self, name: str, end: Entry, weights: Sequence[Entry] = ()) -> LayerFlow:
        value, gradient = end.stats(), end.cotangent_stats()
        array = np.asarray(end.value) if self.whole else None
        dead = saturated = samples = None
        if array is not None and array.size and (end.op == "relu" or self._is_maximum(end)):
            units = (array == 0).reshape(-1, array.shape[-1] if array.ndim else 1)
            dead, samples = float(units.all(0).mean()), len(units)
        if array is not None and array.size and end.known.ends is not None:
            low, high = end.known.ends
            x = array.astype(np.float32)
            saturated = float(((x < low + SATURATED) | (x > high - SATURATED)).mean())
        gradients = [w.cotangent_stats() for w in weights]
        flags = ["not finite"] if _bad(value) or _bad(gradient) else []
        flags += ["dead"] if dead is not None and dead >= MANY else []
        flags += ["saturated"] if saturated is not None and saturated >= MANY else []
        size = max(int(np.prod(value.shape)), 1)
        return LayerFlow(
            name=name,
            node=end.label,
            shape=value.shape,
            activation_rms=value.norm / size**0.5,
            activation_norm=value.norm,
            gradient_norm=None if gradient is None else gradient.norm,
            weight_norm=_norm([w.stats() for w in weights]),
            weight_gradient_norm=_norm(gradients),
            zeros=value.zeros,
            dead=dead,
            saturated=saturated,
            flags=tuple(flags),
            samples=samples,
        )

    def _scopes(self) -> Iterator[tuple[str, Entry]]:
        """Yield every scope with the last node in it that something outside reads."""
        members: dict[str, list[Entry]] = {}
        for node in self.nodes:
            parts = node.scope.split("/") if node.scope else []
            for depth in range(len(parts)):
                members.setdefault("/".join(parts[: depth + 1]), []).append(node)
        for name, nodes in members.items():
            within = {node.index for node in nodes}
            handed = [n for n in nodes if n.avals and self._leaves(n, within)]
            if handed and is_number(handed[-1].avals[0]):
                yield name, handed[-1]

    def _leaves(self, node: Entry, within: set[int]) -> bool:
        slots = (Slot(node.index, k) for k in range(len(node.avals)))
        return any(use.node not in within for slot in slots for use in self.record.readers[slot])


def _flagged(layers: Sequence[LayerFlow]) -> tuple[LayerFlow, ...]:
    last = next((layer.gradient_norm for layer in reversed(layers) if layer.gradient_norm), 0.0)
    return tuple(
        layer._replace(flags=(*_course(layer.gradient_norm, last), *layer.flags))
        if layer.gradient_norm is not None
        else layer
        for layer in layers
    )


def _course(norm: float, last: float) -> tuple[str, ...]:
    if norm <= VANISHING * last or not norm:
        return ("vanishing",) if norm else ("zero",)
    return ("exploding",) if norm > max(EXPLODING * last, LARGE) else ()


def _zero(x: Any) -> bool:
    return (x.max == x.min == 0) if isinstance(x, Stats) else bool(np.all(np.asarray(x) == 0))


def _bad(x: Stats | None) -> bool:
    return x is not None and x.nans + x.infs > 0


def _norm(parts: Sequence[Stats | None]) -> float | None:
    known = [part.norm for part in parts if part is not None]
    return float(np.hypot.reduce(known)) if known else None


def _parent(path: str) -> str:
    """Return where a parameter belongs: ``params['layer1']['kernel']`` to ``layer1``.

    Those of a module alone belong to the argument: ``model.kernel`` to ``model``.
    """
    keys = re.findall(r"\['?([^\]']+)'?\]|\.(\w+)", path)
    names = [first or second for first, second in keys]
    names = names[:-1] if names[-1:] == ["value"] else names  # of nnx, inside every parameter
    if names in _ALONE and keys[0][1]:
        return path[: path.index(".")]
    return "/".join(names[:-1] or [name for name in names if not name.isdigit()]) or path


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _table(what: str, rows: Sequence[LayerFlow]) -> Table:
    table = Table(title=f"flow, per {what}", title_justify="left")
    table.add_column(what, overflow="fold")
    table.add_column("output", overflow="fold")
    weights = any(row.weight_norm is not None for row in rows)
    names = ["activation, rms", "gradient, norm", *(["weights' gradient / weights"] * weights)]
    for name in (*names, "zeros", "dead", "saturated"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        ratio = ""
        if row.weight_norm and row.weight_gradient_norm is not None:
            ratio = f"{row.weight_gradient_norm / row.weight_norm:.2e}"
        size = " x ".join(map(str, row.shape))
        table.add_row(
            escape(row.name),
            escape(f"{row.node}, {size}" if size else row.node),
            f"{row.activation_rms:.3g}",
            "" if row.gradient_norm is None else f"{row.gradient_norm:.2e}",
            *([ratio] * weights),
            _percent(row.zeros),
            _percent(row.dead) + (f", n = {row.samples}" if row.samples else ""),
            _percent(row.saturated),
            ", ".join(row.flags),
            style="red" if row.flags else None,
        )
    return table
