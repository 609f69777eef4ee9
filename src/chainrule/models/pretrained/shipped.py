"""The weights that live in the package: LeNet's and a small VGG's, trained on digits.

``experiments/make_pretrained.py`` trained them, from one seed, on the first 55,000 training digits
of MNIST; the files say how, and how they did on the 5,000 held out. The folder ``digits`` has
their licence. They are stored as float16.
"""

import pathlib

import jax
import jax.numpy as jnp

from chainrule import _require
from chainrule.data import tensors
from chainrule.models.stack import Tree

__all__ = ["NAMES", "metadata", "read"]
__dir__ = __all__.copy

NAMES = ("lenet", "vgg")
"""The networks with weights in the package."""

_FOLDER = pathlib.Path(__file__).parent / "digits"


def read(name: str) -> tuple[Tree, Tree]:
    """Return the parameters and the running statistics of a network for digits.

    Args:
      name: one of `NAMES`.

    Returns:
      Both as float32; the statistics are ``{}`` where there is no batch normalisation.

    Raises:
      ValueError: an unknown name.

    Example:
      >>> params, state = read("vgg")
      >>> state["block1"]["norm1"]["mean"].shape
      (16,)
    """
    trees: Tree = {"params": {}, "state": {}}
    for path, array in _file(name).arrays.items():
        *parents, leaf = path.split("/")
        node = trees
        for part in parents:
            node = node.setdefault(part, {})
        node[leaf] = array
    params, state = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float32), (trees["params"], trees["state"])
    )
    return params, state


def metadata(name: str) -> dict[str, str]:
    """Return what a file says of its weights: on what and how they were trained.

    Args:
      name: one of `NAMES`.

    Returns:
      Text by name.

    Raises:
      ValueError: an unknown name.

    Example:
      >>> metadata("lenet")["trained on"]
      'the first 55000 training digits of MNIST'
    """
    return _file(name).metadata


def _file(name: str) -> tensors.Tensors:
    _require.one_of("name", name, NAMES)
    return tensors.read(_FOLDER / f"{name}.safetensors")
