"""Convolutions and pools against what PyTorch made of them: see make_torch_cases.py."""

import functools
import json
import math
import pathlib

import jax
import numpy as np
import pytest

from chainrule.ops import backward_of, convolution, pooling


def load():
    with np.load(pathlib.Path(__file__).parent / "torch_cases.npz") as stored:
        cases, values = json.loads(str(stored["cases"])), stored["values"]
    start = 0
    for case in cases:
        arrays = {}
        for name, shape in case["shapes"].items():
            end = start + math.prod(shape)
            arrays[name] = values[start:end].reshape(shape)
            start = end
        settings = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in case["settings"].items()
        }
        yield settings, arrays
    assert start == values.size


CASES = list(load())


def names(settings, arrays):
    return f"{settings['operator']}-{'x'.join(map(str, arrays['inputs'].shape))}"


def test_there_are_more_than_a_hundred_and_every_setting_occurs():
    assert len(CASES) >= 100
    for name, values in {
        "operator": {"conv", "max_pool", "avg_pool", "conv_transpose", "max_unpool"},
        "groups": {1, 2, 3},
        "ceil_mode": {True, False},
        "count_include_pad": {True, False},
    }.items():
        assert {settings[name] for settings, _ in CASES if name in settings} == values


def shows(settings, arrays):
    """What a case is alone with: for its operator and axes, each setting's kind and largest."""
    found = set()
    for name, value in settings.items():
        numbers = sorted(map(str, np.ravel(value)))
        mixed = len(set(numbers)) > 1
        found.add((settings["operator"], arrays["inputs"].ndim, name, mixed, numbers[-1]))
    return found


def cases():
    """Of those that show nothing new each waits for the long tests."""
    shown = set()
    for case in CASES:
        marks = [pytest.mark.soak] if shows(*case) <= shown else []
        shown |= shows(*case)
        yield pytest.param(*case, id=names(*case), marks=marks)


@pytest.mark.parametrize(("settings", "arrays"), list(cases()))
def test_values_and_gradients_are_those_of_pytorch(settings, arrays):
    settings = dict(settings)
    name = settings.pop("operator")
    room = convolution if name.startswith("conv") else pooling
    if "places" in arrays:
        settings["indices"] = arrays["places"].astype(np.int32)
    operator = functools.partial(getattr(room, name), **settings)
    given = [arrays[part] for part in ("inputs", "kernel", "bias") if part in arrays]

    @jax.jit
    def everything(g, *given):
        outputs, pullback = jax.vjp(operator, *given)
        by_hand = backward_of(operator)(g, *given)
        by_hand = jax.tree.leaves(by_hand)
        indices = None
        if name == "max_pool":
            indices = pooling.max_pool_with_indices(*given, **settings)[1]
        return outputs, pullback(g), by_hand, indices

    outputs, by_jax, by_hand, indices = everything(arrays["g"], *given)
    expected = [arrays[part] for part in ("by_inputs", "by_kernel", "by_bias") if part in arrays]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
    close(outputs, arrays["outputs"])
    for gradients in (by_jax, by_hand):
        for got, want in zip(gradients, expected, strict=True):
            close(got, want)
    if indices is not None:
        np.testing.assert_array_equal(indices, arrays["indices"])
