"""The pages of runs: what one run did, and two of them side by side."""

from chainrule.runs.pages.run import report, write_report

__all__ = ["report", "write_report"]
