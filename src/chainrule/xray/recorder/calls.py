"""One call of a training step, flat: its arrays can be held, changed, and called with again.

A step of flax's nnx changes its modules in place. They are split as they come in, so that what is
held is what they were; every call makes new modules of it.
"""

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import _require
from chainrule._files import printable

__all__ = ["Call", "Kinds", "Ran", "contents", "enter", "is_array", "named"]
__dir__ = __all__.copy

_ARRAYS = (jax.Array, np.ndarray, np.generic)
_REMEMBERED = 64

Group = tuple[int, Any]
"""An argument: 0 and its number, or 1 and its keyword."""


@dataclasses.dataclass(frozen=True, eq=False)
class Ran:
    """What one call of a step left behind.

    Attributes:
      results: what it returned, a pytree.
      after: the arrays in its modules afterwards, flat; of a step without modules, none.
    """

    results: Any
    after: tuple[Any, ...] = ()

    @functools.cached_property
    def _flattened(self) -> tuple[list[Any], Any]:
        leaves, tree = jax.tree.flatten(self.results)
        return [*leaves, *self.after], (tree, len(self.after))

    @property
    def flat(self) -> list[Any]:
        """The leaves of the results, and what is in the modules afterwards."""
        return self._flattened[0]

    @property
    def form(self) -> Any:
        """What tells it from a call that leaves something of another form."""
        return self._flattened[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """What a step was called with.

    Attributes:
      step: the function.
      leaves: of its arguments, flat.
      tree: how they make ``(arguments, keyword arguments)``, or the state of these.
      kinds: which leaves are arrays; the others stay as they are.
      graph: what nnx makes modules of, together with that state; None without modules.
    """

    step: Callable[..., Any]
    leaves: tuple[Any, ...]
    tree: Any
    kinds: "Kinds"
    graph: Any = None

    @property
    def arrays(self) -> tuple[int, ...]:
        """The numbers of the leaves that are arrays."""
        return self.kinds.arrays

    @functools.cached_property
    def _paths(self) -> list[tuple[Any, ...]]:
        whole = jax.tree.unflatten(self.tree, self.leaves)
        return [path for path, _ in jax.tree_util.tree_leaves_with_path(whole)]

    @functools.cached_property
    def groups(self) -> tuple[Group, ...]:
        """The argument of each leaf."""
        return tuple((_key(path[0]), _key(path[1])) for path in self._paths)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The path of each leaf, from the name of its argument: ``state['kernel']``."""
        rest = [jax.tree_util.keystr(path[2:]) for path in self._paths]
        called = {group: self._parameter(group) for group in set(self.groups)}
        pairs = zip(self.groups, rest, strict=True)
        return tuple(printable(called[group] + path) for group, path in pairs)

    def replace(self, leaves: Mapping[int, Any]) -> "Call":
        """Return the call with other leaves at some places."""
        changed = list(self.leaves)
        for k, leaf in leaves.items():
            changed[k] = leaf
        return dataclasses.replace(self, leaves=tuple(changed))

    def copied(self, only: Collection[int] | None = None) -> "Call":
        """Return the call with copies of its arrays; of those on devices, perhaps of some only."""
        wanted = [k for k in self.kinds.on_devices if only is None or k in only]
        copies = _copies([self.leaves[k] for k in wanted]) if wanted else []
        # A loader may write its next batch into the same memory.
        host = {k: np.array(self.leaves[k]) for k in self.kinds.on_host}
        new = dict(zip(wanted, copies, strict=True)) | host
        return self.replace(new) if new else self

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments and the keyword arguments, modules made anew."""
        return self._with(self.leaves)

    def run(self) -> Ran:
        """Call the step itself, on copies: it may donate what it takes."""
        return self._run(self.step, self.copied().leaves)

    def pure(self) -> tuple[Callable[..., Any], list[Any]]:
        """Return the step as a function of pytrees of arrays, one an argument, and these.

        It returns what is an array in the results, and in the modules afterwards.
        """
        raw = self.step
        if hasattr(raw, "lower") and hasattr(raw, "__wrapped__"):  # jit, whose settings are its own
            raw = raw.__wrapped__
        kept = [leaf if is_array(leaf) else None for leaf in self.leaves]
        whole = jax.tree.unflatten(self.tree, kept)
        groups = list(dict.fromkeys(self.groups))

        def step(*given: Any) -> Any:
            arrays = [leaf for group in given for leaf in jax.tree.leaves(group)]
            new = dict(zip(self.arrays, arrays, strict=True))
            ran = self._run(raw, [new.get(k, leaf) for k, leaf in enumerate(self.leaves)])
            return [x for x in jax.tree.leaves((ran.results, ran.after)) if is_array(x)]

        names = [self._parameter(group) for group in groups]
        names = [name if name.isidentifier() else f"args{k}" for k, name in enumerate(names)]
        kind = inspect.Parameter.POSITIONAL_ONLY
        parameters = [inspect.Parameter(name, kind) for name in names]
        step.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        step.__name__ = getattr(inspect.unwrap(raw), "__name__", "step")
        return step, [whole[where][key] for where, key in groups]

    def _with(self, leaves: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        held = jax.tree.unflatten(self.tree, leaves)
        args, kwargs = held if self.graph is None else _nnx().merge(self.graph, held)
        return tuple(args), dict(kwargs)

    def _run(self, function: Callable[..., Any], leaves: Sequence[Any]) -> Ran:
        args, kwargs = self._with(leaves)
        results = function(*args, **kwargs)
        return Ran(results, () if self.graph is None else contents(args, kwargs))

    def _parameter(self, group: Group) -> str:
        where, key = group
        names = parameters(self.step)
        if where == 1:
            return str(key)
        return names[key] if key < len(names) else f"args[{key}]"


@dataclasses.dataclass(frozen=True)
class Kinds:
    """What kinds of leaves the arguments of a step have.

    Attributes:
      arrays: the numbers of those that are arrays.
      on_devices: of these, JAX's.
      on_host: of these, NumPy's that can be written to.
      modules: whether there are modules of nnx among the arguments.
    """

    arrays: tuple[int, ...]
    on_devices: tuple[int, ...]
    on_host: tuple[int, ...]
    modules: bool


_known: dict[Any, Kinds] = {}  # what is looked at once costs nothing at the next step


def enter(step: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
    """Return a call of a step, its arguments flat; nothing is copied yet.

    Raises:
      ValueError: no argument holds an array, JAX is tracing, or an array is a mutable one.
    """
    whole: Any = (tuple(args), dict(kwargs))
    leaves, tree = jax.tree.flatten(whole)
    kinds, graph = _kinds(whole, leaves, tree), None
    if kinds.modules:
        graph, state = _nnx().split(whole)
        leaves, tree = jax.tree.flatten(state)
        kinds = _kinds(state, leaves, tree)
    return Call(step, tuple(leaves), tree, kinds, graph)


def _kinds(whole: Any, leaves: Sequence[Any], tree: Any) -> Kinds:
    key = tree, tuple(map(type, leaves))
    if key not in _known:
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[key] = _looked_at(whole, leaves)
    return _known[key]


def _looked_at(whole: Any, leaves: Sequence[Any]) -> Kinds:
    if not _require.is_concrete(*leaves):
        raise ValueError(
            "a watched step runs outside jit, grad, vmap and scan: watch the outermost"
        )
    if not any(map(is_array, leaves)):
        raise ValueError("the step was called without an array: pass state and batch as arguments")
    for leaf in leaves:
        if hasattr(leaf, "dtype") and not is_array(leaf) and type(leaf).__module__[:3] == "jax":
            raise ValueError(
                f"the step takes a {type(leaf).__name__}, which is no array and may change in "
                "place: pass its value as an argument, and return it"
            )

    def numbers(kind: Any) -> tuple[int, ...]:
        return tuple(k for k, leaf in enumerate(leaves) if isinstance(leaf, kind))

    return Kinds(numbers(_ARRAYS), numbers(jax.Array), numbers(np.ndarray), _holds_modules(whole))


def contents(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what is in the modules of a step, and in its other arguments, flat."""
    return tuple(jax.tree.leaves(_nnx().split((tuple(args), dict(kwargs)))[1]))


def is_array(leaf: Any) -> bool:
    """Tell whether a leaf is an array, of numbers or of keys."""
    return isinstance(leaf, _ARRAYS)


def named(tree: Any, name: str) -> list[tuple[str, Any]]:
    """Return the arrays in a pytree with their paths."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    return [(printable(name + jax.tree_util.keystr(p)), x) for p, x in pairs if is_array(x)]


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of the positional parameters of a function, as far as it says them."""
    try:
        known = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in known if parameter.kind in kinds]


@jax.jit
def _copies(arrays: list[Any]) -> list[Any]:
    return [jnp.copy(x) for x in arrays]


def _key(entry: Any) -> Any:
    return getattr(entry, "idx", getattr(entry, "key", None))


def _nnx() -> Any:
    return sys.modules["flax.nnx"]


def _holds_modules(tree: Any) -> bool:
    if "flax.nnx" not in sys.modules:
        return False
    kinds = tuple(kind for name in ("Pytree", "Object") if (kind := getattr(_nnx(), name, None)))
    found = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, kinds))
    return any(isinstance(x, kinds) for x in found)
