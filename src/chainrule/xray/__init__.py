"""X-ray: any JAX program as values and gradients; where NaNs are born and gradients die."""

from chainrule.xray.auditing.audit import Audit, assert_healthy, audit
from chainrule.xray.compare.rows import Diff
from chainrule.xray.compare.run import diff
from chainrule.xray.probing import probe
from chainrule.xray.record import Edge, Entry, Record
from chainrule.xray.recorder import NonFiniteError, Recorder
from chainrule.xray.report import Report, load, xray

Node = Entry  # the former name

__all__ = [
    "Audit",
    "Diff",
    "Edge",
    "Entry",
    "Node",
    "NonFiniteError",
    "Record",
    "Recorder",
    "Report",
    "assert_healthy",
    "audit",
    "diff",
    "load",
    "probe",
    "xray",
]
__dir__ = __all__.copy
