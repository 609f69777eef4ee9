"""What makes a picture a living page: its numbers are left to the page, which computes them."""

from typing import Any

from chainrule.xray.live.recorded import Living, living
from chainrule.xray.picture import Box, Picture
from chainrule.xray.record import Record

__all__ = ["GATES", "alive"]
__dir__ = __all__.copy

GATES = {
    "add": "distributes",
    "sub": "distributes",
    "mul": "switches",
    "max": "routes",
    "min": "routes",
    "reduce_max": "routes",
    "reduce_min": "routes",
    "reduce_window_max": "routes",
    "select_n": "routes",
    "clamp": "a gate",
    "relu": "a gate",
    "tanh": "closes at both ends",
    "logistic": "closes at both ends",
    "reduce_sum": "repeats",
    "broadcast_in_dim": "adds up",
}
"""What an operator does with the gradient that comes back, in a word."""


def alive(data: Picture, record: Record) -> tuple[dict[str, Any], Living]:
    """Return a picture without its numbers, and the program that computes them.

    What was found out about the recorded numbers, where a NaN was born say, is left out: it is not
    true of others.

    Args:
      data: from `chainrule.xray.picture.picture`.
      record: the record that it is of.

    Returns:
      The picture, whose nodes say what they do with a gradient, and the program.

    Raises:
      CannotLiveError: the record cannot live in a page; see `chainrule.xray.live.recorded.living`.
    """
    program = living(record)
    found: dict[str, Any] = {"nonfinite": [], "cures": [], "deaths": [], "layers": []}
    edges = [wire if wire["target"] is None else {**wire, "part": None} for wire in data["edges"]]
    nodes = [_numberless(box) for box in data["nodes"]]
    return {**data, **found, "nodes": nodes, "edges": edges}, program


def _numberless(box: Box) -> dict[str, Any]:
    outputs = [{"shape": output["shape"]} for output in box["outputs"]]
    gone: dict[str, Any] = {"value": None, "gradient": None, "sum": "", "births": [], "deaths": []}
    gate = GATES.get(box["op"], "") if box["kind"] == "operator" else ""
    return {**box, **gone, "outputs": outputs, "gate": gate}
