import importlib
import inspect
import json
import os
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


@pytest.fixture
def terminal(capsys, monkeypatch):
    """A terminal of 60 columns."""
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda stream: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")


def test_runs_lists_what_there_is_and_names_what_is_broken(tmp_path, capsys, terminal):
    with runs.start("demo", seed=7, arguments={}, root=tmp_path) as run:
        run.result("final loss [x]", 0.25, expected=0.2)
    cut = run_of(tmp_path, "cut", x_loss=[1.0])
    (cut / "run.json").write_text('{"experiment":')
    (tmp_path / "demo" / "20261125-000000-s0.partial").mkdir()
    assert cli.main(["runs", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "1 run in" in printed.out
    assert f"\n1  {run.path}\n" in printed.out, "not broken, however long"
    assert "final loss [x]: 0.25, expected 0.2" in printed.out
    assert f"left out {cut}: {cut / 'run.json'} is not JSON, line 1" in printed.err
    assert "s0.partial: it is still running, or it was stopped" in printed.err
    assert cli.main(["runs", str(tmp_path / "nothing")]) == 2
    assert "name the one where runs are kept" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert cli.main(["runs", str(tmp_path / "empty")]) == 0
    assert "no run in" in capsys.readouterr().out


def runs_at(root, *etas):
    paths = []
    for eta in etas:
        arguments = {"eta": eta, "steps": 9, "root": str(eta)}
        with runs.start("demo", seed=7, arguments=arguments, root=root) as run:
            run.save_trace({"x/loss": runs.Series([1.0, eta], loss=True)})
            run.result("one\ttwo", eta)
        paths.append(run.path)
    return paths


def test_runs_shows_the_settings_that_differ(tmp_path, capsys, terminal):
    runs_at(tmp_path, 0.125, 0.5)
    run_of(tmp_path, "other", x_loss=[1.0])
    assert cli.main(["runs", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^   (eta .*)$", printed, re.M) == ["eta 0.125", "eta 0.5"]
    long = [line for line in printed.splitlines() if len(line) > 60]
    assert all(str(tmp_path) in line for line in long)


def test_runs_in_a_pipe_is_a_table_for_programs(tmp_path, capsys):
    paths = runs_at(tmp_path, 0.125, 0.5)
    assert cli.main(["runs", str(tmp_path)]) == 0
    head, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert head == ["number", "path", "experiment", "started", "seed", "seconds", "settings"]
    assert [row[:3] for row in rows] == [[str(n), str(paths[n - 1]), "demo"] for n in (1, 2)]
    assert [row[-1] for row in rows] == ["eta=0.125", "eta=0.5"]
    assert cli.main(["runs", str(tmp_path), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["results"] == {"one\ttwo": 0.125}
    assert second["settings"] == {"eta": 0.5}
    assert second["path"] == str(paths[1])


def test_compare_takes_numbers_or_the_last_two(tmp_path, capsys):
    paths = runs_at(tmp_path, 0.125, 0.25, 0.5)
    root = ["--root", str(tmp_path)]
    for command, a, b in (([], 1, 2), (["1", "3"], 0, 2), (["2", str(paths[0])], 1, 0)):
        assert cli.main(["compare", *command, *root]) == 0
        printed = capsys.readouterr().out
        assert f"overlay: {paths[b] / f'compare-{paths[a].name}.png'}" in printed
    assert cli.main(["compare", "1", "4", *root]) == 2
    assert f"no run 4 in {tmp_path}, which has 3 runs" in capsys.readouterr().err
    assert cli.main(["compare", "1", *root]) == 2
    assert "one run, 1, and no other: name two, or none" in capsys.readouterr().err
    run_of(tmp_path, "lone", x_loss=[1.0])
    assert cli.main(["compare", *root]) == 2
    assert "has 1 run of the last experiment: two are needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["xary"], "no command 'xary': did you mean 'xray'?"),
        (["zzz"], "no command 'zzz': there are compare, runs"),
        (["data", "shwo"], "no verb of data 'shwo': did you mean 'show'?"),
    ],
)
def test_a_mistyped_command_gets_the_nearest_name(typed, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(typed)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["compare", "runs", "report", "xray", "launch"])
def test_help_ends_with_an_example(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    assert f"example: chainrule {name} " in capsys.readouterr().out


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
    assert (
        "no series to draw: those that both runs have are x_loss, and 'error' is in the name"
        in (capsys.readouterr().err)
    )


def test_compare_shows_all_where_nothing_is_known_to_be_a_loss(tmp_path, capsys):
    with runs.start("demo", seed=0, arguments={}, root=tmp_path) as run:
        run.save_trace({"loss": [-1.0, -2.0], "rate": [2.0, 1.0]})
    assert cli.main(["compare", str(run.path), str(run.path)]) == 0
    printed = capsys.readouterr().out
    assert "loss" in printed
    assert "rate" in printed


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


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("chainrule xr", ["xray "]),
        ("chainrule data ", ["fetch", "prepare", "show"]),
        ("chainrule compare --to", ["--tolerance "]),
    ],
)
def test_a_shell_is_told_what_may_follow(typed, offered, tmp_path):
    answer = tmp_path / "answer"
    asked = {
        "_ARGCOMPLETE": "1", "COMP_LINE": typed, "COMP_POINT": str(len(typed)),
        "_ARGCOMPLETE_IFS": "|", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
    }  # fmt: skip
    script = "import sys; sys.argv = ['chainrule']; from chainrule.cli import main; main()"
    subprocess.run([sys.executable, "-c", script], env=os.environ | asked, check=True)
    found = answer.read_text().split("|")
    assert set(offered) <= set(found)
    assert all(name.startswith(typed.rpartition(" ")[2]) for name in found)


def test_where_no_run_can_be_kept_another_root_is_asked_for(tmp_path, capsys):
    (tmp_path / "pairs.py").write_text(SOMEBODY_ELSES)
    (tmp_path / "taken").write_text("a file")
    given = ["xray", f"{tmp_path / 'pairs.py'}:loss", "--root", str(tmp_path / "taken")]
    assert cli.main(given) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"chainrule: no run can be kept in {tmp_path / 'taken'}: Not a dir")
    assert complaint.endswith("give another folder as root, on a command line with --root\n")
    assert complaint.count("\n") == 1
    with pytest.raises(
        OSError, match=r"no run can be kept in .*taken: Not a directory; give another"
    ):
        runs_at(tmp_path / "taken", 0.5)


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
    assert cli.main([*healthy, "--live"]) == 0
    printed = capsys.readouterr().out
    assert 'id="live"' in (tmp_path / printed.split("page: ")[1].strip()).read_text()
    assert printed.startswith("every value and every gradient is finite")
    assert "kernel" in printed
    table = printed.partition("\nloss, compiled")[2]
    assert 40 < max(map(len, table.splitlines())) <= 80


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
