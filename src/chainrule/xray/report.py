"""The report on one call: all that can be asked of its record, in one place."""

import functools
import os
import pathlib
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Literal

from rich.console import Console, ConsoleOptions

from chainrule import _files, _require
from chainrule.xray import (
    call,
    deaths,
    draw,
    flow,
    grading,
    inside,
    nonfinite,
    saved,
    shared,
    table,
)  # fmt: skip
from chainrule.xray.births import Nonfinite
from chainrule.xray.deaths import Deaths
from chainrule.xray.dot import dot
from chainrule.xray.flow import Flow
from chainrule.xray.grading import Grade
from chainrule.xray.graph import Slot
from chainrule.xray.picture import Picture, picture, with_cures, with_deaths, with_layers
from chainrule.xray.record import Edge, Entry, Record
from chainrule.xray.shared import AllShared
from chainrule.xray.words import rendered

__all__ = ["Report", "load", "xray"]
__dir__ = __all__.copy


class Report:
    """The report on one call of one function: its record, and what can be asked of it.

    Args:
      record: what the call computed, as data.
    """

    def __init__(self, record: Record) -> None:
        self.record = record

    @property
    def function(self) -> str:
        """The name of the function."""
        return self.record.function

    @property
    def nodes(self) -> tuple[Entry, ...]:
        """Arguments, constants and operators in the order of execution."""
        return self.record.nodes

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Every use of every array, as an input of an operator or as a result."""
        return self.record.edges

    @property
    def outputs(self) -> tuple[Slot, ...]:
        """Node and output number of each result, flat."""
        return self.record.outputs

    @property
    def starts(self) -> tuple[Any, ...]:
        """The gradient that was given at each result, None where none was."""
        return self.record.starts

    @property
    def output(self) -> Any:
        """What the function returned, without its second part under ``has_aux``.

        Its statistics if only those are kept.
        """
        return self.record.output

    @property
    def aux(self) -> Any:
        """The second part of what it returned, under ``has_aux``; else None."""
        return self.record.aux

    @property
    def grads(self) -> tuple[Any, ...]:
        """One pytree of gradients per argument, as `jax.grad` gives them.

        None for what was not asked for or holds no floats, and where the gradient is unknown
        because it would come through an operator that none passes.
        """
        return self.record.grads

    @property
    def keep(self) -> Literal["values", "stats"]:
        """Whether every array is kept, or only its statistics."""
        return self.record.keep

    @property
    def compiled(self) -> bool:
        """Whether everything ran as one compiled program, or operator by operator."""
        return self.record.compiled

    @property
    def steps(self) -> int | None:
        """Inside a loop, how many steps it took, inside a shard_map how many devices; else None.

        Every array but a constant then leads with that axis.
        """
        return self.record.steps

    def node(self, name: str) -> Entry:
        """Return the node of that label: the path of an argument, or ``mul_12``.

        Raises:
          UnknownNodeError: there is none; a `LookupError` and a `ValueError`.
        """
        return self.record.node(name)

    def open(self, node: Entry | str, step: int | None = None) -> "Report":
        """Return what is inside a node: a custom rule, the branch a cond took, a loop's steps.

        Or what every device of a `jax.shard_map` runs. A custom rule shows values only: its
        gradient is the rule's, and not that of its body. So does a while, which has no gradient.
        Inside a loop every array but a constant has a leading axis, one element a step, inside a
        shard_map one a device. What was opened is kept: another call runs nothing.

        Args:
          node: the node, or its label.
          step: of a node inside a loop, at which of its steps to look.

        Raises:
          ValueError: the node has no inside, its steps do not fit in memory, ``step`` does not
            belong to it, or only statistics are kept.
        """
        return Report(inside.enter(self.record, node, step))

    def shared(self) -> AllShared:
        """Return every argument that is used more than once, with the gradient of each use.

        Printed, it is one line an argument; each entry of it prints its uses. A scan uses its
        constants, the weights of a recurrent network say, at every step.
        """
        return shared.shared(self.record)

    def nonfinite(self) -> Nonfinite:
        """Return where every NaN and Inf is born, forward and backward, and why.

        What the first call found, the next ones return. Its ``cures()`` tries what to write
        instead.
        """
        return self._nonfinite

    @functools.cached_property
    def _nonfinite(self) -> Nonfinite:
        return nonfinite.find(self.record)

    def deaths(self) -> Deaths:
        """Return where gradients die: operators into which one comes and out of which none goes.

        Steps, positions and comparisons, dead ReLUs, saturated tanhs, rejected branches,
        stop_gradient; each with its line, the share of its elements, why, and which arguments get
        no gradient because of it. What takes most comes first. What the first call found, the next
        ones return.

        Raises:
          ValueError: the record holds no gradients.
        """
        return self._deaths

    @functools.cached_property
    def _deaths(self) -> Deaths:
        return deaths.find(self.record)

    def flow(self) -> Flow:
        """Return per layer and per named scope what goes forward and what comes back.

        Norms of activations and gradients, dead ReLUs and saturated tanhs, and where gradients
        vanish or explode. A layer is a product with a matrix of parameters, with its bias and its
        activation function. Printed, it is a table; `chainrule.plots.flow` draws it.

        Example:
          >>> import jax.numpy as jnp
          >>> params = {"layer1": {"kernel": jnp.eye(2)}, "layer2": {"kernel": jnp.ones((2, 1))}}
          >>> def f(params, x):
          ...     h = jnp.tanh(x @ params["layer1"]["kernel"])
          ...     return jnp.sum(h @ params["layer2"]["kernel"])
          >>> first, second = xray(f, params, jnp.ones((1, 2)), argnums=0).flow().layers
          >>> first.name, first.node, round(first.gradient_norm, 4), second.name, second.flags
          ('layer1', 'tanh_4', 1.4142, 'layer2', ())
        """
        return flow.flow(self.record)

    @functools.cached_property
    def _picture(self) -> Picture:
        return picture(self.record, self.nonfinite())

    def to_svg(
        self,
        *,
        open: Literal["auto", "all", "none"] | Sequence[str] = "auto",
        direction: Literal["right", "down"] | None = None,
    ) -> str:
        """Return the picture as SVG: on every node its value above and its gradient below.

        Scopes and functions are groups. A closed one shows its output.

        Args:
          open: "all" groups, "none", "auto" for all of a small graph, or the names of some.
          direction: where values flow; None chooses by the length of the graph.

        Returns:
          The text of a self-contained file.

        Example:
          >>> svg = xray(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0).to_svg()
          >>> svg[:4], "−12" in svg
          ('<svg', True)
        """
        return draw.svg(self._picture, open, direction)

    def to_html(
        self,
        *,
        open: Literal["auto", "all", "none"] | Sequence[str] = "auto",
        direction: Literal["right", "down"] | None = None,
        live: bool = False,
    ) -> str:
        """Return the picture as a page that zooms, opens groups, searches and goes backward.

        Beside it stands what `nonfinite` says; what its ``cures()`` and `deaths` found, if they
        were called.

        A living page computes: its arguments can be dragged, typed and drawn on, and every value
        and gradient follows; steps of gradient descent can be taken. It knows the primitives in
        `chainrule.xray.primitives.LIVE`, and JAX's rules or the program's own are part of it. What
        cannot live, with another primitive or more than 5 million numbers, is a page of the
        recorded numbers, and says why.

        Args:
          open: the groups that are open at first, as for `to_svg`.
          direction: as for `to_svg`.
          live: whether the page computes.

        Returns:
          The text of one file, which needs no network.

        Example:
          >>> page = xray(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0).to_html(live=True)
          >>> "Recorded, not living" in page, len(page) < 250_000
          (False, True)
        """
        _require.flag("live", live)
        data, cures = self._picture, self.nonfinite().known_cures
        data = with_layers(data, self.record, self.flow())
        if cures is not None:
            data = with_cures(data, self.record, cures)
        if "_deaths" in self.__dict__:
            data = with_deaths(data, self.deaths())
        return draw.html(data, open, direction, living=self.record if live else None)

    def grade(self, rule: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Grade:
        """Check a pass backward that one wrote oneself, intermediate by intermediate.

        Args:
          rule: takes the value of every node by its name, those of ``nodes``, and returns the
            gradient of the result with respect to as many of them as it likes, by their names.

        Returns:
          What is right, from the result to the arguments, and the first that is not, with both
          numbers; printed, it says where to look.

        Raises:
          ValueError: the report holds no arrays or no gradients, the rule returns no dictionary, or
            a gradient of what is no node or no array of numbers.

        Example:
          >>> def rule(values):
          ...     g = {"mul_4": 1.0}
          ...     g["add_3"] = g["mul_4"] * values["z"]
          ...     g["z"] = g["mul_4"] * values["z"]  # should be that of the other factor
          ...     return g | {"x": g["add_3"], "y": g["add_3"]}
          >>> print(xray(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0).grade(rule))
          4 of 5 gradients are right
          the first that is not: ∂z is −4, and should be 3: look at mul_4
        """
        return grading.grade(self.record, rule)

    def to_dot(self) -> str:
        """Return the picture as DOT, the language of Graphviz, with groups as clusters."""
        return dot(self._picture)

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the picture to a file: a page (.html), an SVG (.svg) or DOT (.dot).

        Or the record itself (.xray), which `load` reads, on another machine say. The file appears
        whole or not at all.

        Args:
          path: where; its ending says what is written.

        Returns:
          The path.

        Raises:
          ValueError: the path has another ending.
          OSError: it cannot be written.

        Example:
          >>> folder = tempfile.mkdtemp()
          >>> xray(lambda x: x * x, 3.0).save(f"{folder}/square.dot").name
          'square.dot'
        """
        path = _require.path("path", path)
        if path.suffix == ".xray":
            saved.write(self.record, path)
            return path
        texts = {".html": self.to_html, ".svg": self.to_svg, ".dot": self.to_dot}
        if path.suffix not in texts:
            raise ValueError(
                f"{path} ends in {path.suffix!r}: a report is saved as {', '.join(texts)}, .xray"
            )
        _files.write(path, texts[path.suffix]())
        return path

    def show(self, *, live: bool = False) -> pathlib.Path | None:
        """Show the page: below the cell of a notebook, else in the browser.

        Args:
          live: whether the page computes; see `to_html`.

        Returns:
          The file that the browser opens, in a new temporary folder; None in a notebook. Where no
          browser is found, its path is printed.
        """
        _require.flag("live", live)
        ipython = sys.modules.get("IPython")
        shell = None if ipython is None else ipython.get_ipython()
        if hasattr(shell, "kernel"):
            display = ipython.display.display  # type: ignore[union-attr]
            if live:
                display({"text/html": self._frame(live), "text/plain": repr(self)}, raw=True)
            else:
                display(self)
            return None
        path = pathlib.Path(tempfile.mkdtemp(prefix="xray-")) / "report.html"
        _files.write(path, self.to_html(live=live))
        if not webbrowser.open(path.as_uri()):
            print(f"no browser was found: open {path}")
        return path

    def _repr_html_(self) -> str:
        return self._frame(live=False)

    def _frame(self, live: bool) -> str:
        page = escape(self.to_html(live=live))
        title = escape(f"the {'living ' if live else ''}x-ray of {self.function}")
        style = f"width: 100%; height: {640 if live else 480}px; border: 0"
        return f'<iframe title="{title}" srcdoc="{page}" style="{style}"></iframe>'

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        yield from table.tables(self.record, options.max_width)

    def __str__(self) -> str:
        return rendered(self)

    def __repr__(self) -> str:
        return f"<Report of {self.function}: {len(self.nodes)} nodes; print it for its tables>"


def load(path: str | os.PathLike[str]) -> Report:
    """Read a record that `Report.save` wrote to a file ``.xray``.

    Nothing of it can run again: `Report.open` and `Nonfinite.cures` say so, and what is asked of
    NaNs and of dead gradients rests on statistics.

    Args:
      path: of the file.

    Returns:
      The report on the record.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, larger than the memory, or holds no record.

    Example:
      >>> folder = tempfile.mkdtemp()
      >>> path = xray(lambda x: x * x, 3.0).save(f"{folder}/square.xray")
      >>> load(path).grads
      (array(6., dtype=float32),)
    """
    return Report(saved.read(path))


def xray(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    cotangent: Any = None,
    keep: Literal["values", "stats"] = "values",
    compiled: bool = True,
    unroll: bool = False,
    gradients: bool = True,
) -> Report:
    """Record one call of any JAX function: values, gradients, lines of source.

    The call runs forward and backward as one compiled program, and every intermediate array comes
    back. The gradients are those of `jax.grad`. What the function reads besides its arguments is
    read anew by each call; the program is compiled again only if that changed it.

    Args:
      f: any function of pytrees of arrays that JAX can trace. Its keyword arguments go in by
        `functools.partial`.
      *args: what it is called with. What is no array in a module, its activation function say,
        stays as it is; its gradient is None.
      argnums: the arguments to differentiate with respect to; None for all of them.
      has_aux: whether it returns ``(result, more)`` of which only the first is differentiated.
      cotangent: the gradient of whatever follows with respect to the result, a pytree like the
        result; None if the result is a scalar.
      keep: "values" keeps every array, "stats" a few numbers about each, in little memory.
      compiled: False runs operator by operator, which starts sooner and takes longer.
      unroll: whether every step of a scan shows its operators, instead of one node for all.
      gradients: False goes forward only. The function may then return anything, and compute
        gradients of its own: of a whole training step it shows where a NaN is born, also inside
        its `jax.grad`.

    Returns:
      The report.

    Raises:
      ValueError: the function cannot be traced, an argument is no array, no result is a float, or
        the cotangent does not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> report = xray(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0)
      >>> for node in report.nodes:
      ...     print(node.label, float(node.value), float(node.cotangent))
      x -2.0 -4.0
      y 5.0 -4.0
      z -4.0 3.0
      add_3 3.0 -4.0
      mul_4 -12.0 1.0
    """
    return Report(
        call.record(
            f,
            args,
            argnums=argnums,
            has_aux=has_aux,
            cotangent=cotangent,
            keep=keep,
            compiled=compiled,
            unroll=unroll,
            gradients=gradients,
        )
    )
