r"""Gradient descent as data: one run, a sweep over learning rates, and what can be said of them.

A descent is a `Trace` of arrays, ``steps + 1`` long: entry ``t`` is taken at the parameters after
``t`` steps, before the next one, so that entry 0 is the start and the last entry is the end. A
sweep is the same trace with one more axis in front, a lane for each learning rate.

What can be predicted beforehand is the *edge*: near a point where the largest eigenvalue of the
Hessian, the `sharpness`, is ``s``, plain descent shrinks the error along that eigenvector only
while ``eta < 2 / s``. Beyond, it grows until the curvature changes.

References:
  Cohen, Kaur, Li, Kolter and Talwalkar, "Gradient descent on neural networks typically occurs at
  the edge of stability", ICLR 2021. Polyak, "Some methods of speeding up the convergence of
  iteration methods", 1964 (the edge with momentum).
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

PyTree = Any
Loss = Callable[..., Float[Array, ""]]
"""``loss(params)`` or ``loss(params, batch)``, one number."""
Rates = Float[Array, " lanes"] | Float[np.ndarray, " lanes"] | Sequence[float]
"""Learning rates, one a lane."""
OptimizerFactory = Callable[..., optax.GradientTransformation]
"""From a learning rate to an optimizer, as `optax.sgd`."""

MAX_RECORD_BYTES = 2**30
"""The largest record of parameters: beyond, a descent is refused."""

CACHE_BYTES = 2**25
"""What the lanes of a sweep that a CPU goes through at once may touch in a step."""


class Trace(NamedTuple):
    """What a descent leaves behind; a sweep has a leading axis ``len(etas)`` on every leaf.

    Attributes:
      loss: ``[steps + 1]``, the loss after 0, 1, ..., ``steps`` steps.
      grad_norm: ``[steps + 1]``, the Euclidean norm of the whole gradient at the same points.
      params: the parameters at the same points, every leaf ``[steps + 1, ...]``; None when they
        were not recorded.
      final_params: the parameters after the last step.
      observed: what ``observe`` returned at the same points, every leaf ``[steps + 1, ...]``; None
        when nothing was to be observed.
    """

    loss: Float[Array, "*lanes steps_and_start"]
    grad_norm: Float[Array, "*lanes steps_and_start"]
    params: PyTree
    final_params: PyTree
    observed: PyTree = None


class Lane(NamedTuple):
    """One lane of a trace in numbers.

    Attributes:
      verdict: see `verdict`.
      start: the loss before the first step.
      peak: the largest finite loss; NaN if there is none.
      peak_step: the number of steps after which the peak was first reached; -1 if there is none.
      final: the loss after the last step.
      ratio_to_best: ``final`` over the lowest finite final loss of the trace; NaN where that best
        is not positive, as a ratio then says nothing.
      first_nonfinite: the number of steps after which the loss was first NaN or infinite, or None.
    """

    verdict: str
    start: float
    peak: float
    peak_step: int
    final: float
    ratio_to_best: float
    first_nonfinite: int | None


def gradient_descent(
    loss: Loss,
    params: PyTree,
    optimizer: optax.GradientTransformation,
    steps: int,
    *,
    batch: Callable[[Array], PyTree] | None = None,
    record_params: bool = True,
    observe: Callable[[PyTree], PyTree] | None = None,
) -> Trace:
    """Descend from ``params`` and record every step, in one compiled `jax.lax.scan`.

    Args:
      loss: ``loss(params) -> scalar``, or ``loss(params, batch)`` when ``batch`` is given.
      params: the start, any pytree of floating-point arrays.
      optimizer: any optax optimizer, its learning rate baked in.
      steps: how many updates, at least 0.
      batch: a function of the step (an int32 scalar) that returns the step's mini-batch. It is
        also called with ``steps``, for the loss at the final parameters.
      record_params: whether to keep the parameters of every step.
      observe: a function of the parameters whose result is kept at every step, for example the
        number of errors or the gradient.

    Returns:
      The `Trace`, every array with a leading axis ``steps + 1``.

    Raises:
      ValueError: the loss is not a floating-point scalar, a parameter is not floating-point,
        ``steps`` is negative, or the record of the parameters and of what is observed would pass
        1 GiB.

    Example:
      >>> from chainrule import landscapes
      >>> trace = gradient_descent(landscapes.quadratic, jnp.asarray(8.0), optax.sgd(0.5), 3)
      >>> trace.params.tolist(), trace.loss.tolist()
      ([8.0, 4.0, 2.0, 1.0], [32.0, 8.0, 2.0, 0.5])
    """
    params = _checked(loss, params, steps, batch)
    if not hasattr(optimizer, "update"):
        raise ValueError(
            f"optimizer must be an optax optimizer, not {_kind(optimizer)}: give one with its "
            "learning rate, such as optax.sgd(0.1)"
        )
    _check_record(params, steps, 1, record_params, observe)
    return _single(params, loss, optimizer, steps, batch, record_params, observe)


def sweep(
    loss: Loss,
    params: PyTree,
    etas: Rates,
    steps: int,
    *,
    optimizer: OptimizerFactory = optax.sgd,
    batch: Callable[[Array], PyTree] | None = None,
    record_params: bool = False,
    observe: Callable[[PyTree], PyTree] | None = None,
) -> Trace:
    """Descend at many learning rates at once, in one compiled program.

    All lanes leave from the same ``params`` and see the same batches in the same order, by
    construction. The rates are an argument of the program: another sweep of the same number of
    rates, with the same ``loss``, ``optimizer`` and ``steps``, compiles nothing. (The functions
    are compared by identity: make a `functools.partial` once, not in the call.)

    A lane that diverges holds infinities and NaNs; the others do not notice.

    A CPU is fastest while it finds its numbers in its caches: there large losses go through in
    groups of as many lanes as fit, one group after another, which bounds the memory too.

    Args:
      loss: ``loss(params) -> scalar``, or ``loss(params, batch)`` when ``batch`` is given.
      params: the common start, any pytree of floating-point arrays.
      etas: the learning rates, positive, a one-dimensional array or sequence.
      steps: how many updates, at least 0.
      optimizer: a function from a learning rate to an optax optimizer.
      batch: see `gradient_descent`.
      record_params: whether to keep the parameters of every step of every lane.
      observe: see `gradient_descent`.

    Returns:
      The `Trace`, every array with leading axes ``[len(etas), steps + 1]``, the leaves of
      ``final_params`` with ``len(etas)``.

    Raises:
      ValueError: as `gradient_descent`; or the rates are not a non-empty, one-dimensional array
        of positive finite numbers.

    Example:
      >>> from chainrule import landscapes
      >>> trace = sweep(landscapes.quadratic, jnp.asarray(1.0), jnp.asarray([0.5, 1.5, 2.5]), 4)
      >>> trace.final_params.tolist()
      [0.0625, 0.0625, 5.0625]
      >>> verdict(trace)
      ('descending', 'descending', 'diverged')
    """
    params = _checked(loss, params, steps, batch)
    if not callable(optimizer):
        raise ValueError(
            f"optimizer must be a function of the learning rate, not {_kind(optimizer)}: give "
            "optax.sgd itself, for example, and the rates as etas"
        )
    # Rates in the precision of the parameters, but never below float32.
    with jax.numpy_dtype_promotion("standard"):
        etas = jnp.asarray(etas, jnp.result_type(jnp.float32, *jax.tree.leaves(params)))
    if etas.ndim != 1 or etas.size == 0:
        raise ValueError(
            f"etas must be a non-empty one-dimensional array, but its shape is {etas.shape}"
        )
    if not isinstance(etas, jax.core.Tracer):
        host = np.asarray(etas)
        bad = host[~(np.isfinite(host) & (host > 0))]
        if bad.size:
            raise ValueError(
                f"every learning rate must be positive and finite, but etas holds {bad.tolist()}"
            )
    _check_record(params, steps, etas.size, record_params, observe)
    return _lanes(params, etas, loss, optimizer, steps, batch, record_params, observe)


def verdict(trace: Trace) -> tuple[str, ...]:
    """Say in one word how each lane went, by the first of these rules that holds.

    1. ``"diverged"``: some loss is not finite, or the final one is above the start.
    2. ``"converged"``: the final gradient norm is at most 1e-3 of the first one.
    3. ``"oscillating"``: in at least a quarter of the last tenth of the steps (rounded up, at
       least two, so that a period of two is seen at either phase) the loss rises by more than
       1e-4 of itself.
    4. ``"descending"``: otherwise.

    A word is not a judgement: a network whose units have all died has no gradient and "converges",
    and a lane that spikes may end lowest. Read it beside the numbers of `summary`.

    Args:
      trace: a `Trace`, of a single run or of a sweep.

    Returns:
      One word a lane; a tuple of one for a single run.

    Raises:
      ValueError: the trace has more than one axis of lanes.

    Example:
      >>> from chainrule import landscapes
      >>> etas = jnp.asarray([0.01, 0.125, 0.5])
      >>> verdict(sweep(landscapes.two_well, jnp.asarray(-0.5), etas, 40))
      ('descending', 'converged', 'oscillating')
    """
    return tuple(_word(*lane) for lane in zip(*_as_lanes(trace), strict=True))


def summary(trace: Trace) -> tuple[Lane, ...]:
    """Say in numbers how each lane went: its `verdict`, start, peak, end, and the best lane's end.

    Args:
      trace: a `Trace`, of a single run or of a sweep.

    Returns:
      One `Lane` a lane; a tuple of one for a single run.

    Raises:
      ValueError: the trace has more than one axis of lanes.

    Example:
      >>> from chainrule import landscapes
      >>> trace = sweep(landscapes.quadratic, jnp.asarray(2.0), jnp.asarray([0.5, 3.0]), 2)
      >>> for lane in summary(trace):
      ...     print(lane.verdict, lane.start, lane.peak, lane.peak_step, lane.final)
      descending 2.0 2.0 0 0.125
      diverged 2.0 32.0 2 32.0
    """
    losses, _ = _as_lanes(trace)
    finals = losses[:, -1]
    best = min((float(x) for x in finals if np.isfinite(x)), default=math.nan)
    lanes = []
    for word, loss in zip(verdict(trace), losses, strict=True):
        finite = np.isfinite(loss)
        peak_step = int(np.argmax(np.where(finite, loss, -np.inf))) if finite.any() else -1
        lanes.append(
            Lane(
                verdict=word,
                start=float(loss[0]),
                peak=float(loss[peak_step]) if finite.any() else math.nan,
                peak_step=peak_step,
                final=float(loss[-1]),
                ratio_to_best=float(loss[-1]) / best if best > 0 else math.nan,
                first_nonfinite=None if finite.all() else int(np.argmin(finite)),
            )
        )
    return tuple(lanes)


def sharpness(loss: Loss, params: PyTree, *, key: Array, iterations: int = 64) -> Float[Array, ""]:
    """Return the algebraically largest eigenvalue of the Hessian of ``loss`` at ``params``.

    Lanczos iteration on Hessian-vector products: the largest eigenvalue of its tridiagonal
    matrix approaches the Hessian's from below, also where an eigenvalue of the other sign is
    larger in absolute value (plain power iteration would return that one). The cost is
    ``iterations`` Hessian-vector products, each a few gradients; the memory is a few copies of
    the parameters. Exact when there are no more parameters than iterations.

    The basis is not orthogonalised again: what that loses are repeated copies of eigenvalues
    already found, which do not move the largest one (Paige 1980).

    Args:
      loss: ``loss(params) -> scalar``, twice differentiable in reverse mode.
      params: any pytree of floating-point arrays.
      key: for the random start vector.
      iterations: at most this many Hessian-vector products.

    Returns:
      The eigenvalue, a scalar, in units of loss per squared parameter.

    Raises:
      ValueError: as `gradient_descent`, or ``iterations`` is below 1.

    References:
      Lanczos, "An iteration method for the solution of the eigenvalue problem", 1950.

    Example:
      >>> def saddle(w):
      ...     return (w[0] ** 2 - 5 * w[1] ** 2) / 2
      >>> round(float(sharpness(saddle, jnp.asarray([0.3, 0.2]), key=jax.random.key(0))), 4)
      1.0
    """
    params = _checked(loss, params, 0, None)
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, not {iterations}")
    return _sharpness(params, key, loss, iterations)


def edge(sharpness: float, optimizer: OptimizerFactory = optax.sgd) -> float:
    r"""Return the learning rate beyond which descent is predicted to leave a point.

    On a quadratic whose largest curvature is ``s``, plain descent diverges beyond
    :math:`2 / s`, descent with heavy-ball momentum :math:`\beta` beyond
    :math:`2 (1 + \beta) / s` (Polyak 1964). Elsewhere it is the prediction of the quadratic
    model at the point where the sharpness was measured.

    Args:
      sharpness: the largest eigenvalue of the Hessian, see `sharpness`.
      optimizer: what `sweep` takes. Known are ``optax.sgd`` and
        ``functools.partial(optax.sgd, momentum=beta)``.

    Returns:
      The rate; infinity when the sharpness is not positive (no edge), NaN for any other optimizer
      (no prediction).

    Example:
      >>> edge(80.0)
      0.025
      >>> edge(80.0, functools.partial(optax.sgd, momentum=0.5))
      0.0375
      >>> edge(-1.0), edge(80.0, optax.adam)
      (inf, nan)
    """
    known = optimizer is optax.sgd
    momentum = 0.0
    if isinstance(optimizer, functools.partial) and optimizer.func is optax.sgd:
        known = not optimizer.args and set(optimizer.keywords) <= {"momentum"}
        momentum = optimizer.keywords.get("momentum") or 0.0
    if not known:
        return math.nan
    return 2 * (1 + momentum) / float(sharpness) if sharpness > 0 else math.inf


def quadratic_model(loss: Loss, params: PyTree, eta: float) -> Loss:
    r"""Return the model of the loss whose minimum is the next step of plain descent.

    .. math:: m(w) = f(w_0) + \nabla f(w_0)^\top (w - w_0) + \frac{1}{2 \eta} \|w - w_0\|^2

    It touches the loss at ``params``, and its argmin is ``params - eta * gradient``: a step is
    safe where the model lies above the loss, that is where ``1 / eta`` exceeds the curvature.

    Args:
      loss: ``loss(params) -> scalar``.
      params: where the model touches the loss.
      eta: the learning rate.

    Returns:
      A function from parameters to a scalar.

    Example:
      >>> from chainrule import landscapes
      >>> model = quadratic_model(landscapes.quadratic, jnp.asarray(2.0), eta=0.5)
      >>> [float(model(jnp.asarray(w))) for w in (2.0, 1.0, 0.0)]  # f = 2, slope 2, next step 1
      [2.0, 1.0, 2.0]
    """
    value, grads = jax.value_and_grad(loss)(params)

    def model(w: PyTree) -> Float[Array, ""]:
        step = jax.tree.map(jnp.subtract, w, params)
        return value + optax.tree.vdot(grads, step) + optax.tree.vdot(step, step) / (2 * eta)

    return model


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4, 5, 6))
def _single(params, loss, optimizer, steps, batch, record_params, observe):  # type: ignore[no-untyped-def]
    return _descend(params, loss, optimizer, steps, batch, record_params, observe)


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5, 6, 7))
def _lanes(params, etas, loss, optimizer, steps, batch, record_params, observe):  # type: ignore[no-untyped-def]
    def lane(eta: Array) -> Trace:
        return _descend(params, loss, optimizer(eta), steps, batch, record_params, observe)

    lanes = etas.size
    groups = _groups(loss, params, lanes, batch)
    if groups == 1:
        return jax.vmap(lane)(etas)
    # Groups of one size compile once: the last one repeats a rate where it is not full.
    size = math.ceil(lanes / groups)
    filled = jnp.pad(etas, (0, groups * size - lanes), mode="edge").reshape(groups, size)
    trace = jax.lax.map(jax.vmap(lane), filled)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:lanes], trace)


def _groups(loss: Loss, params: PyTree, lanes: int, batch: Callable[[Array], PyTree] | None) -> int:
    """Return in how many groups the lanes of a sweep go through the machine."""
    if jax.default_backend() != "cpu":
        return 1
    arguments = (params,) if batch is None else (params, jax.eval_shape(batch, jnp.int32(0)))
    jaxpr = jax.make_jaxpr(jax.value_and_grad(loss))(*arguments)
    touched = sum(v.aval.size * v.aval.dtype.itemsize for eqn in jaxpr.eqns for v in eqn.outvars)
    return math.ceil(lanes / max(1, min(lanes, CACHE_BYTES // max(1, touched))))


def _descend(
    params: PyTree,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    steps: int,
    batch: Callable[[Array], PyTree] | None,
    record_params: bool,
    observe: Callable[[PyTree], PyTree] | None,
) -> Trace:
    # Line searches and Polyak's rate ask for the loss as well as its gradient.
    optimizer = optax.with_extra_args_support(optimizer)

    def step(carry, t):  # type: ignore[no-untyped-def]
        params, state = carry
        at = loss if batch is None else functools.partial(_on_batch, loss, batch(t))
        value, grads = jax.value_and_grad(at)(params)
        grad_norm = optax.tree.norm(grads)
        # adam, schedules and others mix dtypes, which strict promotion would refuse.
        with jax.numpy_dtype_promotion("standard"):
            updates, moved_state = optimizer.update(
                grads, state, params, value=value, grad=grads, value_fn=at
            )
            moved = optax.apply_updates(params, updates)
        # The last pass only records. Evaluating outside the scan would compile the loss twice.
        carry = jax.tree.map(
            lambda new, old: jnp.where(t < steps, new, old), (moved, moved_state), carry
        )
        observed = None if observe is None else observe(params)
        return carry, (value, grad_norm, params if record_params else None, observed)

    start = (params, optimizer.init(params))
    (final, _), (losses, norms, *recorded) = jax.lax.scan(step, start, jnp.arange(steps + 1))
    return Trace(losses, norms, recorded[0], final, recorded[1])


def _on_batch(loss: Loss, batch: PyTree, params: PyTree) -> Float[Array, ""]:
    return loss(params, batch)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _sharpness(params, key, loss, iterations):  # type: ignore[no-untyped-def]
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def along(w: Array, v: Array) -> Array:
        return jnp.vdot(jax.grad(lambda w: loss(unravel(w)))(w), v)

    def lanczos(carry, _):  # type: ignore[no-untyped-def]
        previous, v, beta, alive = carry
        # Reverse over reverse: forward mode would refuse any operator with a custom_vjp.
        u = jax.grad(along)(flat, v) - beta * previous
        alpha = jnp.vdot(u, v)
        u = u - alpha * v
        norm = jnp.linalg.norm(u)
        # An invariant subspace is exhausted when only rounding is left of the new direction.
        goes_on = alive & (norm > 10 * jnp.finfo(u.dtype).eps * (jnp.abs(alpha) + beta))
        u = jnp.where(goes_on, u / jnp.where(goes_on, norm, 1), 0)
        beta = jnp.where(goes_on, norm, 0)
        return (v, u, beta, goes_on), (alpha, beta, alive)

    v = jax.random.normal(key, flat.shape, flat.dtype)
    carry = (jnp.zeros_like(v), v / jnp.linalg.norm(v), jnp.zeros((), v.dtype), jnp.asarray(True))
    _, (alpha, beta, alive) = jax.lax.scan(lanczos, carry, length=min(iterations, flat.size))
    # The first entry is a Rayleigh quotient and cannot exceed the largest eigenvalue, which a 0
    # left behind by an exhausted subspace would do when all are negative.
    alpha = jnp.where(alive, alpha, alpha[0])
    tridiagonal = jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1)
    return jnp.linalg.eigvalsh(tridiagonal)[-1]


def floating(params: PyTree) -> PyTree:
    """Return parameters as arrays, and refuse those that have no gradient.

    Raises:
      ValueError: one is not floating-point, or there is none.
    """
    params = jax.tree.map(jnp.asarray, params)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    wrong = [
        f"params{jax.tree_util.keystr(path)} is {leaf.dtype}"
        for path, leaf in leaves
        if not jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    if wrong or not leaves:
        raise ValueError(
            "params must be a pytree of floating-point arrays, but "
            + (", ".join(wrong) or "it holds no array")
        )
    return params


def _checked(
    loss: Loss, params: PyTree, steps: object, batch: Callable[[Array], PyTree] | None
) -> PyTree:
    if not callable(loss):
        raise ValueError(
            f"loss must be a function of the parameters, not {_kind(loss)}: it comes first, and "
            f"params, here {_kind(params)}, second"
        )
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ValueError(f"steps must be an int of at least 0, not {steps!r}")
    params = floating(params)
    arguments = (params,) if batch is None else (params, jax.eval_shape(batch, jnp.int32(0)))
    value = jax.eval_shape(loss, *arguments)
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", type(value).__name__)
    if shape != () or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"loss must return a floating-point scalar, shape (), but returns {dtype} of shape "
            f"{shape}: reduce it with a mean"
        )
    return params


def _kind(value: object) -> str:
    return "an array" if hasattr(value, "shape") else f"a {type(value).__name__}"


def _check_record(
    params: PyTree,
    steps: int,
    lanes: int,
    record_params: bool,
    observe: Callable[[PyTree], PyTree] | None,
) -> None:
    kept = (params if record_params else None, observe and jax.eval_shape(observe, params))
    bytes_a_point = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))
    size = bytes_a_point * (steps + 1) * lanes
    if size > MAX_RECORD_BYTES:
        what, cure = ("the parameters", "pass record_params=False, or take fewer steps or rates")
        if observe is not None:
            what, cure = "what is kept", "keep less of them, or take fewer steps or rates"
        raise ValueError(
            f"recording {what} of {lanes} x {steps + 1} points takes "
            f"{size / 2**30:.2f} GiB, more than {MAX_RECORD_BYTES / 2**30:.0f} GiB: {cure}"
        )


def _as_lanes(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    losses, norms = np.asarray(trace.loss), np.asarray(trace.grad_norm)
    if losses.ndim not in (1, 2) or losses.shape != norms.shape:
        raise ValueError(
            "a trace holds loss and grad_norm [steps + 1] or [lanes, steps + 1], but their shapes "
            f"are {losses.shape} and {norms.shape}: take one sweep at a time"
        )
    return np.atleast_2d(losses), np.atleast_2d(norms)


def _word(loss: np.ndarray, grad_norm: np.ndarray) -> str:
    if not np.isfinite(loss).all() or loss[-1] > loss[0]:
        return "diverged"
    if grad_norm[-1] <= 1e-3 * grad_norm[0]:
        return "converged"
    tail = loss[-1 - max(2, math.ceil((len(loss) - 1) / 10)) :]
    rises = np.diff(tail) > 1e-4 * np.abs(tail[:-1])
    return "oscillating" if rises.size and rises.mean() >= 0.25 else "descending"
