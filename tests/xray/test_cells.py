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
