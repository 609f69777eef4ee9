"""Download of the four original files: the only use of the network."""

import hashlib
import os
import queue
import threading
from pathlib import Path

from chainrule import _files, _require
from chainrule.data.digits.files import ORIGINALS, Original

__all__ = ["MIRROR", "fetch"]
__dir__ = __all__.copy

MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"
"""Where tensorflow-datasets downloads them from."""


def fetch(
    data_dir: str | os.PathLike[str], *, timeout: float = 5.0, mirror: str = MIRROR
) -> tuple[Path, ...]:
    """Download the four compressed files, 11 MB, each checked against its SHA-256.

    A file gets its name once it is complete and checked. One that is already there, with the right
    checksum, is not downloaded again.

    Args:
      data_dir: the folder to put them in; made if it does not exist.
      timeout: the longest wait for an answer, and for each piece of it, in seconds.
      mirror: the address of a folder with the four files.

    Returns:
      The four files.

    Raises:
      ConnectionError: no network, no answer in time, or an answer that is an error.
      ValueError: what came, or what was there before, is not the file.
    """
    folder = _require.path("data_dir", data_dir).expanduser()
    _require.real("timeout", timeout, above=0)
    folder.mkdir(parents=True, exist_ok=True)
    fetched = []
    for original in (original for parts in ORIGINALS.values() for original in parts.values()):
        path = folder / f"{original.name}.gz"
        if path.exists():
            with _files.open_regular(path) as file:
                content = file.read(original.gz_bytes + 1)
            _verify(content, original, f"{path}, which was already there,")
        else:
            url = mirror + path.name
            content = _download(url, limit=original.gz_bytes + 1, timeout=timeout)
            _verify(content, original, f"what came from {url}")
            _files.write(path, content)
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
    import http.client  # with urllib.request it takes a tenth of a second; few need them
    import urllib.error
    import urllib.request

    # A socket's timeout covers neither the name lookup nor the sum over the addresses found: a
    # thread asks, and this one waits.
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
            error.close()  # its socket is still open
        raise ConnectionError(
            f"cannot get {url}: {error}. Without a network, use the embedded digits, or put the "
            "four files into the folder by hand"
        ) from error
