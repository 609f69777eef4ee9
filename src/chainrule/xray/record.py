"""The record of one call: every operator with its value, its gradient and its line of source."""

import dataclasses
import functools
import inspect
import io
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any, Literal

import jax
import numpy as np
from rich.console import Console, ConsoleOptions

from chainrule.xray import draw, flow, nonfinite
from chainrule.xray.births import Nonfinite
from chainrule.xray.dot import dot
from chainrule.xray.flow import Flow
from chainrule.xray.graph import Slot, differentiable
from chainrule.xray.inside import look, scan_constants
from chainrule.xray.nodes import Edge, Node, read_nodes
from chainrule.xray.picture import picture
from chainrule.xray.program import argument_names, incoming, program, trace
from chainrule.xray.stats import stats
from chainrule.xray.table import brief, nodes_table, shared_table


@dataclasses.dataclass(frozen=True, eq=False)
class Shared:
    """An argument that is used more than once.

    Attributes:
      node: the argument; its `cotangent` is the sum over the uses.
      uses: each use, with what it contributes.
      lines: the line of source of each use; of the use in a scan, one for each of its steps.
    """

    node: Node
    uses: tuple[Edge, ...]
    lines: tuple[str, ...]

    def __str__(self) -> str:
        rows = zip(self.lines, (edge.contribution for edge in self.uses), strict=True)
        parts = [f"  {line}: {brief(part)}" for line, part in rows]
        return "\n".join([f"{self.node.label}: {brief(self.node.cotangent)}", *parts])


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Report:
    """The record of one call of one function.

    Attributes:
      function: its name.
      nodes: arguments, constants and operators in the order of execution.
      outputs: node and output number of each result, flat.
      starts: the gradient that was given at each result, None where none was.
      output: what the function returned (without its second part, under ``has_aux``); None if
        only statistics are kept.
      aux: the second part of what it returned, under ``has_aux``.
      grads: one pytree of gradients per argument, as `jax.grad` gives them (None for arguments
        that were not asked for or hold no floats).
      keep: "values" or "stats".
      compiled: whether everything ran as one compiled program, or operator by operator.
      steps: inside a loop, how many steps it took: every array but a constant leads with that
        axis; else None.
    """

    function: str
    nodes: tuple[Node, ...]
    outputs: tuple[Slot, ...]
    starts: tuple[Any, ...]
    output: Any
    aux: Any
    grads: tuple[Any, ...]
    keep: str
    compiled: bool
    steps: int | None = None

    @functools.cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every use of every array, as an input of an operator or as a result."""
        uses = [
            Edge(slot.node, slot.output, node.index, k, node.contributions[k])
            for node in self.nodes
            for k, slot in enumerate(node.inputs)
        ]
        pairs = zip(self.outputs, self.starts, strict=True)
        results = [Edge(*slot, None, k, start) for k, (slot, start) in enumerate(pairs)]
        return (*uses, *results)

    def shared(self) -> "tuple[Shared, ...]":
        """Return every argument that is used more than once, with the gradient of each use.

        A scan uses its constants, the weights of a recurrent network say, at every step.
        """
        uses: dict[int, list[tuple[Edge, str]]] = {
            node.index: [] for node in self.nodes if node.kind in ("parameter", "input")
        }
        for edge in self.edges:
            if edge.source in uses:
                uses[edge.source] += self._each_step(edge)
        return tuple(
            Shared(self.nodes[index], *zip(*found, strict=True))
            for index, found in uses.items()
            if len(found) > 1
        )

    def _each_step(self, edge: Edge) -> list[tuple[Edge, str]]:
        if edge.target is None:
            return [(edge, "the result")]
        node = self.nodes[edge.target]
        constant = edge.position < scan_constants(node) and edge.contribution is not None
        if not constant or self.keep != "values" or self.steps is not None:
            return [(edge, node.line)]
        parts = self.open(node).nodes[edge.position].cotangent
        return [
            (dataclasses.replace(edge, contribution=part), f"{node.line}, step {t}")
            for t, part in enumerate(parts)
        ]

    def nonfinite(self) -> Nonfinite:
        """Return where every NaN and Inf is born, forward and backward, and why."""
        return nonfinite.find(self)

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
        return flow.flow(self)

    @functools.cached_property
    def _picture(self) -> dict[str, Any]:
        return picture(self)

    def to_svg(
        self,
        *,
        open: Literal["auto", "all", "none"] | Sequence[str] = "auto",
        direction: Literal["right", "down"] | None = None,
    ) -> str:
        """Return the picture as SVG: on every node its value above and its gradient below.

        Scopes and functions are groups. A closed one shows what it hands on.

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
    ) -> str:
        """Return the picture as a page that zooms, opens groups, searches and goes backward.

        Args:
          open: the groups that are open at first, as for `to_svg`.
          direction: as for `to_svg`.

        Returns:
          The text of one file, which needs no network.
        """
        return draw.html(self._picture, open, direction)

    def _repr_html_(self) -> str:
        page = escape(self.to_html())
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 480px; border: 0"></iframe>'

    def to_dot(self) -> str:
        """Return the picture as DOT, the language of Graphviz, with groups as clusters."""
        return dot(self._picture)

    def open(self, node: Node | str, step: int | None = None) -> "Report":
        """Return what is inside a node: a custom rule, the branch a cond took, a loop's steps.

        A custom rule shows values only: its gradient is the rule's, and not that of its body. So
        does a while, which has no gradient. Inside a loop every array but a constant has a leading
        axis, one element a step.

        Args:
          node: the node, or its label.
          step: of a node inside a loop, at which of its steps to look.

        Raises:
          ValueError: the node has no inside, its steps do not fit in memory, ``step`` does not
            belong to it, or only statistics are kept.
        """
        node = self.node(node) if isinstance(node, str) else node
        if self.keep != "values":
            raise ValueError("only statistics are kept: call xray with keep='values' to open nodes")
        taken = [self.nodes[s.node].values[s.output] for s in node.inputs]
        if self.steps is not None or step is not None:
            node, taken = self._at_step(node, taken, step)
        inside = look(node, taken)
        nodes = read_nodes(
            inside.graph, inside.notes, inside.arguments, inside.numbers, "values", ()
        )
        results = [nodes[s.node].values[s.output] for s in inside.graph.outputs]
        return Report(
            function=node.label,
            nodes=nodes,
            outputs=inside.graph.outputs,
            starts=tuple(inside.starts),
            output=results[0] if len(results) == 1 else tuple(results),
            aux=None,
            grads=tuple(nodes[i].cotangent for i in range(len(inside.arguments))),
            keep="values",
            compiled=self.compiled,
            steps=inside.steps,
        )

    def _at_step(
        self, node: Node, taken: Sequence[Any], step: int | None
    ) -> tuple[Node, list[Any]]:
        """Return a node inside a loop as it was at one step, and what it took there."""
        steps = self.steps or 0
        if step is None or not -steps <= step < steps:
            raise ValueError(
                f"step is {step}, {node.label} stands "
                + (f"inside a loop of {steps} steps: name one of them" if steps else "in no loop")
            )

        def at(arrays: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(None if x is None else x[step] for x in arrays)

        constant = [self.nodes[s.node].kind == "constant" for s in node.inputs]
        pairs = zip(taken, constant, strict=True)
        parts: dict[str, Any] = {name: at(getattr(node, name)) for name in _NUMBERS}
        return dataclasses.replace(node, **parts), [x if c else x[step] for x, c in pairs]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        yield nodes_table(self)
        if shared := self.shared():
            yield shared_table(shared)

    def __str__(self) -> str:
        # In a notebook rich would display what is only to be turned into text.
        console = Console(width=120, record=True, file=io.StringIO(), force_jupyter=False)
        console.print(self)
        return console.export_text()

    def __repr__(self) -> str:
        return f"<Report of {self.function}: {len(self.nodes)} nodes; print it for its tables>"

    def node(self, name: str) -> Node:
        """Return the node of that label: the path of an argument, or ``mul_12``.

        Raises:
          LookupError: there is none.
        """
        for node in self.nodes:
            if node.label == name:
                return node
        labels = ", ".join(node.label for node in self.nodes[:12])
        raise LookupError(f"no node is called {name!r}: there are {labels}, ...")


def xray(
    f: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    cotangent: Any = None,
    keep: Literal["values", "stats"] = "values",
    compiled: bool = True,
    unroll: bool = False,
) -> Report:
    """Record one call of any JAX function: values, gradients, lines of source.

    The call runs forward and backward as one compiled program, and every intermediate array comes
    back. The gradients are those of `jax.grad`. What the function reads besides its arguments is
    read anew by each call; the program is compiled again only if that changed it.

    Args:
      f: any function of pytrees of arrays that JAX can trace. Its keyword arguments go in by
        `functools.partial`.
      *args: what it is called with.
      argnums: the arguments to differentiate with respect to; None for all of them.
      has_aux: whether it returns ``(result, more)`` of which only the first is differentiated.
      cotangent: the gradient of whatever follows with respect to the result, a pytree like the
        result; None if the result is a scalar.
      keep: "values" keeps every array, "stats" a few numbers about each, in little memory.
      compiled: False runs operator by operator, which starts sooner and takes longer.
      unroll: whether every step of a scan shows its operators, instead of one node for all.

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
    if keep not in ("values", "stats"):
        raise ValueError(f"keep is {keep!r}: give 'values' or 'stats'")
    name = getattr(inspect.unwrap(f), "__name__", None) or type(f).__name__
    named = argument_names(f, args)
    wanted = _wanted(args, argnums)
    closed, shapes = trace(f, args)
    result, aux = shapes if has_aux else (shapes, ())
    gs = incoming(result, cotangent, name) + [None] * len(jax.tree.leaves(aux))
    prog = program(f, closed, tuple(n for n, _ in named), wanted, keep, compiled, unroll)
    leaves = [leaf for _, leaf in named]
    numbers = prog.run(leaves, gs)
    held = [jax.tree.structure(arg) != _LEAF for arg in args for _ in jax.tree.leaves(arg)]
    parameters = [k for k in wanted if argnums is not None or held[k]]
    nodes = read_nodes(prog.graph, prog.notes, leaves, numbers, keep, parameters)
    results: list[Any] = [nodes[s.node].values[s.output] for s in prog.graph.outputs]
    whole = jax.tree.unflatten(jax.tree.structure(shapes), results)
    output, extra = whole if has_aux else (whole, None)
    return Report(
        function=name,
        nodes=nodes,
        outputs=prog.graph.outputs,
        starts=tuple(gs),
        output=output,
        aux=extra,
        grads=_grads(args, nodes, wanted, keep),
        keep=keep,
        compiled=compiled,
    )


def _wanted(args: Sequence[Any], argnums: int | Sequence[int] | None) -> tuple[int, ...]:
    chosen = range(len(args)) if argnums is None else np.atleast_1d(argnums).tolist()
    for n in chosen:
        if not -len(args) <= n < len(args):
            raise ValueError(f"argnums names argument {n}, there are {len(args)}: count from 0")
    chosen = {n % len(args) for n in chosen}
    flat = [(i, leaf) for i, arg in enumerate(args) for leaf in jax.tree.leaves(arg)]
    return tuple(
        k for k, (i, x) in enumerate(flat) if i in chosen and differentiable(jax.typeof(x))
    )


def _grads(
    args: Sequence[Any], nodes: Sequence[Node], wanted: Sequence[int], keep: str
) -> tuple[Any, ...]:
    """Arguments are the first nodes, in order; where nothing flows, the gradient is zero.

    Behind a node that no gradient passes it is unknown instead, hence None.
    """

    def zeros(aval: Any) -> Any:
        x = np.zeros(aval.shape, aval.dtype)
        return x if keep == "values" else stats(x)

    flat = iter(range(len(nodes)))
    grads = []
    for arg in args:
        numbers = [next(flat) for _ in jax.tree.leaves(arg)]
        parts: list[Any] = [None] * len(numbers)
        for k, i in enumerate(numbers):
            if i in wanted:
                g = nodes[i].cotangent
                parts[k] = zeros(nodes[i].avals[0]) if g is None and not nodes[i].note else g
        grads.append(jax.tree.unflatten(jax.tree.structure(arg), parts))
    return tuple(grads)


_LEAF: Any = jax.tree.structure(0)
_NUMBERS = ("values", "cotangents", "contributions")
