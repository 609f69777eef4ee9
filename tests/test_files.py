"""Files that appear whole or not at all, locks, strict JSON, text for a terminal."""

import concurrent.futures
import hashlib
import os
import pathlib
import secrets

import numpy as np
import pytest

from chainrule import _files


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a"
    _files.write(path, "old")
    seen = []

    def broken():
        with _files.replacing(path) as file:
            file.write(b"half")
            seen.append(path.read_text())
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        broken()
    assert seen == ["old"]
    assert path.read_text() == "old"
    _files.write(path, "größer")
    assert path.read_bytes() == "größer".encode()
    _files.write(path, b"\xff\n")
    assert path.read_bytes() == b"\xff\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        done = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, done=done, name=name: (calls.append(name), done(*args))
        )
    _files.write(tmp_path / "a", "text")
    assert calls == ["fsync", "replace"]


def test_a_link_is_replaced_and_a_file_in_the_way_is_never_opened(tmp_path, monkeypatch):
    other, path = tmp_path / "other", tmp_path / "a"
    path.symlink_to(other)
    _files.write(path, "mine")
    assert not path.is_symlink()
    assert not other.exists()
    # Were the random name known, what lies there would stop the writing and stay.
    monkeypatch.setattr(secrets, "token_hex", lambda _: "0")
    (tmp_path / ".a.0.partial").symlink_to(other)
    with pytest.raises(FileExistsError, match=r"File exists"):
        _files.write(path, "again")
    assert path.read_text() == "mine"
    assert not other.exists()
    assert (tmp_path / ".a.0.partial").is_symlink()


def test_the_names_meanwhile_are_random(tmp_path):
    names = set()
    for _ in range(9):
        with _files.replacing(tmp_path / "a") as file:
            names.add(file.name)
    assert len(names) == 9
    assert {pathlib.Path(name).parent for name in names} == {tmp_path}


def test_many_threads_write_one_file(tmp_path):
    texts = [letter * 100_000 for letter in "abcdef"]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda text: _files.write(tmp_path / "a", text), texts * 10))
    assert (tmp_path / "a").read_text() in texts
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_that_is_none_or_too_long_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"'\.' names a folder: give the name of a file"):
        _files.write("", "text")
    with pytest.raises(OSError, match="File name too long"):
        _files.write(tmp_path / ("a" * 300), "text")
    assert list(tmp_path.iterdir()) == []


def test_only_regular_files_are_opened(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "link"):
        with _files.open_regular(tmp_path / name) as file:
            assert file.read() == b"text"
            assert file.name == str(tmp_path / name)
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match="is no regular file: nothing is read from it"):
            _files.open_regular(path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        _files.open_regular(tmp_path / "nothing")


def test_a_file_is_read_whole_up_to_a_bound(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert _files.read(path, most=5) == b"12345"
    with pytest.raises(ValueError, match=r"a has 5 bytes: expected at most 4"):
        _files.read(path, most=4)
    os.truncate(path, 50 * 2**30)  # holes; it would not fit the memory
    with pytest.raises(ValueError, match=r"has 53687091200 bytes"):
        _files.read(path, most=2**20)


def test_the_digest_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"a" * 10**6)
    assert _files.sha256(tmp_path / "a") == hashlib.sha256(b"a" * 10**6).hexdigest()


def test_a_folder_has_one_writer_until_it_is_released(tmp_path):
    with _files.Lock(tmp_path) as lock:
        with pytest.raises(ValueError, match="is being written by another process"):
            _files.Lock(tmp_path)
        lock.release()
        _files.Lock(tmp_path).release()
    lock.release()  # does nothing
    _files.Lock(tmp_path).release()


def test_json_is_strict_and_takes_what_a_run_holds():
    value = {
        "numbers": [np.float32(0.5), np.int64(3), float("nan"), -np.inf, True, None],
        "arrays": np.arange(2),
        3: pathlib.Path("a/b"),
        "sets": {1},
        "others": 1j,
    }
    plain = {
        "numbers": [0.5, 3, "nan", "-inf", True, None],
        "arrays": [0, 1],
        "3": "a/b",
        "sets": [1],
        "others": "1j",
    }
    assert _files.plain(value) == plain
    assert _files.loads(_files.dumps(value)) == plain
    assert _files.dumps("ä") == '"ä"'
    for text in ("NaN", "[Infinity]", "{", b"\xff"):
        with pytest.raises(ValueError, match=r"a bare|Expecting|decode"):
            _files.loads(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Größe, 大きさ", "plain, Größe, 大きさ"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b31m\x07\r\n\t", r"\x9b31m\x07\r\n\t"),
        ("exe.\u202egpj", r"exe.\u202egpj"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_moves_a_cursor_or_turns_letters_is_escaped(text, shown):
    assert _files.printable(text) == shown
