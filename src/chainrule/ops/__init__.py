"""The operators, each with its backward rule beside it.

An operator is a pure function that takes arrays by position and settings by keyword. The rule of
``f`` is the function ``f_backward`` of the same module::

    f_backward(g, *arrays, **settings) -> one gradient per array

where ``g`` is the incoming gradient, of the shape of ``f(*arrays, **settings)``. A rule returns a
bare array where the operator takes one array, else a tuple. `backward_of` finds it.

The operators are plain JAX, so that ``jax.grad`` of them does not use the rules and remains an
independent check of each.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

from chainrule import _require

__all__ = ["NoRuleError", "backward_of"]
__dir__ = __all__.copy


class NoRuleError(LookupError, ValueError):
    """An operator has no backward rule beside it."""


def backward_of(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Return the backward rule beside an operator.

    Args:
      operator: a function of one of the modules of `chainrule.ops`, or of yours; or a
        ``functools.partial`` of one that fixes settings by keyword.

    Returns:
      The function called ``<operator>_backward`` in the operator's own module, with the same
      settings fixed.

    Raises:
      NoRuleError: there is no such function; a LookupError and a ValueError.
      ValueError: the operator is no function.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule.ops import activations, backward_of
      >>> backward_of(activations.relu) is activations.relu_backward
      True
      >>> leaky = functools.partial(activations.leaky_relu, slope=0.5)
      >>> float(backward_of(leaky)(jnp.array(10.0), jnp.array(-1.0)))
      5.0
    """
    _require.function("operator", operator, "of arrays")
    if isinstance(operator, functools.partial) and not operator.args:
        return functools.partial(backward_of(operator.func), **operator.keywords)
    name = f"{getattr(operator, '__name__', operator)}_backward"
    module = getattr(operator, "__module__", "")
    rule = getattr(sys.modules.get(module), name, None)
    if rule is None:
        raise NoRuleError(
            f"no function {name} in module {module!r}: write the rule beside the operator"
        )
    return rule
