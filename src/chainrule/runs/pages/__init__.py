"""The pages of runs: what one run did, and two runs side by side."""

from chainrule.runs.pages.comparison import page
from chainrule.runs.pages.run import report, write_report

__all__ = ["page", "report", "write_report"]
__dir__ = __all__.copy
