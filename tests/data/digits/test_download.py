"""Getting the files: from a server on this machine, from none, and from bad ones."""

import hashlib
import http.server
import importlib.resources
import os
import socket
import threading
import time

import pytest

from chainrule import data
from chainrule.data.digits import download, files

EMBEDDED = importlib.resources.files("chainrule.data.digits") / "embedded"


@pytest.fixture(autouse=True)
def _small_originals(monkeypatch):
    """Let the embedded files stand for the originals."""
    small = {
        split: {
            part: original._replace(
                gz_bytes=len(content),
                gz_sha256=hashlib.sha256(content).hexdigest(),
            )
            for part, original in parts.items()
            for content in [(EMBEDDED / f"{original.name}.gz").read_bytes()]
        }
        for split, parts in files.ORIGINALS.items()
    }
    monkeypatch.setattr(download, "ORIGINALS", small)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def serve():
    """Start a server that answers with `respond(handler, name)`; return its address."""
    servers = []

    def start(respond):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path[1:])
                respond(self, self.path[1:])

            def log_message(self, *_):
                pass

        asked = []
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _send(handler, content, status=200, promised=None):
    handler.send_response(status)
    handler.send_header("Content-Length", str(promised or len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def _good(handler, name):
    _send(handler, (EMBEDDED / name).read_bytes())


def test_the_addresses_and_checksums_are_those_of_tensorflow_datasets():
    listed = importlib.resources.files("tensorflow_datasets") / "url_checksums" / "mnist.txt"
    theirs = {tuple(line.split()[:3]) for line in listed.read_text().splitlines()}
    ours = {
        (f"{download.MIRROR}{original.name}.gz", str(original.gz_bytes), original.gz_sha256)
        for parts in files.ORIGINALS.values()
        for original in parts.values()
    }
    assert ours == theirs


def test_fetched_files_are_read_as_any_others(serve, tmp_path):
    mirror, asked = serve(_good)
    folder = tmp_path / "new" / "folder"
    fetched = download.fetch(folder, mirror=mirror)
    assert sorted(folder.iterdir()) == sorted(fetched)  # and nothing else is left behind
    assert asked == [path.name for path in fetched]
    digits = data.mnist("train", source="idx", data_dir=folder)
    assert digits.provenance.sha256 == data.mnist("train", "embedded").provenance.sha256


def test_what_is_there_and_right_is_not_fetched_again(serve, tmp_path):
    mirror, asked = serve(_good)
    download.fetch(tmp_path, mirror=mirror)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    asked.clear()
    assert len(download.fetch(tmp_path, mirror=mirror)) == 4
    assert asked == ["t10k-labels-idx1-ubyte.gz"]


def test_what_is_there_and_wrong_is_named_and_left_alone(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(b"mine")
    wrong = hashlib.sha256(b"mine").hexdigest()
    with pytest.raises(
        ValueError, match=f"{path}, which was already there, .* {wrong} over 4 byte"
    ):
        download.fetch(tmp_path, mirror="http://unused.invalid/")
    assert path.read_bytes() == b"mine"


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(ValueError, match=r"ubyte\.gz is no regular file: nothing is read from it"):
        download.fetch(tmp_path, mirror="http://unused.invalid/")


def test_a_file_of_holes_is_refused_unread(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.touch()
    os.truncate(path, 50 * 2**30)
    size = download.ORIGINALS["train"]["images"].gz_bytes + 1
    with pytest.raises(ValueError, match=f"already there, is not .* over {size} bytes"):
        download.fetch(tmp_path, mirror="http://unused.invalid/")


def test_a_link_is_replaced_and_not_followed(serve, tmp_path):
    other = tmp_path / "other"
    folder = tmp_path / "digits"
    folder.mkdir()
    name = "train-images-idx3-ubyte.gz"
    for link in (name, f"{name}.{os.getpid()}.part"):
        (folder / link).symlink_to(other)
    mirror, _ = serve(_good)
    download.fetch(folder, mirror=mirror)
    assert not (folder / name).is_symlink()
    assert not other.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data_dir": 3}, "data_dir must be a path, .* not an int"),
        ({"timeout": 0.0}, "timeout must be a finite number above 0, not 0"),
        ({"timeout": float("nan")}, "timeout must be .*, not nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, settings, message, unchecked):
    with pytest.raises(ValueError, match=message):
        download.fetch(**{"data_dir": tmp_path} | settings)


def test_a_file_that_cannot_be_put_in_place_leaves_nothing(serve, tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "replace", fail)
    mirror, _ = serve(_good)
    with pytest.raises(PermissionError, match="not here"):
        download.fetch(tmp_path, mirror=mirror)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["flipped", "page", "short", "long", "empty"])
def test_wrong_content_is_refused_and_not_kept(serve, tmp_path, kind):
    name = "train-images-idx3-ubyte.gz"
    content = (EMBEDDED / name).read_bytes()
    bad = {
        "flipped": content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        "page": b"<!DOCTYPE html><html>Sign in</html>",
        "short": content[:-1],
        "long": content + b"x" * 100,
        "empty": b"",
    }[kind]
    mirror, _ = serve(lambda handler, _: _send(handler, bad))
    right = hashlib.sha256(content).hexdigest()
    size = min(len(bad), len(content) + 1)  # no more is read than shows that it is too long
    with pytest.raises(
        ValueError,
        match=f"what came from {mirror}{name} is not {name}: its SHA-256 is .* over {size} bytes, "
        f"expected {right} over {len(content)}" + ("; .* web page" if kind == "page" else ""),
    ):
        download.fetch(tmp_path, mirror=mirror)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_is_not_there(serve, tmp_path):
    mirror, _ = serve(lambda handler, _: _send(handler, b"no", status=404))
    with pytest.raises(ConnectionError, match=f"cannot get {mirror}train.*HTTP Error 404"):
        download.fetch(tmp_path, mirror=mirror)


def test_a_connection_that_breaks_off(serve, tmp_path):
    mirror, _ = serve(lambda handler, _: _send(handler, b"abc", promised=1000))
    with pytest.raises(ValueError, match=r"over 3 bytes, expected"):
        download.fetch(tmp_path, mirror=mirror)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["answer", "body"])
def test_a_server_that_stalls(serve, tmp_path, stage):
    release = threading.Event()

    def stall(handler, _):
        if stage == "body":
            _send(handler, b"abc", promised=1000)
            handler.wfile.flush()
        release.wait(20)

    mirror, _ = serve(stall)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"timed out|no answer within 0.3 s"):
        download.fetch(tmp_path, timeout=0.3, mirror=mirror)
    assert time.monotonic() - start < 2
    assert list(tmp_path.iterdir()) == []
    release.set()


def test_a_name_that_takes_for_ever_to_look_up(tmp_path, monkeypatch):
    release = threading.Event()

    def look_up(*_, **__):
        release.wait(20)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"no answer within 0.3 s.*embedded digits"):
        download.fetch(tmp_path, timeout=0.3)
    assert time.monotonic() - start < 2
    release.set()


def test_no_network(tmp_path):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"cannot get http://mnist\.invalid/train-images"):
        download.fetch(tmp_path, mirror="http://mnist.invalid/")
    assert time.monotonic() - start < 5.5


def test_nobody_listens(tmp_path):
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        mirror = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(ConnectionError, match=r"refused.*embedded digits"):
            download.fetch(tmp_path, mirror=mirror)
