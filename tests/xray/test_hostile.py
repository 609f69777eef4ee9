"""Names come from anywhere: none of them moves a terminal's cursor or breaks a file."""

import re
import unicodedata
import xml.etree.ElementTree as ET

import jax
import jax.numpy as jnp
import pytest

from chainrule import xray

EVIL = "a\x1b[31mb\x00c\rd\u202ee\x9b2J\x07\ufffe"
SHOWN = r"a\x1b[31mb\x00c\rd\u202ee\x9b2J\x07\ufffe"
SOURCE = f"""
import jax, jax.numpy as jnp
def f(params, x):
    with jax.named_scope({EVIL!r}):
        return inner(params.weight @ x) / inner(x[0])
def inner(x):
    return jnp.sum(jnp.sqrt(x - x) * x)
f.__name__ = {EVIL!r}
"""


@jax.tree_util.register_pytree_with_keys_class
class Params:
    """A pytree whose leaf goes by an evil name."""

    def __init__(self, weight):
        self.weight = weight

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.GetAttrKey(EVIL), self.weight)], None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


@pytest.fixture(scope="module")
def report():
    names = {}
    exec(compile(SOURCE, f"{EVIL.replace(chr(0), '')}.py", "exec"), names)
    return xray.xray(names["f"], Params(jnp.ones((3, 3))), jnp.ones(3), compiled=False)


def unprintable(text):
    return {c for c in text if unicodedata.category(c).startswith("C")} - {"\n"}


def test_what_is_printed_escapes_them(report):
    births = report.nonfinite()
    texts = [str(report), str(births), str(report.flow()), *map(str, report.shared())]
    texts += [repr(report), *map(str, births.births), *(node.label for node in report.nodes)]
    assert births.births
    assert {letter for text in texts for letter in unprintable(text)} == set()
    assert SHOWN in repr(report)
    assert SHOWN in report.nodes[0].label
    assert SHOWN in "".join(node.scope for node in report.nodes)
    assert report.node(report.nodes[0].label) is report.nodes[0]


def test_errors_escape_them(report):
    def f(x):
        return x if x > 0 else -x

    f.__name__ = EVIL
    with pytest.raises(ValueError, match=re.escape(f"{SHOWN} cannot be traced")):
        xray.xray(f, 1.0)


def test_the_pictures_stay_well_formed(report):
    svg = ET.fromstring(report.to_svg(open="all"))
    assert SHOWN in "".join(svg.itertext())
    assert unprintable(report.to_html()) <= {"\x01"}  # dagre's separator of the names of edges
    assert unprintable(report.to_dot()) == set()


def test_the_page_shows_them_as_text(visit, report):
    page = visit(report.to_html(open="all"))
    assert SHOWN in page.inner_text("h1")
    assert SHOWN in page.text_content("#view")
