"""The picture as DOT text, for Graphviz and everything else that reads it."""

from collections.abc import Iterator
from html import escape

from chainrule.xray.cells import Cell
from chainrule.xray.frames import Frame
from chainrule.xray.picture import Box, Picture, Wire

__all__ = ["dot"]
__dir__ = __all__.copy

_COLORS = {
    "parameter": ("#009E73", "#e3f4ee"),
    "input": ("#56B4E9", "#e7f3fb"),
    "constant": ("#bbbbbb", "#f2f2f2"),
    "operator": ("#8c8c8c", "#ffffff"),
}
_VALUE, _GRADIENT, _BAD, _QUIET = "#0072B2", "#D55E00", "#B00020", "#666666"


def dot(data: Picture) -> str:
    """Return a picture as DOT: value above and gradient below in every node, groups as clusters.

    Args:
      data: from `picture.picture`.

    Returns:
      The text of one ``digraph``.

    Example:
      >>> from chainrule import xray
      >>> text = xray.xray(lambda x: x * x, 3.0).to_dot()
      >>> print(text.splitlines()[-2])
        n0 -> n1 [label="3", fontcolor="#D55E00"];
    """
    nodes: dict[int | None, list[Box]] = {}
    for node in data["nodes"]:
        nodes.setdefault(node["group"], []).append(node)
    inner: dict[int | None, list[Frame]] = {}
    for group in data["groups"]:
        inner.setdefault(group["parent"], []).append(group)

    def level(group: int | None, indent: str) -> Iterator[str]:
        for row in inner.get(group, ()):
            yield f"{indent}subgraph cluster_{row['id']} {{"
            yield f"{indent}  label={_quote(row['name'])};"
            yield from level(row["id"], indent + "  ")
            yield f"{indent}}}"
        for node in nodes.get(group, ()):
            yield indent + _node(node)

    edges = (_edge(edge) for edge in data["edges"] if edge["target"] is not None)
    return "\n".join(
        [
            f"digraph {_quote(data['title'])} {{",
            '  graph [rankdir=TB, fontname="Helvetica", fontsize=11, color="#E69F00"];',
            '  node [shape=box, style="rounded,filled", fontname="Helvetica", fontsize=11];',
            '  edge [fontname="Helvetica", fontsize=10, color="#777777"];',
            *level(None, "  "),
            *edges,
            "}",
            "",
        ]
    )


def _node(node: Box) -> str:
    color, fill = _COLORS[node["kind"]]
    rows = _cell(node["value"], _VALUE)
    rows.append(f"<b>{escape(node['label'])}</b>")
    if about := " · ".join(filter(None, (node["scope"], node["shape"]))):
        rows.append(_font(about, _QUIET))
    if node["sum"]:
        rows.append(_font(node["sum"], _GRADIENT))
    else:
        rows += _cell(node["gradient"], _GRADIENT)
    births = sorted({f"{b['kind']} born {b['phase']}" for b in node["births"]})
    rows += [f"<b>{_font(text, _BAD)}</b>" for text in births]
    color, width = (_BAD, 2.5) if births else ("#000000", 2) if node["result"] else (color, 1)
    label = "<br/>".join(rows)
    return (
        f'n{node["id"]} [label=<{label}>, color="{color}", fillcolor="{fill}", penwidth={width}];'
    )


def _cell(cell: Cell | None, color: str) -> list[str]:
    if cell is None:
        return []
    return [_font(text, _BAD if cell["bad"] else color) for text in cell["text"]]


def _edge(edge: Wire) -> str:
    ends = f"  n{edge['source']} -> n{edge['target']}"
    if not edge["fan"] or edge["part"] is None:
        return f"{ends};"
    label = "\\n".join(_plain(text) for text in edge["part"]["text"])
    return f'{ends} [label="{label}", fontcolor="{_GRADIENT}"];'


def _font(text: str, color: str) -> str:
    return f'<font color="{color}">{escape(text)}</font>'


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _quote(text: str) -> str:
    return f'"{_plain(text)}"'
