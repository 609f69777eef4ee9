"""The equations of a graph, as text."""

from typing import NamedTuple

from chainrule.models.dag._reading import in_order, name_of
from chainrule.models.dag.graph import Graph, Node

__all__ = ["Equations", "equations"]
__dir__ = __all__.copy


class Equations(NamedTuple):
    """The equations of a graph, as text.

    Attributes:
      forward: of every node, in the order of the forward pass.
      backward: of the gradient with respect to every activation, in the order of the backward pass.
      params: of the gradient with respect to every weight.
    """

    forward: dict[str, str]
    backward: dict[str, str]
    params: dict[str, str]


def equations(graph: Graph, output: str) -> Equations:
    r"""Return what `forward` and `backward` compute as text, with the Jacobian of each use.

    ``dq/dx`` is the gradient of the output ``q`` with respect to ``x``, of the shape of ``x``.
    ``J[y|x]`` is the Jacobian of the operator at ``y`` with respect to its input ``x``, the others
    held fixed, a row for each element of ``y``: the notes' :math:`J_{\phi|x}`.

    Args:
      graph: the nodes.
      output: the node whose gradient is wanted.

    Returns:
      Name to equation.

    Raises:
      ValueError: a cycle, or the output is no node.

    Example:
      >>> from chainrule.models.dag import Node, layer
      >>> from chainrule.ops.elementary import multiply, square
      >>> graph = {"s": Node(layer(multiply), ("x",), "w"), "q": Node(layer(square), ("s",))}
      >>> for part in equations(graph, "q"):
      ...     print("\n".join(part.values()))
      s = multiply(x; w)
      q = square(s)
      dq/dq = 1
      dq/ds = J[q|s]^T dq/dq
      dq/dx = J[s|x]^T dq/ds
      dq/dw = J[s|w]^T dq/ds
    """
    order = in_order(graph)
    if not isinstance(output, str) or output not in graph:
        raise ValueError(f"output {output!r} is not among the nodes {list(graph)}")
    terms: dict[str, list[str]] = {output: []}
    weights: dict[str, list[str]] = {}
    for name in reversed(order):
        if name not in terms:
            continue
        node = graph[name]
        for source in dict.fromkeys(node.inputs):
            terms.setdefault(source, []).append(f"J[{name}|{source}]^T d{output}/d{name}")
        if node.params is not None:
            term = f"J[{name}|{node.params}]^T d{output}/d{name}"
            weights.setdefault(node.params, []).append(term)
    inputs = [name for name in terms if name not in graph]
    backwards = [*(name for name in reversed(order) if name in terms), *inputs]
    return Equations(
        forward={name: f"{name} = {_call(graph[name])}" for name in order},
        backward={n: f"d{output}/d{n} = " + (" + ".join(terms[n]) or "1") for n in backwards},
        params={name: f"d{output}/d{name} = " + " + ".join(of) for name, of in weights.items()},
    )


def _call(node: Node) -> str:
    weight = "" if node.params is None else f"; {node.params}"
    return f"{name_of(node.op)}({', '.join(node.inputs)}{weight})"
