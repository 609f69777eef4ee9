"""Scans whose state can grow without bound: run on from where they ended, until it overflows."""

from collections.abc import Collection, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.auditing.candidates import arguments_of, reach
from chainrule.xray.auditing.findings import Trap
from chainrule.xray.auditing.origins import origin
from chainrule.xray.auditing.walk import sites
from chainrule.xray.bodies import body_graph
from chainrule.xray.record import Entry, Record
from chainrule.xray.rerun import replay

__all__ = ["growing"]
__dir__ = __all__.copy

_STEPS = 5_000
_WORK = 2e8  # numbers that are made on the way
_FAR = 1e10  # how many times larger the state has become, before it overflows
_LEAVES = 8
_AND = ", and "


def growing(record: Record) -> Iterator[Trap]:
    """Yield the scans that overflow if they go on: with these numbers, or with larger arguments.

    Args:
      record: the record; it keeps values.
    """
    again = None
    for site in sites(record):
        node = site.node
        if node.op != "scan" or node.custom or (run := _continued(node)) is None:
            continue
        if (steps := run(site.taken(site.steps[0])[1])) is not None:
            yield _trap(record, node, steps, "", {})
            continue
        again = again or replay(record)
        for text, given in _larger(record, arguments_of(record)[site.place[0]]):
            try:
                there = [one for one in sites(again(given)) if one.place == site.place]
            except Exception:  # the program checks what it is given by itself, and refuses this
                continue
            taken = there[0].taken(there[0].steps[0])[1] if there else None
            if taken is not None and (steps := run(taken)) is not None:
                yield _trap(record, node, steps, f"{text}{_AND}", given)
                break


def _larger(record: Record, numbers: Collection[int]) -> Iterator[tuple[str, dict[int, Any]]]:
    """Yield arguments twice as large, then at the ends of their ranges; those in no tree first."""
    nodes = sorted((record.nodes[k] for k in numbers), key=lambda node: node.kind != "input")
    floats = [n for n in nodes if jnp.issubdtype(n.avals[0].dtype, jnp.floating)][:_LEAVES]
    for how in ("twice as large", "as large as it can be", "as small as it can be"):
        for node in floats:
            room, x = reach(record, node), np.asarray(node.value, np.float64)
            ends = {"twice as large": 2 * x, "as large as it can be": np.full(x.shape, room.high)}
            x = np.clip(ends.get(how, np.full(x.shape, room.low)), room.low, room.high)
            yield f"{node.label} {how}", {node.index: jnp.asarray(x, node.avals[0].dtype)}


def _continued(node: Entry) -> Any:
    """Return a run of a scan over and over, from what it took to the step at which it overflows.

    The step counts the first pass, too; None where nothing overflows. None instead of the run where
    no float is carried, or where it would take too long.
    """
    body, consts, carries, length, reverse = _jax.scan_layout(node.equation)
    floats = [
        k
        for k, aval in enumerate(body.out_avals[:carries])
        if jnp.issubdtype(aval.dtype, jnp.floating)
    ]
    made = [aval for v in body_graph(body, node.line).nodes if v.equation for aval in v.avals]
    work = sum(int(np.prod(aval.shape)) for aval in made)
    passes = int(min(_STEPS, _WORK / max(work, 1)) // max(length, 1))
    if not floats or not length or passes < 8 or _over_layers(body, consts, carries):
        return None

    def size(carry: Any) -> Any:
        some = [jnp.abs(carry[k]).astype(jnp.float32) for k in floats]
        return jnp.stack([jnp.max(x, initial=0.0) for x in some])

    def once(carry: Any, peak: Any, fixed: Any, xs: Any) -> Any:
        def step(state: Any, x: Any) -> Any:
            carry, peak = state
            outputs = _jax.evaluate(body, [*fixed, *carry, *x])[:carries]
            now = size(outputs)
            return (outputs, jnp.maximum(peak, jnp.where(jnp.isfinite(now), now, 0.0))), None

        return jax.lax.scan(step, (carry, peak), xs, length, reverse=reverse)[0]

    def run(fixed: Any, start: Any, xs: Any) -> Any:
        def going(state: Any) -> Any:
            return (state[0] < passes) & jnp.all(jnp.isfinite(size(state[1])))

        def on(state: Any) -> Any:
            return state[0] + 1, *once(state[1], state[2], fixed, xs)

        first = jnp.int32(0), start, jnp.zeros(len(floats))
        count, end, peak = jax.lax.while_loop(going, on, first)
        return count, size(end), peak, size(start)

    whole = _jax.quiet(jax.jit(run))

    def ask(taken: Any) -> tuple[int, int] | None:
        arrays = [jnp.asarray(x) for x in taken]
        parts = arrays[:consts], arrays[consts:][:carries], arrays[consts + carries :]
        count, end, peak, first = (np.asarray(x) for x in whole(*parts))
        with np.errstate(all="ignore"):
            found = np.flatnonzero(~np.isfinite(end) & (peak > _FAR * (1 + first)))
        return (int(count) * length, floats[int(found[0])]) if found.size else None

    return ask


def _over_layers(body: _jax.ClosedJaxpr, consts: int, carries: int) -> bool:
    """Tell whether each step multiplies the state by weights of its own: it is no time that passes.

    Such a loop runs over the layers of a network, and has as many steps as there are.
    """
    graph = body_graph(body, "")
    before = arguments_of(graph)
    state = set(range(consts, consts + carries))
    for node in graph.nodes:
        if node.op in ("dot_general", "conv_general_dilated"):
            origins = [origin(graph, slot).node for slot in node.inputs]
            own = any(consts + carries <= k < len(body.in_avals) for k in origins)
            if own and any(before[slot.node] & state for slot in node.inputs):
                return True
    return False


def _trap(
    record: Record, node: Entry, steps: tuple[int, int], how: str, given: dict[int, Any]
) -> Trap:
    body, _, _, length, _ = _jax.scan_layout(node.equation)
    graph = body_graph(body, node.line)
    count, number = steps
    made = graph.nodes[graph.outputs[number].node]
    dtype = body.out_avals[number].dtype
    names = {record.nodes[k].label: x for k, x in given.items()}
    return Trap(
        op="scan",
        line=made.line or node.line,
        within=node.line,
        why=(
            f"its state grows without bound: within {count:,} steps it exceeds the largest {dtype} "
            f"({length:,} were taken)"
        ),
        reached="arguments",
        how=f"{how}the scan repeated from where it ended" if count > length else how[: -len(_AND)],
        arguments=names,
    )
