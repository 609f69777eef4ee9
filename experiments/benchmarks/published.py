"""The table of the README, from the numbers of one run."""

import pathlib
from collections.abc import Mapping
from typing import Any

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def table(results: Mapping[str, Any]) -> str:
    """Return the rows of a run as Markdown, with what they ran on."""
    lines = [
        "| work | against | ratio (range, pairs) | target | ours | first call |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        target = "" if row["target"] is None else f"{row['target']:g}"
        lines.append(
            f"| {row['name']} | {row['peer']} | {ratio(row['ratio'])} ({ratio(row['low'])} to "
            f"{ratio(row['high'])}, {row['pairs']}) | {target} | {_seconds(row['ours_seconds'])} | "
            f"{_seconds(row['first_seconds'])} |"
        )
    machine, limits, versions = (results[key] for key in ("machine", "limits", "versions"))
    about = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines += [
        "",
        f"Our time over the peer's, median of the pairs; below 1 ours is faster. "
        f"{machine['processor']}, {results['threads']} threads on both sides, load "
        f"{results['load']:.1f} at the start; products of matrices {limits['gflops']:.0f} GFLOP/s, "
        f"copying {limits['gigabytes_per_second']:.1f} GB/s, measured in the same run; {about}; "
        f"commit {results['commit']}.",
    ]
    return "\n".join(lines)


def ratio(number: float) -> str:
    """Return a ratio with two decimals, or with two digits where it is small."""
    return f"{number:.2f}" if number >= 0.1 else f"{number:.2g}"


def _seconds(number: float) -> str:
    return f"{number:.3g} s" if number >= 1 else f"{number * 1e3:.3g} ms"


def put(text: str, results: Mapping[str, Any]) -> str:
    """Return a page with the table between its two marks replaced.

    Raises:
      ValueError: the page has not the two marks.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the page has no place for the table: write {BEGIN} and {END} into it")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table(results)}\n{END}{rest.split(END)[1]}"


def publish(results: Mapping[str, Any], readme: pathlib.Path) -> None:
    """Write the table into the README."""
    readme.write_text(put(readme.read_text(encoding="utf-8"), results), encoding="utf-8")
