"""X-ray: the values and gradients of any JAX program, and where its NaNs are born."""

from chainrule.xray.nodes import Edge, Node
from chainrule.xray.record import Report, xray

__all__ = ["Edge", "Node", "Report", "xray"]
