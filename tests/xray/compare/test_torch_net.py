"""The notes' Net as PyTorch has it, and a port of it with one mistake in one layer.

Tensors, images and logits are PyTorch's own, see tests/models/make_torch_lenet.py. What is between
them is computed here by NumPy, channels first, in float64.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray

STORED = pathlib.Path(__file__).parents[2] / "models" / "torch_lenet.npz"


def windows(x, size, stride):
    """Return all windows of [N, C, H, W] as [N, C, h, w, size, size]."""
    every = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    return every[:, :, ::stride, ::stride]


@functools.cache
def torch_net():
    """Return the tensors, the images, and the activations by the names of the layers."""
    with np.load(STORED) as file:
        t = {k: file[k] / 64 for k in file if k.endswith((".weight", ".bias"))}
        images, logits = file["images"] / 4, file["logits"]
    x, found = images, {}
    for name, size in (("1", 3), ("2", 2)):
        kernel, bias = t[f"conv{name}.weight"], t[f"conv{name}.bias"]
        x = np.einsum("nchwij,dcij->ndhw", windows(x, 5, 1), kernel, optimize=True)
        found[f"conv{name}"] = x = x + bias[:, None, None]
        found[f"pool{name}"] = x = windows(x, size, size).max((4, 5))
        found[f"relu{name}"] = x = np.maximum(x, 0)
    found["flat"] = x = x.reshape(len(x), -1)
    found["fc1"] = x = x @ t["fc1.weight"].T + t["fc1.bias"]
    found["relu3"] = x = np.maximum(x, 0)
    found["fc2"] = x = x @ t["fc2.weight"].T + t["fc2.bias"]
    np.testing.assert_allclose(x, logits, rtol=1e-5)  # PyTorch's
    arrays = {name: array.astype(np.float32) for name, array in found.items()}
    return {k: v.astype(np.float32) for k, v in t.items()}, images.astype(np.float32), arrays


def conv(x, weight, bias):
    numbers = ("NHWC", "OIHW", "NHWC")
    x = jax.lax.conv_general_dilated(x, weight, (1, 1), "VALID", dimension_numbers=numbers)
    return x + bias[None, None, None]


def pool(x, size, start=-jnp.inf, take=jax.lax.max):
    window = (1, size, size, 1)
    return jax.lax.reduce_window(x, start, take, window, window, "VALID")


def port(t, x, wrong=""):
    """Return the logits of images [N, H, W, C]; ``wrong`` names the layer with a mistake."""
    for k, size in (("1", 3), ("2", 2)):
        weight, bias = t[f"conv{k}.weight"], t[f"conv{k}.bias"]
        if wrong == f"conv{k}":
            weight = weight.swapaxes(2, 3)
        x = conv(x, weight, bias)
        x = pool(x, size, 0.0, jax.lax.add) / size**2 if wrong == f"pool{k}" else pool(x, size)
        x = jax.nn.leaky_relu(x) if wrong == f"relu{k}" else jax.nn.relu(x)
    x = x if wrong == "flat" else x.transpose(0, 3, 1, 2)
    x = x.reshape(len(x), -1) @ t["fc1.weight"].T
    x = x - t["fc1.bias"][None] if wrong == "fc1" else x + t["fc1.bias"][None]
    x = jax.nn.gelu(x) if wrong == "relu3" else jax.nn.relu(x)
    return x @ t["fc2.weight"].T * (1.0 - (wrong == "fc2")) + t["fc2.bias"][None]


def test_the_port_without_a_mistake_does_not_part():
    t, images, arrays = torch_net()
    assert xray.diff(arrays, port, t, images.transpose(0, 2, 3, 1)).first is None


LAYERS = ("conv1", "pool1", "relu1", "conv2", "pool2", "relu2", "flat", "fc1", "relu3", "fc2")
AT_ONCE = ("pool1", "conv2", "flat")  # the others take as long, and are bars


@pytest.mark.parametrize(
    "layer", [pytest.param(x, marks=() if x in AT_ONCE else pytest.mark.bars) for x in LAYERS]
)
def test_the_layer_with_the_mistake_is_named(layer):
    t, images, arrays = torch_net()
    wrong = functools.partial(port, wrong=layer)
    found = xray.diff(arrays, wrong, t, images.transpose(0, 2, 3, 1))
    assert found.first.other == ("fc1" if layer == "flat" else layer)  # who reads it in that order
