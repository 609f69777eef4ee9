r"""VGG (Simonyan and Zisserman, 2015): many small kernels, in blocks that each end in a pool.

A block is a few 3 x 3 convolutions that keep the size, each with a ReLU after it, and a pool that
halves it; three dense layers follow. Two convolutions of 3 x 3 cover 5 x 5 pixels, three cover
7 x 7, with fewer weights than one large kernel, and with a ReLU between them. `CONFIGS` has the
paper's configurations by their letters; VGG16 is D. (A-LRN is left out: its normalisation of
neighbouring channels made A slower and no better.)

`apply` reads the architecture off the parameters, so that the same functions serve the paper's
networks and smaller ones in their style:

>>> import jax.numpy as jnp
>>> def logits(key, images):
...     params = init(key, ((8,), (16, 16)), image_size=28, channels=1, classes=10, hidden=(32,))
...     return apply(params, images)
>>> jax.eval_shape(logits, jax.random.key(0), jnp.zeros((5, 28, 28, 1))).shape
(5, 10)

To describe VGG16 takes no memory:

>>> f"{stack.describe(rows('D'), (224, 224, 3)).parameters:,} parameters"
'138,357,544 parameters'
"""

from collections.abc import Sequence

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.models import stack
from chainrule.models.stack import Conv, Dense, Dropout, Norm, Pool, Row, Tree, init_state
from chainrule.ops.activations import relu

__all__ = [
    "CONFIGS",
    "MOST",
    "Blocks",
    "apply",
    "features",
    "init",
    "init_state",
    "probabilities",
    "rows",
]
__dir__ = __all__.copy

MOST = 2**20
"""The most pixels along a side, channels or classes."""

Blocks = Sequence[Sequence[int | tuple[int, int]]]
"""For each block, of each convolution the features, or those and the size of its kernel."""

CONFIGS: dict[str, Blocks] = {
    "A": ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2),
    "B": ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2),
    "C": ((64,) * 2, (128,) * 2, *((n, n, (n, 1)) for n in (256, 512, 512))),
    "D": ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    "E": ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}
"""The configurations of the paper's table 1: VGG11, 13, 16 with kernels of 1 x 1, 16 and 19."""


def rows(
    config: str | Blocks = "D",
    *,
    classes: int = 1000,
    hidden: Sequence[int] = (4096, 4096),
    batch_norm: bool = False,
    dropout: float = 0.5,
) -> tuple[Row, ...]:
    """Return the table of rows of a configuration, for `chainrule.models.stack`.

    Args:
      config: a letter of `CONFIGS`, or blocks.
      classes: how many outputs.
      hidden: the widths of the dense layers before the last one.
      batch_norm: whether a batch normalisation follows each convolution, before its ReLU.
      dropout: the probability of 0 after each hidden dense layer, while training with a key.

    Returns:
      The rows ``block1/conv1``, ``block1/norm1``, ..., ``block1/pool``, ..., ``dense1``,
      ``dropout1``, ...

    Raises:
      ValueError: an unknown letter, a malformed block, fewer than one class or feature, or a
        dropout outside [0, 1).

    Example:
      >>> [row.name for row in rows(((8, 8),), hidden=(), classes=10)]
      ['block1/conv1', 'block1/conv2', 'block1/pool', 'dense1']
    """
    classes = _require.count("classes", classes, most=MOST)
    _require.real("dropout", dropout, least=0, below=1)
    _require.flag("batch_norm", batch_norm)
    table: list[Row] = []
    for number, block in enumerate(_blocks(config), start=1):
        for index, (width, kernel) in enumerate(block, start=1):
            conv = Conv(f"block{number}/conv{index}", width, kernel, padding=kernel // 2)
            if batch_norm:
                table += [conv, Norm(f"block{number}/norm{index}", activation=relu)]
            else:
                table.append(conv._replace(activation=relu))
        table.append(Pool(f"block{number}/pool"))
    for index, width in enumerate(_require.sizes("hidden", hidden), start=1):
        table += [Dense(f"dense{index}", width, relu), Dropout(f"dropout{index}", dropout)]
    return (*table, Dense(f"dense{len(hidden) + 1}", classes))


def init(
    key: PRNGKeyArray,
    config: str | Blocks = "D",
    image_size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    batch_norm: bool = False,
    *,
    hidden: Sequence[int] = (4096, 4096),
) -> Tree:
    r"""Draw the parameters of a VGG.

    Kernels are normal with the variance 2 / fan-in (He et al., 2015), from which all configurations
    can be trained as they are; the paper drew them with the variance 1e-4 and had to start the deep
    ones from the layers of A. Biases are 0, scales 1.

    Args:
      key: the source of the numbers.
      config: a letter of `CONFIGS`, or blocks.
      image_size: height and width of the images.
      channels: of the images.
      classes: how many outputs.
      batch_norm: whether a batch normalisation follows each convolution, before its ReLU; then
        `init_state` makes the running statistics.
      hidden: the widths of the dense layers before the last one.

    Returns:
      ``{"block1": {"conv1": {"kernel": [3, 3, channels, 64], "bias": [64]}, ...}, ...}`` down to
      ``{"dense1": {"kernel": [7 * 7 * 512, 4096], "bias": [4096]}, ...}``, and with ``batch_norm``
      ``"norm1": {"scale": [64], "bias": [64]}`` beside each convolution. VGG16's take 553 MB; their
      shapes, by `jax.eval_shape`, none.

    Raises:
      ValueError: ``key`` is no key, an unknown letter, an image that the pools halve to nothing,
        fewer than one feature, class or channel.

    Example:
      >>> shapes = jax.eval_shape(lambda key: init(key, "A"), jax.random.key(0))
      >>> shapes["block2"]["conv1"]["kernel"].shape, shapes["dense1"]["kernel"].shape
      ((3, 3, 64, 128), (25088, 4096))
    """
    _require.one_key(key)
    image_size = _require.count("image_size", image_size, most=MOST)
    channels = _require.count("channels", channels, most=MOST)
    table = rows(config, classes=classes, hidden=hidden, batch_norm=batch_norm)
    pools = sum(isinstance(row, Pool) for row in table)
    if image_size < 2**pools:
        raise ValueError(
            f"image_size {image_size}: {pools} pools halve it to nothing, it must be at least "
            f"{2**pools}"
        )
    try:
        return stack.init(key, table, (image_size, image_size, channels))
    except ValueError as error:
        raise ValueError(f"config {config!r} with hidden {tuple(hidden)}: {error}") from error


def apply(
    params: Tree,
    inputs: Float[AnyArray, "batch height width channels"],
    *,
    state: Tree | None = None,
    key: PRNGKeyArray | None = None,
    train: bool = False,
    dropout: float = 0.5,
) -> Float[Array, "batch classes"] | tuple[Float[Array, "batch classes"], Tree]:
    """Return the logits.

    Args:
      params: as `init` draws them.
      inputs: images of the size that the parameters were drawn for.
      state: the running statistics, with batch normalisation.
      key: for the dropout; without one nothing is dropped.
      train: whether the statistics are those of the batch, and dropout uses the key.
      dropout: the probability of 0 after each hidden dense layer.

    Returns:
      The logits; with ``train`` and a ``state`` also the state after this batch,
      ``(logits, state)``.

    Raises:
      ValueError: parameters of another network, a missing state, images of another size, an empty
        batch to take statistics of, or a dropout outside [0, 1).

    Example:
      >>> import jax.numpy as jnp
      >>> params = init(jax.random.key(0), ((4,),), image_size=8, classes=3, hidden=())
      >>> jax.jit(apply)(params, jnp.zeros((2, 8, 8, 3)))
      Array([[0., 0., 0.],
             [0., 0., 0.]], dtype=float32)
    """
    return stack.apply(
        params, inputs, rows_of(params, dropout=dropout), state=state, key=key, train=train
    )


def features(
    params: Tree,
    inputs: Float[AnyArray, "batch height width channels"],
    *,
    state: Tree | None = None,
) -> dict[str, Array]:
    """Return the outputs of every layer, by its name, in evaluation mode.

    Under `jax.jit` only those that are used are computed.

    Args:
      params: as `init` draws them.
      inputs: images of the size that the parameters were drawn for.
      state: the running statistics, with batch normalisation.

    Returns:
      ``{"block1/conv1": [batch, height, width, 64], ..., "block1/pool": ..., "dense3": logits}``,
      after the ReLU where one follows: with batch normalisation, after ``block1/norm1``.

    Raises:
      ValueError: as for `apply`.

    Example:
      >>> import jax.numpy as jnp
      >>> params = init(jax.random.key(0), ((4,),), image_size=8, classes=3, hidden=())
      >>> shapes = jax.eval_shape(features, params, jnp.ones((2, 8, 8, 3)))
      >>> {name: shape.shape for name, shape in shapes.items()}
      {'block1/conv1': (2, 8, 8, 4), 'block1/pool': (2, 4, 4, 4), 'dense1': (2, 3)}
    """
    table = [row for row in rows_of(params) if not isinstance(row, Dropout)]
    return stack.features(params, inputs, table, state=state)


def probabilities(
    params: Tree,
    inputs: Float[AnyArray, "batch height width channels"],
    *,
    state: Tree | None = None,
) -> Float[Array, "batch classes"]:
    """Return the softmax of the logits, in evaluation mode.

    Args:
      params: as `init` draws them.
      inputs: images of the size that the parameters were drawn for.
      state: the running statistics, with batch normalisation.

    Returns:
      Rows that sum to 1.

    Raises:
      ValueError: as for `apply`.

    Example:
      >>> import jax.numpy as jnp
      >>> params = init(jax.random.key(0), ((4,),), image_size=8, classes=4, hidden=())
      >>> jax.jit(probabilities)(params, jnp.zeros((1, 8, 8, 3)))
      Array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    return jax.nn.softmax(stack.apply(params, inputs, rows_of(params), state=state))


def rows_of(params: Tree, *, dropout: float = 0.5) -> tuple[Row, ...]:
    """Return the rows of the network that the parameters are of.

    Args:
      params: as `init` draws them, or their shapes.
      dropout: as for `rows`.

    Returns:
      As `rows` does.

    Raises:
      ValueError: parameters of another network.

    Example:
      >>> shapes = jax.eval_shape(lambda key: init(key, "C"), jax.random.key(0))
      >>> rows_of(shapes) == rows("C")
      True
    """
    _require.instance("params", params, dict, "the dict of blocks that init returns")
    blocks, batch_norm = [], False
    for block in _numbered(params, "block"):
        kernels = [conv["kernel"].shape for conv in _numbered(block, "conv")]
        blocks.append([(width, size) for size, *_, width in kernels])
        batch_norm = "norm1" in block
    *hidden, classes = (dense["kernel"].shape[1] for dense in _numbered(params, "dense"))
    return rows(blocks, classes=classes, hidden=hidden, batch_norm=batch_norm, dropout=dropout)


def _blocks(config: str | Blocks) -> list[list[tuple[int, int]]]:
    """Return the features and the size of the kernel of each convolution, block by block."""
    if isinstance(config, str):
        _require.one_of("config", config, CONFIGS)
        config = CONFIGS[config]
    try:
        pairs = [
            [tuple(entry) if isinstance(entry, Sequence) else (entry, 3) for entry in block]
            for block in config
        ]
        return [
            [(_require.count("", width), _require.count("", kernel)) for width, kernel in block]
            for block in pairs
        ]
    except (TypeError, ValueError):
        raise ValueError(
            f"config {config!r}: give one of {', '.join(CONFIGS)}, or for each block the features "
            "of its convolutions, or those and the sizes of their kernels, all ints of at least 1"
        ) from None


def _numbered(tree: Tree, name: str) -> list[Tree]:
    """Return ``tree["name1"]``, ``tree["name2"]``, ...: a dict that went through jit is sorted."""
    count = sum(isinstance(key, str) and key.startswith(name) for key in tree)
    wanted = [f"{name}{index}" for index in range(1, max(count, 1) + 1)]
    if missing := [key for key in wanted if key not in tree]:
        raise ValueError(f"params are no VGG's: there is no {missing[0]} in {list(tree)}")
    return [tree[key] for key in wanted]
