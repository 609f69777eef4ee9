"""X-ray: any JAX program as values and gradients; where NaNs are born and gradients die."""

from chainrule.xray.probing import probe
from chainrule.xray.record import Edge, Entry, Record
from chainrule.xray.report import Report, load, xray

Node = Entry  # the former name

__all__ = ["Edge", "Entry", "Node", "Record", "Report", "load", "probe", "xray"]
__dir__ = __all__.copy
