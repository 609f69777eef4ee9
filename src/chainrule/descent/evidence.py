"""The page of a chosen learning rate: every rate that was tried, and where it came to."""

import math

import numpy as np

from chainrule import _require
from chainrule._html import Column, Element, document, element, table
from chainrule.descent.choosing import Choice

__all__ = ["page"]
__dir__ = __all__.copy

_WIDE, _HIGH, _LEFT, _ROOM = 720, 360, 70, 40

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
            f"Chosen: {choice.rate:.4g}. From {choice.low:.4g} to {choice.high:.4g} the descents "
            f"end within 2 % of what it won. It is {choice.sure}: {_SURE[choice.sure]}; {edge}. "
            f"All this cost {choice.cost:.1%} of 200 whole descents.",
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
    low, high = float(choice.rates[0]), float(choice.rates[-1])

    def across(rate: float) -> float:
        return _LEFT + math.log(rate / low) / math.log(high / low) * (_WIDE - _LEFT - _ROOM)

    def down(loss: float) -> float:
        share = math.log(min(loss, top) / floor) / math.log(top / floor)
        return _HIGH - _ROOM - share * (_HIGH - 2 * _ROOM)

    marks = [_text("last loss", 0.0, float(_ROOM - 20), "start")]
    for loss in _decades(floor, top):
        marks.append(_line(f"M{_LEFT} {down(loss):.1f}H{_WIDE - _ROOM}", "var(--rule)"))
        marks.append(_text(f"{loss:.3g}", float(_LEFT - 10), down(loss) + 4, "end"))
    for rate in _decades(low, high):
        marks.append(_line(f"M{across(rate):.1f} {_ROOM}V{_HIGH - _ROOM}", "var(--rule)"))
        marks.append(_text(f"{rate:.3g}", across(rate), float(_HIGH - _ROOM + 20), "middle"))
    marks.append(_text("learning rate", float(_WIDE - _ROOM), float(_HIGH - 2), "end"))
    named = [("chosen", choice.rate, "0")]
    if low < choice.edge < high:
        named.append(("edge", choice.edge, "5 4"))
    named.sort(key=lambda one: one[1])
    for side, (name, rate, dash) in zip(("end", "start"), named, strict=False):
        x = across(rate)
        marks.append(_line(f"M{x:.1f} {_ROOM - 14}V{_HIGH - _ROOM}", "var(--ink)", dash))
        off = -6 if side == "end" else 6
        marks.append(_text(f"{name} {rate:.3g}", x + off, float(_ROOM - 6), side, "var(--ink)"))
    whole = int(choice.ran.max())
    for rate, end, ran in zip(choice.rates, ends, choice.ran, strict=True):
        loss = float(end) if math.isfinite(end) and end > 0 else top
        tip = element("title", f"{rate:.4g}: {end:.5g} after {ran} steps")
        place = {"cx": f"{across(rate):.1f}", "cy": f"{down(loss):.1f}", "r": "5"}
        fill = "var(--a)" if ran == whole else "var(--paper)"
        marks.append(element("circle", tip, **place, fill=fill, stroke="var(--a)"))
    chart = element(
        "svg", *marks, viewBox=f"0 0 {_WIDE} {_HIGH}", role="img", width=str(_WIDE),
        height=str(_HIGH), style="font-size: 13px; max-width: none",
        aria_label="the last loss of every rate that was tried, open marks before the end",
    )  # fmt: skip
    about = (
        "Filled: run to the end. Open: given up before it. At the top: above three times the start."
    )
    scrolled = {"class_": "scroll", "tabindex": "0", "role": "group", "aria_label": "chart"}
    return element("div", element("div", chart, **scrolled), element("p", about))


def _decades(low: float, high: float) -> list[float]:
    """Return powers of ten between two numbers, at most six, in equal steps; else these two."""
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    if last <= first:
        return [low, high]
    return [10.0**k for k in range(first, last + 1, max(1, math.ceil((last - first) / 5)))]


def _line(path: str, stroke: str, dash: str = "0") -> Element:
    return element("path", d=path, stroke=stroke, stroke_dasharray=dash)


def _text(text: str, x: float, y: float, anchor: str, fill: str = "var(--soft)") -> Element:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, fill=fill)
