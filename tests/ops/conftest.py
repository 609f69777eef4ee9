import jaxtyping
import pytest


@pytest.fixture
def unchecked(monkeypatch):
    """The functions as people run them: our own errors, not those of the checked signatures."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
