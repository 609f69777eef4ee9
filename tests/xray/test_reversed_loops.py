import jax
import jax.numpy as jnp
import pytest

from chainrule import xray


@pytest.mark.parametrize(
    ("phase", "early", "late", "steps"),
    [
        ("forward", jnp.log, lambda x: 1 / x, [(3,), (1,)]),
        # Backward the last step of a reversed loop comes first.
        ("backward", jnp.sqrt, lambda x: x**0.25, [(1,), (3,)]),
    ],
)
def test_of_two_births_in_a_reversed_loop_the_one_that_ran_first_is_listed_first(
    phase, early, late, steps
):
    def f(x):
        def body(carry, x):
            # The first is bad at step 1, the second at step 3, which runs before it.
            return carry + early(x[0]) + late(x[1]), None

        return jax.lax.scan(body, 0.0, x, reverse=True)[0]

    x = jnp.ones((5, 2)).at[1, 0].set(0).at[3, 1].set(0)
    births = [b for b in xray.xray(f, x).nonfinite().births if b.phase == phase]
    assert [b.steps for b in births[:2]] == steps
