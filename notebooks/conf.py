"""The book: this folder's notebooks and pages, and the API from the docstrings (``make book``).

Nothing is fetched, and nothing is executed but ``play.py``, which makes the pages to play with:
notebooks show the outputs that are stored in them, and all else that is shown is run by the tests.
A name in single backticks is a link; where it leads
nowhere, here or in an installed package, the build fails.
"""

import functools
import importlib
import inspect
import pathlib
import re
import sys

import jax.export  # noqa: F401  # a submodule that is not loaded by itself
from docutils import nodes
from latex2mathml.converter import convert
from sphinx import addnodes
from sphinx.application import Sphinx

import chainrule

project = "chainrule"
author = "the authors of chainrule"
copyright = "the authors of chainrule, Apache-2.0"
version = release = chainrule.__version__

extensions = [
    "sphinx.ext.autodoc",  # the docstrings
    "sphinx.ext.napoleon",  # in Google's style
    "sphinx.ext.viewcode",  # and the source behind each
    "myst_nb",  # pages in Markdown, and notebooks
]
exclude_patterns = ["_build"]
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]  # shapes and other packages' types in signatures
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 2

autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as they are written
autodoc_typehints_format = "short"
maximum_signature_line_length = 70  # a parameter a line beyond
autodoc_type_aliases = {"Report": "chainrule.xray.Report"}
napoleon_use_ivar = True  # attributes as one list,
napoleon_attr_annotations = False  # which says in words what they are

html_theme = "sphinx_book_theme"
html_theme_options = {"show_toc_level": 2, "use_download_button": False}
html_title = "chainrule"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = html_show_sourcelink = html_show_sphinx = False
html_math_renderer = "mathml"

# Where a name in backticks may lead, too.
_OTHERS = ("chainrule", "functools", "jax", "numpy", "optax")
_SAID: dict[str, list[str]] = {}
_ANY = {"JSON", "PyTree", "P", "R"}  # other names for Any, and variables of types


def _math(self, node: nodes.math | nodes.math_block, display: str) -> None:
    """Write an equation as MathML, which a browser draws without a script or a network."""
    self.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def _skip(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool:
    """Leave out fields, which their class lists, and what its package already shows."""
    if what in ("class", "exception"):
        methods = (property, functools.cached_property, classmethod, staticmethod)
        return skip or not (inspect.isroutine(obj) or isinstance(obj, methods))
    module = app.env.current_document.autodoc_module
    if inspect.isclass(obj) or inspect.isroutine(obj):
        package = sys.modules[module.rpartition(".")[0] or module]
        shown = name in getattr(package, "__all__", ()) and getattr(package, name) is obj
    else:  # the text of a value stands where it is written, not where it is passed on
        below = [one for key, one in sys.modules.items() if key.startswith(f"{module}.")]
        shown = any(vars(one).get(name) is obj for one in below)
    return skip or name in _ANY or inspect.ismodule(obj) or shown


def _signature(app: Sphinx, what, name, obj, options, signature, annotation):
    """Call an array an array."""
    return tuple(
        part and re.sub(r"\bjax(lib)?\.[\w.]*\.Array\b|jaxlib\._jax\.Array", "Array", part)
        for part in (signature, annotation)
    )


def _before(app: Sphinx, what, name, obj, options, lines: list[str]) -> None:
    """Keep what is said of a value: napoleon would take the words before a colon for its type."""
    if what in ("attribute", "data", "property") and not any(line.endswith(":") for line in lines):
        _SAID[name] = list(lines)


def _after(app: Sphinx, what, name, obj, options, lines: list[str]) -> None:
    lines[:] = _SAID.pop(name, lines)


def _types(app: Sphinx, doctree: nodes.document) -> None:
    """Write types as their source does, and drop those whose shapes do not survive."""
    for said in list(doctree.findall(nodes.paragraph)):
        if said.astext().startswith("alias of "):
            said.parent.remove(said)
    for value in list(doctree.findall(addnodes.desc_annotation)):
        for text in list(value.findall(nodes.Text)):
            plain = re.sub(r"\b(jaxlib\._jax|jaxtyping|collections\.abc|typing)\.", "", text)
            text.parent.replace(text, nodes.Text(plain))


def _fold(app: Sphinx, doctree: nodes.document) -> None:
    """Fold away the cells that check the numbers of a notebook's text."""
    for cell in doctree.findall(nodes.container):
        if "tag_check" in cell["classes"]:
            cell["hide_mode"] = "all"
            cell["prompt_show"] = "Show the check of these numbers"
            cell["prompt_hide"] = "Hide the check of these numbers"


def _elsewhere(app: Sphinx, env, node: nodes.Element, content: nodes.Element):
    """Find a name by its last parts where there is one such, or in an installed package."""
    target = node["reftarget"]
    if node.get("reftype") != "obj":
        return None
    objects = env.get_domain("py").objects
    names = {name for name, entry in objects.items() if not entry.aliased}
    found = {name for name in names if name.endswith(f".{target}")}
    first, *rest = target.split(".")
    if first in _OTHERS:
        try:
            here = functools.reduce(getattr, rest, importlib.import_module(first))
        except AttributeError:
            return None
        if first == "chainrule" and (inspect.isclass(here) or inspect.isroutine(here)):
            found |= names & {f"{here.__module__}.{here.__qualname__}"}
        if not found:
            return content
    if len(found) != 1:
        return None
    entry = objects[found.pop()]
    uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
    return nodes.reference("", "", content, internal=True, refuri=f"{uri}#{entry.node_id}")


def _play(app: Sphinx, error: Exception | None) -> None:
    """Write the pages of ``play.md`` beside it."""
    if error is None and app.builder.name == "html":
        sys.path.insert(0, str(pathlib.Path(__file__).parent))
        import play

        play.write(pathlib.Path(app.outdir) / "play_pages")


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda self, node: _math(self, node, "inline"), None),
        block_renderers=(lambda self, node: _math(self, node, "block"), None),
    )
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _before, priority=499)  # napoleon's is 500
    app.connect("autodoc-process-docstring", _after, priority=501)
    app.connect("doctree-read", _types)
    app.connect("doctree-read", _fold)
    app.connect("missing-reference", _elsewhere)
    app.connect("build-finished", _play)
