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
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.models import stack
from chainrule.models.pretrained import names as _names
from chainrule.models.pretrained import shipped
from chainrule.models.stack import Conv, Dense, Dropout, Norm, Pool, Row, Tree, init_state
from chainrule.ops.activations import relu

__all__ = [
    "CONFIGS",
    "MOST",
    "Blocks",
    "apply",
    "embed",
    "features",
    "init",
    "init_state",
    "pretrained",
    "probabilities",
    "rows",
    "top",
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


def embed(
    params: Tree,
    images: Float[AnyArray, "batch height width channels"],
    *,
    block: int = 5,
    pool: Literal["average", "max"] | None = "average",
    state: Tree | None = None,
) -> Float[Array, "batch features"] | Float[Array, "batch rows columns features"]:
    """Return what a block makes of images: features for another classifier.

    The dense layers are not run, so that images may be of another size than the parameters were
    drawn for, as long as the pools leave something of them.

    Args:
      params: as `init` draws them.
      images: the inputs of the network: standardised as its weights need.
      block: up to which block the network is run, its pool included; 1 for the first.
      pool: what becomes of the positions: their mean, their largest value, or with None nothing.
      state: the running statistics, with batch normalisation.

    Returns:
      ``[batch, features]``, or ``[batch, rows, columns, features]`` without a pool; VGG16's fifth
      block has 512 features, at 7 x 7 positions of 224 x 224 pixels.

    Raises:
      ValueError: there is no such block, an unknown pool, or images that do not fit.

    Example:
      >>> params = init(jax.random.key(0), ((4,), (6,)), image_size=8, classes=3, hidden=())
      >>> embed(params, jnp.ones((2, 16, 16, 3)), block=2).shape
      (2, 6)
      >>> embed(params, jnp.ones((2, 16, 16, 3)), block=1, pool=None).shape
      (2, 8, 8, 4)
    """
    table = rows_of(params)
    pools = [index for index, row in enumerate(table) if isinstance(row, Pool)]
    _require.count("block", block, most=len(pools), why=f"there are {len(pools)} blocks")
    if pool is not None:
        _require.one_of("pool", pool, ("average", "max"))
    _require.floats(images=images)
    if images.ndim != 4:
        raise ValueError(f"images {images.shape}: they must be [batch, height, width, channels]")
    maps = stack.apply(params, images, table[: pools[block - 1] + 1], state=state)
    if pool is None:
        return maps
    return jnp.mean(maps, axis=(1, 2)) if pool == "average" else jnp.max(maps, axis=(1, 2))


def top(
    probabilities: Float[AnyArray, "batch classes"],
    k: int = 5,
    *,
    names: Sequence[str] | None = None,
) -> list[list[tuple[str, float]]]:
    """Return the likeliest classes of every image, the likeliest first.

    Args:
      probabilities: as `probabilities` returns them; values, not traced.
      k: how many classes, from 1 to as many as there are.
      names: of the classes; those of ImageNet where there are 1,000 and none are given.

    Returns:
      For every image ``k`` pairs ``(name, probability)``; of two that are equally likely the one
      with the lower index comes first.

    Raises:
      ValueError: no names for another number of classes than 1,000, another number of names,
        ``k`` out of range, or probabilities that are not ``[batch, classes]`` or not from 0 to 1.

    Example:
      >>> top(np.array([[0.2, 0.5, 0.3]]), 2, names=("cat", "dog", "owl"))
      [[('dog', 0.5), ('owl', 0.3)]]
      >>> top(np.eye(1000)[[281]], 1)
      [[('tabby', 1.0)]]
    """
    _require.floats(probabilities=probabilities)
    if probabilities.ndim != 2:
        raise ValueError(
            f"probabilities {probabilities.shape}: they must be [batch, classes]; those of one "
            "image are probabilities[None]"
        )
    classes = probabilities.shape[1]
    if names is None and classes != 1000:
        raise ValueError(
            f"probabilities of {classes} classes and no names: give names, a list of {classes}"
        )
    names = _require.several("names", _names.imagenet() if names is None else names, str, "names")
    if len(names) != classes:
        raise ValueError(f"probabilities of {classes} classes and {len(names)} names")
    _require.count("k", k, most=classes, why=f"there are {classes} classes")
    if not _require.is_concrete(probabilities):
        raise ValueError("probabilities are being traced by JAX: call top outside of jax.jit")
    _require.within("probabilities", probabilities, least=0, most=1)
    values = np.asarray(probabilities)
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return [
        [(names[index], float(row[index])) for index in best]
        for row, best in zip(values, order, strict=True)
    ]


def pretrained(name: Literal["digits"] = "digits") -> tuple[Tree, Tree]:
    """Return the weights that live in the package: 9,968 of 10,000 test digits are right.

    The blocks are ``((16,), (32, 32), (64, 64))``, with batch normalisation and no hidden dense
    layer. ``experiments/make_pretrained.py`` trained them on 55,000 digits of MNIST, moved at
    random by up to two pixels; the number of epochs was fixed before. Digits are light on a dark
    ground, ``[batch, 28, 28, 1]``, and standardised by
    `chainrule.models.pretrained.preprocessing.DIGITS`. Weights for photographs are not shipped:
    `chainrule.models.pretrained.torchvision` reads them.

    Args:
      name: what they were trained on, ``"digits"``.

    Returns:
      Parameters and running statistics, float32.

    Raises:
      ValueError: another name.

    Example:
      >>> from chainrule import data
      >>> from chainrule.models.pretrained.preprocessing import DIGITS, preprocess
      >>> digits = data.mnist("test", source="embedded").images[:5, ..., None]
      >>> params, state = pretrained("digits")
      >>> found = jax.jit(probabilities)(params, preprocess(digits, DIGITS), state=state)
      >>> [best[0][0] for best in top(found, 1, names=tuple("0123456789"))]
      ['7', '2', '1', '0', '4']
    """
    _require.one_of("name", name, ("digits",))
    return shipped.read("vgg")


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
