"""X-ray: the values and gradients of any JAX program, as data and as pictures; where NaNs are born."""

from chainrule.xray.nodes import Edge, Node
from chainrule.xray.record import Report, xray

__all__ = ["Edge", "Node", "Report", "xray"]
