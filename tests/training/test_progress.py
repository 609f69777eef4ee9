import io

import pytest
from rich.console import Console

from chainrule.training import Progress

RECORD = {
    "epoch": 2,
    "step": 20,
    "seconds": 2.04,
    "compile_seconds": 1.26,
    "examples_per_second": 1234.5,
    "loss": 0.123456,
    "test_error": 17,
}
LINE = "epoch 2  loss 0.1235  test_error 17  2.0 s, 1.3 s to compile, 1234 examples/s"


def shown(**settings):
    file = io.StringIO()
    with Progress(Console(file=file, width=80, **settings)) as progress:
        for step in range(1, 21):
            progress.tick(step, 40)
        progress.report(RECORD)
    return file.getvalue()


def test_a_file_gets_one_line_an_epoch_and_nothing_else():
    assert shown() == LINE + "\n"


def test_what_is_no_record_is_refused():
    with pytest.raises(ValueError, match=r"has seconds, compile_seconds, .*: this is {'epoch': 1}"):
        Progress().report({"epoch": 1})


def test_a_terminal_gets_a_bar_with_the_time_left_and_the_same_line():
    written = shown(force_terminal=True)
    assert LINE in written
    assert "20/40" in written
    assert "steps/s" in written
