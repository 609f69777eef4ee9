"""A figure in words: what was drawn, with which numbers, where, and in which colours.

Said is what a drawing function asks for. What matplotlib makes of it (automatic limits and ticks,
the sizes of texts, the final places of the axes) is left out: it changes from version to version.
"""

import difflib
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

LISTED = 10
"""An array of at most so many numbers is listed, of a longer one a summary is said."""


def described(figure: Figure) -> list[str]:
    """Return the lines that say what a figure shows."""
    engine = figure.get_layout_engine()
    usual = {"w_pad": 3 / 72, "h_pad": 3 / 72}
    pads = {} if engine is None else {k: engine.get()[k] for k in usual}
    layout = type(engine).__name__.removesuffix("LayoutEngine").lower()
    lines = [_joined("figure", numbers(figure.get_size_inches()), layout, *_named(pads, usual))]
    bars = _colorbars(figure)
    for index, ax in enumerate(figure.axes):
        if ax in bars:
            lines += _colorbar(index, bars[ax])
        else:
            lines += _axes(index, ax, figure.axes)
    lines += [line for legend in figure.legends for line in _legend(legend)]
    lines += [_text("text", text, "") for text in figure.texts]
    return lines


def differences(before: list[str], after: list[str]) -> list[str]:
    """Return the lines that are not the same; numbers may differ in their fourth digit."""
    before, after = list(before), list(after)
    while before and after and _same(before[0], after[0]):
        del before[0], after[0]
    while before and after and _same(before[-1], after[-1]):
        del before[-1], after[-1]
    found = []
    for tag, i, k, j, m in difflib.SequenceMatcher(None, before, after, False).get_opcodes():
        pairs = zip(before[i:k], after[j:m], strict=False)
        if tag != "equal" and not (k - i == m - j and all(_same(a, b) for a, b in pairs)):
            found += [f"- {line}" for line in before[i:k]] + [f"+ {line}" for line in after[j:m]]
    return found


# With a point, and no part of a word: whole numbers are as they are.
_NUMBER = re.compile(r"(?<![\w.#])-?\d+\.\d*(?:e[+-]?\d+)?(?![\w.])")


def _same(a: str, b: str) -> bool:
    if a == b or _NUMBER.sub("", a) != _NUMBER.sub("", b):
        return a == b
    values = [np.array([float(x) for x in _NUMBER.findall(line)]) for line in (a, b)]
    return np.allclose(*values, rtol=2e-3, atol=1e-12)


def number(value: float) -> str:
    """Return four digits of a number, always with a point."""
    text = f"{float(value):.4g}"
    if text.lstrip("-").isdigit():
        text += "."
    return {"-0.": "0."}.get(text, re.sub(r"^(-?\d+)e", r"\1.e", text))


def numbers(values) -> str:
    """Return an array as text: whole, or its shape, its ends, extremes, mean and a weighted mean.

    The weights differ from place to place: an array in another order has another mean.
    """
    array = np.ma.filled(np.ma.asarray(values, float), np.nan)
    flat = array.ravel()
    if flat.size <= LISTED:
        return f"[{' '.join(map(number, flat))}]"
    known = flat[np.isfinite(flat)]
    weighted = (known * np.cos(np.flatnonzero(np.isfinite(flat)))).mean()
    few = (*flat[[0, -1]], known.min(), known.max(), known.mean(), weighted)
    lost = f", {flat.size - known.size} not finite" if known.size < flat.size else ""
    return f"[{'x'.join(map(str, array.shape))}: {' '.join(map(number, few))}{lost}]"


def color(value, alpha=None) -> str:
    """Return a colour, with its opacity if it is not whole."""
    return to_hex(to_rgba(value, alpha), keep_alpha=True).removesuffix("ff")


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _named(values: dict, usual: dict) -> list[str]:
    """Return the settings that are not the usual ones."""
    said = {name: _value(value) for name, value in values.items() if value is not None}
    return [
        f"{k}={value}" for k, value in said.items() if k not in usual or value != _value(usual[k])
    ]


def _value(value) -> str:
    return number(value) if isinstance(value, float | np.floating) else str(value)


def _colorbars(figure: Figure) -> dict:
    drawn = [artist for ax in figure.axes for artist in (*ax.images, *ax.collections)]
    return {artist.colorbar.ax: artist.colorbar for artist in drawn if artist.colorbar}


def _place(ax: Axes) -> str:
    return numbers(ax.get_position(original=True).bounds)


def _colorbar(index: int, bar) -> list[str]:
    ax = bar.ax
    aspect = ax.get_box_aspect()
    return [
        _joined(
            f"colour bar {index} at {_place(ax)}",
            numbers([bar.vmin, bar.vmax]), bar.cmap.name, bar.extend,
            "" if aspect is None else f"aspect={number(aspect)}",
            f"frame={number(bar.outline.get_linewidth())}",
            _quoted(ax.get_ylabel()),
        )
    ]  # fmt: skip


def _axes(index: int, ax: Axes, others: list[Axes]) -> list[str]:
    lines = [f"axes {index} at {_place(ax)}"]
    if ax.axison or hasattr(ax, "zaxis"):
        named = {
            "aspect": ax.get_aspect(), "box": ax.get_box_aspect(),
            "face": color(ax.get_facecolor()),
            "seen_from": numbers([ax.elev, ax.azim]) if hasattr(ax, "elev") else None,
        }  # fmt: skip
        spines = [_spine(name, spine) for name, spine in ax.spines.items() if spine.get_visible()]
        drawn = ", ".join(spines) or "none"
        usual = "left, bottom"
        named["spines"] = None if drawn == usual else drawn
        lines[0] = _joined(lines[0], *_named(named, {"aspect": "auto", "face": "#ffffff"}))
        for name in ax._axis_names:
            said = _axis(ax, name, others)
            lines += [f"  {name} {said}"] if said else []
    else:
        lines[0] += " off"
    titles = {"left": ax._left_title, "center": ax.title, "right": ax._right_title}
    for where, title in titles.items():
        if title.get_text():
            raised = ax.titleOffsetTrans.get_matrix()[1, 2] * 72 / ax.figure.dpi
            at = _joined(
                where if where != "left" else "", *_named({"raised": raised}, {"raised": 6.0})
            )
            lines.append("  " + _text("title", title, at, size=9.0))
    lines += _artists(ax)
    if ax.get_legend():
        lines += ["  " + line for line in _legend(ax.get_legend())]
    return lines


def _spine(name: str, spine) -> str:
    parts = []
    if spine.get_linewidth() != 0.8:
        parts.append(f"{number(spine.get_linewidth())} {color(spine.get_edgecolor())}")
    if spine.get_bounds() is not None:
        parts.append(f"from {numbers(spine.get_bounds())}")
    return " ".join([name, *parts])


def _axis(ax: Axes, name: str, others: list[Axes]) -> str:
    axis, scale = getattr(ax, f"{name}axis"), getattr(ax, f"get_{name}scale")()
    transform = axis.get_transform()
    settings = {key: getattr(transform, key, None) for key in ("base", "linthresh")}
    shared = [] if name == "z" else getattr(ax, f"get_shared_{name}_axes")().get_siblings(ax)
    first = min(map(others.index, shared), default=0)
    params, label = axis.get_tick_params(which="major"), axis.label
    automatic = getattr(ax, f"get_autoscale{name}_on")()
    return _joined(
        "" if scale == "linear" else scale, *_named(settings, {"base": 10}),
        "" if automatic else numbers(getattr(ax, f"get_{name}lim")()),
        f"as of axes {first}" if len(shared) > 1 and others[first] is not ax else "",
        *_named(params, _USUAL_TICKS), _ticks(ax, name, axis),
        _text("label", label, *_named({"pad": axis.labelpad}, {"pad": 4.0}), size=9.0,
              turned=90.0 * (name == "y")) if label.get_text() else "",
    )  # fmt: skip


_USUAL_TICKS = {
    "left": True, "bottom": True, "labelleft": True, "labelbottom": True, "right": False,
    "top": False, "labelright": False, "labeltop": False, "gridOn": False,
}  # fmt: skip
_USUAL_LOCATORS = {
    "AutoLocator NullLocator ScalarFormatter", "LogLocator LogLocator LogFormatterSciNotation",
    "SymmetricalLogLocator NullLocator LogFormatterSciNotation",
}  # fmt: skip


def _ticks(ax: Axes, name: str, axis) -> str:
    minor = type(axis.get_minor_locator()).__name__
    locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
    if isinstance(locator, FixedLocator):
        labels = axis.get_ticklabels()
        texts = (_quoted(label.get_text()) for label in labels if label.get_text())
        said = [f"ticks {numbers(axis.get_majorticklocs())}", *texts]
        said += [] if minor == "NullLocator" else [minor]
    else:
        labels = [axis.majorTicks[0].label1]
        used = " ".join([type(locator).__name__, minor, type(formatter).__name__])
        whole = all(float(tick).is_integer() for tick in locator.tick_values(0.9, 2.2))
        said = [] if used in _USUAL_LOCATORS else [used]
        said += ["whole"] if whole and not used.startswith("Log") else []
        said += [getattr(formatter, "fmt", "")]
    look = {
        key: value
        for label in labels[:1]
        for key, value in {
            "turned": label.get_rotation(), "align": label.get_ha(), "digits": label.get_fontsize(),
        }.items()
    }  # fmt: skip
    usual = {"turned": 0.0, "align": "right" if name == "y" else "center", "digits": 8.0}
    return _joined(*said, *_named(look, usual))


def _quoted(text: str) -> str:
    return "'" + text.replace("\n", "\\n") + "'"


def _legend(legend) -> list[str]:
    title = legend.get_title().get_text()
    columns = _named({"columns": legend._ncols}, {"columns": 1})
    lines = [_joined("legend", *columns, _quoted(title) if title else "")]
    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
        look = _line_look(handle) if isinstance(handle, Line2D) else _patch_look(handle)
        lines.append("  " + _text("", text, look))
    return lines


def _artists(ax: Axes) -> list[str]:
    apart = {*ax.spines.values(), ax.patch, ax.title, ax._left_title, ax._right_title}
    lines = []
    if hasattr(ax, "zaxis"):
        ax.M = ax.get_proj()
    for artist in ax.get_children():
        if artist in apart:
            continue
        if isinstance(artist, Line2D):
            lines.append("  " + _line(ax, artist))
        elif isinstance(artist, Text):
            lines.append(
                "  " + _text("text", artist, f"at {numbers(artist.get_position())}", ax=ax)
            )
        elif isinstance(artist, AxesImage):
            lines.append("  " + _image(artist))
        elif isinstance(artist, Patch):
            lines.append("  " + _patch(ax, artist))
        elif isinstance(artist, Collection):
            lines.append("  " + _collection(ax, artist))
    return lines


def _in(ax: Axes, artist) -> str:
    """Return in which coordinates an artist is placed, if these are not the data's."""
    places = {
        "axes": ax.transAxes, "x of data, y of axes": ax.get_xaxis_transform(which="grid"),
        "x of axes, y of data": ax.get_yaxis_transform(which="grid"),
    }  # fmt: skip
    get = artist.get_data_transform if isinstance(artist, Patch) else artist.get_transform
    return next((f"in {name}" for name, place in places.items() if get() == place), "")


def _common(artist, zorder: float) -> str:
    parts = [
        *_named({"zorder": artist.get_zorder()}, {"zorder": zorder}),
        "" if artist.get_clip_on() or isinstance(artist, Text) else "not clipped",
        "rasterized" if artist.get_rasterized() else "",
    ]
    return _joined(*parts)


def _line(ax: Axes, line: Line2D) -> str:
    if hasattr(line, "get_xy1"):  # an endless one
        data = f"through {numbers(line.get_xy1())} {numbers(line.get_xy2())}"
    elif hasattr(line, "get_data_3d"):
        data = " ".join(map(numbers, line.get_data_3d()))
    else:
        data = " ".join(numbers(x) for x in line.get_data(orig=False))
    named = "" if line.get_label().startswith("_") else f" {_quoted(line.get_label())}"
    return _joined(f"line{named}", data, _line_look(line), _in(ax, line), _common(line, 2))


def _line_look(line: Line2D) -> str:
    alpha, parts = line.get_alpha(), []
    if line.get_linestyle() != "None":
        stroke = color(line.get_color(), alpha)
        parts.append(f"{stroke} {line.get_linestyle()} lw={number(line.get_linewidth())}")
    if line.get_marker() not in ("None", "none", "", " ", None):
        face, edge = line.get_markerfacecolor(), line.get_markeredgecolor()
        parts.append(f"{line.get_marker()} {color(face, alpha)} ms={number(line.get_markersize())}")
        if (width := line.get_markeredgewidth()) != 1 or not np.array_equal(face, edge):
            parts.append(f"edge {color(edge, alpha)} {number(width)}")
    return " ".join(parts)


def _text(name: str, text: Text, *place: str, size=8.0, turned=0.0, ax: Axes | None = None) -> str:
    extra = []
    if hasattr(text, "xyann"):
        extra.append(f"to {numbers(text.xy)} by {text.anncoords}")
        extra.append("with an arrow" if text.arrow_patch else "")
    if text.get_bbox_patch():
        extra.append("in a box " + _patch_look(text.get_bbox_patch()))
    look = {
        "color": color(text.get_color(), text.get_alpha()), "size": text.get_fontsize(),
        "turned": text.get_rotation(),
    }  # fmt: skip
    usual = {"color": "#000000", "size": size, "turned": turned}
    return _joined(
        name, _quoted(text.get_text()), *place,
        f"{text.get_ha()} {text.get_va()}" if ax else "", *_named(look, usual),
        *extra, _in(ax, text) if ax else "", _common(text, 3) if ax else "",
    )  # fmt: skip


def _image(image: AxesImage) -> str:
    alpha = image.get_alpha()
    return _joined(
        f"image {numbers(image.get_array())}", f"{image.cmap.name}", numbers(image.get_clim()),
        f"over {numbers(image.get_extent())} from {image.origin}",
        "" if alpha is None else f"alpha={number(alpha)}", _common(image, 0),
    )  # fmt: skip


def _patch(ax: Axes, patch: Patch) -> str:
    corners = patch.get_patch_transform().transform(patch.get_path().vertices)
    named = "" if (patch.get_label() or "_").startswith("_") else patch.get_label()
    return _joined(
        f"patch {_quoted(named)}" if named else "patch", " ".join(map(numbers, corners.T)),
        _patch_look(patch), _in(ax, patch), _common(patch, 1),
    )  # fmt: skip


def _patch_look(patch: Patch) -> str:
    inside = color(patch.get_facecolor()) if patch.get_fill() else "empty"
    return f"{inside} edge {color(patch.get_edgecolor())} {number(patch.get_linewidth())}"


def _collection(ax: Axes, artist: Collection) -> str:
    if hasattr(artist, "do_3d_projection"):
        artist.do_3d_projection()
    corners = np.concatenate([path.vertices for path in artist.get_paths()])
    if hasattr(artist, "do_3d_projection"):
        corners = np.sort(corners, axis=0)  # drawn from behind: in an order of no meaning
    colors = {color(one) for one in (*artist.get_facecolor(), *artist.get_edgecolor())}
    widths = numbers(sorted({float(width) for width in artist.get_linewidths()}))
    return _joined(
        f"{len(artist.get_paths())} paths", " ".join(map(numbers, corners.T)),
        " ".join(sorted(colors)), f"lw={widths}", _in(ax, artist), _common(artist, 1),
    )  # fmt: skip
