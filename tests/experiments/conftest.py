"""What the tests of the experiments run under, besides what every test does."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def optimized():
    """Programs as XLA makes them for people: trainings run longer than they compile."""
    before = jax.config.jax_disable_most_optimizations
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
