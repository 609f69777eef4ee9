"""The files of a run folder: write one, read it back, compare two.

A run is a folder ``<root>/<experiment>/<YYYYmmdd-HHMMSS>-s<seed>/`` that holds

* ``run.json``: what ran (arguments, seed, versions, commit, device, data), how long, and its final
  numbers, each beside the one it is expected to be near;
* ``trace.csv``: one row a step, one column a series, the first column is the step;
* ``metrics.jsonl``: of a training, one record an epoch, written as it goes; ``metrics.csv`` holds
  the same in the end;
* the figures, each as ``.png`` and ``.svg``, and pages (``.html``) that open without a network;
* ``report.html``: all of this to be read, with what was expected beside what was measured.

It is written under a temporary name and renamed when it is whole, so that a folder without the
``.partial`` ending is a finished run. Nothing is ever overwritten. No server is needed to read one.
"""

from chainrule._files import dumps
from chainrule.runs.comparing import Comparison, Gap, compare, text
from chainrule.runs.limits import Above, AtLeast, AtMost, Below
from chainrule.runs.listing import Listing, Row, find, listed, rows, tsv
from chainrule.runs.metrics import Metrics
from chainrule.runs.metrics import read as read_metrics
from chainrule.runs.pages.comparison import page
from chainrule.runs.pages.run import report, write_report
from chainrule.runs.read import Loaded, load
from chainrule.runs.trace import Series
from chainrule.runs.wording import counted
from chainrule.runs.write import Run, start

__all__ = [
    "Above",
    "AtLeast",
    "AtMost",
    "Below",
    "Comparison",
    "Gap",
    "Listing",
    "Loaded",
    "Metrics",
    "Row",
    "Run",
    "Series",
    "compare",
    "counted",
    "dumps",
    "find",
    "listed",
    "load",
    "page",
    "read_metrics",
    "report",
    "rows",
    "start",
    "text",
    "tsv",
    "write_report",
]
__dir__ = __all__.copy
