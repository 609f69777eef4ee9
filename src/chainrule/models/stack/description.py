"""The sizes and the costs of a network, before any number is drawn."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from chainrule import _require
from chainrule.models.stack import rows as _rows
from chainrule.models.stack.network import steps
from chainrule.models.stack.rows import Dense, Pool, Row

__all__ = ["Description", "LayerSize", "describe"]
__dir__ = __all__.copy


class LayerSize(NamedTuple):
    """The sizes and the costs of one row.

    Attributes:
      name: the row's.
      kind: ``conv``, ``norm``, ``max``, ``avg``, ``dense`` or ``dropout``.
      outputs: the shape of its outputs for one input.
      padding: the values added before and after, for each axis of space; ``()`` without a window.
      receptive_field: the extent of the inputs that one output depends on, for each axis of space,
        in an image without borders; for a `Dense` row the image.
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
    layers: tuple[LayerSize, ...]

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
        """The memory of the outputs of all layers for one input, which training keeps."""
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
      A `LayerSize` a row, and their sums.

    Raises:
      ValueError: as for `init`.

    Example:
      Two images of 256 x 256 in colour, fully connected:

      >>> layer = describe((Dense("dense", 256 * 256 * 3),), (256, 256, 3)).layers[0]
      >>> f"{layer.multiply_adds:,} weights, {layer.parameter_bytes / 1e9:.1f} GB"
      '38,654,705,664 weights, 154.6 GB'
    """
    input_shape = _require.sizes("input_shape", input_shape)
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
            LayerSize(
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


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
