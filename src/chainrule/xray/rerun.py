"""Run a record again with some of its operators changed, loops and branches included.

Every question of the kind "what if" is asked of this engine: what if this operator had not made
the NaN, what if that branch had not been rejected. What a change cannot reach is taken from the
record; everything else is computed anew, forward and backward, the way the record was computed.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from chainrule.xray import _jax
from chainrule.xray.bodies import body_graph
from chainrule.xray.graph import Graph, Slot, Vertex
from chainrule.xray.passes import Numbers, Operator, apart, of_operators, run
from chainrule.xray.record import Record, entries

__all__ = [
    "Change",
    "Place",
    "constant",
    "in_dtype",
    "prefix",
    "prepare",
    "replay",
    "rerun",
    "results",
]
__dir__ = __all__.copy

Place = tuple[int, ...]
"""An operator: its number in the record; inside a loop or a branch, after the numbers around it.

``(4,)`` is node 4, ``(4, 2)`` node 2 in the body of the loop at node 4, and ``(4, 1, 2)`` node 2 in
branch number 1 of the cond at node 4.
"""

Change = Callable[[Operator, Any], Operator]
"""From an operator, and a setting that each run chooses, to the operator that stands in for it."""


def rerun(
    record: Record,
    changes: Mapping[Place, Change],
    *,
    setting: Any = None,
    arguments: Mapping[int, Any] | None = None,
    dtype: Any = None,
    within: Collection[int] | None = None,
) -> Record:
    """Run a record again, changed.

    Args:
      record: the record; it must keep values, and not be the inside of a loop.
      changes: what stands in for which operator. Gradients are those of the stand-in.
      setting: what the changes are given besides the operator, a pytree of arrays.
      arguments: other arrays for some of the arguments, by their numbers.
      dtype: compute in this dtype wherever the program computes in a narrower one; float64 needs
        `jax.enable_x64`. Functions with a custom rule then run as written, without their rule.
      within: the numbers of the nodes that compute in that dtype; None for all. The others take
        and make what they always did.

    Returns:
      The record of the changed program; its ``avals`` say the dtypes that it had.

    Raises:
      ValueError: only statistics are kept, the record is the inside of a loop, or there is no
        operator at a place.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule import xray
      >>> record = xray.xray(lambda x: jnp.log(x) * x, 2.0).record
      >>> [node.label for node in record.nodes]
      ['x', 'log_1', 'mul_2']
      >>> changed = rerun(record, {(1,): constant([3.0])})
      >>> float(changed.output), float(changed.grads[0])
      (6.0, 3.0)
    """
    return prepare(record, changes, arguments=arguments, dtype=dtype, within=within)(setting)


def prepare(
    record: Record,
    changes: Mapping[Place, Change],
    *,
    arguments: Mapping[int, Any] | None = None,
    dtype: Any = None,
    within: Collection[int] | None = None,
) -> Callable[[Any], Record]:
    """Return `rerun` as a function of the setting, which compiles only once."""
    _check(record, changes)
    arguments = arguments or {}
    taken = [arguments.get(node.index, node.value) for node in record.nodes if node.is_argument]
    before = Numbers(
        [node.values for node in record.nodes],
        [node.cotangents for node in record.nodes],
        [node.contributions for node in record.nodes],
    )
    notes: dict[int, str] = {}
    # Where gradients are unknown, or an argument is another, nothing is known beforehand.
    everywhere = dtype is not None and within is None
    reused = not arguments and not everywhere and not any(node.note for node in record.nodes)

    def numbers(taken: Sequence[Any], starts: Sequence[Any], before: Any, setting: Any) -> Numbers:
        operators = _stand_ins(record, changes, setting, dtype, within)
        if everywhere:
            taken, starts = ([_widest(x, dtype) for x in arrays] for arrays in (taken, starts))
        found = run(record, taken, starts, record.wanted, notes, operators=operators, before=before)
        return of_operators(record, found)

    whole = _jax.compile_whole(numbers) if record.compiled else _jax.quiet(numbers)
    arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in taken]
    parameters = [node.index for node in record.nodes if node.kind == "parameter"]

    def once_more(setting: Any) -> Record:
        found = whole(arrays, list(record.starts), before if reused else None, setting)
        nodes = entries(record, found, taken, keep="values", notes=notes, parameters=parameters)
        return dataclasses.replace(record, nodes=nodes)

    return once_more


def results(
    record: Record, changes: Mapping[Place, Change], dtype: Any
) -> Callable[[Any, Mapping[int, Any]], list[Any]]:
    """Return the changed program in a dtype as a function that goes forward only.

    It takes the setting, and other arrays for some of the arguments, by their numbers; it returns
    the results, flat. It compiles only once.
    """
    _check(record, changes)
    taken = {node.index: jnp.asarray(node.value) for node in record.nodes if node.is_argument}

    def forward(setting: Any, arguments: Mapping[int, Any]) -> list[Any]:
        operators = _stand_ins(record, changes, setting, dtype)
        given = [_widest(x, dtype) for x in arguments.values()]
        found = run(record, given, [None] * len(record.outputs), (), {}, operators=operators)
        return [found.values[slot.node][slot.output] for slot in record.outputs]

    whole = _jax.compile_whole(forward)
    return lambda setting, arguments: whole(setting, taken | dict(arguments))


def replay(record: Record) -> Callable[[Mapping[int, Any]], Record]:
    """Return the record of other arguments, given by their numbers; it compiles at most once.

    Args:
      record: the record; it must keep values, and not be the inside of a loop.
    """
    _check(record, {})
    taken = {node.index: node.value for node in record.nodes if node.is_argument}
    parameters = [node.index for node in record.nodes if node.kind == "parameter"]
    notes = {node.index: node.note for node in record.nodes if node.note}

    def numbers(arguments: Sequence[Any], starts: Sequence[Any]) -> Numbers:
        return of_operators(record, run(record, arguments, starts, record.wanted, notes))

    whole = record.program
    if whole is None:
        whole = _jax.compile_whole(numbers) if record.compiled else _jax.quiet(numbers)

    def again(arguments: Mapping[int, Any]) -> Record:
        given = [arguments.get(k, x) for k, x in taken.items()]
        given = [x if hasattr(x, "size") else jnp.asarray(x) for x in given]
        found = whole(given, list(record.starts))
        nodes = entries(record, found, given, keep="values", notes=notes, parameters=parameters)
        return dataclasses.replace(record, nodes=nodes)

    return again


def prefix(graph: Graph, slots: Sequence[Slot]) -> Callable[[Sequence[Any]], list[Any]]:
    """Return what a graph makes in some slots as a function of its arguments.

    Unlike a record it can be differentiated as a whole, and computes nothing else.

    Args:
      graph: the graph.
      slots: the arrays.
    """
    needed, todo = set(), [slot.node for slot in slots]
    while todo:
        if (i := todo.pop()) not in needed:
            needed.add(i)
            todo += [slot.node for slot in graph.nodes[i].inputs]

    def evaluate(arguments: Sequence[Any]) -> list[Any]:
        given = iter(arguments)
        values: dict[int, list[Any]] = {}
        for i, node in enumerate(graph.nodes):
            if node.is_argument:
                values[i] = [next(given)]
            elif i in needed and node.kind == "constant":
                values[i] = [jnp.asarray(node.constant)]
            elif i in needed:
                inputs = [values[slot.node][slot.output] for slot in node.inputs]
                values[i] = _jax.function(node.equation)(*inputs)
        return [values[slot.node][slot.output] for slot in slots]

    return evaluate


def constant(outputs: Sequence[Any]) -> Change:
    """Return the change that puts arrays in the place of what an operator makes.

    Args:
      outputs: one array for each output, None for those that stay as they are.
    """

    def change(operator: Operator, setting: Any) -> Operator:
        def stand_in(*inputs: Any) -> list[Any]:
            made = operator(*inputs)
            pairs = zip(outputs, made, strict=True)
            return [x if new is None else jnp.asarray(new, x.dtype) for new, x in pairs]

        return stand_in

    return change


def _check(record: Record, changes: Mapping[Place, Change]) -> None:
    if record.keep != "values":
        raise ValueError(
            "only statistics are kept: call xray with keep='values' to run a record again"
        )
    if record.steps is not None:
        raise ValueError(
            f"{record.function} is the inside of a loop: run the record around it again, and name "
            "the operator by its place there"
        )
    if not record.runs:
        raise ValueError(f"{record.function} was read from a file, and cannot run: record it here")
    for place in changes:
        if not place or not 0 <= place[0] < len(record.nodes):
            raise ValueError(f"no operator stands at {place}: there are {len(record.nodes)} nodes")


def _widest(x: Any, dtype: Any) -> Any:
    return x if x is None or dtype is None else _jax.widen(x, dtype)


def _all_in_dtype(graph: Graph, dtype: Any, within: Collection[int] | None) -> dict[int, Operator]:
    """Return the operators that compute in a dtype, and those that read what they make."""
    operators = [i for i, node in enumerate(graph.nodes) if node.kind == "operator"]
    if within is None:
        return {i: in_dtype(graph.nodes[i], dtype) for i in operators}
    returned = {slot.node for slot in graph.outputs}
    found = {}
    for i in operators:
        node = graph.nodes[i]
        if i in within:
            wide = in_dtype(node, dtype)
            found[i] = _back(wide, node) if i in returned else wide
        elif any(slot.node in within for slot in node.inputs):
            found[i] = _jax.narrowed(node.equation)
    return found


def _back(wide: Operator, node: Vertex) -> Operator:
    def run(*inputs: Any) -> list[Any]:
        return [jnp.asarray(y, a.dtype) for y, a in zip(wide(*inputs), node.avals, strict=True)]

    return run


def in_dtype(node: Vertex, dtype: Any) -> Operator:
    """Return an operator as a function, in a dtype wherever its own is narrower.

    Args:
      node: the operator.
      dtype: None for its own.
    """
    if dtype is None:
        return _jax.function(node.equation)
    rule = _jax.custom_rule(node.equation)
    if rule is not None:
        body = _body(rule, node, {}, None, dtype)
        return _jax.with_rule(body, node.equation) if isinstance(dtype, _jax.Into) else body
    if node.op in _OPENED:
        return _OPENED[node.op](node, {}, None, dtype)
    solver = _jax.linear_solve(node.equation)
    if solver is not None:
        body, taken = solver
        solve = _body(body, node, {}, None, dtype)
        return lambda *inputs: solve(*(inputs[k] for k in taken))
    return _jax.widened(node.equation, dtype)


def _stand_ins(
    graph: Graph,
    changes: Mapping[Place, Change],
    setting: Any,
    dtype: Any,
    within: Collection[int] | None = None,
) -> dict[int, Operator]:
    """Return what stands in for the operators of one graph, by their numbers."""
    inner: dict[int, dict[Place, Change]] = {}
    for place, change in changes.items():
        inner.setdefault(place[0], {})[place[1:]] = change
    found = {} if dtype is None else _all_in_dtype(graph, dtype, within)
    for i, there in inner.items():
        node = graph.nodes[i]
        if node.kind != "operator":
            raise ValueError(f"node {i} is no operator, but {node.kind} {node.name}".rstrip())
        deeper = {place: change for place, change in there.items() if place}
        wide = dtype if within is None or i in within else None
        operator = found.get(i) or in_dtype(node, wide)
        operator = _opened(node, deeper, setting, wide) if deeper else operator
        found[i] = there[()](operator, setting) if () in there else operator
    return found


def _opened(node: Vertex, changes: Mapping[Place, Change], setting: Any, dtype: Any) -> Operator:
    """Return a loop or a cond as an operator in whose body some operators are changed."""
    build = _OPENED.get("" if node.custom else node.op)
    if build is None:
        raise ValueError(f"{node.op} has no operators inside that could be changed")
    return build(node, changes, setting, dtype)


def _scan(node: Vertex, changes: Mapping[Place, Change], setting: Any, dtype: Any) -> Operator:
    body, consts, carries, length, reverse = _jax.scan_layout(node.equation)
    run_body = _body(body, node, changes, setting, dtype)

    def loop(*inputs: Any) -> list[Any]:
        inputs = tuple(_widest(x, dtype) for x in inputs)
        fixed, start, xs = inputs[:consts], inputs[consts:][:carries], inputs[consts + carries :]

        def step(carry: Sequence[Any], x: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            outputs = run_body(*fixed, *carry, *x)
            return outputs[:carries], outputs[carries:]

        end, rows = jax.lax.scan(step, list(start), list(xs), length, reverse=reverse)
        return [*end, *rows]

    return loop


def _while(node: Vertex, changes: Mapping[Place, Change], setting: Any, dtype: Any) -> Operator:
    condition, body, asked, consts = _jax.while_layout(node.equation)
    run_body = _body(body, node, changes, setting, dtype)

    def asks(arrays: Sequence[Any]) -> Any:
        pairs = zip(arrays, condition.in_avals, strict=True)
        return _jax.evaluate(condition, [jnp.asarray(x, aval.dtype) for x, aval in pairs])[0]

    def loop(*inputs: Any) -> list[Any]:
        inputs = tuple(_widest(x, dtype) for x in inputs)
        settings, fixed, start = inputs[:asked], inputs[asked:][:consts], inputs[asked + consts :]
        return jax.lax.while_loop(
            lambda carry: asks([*settings, *carry]),
            lambda carry: run_body(*fixed, *carry),
            list(start),
        )

    return loop


def _cond(node: Vertex, changes: Mapping[Place, Change], setting: Any, dtype: Any) -> Operator:
    bodies = [_jax.close(branch) for branch in node.equation.params["branches"]]
    branches = [
        _body(body, node, {p[1:]: c for p, c in changes.items() if p[0] == k}, setting, dtype)
        for k, body in enumerate(bodies)
    ]

    def choose(which: Any, *inputs: Any) -> list[Any]:
        return jax.lax.switch(jnp.asarray(which, jnp.int32), branches, *inputs)

    return choose


def _shards(node: Vertex, changes: Mapping[Place, Change], setting: Any, dtype: Any) -> Operator:
    body, settings = _jax.shard_layout(node.equation)
    run_body = _body(body, node, changes, setting, dtype)
    settings["out_specs"] = list(settings["out_specs"])
    return jax.shard_map(lambda *inputs: run_body(*inputs), **settings)


_OPENED = {"scan": _scan, "while": _while, "cond": _cond, "shard_map": _shards}


def _body(
    body: _jax.ClosedJaxpr, node: Vertex, changes: Mapping[Place, Change], setting: Any, dtype: Any
) -> Operator:
    """Return a body as a function whose operators run one by one, some of them changed."""
    graph = body_graph(body, node.line)
    operators = _stand_ins(graph, changes, setting, dtype)

    def evaluate(*arguments: Any) -> list[Any]:
        given = iter(arguments)
        values: list[Sequence[Any]] = []
        for i, vertex in enumerate(graph.nodes):
            if vertex.is_argument:
                values.append((next(given),))
            elif vertex.kind == "constant":
                values.append((jnp.asarray(vertex.constant),))
            else:
                inputs = [values[slot.node][slot.output] for slot in vertex.inputs]
                operator = operators.get(i) or _jax.function(vertex.equation)
                values.append(apart(operator(*inputs)))
        return [_widest(values[slot.node][slot.output], dtype) for slot in graph.outputs]

    return evaluate
