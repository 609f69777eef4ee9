"""``chainrule audit``: what it prints, and its exit code."""

from chainrule import cli

PROGRAM = """
import jax.numpy as jnp


def loss(a, b):
    return jnp.sum(jnp.sqrt(jnp.sum((a - b) ** 2, axis=1)))  # line 6


def example_args():
    return jnp.ones((2, 3)), jnp.arange(6.0).reshape(2, 3)
"""


def test_a_trap_is_printed_with_its_cure_and_fails_under_check(tmp_path, capsys):
    file = tmp_path / "pairs_to_audit.py"
    file.write_text(PROGRAM)
    assert cli.main(["audit", f"{file}:loss"]) == 0
    said = capsys.readouterr().out
    assert "pairs_to_audit.py:6 (loss)\n  sqrt: Inf in its gradient" in said
    assert "provoked with b[0] = a[0]" in said
    assert "tried: all finite" in said
    assert "can this run in float16? yes" in said
    assert cli.main(["audit", f"{file}:loss", "--check"]) == 1
    assert cli.main(["audit", f"{file}:loss", "--check", "--ignore", "sqrt"]) == 0


def test_a_function_that_is_not_there_is_said_in_one_line(tmp_path, capsys):
    file = tmp_path / "pairs_without.py"
    file.write_text(PROGRAM)
    assert cli.main(["audit", f"{file}:los"]) == 2
    assert "defines no function los: did you mean loss?" in capsys.readouterr().err
