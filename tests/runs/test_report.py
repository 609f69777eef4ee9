import html.parser
import json

import numpy as np
import pytest

from chainrule import _html, runs
from chainrule.runs.pages import cells

WORD = '<script>alert("&")</script>'


class Reader(html.parser.HTMLParser):
    """The text of a page, its links and its tags."""

    def __init__(self, page):
        super().__init__()
        self.words, self.links, self.tags = [], [], set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_report_of_a_run_shows_ours_beside_the_notes_and_links_to_every_file(tmp_path):
    with runs.start("demo", seed=3, arguments={"eta": 0.5}, root=tmp_path) as run:
        run.note(data={"source": "embedded", "sha256": {"images": "abc"}}, epochs=[1, 2])
        run.result("final loss", 0.25, expected=0.2)
        run.result("errors", 0, expected=0)
        run.result("floor", 0.5, expected=0)
        run.result("by seed", [3.0, 1.0, 2.0], per="seed")
        run.result("by turn", [2.0, 4.0, 3.0], expected=2, per="turn")
        run.result("seed of numbers", [5.0, 6.0])
        run.result("by depth", [3.0, 1.0], expected=[3.0, 1.0])
        run.result("edge", float("inf"), expected="none")
        run.save_trace({"loss": [1.0, 0.25]})
        for name in ("loss.png", "loss.svg", "graph.svg", "graph.dot", "play it: 1.html"):
            run.save_text(name, "")
    page = Reader((run.path / "report.html").read_text())
    rows = " | ".join(page.words)
    assert "by turn | 3 (2 to 4) | 2, 4, 3 | 2 | +50 %" in rows
    assert "final loss | 0.25 | 0.2 | +25 %" in rows
    assert "errors | 0 | 0 | 0 |" in rows
    assert "floor | 0.5 | 0 | +0.5" in rows
    assert "by seed | 2 (1 to 3) | 3, 1, 2" in rows
    assert "seed of numbers | 5, 6" in rows
    assert "by depth | 3, 1 | 3, 1 |" in rows
    assert "edge | inf | none" in rows
    assert "sha256 | images | abc" in rows
    assert "epochs | 1, 2" in rows
    assert "eta | 0.5" in rows
    assert json.loads((run.path / "run.json").read_text())["command"] in rows
    links = ["play%20it%3A%201.html", "graph.svg", "graph.svg", "loss.svg", "loss.png"]
    assert page.links == [*links, "graph.dot", "run.json", "trace.csv"]


LIMITS = [
    (0.004, "at most 0.005", "met, 20 % below"),
    (0.005, "at most 0.005", "met, to the digit"),
    (0.005, "below 5e-3", "not met, to the digit"),
    ([0.006, 0.004, 0.0055], "at most 0.005", "not met by 2 of 3, 20 % above"),
    ([0.5, 0.95], "at least 0.99", "not met, 49.5 % below"),
    (0.995, "at least 0.99", "met, 0.505 % above"),
    (12.5, "below 5", "not met, 2.5 times the limit"),
    (0.5, "above 0", "met, 0.5 above"),
    (-0.5, "above 0", "not met, 0.5 below"),
    (["inf"], "below 5", None),
    (0.3, "near 0.2", None),
]


def row_of(results, **fields):
    page = runs.report({"experiment": "x", "results": {"a": results}, **fields}, [])
    return Reader(page.partition("<tbody>")[2].partition("</tbody>")[0]).words


@pytest.mark.parametrize(("value", "expected", "said"), LIMITS)
def test_the_report_says_whether_a_limit_was_met_and_by_how_much(value, expected, said):
    # The words of format 1, in which old folders hold their limits.
    assert row_of({"value": value, "expected": expected})[3:] == ([said] if said else [])


@pytest.mark.parametrize(("value", "expected", "said"), LIMITS[:-1])
def test_a_limit_is_data_that_the_report_reads_as_it_reads_the_words_of_old_folders(
    tmp_path, value, expected, said
):
    word, _, bound = expected.rpartition(" ")
    limits = {"at most": runs.AtMost, "at least": runs.AtLeast, "below": runs.Below}
    limit = {**limits, "above": runs.Above}[word](float(bound))
    with runs.start("x", seed=0, arguments={}, root=tmp_path) as run:
        run.result("a", value, limit)
        run.result("b", value, expected)
    results = runs.load(run.path).record["results"]
    assert results["a"]["expected"] == {word: float(bound)}
    assert row_of(results["a"], format=2)[2:] == [
        f"{word} {float(bound):g}",
        *([said] * bool(said)),
    ]
    # Words are words now, though they sound like a limit.
    assert row_of(results["b"], format=2)[2:] == [expected]


def test_a_limit_needs_a_finite_number():
    with pytest.raises(ValueError, match=r"bound must be a finite number, not nan"):
        runs.AtMost(float("nan"))


def test_in_old_folders_the_name_says_what_a_list_is_one_number_of():
    for name, said in (("error by seed", "2 (1 to 3)"), ("time, 3 turns", "2 (1 to 3)")):
        old = {"experiment": "x", "results": {name: {"value": [3, 1, 2], "expected": None}}}
        assert said in Reader(runs.report(old, [])).words
        assert said not in Reader(runs.report({**old, "format": 2}, [])).words


def test_no_text_of_a_run_becomes_a_tag(tmp_path):
    with runs.start("demo", seed=0, arguments={WORD: WORD}, root=tmp_path) as run:
        run.note(data={WORD: WORD}, about=WORD, **{WORD: WORD})
        run.result(WORD, WORD, expected=WORD)
        run.save_trace({f"{WORD}/loss": [1.0]})
    for page in (
        (run.path / "report.html").read_text(),
        runs.page(runs.compare(run.path, run.path), picture='"><script>.png'),
    ):
        assert "script" not in Reader(page).tags
        assert WORD in Reader(page).words


def test_the_report_tells_what_the_experiment_is_about(tmp_path):
    for about in ("Is it a 5?", None):
        with runs.start("demo", seed=0, arguments={}, root=tmp_path, about=about) as run:
            pass
        assert (about is not None) == ("Is it a 5?" in (run.path / "report.html").read_text())


def test_a_record_by_other_hands_is_shown_as_far_as_it_goes():
    page = runs.report({"experiment": "x", "results": {"a": 1, "b": None}}, ["report.html"])
    words = Reader(page).words
    assert "started at an unknown time" in words
    assert words[words.index("a") :][:4] == ["a", "1", "b", "none"]


def test_the_report_of_a_run_without_one_is_made_from_its_record(tmp_path):
    with runs.start("demo", seed=0, arguments={}, root=tmp_path) as run:
        run.save_text("loss.png", "")
    first = (run.path / "report.html").read_text()
    (run.path / "report.html").unlink()
    assert runs.write_report(run.path) == run.path / "report.html"
    assert (run.path / "report.html").read_text() == first


def test_runs_are_found_oldest_first_and_a_run_folder_lists_itself(tmp_path, unchecked):
    paths = []
    for started in ("2026-02-01T00:00:00", "2026-01-01T00:00:00"):
        with runs.start("demo", seed=0, arguments={}, root=tmp_path) as run:
            run.note(started=started)
        paths.append(run.path)
    (tmp_path / "demo" / "binary").mkdir()
    (tmp_path / "demo" / "binary" / "run.json").write_bytes(b"\xff\xfe{}")
    found = runs.find(tmp_path)
    assert [path for path, _ in found.runs] == paths[::-1]
    assert [reason.split(" is ")[1] for _, reason in found.broken] == [
        "not text in UTF-8: invalid start byte"
    ]
    assert [path for path, _ in runs.find(paths[0]).runs] == paths[:1]
    assert [row.path for row in runs.rows(found)] == [str(path) for path in paths[::-1]]
    with pytest.raises(ValueError, match="width must be an int of at least 20, not 3"):
        runs.listed(found, width=3)
    with pytest.raises(ValueError, match="results must be an int of at least 0, not -1"):
        runs.listed(found, results=-1)
    assert all(path.name in runs.listed(found, results=0) for path in paths)
    with pytest.raises(ValueError, match=r"listing must be what runs\.find returns, not an int"):
        runs.tsv(3)


def test_the_runs_as_a_table_for_programs_say_how_long_each_took_if_it_is_known(tmp_path):
    for seconds, seed in ((2.12345678, 0), (None, 1)):
        with runs.start("demo", seed=seed, arguments={"eta": 0.5 + seed}, root=tmp_path) as run:
            run.note(started=f"2026-01-0{seed + 1}T00:00:00")
        record = json.loads((run.path / "run.json").read_text())
        record["wall_seconds"] = seconds
        (run.path / "run.json").write_text(json.dumps(record))
    names, *lines = (line.split("\t") for line in runs.tsv(runs.find(tmp_path)).split("\n"))
    assert names == ["number", "path", "experiment", "started", "seed", "seconds", "settings"]
    first, second = (dict(zip(names, line, strict=True)) for line in lines)
    assert (first["number"], first["seed"], first["seconds"]) == ("1", "0", "2.12346")
    assert (second["number"], second["seed"], second["seconds"]) == ("2", "1", "")
    assert (first["settings"], second["settings"]) == ("eta=0.5", "eta=1.5")


def test_a_cell_of_names_is_a_table_and_what_a_row_lacks_stays_empty():
    found = cells.shown({"first": {"x": 1}, "second": {"x": 2, "y": 3}})
    rows = [[cell.text or "" for cell in row] for row in found.iter("tr")]
    assert rows[1:] == [["first", "1", ""], ["second", "2", "3"]]


def test_a_single_number_has_no_median_and_no_range():
    assert cells.measured({"value": [0.5], "per": "seed"}) == "0.5"
    two = cells.measured({"value": [0.25, 0.5], "per": "seed"})
    assert [*two.itertext()] == ["0.375 (0.25 to 0.5)", "0.25, 0.5"]


def test_the_comparison_page_has_the_results_of_both(tmp_path):
    paths = []
    for eta, value in ((0.125, 1.0), (0.5, np.nan)):
        with runs.start("demo", seed=0, arguments={"eta": eta}, root=tmp_path) as run:
            loss = runs.Series([2.0, value], loss=True, eta=eta, stem="w")
            run.save_trace({f"w/eta={eta}/loss": loss, "x/loss": [1.0, 1.0]})
            run.result("final", value, expected=1.5)
            if eta == 0.5:
                run.result("new", 7)
        paths.append(run.path)
    words = " | ".join(Reader(runs.page(runs.compare(*paths), containing="w,")).words)
    assert "eta | 0.125 | 0.5" in words
    assert "w, eta=0.125|0.5 | step 1 | 1 | nan | nan | B" in words
    assert "x/loss" not in words
    assert "final | 1 | nan | 1.5" in words
    assert "new | - | 7" in words


def test_a_table_refuses_a_row_that_does_not_fit_its_header():
    with pytest.raises(ValueError, match=r"1 cells in a row under 2 names: \['a', 'b'\]"):
        _html.table(("a", "b"), [("only",)])
