"""A record that another version of JAX wrote, beside the same program now."""

import functools
import pathlib

import jax
import pytest

from chainrule import xray
from chainrule.data import tensors
from tests.xray.compare import versions

FOLDER = pathlib.Path(__file__).parent
WRITTEN = ("0.10.2", "0.12.0.1")
OTHERS = [version for version in WRITTEN if version != jax.__version__]


@pytest.mark.parametrize("version", OTHERS)
def test_a_record_of_another_version_does_not_part(version):
    path = FOLDER / f"jax_{version}.xray"
    assert f'"jax":"{version}"' in tensors.read(path).metadata["xray"].replace(" ", "")
    found = xray.diff(path, versions.loss, *versions.arguments())
    assert found.first is None, str(found)
    assert max(found.results.values()) < 1e-5


def test_the_line_is_named_across_versions():
    path = FOLDER / f"jax_{OTHERS[0]}.xray"
    wrong = functools.partial(versions.loss, slope=0.9)
    found = xray.diff(path, wrong, *versions.arguments())
    assert found.first.op == "scan"
    assert "versions.py" in found.first.line
    assert found.certain
