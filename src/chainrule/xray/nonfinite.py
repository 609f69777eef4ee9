"""Where NaN and Inf are born: in which operator, on which line, forward or backward, and why."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.xray import _jax, cures, primitives
from chainrule.xray.births import Birth, Cures, Datum, Nonfinite
from chainrule.xray.causes import Event, explain
from chainrule.xray.consequences import Spot, Verdict, judge, rejecting
from chainrule.xray.cures import Site
from chainrule.xray.elements import Bad, element_at, fits, numbers, text
from chainrule.xray.evidence import Scene, addition, reason, size
from chainrule.xray.record import Device, Entry, Record, measured
from chainrule.xray.rerun import Place
from chainrule.xray.search import Found, Search

__all__ = ["find"]
__dir__ = __all__.copy


@_jax.quiet
def find(record: Record) -> Nonfinite:
    """Return every birth of a NaN or an Inf in a record, and what becomes of it.

    Of a record read from a file it is what its statistics tell.
    """
    record = record if record.runs else measured(record)
    search = Search(record, ())
    found = search.run()
    verdicts = _verdicts(record, search, found)
    pairs = zip(found, verdicts, strict=True)
    births = tuple(_birth(record, one, verdict) for one, verdict in pairs)
    data = [(node.index, _datum(search, node, bad)) for node, bad in search.arguments()]

    def attempt(progress: Callable[[str], None]) -> Cures:
        given = [(k, datum) for k, datum in data if record.nodes[k].is_argument]
        return cures.find(record, _sites(record, found, births), given, _again, progress)

    return Nonfinite(
        births=births,
        arguments=tuple(datum.name for _, datum in data),
        data=tuple(datum for _, datum in data),
        reaches=tuple(search.results()),
        compiled=record.compiled,
        decided=record.keep == "values",
        unseen=tuple(search.unseen.values()),
        attempt=attempt if record.keep == "values" and record.steps is None else None,
    )


def _sites(record: Record, found: Sequence[Found], births: Sequence[Birth]) -> list[Site]:
    """Return where something could be written otherwise, for births that are not harmless."""
    sites = []
    for one, birth in zip(found, births, strict=True):
        if one.place is None or birth.harmless:
            continue
        if len(one.place) == 1:  # of a function with a custom rule, the whole
            sites.append(Site(birth, record, one.place[0], one.place))
        elif one.number is not None:
            sites.append(Site(birth, one.search.record, one.node.index, one.place))
    return sites


def _again(record: Record) -> list[Site]:
    """Return where something is born in a record, whatever becomes of it."""
    search = Search(record, ())
    found = search.run()
    known = [_birth(record, one, _static(search, one)) for one in found]
    return _sites(record, found, known)


def _datum(search: Search, node: Entry, bad: Bad) -> Datum:
    nan = bool(bad.nan)
    index: tuple[int, ...] = ()
    if bad.array is None:
        count = node.value.nans if nan else node.value.infs
    else:
        where = np.isnan(bad.array) if nan else np.isinf(bad.array)
        count = int(where.sum())
        index = tuple(int(i) for i in np.argwhere(where)[0])
    line = search.enters(node)
    return Datum(
        name=node.label,
        kind="NaN" if nan else "Inf",
        index=index,
        count=count,
        line=line or search.first_use(node),
        in_gradient=bool(line),
    )


def _verdicts(record: Record, search: Search, found: Sequence[Found]) -> list[Verdict]:
    """Return what becomes of each birth.

    Where there is one root only and something bad is left, that came from the root, and nothing
    need be run.
    """
    static = [_static(search, one) for one in found]
    placed = [one for one in found if one.place is not None]
    # What follows from an infinity that the program writes out, a mask say, has no other root.
    roots = [one for one in placed if not one.follows] or placed
    places = list(dict.fromkeys(one.place for one in roots if one.place is not None))
    alone = len(places) == 1 and any(search.results())
    if not places or alone or record.keep != "values" or record.steps is not None:
        return static
    judged = judge(record, [_spot(place, roots) for place in places])
    if judged is None:
        return static
    by_place = dict(zip(places, judged, strict=True))
    nothing = not any(v.in_result or v.in_gradient for v in judged)
    return [
        by_place.get(one.place or (), known._replace(in_result=False, in_gradient=False))
        if nothing or one in roots
        else known
        for one, known in zip(found, static, strict=True)
    ]


def _static(search: Search, one: Found) -> Verdict:
    """Return what the ways of bad numbers say, which is no proof that nothing came of a birth."""
    in_result, in_gradient = search.paths.reach(one.outer, one.phase)
    bad = any(search.results())
    # A birth of which nothing is to be seen in the end may still have been lost on the way.
    return Verdict(in_result or not bad, in_gradient or not bad, lost=False)


def _spot(place: Place, roots: Sequence[Found]) -> Spot:
    forward: dict[int | None, Any] = {}
    backward: dict[int | None, Any] = {}
    for one in roots:
        if one.place == place:
            into = forward if one.phase == "forward" else backward
            # Inside a loop, or a custom rule, they are not the elements of the array outside.
            inner = len(place) > 1 or one.number is None
            into[one.number] = True if inner else into.get(one.number, False) | one.where
    return Spot(place, forward, backward)


def _birth(whole: Record, one: Found, verdict: Verdict) -> Birth:
    node, record, nan = one.node, one.search.record, one.nan
    root = whole.nodes[one.outer]
    index, shape = one.index, tuple(one.array.shape)
    # What a custom rule computes backward are values, too.
    of_rule = one.phase == "backward" and one.number is None
    back = one.phase == "backward" and not of_rule
    g: Any = node.cotangents[0] if back else None
    if one.where is None:
        count = one.array.nans if nan else one.array.infs
    else:
        count = int(one.where.sum())
    step: tuple[int, ...] = ()
    if record.steps is not None:
        step, index, shape = index[:1], index[1:], shape[1:]
        g = None if g is None else g[step]
    taken = _taken(record, node, step)
    elements = [element_at(x, shape, index) for x in taken]
    # A sum, or a product of matrices, takes more of the gradient than the element at its place.
    own = node.known.elementwise or node.custom or np.ndim(g) == 0
    g_element = element_at(g, shape, index) if own else None
    op = "add" if one.total else node.op
    known = primitives.known("add") if one.total else node.known
    backward = back and not one.total
    event = Event(
        op=op,
        cases=known.backward if backward else known.forward,
        singular=known.singular,
        dtype=one.array.dtype,
        inputs=elements,
        g=None if one.total else g_element,
        backward=backward,
        nan=nan,
        of_squares=one.search.paths.is_of_squares(node),
        choice="",
        follows=one.follows,
        hidden=one.phase == "forward" and verdict.in_gradient and not verdict.in_result,
    )
    matrix = numbers(whole.value(root.inputs[0])) if root.known.of_matrix else None
    scene = Scene(record, node, step, index, one.array, one.number, backward, nan, matrix)
    if not one.total:
        event = event._replace(seen=reason(scene), before=addition(scene), size=size(scene))
    made = node  # what is named
    if record.keep == "values" and (of := one.search.paths.derived(node, of_rule)):
        around = _taken(record, of, step)
        there = [element_at(x, shape, index) for x in around]
        its = event._replace(op=of.op, cases=of.known.backward, inputs=there, backward=True)
        if any(case.applies(its) for case in its.cases):
            event, made, taken, elements = its._replace(seen="", g=None), of, around, there
    if event.hidden or (backward and nan and g_element is not None and not np.any(g_element)):
        event = event._replace(choice=_choice(one))
    harmless = not (verdict.in_result or verdict.in_gradient)
    return Birth(
        node=one.outer,
        op=f"the sum of the gradients of {node.label}" if one.total else made.op,
        phase=one.phase,
        kind="NaN" if nan else "Inf",
        line=node.line or one.search.first_use(node),
        within=node.within if node.within != node.line else "",
        index=index,
        count=count,
        inputs=tuple(text(x, e) for x, e in zip(taken, elements, strict=True)),
        g="" if g is None else text(g, g_element),
        cause=explain(event),
        follows=one.follows,
        harmless=harmless and record.keep == "values",
        lost=verdict.lost,
        steps=tuple(t for t in one.steps if not isinstance(t, Device)),
        device=next((int(t) for t in one.steps if isinstance(t, Device)), None),
        in_gradient=one.search.paths.in_gradient(node) and not of_rule,
    )


def _taken(record: Record, node: Entry, step: tuple[int, ...]) -> list[Any]:
    """Return what a node took, inside a loop at one of its steps."""
    if not step:
        return record.taken(node)
    fixed = [record.nodes[s.node].kind == "constant" for s in node.inputs]
    return [x if c else x[step] for x, c in zip(record.taken(node), fixed, strict=True)]


def _choice(one: Found) -> str:
    """Return where the choice stands that rejects the bad elements, "" if none does."""
    record, node = one.search.record, one.node
    choice = one.search.paths.choice(node.index)
    if choice is None or record.keep != "values":
        return ""
    if record.steps is None and not one.search.place:  # what stands in a body is not run apart
        where: Any = one.where
        if one.phase == "backward" and not fits(np.shape(where), np.shape(node.value)):
            where = True
        choice = rejecting(record, (node.index,), where)
    line = "" if choice is None else choice.within or choice.line
    return line.rpartition("/")[2].partition(" (")[0]
