"""The largest eigenvalues of a linear map of which only products with vectors are known."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree


class Eigen(NamedTuple):
    """What a search for the largest eigenvalues found.

    Attributes:
      values: ``[k]``, the largest first.
      vectors: ``[k, n]``, orthonormal; of a symmetric map the eigenvectors, of another one a basis
        of the space of theirs.
      residual: ``[k]``, the norms of ``A v - value * v``.
      products: how many vectors were multiplied.
    """

    values: Float[Array, " k"]
    vectors: Float[Array, "k n"]
    residual: Float[Array, " k"]
    products: Int[Array, ""]


class _Carry(NamedTuple):
    basis: Array
    images: Array
    new: Array
    values: Array
    residual: Array
    open: Array
    sweeps: Array


def largest(
    product: Callable[[Array], Array],
    start: Float[Array, "k n"],
    *,
    wanted: int = 1,
    size: int,
    sweeps: int,
    tolerance: float,
    symmetric: bool,
) -> Eigen:
    r"""Find the algebraically largest eigenvalues by Arnoldi iteration with thick restarts.

    A basis grows from the ``k`` vectors of the start, each new one the orthogonal part of the
    product with the one before. The map projected on it, ``[size, size]``, has eigenvectors of its
    own; those of its ``k`` largest eigenvalues are kept, and the basis grows again. For a symmetric
    map this is Lanczos iteration.

    Args:
      product: the map, from ``[n]`` to ``[n]``; the eigenvalues looked for are real.
      start: where to look, such as the vectors found for a map nearby; independent rows.
      wanted: how many residuals must become small, at most ``k``.
      size: of the basis.
      sweeps: how often it grows at most.
      tolerance: of a residual, relative to the largest eigenvalue in absolute value.
      symmetric: whether the map is.

    References:
      Wu and Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", 2000;
      Stewart, "A Krylov-Schur algorithm for large eigenproblems", 2001.
    """
    size = min(size, start.shape[1])
    kept = min(len(start), size)

    def sweep(carry: _Carry) -> _Carry:
        def grow(i: Array, grown: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            basis, images, new = grown
            first = (carry.sweeps == 0) & (i < kept)
            new = _orthogonal(jnp.where(first, start[jnp.minimum(i, kept - 1)], new), basis)
            image = product(new)
            return basis.at[i].set(new), images.at[i].set(image), image

        known = jnp.where(carry.sweeps == 0, 0, kept)
        basis, images, _ = jax.lax.fori_loop(known, size, grow, carry[:3])
        values, mixed = _eigen(basis, images, symmetric)
        scale, values, mixed = jnp.max(jnp.abs(values)), values[:kept], mixed[:, :kept]
        off = mixed.T @ images - values[:, None] * (mixed.T @ basis)
        residual = jnp.linalg.norm(off, axis=1)
        turned = jnp.linalg.qr(mixed)[0].T
        basis, images = (jnp.zeros_like(b).at[:kept].set(turned @ b) for b in (basis, images))
        new = off[jnp.argmax(residual[:wanted])]
        open_ = jnp.any(residual[:wanted] > tolerance * scale)
        return _Carry(basis, images, new, values, residual, open_, carry.sweeps + 1)

    nothing, unknown = jnp.zeros((size, start.shape[1]), start.dtype), jnp.zeros(kept, start.dtype)
    begin = _Carry(nothing, nothing, start[0], unknown, unknown, jnp.array(True), jnp.int32(0))
    end = jax.lax.while_loop(lambda carry: carry.open & (carry.sweeps < sweeps), sweep, begin)
    return Eigen(end.values, end.basis[:kept], end.residual, kept + end.sweeps * (size - kept))


def _orthogonal(vector: Array, basis: Array) -> Array:
    """Return the part of a vector that is orthogonal to a basis, of length 1, or 0 without one."""
    length = jnp.linalg.norm(vector)
    for _ in range(2):  # once leaves what rounding adds
        vector = vector - (basis @ vector) @ basis
    norm = jnp.linalg.norm(vector)
    # Of a vector within their space, rounding is all that is left. NaN stays.
    old = norm <= 100 * jnp.finfo(vector.dtype).eps * length
    return jnp.where(old, 0, vector / jnp.where(old, 1, norm))


def _eigen(basis: Array, images: Array, symmetric: bool) -> tuple[Array, Array]:
    """Return the eigenvalues, descending, and eigenvectors of the map projected on a basis."""
    projected = basis @ images.T
    # Rows that found no new direction are zero: their eigenvalue comes below all others.
    below = -1 - jnp.sum(jnp.abs(projected))
    projected += jnp.diag(jnp.where(jnp.any(basis != 0, axis=1), 0, below))
    if symmetric:
        values, vectors = jnp.linalg.eigh(projected)
    else:
        values, vectors = (part.real for part in jnp.linalg.eig(projected))
    order = jnp.argsort(-values)
    return values[order], vectors[:, order]


def flat(of: Callable[[PyTree], PyTree], like: PyTree) -> Callable[[Array], Array]:
    """Return a map of trees as one of vectors, in float32 at least."""
    tree = unflat(like)
    return lambda v: _ravel(of(tree(v)))[0].astype(v.dtype)


def unflat(like: PyTree) -> Callable[[Array], PyTree]:
    """Return the map from vectors to trees like this one."""
    vector, unravel = _ravel(like)
    return lambda v: unravel(v.astype(vector.dtype))


def start(like: PyTree, rows: int, key: Array | None) -> Float[Array, "rows n"]:
    """Return rows of random numbers for vectors like a tree, the same each time without a key."""
    vector, _ = _ravel(like)
    dtype, shape = _wide(vector.dtype), (rows, vector.size)
    if key is not None:
        return jax.random.normal(key, shape, dtype)
    # Weyl's sequence: multiples of the golden ratio, here of the squares, modulo 1.
    places = jnp.arange(1, rows * vector.size + 1, dtype=jnp.uint32) ** 2 * jnp.uint32(2654435769)
    return (places.astype(dtype) / 2.0**32 - 0.5).reshape(shape)


def _wide(dtype: jnp.dtype) -> jnp.dtype:
    """Return a dtype, but float32 for one of half precision, which has no eigenvalues."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def _ravel(tree: PyTree) -> Any:
    with jax.numpy_dtype_promotion("standard"):  # leaves may have several dtypes
        return jax.flatten_util.ravel_pytree(tree)
