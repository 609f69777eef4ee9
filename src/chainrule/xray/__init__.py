"""X-ray: any JAX program as values and gradients, in tables and pictures; where NaNs are born."""

from chainrule.xray.nodes import Edge, Node
from chainrule.xray.probing import probe
from chainrule.xray.record import Report, xray

__all__ = ["Edge", "Node", "Report", "probe", "xray"]
