"""How an element and an array are shown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.xray import elements, source


@pytest.mark.parametrize(
    ("x", "shown"),
    [
        (jnp.array([1 / 3, 2.0]), "[0.3333, 2.    ]"),
        (jnp.arange(6), "[0, 1, 2, 3, 4, 5]"),
        (jnp.arange(7), "int32[7] from 0 to 6"),
        (jnp.zeros((2, 4)), "float32[2, 4] from 0 to 0"),
        (jax.random.key(0), "key"),
    ],
)
def test_small_arrays_are_written_out_and_others_by_their_range(x, shown):
    assert elements.text(x, None) == shown


def test_what_a_root_is_taken_of_is_clear_only_where_nothing_else_is_given(tmp_path):
    file = tmp_path / "f.py"
    file.write_text("jnp.linalg.norm(x)\njnp.linalg.norm(x, 1)\njnp.std(x, axis=0)\n")
    taken = [source.operands(f"{file}:{line} (f)", "sqrt") for line in (1, 2, 3)]
    assert taken == [["jnp.sum(jnp.square(x))"], [], ["jnp.var(x, axis=0)"]]


def test_one_element_is_a_number_in_six_digits():
    assert elements.text(jnp.ones(3), np.float32(1 / 3)) == "0.333333"
    assert elements.text(jnp.ones(3), (1, 2)) == "(1, 2)"
