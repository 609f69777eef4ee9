"""The settings of the experiments: what cannot be is refused before anything is computed."""

import dataclasses
import importlib
import os
import pathlib
import sys
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
import settings

from experiments import descent, perceptron, vgg_digits, xor

SCRIPTS = pathlib.Path(descent.__file__).parent
FREE = {"seed", "starts"}  # any number will do


def unlimited(hint):
    """Whether a type has a number without a limit."""
    if get_origin(hint) is Annotated:
        return False
    return hint in (int, float) or any(unlimited(part) for part in get_args(hint))


def configs():
    for path in sorted(SCRIPTS.glob("*.py")):
        module = importlib.import_module(f"experiments.{path.stem}")
        config = getattr(module, "Config", None)
        if config is not None and issubclass(config, settings.Settings):
            yield config


def test_every_number_of_every_experiment_has_a_limit():
    found = {
        f"{config.__module__}: {field.name}"
        for config in configs()
        for field in dataclasses.fields(config)
        if field.name not in FREE
        and unlimited(get_type_hints(config, include_extras=True)[field.name])
    }
    assert found == set()
    assert len(list(configs())) >= 16


@pytest.mark.parametrize(
    ("config", "changed", "message"),
    [
        (descent.Config, {"etas": (0.1, -1.0)}, r"^etas must be above 0, not -1\.0$"),
        (descent.Config, {"etas": (float("nan"),)}, r"^etas must be above 0, not nan$"),
        (descent.Config, {"reference": float("inf")}, r"^reference must be at least 0, not inf$"),
        (descent.Config, {"seeds": 0, "steps": -1}, r"seeds must be at least 1, not 0; steps must"),
        (perceptron.Config, {"negative": 10}, r"^negative must be at most 9, not 10$"),
        (vgg_digits.Config, {"blocks": ((16,), (0,))}, r"^blocks must be at least 1, not 0$"),
        (vgg_digits.Config, {"smoothing": 1.0}, r"^smoothing must be below 1, not 1\.0$"),
        (vgg_digits.Config, {"samples": 0}, r"^samples must be at least 1, not 0$"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_limit(config, changed, message):
    with pytest.raises(ValueError, match=message):
        config(**changed)


@pytest.fixture
def run(monkeypatch):
    def run_it(*arguments):
        monkeypatch.setattr(sys, "argv", ["xor.py", "--steps", "2", *arguments])
        return settings.command(xor.main, xor.Config, xor.__doc__)

    return run_it


@pytest.mark.parametrize("setting", [("--eta", "-1"), ("--steps", "0"), ("--eta", "nan")])
def test_a_script_ends_with_the_name_of_a_setting_that_cannot_be(run, capsys, setting):
    with pytest.raises(SystemExit) as stop:
        run(*setting)
    assert stop.value.code == 2
    assert f"{setting[0][2:]} must be" in capsys.readouterr().err


def test_a_script_says_at_once_what_it_is_about(run, capsys, tmp_path):
    run("--root", str(tmp_path))
    printed = capsys.readouterr().out
    assert printed.startswith(xor.__doc__.split("\n")[0].rstrip(".") + " ...\n")


def test_a_script_says_in_one_line_that_a_folder_cannot_be_written(run, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stop:
        run("--root", str(tmp_path / "file"))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("xor.py: ")
    assert str(tmp_path / "file") in error
    assert error.count("\n") == 1


def test_a_script_names_a_run_folder_that_is_no_utf_8(run, capsys, tmp_path):
    config, folder = run("--root", os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    assert folder.is_dir()
    assert config.steps == 2
    assert capsys.readouterr().out.endswith(
        f"report: {tmp_path}/caf\\udce9/xor/{folder.name}/report.html\n"
    )
