"""The program that the type checkers read runs as well: see `make types` and `make zoo`."""

import importlib.util
import pathlib

import jax
import numpy as np


def test_what_is_given_numpy_returns_arrays_of_jax():
    path = pathlib.Path(__file__).parent / "program.py"
    spec = importlib.util.spec_from_file_location("typed_program", path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    named = ("outputs", "logits", "error", "small", "pooled", "affine", "active", "bits", "edges")
    for name in named:
        for leaf in jax.tree.leaves(getattr(program, name)):
            assert isinstance(leaf, jax.Array), name
    assert isinstance(program.recorded.inputs, jax.Array)
    np.testing.assert_array_equal(program.recorded.inputs, program.inputs)
    sums = np.maximum(program.inputs.sum(1, keepdims=True), 0)
    np.testing.assert_allclose(program.active, np.repeat(sums, 2, 1), rtol=1e-5, atol=1e-6)
