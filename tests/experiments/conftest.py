"""What some tests of the experiments run under, besides what every test does."""

import os

import jax
import pytest


@pytest.fixture(scope="module")
def optimized():
    """Programs as XLA makes them for people: for trainings that run longer than they compile."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    before = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
    jax.config.update("jax_disable_most_optimizations", before)
