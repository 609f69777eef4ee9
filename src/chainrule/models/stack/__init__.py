"""Networks of one layer after the other, each a table of rows: what LeNet and VGG share.

An architecture is a tuple of rows, `Conv`, `Norm`, `Pool`, `Dense` and `Dropout`, each with the
name of its parameters (``"block1/conv2"`` is ``params["block1"]["conv2"]``). A row applies its
operation and then, if it names one, its activation, so that a ReLU can stand before the pool or
after it. The first `Dense` row flattens its inputs: rows, columns, channels, in this order.

Example:
  >>> import jax
  >>> import jax.numpy as jnp
  >>> from chainrule.ops.activations import relu
  >>> rows = (
  ...     Conv("conv", 8, kernel=3, padding=1, activation=relu),
  ...     Pool("pool", 2),
  ...     Dense("dense", 10),
  ... )
  >>> params = init(jax.random.key(0), rows, (28, 28, 1))
  >>> apply(params, jnp.zeros((5, 28, 28, 1)), rows).shape
  (5, 10)
  >>> print(describe(rows, (28, 28, 1)))
  name   kind   outputs      padding        sees     parameters  multiply-adds  outputs, kB
  conv   conv   28 x 28 x 8  1+1, 1+1       3 x 3            80         56,448         25.1
  pool   max    14 x 14 x 8  0+0, 0+0       4 x 4             0              0          6.3
  dense  dense  10                          28 x 28      15,690         15,680          0.0
  total                                                  15,770         72,128         31.4
"""

from chainrule.models.stack.description import Description, LayerSize, describe
from chainrule.models.stack.network import Step, Tree, apply, features, init, init_state, steps
from chainrule.models.stack.rows import Conv, Dense, Dropout, Norm, Pool, Row

__all__ = [
    "Conv",
    "Dense",
    "Description",
    "Dropout",
    "LayerSize",
    "Norm",
    "Pool",
    "Row",
    "Step",
    "Tree",
    "apply",
    "describe",
    "features",
    "init",
    "init_state",
    "steps",
]
__dir__ = __all__.copy
