"""What of a step is looked at: the state that comes back, and the loss."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray.recorder.calls import Call, Ran, is_array, named

__all__ = ["Plan", "Seen", "counts", "is_float", "measure", "plan"]
__dir__ = __all__.copy


@dataclasses.dataclass(frozen=True)
class Seen:
    """One array that must stay finite.

    Attributes:
      name: its path in what the step returns, or in the module that the step changes.
      at: its number among the results, and then what is in the modules afterwards.
      before: the number of the leaf of the arguments whose place it takes; None of a loss.
    """

    name: str
    at: int
    before: int | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is looked at after each step.

    Attributes:
      seen: what must stay finite.
      numbers: single numbers that are noted for each step, by what they are.
      state: the arguments that come back changed.
    """

    seen: tuple[Seen, ...]
    numbers: dict[str, int]
    state: frozenset[Any]

    @functools.cached_property
    def losses(self) -> tuple[int, ...]:
        """The numbers among the results of what is seen and is no state."""
        return tuple(one.at for one in self.seen if one.before is None)

    def measured(self, ran: Ran) -> Any:
        """Return the largest element of the state, that of the rest, and the numbers; one row."""
        flat = ran.flat
        state = [flat[one.at] for one in self.seen if one.before is not None]
        rest = [flat[one.at] for one in self.seen if one.before is None]
        return _largest_of(state, rest, [flat[k] for k in self.numbers.values()])

    def single(self, ran: Ran) -> bool:
        """Tell whether the losses are single numbers, which are read without a reduction."""
        return all(np.size(ran.flat[at]) == 1 for at in self.losses)

    def gone(self, ran: Ran) -> bool:
        """Tell whether something that is seen was donated to another program since."""
        return any(_is_deleted(ran.flat[one.at]) for one in self.seen)

    def read(self, ran: Ran) -> tuple[bool, dict[str, float]]:
        """Return whether the losses are finite, and the numbers; of what is gone, nothing."""
        flat = ran.flat
        rest = [flat[at] for at in self.losses if not _is_deleted(flat[at])]
        numbers = {k: flat[at] for k, at in self.numbers.items() if not _is_deleted(flat[at])}
        finite = all(np.isfinite(np.asarray(x)).all() for x in rest)
        return finite, {name: float(np.real(np.asarray(x))) for name, x in numbers.items()}

    def each(self, ran: Ran) -> Any:
        """Return the largest element of each array that is seen; one row."""
        return measure([ran.flat[one.at] for one in self.seen])

    def without(self, names: Collection[str]) -> "Plan":
        """Return the plan without some of what is seen."""
        kept = tuple(one for one in self.seen if one.name not in names)
        return dataclasses.replace(self, seen=kept)

    def bad(self, ran: Ran) -> tuple[str, ...]:
        """Return what is not finite, with how many elements."""
        flat, found = ran.flat, []
        for one in self.seen:
            array = np.asarray(flat[one.at])
            if said := counts(array):
                of = f" of {array.size:,}" if array.size > 1 else ""
                found.append(f"{one.name} ({', '.join(said)}{of})")
        return tuple(found)


def plan(call: Call, ran: Ran, watched: Callable[[Any], Any] | None = None) -> Plan:
    """Return what is looked at.

    What comes back in the form of an argument is the state, and modules that are changed in place.
    Of the rest, all that is called a loss; where nothing is, the single numbers; else all.

    Args:
      call: a call of the step, as it came in.
      ran: what it left behind.
      watched: from what the step returns to what must stay finite, instead of all this.
    """
    parts = ran.results if type(ran.results) in (tuple, list) else (ran.results,)
    forms = {group: _form(_subtree(call, group)) for group in set(call.groups)}
    forms = {group: form for group, form in forms.items() if any(form[1])}
    places = {group: [k for k, g in enumerate(call.groups) if g == group] for group in forms}
    seen, rest, state, at = [], [], set(), 0
    for number, part in enumerate(parts):
        name = "result" if parts is not ran.results else f"result[{number}]"
        leaves = jax.tree.leaves(part)
        group = next((g for g in sorted(forms) if g not in state and forms[g] == _form(part)), None)
        pairs = jax.tree_util.tree_leaves_with_path(part)
        for k, (path, leaf) in enumerate(pairs):
            if is_float(leaf):
                one = Seen(name + jax.tree_util.keystr(path), at + k)
                if group is None:
                    rest.append((one, leaf))
                else:
                    before = places[group][k]
                    seen.append(dataclasses.replace(one, name=call.names[before], before=before))
        state |= set() if group is None else {group}
        at += len(leaves)
    for k, (leaf, old) in enumerate(zip(ran.after, call.leaves, strict=False)):
        if leaf is not old and is_float(leaf):
            seen.append(Seen(call.names[k], at + k, k))
            state.add(call.groups[k])
    if watched is not None:
        seen, rest = _chosen(watched, ran), []
    losses = [(one, leaf) for one, leaf in rest if "loss" in one.name.lower()]
    single = [(one, leaf) for one, leaf in rest if np.size(leaf) == 1]
    chosen = losses or single or rest
    numbers = _numbers(chosen, rest)
    seen += [one for one, _ in chosen]
    return Plan(tuple(seen), numbers, frozenset(state or {(0, 0)}))


def _chosen(watched: Callable[[Any], Any], ran: Ran) -> list[Seen]:
    """Return what somebody wants to stay finite, by the identity of the arrays."""
    flat = {id(leaf): k for k, leaf in enumerate(ran.flat)}
    kept = watched(ran.results)
    parts = kept.items() if type(kept) is dict else [("result", kept)]
    pairs = [pair for name, part in parts for pair in named(part, str(name))]
    found = [(name, leaf) for name, leaf in pairs if is_float(leaf)]
    if strange := [name for name, leaf in found if id(leaf) not in flat]:
        raise ValueError(f"watched makes {strange[0]} anew: return parts of what the step returns")
    return [Seen(name, flat[id(leaf)]) for name, leaf in found]


def _numbers(chosen: Sequence[Any], rest: Sequence[Any]) -> dict[str, int]:
    single = [one for one, leaf in chosen if np.size(leaf) == 1]
    norms = [
        one
        for one, leaf in rest
        if np.size(leaf) == 1 and "grad" in one.name.lower() and "norm" in one.name.lower()
    ]
    found = {"loss": single[0].at} if single else {}
    return found | ({"grad_norm": norms[0].at} if norms else {})


def _subtree(call: Call, group: Any) -> Any:
    where, key = group
    return jax.tree.unflatten(call.tree, call.leaves)[where][key]


def _form(tree: Any) -> Any:
    """Return a pytree's structure and shapes; a counter may come in as a number of Python."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [np.shape(x) if is_array(x) else () for x in leaves]


def _is_deleted(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and leaf.is_deleted()


def counts(array: np.ndarray) -> list[str]:
    """Return how many elements are NaN and how many Inf: ``["1,000 NaN", "1 Inf"]``."""
    tests = (("NaN", np.isnan), ("Inf", np.isinf))
    return [f"{n:,} {kind}" for kind, test in tests if (n := int(test(array).sum()))]


def is_float(leaf: Any) -> bool:
    """Tell whether a leaf is an array of floats, with one in it at least."""
    return is_array(leaf) and bool(jnp.issubdtype(leaf.dtype, jnp.inexact)) and leaf.size > 0


@jax.jit
def measure(arrays: list[Any]) -> Any:
    """Return the largest element of each array by its modulus, NaN where it holds one; one row."""
    return _row([_largest(x) for x in arrays])


@jax.jit
def _largest_of(state: list[Any], rest: list[Any], numbers: list[Any]) -> Any:
    # One maximum after the other: a row of hundreds of small arrays takes six times as long.
    tops = [
        functools.reduce(_larger, map(_largest, part), jnp.float32(0)) for part in (state, rest)
    ]
    return _row([*tops, *(jnp.reshape(_wide(x), ()) for x in numbers)])


def _larger(x: Any, y: Any) -> Any:
    double = jnp.float64 in (x.dtype, y.dtype)
    return jnp.maximum(*(z.astype(jnp.float64 if double else jnp.float32) for z in (x, y)))


def _row(numbers: list[Any]) -> Any:
    double = any(x.dtype == jnp.float64 for x in numbers)
    return jnp.stack([x.astype(jnp.float64 if double else jnp.float32) for x in numbers])


def _largest(x: Any) -> Any:
    if jnp.iscomplexobj(x):  # the modulus itself may overflow
        return jnp.maximum(_largest(jnp.real(x)), _largest(jnp.imag(x)))
    return jnp.max(jnp.abs(_wide(x)))


def _wide(x: Any) -> Any:
    x = jnp.real(x) if jnp.iscomplexobj(x) else jnp.asarray(x)
    return x if x.dtype in (jnp.float32, jnp.float64) else x.astype(jnp.float32)
