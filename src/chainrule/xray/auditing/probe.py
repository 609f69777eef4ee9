"""One function with a custom rule, run by itself: by its rule, and by autodiff of its body."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.check import check_gradients
from chainrule.xray import _custom, _jax
from chainrule.xray.bodies import body_graph
from chainrule.xray.record import Entry
from chainrule.xray.rerun import in_dtype

__all__ = ["Probe", "close", "perturbed"]
__dir__ = __all__.copy

_NEAR = {2: (5e-2, 3e-2), 4: (2e-3, 3e-4), 8: (1e-5, 1e-6)}
"""How far a rule may be off: of the element, and of the largest one, by the bytes of a number."""
_CHECKED = 12  # elements that are compared with differences
_NO_DERIVATIVE = (NotImplementedError, ValueError, TypeError)


def close(a: Any, b: Any, itemsize: int) -> Any:
    """Tell which elements of two gradients are equal, but for the rounding of a dtype."""
    relative, absolute = _NEAR.get(itemsize, _NEAR[4])
    size = np.maximum(np.abs(a), np.abs(b))
    largest = np.max(size, where=np.isfinite(size), initial=0)
    with np.errstate(invalid="ignore"):
        return np.abs(a - b) <= relative * size + absolute * largest


def perturbed(x: Any, size: float, rng: np.random.Generator) -> Any:
    """Return an array close by: of one sign if it was, and its rows distributions if they were."""
    if not jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating):
        return x
    a = np.asarray(x, np.float64)
    noise: Any = size * rng.normal(size=a.shape)
    finite = a[np.isfinite(a)]
    scale = np.sqrt(np.mean(finite**2)) if finite.any() else 1.0
    positive, negative = (finite >= 0).all(), (finite <= 0).all()
    if positive != negative:
        noise = np.where(a == 0, np.abs(noise) * (1 if positive else -1), noise)
    moved = np.where(a == 0, scale * noise, a * (1 + noise))
    sums = a.sum(-1, keepdims=True) if a.ndim and positive else np.zeros(())
    if a.ndim and a.shape[-1] > 1 and positive and np.allclose(sums, 1, atol=1e-5):
        moved = moved / moved.sum(-1, keepdims=True)
    return jnp.asarray(moved, jnp.asarray(x).dtype)


class Probe:
    """What a function with a custom rule makes, and three gradients of it.

    Args:
      node: the operator.
      wrt: the numbers of the inputs to differentiate with respect to.
      live: the numbers of the outputs into which a gradient comes.
    """

    def __init__(self, node: Entry, wrt: Sequence[int], live: Sequence[int]) -> None:
        self.node, self.wrt, self.live = node, list(wrt), list(live)
        body = _jax.custom_rule(node.equation)
        assert body is not None
        self.body = body
        self.opaque = _custom.opaque(body)
        self._plain: Callable[..., Any] = lambda *inputs: _jax.evaluate(body, inputs)

    def pull(self, f: Callable[..., Any], inputs: Sequence[Any], gs: Sequence[Any]) -> Any:
        """Return what a function makes of its inputs, and its gradients with respect to some."""

        def chosen(*some: Any) -> Any:
            full = list(inputs)
            for k, x in zip(self.wrt, some, strict=True):
                full[k] = x
            outputs = f(*full)
            return [outputs[k] for k in self.live], list(outputs)

        _, pull, outputs = jax.vjp(chosen, *(inputs[k] for k in self.wrt), has_aux=True)
        return outputs, list(pull(list(gs)))

    @functools.cached_property
    def _rule(self) -> Callable[..., Any]:
        operator = _jax.function(self.node.equation)
        return jax.jit(lambda x, g: (*self.pull(operator, x, g), self._plain(*x)))

    @functools.cached_property
    def _own(self) -> Callable[..., Any]:
        return jax.jit(lambda x, g: self.pull(self._plain, x, g)[1])

    @functools.cached_property
    def _wide(self) -> Callable[..., Any]:
        return in_dtype(self.node, jnp.float64)

    @functools.cached_property
    def _true(self) -> Callable[..., Any]:
        return jax.jit(lambda x, g: self.pull(self._wide, x, g)[1])

    @functools.cached_property
    def _value(self) -> Callable[..., Any]:
        return jax.jit(lambda x: [y for k, y in enumerate(self._wide(*x)) if k in self.live])

    def by_rule(self, inputs: Any, gs: Any) -> tuple[list[Any], list[Any], list[Any]]:
        """Return its outputs as its rule makes them, its gradients, and its outputs without it."""
        made, gradients, plain = self._rule(list(inputs), list(gs))
        return made, gradients, plain

    def by_body(self, inputs: Any, gs: Any) -> list[Any] | None:
        """Return the gradients of its body in its own dtype, None where JAX has none."""
        try:
            return [np.asarray(g, np.float64) for g in self._own(list(inputs), list(gs))]
        except _NO_DERIVATIVE:
            return None

    def true(self, inputs: Any, gs: Any) -> list[Any] | None:
        """Return the gradients of its body in float64, None where JAX has none."""
        if self.opaque:
            return None
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            try:
                made = self._true([_double(x) for x in inputs], [_double(g) for g in gs])
            except _NO_DERIVATIVE:
                return None
            return [np.asarray(g, np.float64) for g in made]

    def line(self, position: int) -> list[str]:
        """Return the lines of the rule that a gradient comes from, the last one first.

        Args:
          position: which of the gradients.
        """
        operator = _jax.function(self.node.equation)
        inputs, outputs = self.node.equation.invars, self.node.equation.outvars
        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in inputs]
        gs = [outputs[k].aval for k in self.live]
        gs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in gs]
        closed = jax.make_jaxpr(lambda x, g: self.pull(operator, x, g)[1])(shapes, gs)
        graph = body_graph(closed, self.node.line)
        found: list[str] = []
        seen, todo = set(), [graph.outputs[position].node]
        while todo:
            i = max(todo)
            todo = [k for k in todo if k != i]
            node = graph.nodes[i]
            if node.kind == "operator" and node.line not in (*found, self.node.line):
                found.append(node.line)
            todo += [s.node for s in node.inputs if s.node not in seen]
            seen |= {s.node for s in node.inputs}
        return found

    def slopes(self, inputs: Any, gs: Any, position: int, picked: Any, mine: Any) -> Any:
        """Return a check of some elements of a gradient against differences in float64.

        Args:
          inputs: what the function takes.
          gs: the incoming gradients.
          position: which of the gradients.
          picked: the numbers of the elements, counted flat.
          mine: what the rule gives there.
        """
        number = self.wrt[position]
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            wide = [_double(x) for x in inputs]
            g = [np.asarray(x, np.float64) for x in gs]
            where = np.asarray(picked)

            def reference(z: Any) -> Any:
                x = jnp.ravel(wide[number]).at[where].set(z).reshape(wide[number].shape)
                made = self._wide(*wide[:number], x, *wide[number + 1 :])
                pairs = zip(g, (made[k] for k in self.live), strict=True)
                return sum(jnp.sum(a * y) for a, y in pairs)

            start = np.ravel(np.asarray(wide[number]))[where]
            found = check_gradients(lambda z: jnp.asarray(mine), reference, start)
        return found.rows[0]

    def differences(
        self, inputs: Any, gs: Any, position: int, index: int
    ) -> tuple[float, float, float] | None:
        """Return the lower and the higher slope at one element, and how sure they are.

        For a body that JAX has no derivative of. None where the slopes do not settle.
        """
        step = 2e-2 if self.opaque else 1e-5
        wide = [np.asarray(x, np.float64) if _is_float(x) else x for x in inputs]
        number = self.wrt[position]
        x = wide[number]
        unit = max(abs(x.flat[index]), 0.1 * float(np.sqrt(np.mean(x**2))), 1e-3)

        def value(shift: float) -> float:
            moved = x.copy()
            moved.flat[index] += shift
            full = [*wide[:number], moved, *wide[number + 1 :]]
            if self.opaque:
                pairs = zip(full, inputs, strict=True)
                made = self.plain([jnp.asarray(a, jnp.asarray(b).dtype) for a, b in pairs])
            else:
                with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
                    made = self._value([jnp.asarray(a) for a in full])
            pairs = zip(gs, made, strict=True)
            return sum(float(np.sum(np.asarray(g, float) * np.asarray(y, float))) for g, y in pairs)

        here, sides, centres = value(0.0), [], []
        for h in (step * unit, 2 * step * unit):
            up, down = (value(h) - here) / h, (here - value(-h)) / h
            sides += [up, down]
            centres.append((up + down) / 2)
        spread = abs(centres[0] - centres[1])
        if not np.isfinite(sides).all() or spread > 0.2 * max(map(abs, centres)) + 1e-6:
            return None
        return min(*sides, *centres), max(*sides, *centres), spread

    @functools.cached_property
    def _plain_jit(self) -> Callable[..., Any]:
        return jax.jit(lambda x: [y for k, y in enumerate(self._plain(*x)) if k in self.live])

    def plain(self, inputs: Any) -> list[Any]:
        """Return what its body makes of its inputs: the outputs into which a gradient comes."""
        return list(self._plain_jit(list(inputs)))

    def suspects(self, rule: Any, true: Any, itemsize: int) -> Any:
        """Return the elements of a rule's gradient that are wrong by far, the worst first."""
        off = ~close(rule, true, itemsize) & np.isfinite(true)
        error = np.where(off, np.nan_to_num(np.abs(rule - true), nan=np.inf), -1.0)
        order = np.argsort(-error.ravel(), kind="stable")
        return order[: min(_CHECKED, int(off.sum()))]


def _double(x: Any) -> Any:
    return jnp.asarray(x, jnp.float64) if _is_float(x) else jnp.asarray(x)


def _is_float(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating))
