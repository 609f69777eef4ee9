"""Pairs of programs that part at a known line, pairs that do not, and programs that lose digits.

The programs are written to files, as people's programs are, from the texts of
`tests.bars.parted_networks` and `tests.bars.parted_cancellations`. The truth is known because a
fault is the one line that is planted; what the programs do is never computed here.
"""

import collections
import dataclasses
import importlib.util
import itertools
import pathlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.bars.parted_cancellations import CANCELLATIONS
from tests.bars.parted_networks import NETWORKS, Network

PORT_SHARE = 0.5
SCALES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
HEADERS = (
    "",
    "# The reference stands in another file.\n",
    "# Rewritten from the reference.\n# Same names, same order of the arguments.\n\n",
    "from __future__ import annotations\n\n",
)
_ALTERNATIVE = re.compile(r" *#(?P<sort>[=~?]) (?P<text>.*)")
_FAULT = re.compile(r"(?P<kind>[^:^]*[^:^ ])(?P<readers>( \^\w+)*): (?P<text>.*)")
_LABELS = "  #: "
_LOSS = "#@ loss"


@dataclasses.dataclass(frozen=True)
class Fault:
    """Two programs, the second of which has one fault.

    Attributes:
      name: the network, the kind of fault, and its number.
      network: the network's name.
      kind: what is wrong: "an epsilon", "transpose", ...
      a: the right function.
      b: the wrong one.
      args: what both take.
      line: where in the second's file the fault can be named: first the line that was planted, then
        those whose operators read it.
      file: the name of the second's file.
      options: "port": whether the second is spelled differently throughout; "loss": whether the
        functions return a scalar; "phase": "backward" if the value is right and the gradient wrong;
        "fixed": the second function without its fault.
    """

    name: str
    network: str
    kind: str
    a: Callable[..., Any]
    b: Callable[..., Any]
    args: tuple[Any, ...]
    line: tuple[int, ...]
    file: str
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Honest:
    """Two programs without a fault between them.

    Attributes:
      name: the network, how the two differ, and its number.
      a: the one function.
      b: the other, or the same, to be run compiled and operator by operator.
      args: what both take.
      options: "how" they differ: "mode", "respelled" (line by line), "restructured" (loops,
        patches, batches) or "port"; "scale" of the data; "loss": whether the functions return a
        scalar, and so have a gradient.
    """

    name: str
    a: Callable[..., Any]
    b: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cancellation:
    """A program that loses most of its digits at one line.

    Attributes:
      name: what is computed how.
      f: the function.
      args: what it takes, in float32.
      line: the line at which the digits die.
      stable: the same function with that one line in its stable form.
    """

    name: str
    f: Callable[..., Any]
    args: tuple[Any, ...]
    line: int
    stable: Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Site:
    """A fault that can be planted: what takes the place of a line, and the lines that read it."""

    kind: str
    index: int
    text: str
    readers: tuple[int, ...]
    in_loss: bool


@dataclasses.dataclass(frozen=True)
class Template:
    """A text with what can take the place of its lines, by the line's index.

    Attributes:
      lines: the text's own lines.
      same: alternatives that compute the same in the same structure.
      restructured: alternatives that compute the same in another structure.
      sites: the faults.
    """

    lines: tuple[str, ...]
    same: dict[int, list[str]]
    restructured: dict[int, list[str]]
    sites: tuple[Site, ...]

    def render(self, changes: dict[int, str]) -> str:
        """Return the text with some of its lines changed."""
        lines = (changes.get(index, line) for index, line in enumerate(self.lines))
        return "\n".join(lines) + "\n"


def read(text: str) -> Template:
    """Return what an annotated text says."""
    lines: list[str] = []
    found: dict[str, list[tuple[int, str]]] = {"=": [], "~": [], "?": []}
    labels: dict[str, list[int]] = collections.defaultdict(list)
    loss = None
    for line in text.splitlines():
        if line == _LOSS:
            loss = len(lines)
        elif alternative := _ALTERNATIVE.fullmatch(line):
            found[alternative["sort"]].append((len(lines) - 1, alternative["text"]))
        else:
            plain, _, names = line.partition(_LABELS)
            for label in names.split():
                labels[label].append(len(lines))
            lines.append(plain)
    return Template(
        tuple(lines),
        _by_line(lines, found["="]),
        _by_line(lines, found["~"]),
        tuple(_site(lines, index, fault, labels, loss) for index, fault in found["?"]),
    )


def faults(seed: int, count: int, folder: pathlib.Path) -> Iterator[Fault]:
    """Yield pairs with one fault each: the networks in turn, and of each the kinds in turn."""
    rng = np.random.default_rng(seed)
    turns = {network.name: itertools.cycle(sites(rng, network)) for network in NETWORKS}
    for number, network in zip(range(count), itertools.cycle(NETWORKS), strict=False):
        spelling, site = next(turns[network.name])
        yield _fault(rng, f"fault_{seed}_{number:03d}", network, spelling, site, folder)


def honest(seed: int, count: int, folder: pathlib.Path) -> Iterator[Honest]:
    """Yield pairs without a fault: the networks, the ways to differ and the scales in turn."""
    rng = np.random.default_rng(seed)
    hows = ("mode", "respelled", "restructured", "port")
    for number in range(count):
        network = NETWORKS[number % len(NETWORKS)]
        how = hows[number // len(NETWORKS) % len(hows)]
        scale = SCALES[number // 3 % len(SCALES)]
        yield _honest(rng, f"honest_{seed}_{number:03d}", network, how, scale, folder)


def cancellations(seed: int, count: int, folder: pathlib.Path) -> Iterator[Cancellation]:
    """Yield programs that lose their digits, no two alike while there are others."""
    rng = np.random.default_rng(seed)
    order = itertools.cycle(rng.permutation(len(CANCELLATIONS)))
    for number, chosen in zip(range(count), order, strict=False):
        loss = CANCELLATIONS[chosen]
        template = read(loss.text)
        (index,) = template.same
        stem = f"digits_{seed}_{number:03d}"
        stable = template.render({index: template.same[index][0]})
        yield Cancellation(
            f"{loss.name} {number}",
            _load(folder / f"{stem}.py", template.render({})).f,
            loss.args(rng),
            index + 1,
            _load(folder / f"{stem}_stable.py", stable).f,
        )


def _fault(
    rng: np.random.Generator,
    stem: str,
    network: Network,
    spelling: int,
    site: Site,
    folder: pathlib.Path,
) -> Fault:
    port = bool(rng.random() < PORT_SHARE)
    template = read(network.texts[spelling])
    changes = _drawn(rng, template.same, 0.3)
    if port:
        other = read(network.texts[1 - spelling])
        right = other.render(_drawn(rng, other.same, 0.3))
    else:
        right = template.render(changes)
    header = HEADERS[rng.integers(len(HEADERS))]
    backward = site.kind.startswith("backward")
    loss = bool(backward or site.in_loss or rng.random() < 0.6)
    entry = "loss" if loss else "logits"
    args = network.args(rng, float(rng.choice([0.3, 0.6, 1.0])))
    wrong = folder / f"{stem}_b.py"
    fixed = _load(folder / f"{stem}_fixed.py", header + template.render(changes))
    planted = template.render({**changes, site.index: site.text})
    above = header.count("\n") + 1
    return Fault(
        f"{network.name}, {site.kind} {stem.rsplit('_', 1)[1]}",
        network.name,
        site.kind,
        getattr(_load(folder / f"{stem}_a.py", right), entry),
        getattr(_load(wrong, header + planted), entry),
        args if loss else args[:-1],
        tuple(above + index for index in (site.index, *site.readers)),
        wrong.name,
        {
            "port": port,
            "loss": loss,
            "phase": "backward" if backward else "forward",
            "fixed": getattr(fixed, entry),
        },
    )


def _honest(
    rng: np.random.Generator,
    stem: str,
    network: Network,
    how: str,
    scale: float,
    folder: pathlib.Path,
) -> Honest:
    first, second = (read(network.texts[place]) for place in rng.permutation(len(network.texts)))
    if how == "restructured" and not first.restructured:
        first = second
    a = first.render(_drawn(rng, first.same, 0.3))
    template = second if how == "port" else first
    changes = _drawn(rng, template.same, 0.7)
    if how == "restructured":
        changes |= _drawn(rng, template.restructured, 1.0)
    loss = bool(rng.random() < 0.6)
    entry = "loss" if loss else "logits"
    right = _load(folder / f"{stem}_a.py", a)
    left = right if how == "mode" else _load(folder / f"{stem}_b.py", template.render(changes))
    args = network.args(rng, scale)
    return Honest(
        f"{network.name}, {how} {stem.rsplit('_', 1)[1]}",
        getattr(right, entry),
        getattr(left, entry),
        args if loss else args[:-1],
        {"how": how, "scale": scale, "loss": loss, "network": network.name},
    )


def sites(rng: np.random.Generator, network: Network) -> list[tuple[int, Site]]:
    """Return a network's faults with the text each is in, drawn so that the kinds take turns."""
    sites = [
        (spelling, site) for spelling, text in enumerate(network.texts) for site in read(text).sites
    ]
    drawn = [sites[index] for index in rng.permutation(len(sites))]
    seen: collections.Counter[str] = collections.Counter()
    ranked = []
    for spelling, site in drawn:
        ranked.append((seen[site.kind], spelling, site))
        seen[site.kind] += 1
    ranked.sort(key=lambda one: one[0])
    return [(spelling, site) for _, spelling, site in ranked]


def _site(
    lines: list[str], index: int, fault: str, labels: dict[str, list[int]], loss: int | None
) -> Site:
    match = _FAULT.fullmatch(fault)
    if match is None:
        raise ValueError(f"Not 'kind ^reader: text': {fault!r}")
    readers = [place for label in match["readers"].split() for place in labels[label[1:]]]
    if match["readers"] and not readers:
        raise ValueError(f"No line has the label: {fault!r}")
    in_loss = loss is not None and max(index, *readers, 0) >= loss
    return Site(
        match["kind"], index, _indented(lines[index], match["text"]), tuple(readers), in_loss
    )


def _by_line(lines: list[str], found: list[tuple[int, str]]) -> dict[int, list[str]]:
    grouped: dict[int, list[str]] = collections.defaultdict(list)
    for index, text in found:
        grouped[index].append(_indented(lines[index], text))
    return dict(grouped)


def _indented(like: str, text: str) -> str:
    return like[: len(like) - len(like.lstrip())] + text


def _drawn(
    rng: np.random.Generator, alternatives: dict[int, list[str]], share: float
) -> dict[int, str]:
    """Return for a share of the lines one of their alternatives."""
    return {
        index: texts[rng.integers(len(texts))]
        for index, texts in alternatives.items()
        if rng.random() < share
    }


def _load(path: pathlib.Path, text: str) -> Any:
    """Write a program to a file and return it as a module."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
