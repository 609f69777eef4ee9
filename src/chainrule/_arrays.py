"""The type of an array that comes from outside: JAX's or NumPy's."""

import jax
import numpy as np

__all__ = ["AnyArray"]

AnyArray = jax.Array | np.ndarray
