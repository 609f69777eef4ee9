"""Write torch_cases.npz: what PyTorch makes of convolutions and pools, values and gradients.

    python tests/ops/make_torch_cases.py        (needs torch; written with 2.14.1)

``cases`` is JSON, for each case its operator with the settings in our words and the shapes of its
arrays, which follow one another in ``values``. They are channels last and, but for the means, exact
in float32: fractions with small denominators. The inputs of the pools are small integers, full of
ties.
"""

import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, as PyTorch calls it

HERE = pathlib.Path(__file__).parent
CONVS = (None, F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (None, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
UNPOOLS = (None, F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)
MAX_POOLS = (None, F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVG_POOLS = (None, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)


def last(array):
    """[N, C, *space] to [N, *space, C]."""
    return np.moveaxis(array.detach().numpy(), 1, -1)


def kernel_last(kernel):
    """[D, C, *window] to [*window, C, D]."""
    return np.moveaxis(kernel.detach().numpy(), (0, 1), (-1, -2))


def leaf(rng, *shape):
    # Quarters: exact in float32, so that they take little room.
    return torch.tensor(rng.integers(-8, 9, shape) / 4, requires_grad=True)


def pick(rng, low, high, axes):
    return tuple(int(n) for n in rng.integers(low, high + 1, axes))


def convolved(rng, settings, inputs, kernel, bias, outputs):
    """Go backward from a gradient that is drawn, and return all arrays of a convolution."""
    g = leaf(rng, *outputs.shape)
    outputs.backward(g)
    return {
        "settings": settings,
        "inputs": last(inputs),
        "kernel": kernel_last(kernel),
        "bias": bias.detach().numpy(),
        "outputs": last(outputs),
        "g": last(g),
        "by_inputs": last(inputs.grad),
        "by_kernel": kernel_last(kernel.grad),
        "by_bias": bias.grad.numpy(),
    }


def conv_case(rng, axes):
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    size, dilation = pick(rng, 1, 3, axes), pick(rng, 1, 2, axes)
    settings = {
        "stride": pick(rng, 1, 3, axes),
        "padding": pick(rng, 0, 2, axes),
        "dilation": dilation,
        "groups": groups,
    }
    spans = [1 + (k - 1) * d for k, d in zip(size, dilation, strict=True)]
    space = [span + int(rng.integers(0, 4)) for span in spans]
    channels, features = groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
    inputs = leaf(rng, 2, channels, *space)
    kernel = leaf(rng, features, channels // groups, *size)
    bias = leaf(rng, features)
    outputs = CONVS[axes](inputs, kernel, bias, **settings)
    settings = {"operator": "conv", **settings}
    return convolved(rng, settings, inputs, kernel, bias, outputs)


def conv_transpose_case(rng, axes):
    groups = int(rng.choice([1, 1, 2]))
    stride, dilation = pick(rng, 1, 3, axes), pick(rng, 1, 2, axes)
    settings = {
        "stride": stride,
        "padding": pick(rng, 0, 1, axes),
        "dilation": dilation,
        "groups": groups,
        "output_padding": tuple(
            int(rng.integers(0, max(pair))) for pair in zip(stride, dilation, strict=True)
        ),
    }
    features, channels = groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
    inputs = leaf(rng, 2, features, *pick(rng, 2, 3, axes))
    kernel = leaf(rng, features, channels // groups, *pick(rng, 2, 3, axes))
    bias = leaf(rng, channels)
    outputs = TRANSPOSED[axes](inputs, kernel, bias, **settings)
    settings = {"operator": "conv_transpose", **settings}
    return convolved(rng, settings, inputs, kernel, bias, outputs)


def max_unpool_case(rng, axes):
    # Windows that do not overlap: where they do, PyTorch's gradient is that of no function.
    size = pick(rng, 1, 3, axes)
    space = [k * int(rng.integers(1, 4)) for k in size]
    pooled = torch.tensor(rng.integers(0, 4, (2, 2, *space)).astype(np.float64))
    _, indices = MAX_POOLS[axes](pooled, size, return_indices=True)
    values = leaf(rng, *indices.shape)
    outputs = UNPOOLS[axes](values, indices, size)
    g = leaf(rng, *outputs.shape)
    outputs.backward(g)
    return {
        "settings": {"operator": "max_unpool", "size": tuple(space)},
        "inputs": last(values),
        "places": last(indices),
        "outputs": last(outputs),
        "g": last(g),
        "by_inputs": last(values.grad),
    }


def pool_settings(rng, axes):
    size = pick(rng, 1, 3, axes)
    return {
        "window": size,
        "stride": pick(rng, 1, 3, axes),
        "padding": tuple(int(rng.integers(0, k // 2 + 1)) for k in size),
        "ceil_mode": bool(rng.integers(2)),
    }


def pool_inputs(rng, settings, axes):
    space = [k * 2 + int(rng.integers(0, 4)) for k in settings["window"]]
    values = rng.integers(0, 4, (2, 2, *space)).astype(np.float64)
    return torch.tensor(values, requires_grad=True)


def max_pool_case(rng, axes):
    settings = pool_settings(rng, axes)
    settings["dilation"] = pick(rng, 1, 2, axes)
    inputs = pool_inputs(rng, settings, axes)
    ours = {name: value for name, value in settings.items() if name != "window"}
    outputs, indices = MAX_POOLS[axes](inputs, settings["window"], return_indices=True, **ours)
    g = leaf(rng, *outputs.shape)
    outputs.backward(g)
    return {
        "settings": {"operator": "max_pool", **settings},
        "inputs": last(inputs),
        "outputs": last(outputs),
        "indices": last(indices),
        "g": last(g),
        "by_inputs": last(inputs.grad),
    }


def avg_pool_case(rng, axes):
    settings = pool_settings(rng, axes) | {"count_include_pad": bool(rng.integers(2))}
    inputs = pool_inputs(rng, settings, axes)
    ours = {name: value for name, value in settings.items() if name != "window"}
    outputs = AVG_POOLS[axes](inputs, settings["window"], **ours)
    g = leaf(rng, *outputs.shape)
    outputs.backward(g)
    return {
        "settings": {"operator": "avg_pool", **settings},
        "inputs": last(inputs),
        "outputs": last(outputs),
        "g": last(g),
        "by_inputs": last(inputs.grad),
    }


def main():
    rng = np.random.default_rng(0)
    makers = [conv_case] * 48 + [max_pool_case] * 42 + [avg_pool_case] * 42
    makers += [conv_transpose_case] * 30 + [max_unpool_case] * 12
    cases, values = [], []
    for number, maker in enumerate(makers):
        case = maker(rng, axes=(1, 2, 2, 2, 2, 3)[number % 6])
        settings = case.pop("settings")
        cases.append({"settings": settings, "shapes": {k: v.shape for k, v in case.items()}})
        values.extend(array.ravel() for array in case.values())
    np.savez_compressed(
        HERE / "torch_cases.npz",
        cases=json.dumps(cases),
        values=np.concatenate(values).astype(np.float32),
    )


if __name__ == "__main__":
    main()
