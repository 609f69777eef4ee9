"""Rows about starting: the command, the import."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
from harness import Row, Scale


def start(scale: Scale) -> Iterator[Row]:
    """Starting the command, against starting Python."""

    def run(*command: str) -> int:
        return subprocess.run(
            [sys.executable, *command], capture_output=True, check=True
        ).returncode

    yield Row(
        "start: chainrule --help",
        "python -c pass",
        lambda: run("-m", "chainrule.cli", "--help"),
        lambda: run("-c", "pass"),
        np.testing.assert_equal,
    )
    yield Row(
        "start: import chainrule",
        "python -c pass",
        lambda: run("-c", "import chainrule"),
        lambda: run("-c", "pass"),
        np.testing.assert_equal,
    )


ROWS = (start,)
