import csv
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from chainrule import runs

RECORDS = [
    {"epoch": 1, "step": 5, "loss": 0.25, "note": "first"},
    {"epoch": 2, "step": 10, "loss": math.nan, "rate": np.float32(0.1)},
    {"epoch": 3, "step": 15, "loss": -math.inf},
]


def stopped(root, records, **settings):
    """A run that was killed after these records."""

    def write():
        with runs.start("demo", seed=1, arguments={}, root=root, **settings) as run:
            for record in records:
                run.append(record)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    (folder,) = (root / "demo").iterdir()
    return folder


def test_records_are_in_the_file_as_soon_as_they_are_appended(tmp_path):
    with runs.start("demo", seed=1, arguments={}, root=tmp_path) as run:
        for count, record in enumerate(RECORDS, start=1):
            run.append(record)
            assert len(runs.read_metrics(run.path / "metrics.jsonl").records) == count


def test_records_come_back_with_their_nans_from_strict_json(tmp_path):
    with runs.start("demo", seed=1, arguments={}, root=tmp_path) as run:
        for record in RECORDS:
            run.append(record)
    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda token: pytest.fail(token))
    first, second, third = runs.load(run.path).metrics
    assert first == RECORDS[0]
    assert math.isnan(second["loss"])
    assert np.float32(second["rate"]) == np.float32(0.1)
    assert third["loss"] == -math.inf


def test_the_csv_holds_the_same_records(tmp_path):
    with runs.start("demo", seed=1, arguments={}, root=tmp_path) as run:
        for record in RECORDS:
            run.append(record)
    with open(run.path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "step", "loss", "note", "rate"]
    assert [row["loss"] for row in rows] == ["0.25", "nan", "-inf"]
    assert [row["note"] for row in rows] == ["first", "", ""]


@pytest.mark.parametrize("length", range(1, 15))
def test_half_a_last_line_is_dropped_wherever_it_was_cut(tmp_path, length):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n' + '{"step": "é"}\n'[:length])
    records, problems = runs.read_metrics(file)
    # Without its end of line a record is whole already.
    assert records == ({"step": 1}, *([{"step": "é"}] if length >= 13 else []))
    assert problems == ()


@pytest.mark.parametrize("foreign", [b"hello", b"[1]", b'{"loss": NaN}', b"\xff\xfe", b"", b"3"])
def test_a_foreign_line_is_reported_with_its_number_and_the_others_are_read(tmp_path, foreign):
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n' + foreign + b'\n{"step": 2}\n')
    records, problems = runs.read_metrics(file)
    assert [record["step"] for record in records] == [1, 2]
    (problem,) = problems
    assert "metrics.jsonl line 2: " in problem
    (tmp_path / "run.json").write_text('{"experiment": "demo"}')
    with pytest.raises(ValueError, match=r"metrics\.jsonl line 2"):
        runs.load(tmp_path)


def test_a_stopped_run_is_gone_on_with_and_its_later_records_are_replaced(tmp_path):
    folder = stopped(tmp_path, RECORDS)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 4, "st')
    with runs.start("demo", seed=1, arguments={}, root=tmp_path, resume=folder) as run:
        assert run.path == folder
        run.append({"epoch": 2, "step": 10, "loss": 0.125})
        run.append({"epoch": 3, "step": 15, "loss": 0.0625})
    assert run.path.name == folder.name.removesuffix(".partial")
    loaded = runs.load(run.path)
    assert [record["loss"] for record in loaded.metrics] == [0.25, 0.125, 0.0625]
    assert loaded.record["resumed"] is True


def test_records_of_another_seed_stay(tmp_path):
    with runs.start("demo", seed=1, arguments={}, root=tmp_path) as run:
        for seed in (0, 1):
            for step in (5, 10):
                run.append({"seed": seed, "step": step})
        run.append({"seed": 1, "step": 10, "again": True})
    assert runs.load(run.path).metrics == (
        {"seed": 0, "step": 5},
        {"seed": 0, "step": 10},
        {"seed": 1, "step": 5},
        {"seed": 1, "step": 10, "again": True},
    )


def test_what_is_no_stopped_run_of_the_experiment_is_not_gone_on_with(tmp_path):
    folder = stopped(tmp_path, RECORDS)

    def go_on(experiment, resume):
        with runs.start(experiment, seed=1, arguments={}, root=tmp_path, resume=resume):
            pass

    for experiment, resume in (("other", folder), ("demo", tmp_path), ("demo", tmp_path / "no")):
        with pytest.raises(ValueError, match=rf"is no stopped run of '{experiment}'"):
            go_on(experiment, resume)


def test_two_processes_do_not_write_one_folder(tmp_path):
    folder = stopped(tmp_path, RECORDS)
    script = f"""
from chainrule import runs
with runs.start("demo", seed=1, arguments={{}}, root={str(tmp_path)!r}, resume={str(folder)!r}):
    print("open", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "open\n"
        with (
            pytest.raises(ValueError, match=r"is being written by another process"),
            runs.start("demo", seed=1, arguments={}, root=tmp_path, resume=folder),
        ):
            pass
        other.communicate("\n")
    assert other.returncode == 0
    (finished,) = (tmp_path / "demo").iterdir()
    assert len(runs.load(finished).metrics) == 3
