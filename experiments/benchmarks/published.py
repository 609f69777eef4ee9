"""The tables of the book and three lines of the README, from the numbers of one run."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from missed import FASTER, WHY

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
COLUMNS = (
    "work", "against", "ratio (range, rounds)", "target", "ours", "the peer's", "first call",
    "memory", "of the limit",
)  # fmt: skip
ROWS = (
    "Our time over the peer's, median of the rounds; below 1 ours is faster. With a sign it is by "
    "how much ours takes longer. Where there are several peers, the fastest is to be beaten. "
    "First call (with compilation) and memory: ours, the peer's; memory is what a call adds at "
    "most, or all of a process of its own. Of the limit: the operations that XLA counts in the "
    "work, a second, over those of a large product of matrices."
)
GROWTH_COLUMNS = (
    "what grows", "work", "from, to", "the work", "counted", "time", "memory", "compilation",
    "the largest",
)  # fmt: skip
GROWTH = (
    "How cost grows: the exponents of time, memory and compilation (or the first call) over the "
    "size, fitted to the logarithms (1: twice as much takes twice as long), beside those of the "
    "work, by theory and as XLA counts it."
)

SURROUNDINGS = ("machine", "threads", "load", "limits", "versions", "commit")
"""What of a run says where its rows were measured."""

NAMES = {
    "small": "small sweep: 1000 rates, two wells, 1000 steps",
    "sweep": "sweep: 64 rates of the 784-200-1 network, 100 steps",
    "mlp": "MLP: 784-200-1, 1000 full-batch steps",
    "lenet": "LeNet: one epoch of 60000 digits, batch 100",
    "siamese": "siamese: one epoch of 59904 pairs, batch 128",
    "vgg": "VGG16: step of training, batch 4, float32",
    "bfloat16": "VGG16: step of training, batch 4, bfloat16",
    "x-ray VGG16": "x-ray: the record of VGG16's loss, batch 1",
    "x-ray chain": "x-ray: the record of a function of 5000 equations",
    "x-ray LeNet": "x-ray: the record of LeNet's loss, batch 100",
}
"""The rows that the README speaks of."""


def table(results: Mapping[str, Any]) -> str:
    """Return a run as Markdown: the rows, what they ran on, what was missed and how cost grows."""
    lines = _head(COLUMNS)
    limits = results["limits"]
    for row in results["rows"]:
        ours, theirs = row["ours"], row["theirs"]
        cells = (
            row["name"],
            row["peer"],
            f"{score(row, 'middle')} ({score(row, 'low')} to {score(row, 'high')}, "
            f"{row['rounds']})",
            goal(row),
            seconds(ours["seconds"]),
            seconds(theirs["seconds"]),
            f"{seconds(ours['first_seconds'])}, {seconds(theirs['first_seconds'])}",
            f"{_bytes(ours['bytes'])}, {_bytes(theirs['bytes'])}",
            share(row, limits),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"{ROWS} {_surroundings(results)}",
        *_later(results["rows"]),
        *(line for row in results["rows"] for line in _shown(row)),
        *_where_missed(results["rows"]),
        *_growths(results["growth"]),
    ]
    return "\n".join(lines)


def beside(stored: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of a whole run with the rows of a later run of some of them.

    Each such row keeps the surroundings that it was measured in.
    """
    where = {name: found[name] for name in SURROUNDINGS}
    new = [row | {"where": where} for row in found["rows"]]
    names = {row["name"] for row in new}
    kept = [row for row in stored["rows"] if row["name"] not in names]
    return {**stored, "rows": kept + new, "growth": found["growth"] or stored["growth"]}


def _surroundings(found: Mapping[str, Any]) -> str:
    limits = found["limits"]
    about = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    vectors = found["machine"].get("vectors")
    return (
        f"{found['machine']['processor']}{f' with {vectors}' if vectors else ''}, "
        f"{found['threads']} threads on both sides, load "
        f"{found['load']:.1f} at the start; products of matrices {limits['gflops']:.0f} GFLOP/s, "
        f"copying {limits['gigabytes_per_second']:.1f} GB/s, measured in the same run; {about}; "
        f"commit {found['commit']}."
    )


def _later(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    runs: dict[str, list[str]] = {}
    for row in rows:
        if "where" in row:
            names = runs.setdefault(_surroundings(row["where"]), [])
            names += [row["name"]] if row["name"] not in names else []
    for surroundings, names in runs.items():
        yield from ("", f"In a run of their own: {'; '.join(names)}. {surroundings}")


def _head(columns: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the slope of the costs over the sizes, both in logarithms, by least squares.

    >>> exponent([10, 20, 40], [3, 12, 48])
    2.0
    """
    return round(float(np.polyfit(np.log(sizes), np.log(costs), 1)[0]), 6)


def score(row: Mapping[str, Any], which: str) -> str:
    """Return a ratio, or the seconds that ours takes longer."""
    number = row[which]
    if row["extra"]:
        return f"{'-' if number < 0 else '+'}{seconds(abs(number))}"
    return ratio(number)


def goal(row: Mapping[str, Any]) -> str:
    """Return the target of a row as its score is written."""
    if row["target"] is None:
        return ""
    return f"+{row['target']:g} s" if row["extra"] else f"{row['target']:g}"


def share(row: Mapping[str, Any], limits: Mapping[str, float]) -> str:
    """Return the part of the machine's rate of products that ours reaches."""
    if row["operations"] is None:
        return ""
    rate = row["operations"] / row["ours"]["seconds"] / 1e9
    return f"{rate / limits['gflops']:.0%} ({rate:.0f} GFLOP/s)"


def ratio(number: float) -> str:
    """Return a ratio with two decimals, or with two digits where it is small."""
    return f"{number:.2f}" if number >= 0.1 else f"{number:.2g}"


def seconds(number: float | None) -> str:
    """Return a time in seconds or milliseconds, with three digits."""
    if number is None:
        return "?"
    return f"{number:.3g} s" if number >= 1 else f"{number * 1e3:.3g} ms"


def _bytes(number: float | None) -> str:
    if number is None:
        return "?"
    return f"{number / 1e9:.3g} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def missed(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows that are above their targets."""
    return [row for row in rows if row["target"] is not None and row["middle"] > row["target"]]


def why(name: str, reasons: Mapping[str, str]) -> str:
    """Return what is known of a row: that of the longest beginning of its name."""
    known = [start for start in reasons if name.startswith(start)]
    return reasons[max(known, key=len)] if known else "not looked into yet."


def _shown(row: Mapping[str, Any]) -> Iterator[str]:
    if row["ours"]["answers"]:
        ours, theirs = (", ".join(row[side]["answers"]) for side in ("ours", "theirs"))
        yield from ("", f"{row['name']}: {ours}; {row['peer']}: {theirs}.")


def _where_missed(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if found := missed(rows):
        yield from ("", "Where a target is missed:", "")
        alike: dict[str, list[str]] = {}
        for row in found:
            measured = f"{score(row, 'middle')} against {row['peer']}, target {goal(row)}"
            alike.setdefault(why(row["name"], WHY), []).append(f"{row['name']} ({measured})")
        for reason, names in alike.items():
            yield f"- {'; '.join(names)}: {reason}"


def _growths(growths: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not growths:
        return
    yield from ("", GROWTH, "", *_head(GROWTH_COLUMNS))
    for growth in growths:
        costs = [growth[name] for name in ("operations", "seconds", "bytes", "first_seconds")]
        fits = ["" if cost is None else f"{exponent(growth['sizes'], cost):.2f}" for cost in costs]
        cells = (
            growth["size"],
            growth["work"],
            f"{growth['sizes'][0]:,} to {growth['sizes'][-1]:,}",
            f"{growth['theory']:g}",
            *fits,
            seconds(growth["seconds"][-1]),
        )
        yield f"| {' | '.join(cells)} |"
    if found := [growth for growth in growths if faster(growth)]:
        yield from ("", "Where time grows faster than the work:", "")
        for growth in found:
            name = f"{growth['size']}: {growth['work']}"
            yield f"- {name}: {why(name, FASTER)}"


def faster(growth: Mapping[str, Any]) -> bool:
    """Say whether time grows faster than the work, by more than it varies from run to run."""
    return exponent(growth["sizes"], growth["seconds"]) > growth["theory"] + 0.1


def headlines(results: Mapping[str, Any]) -> str:
    """Return what the README says of a run; of several peers it names the fastest.

    Raises:
      ValueError: rows are missing, as in a run of some rows only or without PyTorch.
    """
    rows = {row["name"]: row for row in sorted(results["rows"], key=lambda row: row["middle"])}
    if absent := [name for name in NAMES.values() if name not in rows]:
        raise ValueError(f"the README names rows that this run has not: {', '.join(absent)}")
    of = {short: ratio(rows[name]["middle"]) for short, name in NAMES.items()}
    ours, theirs = (seconds(rows[NAMES["small"]][side]["seconds"]) for side in ("ours", "theirs"))
    vectors = results["machine"].get("vectors", "")
    # Without such instructions nobody would train in it.
    bfloat16 = f" and {of['bfloat16']} in bfloat16" if "bfloat16" in vectors else ""
    return (
        f"- **Sweeps.** 1,000 rates of 1,000 steps on two wells: {ours} in one program, {theirs} "
        f"in a Python loop over optax. 64 rates of a 784-200-1 network: {of['sweep']} of the time "
        "of 64 runs in turn.\n"
        f"- **Training**, over PyTorch's time{f' (cores with {vectors})' if vectors else ''}: "
        f"{of['mlp']} for that network, {of['lenet']} for LeNet, {of['siamese']} for a siamese "
        f"network, {of['vgg']} for VGG16{bfloat16}.\n"
        f"- **X-ray**, over the time of the compiled gradient: {of['x-ray VGG16']} for VGG16, "
        f"{of['x-ray chain']} for 5,000 operators, {of['x-ray LeNet']} for LeNet."
    )


def put(text: str, made: str) -> str:
    """Return a page with what stands between its two marks replaced.

    Raises:
      ValueError: the page has not the two marks.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the page has no place for the numbers: write {BEGIN} and {END} into it")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}"


def pages(results: Mapping[str, Any], root: pathlib.Path) -> dict[pathlib.Path, str]:
    """Return the README and the book's page of a repository with the numbers of a run."""
    made = {
        root / "README.md": headlines(results),
        root / "notebooks/benchmarks.md": table(results),
    }
    return {path: put(path.read_text(encoding="utf-8"), part) for path, part in made.items()}
