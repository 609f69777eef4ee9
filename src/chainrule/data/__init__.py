"""Handwritten digits with their provenance.

>>> from chainrule import data
>>> train = data.mnist("train", source="embedded")
>>> print(data.describe(train))
train: 6000 digits of 28 x 28 pixels, source embedded (train 6000, test 1000), order original
  labels 0 to 9: 592 671 581 608 623 514 608 651 551 601
  ...

Arrays are NumPy's, on the host. Importing this package imports neither JAX nor
tensorflow-datasets. Reading digits never uses the network: only `fetch` does.
"""

from chainrule.data.digits import idx
from chainrule.data.digits.download import fetch
from chainrule.data.digits.record import (
    Digits,
    Provenance,
    Standardized,
    describe,
    first,
    standardize,
)
from chainrule.data.digits.sources import mnist
from chainrule.data.digits.tfds import prepare
from chainrule.data.labelled_images import FASHION, Labelled, labelled

__all__ = [
    "FASHION",
    "Digits",
    "Labelled",
    "Provenance",
    "Standardized",
    "describe",
    "fetch",
    "first",
    "idx",
    "labelled",
    "mnist",
    "prepare",
    "standardize",
]
__dir__ = __all__.copy
