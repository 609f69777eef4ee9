"""The four original files over the network, only when asked for."""

import hashlib
import os
import queue
import threading
from pathlib import Path

from chainrule.data.digits.files import ORIGINALS, Original

MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"
"""Where tensorflow-datasets gets them."""


def fetch(
    data_dir: str | os.PathLike[str], *, timeout: float = 5.0, mirror: str = MIRROR
) -> tuple[Path, ...]:
    """Get the four compressed files, 11 MB, each checked against its SHA-256.

    A file appears under its name only when it is whole and checked. One that is already there and
    right is not fetched again.

    Args:
      data_dir: the folder to put them in; made if it is not there.
      timeout: the longest wait for an answer, and for every next piece of it, in seconds.
      mirror: the address of a folder that holds the four files.

    Returns:
      The four files.

    Raises:
      ConnectionError: no network, no answer in time, or not the answer "here it is".
      ValueError: what came, or what was there before, is not the file.
    """
    folder = Path(data_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    fetched = []
    for original in (original for parts in ORIGINALS.values() for original in parts.values()):
        path = folder / f"{original.name}.gz"
        if path.exists():
            _verify(path.read_bytes(), original, f"{path}, which was already there,")
        else:
            url = mirror + path.name
            content = _download(url, limit=original.gz_bytes + 1, timeout=timeout)
            _verify(content, original, f"what came from {url}")
            _write(path, content)
        fetched.append(path)
    return tuple(fetched)


def _verify(content: bytes, original: Original, what: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != original.gz_sha256:
        page = content.lstrip()[:1] == b"<"
        raise ValueError(
            f"{what} is not {original.name}.gz: its SHA-256 is {digest} over {len(content)} bytes, "
            f"expected {original.gz_sha256} over {original.gz_bytes}"
            + ("; it looks like a web page" if page else "")
        )


def _download(url: str, *, limit: int, timeout: float) -> bytes:
    import http.client  # with urllib.request a tenth of a second, and few need them
    import urllib.error
    import urllib.request

    # A socket's time limit covers neither the look-up of the name nor the sum over the addresses
    # behind it, so that the answer is awaited from outside.
    answer: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(urllib.request.urlopen(url, timeout=timeout))
        except Exception as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        response = answer.get(timeout=timeout)
    except queue.Empty:
        response = TimeoutError(f"no answer within {timeout:g} s")
    try:
        if isinstance(response, Exception):
            raise response
        with response:
            return response.read(limit)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # an answer with its socket still open
        raise ConnectionError(
            f"cannot get {url}: {error}. Without a network the embedded digits are there, and the "
            "four files can be put into the folder by hand"
        ) from error


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
