"""The landscapes of the explorer, and rates around an edge."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from chainrule import landscapes
from chainrule.explorer import Landscape

# The roots of two_well's derivative.
_RIGHT, _, _LEFT = sorted(np.roots([2, 0, -2, 0.2]).real, reverse=True)

TABLE = (
    Landscape(
        "two_well",
        "two wells",
        "Half of (w² - 1)² and a fifth of w: a deep well at -1.05, where the curvature is 4.57, a "
        "shallow one at 0.95, where it is 3.37. A rate beyond the edge 2 / 4.57 = 0.437 cannot "
        "come to rest in the deep one.",
        lambda w: landscapes.two_well(w[0]),
        ("w",),
        ((-0.5,),),
        (0.005, 1.25),
        (0.125, 0.5),
        40,
        ((-1.6, 1.6),),
        ((_LEFT,), (_RIGHT,)),
    ),
    Landscape(
        "quadratic",
        "parabola",
        "Half of w²: plain descent multiplies w by 1 - η at every step. It creeps in below η = 1, "
        "is there at once at 1, swings in up to the edge 2, and out beyond.",
        landscapes.quadratic,
        ("w",),
        ((1.0,),),
        (0.02, 4.0),
        (0.5, 1.9),
        40,
        ((-2.0, 2.0),),
        ((0.0,),),
    ),
    Landscape(
        "bowl",
        "bowl",
        "A parabola in two directions, of curvature 1 along u and 10 along v. The steep direction "
        "sets the edge, 2 / 10, and the flat one how long it takes. From (2, 0) the steep one is "
        "never felt.",
        lambda w: landscapes.quadratic(w * jnp.sqrt(jnp.asarray([1.0, 10.0]))),
        ("u", "v"),
        ((-2.0, 1.2),),
        (0.002, 3.0),
        (0.03, 0.19),
        40,
        ((-2.92, 2.92), (-2.0, 2.0)),
        ((0.0, 0.0),),
    ),
    Landscape(
        "coupled",
        "coupled",
        "(a - 1)² + (b + 1)² + (a - b)²: the coupling pulls a and b together, and the minimum away "
        "from (1, -1) to (1/3, -1/3). The curvatures are 2 and 6, the edge 1/3.",
        lambda w: landscapes.coupled({"a": w[0], "b": w[1]}),
        ("a", "b"),
        ((-1.2, 1.0),),
        (0.002, 2.0),
        (0.05, 0.32),
        40,
        ((-2.15, 2.81), (-2.0, 1.4)),
        ((1 / 3, -1 / 3),),
    ),
    Landscape(
        "rosenbrock",
        "Rosenbrock's valley",
        "(1 - u)² + 100 (v - u²)²: a curved valley, at its end 2,500 times flatter than its walls. "
        "The walls set the edge, near 0.002 at the minimum; with a rate below it the way along the "
        "floor takes thousands of steps.",
        landscapes.rosenbrock,
        ("u", "v"),
        ((-1.2, 1.0),),
        (1e-4, 1.0),
        (0.001, 0.004),
        100,
        ((-2.92, 2.92), (-1.0, 3.0)),
        ((1.0, 1.0),),
    ),
)


def spread(low: float, high: float, count: int, marked: Sequence[float]) -> np.ndarray:
    """Return rates evenly spaced in their logarithm, the nearest ones moved onto those marked."""
    rates = np.geomspace(low, high, count)
    for eta in marked:
        if low <= eta <= high:
            rates[np.abs(np.log(rates / eta)).argmin()] = eta
    return rates.astype(np.float32)
