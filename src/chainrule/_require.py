"""Every check at the public edge, once: it names the argument, quotes what came, says what to do.

All of them raise a ValueError. Shapes and dtypes are checked always, values only on concrete
arrays: under `jax.jit` there is no value yet to look at. Importing this module imports no JAX.

Example:
  >>> count("steps", -1, least=0)
  Traceback (most recent call last):
  ValueError: steps must be an int of at least 0, not -1
  >>> one_of("split", "tran", ("train", "test"))
  Traceback (most recent call last):
  ValueError: unknown split 'tran': did you mean 'train'?
"""

import contextlib
import difflib
import math
import numbers
import operator
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def is_concrete(*arrays: object) -> bool:
    """Tell whether arrays have values to look at: none of them is being traced by JAX."""
    jax = sys.modules.get("jax")
    return jax is None or not any(isinstance(x, jax.core.Tracer) for x in arrays)


def kind(value: object) -> str:
    """Return what something is, for a message: ``an array``, ``a str``, ``an int``."""
    if hasattr(value, "shape"):
        return "an array"
    name = type(value).__name__
    return f"an {name}" if name[0].lower() in "aeio" else f"a {name}"


def count(
    name: str, value: object, *, least: int = 1, most: int | None = None, why: str = ""
) -> int:
    """Return a whole number within its bounds; one of NumPy's will do, True and 2.0 will not.

    Args:
      name: of the argument.
      value: what came.
      least: the smallest it may be.
      most: the largest it may be.
      why: where the bounds come from, or what to do; it ends the message.
    """
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(
            f"{name} must be an int {bounds}, not {value!r}" + (f": {why}" if why else "")
        )
    return number


def index(name: str, value: object) -> None:
    """Check a step or an epoch: an int from 0 that JAX holds in 32 bits; a traced one passes."""
    if is_concrete(value):
        count(name, value, least=0, most=2**31 - 1)


def counts(*, least: int = 1, **values: object) -> None:
    """Check several whole numbers at once, and name all that are below their bound."""
    wrong = []
    for name, value in values.items():
        try:
            count(name, value, least=least)
        except ValueError:
            wrong.append(f"{name}={value!r}")
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: give an int of at least {least}")


def sizes(name: str, values: Any) -> tuple[int, ...]:
    """Return a sequence of whole numbers, each at least 1: widths of layers, axes of an array."""
    row = isinstance(values, Sequence) or (isinstance(values, np.ndarray) and values.ndim == 1)
    if not row or isinstance(values, str | bytes):
        raise ValueError(f"{name} must be a sequence of ints, not {values!r}")
    return tuple(count(f"{name}[{index}]", value) for index, value in enumerate(values))


def real(
    name: str,
    value: Any,
    *,
    above: float | int | None = None,
    least: float | int | None = None,
    below: float | int | None = None,
    most: float | int | None = None,
    finite: bool = True,
    why: str = "",
) -> Any:
    """Return a real number within its bounds, finite unless told otherwise; a traced one passes.

    An int comes back as a float: JAX's ints have 32 bits.

    Args:
      name: of the argument.
      value: a number, or an array of one.
      above: what it must exceed.
      least: the smallest it may be.
      below: what it must stay under.
      most: the largest it may be.
      finite: whether infinities and NaN are refused; a NaN is within no bound.
      why: what goes wrong otherwise, or what to do; it ends the message.
    """
    if not is_concrete(value):
        return value
    number = None
    scalar = getattr(value, "shape", None) == () and getattr(value, "dtype", None) is not None
    if not isinstance(value, bool) and (isinstance(value, numbers.Real) or scalar):
        with contextlib.suppress(TypeError, ValueError):
            number = float(value)
    kept = (
        number is not None
        and (math.isfinite(number) or not finite)
        and (above is None or number > above)
        and (least is None or number >= least)
        and (below is None or number < below)
        and (most is None or number <= most)
    )
    if not kept:
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                *(("above", above), ("of at least", least)),
                *(("below", below), ("of at most", most)),
            )
            if bound is not None
        ]
        between = " and ".join(bounds)
        wanted = ("a finite number " if finite else "a number ") + between
        raise ValueError(
            f"{name} must be {wanted.rstrip()}, not {value!r}" + (f": {why}" if why else "")
        )
    return number if isinstance(value, int) else value


def one_of(name: str, value: object, choices: Iterable[str]) -> None:
    """Check a word against those that are known, and say which one was perhaps meant."""
    known = list(choices)
    if isinstance(value, str) and value in known:
        return
    near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    raise ValueError(f"unknown {name} {value!r}: {hint}")


def instance(name: str, value: object, kinds: Any, what: str, why: str = "") -> None:
    """Check the type of something; ``what`` says what it is, or what makes it."""
    if not isinstance(value, kinds):
        raise ValueError(f"{name} must be {what}, not {kind(value)}" + (f": {why}" if why else ""))


def flag(name: str, value: object) -> None:
    """Check that something is True or False; ``"no"`` would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, not {value!r}")


def text(name: str, value: object) -> str:
    """Return text, and refuse anything else."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, a str, not {kind(value)}")
    return value


def several(name: str, values: Any, what: Any, of: str) -> list[Any]:
    """Return a sequence as a list, and refuse one that holds anything but objects of a type."""
    made = None
    if not isinstance(values, str | bytes | Mapping):
        with contextlib.suppress(TypeError):  # some say that they can be iterated, and cannot
            made = list(values)
    if made is None:
        raise ValueError(f"{name} must be a sequence of {of}, not {kind(values)}")
    for value in made:
        instance(f"{name}[...]", value, what, of)
    return made


def path(name: str, value: object) -> pathlib.Path:
    """Return a path that is given as text or as a path."""
    if not isinstance(value, str | os.PathLike):
        raise ValueError(f"{name} must be a path, a str or a pathlib.Path, not {kind(value)}")
    if "\0" in str(value):
        raise ValueError(f"{name} must be a path without a zero byte, not {value!r}")
    return pathlib.Path(value)


def function(name: str, value: object, what: str, why: str = "") -> None:
    """Check that something can be called; ``what`` says of what it is a function."""
    if not callable(value):
        raise ValueError(
            f"{name} must be a function {what}, not {kind(value)}" + (f": {why}" if why else "")
        )


def host(name: str, values: Any) -> np.ndarray:
    """Return numbers as an array of NumPy's; a list of them will do."""
    if hasattr(values, "dtype"):
        arrays(**{name: values})
    try:
        found = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    arrays(**{name: found})
    return found


def arrays(**values: object) -> None:
    """Check that values are arrays of numbers, JAX's or NumPy's."""
    import jax

    for name, value in values.items():
        array = isinstance(value, jax.Array | np.ndarray | np.generic)
        dtype: Any = getattr(value, "dtype", None)
        if not array or not any(jax.numpy.issubdtype(dtype, t) for t in (np.number, np.bool_)):
            shape = isinstance(value, jax.ShapeDtypeStruct)
            found = f"of {dtype}" if array else "a shape alone" if shape else kind(value)
            raise ValueError(
                f"{name} must be an array of numbers, not {found}: give jnp.asarray({name})"
            )


def floats(**values: Any) -> None:
    """Check that values are arrays of floating-point numbers, JAX's or NumPy's."""
    import jax

    arrays(**values)
    for name, value in values.items():
        if not jax.numpy.issubdtype(value.dtype, jax.numpy.floating):
            raise ValueError(
                f"{name} must be floating-point numbers, not {value.dtype}: cast with "
                f"{name}.astype(float)"
            )


def incoming(g: Any, shape: tuple[int, ...]) -> None:
    """Check the incoming gradient of a backward rule: it has the shape of the operator's output.

    Broadcast, it would count several times along what it is broadcast.
    """
    if type(g) not in (int, float):
        floats(g=g)
    if np.shape(g) != shape:
        raise ValueError(
            f"g {np.shape(g)} for an output {shape}: the incoming gradient must have the shape of "
            "the output"
        )


def among(name: str, values: Any, allowed: tuple[int, ...], why: str = "") -> None:
    """Check that every element is one of a few numbers; traced arrays pass."""
    if is_concrete(values):
        signed = "+d" if min(allowed) < 0 else "d"
        wanted = " or ".join(f"{number:{signed}}" for number in allowed)
        _all_right(name, values, np.isin(np.asarray(values), allowed), wanted, why)


def within(
    name: str,
    values: Any,
    *,
    least: float | int = -math.inf,
    most: float | int = math.inf,
    finite: bool = True,
    why: str = "",
) -> None:
    """Check that every element is within bounds, and finite unless told otherwise.

    Traced arrays pass, and so does NaN where it need not be finite.
    """
    if is_concrete(values):
        found = np.asarray(values)
        right: Any = np.isfinite(found) if finite else True
        wanted = ["finite"] if finite else []
        if least > -math.inf:
            right, wanted = right & ~(found < least), [*wanted, f"at least {least}"]
        if most < math.inf:
            right, wanted = right & ~(found > most), [*wanted, f"at most {most}"]
        _all_right(name, found, right, " and ".join(wanted), why)


def _all_right(name: str, values: Any, right: Any, wanted: str, why: str) -> None:
    if not np.all(right):
        index = tuple(np.argwhere(np.logical_not(right))[0].tolist())
        where = f" at index {index if len(index) > 1 else index[0]}" if index else ""
        raise ValueError(
            f"{name} must be {wanted}, not {np.asarray(values)[index]}{where}"
            + (f": {why}" if why else "")
        )


def same_shape(what: str, **arrays: Any) -> None:
    """Check that arrays have one shape; ``what`` says what to do where they have not."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        said = " against ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{said}: the shapes must be equal, {what}")


def one_key(key: object, name: str = "key") -> None:
    """Check that something is one typed key, as `jax.random.key` makes it."""
    import jax

    dtype, shape = getattr(key, "dtype", type(key).__name__), getattr(key, "shape", None)
    if shape != () or not jax.numpy.issubdtype(dtype, jax.dtypes.prng_key):
        raise ValueError(f"{name} is {dtype} of shape {shape}: pass one key made by jax.random.key")


def floating(params: Any, name: str = "params") -> Any:
    """Return a pytree as JAX's arrays, and refuse leaves that have no gradient, and no leaf."""
    import jax

    def dtype(leaf: object) -> Any:
        if isinstance(leaf, numbers.Number):
            return jax.numpy.result_type(leaf)
        return getattr(leaf, "dtype", kind(leaf))

    leaves = jax.tree_util.tree_leaves_with_path(params)
    wrong = [
        f"{name}{jax.tree_util.keystr(path)} is {dtype(leaf)}"
        for path, leaf in leaves
        if not hasattr(dtype(leaf), "itemsize")
        or not jax.numpy.issubdtype(dtype(leaf), jax.numpy.floating)
    ]
    if wrong or not any(np.size(leaf) for _, leaf in leaves):
        raise ValueError(
            f"{name} must be a pytree of floating-point arrays, but "
            + (", ".join(wrong) or "it holds no number")
        )
    try:
        return jax.tree.map(jax.numpy.asarray, params)
    except TypeError as error:  # shapes alone
        raise ValueError(f"{name} must be a pytree of floating-point arrays: {error}") from error


def leaves(name: str, tree: Any, *, shapes: bool = False) -> None:
    """Check that the leaves of a pytree are numbers, keys, or arrays of them; or shapes alone."""
    import jax

    for place, leaf in jax.tree_util.tree_leaves_with_path(tree):
        number = isinstance(leaf, float) or (isinstance(leaf, int) and abs(leaf) < 2**31)
        array = hasattr(leaf, "dtype") and getattr(leaf.dtype, "kind", "V") not in "OSUMm"
        alone = isinstance(leaf, jax.ShapeDtypeStruct) and not shapes
        if not number and (alone or not array):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(place)} must be an array of numbers, not {kind(leaf)}"
            )


def scalar_loss(loss: Callable[..., Any], *arguments: Any) -> None:
    """Check that a loss returns one floating-point number for such arguments; computes nothing."""
    import jax

    value = jax.eval_shape(loss, *arguments)
    if isinstance(value, tuple | list | dict):
        raise ValueError(
            f"loss must return a floating-point scalar, but returns {kind(value)} of {len(value)}: "
            "return the loss alone"
        )
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", type(value).__name__)
    if shape != () or not jax.numpy.issubdtype(dtype, jax.numpy.floating):
        raise ValueError(
            f"loss must return a floating-point scalar, shape (), but returns {dtype} of shape "
            f"{shape}: reduce it with a mean"
        )
