"""What is true of a training, measured in plain JAX: the first bad step, its phase, its line.

Nothing here records, watches or rewrites: steps run as they were written, what comes out is looked
at, and the operators of the step that failed run one by one.
"""

import itertools
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np

from tests.bars.failing_trainings import Run, Training
from tests.bars.nan_truth import OPENED


class Measured(NamedTuple):
    """The first step whose results are not finite.

    Attributes:
      step: its number, from 0; None if all steps are finite.
      phase: "data", "forward", "backward" or "update", "none" without such a step.
      birth: the first operator in it that makes something bad of finite numbers.
      state: the state before it.
      batch: its batch.
      function: the step.
    """

    step: int | None
    phase: str
    birth: "Birth | None"
    state: Any
    batch: Any
    function: Any


def finite(tree: Any) -> bool:
    """Tell whether all floats of a tree are finite; random keys and functions count for nothing."""
    leaves = [x for x in jax.tree.leaves(tree) if isinstance(x, jax.Array | np.ndarray)]
    floats = [x for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
    return all(bool(np.isfinite(np.asarray(x).astype(np.float64)).all()) for x in floats)


def pure(training: Training, step: Any) -> Any:
    """Return the step as a function of pytrees: modules that are changed in place are split off."""
    if not training.in_place:
        return step
    from flax import nnx

    def split_step(state: Any, batch: Any) -> Any:
        graph, leaves = state
        new, metrics = step(nnx.merge(graph, leaves), batch)
        return nnx.split(new), metrics

    return split_step


def begin(training: Training, run: Run) -> tuple[Any, Any, Iterator[Any]]:
    """Return step, state and batches of a training of any flavour."""
    if training.flavour == "fit":
        from chainrule.training import make_step

        state, loss, optimizer, batches, epochs = run.create()
        steps = range(epochs * batches.per_epoch)
        return jax.jit(make_step(loss, optimizer)), state, (batches(i) for i in steps)
    step, state, batches = run.create()
    if training.in_place:
        from flax import nnx

        state = nnx.split(state)
    return pure(training, step), state, iter(batches)


def copied(tree: Any) -> Any:
    """Return a copy that survives a step which consumes its state."""
    return jax.tree.map(lambda x: x.copy() if isinstance(x, jax.Array) else x, tree)


def measure(training: Training, run: Run) -> Measured:
    """Run a training up to its first bad step."""
    step, state, batches = begin(training, run)
    for number, batch in enumerate(batches):
        before = copied(state)
        state, metrics = step(state, batch)
        if not finite((state, metrics)):
            birth = first_birth(training, step, before, batch)
            phase = phase_of(batch, metrics, birth)
            return Measured(number, phase, birth, before, batch, step)
    return Measured(None, "none", None, None, None, step)


def phase_of(batch: Any, metrics: Any, birth: "Birth | None") -> str:
    """Tell where it came from: the batch, the loss, its gradient or the update."""
    if not finite(batch):
        return "data"
    if not finite(metrics["loss"]):
        return "forward"
    return "update" if birth is None or birth.phase == "update" else "backward"


def heals(training: Training, found: Measured) -> bool:
    """Tell whether the step that fails is finite with the samples that were not spoiled."""
    batches = begin(training, training.healed)[2]
    good = next(itertools.islice(batches, found.step, None))
    return finite(found.function(copied(found.state), good))


class Birth(NamedTuple):
    """An operator that made something bad of finite numbers.

    Attributes:
      line: of the training's file, 0 if it is not in there.
      phase: "forward", "backward" or "update".
      kind: "NaN" or "Inf".
    """

    line: int
    phase: str
    kind: str


class Born(Exception):  # noqa: N818 - it is what is looked for
    """Ends a walk at the first birth."""


def first_birth(training: Training, step: Any, state: Any, batch: Any) -> Birth | None:
    """Run a step's operators one by one up to the first that makes something bad."""
    leaves, tree = jax.tree.flatten((state, batch))
    arrays = [i for i, x in enumerate(leaves) if isinstance(x, jax.Array | np.ndarray)]

    def flat(*given: Any) -> Any:
        filled = list(leaves)
        for i, x in zip(arrays, given, strict=True):
            filled[i] = x
        results = step(*jax.tree.unflatten(tree, filled))
        return [x for x in jax.tree.leaves(results) if isinstance(x, jax.Array)]

    with jax.disable_jit():
        closed = jax.make_jaxpr(flat)(*[leaves[i] for i in arrays])
    given = [leaves[i] for i in arrays]
    try:
        walk(closed.jaxpr, closed.consts, given, (0, ""), training.file)
    except Born as born:
        return born.args[0]
    return None


def walk(
    jaxpr: Any, consts: Any, given: Any, call: tuple[int, str], file: pathlib.Path
) -> list[Any]:
    """Run operators in order; raise `Born` at the first birth."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *given], strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, jex.core.Literal) else values[var]

    for eqn in jaxpr.eqns:
        into = [read(v) for v in eqn.invars]
        place = place_of(eqn, file, call)
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if eqn.primitive.name in OPENED:
            closed = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
            made = walk(*closed, into, place, file)
        else:
            made = eqn.primitive.bind(*into, **eqn.primitive.get_bind_params(eqn.params))
            made = made if eqn.primitive.multiple_results else [made]
            born = kinds(made) - kinds(into)
            if born and "NaN" not in kinds(into):
                raise Born(Birth(*place, max(born)))
        values.update(zip(eqn.outvars, made, strict=True))
    return [read(v) for v in jaxpr.outvars]


def kinds(arrays: Any) -> set[str]:
    """Return which of NaN and Inf are among the numbers."""
    floats = [x for x in arrays if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]
    hosts = [np.asarray(x).astype(np.float64) for x in floats]
    tests = {"NaN": np.isnan, "Inf": np.isinf}
    return {kind for kind, test in tests.items() for x in hosts if test(x).any()}


def place_of(eqn: Any, file: pathlib.Path, call: tuple[int, str]) -> tuple[int, str]:
    """Return the innermost line of the program that an operator comes from, and its phase."""
    source = eqn.source_info
    frames = source.traceback.frames if source.traceback else ()
    line = next((f.line_num for f in frames if f.file_name == str(file)), call[0])
    stack = str(source.name_stack)
    if "transpose(" in stack:
        return line, "backward"
    return line, "forward" if "jvp(" in stack else call[1] or "update"


def contradiction(training: Training) -> str:
    """Say what is not true of a training, "" if all is."""
    found = measure(training, training.run)
    if (found.step, found.phase) != (training.step, training.phase):
        return f"fails at {found.step} ({found.phase}), not {training.step} ({training.phase})"
    born = found.birth is not None and training.phase != "data"
    if born and found.birth.line not in training.lines:
        return f"begins in line {found.birth.line}, not in {training.lines}"
    if found.birth is None and training.lines:
        return f"no operator makes anything bad, {training.lines} neither"
    blamed = training.rows is not None or training.coupled
    if found.step is not None and blamed and not heals(training, found):
        return "fails with good samples too"
    return ""
