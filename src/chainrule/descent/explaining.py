"""What happened in a descent and why: each statement is computed on it, each advice is run."""

import math
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array, PyTree

from chainrule import _require
from chainrule.descent import updates
from chainrule.descent._arguments import Batch, Loss, curved
from chainrule.descent._walking import Walk
from chainrule.descent.explanation import (
    Crossing,
    Explanation,
    Growth,
    Move,
    Silent,
    Spike,
    SpikeKind,
    Survival,
)
from chainrule.descent.trace import Trace
from chainrule.descent.verdicts import Lane, summary
from chainrule.descent.watching import Watched

__all__ = ["explain"]
__dir__ = __all__.copy

_RISE = 1.2  # from which on a loss over the lowest one before is a rise
_NEAR, _WINDOWS = (
    0.9,
    32,
)  # between readings above this ratio, in so many gaps, every step is read
_FACTORS, _MORE = (0.8, 0.5, 0.25, 0.1), 500  # of the steps that are tried, and how many


def explain(
    watched: Watched | Trace,
    *,
    loss: Loss | None = None,
    optimizer: optax.GradientTransformation | None = None,
    batch: Batch | None = None,
    step: int | None = None,
    key: Array | None = None,
) -> Explanation:
    r"""Say what happened in a descent and why, in sentences that each rest on a number.

    The descent is run again from its start, up to the steps that are looked into. It is said when
    the ratio of the sharpness to its critical value was first above 1, whether a rise of the loss
    was a catapult or a divergence, along which direction the iterate moved, which layer's gradient
    grew, and how many units get no gradient. If the loss did not come back, the descent is run on
    from the step before the rise with steps 0.8, 0.5, 0.25 and 0.1 times as long, 500 of them, both
    from there and from a start moved by 1e-4 of each parameter. The longest steps that survive are
    named; for an optimizer whose step is proportional to its learning rate they are another rate.

    A layer is what holds an array in the tree of the parameters. Units are counted along the last
    axis of its kernel, or along the axis that has the size of its bias.

    Args:
      watched: what `watch` returns. Of a plain `Trace` it is said only what its arrays show.
      loss: the one of the descent; with a `Watched`.
      optimizer: the one of the descent; with a `Watched`.
      batch: the one of the descent, if it has one. What is said of gradients is then of one batch.
      step: the step to explain; by default the first at which the loss has risen by a fifth, else
        the crossing, else the last.
      key: for the vectors that a search for curvature starts from; the same each time without one.

    Returns:
      The `Explanation`; print it.

    Raises:
      ValueError: the loss, the optimizer or the start is missing or not that of the descent, the
        trace is that of a sweep, or there is no such step.

    References:
      Lewkowycz et al., "The large learning rate phase of deep learning: the catapult mechanism",
      arXiv 2003.02218.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule.descent import watch
      >>> def loss(w):
      ...     return 3 * w["a"] ** 2 + w["b"] ** 2
      >>> start, optimizer = {"a": jnp.array(1.0), "b": jnp.array(1.0)}, optax.sgd(0.4)
      >>> found = watch(loss, start, optimizer, 20, every=10)
      >>> print("\n".join(explain(found, loss=loss, optimizer=optimizer).sentences[:3]))
      Loss 4 to 2.1e+06 in 20 steps: diverged.
      The first step was unstable already: the sharpness is 1.2 times its critical value.
      A divergence: the loss rose from 4 at step 0 to 2.1e+06 at step 20, and did not come back.
      >>> print(explain(found, loss=loss, optimizer=optimizer).survivals[0])
      Survival(factor=0.8, since=0, steps=500, survives=True, highest=4.0, final=0.0)
    """
    _require.instance(
        "watched", watched, (Watched, Trace), "what watch or gradient_descent returns"
    )
    trace = watched if isinstance(watched, Trace) else watched.trace
    losses = np.asarray(trace.loss, np.float64)
    if losses.ndim != 1:
        raise ValueError(f"the loss has the shape {losses.shape}: explain one descent, not a sweep")
    last = len(losses) - 1
    if step is not None:
        step = _require.count("step", step, least=0, most=last)
    (lane,) = summary(trace)
    if isinstance(watched, Trace):
        spike = _spike(losses, lane, None, None)
        step = _default(losses, spike, None) if step is None else step
        return Explanation(lane, last, step, spike=spike, move=_recorded(trace, step))
    walk = _walk(watched, loss, optimizer, batch, key)
    crossing = _crossing(watched, walk, last)
    spike = _spike(losses, lane, watched, crossing.step)
    step = _default(losses, spike, crossing.step) if step is None else step
    crossed = crossing.step is not None and crossing.step < step
    since = crossing.step if crossed and crossing.step is not None else 0
    before, (value, now) = walk.gradient(since)[1], walk.gradient(step)
    ended = lane.first_nonfinite is None
    return Explanation(
        lane,
        last,
        step,
        crossing,
        spike,
        _move(walk, max(step, 1)) if last else None,
        _growths(before, now, since, step),
        _silent(walk.gradient(0)[1], walk.gradient(last)[1]) if ended else (),
        _survivals(walk, spike.onset) if spike is not None and spike.back is None else (),
        _parted(value, losses[step]),
    )


def _walk(watched: Watched, loss: Any, optimizer: Any, batch: Any, key: Any) -> Walk:
    missing = [n for n, x in (("loss", loss), ("optimizer", optimizer)) if x is None]
    if missing or watched.start is None:
        what = " and ".join(missing) or "the start"
        cure = "give those of the descent" if missing else "give what watch returns"
        raise ValueError(f"{what} of the watched descent is missing: {cure}")
    params, optimizer = curved(loss, watched.start, batch), updates.checked(optimizer)
    if key is not None:
        _require.one_key(key)
    walk = Walk(params, loss, optimizer, batch, key)
    found, due = walk.gradient(0)[0], float(watched.trace.loss[0])
    if not _parted(found, due) <= 1e-3:
        raise ValueError(
            f"the loss at the start is {found:.6g}, but that of the descent {due:.6g}: give the "
            "loss and the batch of the descent"
        )
    return walk


def _parted(found: float, due: float) -> float:
    if found == due or not (math.isfinite(found) or math.isfinite(due)):
        return 0.0
    return abs(found - due) / abs(due) if due else math.inf


# --- what happened -------------------------------------------------------------------------------


def _crossing(watched: Watched, walk: Walk, last: int) -> Crossing:
    """Find the first step whose ratio is above 1: between readings near it, or where loss rose."""
    at, ratio = np.asarray(watched.at), np.asarray(watched.ratio, np.float64)
    known = np.isfinite(ratio)
    if not known.any():
        return Crossing(None, math.nan, math.nan, len(at), 0)
    top = int(np.nanargmax(np.where(known, ratio, np.nan)))
    if known[0] and ratio[0] > 1:
        return Crossing(0, math.nan, float(ratio[0]), len(at), int(at[top]))
    ends = np.append(at[1:], last)
    near = np.append(ratio[1:], -math.inf)
    finite = np.isfinite(np.asarray(watched.trace.loss)[at])
    heights = _heights(np.asarray(watched.trace.loss, np.float64))[0]
    rose = [bool((heights[i : j + 1] >= _RISE).any()) for i, j in zip(at, ends, strict=True)]
    # Also where the loss rose, and where a ratio is not known: before Adam's first step, and after
    # a divergence.
    close = ~(np.maximum(ratio, near) < _NEAR)
    gaps = np.flatnonzero(finite & (ends > at) & (close | rose))
    first = np.flatnonzero(near > 1)[:1]
    if first.size:
        gaps = np.append(gaps[gaps < first][:_WINDOWS], first)
    every = int(at[1] - at[0]) if len(at) > 1 else last
    for i in gaps[: _WINDOWS + 1]:
        found = walk.ratios(int(at[i]), every)
        for k in range(1, int(ends[i] - at[i]) + 1):
            if found[k] > 1:
                before, now = float(found[k - 1]), float(found[k])
                return Crossing(int(at[i]) + k, before, now, len(at), int(at[top]))
    return Crossing(None, math.nan, float(ratio[top]), len(at), int(at[top]))


def _heights(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many times the lowest loss before each loss is, and that lowest loss."""
    finite = np.isfinite(losses)
    losses = losses if finite.all() else losses[: int(np.argmin(finite))]
    lowest = np.minimum.accumulate(losses)
    floor = min(0.0, losses.min())
    # Near its bottom a loss is made of rounding, and one that may be negative has no zero.
    # Where nothing is lower than the start, its own size is what there is to compare with, and
    # where that is 0, the largest size of all.
    size = losses[0] - floor or abs(losses[0]) or np.abs(losses).max()
    least = (1e-6 if floor == 0 else 1e-2) * size
    base = np.maximum(lowest - floor, max(least, np.finfo(np.float64).tiny))
    return (losses - floor) / base, lowest


def _spike(
    losses: np.ndarray, lane: Lane, watched: Watched | None, crossing: int | None
) -> Spike | None:
    heights, lowest = _heights(losses)
    peak = int(np.argmax(heights))
    if heights[peak] < _RISE:
        return None
    onset = int(np.flatnonzero(losses[: peak + 1] <= lowest[: peak + 1])[-1])
    later = np.flatnonzero(heights[peak + 1 :] < _RISE)
    back = peak + 1 + int(later[0]) if later.size else None
    sharpness = ratio = (math.nan, math.nan)
    if watched is not None:
        at = np.asarray(watched.at)
        i = int(np.flatnonzero(at <= onset)[-1])
        after = np.flatnonzero(at >= (peak if back is None else back))
        j = int(after[0]) if after.size else None
        sharpness, ratio = (
            (float(values[i]), math.nan if j is None else float(values[j]))
            for values in (watched.sharpness, watched.ratio)
        )
    kind: SpikeKind
    if back is None:
        kind = "divergence" if lane.verdict == "diverged" else "rise"
    else:
        unstable = crossing is not None and crossing <= peak
        kind = "catapult" if unstable and sharpness[1] < sharpness[0] else "spike"
    ends = float(losses[onset]), float(losses[peak])
    return Spike(kind, onset, peak, back, ends, sharpness, ratio)


def _default(losses: np.ndarray, spike: Spike | None, crossing: int | None) -> int:
    """Return the step that is worth explaining."""
    if spike is not None:
        risen = _heights(losses)[0][spike.onset :] >= _RISE
        return spike.onset + int(np.argmax(risen))
    return crossing or len(losses) - 1


# --- why -----------------------------------------------------------------------------------------


def _layers(tree: PyTree) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of a tree by the layer that holds them, and by their name in it."""
    made: dict[str, dict[str, np.ndarray]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        kept, own = (path[:-1], path[-1:]) if len(path) > 1 else (path, ())
        name = jax.tree_util.keystr(kept, simple=True, separator="/") or "the parameters"
        made.setdefault(name, {})[jax.tree_util.keystr(own)] = np.asarray(leaf, np.float64)
    return made


def _squares(tree: PyTree) -> dict[str, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        return {
            name: float(sum(np.sum(np.square(leaf)) for leaf in leaves.values()))
            for name, leaves in _layers(tree).items()
        }


def _shares(delta: PyTree, step: int, along: float) -> Move:
    squares = _squares(delta)
    total = sum(squares.values())
    order = sorted(squares, key=lambda name: -squares[name])
    shares = {name: squares[name] / total if total else math.nan for name in order}
    return Move(step, math.sqrt(total), along, shares)


def _move(walk: Walk, step: int) -> Move | None:
    delta, direction = walk.move(step - 1)
    parts = zip(jax.tree.leaves(delta), jax.tree.leaves(direction), strict=True)
    with np.errstate(over="ignore", invalid="ignore"):
        dot = sum(float(np.sum(np.float64(a) * np.float64(b))) for a, b in parts)
    move = _shares(delta, step, math.nan)
    if not 0 < move.length < math.inf:
        return None
    return _shares(delta, step, dot**2 / move.length**2)


def _recorded(trace: Trace, step: int) -> Move | None:
    """Return the move to a step, if the parameters were kept."""
    if trace.params is None or not step:
        return None
    delta = jax.tree.map(lambda leaf: leaf[step] - leaf[step - 1], trace.params)
    move = _shares(delta, step, math.nan)
    return move if 0 < move.length < math.inf else None


def _growths(before: PyTree, now: PyTree, since: int, step: int) -> tuple[Growth, ...]:
    if since == step:
        return ()
    a, b = _squares(before), _squares(now)
    made = [Growth(name, since, step, math.sqrt(a[name]), math.sqrt(b[name])) for name in a]
    made = [one for one in made if math.isfinite(one.after)]
    return tuple(sorted(made, key=lambda one: -one.after / max(one.before, 1e-300)))


def _silent(start: PyTree, end: PyTree) -> tuple[Silent, ...]:
    counts = [_without_gradient(tree) for tree in (start, end)]
    return tuple(
        Silent(name, units, none, counts[1][name][1])
        for name, (units, none) in counts[0].items()
        if none or counts[1][name][1]
    )


def _without_gradient(grads: PyTree) -> dict[str, tuple[int, int]]:
    """Return of each layer with a kernel how many units it has, and how many get no gradient."""
    made = {}
    for name, leaves in _layers(grads).items():
        kernels = [leaf for leaf in leaves.values() if leaf.ndim > 1]
        rows = [leaf for leaf in leaves.values() if leaf.ndim == 1]
        if len(kernels) != 1:
            continue
        (kernel,) = kernels
        first = any(len(row) == kernel.shape[0] != kernel.shape[-1] for row in rows)
        axes = list(range(kernel.ndim))
        zero = np.all(kernel == 0, axis=tuple(axes[1:] if first else axes[:-1]))
        for row in rows:
            zero &= row == 0 if row.shape == zero.shape else True
        made[name] = (zero.size, int(zero.sum()))
    return made


def _survivals(walk: Walk, since: int) -> tuple[Survival, ...]:
    lanes = walk.shorter(since, _FACTORS, _MORE)
    ends = lanes[:, :, -_MORE // 10 :].max(axis=2)  # NaN where one is
    alive = np.isfinite(lanes).all(axis=(1, 2)) & (ends <= lanes[:, :, 0]).all(axis=1)
    return tuple(
        Survival(
            factor, since, _MORE, bool(alive[i:].all()), float(lanes[i].max()), float(ends[i].max())
        )
        for i, factor in enumerate(_FACTORS)
    )
