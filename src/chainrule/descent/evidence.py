"""The page of a chosen learning rate: every rate that was tried, and where it came to."""

import math

import numpy as np

from chainrule import _require
from chainrule._html import Column, Element, document, element, table
from chainrule.descent.choosing import Choice

__all__ = ["page"]
__dir__ = __all__.copy

_WIDE, _HIGH, _LEFT, _ROOM = 720, 340, 70, 40

_SURE = {
    "flat": "the rates on either side of it end alike",
    "peaked": "on one side a rate ends higher, or was given up",
    "cliff": "the next higher rate that was tried diverged",
    "open": "it is the lowest or the highest rate that was tried: a better one may lie beyond",
}


def page(choice: Choice, *, title: str = "A learning rate and its evidence") -> str:
    """Return a page that needs no network and nothing beside it.

    Args:
      choice: what `choose` returns.
      title: its heading.

    Raises:
      ValueError: an argument is of another type.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule.descent import choose
      >>> found = choose(lambda w: w**2, jnp.array(1.0), None, 16)
      >>> page(found).startswith("<!DOCTYPE html>")
      True
    """
    _require.instance("choice", choice, Choice, "what descent.choose returns")
    _require.text("title", title)
    losses, last = np.asarray(choice.trace.loss), [int(n) for n in choice.ran]
    ends = np.array([row[n] for row, n in zip(losses, last, strict=True)])
    edge = {True: f"the edge at the start is {choice.edge:.4g}"}.get(
        math.isfinite(choice.edge), "no edge is known at the start"
    )
    rows = [
        [f"{rate:.4g}", f"{n} of {losses.shape[1] - 1}", f"{end:.5g}", word]
        for rate, n, end, word in zip(choice.rates, last, ends, choice.verdicts, strict=True)
    ]
    return document(
        title,
        element("h1", title),
        element(
            "p",
            f"The rate {choice.rate:.4g}; what was run to the end from {choice.low:.4g} to "
            f"{choice.high:.4g} is as low within 2 % of what it won. It is {choice.sure}: "
            f"{_SURE[choice.sure]}; {edge}. All this cost {choice.cost:.1%} of 200 whole descents.",
        ),
        _chart(choice, ends),
        table(
            ["rate", Column("steps", True), Column("last loss", True), "verdict"],
            rows,
        ),
    )


def _chart(choice: Choice, ends: np.ndarray) -> Element:
    """Draw the last loss of each rate; open marks were given up before the end."""
    good = np.isfinite(ends) & (ends > 0)
    if not good.any():
        return element("p", "No loss is positive and finite: nothing is drawn.")
    start = float(np.asarray(choice.trace.loss)[0, 0])
    floor, top = float(ends[good].min()), max(start, float(ends[good].min())) * 3
    span = [math.log(float(x)) for x in (choice.rates[0], choice.rates[-1])]

    def across(rate: float) -> float:
        return _LEFT + (math.log(rate) - span[0]) / (span[1] - span[0]) * (_WIDE - _LEFT - _ROOM)

    def down(loss: float) -> float:
        share = math.log(min(loss, top) / floor) / math.log(top / floor)
        return _HIGH - _ROOM - share * (_HIGH - 2 * _ROOM)

    marks = []
    whole = int(choice.ran.max())
    for rate, end, ran in zip(choice.rates, ends, choice.ran, strict=True):
        loss = float(end) if math.isfinite(end) and end > 0 else top
        done = ran == whole
        tip = element("title", f"{rate:.4g}: {end:.5g} after {ran} steps")
        place = {"cx": f"{across(rate):.1f}", "cy": f"{down(loss):.1f}", "r": "5"}
        fill = "var(--a)" if done else "var(--paper)"
        marks.append(element("circle", tip, **place, fill=fill, stroke="var(--a)"))
    lines = [(choice.rate, "chosen", "0")]
    if choice.rates[0] < choice.edge < choice.rates[-1]:
        lines.append((choice.edge, "edge", "5 4"))
    for k, (rate, name, dash) in enumerate(lines):
        x = f"{across(rate):.1f}"
        way = f"M{x} {_ROOM}V{_HIGH - _ROOM}"
        marks.append(element("path", d=way, stroke="var(--ink)", stroke_dasharray=dash))
        words = {
            "x": x,
            "y": str(_ROOM - 8 - 16 * k),
            "text_anchor": "middle",
            "fill": "var(--ink)",
        }
        marks.append(element("text", f"{name} {rate:.3g}", **words))
    axis = {"fill": "var(--soft)", "y": str(_HIGH - 12)}
    marks.append(element("text", f"{choice.rates[0]:.2g}", x=str(_LEFT), **axis))
    right = {"x": str(_WIDE - _ROOM), "text_anchor": "end"}
    marks.append(element("text", f"{choice.rates[-1]:.2g}", **right, **axis))
    for loss in (start, floor):
        place = {"x": str(_LEFT - 8), "y": f"{down(loss):.0f}", "text_anchor": "end"}
        marks.append(element("text", f"{loss:.2g}", fill="var(--soft)", **place))
    return element(
        "svg", *marks, viewBox=f"0 0 {_WIDE} {_HIGH}", role="img",
        style="max-width: 45rem; font-size: 0.8rem",
        aria_label="the last loss of every rate that was tried, open marks before the end",
    )  # fmt: skip
