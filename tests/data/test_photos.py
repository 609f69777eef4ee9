"""Photographs from anywhere: what they look like as arrays, and what is refused."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from chainrule.data import photos

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 9, 3), np.uint8)


def png(width, height, pixels=b"", kind=2, depth=8):
    """The bytes of a PNG that announces a size, whatever follows."""

    def chunk(name, content):
        crc = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "mode", ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "I;16", "transparent palette"]
)
def test_every_kind_of_image_becomes_colours(mode, tmp_path):
    path = tmp_path / "a.png"
    grey = COLOURS[:, :, 0]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    if mode == "RGB":
        Image.fromarray(COLOURS).save(path)
        expected = COLOURS
    elif mode == "L":
        Image.fromarray(grey).save(path)
    elif mode == "RGBA":  # over white, written out
        alpha = COLOURS[:, :, 1:2]
        Image.fromarray(np.concatenate([COLOURS, alpha], axis=2)).save(path)
        share = alpha / 255
        expected = COLOURS * share + 255 * (1 - share)
    elif mode == "LA":
        alpha = np.where(grey > 99, 255, 0).astype(np.uint8)
        Image.fromarray(np.stack([grey, alpha], axis=2), "LA").save(path)
        expected = np.repeat(np.where(grey > 99, grey, 255)[:, :, None], 3, axis=2)
    elif mode == "P":
        image = Image.fromarray(COLOURS).quantize(64)
        image.save(path)
        expected = np.asarray(image.convert("RGB"))
    elif mode == "transparent palette":
        image = Image.fromarray((grey > 99).astype(np.uint8), "P")
        image.putpalette([9, 8, 7, 200, 100, 50])
        image.save(path, transparency=0)
        expected = np.where((grey > 99)[:, :, None], [200, 100, 50], 255)
    elif mode == "1":
        Image.fromarray(grey > 99).save(path)
        expected = np.repeat(np.where(grey > 99, 255, 0)[:, :, None], 3, axis=2)
    elif mode == "CMYK":
        ink = np.zeros((8, 8, 4), np.uint8)
        ink[:, :, 1] = 255  # magenta alone
        path.write_bytes(jpeg(Image.fromarray(ink, "CMYK"), quality=100))
        expected = np.broadcast_to([255, 0, 255], (8, 8, 3))
    elif mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 256 + 77).save(path)
    found = photos.read(path)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(float), expected, atol=1.01)


def test_one_channel_is_the_weighted_sum_of_the_colours(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    found = photos.read(tmp_path / "a.png", channels=1)
    assert found.shape == (6, 9, 1)
    np.testing.assert_allclose(found[:, :, 0], COLOURS @ [0.299, 0.587, 0.114], atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_stands_upright_whatever_exif_says(orientation, tmp_path):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = 255  # the upper left quarter is white
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright), 7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(turned[orientation]))
    (tmp_path / "a.jpg").write_bytes(jpeg(image, exif=exif, quality=100, subsampling=0))
    found = photos.read(tmp_path / "a.jpg")
    assert found.shape == (32, 48, 3)
    assert np.abs(found.astype(int) - upright).max() < 12


def test_scaling_and_cropping_are_torchvisions(tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (50, 71, 3), np.uint8))
    image.save(tmp_path / "a.png")
    found = photos.read(tmp_path / "a.png", shorter=32, crop=28)
    # Resize(32), which rounds the longer side down, and CenterCrop(28), on Pillow's image.
    scaled = np.asarray(image.resize((int(32 * 71 / 50), 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found, scaled[2:30, 8:36])


def test_a_folder_gives_its_photographs_in_order(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", "c.jpeg"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    alone = tmp_path / "notes.txt"
    names = [path.name for path in photos.find([alone, tmp_path])]
    assert names == ["notes.txt", "a.png", "b.JPG", "c.jpeg"]
    with pytest.raises(ValueError, match=r"inner holds no file that ends in \.jpg, \.jpeg, \.png"):
        photos.find([tmp_path / "inner"])
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*nothing"):
        photos.find([tmp_path / "nothing"])
    with pytest.raises(ValueError, match="paths are empty: give at least one"):
        photos.find([])


def whole():
    return jpeg(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)))


BAD = {
    "empty": (b"", "is empty: expected a JPEG or a PNG"),
    "text": (b"GIF89a, or so", "is no photograph: it begins with b'GIF89a, ', neither JPEG nor"),
    "pickle": (b"\x80\x04\x95cos\nsystem", "is no photograph: it begins with"),
    "jpeg cut after its mark": (b"\xff\xd8\xff", "is no photograph"),
    "jpeg cut in its header": (whole()[:100], "is no photograph"),
    "jpeg cut in the middle": (whole()[:900], "is damaged, it cannot be decoded: .*truncated"),
    "png cut in its header": (png(4, 4)[:20], "is no photograph"),
    "png with a wrong checksum": (png(4, 4)[:29] + b"xxxx" + png(4, 4)[33:], "is no photograph"),
    "png without its pixels": (png(40, 40, b"\0" * 9), "is damaged, it cannot be decoded"),
    "png of no width": (png(0, 4), "is no photograph|is damaged"),
    "huge by its header": (png(100_000, 100_000), "100,000 x 100,000 pixels by its header"),
    "a little too large": (png(8_001, 8_000), "8,001 x 8,000 .* at most 64,000,000 in all; scale"),
    "huge jpeg": (
        whole().replace(b"\x08\x00\x40\x00\x40\x03", b"\x08\xff\xff\xff\xff\x03"),
        "65,535 x 65,535 pixels by its header",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_whole_photograph_is_refused_by_name(what, tmp_path, monkeypatch):
    content, message = BAD[what]
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    if "huge" in what or "large" in what:  # from its header alone
        monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match=f"bad.jpg (has )?({message})"):
        photos.read(path)


def test_a_line_of_pixels_is_not_scaled_to_a_wall(tmp_path):
    Image.new("L", (20_000, 1)).save(tmp_path / "a.png")
    assert photos.read(tmp_path / "a.png").shape == (1, 20_000, 3)
    with pytest.raises(ValueError, match=r"20,000 x 1 pixels: with a shorter side of 256 it would"):
        photos.read(tmp_path / "a.png", shorter=256)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 4}, "channels must be 1 for grey or 3 for colours, not 4"),
        ({"crop": 7}, r"a\.png has 9 x 6 pixels, less than the crop of 7 x 7"),
        ({"shorter": 0}, "shorter must be an int from 1 to 64000000, not 0"),
        ({"path": "."}, r"\. is a folder: give the name of a photograph"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_that_make_no_sense(settings, message, tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=message):
        photos.read(**{"path": tmp_path / "a.png"} | settings)


def test_a_pipe_and_a_large_file_are_refused_before_they_are_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match=r"pipe\.jpg is no regular file"):
        photos.read(tmp_path / "pipe.jpg")
    with open(tmp_path / "large.jpg", "wb") as file:
        file.truncate(photos.MOST_BYTES + 1)  # a hole: it takes no disk
    with pytest.raises(ValueError, match=r"large\.jpg has 256000001 bytes: expected at most 25600"):
        photos.read(tmp_path / "large.jpg")
