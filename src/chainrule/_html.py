"""Pages that open without a network: self-contained HTML from text, numbers and arrays.

A page is built of elements, not of strings, so that no text can get into one unescaped:

>>> print(document("a < b", element("p", "1 & 2 ", element("b", "<3"))).split("<body>")[1])
<main><p>1 &amp; 2 <b>&lt;3</b></p></main></body></html>

They can be read in light and dark mode, as the reader's system asks, and in print. The colours are
those of `chainrule.plots`, with the same meanings.
"""

import importlib.resources
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

Element = ElementTree.Element
"""The standard library's, of ``xml.etree``."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
      name: its heading.
      numeric: whether it holds numbers, which are set to the right.
    """

    name: str
    numeric: bool = False


def element(tag: str, *children: Element | str, **attributes: str) -> Element:
    """Return an element with its children and attributes.

    Args:
      tag: its name.
      children: elements and text, in this order; text is escaped when it is written.
      attributes: by name; ``class_`` stands for ``class``, ``aria_label`` for ``aria-label``.
    """
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    made = ElementTree.Element(tag, named)
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def table(header: Sequence[Column | str], rows: Iterable[Sequence[Element | str]]) -> Element:
    """Return a table in a box of its own, which scrolls where the window is narrower.

    Args:
      header: the columns; a name alone is a column of text. Where all names are empty, no heading
        is shown.
      rows: a cell for each column; the first cell is the name of the row.

    Raises:
      ValueError: a row has more or fewer cells than the header.
    """
    columns = [Column(one) if isinstance(one, str) else one for one in header]
    kinds = [{"class_": "number"} if column.numeric else {} for column in columns]
    made = element("table")
    if any(column.name for column in columns):
        names = (
            element("th", column.name, scope="col", **kind) if column.name else element("td")
            for column, kind in zip(columns, kinds, strict=True)
        )
        made.append(element("thead", element("tr", *names)))
    body = element("tbody")
    for row in rows:
        if len(row) != len(columns):
            names_of = [column.name for column in columns]
            raise ValueError(f"{len(row)} cells in a row under {len(columns)} names: {names_of}")
        first = element("th", row[0], scope="row")
        rest = (element("td", cell, **kind) for cell, kind in zip(row[1:], kinds[1:], strict=True))
        body.append(element("tr", first, *rest))
    made.append(body)
    # What scrolls is reached with the keyboard, too.
    return element("div", made, class_="scroll", tabindex="0", role="group", aria_label="table")


def prose(text: str) -> list[Element]:
    r"""Return what a docstring says as paragraphs, lists and, where it is indented, programs.

    Words in backticks become code, those between single stars are stressed.

    Args:
      text: blocks with empty lines between them; the points of a list begin with a dash or a star.

    Example:
      >>> for block in prose("Take `jax.grad`.\n\n- *one*\n- two\n\n    make test"):
      ...     print(ElementTree.tostring(block, encoding="unicode"))
      <p>Take <code>jax.grad</code>.</p>
      <ul><li><em>one</em></li><li>two</li></ul>
      <pre>make test</pre>
    """
    made = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if block.startswith(" "):
            made.append(element("pre", textwrap.dedent(block)))
        elif block[:2] in ("- ", "* "):
            items = re.split(r"\n[-*] ", block[2:])
            made.append(element("ul", *(element("li", *_marked(item)) for item in items)))
        else:
            made.append(element("p", *_marked(block)))
    return made


def _marked(text: str) -> list[Element | str]:
    parts = re.split(r"(``.+?``|`[^`]+`|\*\w[^*]*\*)", " ".join(text.split()))
    made: list[Element | str] = []
    for part in parts:
        if part.startswith("`"):
            made.append(element("code", part.strip("`")))
        elif part.startswith("*"):
            made.append(element("em", part.strip("*")))
        else:
            made.append(part)
    return made


def document(title: str, *body: Element) -> str:
    """Return a whole page.

    Args:
      title: of the window.
      body: the elements in it.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", resource("_html.css")),
    )
    page = element("html", head, element("body", element("main", *body)), lang="en")
    return "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html")


def resource(name: str, package: str = "chainrule") -> str:
    """Return the text of a file in a package of ours: a style, a script or a template."""
    return importlib.resources.files(package).joinpath(name).read_text(encoding="utf-8")
