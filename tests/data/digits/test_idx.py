"""The file format, byte by byte, and every way in which a file can be bad."""

import gzip
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from chainrule.data.digits import idx

IMAGES = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
CONTENT = bytes.fromhex("00000803 00000002 00000002 00000003 000102030405060708090a0b")


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_the_format_is_written_and_read_as_specified(tmp_path, name):
    path = tmp_path / name
    idx.write(path, IMAGES)
    raw = path.read_bytes()
    assert (gzip.decompress(raw) if name.endswith(".gz") else raw) == CONTENT
    images = idx.read(path, rank=3)
    np.testing.assert_array_equal(images, IMAGES)
    assert images.dtype == np.uint8
    images[0, 0, 0] = 7  # the caller's own: neither read-only nor a view of the file


def test_labels_have_one_dimension_and_their_own_magic_number(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(bytes.fromhex("00000801 00000003 050004"))
    np.testing.assert_array_equal(idx.read(path, rank=1), [5, 0, 4])


def test_what_is_compressed_shows_in_the_bytes_not_in_the_name(tmp_path):
    (tmp_path / "raw.gz").write_bytes(CONTENT)
    (tmp_path / "packed").write_bytes(gzip.compress(CONTENT))
    for name in ("raw.gz", "packed"):
        np.testing.assert_array_equal(idx.read(tmp_path / name, rank=3), IMAGES)


def test_the_same_array_gives_the_same_compressed_bytes(tmp_path):
    idx.write(tmp_path / "a.gz", IMAGES)
    idx.write(tmp_path / "b.gz", IMAGES)
    first = (tmp_path / "a.gz").read_bytes()
    assert first == (tmp_path / "b.gz").read_bytes()
    assert first[3] == 0  # no file name inside
    assert first[4:8] == bytes(4)  # no time
    assert first[9] == 255  # no operating system


def test_an_array_that_is_not_contiguous_is_written_in_its_own_order(tmp_path):
    turned = IMAGES.T
    idx.write(tmp_path / "turned", turned)
    np.testing.assert_array_equal(idx.read(tmp_path / "turned", rank=3), turned)
    assert idx.sha256(turned) == idx.sha256(np.array(turned.tolist(), np.uint8))


def test_sha256_is_that_of_the_uncompressed_file():
    import hashlib

    assert idx.sha256(IMAGES) == hashlib.sha256(CONTENT).hexdigest()
    assert idx.sha256(IMAGES) != idx.sha256(IMAGES.reshape(2, 3, 2))  # the shape counts


def test_as_many_bytes_are_read_as_may_be_and_not_one_more(tmp_path, monkeypatch):
    path = tmp_path / "images"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(idx, "_MOST_BYTES", len(CONTENT))
    np.testing.assert_array_equal(idx.read(path, rank=3), IMAGES)
    monkeypatch.setattr(idx, "_MOST_BYTES", len(CONTENT) - 1)
    with pytest.raises(ValueError, match=rf"more than the {len(CONTENT) - 1} that are read"):
        idx.read(path, rank=3)


def test_a_rank_is_a_byte(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    for rank, match in (
        (0, "from 1 to 255, not 0"),
        (256, "rank must be an int from 1 to 255, not 256"),
        (255, "empty"),
    ):
        with pytest.raises(ValueError, match=match):
            idx.read(tmp_path / "empty", rank=rank)


def _refused(path, content, match, rank=3):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as error:
        idx.read(path, rank)
    assert str(path) in str(error.value)


def test_an_empty_file(tmp_path):
    _refused(tmp_path / "images", b"", "holds 0 bytes, where the header alone takes 16")
    _refused(tmp_path / "images.gz", b"", "holds 0 bytes, where the header alone takes 16")
    packed = gzip.compress(b"")
    _refused(tmp_path / "images.gz", packed, "holds 0 bytes, where the header alone takes 16")


def test_a_truncated_file(tmp_path):
    _refused(tmp_path / "images", CONTENT[:10], "holds 10 bytes, where the header alone takes 16")
    _refused(
        tmp_path / "images",
        CONTENT[:-1],
        "promises 2 x 2 x 3 items = 28 bytes, but 27 bytes on disk",
    )
    _refused(
        tmp_path / "images.gz",
        gzip.compress(CONTENT[:-1]),
        "promises 2 x 2 x 3 items = 28 bytes, but holds only 27: it was cut short",
    )


def test_a_truncated_compressed_stream_at_every_length(tmp_path):
    packed = gzip.compress(CONTENT)
    for length in range(len(packed)):
        _refused(
            tmp_path / "images.gz",
            packed[:length],
            "header alone takes 16|holds only|cannot hold more than|gzip checksum is missing",
        )


def test_a_large_file_whose_download_broke_off(tmp_path):
    rng = np.random.default_rng(0)
    idx.write(tmp_path / "whole.gz", rng.integers(0, 256, (100, 28, 28), np.uint8))
    packed = (tmp_path / "whole.gz").read_bytes()
    _refused(
        tmp_path / "images.gz",
        packed[: len(packed) // 2],
        r"promises 100 x 28 x 28 items = 78416 bytes, but holds only 3\d{4}: it was cut short",
    )


def test_a_file_with_more_than_it_promises(tmp_path):
    _refused(tmp_path / "images", CONTENT + b"x", "= 28 bytes, but goes on for at least 29")
    packed = gzip.compress(CONTENT + b"x" * 1000)
    _refused(tmp_path / "images.gz", packed, "= 28 bytes, but goes on for at least 29")
    _refused(tmp_path / "images.gz", gzip.compress(CONTENT) + b"x", "or other bytes follow it")


@pytest.mark.parametrize("spot", ["body", "checksum"])
def test_a_flipped_bit_in_a_compressed_file(tmp_path, spot):
    packed = bytearray(gzip.compress(CONTENT))
    packed[{"body": 30, "checksum": -6}[spot]] ^= 4
    _refused(
        tmp_path / "images.gz", bytes(packed), rf"\({len(packed)} bytes\) is a damaged gzip file"
    )


def test_a_wrong_magic_number(tmp_path):
    signed = b"\0\0\x09\x03" + CONTENT[4:]
    _refused(tmp_path / "images", signed, r"= 2307, where .* of 3 dimensions starts with 2051")
    _refused(tmp_path / "images", b"\x89PNG" + CONTENT, "this is no such file")


def test_images_and_labels_swapped(tmp_path):
    labels = bytes.fromhex("00000801 00000003 050004 0102030405060708")
    _refused(
        tmp_path / "images.gz", gzip.compress(labels), "= 2049, where .* starts with 2051.*swapped"
    )
    _refused(tmp_path / "labels", CONTENT, "= 2051, where .* starts with 2049.*swapped", rank=1)


def test_a_web_page_saved_as_gz(tmp_path):
    page = b"\n<!DOCTYPE html><html><body>Sign in to the network</body></html>"
    _refused(tmp_path / "images.gz", page, r"starts with b'\\n<!D' = .*web page")
    _refused(tmp_path / "images.gz", gzip.compress(page), "web page")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("items", [2**31, 2**32 - 1])
def test_a_header_that_promises_too_much_is_refused_before_allocating(tmp_path, items, packed):
    path = tmp_path / "images"
    content = struct.pack(">4I", 2051, items, 28, 28) + bytes(1000)
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    with pytest.raises(ValueError, match=f"promises {items} x 28 x 28 .* cannot hold more than"):
        idx.read(path, rank=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 1_000_000


@pytest.fixture
def frugal():
    """No more than a megabyte may be taken within a test."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 1_000_000


def test_a_bomb_with_an_honest_header_is_refused_before_it_goes_off(tmp_path, frugal, monkeypatch):
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(struct.pack(">4I", 2051, 1, 8192, 8192))
    for _ in range(1024):
        packed += packer.compress(bytes(65536))
    (tmp_path / "images.gz").write_bytes(packed + packer.flush())
    with pytest.raises(ValueError, match="gz holds items of 8192 x 8192, expected 28 x 28"):
        idx.read(tmp_path / "images.gz", rank=3, item=(28, 28))
    monkeypatch.setattr(idx, "_MOST_BYTES", 2**25)
    with pytest.raises(
        ValueError, match=r"promises 1 x 8192 x 8192 .* more than the 33554432 that"
    ):
        idx.read(tmp_path / "images.gz", rank=3)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_holes_is_refused_unread(tmp_path, frugal, packed):
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(CONTENT) if packed else CONTENT)
    os.truncate(path, 50 * 2**30)
    with pytest.raises(ValueError, match=r"= 28 bytes, but goes on for 53687091200 bytes on disk"):
        idx.read(path, rank=3)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "images")
    with pytest.raises(ValueError, match="images is no regular file: nothing is read from it"):
        idx.read(tmp_path / "images", rank=3)


def test_a_file_in_a_package_is_read_wherever_that_is(tmp_path):
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
        archive.writestr("images.gz", gzip.compress(CONTENT))
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        images = idx.read(zipfile.Path(archive, "images.gz"), rank=3)
    np.testing.assert_array_equal(images, IMAGES)


def test_a_header_whose_product_fits_no_machine_word(tmp_path):
    huge = struct.pack(">4I", 2051, *[2**32 - 1] * 3)
    _refused(tmp_path / "images.gz", gzip.compress(huge), "cannot hold more than")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        idx.read(tmp_path / "nowhere", rank=3)
