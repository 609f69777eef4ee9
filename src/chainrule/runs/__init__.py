"""The files of a run folder: write one, read it back, compare two.

A run is a folder ``<root>/<experiment>/<YYYYmmdd-HHMMSS>-s<seed>/`` that holds

* ``run.json``: what ran (arguments, seed, versions, commit, device, data), how long, and its final
  numbers, each beside the one it is expected to be near;
* ``trace.csv``: one row a step, one column a series, the first column is the step;
* ``metrics.jsonl``: where something was trained, one record an epoch, written as it goes; the same
  as ``metrics.csv`` in the end;
* the figures, each as ``.png`` and ``.svg``, and pages (``.html``) that open without a network;
* ``report.html``: all of this to be read, with what is expected beside what was measured.

It is written under a temporary name and renamed when it is whole, so that a folder without the
``.partial`` ending is a finished run. Nothing is ever overwritten. No server is needed to read one.
"""

from chainrule.runs.comparing import Comparison, Gap, compare, page, text
from chainrule.runs.listing import Listing, find, table
from chainrule.runs.metrics import Metrics
from chainrule.runs.metrics import read as read_metrics
from chainrule.runs.pages.run import report, write_report
from chainrule.runs.pages.wording import counted
from chainrule.runs.read import Loaded, load
from chainrule.runs.write import Run, check_counts, dumps, start

__all__ = [
    "Comparison",
    "Gap",
    "Listing",
    "Loaded",
    "Metrics",
    "Run",
    "check_counts",
    "compare",
    "counted",
    "dumps",
    "find",
    "load",
    "page",
    "read_metrics",
    "report",
    "start",
    "table",
    "text",
    "write_report",
]
