"""Two executions side by side: where they part, and where the digits die."""

from chainrule.xray.compare.rows import Diff, Row

__all__ = ["Diff", "Row"]
__dir__ = __all__.copy
