"""What the pictures show of a record, as plain data that JSON can hold."""

import dataclasses
import math
from typing import Any, Literal, TypedDict

from chainrule._files import printable
from chainrule.xray.births import Birth, Cures, Datum, Nonfinite
from chainrule.xray.cells import Cell, cell
from chainrule.xray.deaths import Deaths
from chainrule.xray.equations import Equation, equation
from chainrule.xray.flow import Flow, LayerFlow
from chainrule.xray.frames import Frame, frames
from chainrule.xray.graph import Slot
from chainrule.xray.groups import tree
from chainrule.xray.inside import can_enter
from chainrule.xray.nonfinite import find
from chainrule.xray.record import Edge, Entry, Record
from chainrule.xray.slices import written
from chainrule.xray.source import quoted
from chainrule.xray.stats import is_number
from chainrule.xray.words import nearby, number, shape

__all__ = [
    "Box",
    "Layer",
    "Mark",
    "Output",
    "Paragraph",
    "Picture",
    "Wire",
    "picture",
    "shareable",
    "shareable_deaths",
    "with_cures",
    "with_deaths",
    "with_layers",
]
__dir__ = __all__.copy


class Output(TypedDict):
    """One array that a node makes: its value, its gradient, its shape."""

    value: Cell | None
    gradient: Cell | None
    shape: str


class Mark(TypedDict):
    """A birth, as a node is marked with it."""

    phase: str
    kind: str
    text: str


class Box(TypedDict):
    """A node.

    Attributes:
      id: its number.
      kind: "parameter", "input", "constant" or "operator".
      op: the operator.
      symbol: what its card shows instead.
      label: its name, unique in the picture.
      shape: of its first output.
      value: of its first output.
      gradient: with respect to that.
      outputs: all of them, where there are several.
      sum: the gradient of a scalar that several nodes use, as the sum over those uses.
      result: whether the function returns it.
      note: why no gradient passes.
      opens: whether it has an inside.
      line: of the user's code.
      within: the line inside an installed library.
      outer: the user's outermost line where that is another one, from which this was called.
      quote: the text of the user's outermost line, "" where its file is not here.
      forward: its equation.
      backward: the equations of the gradients with respect to its inputs.
      group: the number of the group that it stands in, None outside all of them.
      scope: the name of a scope that it has for itself.
      births: of NaN and Inf.
      deaths: of gradients.
    """

    id: int
    kind: Literal["parameter", "input", "constant", "operator"]
    op: str
    symbol: str
    label: str
    shape: str
    value: Cell | None
    gradient: Cell | None
    outputs: list[Output]
    sum: str
    result: bool
    note: str
    opens: bool
    line: str
    within: str
    outer: str
    quote: str
    forward: str
    backward: list[str]
    group: int | None
    scope: str
    births: list[Mark]
    deaths: list[str]


class Wire(TypedDict):
    """One use of an array: from which node to which, and what it adds to the gradient.

    Attributes:
      source: the node that made the array.
      output: which of its outputs it is.
      target: the node that uses it, None where it is a result.
      position: which of that node's inputs it is, or which result.
      part: what this use adds to the gradient.
      fan: whether the array has other uses as well.
    """

    source: int
    output: int
    target: int | None
    position: int
    part: Cell | None
    fan: bool


class Paragraph(TypedDict):
    """A part of what is said of NaN and Inf, or of gradients that die.

    Attributes:
      text: the part.
      node: the number of the node that it is about: of a birth, a death or bad data; else None.
    """

    text: str
    node: int | None


class Layer(TypedDict):
    """A layer, a scope where there are no layers: a row of what the page lists at first.

    Attributes:
      name: of the layer.
      node: the number of the node of its output.
      gradient: the norm of the gradient with respect to that, "" where none flows.
      share: how long its bar is, of 1: the logarithm of the norm, between the least and the most.
      flags: "vanishing", "dead 60 %" and the like.
    """

    name: str
    node: int
    gradient: str
    share: float
    flags: list[str]


class Picture(TypedDict):
    """What is drawn.

    Attributes:
      title: the name of the function.
      compiled: whether it ran as one compiled program.
      nodes: in the order of execution.
      edges: in the order of what uses them.
      groups: outer before inner.
      steps: the numbers of the operators in the order of the backward pass.
      nonfinite: what is said of NaN and Inf, in the order of the text; empty without one.
      cures: what was tried against them, the best first; empty before.
      deaths: what is said of gradients that die; empty where no argument lacks one.
      layers: what the gradient is in every layer; empty before.
    """

    title: str
    compiled: bool
    nodes: list[Box]
    edges: list[Wire]
    groups: list[Frame]
    steps: list[int]
    nonfinite: list[Paragraph]
    cures: list[Paragraph]
    deaths: list[Paragraph]
    layers: list[Layer]


def picture(record: Record, found: Nonfinite | None = None) -> Picture:
    """Return the data of a picture.

    Args:
      record: the record.
      found: what is not finite in it, if that is known; else it is looked for.

    Returns:
      The picture.

    Example:
      >>> from chainrule import xray
      >>> data = picture(xray.xray(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0).record)
      >>> for node in data["nodes"]:
      ...     print(node["label"], node["value"]["text"], node["gradient"]["text"])
      x ['−2'] ['−4']
      y ['5'] ['−4']
      z ['−4'] ['3']
      add_3 ['3'] ['−4']
      mul_4 ['−12'] ['1']
    """
    found = shareable(find(record) if found is None else found)
    births: dict[int, list[Mark]] = {}
    for birth in found.births:
        mark: Mark = {"phase": birth.phase, "kind": birth.kind, "text": str(birth)}
        births.setdefault(birth.node, []).append(mark)
    root, alone = tree(record)
    groups, homes = frames(root, record)
    nodes = [
        _box(record, node, homes[node.index], alone.get(node.index, ""), births.get(node.index, []))
        for node in record.nodes
    ]
    return {
        "title": record.function,
        "compiled": record.compiled,
        "nodes": nodes,
        "edges": [_wire(record, edge) for edge in record.edges],
        "groups": groups,
        "steps": [node["id"] for node in reversed(nodes) if node["backward"]],
        "nonfinite": _paragraphs(record, found) if found else [],
        "cures": [],
        "deaths": [],
        "layers": [],
    }


def with_layers(data: Picture, record: Record, flow: Flow) -> Picture:
    """Return a picture beside which its layers stand, with what comes back to each."""
    rows = flow.layers or flow.scopes
    norms = [r.gradient_norm for r in rows if r.gradient_norm and math.isfinite(r.gradient_norm)]
    low, high = (math.log10(f(norms, default=1.0)) for f in (min, max))
    low = min(low, high - 1)  # norms that are nearly equal have bars that are

    def row(of: LayerFlow) -> Layer:
        norm = of.gradient_norm
        share = (math.log10(norm) - low) / (high - low) if norm in norms else 0.0
        parts = {"dead": of.dead, "saturated": of.saturated}
        bad = (
            "not finite" in of.flags
        )  # of such a gradient, the norm of the finite part says nothing
        flags = [f for f in of.flags if not (bad and f == "zero")]
        flags = [f"{f} {100 * n:.0f} %" if (n := parts.get(f)) else f for f in flags]
        return {
            "name": of.name,
            "node": record.node(of.node).index,
            "gradient": "" if norm is None or (bad and not norm) else number(norm, 3),
            "share": round(0.04 + 0.96 * share, 3) if norm in norms else 0.0,
            "flags": flags,
        }

    return {**data, "layers": [row(one) for one in rows]}


def with_cures(data: Picture, record: Record, cures: Cures) -> Picture:
    """Return a picture beside which the cures stand that hold, or why none does."""
    rows: list[Paragraph] = [
        {"text": str(cure), "node": _node(record, cure.birth)} for cure in cures
    ]
    return {**data, "cures": rows or [{"text": str(cures), "node": None}]}


def with_deaths(data: Picture, deaths: Deaths) -> Picture:
    """Return a picture whose nodes are marked where the gradient of an argument dies."""
    if not deaths.matter:
        return data
    deaths = shareable_deaths(deaths)
    rows: list[Paragraph] = [
        {"text": text, "node": None if one is None else one.node} for text, one in deaths.paragraphs
    ]
    marks: dict[int, list[str]] = {}
    for death in deaths.found:
        if not death.harmless:
            marks.setdefault(death.node, []).append(str(death))
    nodes: list[Box] = [{**box, "deaths": marks.get(box["id"], [])} for box in data["nodes"]]
    return {**data, "nodes": nodes, "deaths": rows}


def shareable_deaths(deaths: Deaths) -> Deaths:
    """Return deaths as they are passed on: no line names a folder of this machine."""
    found = [
        dataclasses.replace(one, line=nearby(one.line), within=nearby(one.within))
        for one in deaths.found
    ]
    return dataclasses.replace(deaths, found=tuple(found))


def shareable(found: Nonfinite) -> Nonfinite:
    """Return what was found, as it is passed on: no line names a folder of this machine."""
    births = [
        dataclasses.replace(birth, line=nearby(birth.line), within=nearby(birth.within))
        for birth in found.births
    ]
    data = [dataclasses.replace(datum, line=nearby(datum.line)) for datum in found.data]
    return dataclasses.replace(found, births=tuple(births), data=tuple(data), attempt=None)


def _paragraphs(record: Record, found: Nonfinite) -> list[Paragraph]:
    return [{"text": text, "node": _node(record, one)} for text, one in found.paragraphs]


def _node(record: Record, one: Birth | Datum | None) -> int | None:
    if one is None:
        return None
    return record.node(one.name).index if isinstance(one, Datum) else one.node


def _box(record: Record, node: Entry, group: int | None, scope: str, births: list[Mark]) -> Box:
    operator = node.kind == "operator"
    texts = equation(record, node) if operator else Equation("", ())
    rows = zip(node.values, node.cotangents, node.avals, strict=True)
    outputs: list[Output] = [
        {"value": _cell(node, x, k), "gradient": _cell(node, g, k), "shape": shape(aval)}
        for k, (x, g, aval) in enumerate(rows)
    ]
    return {
        "id": node.index,
        "kind": node.kind,
        "op": node.op,
        "symbol": written(record, node) or node.known.symbol or node.op,
        "label": node.label,
        "shape": outputs[0]["shape"] if outputs else "",
        "value": outputs[0]["value"] if outputs else None,
        "gradient": outputs[0]["gradient"] if outputs else None,
        "outputs": outputs if len(outputs) > 1 else [],
        "sum": _sum(record, node, outputs),
        "result": any(slot.node == node.index for slot in record.outputs),
        "note": node.note,
        "opens": record.keep == "values" and can_enter(node),
        "line": nearby(node.line),
        "within": nearby(node.within) if node.within != node.line else "",
        "outer": nearby(node.outer) if node.outer != node.line else "",
        "quote": printable(quoted(node.outer or node.line)),
        "forward": texts.forward,
        "backward": list(texts.backward),
        "group": group,
        "scope": scope,
        "births": births,
        "deaths": [],
    }


def _wire(record: Record, edge: Edge) -> Wire:
    return {
        "source": edge.source,
        "output": edge.output,
        "target": edge.target,
        "position": edge.position,
        "part": _cell(record.nodes[edge.source], edge.contribution, edge.output),
        "fan": len(record.readers[Slot(edge.source, edge.output)]) > 1,
    }


def _cell(node: Entry, x: Any, output: int) -> Cell | None:
    if x is None:
        return None
    look = node.kind != "operator" or node.known.product or node.known.activation
    return cell(x, node.measure(x, output) if is_number(node.avals[output]) else None, look)


def _sum(record: Record, node: Entry, outputs: list[Output]) -> str:
    """Return the gradient of a scalar that several nodes use, as the sum over those uses."""
    total = outputs[0]["gradient"] if outputs else None
    # Inside a loop a scalar is a row of one number a step.
    if total is None or len(total["facts"]) != 1:
        return ""
    uses = record.readers[Slot(node.index, 0)]
    parts = [_cell(node, record.contribution(use), 0) for use in uses]
    texts = [part["text"][0] for part in parts if part is not None]
    if not 2 <= len(texts) <= 4:
        return ""
    terms = texts[0] + "".join(f" − {t[1:]}" if t[0] == "−" else f" + {t}" for t in texts[1:])
    return f"{terms} = {total['text'][0]}"
