"""What one array looks like in a picture."""

import base64
import io

import jax
import numpy as np
import pytest
from PIL import Image

from chainrule import xray
from chainrule.xray.cells import cell
from chainrule.xray.picture import picture
from chainrule.xray.stats import stats
from chainrule.xray.words import number


def drawn(x):
    x = np.asarray(x)
    return cell(x, stats(x))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.7310586, "0.7311"),
        (-0.0, "0"),
        (1106.4, "1106"),
        (54321.0, "54321"),
        (-2.5e7, "−2.5e+7"),
        (3e-9, "3e−9"),
        (float("nan"), "NaN"),
        (float("-inf"), "−∞"),
        (np.int32(-7), "−7"),
        (np.float16(-20000), "−20000"),
        (np.bool_(False), "False"),
        (1 - 2j, "1 − 2i"),
    ],
)
def test_a_number_is_written_as_one_writes_it(x, text):
    assert number(x) == text


def test_a_small_matrix_is_written_out_row_by_row_in_columns_of_one_width():
    text = drawn([[1.0, -0.25], [10.0, 0.0]])["text"]
    rows = [row.split("\N{EN SPACE}") for row in text]
    assert [[entry.strip("\N{FIGURE SPACE}") for entry in row] for row in rows] == [
        ["1", "−0.25"],
        ["10", "0"],
    ]
    assert {len(entry) for row in rows for entry in row} == {5}


def test_a_larger_matrix_is_a_heat_map_red_above_zero_blue_below_white_at_zero_black_if_bad():
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 0, :, 0] = 2.0, -2.0, 1.0, np.nan
    found = drawn(x)
    image = Image.open(io.BytesIO(base64.b64decode(found["image"].partition(",")[2])))
    pixels = [image.convert("RGB").getpixel((k, 0)) for k in range(4)]
    assert (found["rows"], found["columns"], image.size) == (4, 4, (4, 4))
    assert pixels[0] == (178, 24, 43)
    assert pixels[1] == (33, 102, 172)
    assert pixels[2] == (216, 140, 149)  # half way from white
    assert pixels[3] == (0, 0, 0)
    assert image.convert("RGB").getpixel((0, 3)) == (255, 255, 255)
    assert found["text"] == ["−2 … 2", "1 NaN"]
    assert found["bad"]


def test_a_large_array_is_its_statistics():
    x = np.zeros((100, 100), np.float32)
    x[0] = -3.0
    found = drawn(x)
    assert found["text"] == ["−3 … 0, mean −0.03", "norm 30, 99 % zeros"]
    assert dict(found["facts"])["norm"] == "30"
    assert "image" not in found


def test_what_holds_no_numbers_says_so():
    assert drawn(np.zeros((0, 3)))["text"] == ["empty"]
    report = xray.xray(lambda x, key: x * jax.random.normal(key), 2.0, jax.random.key(0))
    assert picture(report.record)["nodes"][1]["value"]["text"] == ["a key"]
    assert "a key" in report.to_svg()


def looked_at(x):
    x = np.asarray(x, np.float32)
    found = cell(x, stats(x), True)
    if "image" not in found:
        return None, None
    image = Image.open(io.BytesIO(base64.b64decode(found["image"].partition(",")[2])))
    assert image.size == (found["columns"], found["rows"])
    return np.asarray(image.convert("RGB")).astype(int), found


def test_images_are_drawn_in_their_colours_beside_each_other():
    x = np.zeros((2, 6, 8, 3))
    x[0, 0, 0] = 1.0, -1.0, 0.0
    pixels, found = looked_at(x)
    assert pixels.shape == (6, 17, 3)
    assert pixels[0, 0].tolist() == [255, 0, 127]  # from the least to the largest
    assert pixels[5, 16].tolist() == [127, 127, 127]
    assert pixels[0, 8].tolist() == [255, 255, 255]  # between them
    assert found["shows"] == "2 samples, 6 × 8 each: in colour"
    assert "top" not in found
    x[1] = np.nan
    assert looked_at(x)[0][5, 16].tolist() == [0, 0, 0]


def test_maps_and_kernels_are_tiles_and_a_large_one_is_thinned_out():
    maps = np.zeros((3, 10, 10, 20))
    maps[0, 2, 1, 5] = 2.0  # the second row of tiles, the second of it
    pixels, found = looked_at(maps)
    assert found["shows"].startswith("the first 16 of 20 channels of sample 1 of 3, 10 × 10 each:")
    assert found["top"] == "2"
    assert np.argwhere(pixels[..., 1] < 255).tolist() == [[11 + 2, 11 + 1]]
    kernels = np.zeros((5, 5, 6, 4))
    kernels[1, 2, 0, 3] = -1.0
    pixels, found = looked_at(kernels)
    assert found["shows"].startswith("4 kernels of channel 1 of 6, 5 × 5 each:")
    assert np.argwhere(pixels[..., 0] < 255).tolist() == [[6 + 1, 6 + 2]]
    assert looked_at(np.zeros((3, 3, 3, 9)))[1]["shows"] == "9 kernels, 3 × 3 each: in colour"
    thin = looked_at(np.ones((1, 224, 224, 1)))
    assert thin[0].shape == (75, 75, 3)
    assert "every pixel number 3" in thin[1]["shows"]


@pytest.mark.parametrize(
    "shape", [(4, 7, 300, 2), (2, 3, 4, 5), (100, 100), (0, 8, 8, 3), (9,) * 5]
)
def test_what_looks_like_no_image_is_none(shape):
    assert looked_at(np.ones(shape))[1] is None


def test_only_arguments_products_and_activations_are_looked_at():
    def f(kernel, x):
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return (jax.nn.relu(y) * 2.0).sum()

    report = xray.xray(f, np.ones((3, 3, 1, 4), np.float32), np.ones((2, 8, 8, 1), np.float32))
    shown = {n["op"] for n in picture(report.record)["nodes"] if "image" in (n["value"] or {})}
    assert shown == {"input", "conv_general_dilated", "relu"}
