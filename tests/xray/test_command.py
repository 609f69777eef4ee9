"""``chainrule xray``: what it prints, what it keeps, what it refuses."""

import re

import pytest

from chainrule.xray import command


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "somebody.py"
    path.write_text(
        "import jax.numpy as jnp\n"
        "def distance(a, b):\n"
        "    return jnp.sqrt(jnp.sum((a - b) ** 2))\n"
        "def double(a):\n"
        "    return 2 * a\n"
        "def example_args():\n"
        "    return jnp.ones(3), jnp.ones(3)\n"
    )
    return path


def test_the_first_line_printed_is_that_of_the_birth(file, capsys):
    command.run(f"{file}:distance")
    printed = capsys.readouterr().out
    assert printed.startswith(f"{file}:3 (distance)\n  Inf born backward in sqrt\n")
    assert "float32" not in printed  # no table
    assert "cures()" not in printed  # they are tried at once
    assert re.search(r"\n\nwrite instead:\n\nsomebody\.py:3: .*\n  tried: all finite", printed)


def test_the_table_comes_after_the_births_when_it_is_asked_for(file, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    command.run(f"{file}:distance", table=True)
    births, _, table = capsys.readouterr().out.partition("\ndistance, compiled")
    assert "Inf born backward in sqrt" in births
    assert "redu…m_4" in table
    assert max(map(len, table.splitlines())) == 60


def test_where_gradients_die_comes_after_the_births(tmp_path, capsys):
    path = tmp_path / "steps.py"
    path.write_text(
        "import jax.numpy as jnp\n"
        "def loss(w, v):\n"
        "    return jnp.sum(jnp.sqrt(v) + jnp.round(w))\n"
        "def example_args():\n    return jnp.ones(3), jnp.zeros(3)\n"
    )
    report = command.run(f"{path}:loss")
    births, _, deaths = capsys.readouterr().out.partition("\n\nwrite instead:")
    assert "Inf born backward in sqrt" in births
    assert "dies" not in births
    assert f"\n\n{path}:3 (loss)\n  the gradient dies in round (3 elements)\n" in deaths
    assert deaths.endswith("\n\nexactly 0 is the gradient of w\n")
    kept = command.files(report)
    assert "\n\nsteps.py:3 (loss)\n  the gradient dies in round" in kept["report.txt"]
    assert str(tmp_path) not in kept["xray.html"]


def test_something_bad_fails_where_it_reaches_the_end_or_is_lost_on_the_way(tmp_path, capsys):
    path = tmp_path / "three.py"
    path.write_text(
        "import jax\nimport jax.numpy as jnp\n"
        "def reaches(x):\n    return 1 / x\n"
        "def lost(x):\n    return 1 / jnp.log(1 / jax.lax.stop_gradient(x)) + x\n"
        "def masked(x):\n    return jax.lax.stop_gradient(jnp.where(x > 0, 1 / x, 2.0)) + x\n"
        "def example_args():\n    return (jnp.zeros(()),)\n"
    )
    reports = {name: command.run(f"{path}:{name}") for name in ("reaches", "lost", "masked")}
    assert all(report.nonfinite().births for report in reports.values())
    failed = {name: command.failed(report) for name, report in reports.items()}
    assert failed == {"reaches": True, "lost": True, "masked": False}


def test_of_statistics_nothing_can_be_tried(file, capsys):
    command.run(f"{file}:distance", keep="stats")
    printed = capsys.readouterr().out
    assert "born backward" in printed
    assert "tried" not in printed.replace("untried", "")


def test_where_no_cure_holds_it_says_what_was_tried(tmp_path, capsys):
    path = tmp_path / "hopeless.py"
    path.write_text(
        "import jax.numpy as jnp\ndef f(a):\n"
        "    sign, log = jnp.linalg.slogdet(a)\n    return sign * jnp.exp(log)\n"
        "def example_args():\n    return (jnp.array([[1.0, 2.0], [2.0, 4.0]]),)\n"
    )
    command.run(f"{path}:f")
    printed = capsys.readouterr().out
    assert "write instead:" not in printed
    assert "no cure holds" in printed


def test_what_cannot_be_traced_is_said_as_the_recording_says_it(tmp_path):
    path = tmp_path / "branches.py"
    path.write_text("def f(x):\n    return x if x > 0 else -x\n")
    with pytest.raises(ValueError, match=r"f cannot be traced.*jax\.lax\.cond"):
        command.run(f"{path}:f", ["[]"])


def test_what_is_kept_names_no_folder_of_this_machine(file):
    kept = command.files(command.run(f"{file}:distance"))
    assert sorted(kept) == ["graph.dot", "graph.svg", "report.txt", "xray.html"]
    assert kept["report.txt"].startswith("somebody.py:3 (distance)\n")
    assert "distance, compiled" in kept["report.txt"]
    assert "write instead:" in kept["report.txt"]
    assert "tried: all finite" in kept["xray.html"]
    assert not any(str(file.parent) in text for text in kept.values())


def test_it_takes_shapes(file, capsys):
    report = command.run(f"{file}:double", ["float32[2,3]"])
    assert report.output.shape == (2, 3)
    assert report.grads[0].tolist() == [[2.0] * 3] * 2
    printed = capsys.readouterr().out
    assert printed.startswith("every value and every gradient is finite")
    assert printed.count("\n") == 1, "nothing needs a cure"


@pytest.mark.parametrize(
    ("spec", "shapes", "error", "match"),
    [
        ("distance", [], ValueError, "write FILE.py:FUNCTION"),
        ("nowhere.py:f", [], FileNotFoundError, "no file nowhere.py"),
        ("{}:nothing", [], ValueError, "defines no function nothing"),
        ("{}:double", ["3x3"], ValueError, "is no shape"),
        ("{}:double", ["float31[3]"], ValueError, "no known dtype"),
        ("{}:double", ["float[3]"], ValueError, "make float32 of float64: write float32, or set"),
        (
            "{}:double",
            ["float32[99999999999999]", "[2]"],
            ValueError,
            r"float32\[99999999999999\] \[2\] take 372,529\.0 GiB, more than [\d.]+, a quarter",
        ),
        ("{}:distance", ["[3]"], ValueError, r"with \[3\]: missing .*'b'; .*of distance\(a, b\)"),
    ],
)
def test_it_says_what_is_wrong(file, spec, shapes, error, match):
    with pytest.raises(error, match=match):
        command.run(spec.format(file), shapes)


def test_it_asks_for_example_args(tmp_path):
    path = tmp_path / "bare.py"
    path.write_text("def f(x):\n    return x\n")
    with pytest.raises(ValueError, match=r"define example_args\(\)"):
        command.run(f"{path}:f")
    path.write_text("def f(x):\n    return x\ndef example_args():\n    return 1.0\n")
    with pytest.raises(ValueError, match="returns a float, not a tuple"):
        command.run(f"{path}:f")
