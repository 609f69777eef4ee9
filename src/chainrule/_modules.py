"""Modules: pytrees some of whose leaves are no arrays, but an activation function or a flag.

`split` takes these leaves out, as None, which is no leaf: what is left can be traced,
differentiated and updated. `Whole` is the function that puts them back.

Example:
  >>> held, fixed = split({"kernel": 2.0, "size": abs})
  >>> held
  {'kernel': 2.0, 'size': None}
  >>> Whole(lambda net: net["size"](net["kernel"]), (fixed,))({"kernel": -3.0, "size": None})
  3.0
"""

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Fixed:
    """What stays as it is in a pytree, equal to another where that keeps the same.

    Attributes:
      leaves: number among all leaves, and leaf.
      tree: the structure of the whole pytree.
    """

    leaves: tuple[tuple[int, Any], ...]
    tree: Any

    def whole(self, held: Any) -> Any:
        """Return the pytree with its fixed leaves, made of one like it without them."""
        import jax

        if not self.leaves:
            return held
        leaves = jax.tree.leaves(held)
        for k, leaf in self.leaves:
            leaves.insert(k, leaf)
        return jax.tree.unflatten(self.tree, leaves)


@dataclasses.dataclass(frozen=True)
class Whole:
    """A function of pytrees, called without their fixed leaves.

    Attributes:
      function: the function.
      fixed: of each of its first arguments what stays as it is.
    """

    function: Callable[..., Any]
    fixed: tuple[Fixed, ...]

    def __call__(self, *held: Any) -> Any:
        """Call the function on whole pytrees."""
        first = [fixed.whole(x) for fixed, x in zip(self.fixed, held, strict=False)]
        return self.function(*first, *held[len(first) :])


def split(tree: Any) -> tuple[Any, Fixed]:
    """Return a pytree with None for each leaf that stays as it is, and those leaves.

    What can be called stays, but for a tree that is one leaf; of an object that can be called,
    which is a module, everything that is no array.
    """
    import jax

    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    fixed = {k: leaf for k, (path, leaf) in enumerate(leaves) if _stays(tree, path, leaf)}
    if not fixed:
        return tree, Fixed((), structure)
    held = [None if k in fixed else leaf for k, (_, leaf) in enumerate(leaves)]
    return jax.tree.unflatten(structure, held), Fixed(tuple(fixed.items()), structure)


def _stays(tree: Any, path: Any, leaf: Any) -> bool:
    if not path or hasattr(leaf, "dtype"):
        return False
    for key in path:
        if callable(tree):
            return True
        try:
            name = getattr(key, "key", getattr(key, "idx", None))
            tree = getattr(tree, key.name) if hasattr(key, "name") else tree[name]
        except (AttributeError, LookupError, TypeError):  # nobody says what lies behind the key
            break
    return callable(leaf)
