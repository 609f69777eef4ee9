"""Networks that are one layer after the other, from a table: what LeNet and VGG share.

An architecture is a tuple of rows, `Conv`, `Norm`, `Pool`, `Dense` and `Dropout`, each with the
name under which its parameters are found (``"block1/conv2"`` is ``params["block1"]["conv2"]``). A
row does its operation and then, if it names one, its activation; so a ReLU can stand before the
pool or after it. The first `Dense` row flattens what it gets: rows, columns, channels, in this
order.

Example:
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

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from chainrule.models.stack import rows as _rows
from chainrule.models.stack.rows import Conv, Dense, Dropout, Norm, Pool, Row

__all__ = [
    "Conv",
    "Dense",
    "Description",
    "Dropout",
    "Layer",
    "Norm",
    "Pool",
    "Row",
    "apply",
    "describe",
    "features",
    "init",
    "init_state",
]

Tree = dict[str, Any]
"""Layers, nested as their names are: ``{"block1": {"conv2": {"kernel": ..., "bias": ...}}}``"""

_HE_NORMAL = _rows.as_matrix(jax.nn.initializers.he_normal())


def init(
    key: PRNGKeyArray,
    rows: Sequence[Row],
    input_shape: tuple[int, ...],
    *,
    kernel_init: Callable[..., Array] | None = None,
    dtype: Any = jnp.float32,
) -> Tree:
    r"""Draw the parameters of a network.

    Kernels are normal with the variance 2 / fan-in (He et al., 2015) unless ``kernel_init`` says
    otherwise, biases are 0, scales 1.

    Args:
      key: the source of the numbers.
      rows: the architecture.
      input_shape: that of one input, ``(*space, channels)``.
      kernel_init: draws the kernels, ``kernel_init(key, shape, dtype)``, as those of
        ``jax.nn.initializers`` do.
      dtype: of the parameters.

    Returns:
      The layers that have parameters, nested as their names are.

    Raises:
      ValueError: two rows with one name, or a row that its inputs do not fit, with its name: for
        example an image that the pools have reduced to less than their window.
    """
    draw = {
        "kernel": kernel_init or _HE_NORMAL,
        "bias": jax.nn.initializers.zeros,
        "scale": jax.nn.initializers.ones,
    }
    params: Tree = {}
    for index, step in enumerate(steps(rows, input_shape)):
        if step.params:
            once = jax.random.fold_in(key, index)
            layer = {leaf: draw[leaf](once, shape, dtype) for leaf, shape in step.params.items()}
            _put(params, step.row.name, layer)
    return params


def init_state(params: Tree) -> Tree:
    """Return the running statistics that a network starts with: mean 0 and variance 1.

    Args:
      params: as `init` draws them.

    Returns:
      ``{"mean", "var"}`` for every `Norm` row, nested as the parameters; without such a row ``{}``.

    Example:
      >>> init_state({"conv": {"kernel": jnp.ones(3)}, "norm": {"scale": jnp.ones(1)}})
      {'norm': {'mean': Array([0.], dtype=float32), 'var': Array([1.], dtype=float32)}}
    """
    state: Tree = {}
    for name, layer in params.items():
        if not isinstance(layer, dict):
            continue
        if "scale" in layer:
            scale = layer["scale"]
            # A running mean moves by less than half precision can tell.
            dtype = jnp.float32 if scale.dtype.itemsize < 4 else scale.dtype
            state[name] = {
                "mean": jnp.zeros(scale.shape, dtype),
                "var": jnp.ones(scale.shape, dtype),
            }
        elif inner := init_state(layer):
            state[name] = inner
    return state


def apply(
    params: Tree,
    inputs: Float[Array, "batch *space channels"],
    rows: Sequence[Row],
    *,
    state: Tree | None = None,
    key: PRNGKeyArray | None = None,
    train: bool = False,
) -> Any:
    """Run the network.

    Args:
      params: as `init` draws them.
      inputs: ``[batch, *space, channels]``.
      rows: the architecture.
      state: the running statistics, where the network has `Norm` rows.
      key: for the `Dropout` rows; without one nothing is dropped.
      train: whether statistics are those of the batch, and a key drops something.

    Returns:
      The outputs of the last row; with ``train`` and a ``state`` also the state after this batch,
      ``(outputs, state)``.

    Raises:
      ValueError: inputs that do not fit a row or its parameters, parameters or a state that are
        missing, with the name of the row.
    """
    outputs: Array = inputs
    new_state: Tree = {}
    for name, outputs, statistics in _run(params, inputs, rows, state, key, train):  # noqa: B007
        if statistics:
            _put(new_state, name, statistics)
    return (outputs, new_state) if train and state is not None else outputs


def features(
    params: Tree,
    inputs: Float[Array, "batch *space channels"],
    rows: Sequence[Row],
    *,
    state: Tree | None = None,
) -> dict[str, Array]:
    """Run the network, not training, and return what every row hands on, by its name.

    Args:
      params: as `init` draws them.
      inputs: ``[batch, *space, channels]``.
      rows: the architecture.
      state: the running statistics, where the network has `Norm` rows.

    Returns:
      ``{name: [batch, ...]}`` in the order of the rows.

    Raises:
      ValueError: as for `apply`.
    """
    return {name: outputs for name, outputs, _ in _run(params, inputs, rows, state, None, False)}


class Layer(NamedTuple):
    """What there is to know about a row before any number is drawn.

    Attributes:
      name: the row's.
      kind: ``conv``, ``norm``, ``max``, ``avg``, ``dense`` or ``dropout``.
      outputs: the shape of what it makes of one input.
      padding: the values really added before and after, an axis of space; ``()`` without a window.
      receptive_field: how far apart the inputs lie that one output sees, an axis of space, as if
        the image had no end; for a `Dense` row the image.
      parameters: how many numbers it learns.
      multiply_adds: how many products of an input and a weight it sums for one input.
      parameter_bytes: the memory of its parameters in float32.
      output_bytes: that of its outputs, for one input.
    """

    name: str
    kind: str
    outputs: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    receptive_field: tuple[int, ...]
    parameters: int
    multiply_adds: int
    parameter_bytes: int
    output_bytes: int


class Description(NamedTuple):
    """The layers of a network; printed, a table.

    Attributes:
      input_shape: that of one input.
      layers: one a row.
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """How many numbers the network learns."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """How many products of an input and a weight it sums for one input."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def output_bytes(self) -> int:
        """The memory of everything it computes for one input, which training keeps."""
        return sum(layer.output_bytes for layer in self.layers)

    def columns(
        self,
    ) -> tuple[dict[str, tuple[int, ...]], list[str], dict[str, list[int]]]:
        """Return the outputs, kinds and costs of the layers, the input before them.

        They are what `chainrule.plots.network.sizes` draws:
        ``sizes(*describe(rows, input_shape).columns())``.
        """
        layers = self.layers
        return (
            {"image": self.input_shape} | {layer.name: layer.outputs for layer in layers},
            ["input", *(layer.kind for layer in layers)],
            {
                "parameters": [0, *(layer.parameters for layer in layers)],
                "multiply-adds": [0, *(layer.multiply_adds for layer in layers)],
                "bytes of outputs": [0, *(layer.output_bytes for layer in layers)],
            },
        )

    def __str__(self) -> str:
        heads = ("name", "kind", "outputs", "padding", "sees")
        numbers = ("parameters", "multiply-adds", "outputs, kB")
        table = [
            heads + numbers,
            *(
                (
                    layer.name,
                    layer.kind,
                    _by(layer.outputs),
                    ", ".join(f"{lo}+{hi}" for lo, hi in layer.padding),
                    _by(layer.receptive_field),
                    f"{layer.parameters:,}",
                    f"{layer.multiply_adds:,}",
                    f"{layer.output_bytes / 1e3:,.1f}",
                )
                for layer in self.layers
            ),
            (
                *("total", "", "", "", ""),
                f"{self.parameters:,}",
                f"{self.multiply_adds:,}",
                f"{self.output_bytes / 1e3:,.1f}",
            ),
        ]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if index < len(heads) else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in table
        )


def describe(rows: Sequence[Row], input_shape: tuple[int, ...]) -> Description:
    """Work out the sizes and the costs of a network without allocating anything.

    Args:
      rows: the architecture.
      input_shape: that of one input, ``(*space, channels)``.

    Returns:
      A `Layer` a row, and their sums.

    Raises:
      ValueError: as for `init`.

    Example:
      Two images of 256 x 256 in colour, fully connected:

      >>> layer = describe((Dense("dense", 256 * 256 * 3),), (256, 256, 3)).layers[0]
      >>> f"{layer.multiply_adds:,} weights, {layer.parameter_bytes / 1e9:.1f} GB"
      '38,654,705,664 weights, 154.6 GB'
    """
    space = input_shape[:-1]
    sees, jump = (1,) * len(space), (1,) * len(space)
    layers = []
    for row, inputs, params, outputs in steps(rows, input_shape):
        window, products = _rows.window(row, inputs), 0
        if window is not None:
            sees = tuple(
                r + (span - 1) * j for r, span, j in zip(sees, window.spans, jump, strict=True)
            )
            jump = tuple(j * s for j, s in zip(jump, window.strides, strict=True))
        if isinstance(row, Dense):
            sees = space
        if "kernel" in params:
            # Each weight is used once at every position.
            products = math.prod(params["kernel"]) * math.prod(outputs[:-1])
        parameters = sum(map(math.prod, params.values()))
        layers.append(
            Layer(
                name=row.name,
                kind=row.kind if isinstance(row, Pool) else type(row).__name__.lower(),
                outputs=outputs,
                padding=tuple((lo, max(hi, 0)) for lo, hi in window.reach) if window else (),
                receptive_field=sees,
                parameters=parameters,
                multiply_adds=products,
                parameter_bytes=4 * parameters,
                output_bytes=4 * math.prod(outputs),
            )
        )
    return Description(input_shape, tuple(layers))


def _run(
    params: Tree,
    inputs: Array,
    rows: Sequence[Row],
    state: Tree | None,
    key: PRNGKeyArray | None,
    train: bool,
) -> Iterator[tuple[str, Array, Tree]]:
    """Yield the name of each row, what it hands on and, for a `Norm` row, its statistics."""
    for index, row in enumerate(rows):
        with _naming(row):
            layer = {} if isinstance(row, Pool | Dropout) else _get(params, row.name, "parameters")
            statistics = _get(state, row.name, "state") if isinstance(row, Norm) else {}
            once = jax.random.fold_in(key, index) if train and key is not None else None
            with jax.named_scope(row.name):  # what profiles and x-rays call it
                inputs, statistics = _rows.run(row, layer, statistics, inputs, once, train)
        yield row.name, inputs, statistics


class Step(NamedTuple):
    """A row with the shapes of one input, of its parameters and of what it makes of it."""

    row: Row
    inputs: tuple[int, ...]
    params: dict[str, tuple[int, ...]]
    outputs: tuple[int, ...]


def steps(rows: Sequence[Row], input_shape: tuple[int, ...]) -> list[Step]:
    """Follow the shape of one input through the rows."""
    names = [row.name for row in rows]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"rows {names}: {sorted(twice)} twice: give every row a name of its own")
    found, shape = [], tuple(input_shape)
    for row in rows:
        with _naming(row):
            params = _rows.param_shapes(row, shape)
            as_arrays = {leaf: jax.ShapeDtypeStruct(s, jnp.float32) for leaf, s in params.items()}
            statistics = {leaf: as_arrays.get("scale") for leaf in ("mean", "var")}
            outputs, _ = jax.eval_shape(
                lambda *arrays, row=row: _rows.run(row, *arrays, key=None, train=False),
                as_arrays,
                statistics,
                jax.ShapeDtypeStruct((1, *shape), jnp.float32),
            )
        found.append(Step(row, shape, params, outputs.shape[1:]))
        shape = outputs.shape[1:]
    return found


@contextlib.contextmanager
def _naming(row: Row) -> Iterator[None]:
    """Begin every complaint with the name of the row."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{row.name}: {error}") from error


def _get(tree: Tree | None, name: str, kind: str) -> Tree:
    found: Any = tree
    for part in name.split("/"):
        if not isinstance(found, dict) or part not in found:
            raise ValueError(
                f"no {kind} of this name: pass what init and init_state made for these rows"
            )
        found = found[part]
    return cast(Tree, found)


def _put(tree: Tree, name: str, layer: Tree) -> None:
    *path, last = name.split("/")
    for part in path:
        tree = tree.setdefault(part, {})
    tree[last] = layer


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
