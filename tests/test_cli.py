import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from chainrule import cli, runs


def run_of(root, experiment, **trace):
    with runs.start(experiment, seed=0, arguments={}, root=root) as run:
        run.save_trace({name: runs.Series(values, loss=True) for name, values in trace.items()})
    return run.path


def test_compare_prints_the_gap_and_leaves_the_overlay(tmp_path, capsys):
    a = run_of(tmp_path, "demo", x_loss=[3.0, 2.0, 1.0])
    b = run_of(tmp_path, "demo", x_loss=[3.0, 2.5, np.inf])
    assert cli.main(["compare", str(a), str(b)]) == 0
    printed = capsys.readouterr().out
    assert "step 1" in printed
    (picture,) = b.glob("compare-*.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    (page,) = b.glob("compare-*.html")
    assert printed.endswith(f"overlay: {picture}\npage: {page}\n")
    text = page.read_text()
    assert f'src="{picture.name}"' in text
    for address in (f"../{a.name}/report.html", "report.html"):
        assert f'href="{address}"' in text
        assert (b / address).is_file()
    assert '<td class="number">step 1</td>' in text


def test_runs_lists_what_there_is_and_names_what_is_broken(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with runs.start("demo", seed=7, arguments={}, root=tmp_path) as run:
        run.result("final loss [x]", 0.25, expected=0.2)
    cut = run_of(tmp_path, "cut", x_loss=[1.0])
    (cut / "run.json").write_text('{"experiment":')
    (tmp_path / "demo" / "20261125-000000-s0.partial").mkdir()
    assert cli.main(["runs", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "1 run in" in printed
    assert "final loss [x]: 0.25 (0.2)" in printed
    assert f"left out {cut}: {cut / 'run.json'} is not JSON, line 1" in printed
    assert "s0.partial: it is still running, or it was stopped" in printed
    assert cli.main(["runs", str(tmp_path / "nothing")]) == 2
    assert "name the one where runs are kept" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert cli.main(["runs", str(tmp_path / "empty")]) == 0
    assert "no run in" in capsys.readouterr().out


def test_report_writes_the_page_anew_and_says_what_is_no_run(tmp_path, capsys):
    path = run_of(tmp_path, "demo", x_loss=[1.0])
    (path / "report.html").unlink()
    assert cli.main(["report", str(path)]) == 0
    assert capsys.readouterr().out == f"page: {path / 'report.html'}\n"
    assert (path / "report.html").is_file()
    assert cli.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"chainrule: {tmp_path} is not a finished run: it has no run.json")
    assert error.count("\n") == 1


def test_compare_of_two_experiments_is_one_clear_line_and_exit_code_2(tmp_path, capsys):
    a, b = (run_of(tmp_path, name, x_loss=[1.0]) for name in ("one", "two"))
    assert cli.main(["compare", str(a), str(b)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("chainrule: ")
    assert error.count("\n") == 1
    assert "'one'" in error
    assert "'two'" in error


def test_compare_of_what_is_no_run_names_the_folder(tmp_path, capsys):
    assert cli.main(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert "is not a finished run" in capsys.readouterr().err


def test_compare_without_a_series_of_that_name_says_so(tmp_path, capsys):
    a, b = (run_of(tmp_path, "demo", x_loss=[1.0]) for _ in range(2))
    assert cli.main(["compare", str(a), str(b), "--series", "error"]) == 2
    assert "no series to draw" in capsys.readouterr().err


def test_compare_shows_the_losses_unless_a_name_is_given(tmp_path, capsys):
    with runs.start("demo", seed=0, arguments={}, root=tmp_path) as run:
        run.save_trace({"fit": runs.Series([1.0, 0.5], loss=True), "loss of weight": [2.0, 1.0]})
    command = ["compare", str(run.path), str(run.path)]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "fit" in printed
    assert "weight" not in printed
    assert cli.main([*command, "--series", "weight"]) == 0
    printed = capsys.readouterr().out
    assert "loss of weight" in printed
    assert "fit" not in printed


def test_every_command_names_a_function_that_takes_its_arguments():
    def commands(table):
        for entry in table.values():
            yield from [entry] if isinstance(entry, cli.Command) else commands(entry[1])

    for command in commands(cli.COMMANDS):
        module, _, name = command.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        given = {argument.names[0].lstrip("-").replace("-", "_") for argument in command.arguments}
        assert set(inspect.signature(function).parameters) == given, name


def test_data_show_describes_both_splits(capsys):
    assert cli.main(["data", "show", "--source", "embedded"]) == 0
    printed = capsys.readouterr().out
    assert "6000" in printed
    assert "1000" in printed


@pytest.mark.parametrize(
    "command", [["--help"], ["--version"], ["compare", "--help"], ["runs", "--help"]]
)
def test_help_answers_without_importing_anything_heavy(command):
    code = (
        "import sys\n"
        "from chainrule import cli\n"
        "try:\n"
        f"    cli.main({command})\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        "heavy = {'jax', 'numpy', 'matplotlib', 'tensorflow_datasets', 'jaxtyping'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_importing_the_package_or_its_data_imports_no_jax():
    code = (
        "import sys, chainrule\n"
        "assert not {'jax', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "chainrule.data.mnist('test', source='embedded')\n"
        "assert not {'jax', 'matplotlib', 'tensorflow_datasets'} & set(sys.modules)\n"
        "try:\n"
        "    chainrule.nothing\n"
        "except AttributeError as error:\n"
        "    assert 'nothing' in str(error)\n"
        "else:\n"
        "    raise SystemExit('an unknown submodule must be an AttributeError')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


SOMEBODY_ELSES = """
import jax.numpy as jnp

def loss(kernel, a, b):
    distance = jnp.sqrt(jnp.sum((a @ kernel - b @ kernel) ** 2, axis=1))
    return jnp.mean(jnp.maximum(1 - distance, 0) ** 2)

def example_args():
    a = jnp.arange(6.0).reshape(2, 3)
    return jnp.eye(3), a, a.at[0].add(1)  # the second pair is twice the same
"""


def test_xray_names_the_line_where_a_nan_is_born(tmp_path, capsys):
    file = tmp_path / "pairs.py"
    file.write_text(SOMEBODY_ELSES)
    assert cli.main(["xray", f"{file}:loss", "--root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{file}:5 (loss)\n  Inf born backward in sqrt at [1]\n")
    assert "float32" not in printed, "no table"
    page = pathlib.Path(re.sub(r"\s", "", printed.rpartition("page: ")[2]))
    assert page.parent.parent == tmp_path / "xray"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (page.parent / "graph.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (page.parent / "graph.dot").read_text(encoding="utf-8").startswith('digraph "loss"')
    report = (page.parent / "report.txt").read_text(encoding="utf-8")
    assert report.startswith("pairs.py:5 (loss)\n  Inf born backward in sqrt")
    assert runs.load(page.parent).record["arguments"]["spec"] == f"{file}:loss"
    assert cli.main(["xray", f"{file}:los"]) == 2
    assert capsys.readouterr().err == (
        f"chainrule: {file} defines no function los: did you mean loss?\n"
    )


def test_xray_checks_a_module_and_prints_its_table(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "pairs_to_check.py").write_text(SOMEBODY_ELSES)
    assert cli.main(["xray", "pairs_to_check:loss", "--check"]) == 1
    assert "float32" not in capsys.readouterr().out
    healthy = ["xray", "pairs_to_check:loss", "[3,3]", "[2,3]", "[2,3]", "--check", "--table"]
    assert cli.main(healthy) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("every value and every gradient is finite")
    assert "kernel" in printed
    assert max(map(len, printed.splitlines()[1:])) <= 80


def test_a_reader_that_has_had_enough_is_no_error():
    script = "import sys; from chainrule.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", script, "data", "show", "--source", "embedded"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
