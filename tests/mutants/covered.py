"""A plugin for pytest: which lines of the package each test runs, and how long it takes.

By `sys.monitoring`, with each line reported once a test, so that it costs next to nothing.
"""

import collections
import json
import os
import pathlib
import sys
import time

import pytest

_TOOL = sys.monitoring.COVERAGE_ID
_SRC = str(pathlib.Path(__file__).resolve().parents[2] / "src") + os.sep


class Plugin:
    """Writes ``{"tests": {id: seconds}, "lines": {file: {line: [id, ...]}}}`` at the end."""

    def __init__(self, target: pathlib.Path):
        self.target = target
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, dict[int, set[str]]] = collections.defaultdict(
            lambda: collections.defaultdict(set)
        )
        self.test = ""
        self.failed: set[str] = set()
        sys.monitoring.use_tool_id(_TOOL, "mutants")
        sys.monitoring.register_callback(_TOOL, sys.monitoring.events.LINE, self.on_line)
        sys.monitoring.set_events(_TOOL, sys.monitoring.events.LINE)

    def on_line(self, code, line):
        if code.co_filename.startswith(_SRC):
            self.lines[code.co_filename[len(_SRC) :]][line].add(self.test)
        return sys.monitoring.DISABLE

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.test, clock = item.nodeid, time.perf_counter()
        sys.monitoring.restart_events()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - clock
            self.test = ""

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self):
        sys.monitoring.free_tool_id(_TOOL)
        # What fails without a planted error sees none.
        for test in self.failed:
            self.seconds.pop(test, None)
        lines = {
            file: {line: sorted(tests & self.seconds.keys()) for line, tests in rows.items()}
            for file, rows in self.lines.items()
        }
        name = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        (self.target / f"{name}.json").write_text(
            json.dumps({"tests": self.seconds, "lines": lines})
        )


def pytest_configure(config):
    """Watch every process that runs tests."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.register(Plugin(pathlib.Path(os.environ["CHAINRULE_COVERED"])))
