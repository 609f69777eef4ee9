"""What every test runs under: checked signatures, strict promotion, no silent warnings."""

import os
import pathlib

# Before any import of jax: tests are about numbers, and those of the CPU are the reference.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

# Scripts that make stored cases need what the tests do not.
collect_ignore_glob = ["*/make_*.py"]

# Shapes and dtypes in the signatures are checked at run time here, and only here.
install_import_hook("chainrule", "beartype.beartype")

import jax
import jaxtyping
import pytest

# jnp.ones(3) + np.float64(1) and x @ w + b are where silent mistakes begin.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Double precision inside one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked(monkeypatch):
    """The functions as people run them: our own errors, not those of the checked signatures."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# The folder of the user decides no test but those that ask for it.
FULL_MNIST = os.environ.get("CHAINRULE_TEST_DATA") or os.environ.get("CHAINRULE_DATA")
os.environ.pop("CHAINRULE_DATA", None)


@pytest.fixture(scope="session")
def full_mnist() -> pathlib.Path:
    """The folder of the four full MNIST files, or a skip that says where to put it."""
    if not FULL_MNIST:
        pytest.skip("needs the four full MNIST files: set CHAINRULE_TEST_DATA to their folder")
    return pathlib.Path(FULL_MNIST)
