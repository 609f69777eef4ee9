"""Where an array comes from: through what only moves its elements, and from its own maximum."""

from chainrule.xray.graph import Graph, Slot, Vertex

__all__ = ["below_maximum", "origin"]
__dir__ = __all__.copy


def origin(graph: Graph, slot: Slot) -> Slot:
    """Return where an array comes from, through what only moves its elements.

    Args:
      graph: the graph.
      slot: the array.
    """
    node = graph.nodes[slot.node]
    through = node.known.copies or node.op in ("stop_gradient", "convert_element_type")
    while node.kind == "operator" and through:
        slot = node.inputs[0]
        node = graph.nodes[slot.node]
        through = node.known.copies or node.op in ("stop_gradient", "convert_element_type")
    return slot


def below_maximum(graph: Graph, node: Vertex) -> bool:
    """Tell whether a difference is that of numbers and their own maximum, as in a softmax.

    Args:
      graph: the graph.
      node: the difference.
    """
    slot = origin(graph, node.inputs[1])
    other = graph.nodes[slot.node]
    while other.op in ("max", "select_n", "stop_gradient", "is_finite") or other.known.copies:
        if not other.inputs:
            return False
        ways = [origin(graph, s) for s in other.inputs]
        ways = [s for s in ways if graph.nodes[s.node].kind == "operator"]
        ways = [s for s in ways if graph.nodes[s.node].op != "is_finite"]
        if not ways:
            return False
        other = graph.nodes[ways[-1].node]
    return other.op == "reduce_max" and origin(graph, other.inputs[0]) == origin(
        graph, node.inputs[0]
    )
