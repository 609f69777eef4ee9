"""Photographs in JPEG and PNG files, as arrays: turned upright, in colour or grey, of one size.

A file comes from anywhere. Its header is read first, and what claims more than `MOST_PIXELS` pixels
is refused before one of them is decoded.
"""

import os
import pathlib
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from chainrule import _files, _require

__all__ = ["ENDINGS", "MOST_BYTES", "MOST_PIXELS", "find", "read"]
__dir__ = __all__.copy

MOST_PIXELS = 64_000_000
"""The most pixels of a photograph, before and after it is scaled: 256 MB while it is decoded."""
MOST_BYTES = 256_000_000
"""The most bytes of its file."""
ENDINGS = (".jpg", ".jpeg", ".png")
"""Of the files in a folder that are taken for photographs, in small letters or capitals."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def read(
    path: str | os.PathLike[str],
    *,
    channels: int = 3,
    shorter: int | None = None,
    crop: int | None = None,
) -> UInt8[np.ndarray, "height width channels"]:
    """Read a photograph.

    It is turned as its EXIF entry says. Transparent parts become white, CMYK and palettes become
    colours, 16 bits become 8; colour profiles are ignored. Scaling is Pillow's bilinear filter with
    anti-aliasing, on bytes, as torchvision's transforms scale Pillow's images.

    Args:
      path: a JPEG or PNG file, whatever its name.
      channels: 3 for colours, 1 for grey.
      shorter: the length to which the shorter side is scaled; the other one keeps the proportion.
      crop: the side of the square that is then cut from the middle.

    Returns:
      uint8 ``[height, width, channels]``.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is neither JPEG nor PNG, damaged or cut off, larger than `MOST_PIXELS` or
        `MOST_BYTES`, smaller than the crop, or no regular file.

    Example:
      >>> import tempfile
      >>> from PIL import Image
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     Image.new("L", (400, 300)).save(f"{folder}/grey.png")
      ...     read(f"{folder}/grey.png", shorter=256, crop=224).shape
      (224, 224, 3)
    """
    path = _require.path("path", path)
    if not isinstance(channels, int) or isinstance(channels, bool) or channels not in (1, 3):
        raise ValueError(f"channels must be 1 for grey or 3 for colours, not {channels!r}")
    for name, side in (("shorter", shorter), ("crop", crop)):
        if side is not None:
            _require.count(name, side, most=MOST_PIXELS)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the name of a photograph, or use find")
    with _files.open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > MOST_BYTES:
            raise ValueError(f"{path} has {size} bytes: expected at most {MOST_BYTES}")
        image = _opened(path, file)
        try:
            image.load()
            image = _plain(image, channels)
        # Of damaged files Pillow raises whatever its decoders meet.
        except Exception as error:
            raise ValueError(f"{path} is damaged, it cannot be decoded: {error}") from error
    if shorter is not None:
        image = _scaled(path, image, shorter)
    pixels = np.array(image, np.uint8)
    if channels == 1:
        pixels = pixels[:, :, None]
    if crop is None:
        return pixels
    height, width = pixels.shape[:2]
    if min(height, width) < crop:
        raise ValueError(
            f"{path} has {width} x {height} pixels, less than the crop of {crop} x {crop}"
        )
    top, left = round((height - crop) / 2), round((width - crop) / 2)
    return pixels[top : top + crop, left : left + crop]


def find(paths: Iterable[str | os.PathLike[str]]) -> list[pathlib.Path]:
    """Return files, and in the place of each folder the photographs that lie directly in it.

    Args:
      paths: files and folders.

    Returns:
      The files in the order given, those of a folder in that of their names.

    Raises:
      FileNotFoundError: there is no such file or folder.
      ValueError: a folder holds no file that ends as `ENDINGS` do, or no path is given.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    found = []
    for path in (_require.path("paths[...]", one) for one in _listed(paths)):
        if not path.exists():
            raise FileNotFoundError(f"no file or folder {path} of these paths")
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in ENDINGS)
        if not inside:
            raise ValueError(f"{path} holds no file that ends in {', '.join(ENDINGS)}")
        found += inside
    if not found:
        raise ValueError("paths are empty: give at least one photograph or folder")
    return found


def _listed(paths: Any) -> list[Any]:
    try:
        return list(paths)
    except TypeError:
        raise ValueError(f"paths must be a sequence of paths, not {_require.kind(paths)}") from None


def _opened(path: pathlib.Path, file: BinaryIO) -> Any:
    """Read the header of a file, and refuse what it announces before it is decoded."""
    from PIL import JpegImagePlugin, PngImagePlugin  # no command but this one has time for it

    first = file.read(8)
    file.seek(0)
    if not first:
        raise ValueError(f"{path} is empty: expected a JPEG or a PNG")
    try:
        # Not Image.open, which warns of large images, with bounds that are global.
        if first.startswith(_JPEG):
            image: Any = JpegImagePlugin.JpegImageFile(file)
        elif first == _PNG:
            image = PngImagePlugin.PngImageFile(file)
        else:
            raise ValueError(f"it begins with {first!r}, neither JPEG nor PNG does: convert it")
    except Exception as error:
        raise ValueError(f"{path} is no photograph: {error}") from error
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{path} has {width:,} x {height:,} pixels by its header: expected at most "
            f"{MOST_PIXELS:,} in all; scale it down first"
        )
    return image


def _plain(image: Any, channels: int) -> Any:
    """Return an image upright, opaque, and in colours or grey."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips them
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def _scaled(path: pathlib.Path, image: Any, shorter: int) -> Any:
    from PIL import Image

    short, long = min(image.size), max(image.size)
    if shorter * (shorter * long // short) > MOST_PIXELS:
        raise ValueError(
            f"{path} has {image.width:,} x {image.height:,} pixels: with a shorter side of "
            f"{shorter} it would have more than {MOST_PIXELS:,}; crop it first"
        )
    size = [shorter * side // short for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
