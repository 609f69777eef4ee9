"""What the command ``chainrule classify`` does: the likeliest classes of photographs."""

import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from chainrule import _files, _require, runs
from chainrule._files import printable
from chainrule._jobs import classifier
from chainrule._jobs.classifier import Classifier
from chainrule.data import photos
from chainrule.models import vgg

_DRAWN = 12  # images in the picture
_SAMPLES = 16  # noisy copies for the smoothed gradient


class Answer(NamedTuple):
    """What the network says of one photograph.

    Attributes:
      path: of the file.
      image: as the network saw it, uint8 ``[side, side, channels]``; None if it is not drawn.
      top: the likeliest classes, ``(name, probability)``.
      first: the index of the likeliest: names may be given twice.
    """

    path: pathlib.Path
    image: np.ndarray | None
    top: list[tuple[str, float]]
    first: int


def run(
    images: Sequence[pathlib.Path],
    *,
    weights: pathlib.Path | None = None,
    names: pathlib.Path | None = None,
    size: int | None = None,
    top: int = 5,
    batch: int = 8,
    json: bool = False,
    picture: pathlib.Path | None = None,
    why: pathlib.Path | None = None,
) -> int:
    """Print the likeliest classes of photographs.

    Args:
      images: files, and folders of them.
      weights: a file of a VGG; without one the network for digits in the package.
      names: a file with the names of the classes.
      size: the side of the images that the network sees.
      top: how many classes.
      batch: how many images at a time; fewer take less memory.
      json: whether to print an object instead of a table.
      picture: where to draw the first images with their classes.
      why: a folder for a picture of each image: which pixels speak for its first class.

    Returns:
      0; 1 if some of several images could not be read, which standard error names.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: no image can be read, or a setting does not fit.
    """
    batch, began = _require.count("batch", batch, most=4096), time.perf_counter()
    if weights is None and (names is not None or size is not None):
        raise ValueError("names and size are those of a file: give --weights FILE")
    paths = photos.find(images)
    if picture is not None and picture.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"picture {picture}: its name must end in .png, .svg or .pdf")
    if picture is not None and not picture.parent.is_dir():
        raise FileNotFoundError(f"no folder {picture.parent} for the picture")
    if why is not None:
        why.mkdir(exist_ok=True)
    network = (
        classifier.digits()
        if weights is None
        else classifier.from_file(weights, names=names, size=size)
    )
    top = _require.count("top", top, most=len(network.names), why="so many classes there are")
    loaded = time.perf_counter() - began
    batch = min(batch, len(paths))
    left_out: list[tuple[pathlib.Path, Exception]] = []
    answers: list[Answer] = []
    seconds, explain = [], why and classifier.make_reasons(network, _SAMPLES)
    for group in _read(network, paths, batch, left_out):
        clock = time.perf_counter()
        found = _asked(network, group, batch, top)
        seconds.append((time.perf_counter() - clock) / len(group))
        if why is not None:
            _explain(why, network, explain, found, len(answers))
        # A folder may hold more images than the memory: those that are drawn are kept.
        kept = max(0, _DRAWN - len(answers))
        answers += [*found[:kept], *(one._replace(image=None) for one in found[kept:])]
    if not answers:
        raise left_out[0][1]
    # The first batch is compiled for; where it is the only one it is asked again.
    if len(seconds) == 1:
        clock = time.perf_counter()
        _asked(network, group, batch, top)
        seconds.append((time.perf_counter() - clock) / len(group))
    facts = {
        "images": len(answers),
        "seconds_an_image": float(np.median(seconds[1:])),
        "seconds_to_load_and_compile": loaded + seconds[0] * min(batch, len(answers)),
        "memory_bytes": classifier.peak_memory(),
    }
    _printed(network, answers, facts, json=json)
    if picture is not None:
        _draw(picture, answers)
        print(f"picture: {printable(picture)}", file=sys.stderr if json else sys.stdout)
    if why is not None:
        print(f"reasons: {printable(why)}", file=sys.stderr if json else sys.stdout)
    for path, error in left_out:
        print(f"left out {printable(path)}: {printable(error)}", file=sys.stderr)
    return int(bool(left_out))


def _read(
    network: Classifier,
    paths: Sequence[pathlib.Path],
    batch: int,
    left_out: list[tuple[pathlib.Path, Exception]],
) -> Iterator[list[tuple[pathlib.Path, np.ndarray]]]:
    """Yield photographs in batches; one that cannot be read ends only a call of its own."""
    from rich.console import Console
    from rich.progress import track

    console, group = Console(stderr=True), []
    shown = track(
        paths,
        "classifying",
        console=console,
        transient=True,
        disable=len(paths) == 1 or not console.is_terminal,
    )
    for path in shown:
        try:
            group.append((path, network.image(path)))
        except (ValueError, OSError) as error:
            left_out.append((path, error))
        if len(group) == batch:
            yield group
            group = []
    if group:
        yield group


def _asked(
    network: Classifier, group: list[tuple[pathlib.Path, np.ndarray]], batch: int, top: int
) -> list[Answer]:
    # Filled up with the last image, so that one program serves all batches.
    rows = np.minimum(np.arange(batch), len(group) - 1)
    images = np.stack([group[row][1] for row in rows])
    found = np.asarray(jax.block_until_ready(network.probabilities(images)))[: len(group)]
    if not np.isfinite(found).all():
        raise ValueError("the probabilities are not finite: are these weights damaged?")
    best = vgg.top(found, top, names=network.names)
    firsts = found.argmax(axis=1).tolist()
    return [Answer(*one, *said) for one, *said in zip(group, best, firsts, strict=True)]


def _printed(
    network: Classifier, answers: Sequence[Answer], facts: dict[str, Any], *, json: bool
) -> None:
    if json:
        listed = [
            {
                "image": str(one.path),
                "top": [{"name": name, "probability": p} for name, p in one.top],
            }
            for one in answers
        ]
        print(_files.dumps({"answers": listed, "notes": network.notes, **facts}))
        return
    terminal = sys.stdout.isatty()
    if not terminal:
        print("image\trank\tname\tprobability")
        for one in answers:
            for rank, (name, p) in enumerate(one.top, start=1):
                print(f"{printable(one.path)}\t{rank}\t{printable(name)}\t{p:.6g}")
    else:
        _table(answers)
    said = (
        f"{runs.counted(len(answers), 'image')}, {facts['seconds_an_image']:.3g} s an image after "
        f"{facts['seconds_to_load_and_compile']:.1f} s to load and compile; "
        f"{facts['memory_bytes'] / 1e9:.2f} GB of memory at most"
    )
    # A pipe gets the rows alone.
    for line in (*network.notes, said):
        print(line, file=sys.stdout if terminal else sys.stderr)


def _table(answers: Sequence[Answer]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("class")
    table.add_column("probability", justify="right")
    for one in answers:
        for rank, (name, p) in enumerate(one.top):
            cells = ("" if rank else printable(one.path), printable(name), f"{100 * p:.1f} %")
            table.add_row(*map(Text, cells), end_section=rank == len(one.top) - 1)
    Console().print(table)


def _draw(picture: pathlib.Path, answers: Sequence[Answer]) -> None:
    from chainrule.plots.photographs import answers as drawn

    shown = answers[:_DRAWN]
    figure = drawn(
        [np.asarray(one.image) for one in shown],
        [[printable(name) for name, _ in one.top] for one in shown],
        [np.array([p for _, p in one.top]) for one in shown],
        titles=[printable(one.path.name) for one in shown],
    )
    with _files.replacing(picture) as file:
        figure.savefig(file, format=picture.suffix.lstrip("."), dpi=150)


def _explain(
    folder: pathlib.Path, network: Classifier, made: Any, answers: Sequence[Answer], before: int
) -> None:
    from chainrule.plots.photographs import reasons

    for number, one in enumerate(answers, start=before + 1):
        name, share = one.top[0]
        inputs = network.inputs(np.asarray(one.image)[None])
        found = made(inputs, np.array([one.first]), jax.random.key(0))
        maps = {reason: values[0] for reason, values in found.items()}
        figure = reasons(
            np.asarray(one.image), maps, title=f"{printable(name)}, {100 * share:.0f} %"
        )
        with _files.replacing(folder / f"{number:03d}-{one.path.stem}.png") as file:
            figure.savefig(file, format="png", dpi=150)
