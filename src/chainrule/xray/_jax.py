"""Every use of what JAX does not promise to keep: equations and their bodies; see `_lines` too."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.extend import core, source_info_util

from chainrule._files import printable
from chainrule.xray import _lines, _once, primitives

_P = ParamSpec("_P")
_R = TypeVar("_R")

Literal = core.Literal
only_reshapes, reshaped = _once.only_reshapes, _once.reshaped
if TYPE_CHECKING:
    ClosedJaxpr = Any  # JAX 0.12 has it without saying so to a type checker
else:
    ClosedJaxpr = core.ClosedJaxpr

INSIDE = (
    "xray runs a program of its own and cannot do so while JAX traces the function that calls it: "
    "call it outside jit, grad, vmap and scan"
)


def compile_whole(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function compiled as one program without fusing operators.

    Every intermediate array is a result here. Fusion would compute each anew from the start, once
    for every later one: 400 operators in a row compile in 27 s fused, in 0.4 s like this.

    A large array that only has another shape than one before it, or the same, shares its memory:
    of LeNet's record that is half.
    """

    def each_once(*args: Any) -> _once.Once:
        closed, shapes = jax.make_jaxpr(f, return_shape=True)(*args)
        kept, plan = _once.planned(closed, jax.tree.structure(shapes))
        return _once.Once(evaluate(kept, jax.tree.leaves(args)), plan)

    whole = compile_alone(each_once)

    def run(*args: Any) -> Any:
        try:
            return whole(*args).everything()
        except ValueError as error:
            if "compiler_options" not in str(error):
                raise
            raise ValueError(INSIDE) from None

    return run


def compile_alone(f: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function compiled without fusing operators: one operator, say."""
    options = {"xla_disable_hlo_passes": "fusion"} if jax.default_backend() == "cpu" else None
    return quiet(jax.jit(f, compiler_options=options))


def quiet(f: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function that neither ``jax_debug_nans`` nor ``jax.transfer_guard`` stops.

    NaNs are what a record is for, and it takes every array from the device.
    """

    @functools.wraps(f)
    def run(*args: _P.args, **settings: _P.kwargs) -> _R:
        with jax.debug_nans(False), jax.debug_infs(False), jax.transfer_guard("allow"):
            return f(*args, **settings)

    return run


def trace(f: Callable[..., Any], args: Sequence[Any]) -> tuple[ClosedJaxpr, Any]:
    """Return the equations of ``f(*args)`` and the shapes of its output.

    JAX remembers the trace of a function, with the values that it closed over at that time. The
    function here is new at every call, so that it is traced anew with the current values.
    """
    traced = jax.jit(lambda *arrays: f(*arrays)).trace(*args)
    return traced.jaxpr, traced.out_info


def mutates(closed: ClosedJaxpr) -> bool:
    """Tell whether a function reads or writes a mutable array, as `jax.new_ref` makes it."""
    jaxpr = closed.jaxpr
    seen = [*jaxpr.invars, *jaxpr.constvars, *(v for eqn in jaxpr.eqns for v in eqn.outvars)]
    return any(hasattr(v.aval, "inner_aval") for v in seen) or any(
        mutates(body) for body in map(group, jaxpr.eqns) if body is not None
    )


def close(jaxpr: Any) -> ClosedJaxpr:
    """Return the body of an equation, which is closed for some primitives only."""
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())


def group(eqn: Any) -> ClosedJaxpr | None:
    """Return the body of a call that is only a group of equations (jit, remat), else None."""
    if not primitives.known(eqn.primitive.name).groups:
        return None
    return close(eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")))


def custom_rule(eqn: Any) -> ClosedJaxpr | None:
    """Return the function that has a custom rule, traced, else None."""
    if eqn.primitive.name not in ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"):
        return None
    return close(eqn.params.get("call_jaxpr", eqn.params.get("fun_jaxpr")))


def scan_layout(eqn: Any) -> tuple[ClosedJaxpr, int, int, int, bool]:
    """Return the body of a scan, its counts of constants and carries, its length and direction."""
    params = eqn.params
    body = close(params["jaxpr"])
    if "num_carry" in params:
        consts, carry = params["num_consts"], params["num_carry"]
    else:  # jax 0.12 keeps trees of the three parts, one leaf an array
        consts, carry = (len(part) for part in params["ft_in"].unpack()[:2])
    return body, consts, carry, params["length"], params["reverse"]


def while_layout(eqn: Any) -> tuple[ClosedJaxpr, ClosedJaxpr, int, int]:
    """Return condition and body of a while, and how many constants each of them takes first."""
    params = eqn.params
    condition, body = close(params["cond_jaxpr"]), close(params["body_jaxpr"])
    return condition, body, params["cond_nconsts"], params["body_nconsts"]


def repeats(eqn: Any, position: int) -> bool:
    """Tell whether a loop, however deep inside, takes an input at each of its steps."""
    if eqn.primitive.name == "scan":
        return position < scan_layout(eqn)[1]
    if eqn.primitive.name == "while":
        return position < sum(while_layout(eqn)[2:])
    if (body := custom_rule(eqn) or group(eqn)) is None:
        return False
    given = body.jaxpr.invars[position]
    uses = (
        (inner, k) for inner in body.jaxpr.eqns for k, v in enumerate(inner.invars) if v is given
    )
    return any(repeats(inner, k) for inner, k in uses)


def shard_layout(eqn: Any) -> tuple[ClosedJaxpr, dict[str, Any]]:
    """Return what every device runs, and the settings of the shard_map around it."""
    params = eqn.params
    settings = {key: params[key] for key in ("mesh", "in_specs", "out_specs", "check_vma")}
    return close(params["jaxpr"]), settings | {"axis_names": params["newly_manual_axes"]}


def is_collective(eqn: Any) -> bool:
    """Tell whether an operator exchanges something between the devices of a shard_map."""
    names = jax.tree.leaves([eqn.params.get(key, ()) for key in ("axes", "axis_name")])
    inside = any(type(effect).__name__ == "NamedAxisEffect" for effect in eqn.effects)
    return inside or any(isinstance(name, str) for name in names)


def unrolled(eqn: Any) -> ClosedJaxpr | None:
    """Return the steps of a scan one after the other, else None."""
    if eqn.primitive.name != "scan":
        return None
    body, consts, carries, length, reverse = scan_layout(eqn)

    def loop(*arrays: Any) -> list[Any]:
        fixed, carry, xs = arrays[:consts], arrays[consts:][:carries], arrays[consts + carries :]
        rows: list[Any] = [None] * length
        for t in reversed(range(length)) if reverse else range(length):
            with jax.named_scope(f"step{t}"):
                x = [jax.lax.index_in_dim(a, t, keepdims=False) for a in xs]
                outputs = evaluate(body, [*fixed, *carry, *x])
            carry, rows[t] = tuple(outputs[:carries]), outputs[carries:]
        return [*carry, *(jnp.stack(ys) for ys in zip(*rows, strict=True))]

    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    return jax.make_jaxpr(loop)(*shapes)


def name(eqn: Any) -> str:
    """Return what people call the operator: the primitive, or the function with a custom rule."""
    body = custom_rule(eqn)
    return printable(eqn.primitive.name) if body is None else function_name(body)


def function_name(body: ClosedJaxpr) -> str:
    """Return the name of the Python function that a body was traced from."""
    return printable(_origin(body)[0])


def is_library(body: ClosedJaxpr) -> bool:
    """Tell whether the function behind a body belongs to an installed library."""
    return _lines.in_library(_origin(body)[1])


def _origin(body: ClosedJaxpr) -> tuple[str, str]:
    info = body.jaxpr.debug_info.func_src_info or "unknown"
    function, _, place = info.partition(" at ")
    return function, place


class _Unknown:
    """A traceback that JAX replaces by that of the Python code which runs."""

    def __bool__(self) -> bool:
        return False

    def as_python_traceback(self) -> None:
        """Return that nothing is known of the Python code."""


def _anew(f: Callable[..., Any], *args: Any) -> Any:
    """Run a rule, so that what it computes has the lines of the rule."""
    with source_info_util.user_context(_Unknown()):
        return f(*args)


def function(eqn: Any) -> Callable[..., list[Any]]:
    """Return one equation as a function of its inputs, custom rules kept.

    Literals and repeated inputs become arguments of their own, so that the gradient of each use
    can be told apart. What a custom rule computes has its lines in the rule; JAX by itself would
    give it the line of the equation.
    """
    invars = [core.Var(v.aval) for v in eqn.invars]
    outvars = [core.Var(v.aval) for v in eqn.outvars]
    params, nowhere = eqn.params, source_info_util.new_source_info()
    if (rule := params.get("bwd")) is not None:
        params = params | {"bwd": rule.wrap(_anew, (), None)}
    names = tuple(f"input{i}" for i in range(len(invars)))
    paths = tuple(f"output{i}" for i in range(len(outvars)))
    debug = core.DebugInfo("xray", eqn.primitive.name, names, paths)

    def run(*inputs: Any) -> list[Any]:
        mesh = eqn.ctx.cur_abstract_mesh
        # What stands in a shard_map also runs outside, on the arrays of one device.
        outside = mesh.manual_axes and mesh != jax.sharding.get_abstract_mesh()
        context = type(eqn.ctx)() if outside else eqn.ctx
        alone = eqn.replace(
            invars=invars, outvars=outvars, params=params, source_info=nowhere, ctx=context
        )
        jaxpr = core.Jaxpr((), invars, outvars, [alone], eqn.effects, debug)
        return evaluate(ClosedJaxpr(jaxpr, ()), inputs)

    return run


def kind(eqn: Any) -> Any:
    """Return what is equal of two equations that do the same with arrays of the same types."""
    types = tuple(str(v.aval) for v in (*eqn.invars, *eqn.outvars))
    found = eqn.primitive, tuple(sorted(eqn.params.items())), types, eqn.ctx
    try:
        hash(found)
    except TypeError:
        return eqn
    return found


class Into(NamedTuple):
    """A dtype for all floats of a program, also for those of a wider one."""

    dtype: Any


TF32 = Into(None)
"""The dtypes as they are, with what products take rounded to the 11 bits of tensorfloat32."""
_TF32_BITS = 8, 10  # of the exponent, of the fraction


def widen(x: Any, dtype: Any) -> Any:
    """Return floats, or complex numbers, in a dtype if theirs is narrower; all else as it is."""
    x = x if hasattr(x, "dtype") else jnp.asarray(x)
    wider = _wider(x.dtype, dtype)
    return x if wider is None else jax.lax.convert_element_type(x, wider)


def _wider(dtype: Any, least: Any) -> Any:
    if not jnp.issubdtype(dtype, jnp.inexact) or least is TF32:
        return None
    if isinstance(least, Into):
        if jnp.issubdtype(dtype, jnp.complexfloating):
            double = jnp.dtype(least.dtype).itemsize > 4
            return jnp.complex128 if double and dtype != jnp.complex128 else None
        return None if dtype == least.dtype else least.dtype
    wide = jnp.result_type(jnp.complex64, least) if jnp.issubdtype(dtype, jnp.complex64) else least
    return wide if jnp.dtype(dtype).itemsize < jnp.dtype(wide).itemsize else None


def narrowed(eqn: Any) -> Callable[..., list[Any]]:
    """Return one equation as a function that takes its inputs in any dtype, and makes its own."""
    alone = function(eqn)

    def run(*inputs: Any) -> list[Any]:
        pairs = zip(inputs, eqn.invars, strict=True)
        return alone(*(jnp.asarray(x, v.aval.dtype) if is_float(v.aval) else x for x, v in pairs))

    return run


def is_float(aval: Any) -> bool:
    """Tell whether an array of this type holds floats or complex numbers."""
    return bool(jnp.issubdtype(aval.dtype, jnp.inexact))


def widened(eqn: Any, dtype: Any) -> Callable[..., list[Any]]:
    """Return one equation as a function in a wider dtype; as it is where JAX has it in no other.

    What it makes is of the wider dtype either way.
    """
    params = dict(eqn.primitive.get_bind_params(eqn.params))
    for key in ("new_dtype", "preferred_element_type", "dtype"):
        if params.get(key) is not None and (wide := _wider(params[key], dtype)) is not None:
            params[key] = wide
    name = eqn.primitive.name
    scatter = getattr(jax.lax, name.replace("-", "_"), None) if "update_jaxpr" in params else None
    # The bits of a number are those of its dtype, and so are the types in an inner function.
    precise = name != "bitcast_convert_type" and not any("jaxpr" in key for key in params)

    def run(*inputs: Any) -> list[Any]:
        outputs = None
        if dtype is TF32:
            rounds = primitives.known(name).product
            return function(eqn)(*map(_tf32, inputs) if rounds else inputs)
        if name == "reduce_precision":
            outputs = list(inputs)
        elif scatter is not None:
            keys = ("indices_are_sorted", "unique_indices", "mode")
            settings = {key: params[key] for key in keys}
            up = [widen(x, dtype) for x in inputs]
            outputs = [scatter(*up, params["dimension_numbers"], **settings)]
        elif precise:
            with contextlib.suppress(TypeError, ValueError, NotImplementedError):
                outputs = eqn.primitive.bind(*(widen(x, dtype) for x in inputs), **params)
                outputs = outputs if eqn.primitive.multiple_results else [outputs]
        if outputs is None:
            outputs = narrowed(eqn)(*inputs)
        return [widen(y, dtype) for y in outputs]

    return run


def _tf32(x: Any) -> Any:
    return jax.lax.reduce_precision(x, *_TF32_BITS) if x.dtype == jnp.float32 else x


def with_rule(wide: Callable[..., list[Any]], eqn: Any) -> Callable[..., list[Any]]:
    """Return a function that has a custom rule in another dtype, with the gradient of its rule.

    The rule runs in the dtypes of the program: it was written for them.
    """
    alone = function(eqn)

    def forward(*inputs: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return list(wide(*inputs)), inputs

    def backward(inputs: tuple[Any, ...], gs: Sequence[Any]) -> tuple[Any, ...]:
        own = [jnp.asarray(x, v.aval.dtype) for x, v in zip(inputs, eqn.invars, strict=True)]
        outputs, pull = jax.vjp(lambda *x: alone(*x), *own)
        parts = pull([_like(g, y) for g, y in zip(gs, outputs, strict=True)])
        return tuple(_like(part, x) for part, x in zip(parts, inputs, strict=True))

    run = jax.custom_vjp(lambda *inputs: list(wide(*inputs)))
    run.defvjp(forward, backward)
    return run


def _like(x: Any, like: Any) -> Any:
    return jnp.asarray(x, like.dtype) if is_float(like) and x.dtype != jax.dtypes.float0 else x


def linear_solve(eqn: Any) -> tuple[ClosedJaxpr, Sequence[int]] | None:
    """Return what solves a linear system and which inputs that takes, else None."""
    if eqn.primitive.name != "custom_linear_solve":
        return None
    sizes, bodies = eqn.params["const_lengths"], eqn.params["jaxprs"]
    first = sizes.matvec + sizes.vecmat
    fixed = range(first, first + sizes.solve)
    return close(bodies.solve), [*fixed, *range(sum(sizes), len(eqn.invars))]


def reached(body: ClosedJaxpr, given: Sequence[bool]) -> list[bool]:
    """Tell which outputs depend on the given inputs.

    An output of a linear function that depends on no input is exactly zero: what jax.grad calls a
    symbolic zero, which never turns into NaN when it meets an infinity.
    """
    seen = {v for v, hit in zip(body.jaxpr.invars, given, strict=True) if hit}

    def depends(v: Any) -> bool:
        return not isinstance(v, core.Literal) and v in seen

    for eqn in body.jaxpr.eqns:
        hits = [depends(v) for v in eqn.invars]
        if not any(hits):
            continue
        inner = group(eqn)
        outs = [True] * len(eqn.outvars) if inner is None else reached(inner, hits)
        seen.update(v for v, hit in zip(eqn.outvars, outs, strict=True) if hit)
    return [depends(v) for v in body.jaxpr.outvars]


def evaluate(closed: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
    """Run traced equations."""
    return core.jaxpr_as_fun(closed)(*arguments)
