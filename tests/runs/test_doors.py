"""What comes from outside: names, links, pipes, sizes, folders that go away while they are used."""

import json
import os
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from chainrule import cli, runs

WORD = "a\x1b[31m\x9b2J\x07\r\u202eb"  # ESC, CSI, BEL, CR and a right-to-left override
BYTES = os.fsdecode(b"caf\xe9")  # what Python makes of a name that is not UTF-8


def run_of(root, *, name="x", **settings):
    with runs.start("demo", seed=0, arguments=settings, root=root) as run:
        run.save_trace({name: runs.Series([1.0, 0.5], loss=True)})
        run.append({"step": 1, "loss": 0.5})
    return run.path


# --- text for the terminal -----------------------------------------------------------------------


def test_no_name_of_a_run_moves_the_cursor_of_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    a, b = (run_of(tmp_path / WORD, name=f"{WORD}/loss", **{WORD: i}) for i in (1, 2))
    with runs.start("demo", seed=0, arguments={}, root=tmp_path / WORD) as run:
        run.result(WORD, WORD, expected=WORD)
        run.note(started=WORD, seed=WORD, wall_seconds=WORD)
    (tmp_path / WORD / "broken").mkdir()
    (tmp_path / WORD / "broken" / "run.json").write_text("{")
    assert cli.main(["runs", str(tmp_path)]) == 0
    print(runs.listed(runs.find(tmp_path)))
    assert cli.main(["compare", str(a), str(b)]) == 0
    assert cli.main(["compare", str(a), str(b), "--series", WORD * 2]) == 2
    assert cli.main(["report", str(a)]) == 0
    assert cli.main(["report", str(tmp_path / WORD)]) == 2
    printed = capsys.readouterr()
    assert r"a\x1b[31m\x9b2J\x07\r\u202eb" in printed.out
    for text in (printed.out, printed.err):
        assert [
            line for line in text.split("\n") if not line.replace("\t", " ").isprintable()
        ] == []


# --- names ---------------------------------------------------------------------------------------


NAMES = ["../evil", "a/b", "/tmp/evil", ".", "..", "", WORD, BYTES, 3, None]


def open_run(root, experiment="demo", seed=0, during=lambda run: None):
    with runs.start(experiment, seed=seed, arguments={}, root=root) as run:
        during(run)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_and_its_files_stay_below_the_root(tmp_path, name, unchecked):
    root = tmp_path / "runs"
    with pytest.raises(ValueError, match=r"^experiment must be "):
        open_run(root, name)
    assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"^filename must be "):
        open_run(root, during=lambda run: run.save_text(name, ""))
    with pytest.raises(ValueError, match=r"^the name of a figure must be "):
        open_run(root, during=lambda run: run.save_figure(name, Figure()))


@pytest.mark.parametrize("seed", ["1", 1.5, None, True])
def test_a_seed_is_an_int(tmp_path, seed, unchecked):
    with pytest.raises(ValueError, match=r"^seed must be an int, not "):
        open_run(tmp_path, seed=seed)


def test_names_that_are_no_utf_8_lose_no_run_and_come_back(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo.py", BYTES])
    root = tmp_path / BYTES
    with runs.start("demo", seed=0, arguments={"file": BYTES}, root=root, about=BYTES) as run:
        run.save_trace({BYTES: [1.0]})
        run.append({"step": 1, BYTES: BYTES})
        run.result(BYTES, BYTES, expected=BYTES)
        run.save_text("page.txt", BYTES)
        run.note(**{BYTES: {BYTES: [BYTES]}})
    loaded = runs.load(run.path)
    assert loaded.record["arguments"] == {"file": BYTES}
    assert loaded.record["results"] == {BYTES: {"value": BYTES, "expected": BYTES}}
    assert loaded.record["command"].endswith(f"demo.py '{BYTES}'")
    assert loaded.metrics == ({"step": 1, BYTES: BYTES},)
    assert cli.main(["runs", str(root)]) == 0
    assert r"caf\udce9" in capsys.readouterr().out
    assert r"caf\udce9" in (run.path / "report.html").read_text()


# --- a folder that goes away while a run is written ----------------------------------------------


def renamed(path):
    path.rename(path.with_name("elsewhere"))


def removed(path):
    path.rmdir()


def replaced(path):
    path.rmdir()
    path.mkdir()


@pytest.mark.parametrize("happens", [renamed, removed, replaced])
@pytest.mark.parametrize(
    "write",
    [
        lambda run: run.append({"step": 1}),
        lambda run: run.save_text("a.txt", "a"),
        lambda run: run.save_trace({"loss": [1.0]}),
        lambda run: run.save_figure("a", Figure()),
        lambda run: None,  # the end of the run
    ],
)
def test_a_run_folder_that_went_away_is_said_and_not_made_again(tmp_path, happens, write):
    def during(run):
        happens(run.path)
        write(run)

    with pytest.raises(FileNotFoundError, match=r"was renamed, removed or replaced while it was"):
        open_run(tmp_path, during=during)
    left = [path.name for path in (tmp_path / "demo").iterdir()]
    assert left == (["elsewhere"] if happens is renamed else [])


# --- links and pipes -----------------------------------------------------------------------------


def test_no_link_in_a_run_folder_is_followed_to_be_written(tmp_path):
    target = tmp_path / "precious"
    target.write_text("precious")
    names = ("loss.png", "loss.svg", "page.html", "trace.csv", "metrics.csv", "run.json")
    with runs.start("demo", seed=0, arguments={}, root=tmp_path) as run:
        for name in (*names, "report.html", "metrics.jsonl.partial"):
            (run.path / name).symlink_to(target)
        run.save_figure("loss", Figure())
        run.save_text("page.html", "")
        run.save_trace({"loss": [1.0]})
        for step in (2, 1):
            run.append({"step": step})
    assert target.read_text() == "precious"
    assert not any((run.path / name).is_symlink() for name in names)
    with runs.start("demo", seed=0, arguments={}, root=tmp_path) as run:
        (run.path / "metrics.jsonl").symlink_to(target)
        with pytest.raises(OSError, match=r"metrics\.jsonl"):
            run.append({"step": 1})
        (run.path / "metrics.jsonl").unlink()
    assert target.read_text() == "precious"


FILES = ("run.json", "trace.csv", "metrics.jsonl")


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path, name):
    path = run_of(tmp_path)
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(ValueError, match=rf"{name} is no regular file"):
        runs.load(path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_50_gb_is_refused_before_it_is_read(tmp_path, name):
    path = run_of(tmp_path)
    with open(path / name, "ab") as file:
        file.truncate(50 * 10**9)  # sparse
    with pytest.raises(ValueError, match=rf"{name} has 50000000000 bytes: expected at most"):
        runs.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, r"run\.json is not JSON: lists or objects nested too deeply"),
        ('{"experiment": NaN}', r"run\.json is not JSON: a bare NaN"),
        ('{"experiment": ["x"]}', r"run\.json names no experiment"),
        ('{"experiment": "x", "arguments": [1]}', r"arguments must be names and values, not \[1\]"),
        ('{"experiment": "x", "results": 3}', r"results must be names and values, not 3"),
        ('{"experiment": "x", "series": "loss"}', r"series must be names and values, not 'loss'"),
    ],
)
def test_a_run_json_of_another_form_is_refused(tmp_path, text, message):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        runs.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"step,loss,loss\n0,1,2\n", r"trace\.csv line 1: two columns have one name: loss"),
        (b"step,\xff\n", r"trace\.csv is not text in UTF-8"),
        (b"step," + b"x" * 200_000, r"trace\.csv is no table of comma-separated values: field"),
    ],
)
def test_a_trace_of_another_form_is_refused(tmp_path, content, message):
    path = run_of(tmp_path)
    (path / "trace.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        runs.load(path)


def test_notes_of_another_form_are_no_notes(tmp_path):
    path = run_of(tmp_path)
    record = json.loads((path / "run.json").read_text())
    record["series"] = {"x": {"eta": "fast", "stem": 3, "more": 1}}
    (path / "run.json").write_text(json.dumps(record))
    assert runs.load(path).record["series"]["x"]["stem"] == 3
    assert runs.load(path).series["x"][1:] == (False, None, None)


# --- listing while runs are written --------------------------------------------------------------


def test_a_run_that_ends_while_runs_are_listed_is_found_under_its_new_name(tmp_path, monkeypatch):
    first, second = (run_of(tmp_path / name) for name in ("a", "b"))
    partial = second.with_name(f"{second.name}.partial")
    second.rename(partial)
    read = runs.listing.read_record

    def end(path):
        if path == first and partial.exists():
            partial.rename(second)  # it has been seen, and not yet read
        return read(path)

    monkeypatch.setattr("chainrule.runs.listing.read_record", end)
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *args, **kwargs: iter(sorted(walk(*args, **kwargs))))
    found = runs.find(tmp_path)
    assert {path for path, _ in found.runs} == {first, second}
    assert found.broken == ()


def test_a_folder_that_goes_away_while_runs_are_listed_is_no_error(tmp_path, monkeypatch):
    path = run_of(tmp_path / "a")
    scandir, left = os.scandir, [2]

    def vanishing(place):
        if left[0] and str(place) == str(path):
            left[0] -= 1
            raise FileNotFoundError(2, "gone", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert [found for found, _ in runs.find(tmp_path).runs] == [path]


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [-1.0, np.nan, np.inf])
def test_a_tolerance_is_a_number_that_is_not_negative(tmp_path, tolerance):
    path = run_of(tmp_path)
    with pytest.raises(ValueError, match=r"^tolerance must be a finite number of at least 0, not "):
        runs.compare(path, path, tolerance=tolerance)


def test_a_negative_number_of_results_is_refused(tmp_path, capsys):
    run_of(tmp_path)
    assert cli.main(["runs", str(tmp_path), "--results", "-1"]) == 2
    assert "results must be an int of at least 0, not -1" in capsys.readouterr().err


@pytest.mark.parametrize("values", [["a", "b"], [1j, 2j], [None]])
def test_a_series_holds_real_numbers(tmp_path, values):
    with pytest.raises(ValueError, match=r"a series holds real numbers, but the dtypes are"):
        open_run(tmp_path, during=lambda run: run.save_trace({"x": values}))


@pytest.mark.parametrize("per", ["", 3])
def test_what_there_is_one_number_of_is_a_word(tmp_path, per, unchecked):
    with pytest.raises(ValueError, match=r"per must say what there is one number of"):
        open_run(tmp_path, during=lambda run: run.result("x", [1.0, 2.0], per=per))
