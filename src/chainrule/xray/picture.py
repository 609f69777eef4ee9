"""What the pictures show of a report, as plain data that JSON can hold."""

from typing import TYPE_CHECKING, Any

from chainrule.xray.cells import Cell, cell
from chainrule.xray.equations import equation
from chainrule.xray.graph import Slot
from chainrule.xray.groups import Group, tree
from chainrule.xray.inside import can_open
from chainrule.xray.stats import is_number

if TYPE_CHECKING:
    from chainrule.xray.nodes import Edge, Node
    from chainrule.xray.record import Report

_OPEN = 40  # boxes; a larger graph starts with its groups closed


def picture(report: "Report") -> dict[str, Any]:
    """Return the data of a picture.

    Args:
      report: the report.

    Returns:
      ``title``; ``nodes``, each with its label, value, gradient, equations, births and uses;
      ``edges``, each with what that use contributes; ``groups``, outer before inner, with whether
      they start open; ``steps``, the numbers of the operators in the order of the backward pass.

    Example:
      >>> from chainrule.xray import xray
      >>> data = picture(xray(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0))
      >>> for node in data["nodes"]:
      ...     print(node["label"], node["value"]["text"], node["gradient"]["text"])
      x ['−2'] ['−4']
      y ['5'] ['−4']
      z ['−4'] ['3']
      add_3 ['3'] ['−4']
      mul_4 ['−12'] ['1']
    """
    uses: dict[Slot, list[Edge]] = {}
    for edge in report.edges:
        uses.setdefault(Slot(edge.source, edge.output), []).append(edge)
    births: dict[int, list[dict[str, str]]] = {}
    found = report.nonfinite()
    for birth in found.births:
        entry = {"phase": birth.phase, "kind": birth.kind, "text": str(birth)}
        births.setdefault(birth.node, []).append(entry)
    root, alone = tree(report)
    groups, homes = _flat(root)
    nodes = []
    for node in report.nodes:
        place = {"group": homes[node.index], "scope": alone.get(node.index, "")}
        born = births.get(node.index, [])
        nodes.append(_node(report, node, uses) | place | {"births": born})
    edges = [
        {
            "source": edge.source,
            "output": edge.output,
            "target": edge.target,
            "position": edge.position,
            "part": _cell(report.nodes[edge.source], edge.contribution, edge.output),
            "fan": len(uses[Slot(edge.source, edge.output)]) > 1,
        }
        for edge in report.edges
    ]
    backward = [node.index for node in reversed(report.nodes) if nodes[node.index]["backward"]]
    return {
        "title": report.function,
        "compiled": report.compiled,
        "nodes": nodes,
        "edges": edges,
        "groups": groups,
        "steps": backward,
        "nonfinite": str(found) if found else "",
    }


def _node(report: "Report", node: "Node", uses: "dict[Slot, list[Edge]]") -> dict[str, Any]:
    forward: str = ""
    backward: tuple[str, ...] = ()
    if node.kind == "operator":
        forward, backward = equation(report, node, lambda slot: len(uses[slot]))
    outputs = [
        {"value": _cell(node, x, k), "gradient": _cell(node, g, k), "shape": _shape(aval)}
        for k, (x, g, aval) in enumerate(zip(node.values, node.cotangents, node.avals, strict=True))
    ]
    return {
        "id": node.index,
        "kind": node.kind,
        "op": node.op,
        "label": node.label,
        "shape": _shape(node.avals[0]) if node.avals else "",
        "value": outputs[0]["value"] if outputs else None,
        "gradient": outputs[0]["gradient"] if outputs else None,
        "outputs": outputs if len(outputs) > 1 else [],
        "sum": _sum(node, uses.get(Slot(node.index, 0), [])),
        "result": any(slot.node == node.index for slot in report.outputs),
        "note": node.note,
        "opens": report.keep == "values" and can_open(node),
        "line": node.line.rpartition("/")[2],
        "within": node.within.rpartition("/")[2] if node.within != node.line else "",
        "forward": forward,
        "backward": list(backward),
    }


def _cell(node: "Node", x: Any, output: int) -> Cell | None:
    if x is None:
        return None
    return cell(x, node.measure(x, output) if is_number(node.avals[output]) else None)


def _sum(node: "Node", uses: "list[Edge]") -> str:
    """The gradient of a scalar that fans out, as the sum of what its uses contribute."""
    parts = [_cell(node, edge.contribution, 0) for edge in uses]
    texts = [part["text"][0] for part in parts if part is not None]
    total = _cell(node, node.cotangent, 0) if node.avals else None
    # Inside a loop a scalar is a row of one number a step.
    if total is None or len(total["facts"]) != 1 or not 2 <= len(texts) <= 4:
        return ""
    terms = texts[0] + "".join(f" − {t[1:]}" if t[0] == "−" else f" + {t}" for t in texts[1:])
    return f"{terms} = {total['text'][0]}"


def _shape(aval: Any) -> str:
    return " × ".join(str(size) for size in aval.shape)


def _flat(root: Group) -> tuple[list[dict[str, Any]], dict[int, int | None]]:
    """Return the groups as rows, and the row of each node's group, None outside all of them."""
    rows: list[dict[str, Any]] = []
    homes: dict[int, int | None] = {}
    everything = sum(1 for _ in root.nodes()) <= _OPEN

    def visit(group: Group, index: int | None) -> None:
        inner = [child for child in group.children if isinstance(child, Group)]
        for child in group.children:
            if isinstance(child, Group):
                rows.append(
                    {
                        "id": len(rows),
                        "name": child.name,
                        "kind": child.kind,
                        "parent": index,
                        "size": sum(1 for _ in child.nodes()),
                        # Behind a single door there is nothing to choose: it starts open.
                        "open": everything or (index is None and len(inner) == 1),
                    }
                )
                visit(child, len(rows) - 1)
            else:
                homes[child] = index

    visit(root, None)
    return rows, homes
