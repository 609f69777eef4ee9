"""The report as a file and on the screen."""

import sys
import types

import jax.numpy as jnp
import pytest

from chainrule import xray
from chainrule.xray.nonfinite import find
from chainrule.xray.record import Record


@pytest.fixture(scope="module")
def report():
    return xray.xray(lambda x, y: x * y + x, 2.0, -3.0, compiled=False)


def test_births_are_looked_for_once(monkeypatch):
    looked = []
    monkeypatch.setattr(
        xray.report.nonfinite, "find", lambda record: looked.append(1) or find(record)
    )
    monkeypatch.setattr("chainrule.xray.picture.find", None)
    found = xray.xray(lambda x: 1 / x, 0.0, compiled=False)
    assert found.nonfinite() is found.nonfinite()
    assert "Inf born forward" in found.to_svg()
    assert "Inf born forward" in found.to_html()
    assert looked == [1]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_table_is_as_wide_as_the_terminal_at_most_and_breaks_no_name(monkeypatch, width):
    def f(parameters, x):
        long = jnp.concatenate([parameters["a layer"]["kernel"], x, x]).astype(jnp.float16)
        return jnp.sum(long.astype(jnp.float32) ** 2 * jnp.float32(-1.5e-8))

    parameters = {"a layer": {"kernel": jnp.array([[-1.25e-5, jnp.nan], [2.5e10, 1.0]])}}
    found = xray.xray(f, parameters, jnp.ones((1, 2)), compiled=False)
    monkeypatch.setenv("COLUMNS", str(width))
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= width
    starts = [line.split("  ")[0] for line in lines if line[:1].strip()]
    for node in found.nodes:
        column = [start for start in starts if fits(start, node.label)]
        assert column, node.label
        assert (node.label in column) == (node.label in starts)
    assert ("…" in str(found)) == (width < 200)
    for number in ("-1.25e-05,", "2.50e+10,", "-1.1921e-07"):
        assert any(number in line for line in lines), "numbers are whole"


def fits(short, name):
    head, cut, tail = short.partition("…")
    return name == short or (cut and name.startswith(head) and name.endswith(tail))


def test_piped_it_has_120_columns(report, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "__stdout__", None)
    assert max(map(len, str(report).splitlines())) <= 120
    monkeypatch.setenv("COLUMNS", "10")
    assert len(str(report).splitlines()[1]) > 40, "narrower than 60 columns is no table"


def test_the_shared_arguments_are_one_line_each():
    def f(w, x, ids):
        return jnp.sum(x @ w) + jnp.sum(jnp.tanh(w)) + x[ids[0]] + x[ids[1]]  # ids have none

    found = xray.xray(f, jnp.ones((2, 1)), jnp.ones(2), jnp.array([0, 1]), compiled=False)
    assert isinstance(found.shared(), tuple)
    assert str(found.shared()).splitlines() == [
        "w: 2 uses, gradient [[1.42], [1.42]]",
        "x: 3 uses, gradient [2., 2.]",
    ]
    alone = xray.xray(jnp.sin, 1.0, compiled=False)
    assert str(alone.shared()) == "no argument is used more than once"


@pytest.mark.parametrize(
    ("ending", "text"), [(".html", "to_html"), (".svg", "to_svg"), (".dot", "to_dot")]
)
def test_the_ending_says_what_is_saved(report, tmp_path, ending, text):
    path = report.save(str(tmp_path / f"picture{ending}"))
    assert path.read_text(encoding="utf-8") == getattr(report, text)()
    assert [file.name for file in tmp_path.iterdir()] == [f"picture{ending}"]


@pytest.mark.parametrize("name", ["picture.png", "picture", "picture.HTML"])
def test_an_unknown_ending_is_refused_with_those_that_are_known(report, tmp_path, name):
    ending = name.removeprefix("picture")
    with pytest.raises(
        ValueError, match=rf"{name} ends in '{ending}': .* \.html, \.svg, \.dot, \.xray$"
    ):
        report.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_error(report, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        report.save(tmp_path / "nowhere" / "picture.svg")


@pytest.mark.parametrize("found", [True, False])
def test_the_page_opens_in_the_browser(report, monkeypatch, capsys, found):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or found)
    path = report.show()
    assert opened == [path.as_uri()]
    assert path.read_text(encoding="utf-8") == report.to_html()
    assert (str(path) in capsys.readouterr().out) != found


def test_in_a_notebook_the_page_stands_below_the_cell(report, monkeypatch):
    shown = []
    notebook = types.SimpleNamespace(
        get_ipython=lambda: types.SimpleNamespace(kernel=object()),
        display=types.SimpleNamespace(display=lambda x, raw=False: shown.append(x)),
    )
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setattr("webbrowser.open", None)
    assert report.show() is None
    assert report.show(live=True) is None
    assert shown[0] is report
    assert "the living x-ray of" in shown[1]["text/html"]


def test_in_ipythons_terminal_there_is_no_cell_to_stand_below(report, monkeypatch):
    terminal = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    monkeypatch.setattr("webbrowser.open", lambda address: True)
    assert report.show().name == "report.html"


def test_the_record_is_data_that_the_report_stands_on(report):
    assert isinstance(report.record, Record)
    assert not isinstance(report.record, xray.Report)
    assert report.nodes is report.record.nodes
    assert report.grads is report.record.grads
    assert report.edges is report.record.edges


def test_every_reader_of_a_slot_is_listed_once(report):
    pairs = sorted(
        (slot, use.node is None, use.node, use.position)
        for slot, uses in report.record.readers.items()
        for use in uses
    )
    assert pairs == sorted(
        ((edge.source, edge.output), edge.target is None, edge.target, edge.position)
        for edge in report.edges
    )


def test_the_package_shows_its_own_names_only():
    assert dir(xray) == sorted(xray.__all__)
    assert xray.Node is xray.Entry
