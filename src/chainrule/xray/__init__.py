"""X-ray: any JAX program as values and gradients; where NaNs are born and gradients die."""

import importlib
from typing import TYPE_CHECKING, Any

from chainrule.xray.probing import probe
from chainrule.xray.record import Edge, Entry, Record
from chainrule.xray.report import Report, load, xray

if TYPE_CHECKING:
    from chainrule.xray.auditing.audit import Audit, assert_healthy, audit
    from chainrule.xray.compare.rows import Diff
    from chainrule.xray.compare.run import diff
    from chainrule.xray.recorder import NonFiniteError, Recorder

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

# What is loaded when it is first used: a record needs none of it.
_LATER = {
    "Audit": "auditing.audit",
    "Diff": "compare.rows",
    "NonFiniteError": "recorder",
    "Recorder": "recorder",
    "assert_healthy": "auditing.audit",
    "audit": "auditing.audit",
    "diff": "compare.run",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
