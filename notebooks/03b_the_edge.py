# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3b. The edge
#
# Notebook 3 measured the curvature at one point and predicted from it the largest learning rate that is stable there.
# But a descent moves, and the curvature moves with it. This notebook follows both along the way, and finds that they
# meet: a network trained at the rate $\eta$ becomes more and more curved until its sharpness is $2/\eta$, and stays
# there, at the *edge of stability*. Adam has such an edge too, once one knows what to measure.
#
# **It takes** [notebook 3](03_gradient_descent.ipynb). **Afterwards you can** measure how far any step of any optimizer is from its edge, and say what a descent does beyond it.
#
# *Before: [3. Gradient descent and its learning rate](03_gradient_descent.ipynb). After: [4. Backpropagation by hand](04_backpropagation.ipynb), which needs nothing of this one.*
#
# *The notes*: François Fleuret, "Deep Learning #3: MLP, backprop, autograd" (IfI Summer School 2018, [fleuret.org/ifi](https://fleuret.org/ifi)), and "Deep Learning Tutorials, Chapter 4: Graphs of operators, autograd, and convolutional layers". *The course*: "CS231n, Lecture 4 notes" (Stanford, spring 2017, [cs231n.stanford.edu](https://cs231n.stanford.edu)), and "Lesson 3". This notebook goes beyond them. It follows Cohen et al., "Gradient descent on neural networks typically occurs at the edge of stability" ([arXiv 2103.00065](https://arxiv.org/abs/2103.00065)) and "Adaptive gradient methods at the edge of stability" ([arXiv 2207.14484](https://arxiv.org/abs/2207.14484)), and Lewkowycz et al., "The large learning rate phase of deep learning: the catapult mechanism" ([arXiv 2003.02218](https://arxiv.org/abs/2003.02218)).

# %%
# %matplotlib inline
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import descent, losses
from chainrule.models import mlp
from chainrule.plots import descent as figures

# %% [markdown]
# ## Sharpness without the matrix
#
# With many weights the curvature is a matrix, the Hessian $H$, and the sharpness its largest eigenvalue. A network of a
# million weights has a Hessian of $10^{12}$ numbers. Nobody writes it down: all that is needed is its product with a
# vector, and that is the derivative of the gradient along the vector, for the price of a few gradients. Multiply by $H$
# again and again, and the direction of the largest eigenvalue wins. On a bowl whose Hessian has the eigenvalues 7 and 2:

# %%
bowl_matrix = jnp.array([[6.0, 2.0], [2.0, 3.0]])


def bowl(w):
    return w @ bowl_matrix @ w / 2


w, v = jnp.array([1.0, -1.0]), jnp.array([1.0, 0.0])
for _ in range(12):
    product = jax.jvp(jax.grad(bowl), (w,), (v,))[1]
    v = product / jnp.linalg.norm(product)
print(f"sharpness {jnp.linalg.norm(product):.4f} along {v}")

# %% [markdown]
# `descent.sharpness` is this loop with a memory (Lanczos iteration), which needs fewer products and is not misled by a
# negative eigenvalue of large size. `descent.spectrum` returns the largest few, with their directions:

# %%
top = descent.spectrum(bowl, w, 2)
print(f"eigenvalues {top.values}, directions\n{top.vectors}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert abs(jnp.linalg.norm(product) - 7) < 1e-3
assert np.allclose(top.values, [7, 2], atol=1e-4)
assert abs(abs(v @ top.vectors[0]) - 1) < 1e-4

# %% [markdown]
# ## Two over eta
#
# Along an eigenvector with eigenvalue $s$ a step of descent multiplies by $1 - \eta s$. Below $\eta = 2/s$ that is
# larger than $-1$, above it is smaller, and the walk swings ever wider. Here $2/7 = 0.2857$, and two rates on either side
# of it:

# %%
for eta in (0.28, 0.29):
    w = jnp.array([1.0, -1.0])
    for _ in range(200):
        w = w - eta * jax.grad(bowl)(w)
    print(f"eta {eta}: distance from the minimum {jnp.linalg.norm(w):.3g}")

# %% [markdown]
# `descent.stability` asks the same of any optax optimizer, without walking. It differentiates one step, and finds by
# which factor the whole Hessian could grow before the step begins to swing. One over that factor is the `ratio`: 1 is
# the edge, above it the step is unstable. `critical` is the sharpness at the edge.

# %%
for eta in (0.28, 0.29):
    optimizer = optax.sgd(eta)
    found = descent.stability(bowl, w, optimizer, optimizer.init(w))
    print(
        f"eta {eta}: sharpness {found.sharpness:.3f}, critical {found.critical:.3f}, ratio {found.ratio:.3f}"
    )

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert abs(2 / 7 - 0.2857) < 1e-4
assert abs(1 - 0.28 * 7) < 1 < abs(1 - 0.29 * 7)
assert jnp.linalg.norm(w) > 10
assert abs(found.ratio - 0.29 * 7 / 2) < 1e-4 and abs(found.critical - 2 / 0.29) < 1e-3

# %% [markdown]
# ## A network sharpens
#
# One hidden layer of 100 tanh units learns the Chebyshev polynomial $T_4(x) = 8x^4 - 8x^2 + 1$ at 20 points, in full
# batch. We walk at $\eta = 0.25$, whose edge is a sharpness of 8, and measure on the way:

# %%
x = jnp.linspace(-1, 1, 20)[:, None]
targets = 8 * x**4 - 8 * x**2 + 1


def loss(params):
    return losses.squared_error(mlp.apply(params, x, activation=jnp.tanh), targets) / 2


def draw(key, hidden=100):
    first, second = jax.random.split(key)
    std = jnp.sqrt(2 / (hidden + 1))
    return {
        "layer1": {
            "kernel": 1.9 * std * jax.random.normal(first, (1, hidden)),
            "bias": jnp.zeros(hidden),
        },
        "layer2": {"kernel": std * jax.random.normal(second, (hidden, 1)), "bias": jnp.zeros(1)},
    }


start = draw(jax.random.key(0))
step = jax.jit(lambda p: jax.tree.map(lambda w, g: w - 0.25 * g, p, jax.grad(loss)(p)))
sharpness = jax.jit(lambda p: descent.sharpness(loss, p, key=jax.random.key(1)))
params, path = start, []
for t in range(2001):
    if t % 200 == 0:
        path.append(sharpness(params))
        print(f"step {t:4}: loss {loss(params):.4f}, sharpness {path[-1]:.3f}")
    params = step(params)

# %% [markdown]
# The sharpness is half of 8 at the start, grows to it, and stays near it. `descent.watch` is this loop as
# one compiled program. Each of its readings starts from the vector that the last one found, so that a few products are
# enough. Three rates from the same start, 4,000 steps each:

# %%
watched = {
    eta: descent.watch(loss, start, optax.sgd(eta), 4000, every=20) for eta in (0.125, 0.25, 0.4)
}
figures.readings(
    np.asarray(watched[0.25].at),
    {f"$\\eta$ = {eta}": np.asarray(one.ratio)[None] for eta, one in watched.items()},
)

# %%
for eta, one in watched.items():
    lost, ratio = np.asarray(one.trace.loss), np.asarray(one.ratio)
    rises = (np.diff(lost) > 0).mean()
    print(
        f"eta {eta:5}: edge {2 / eta:4g}, sharpness {one.sharpness[0]:.2f} to {one.sharpness[-1]:.2f}, "
        f"ratio in the second half {ratio[100:].mean():.3f}, loss {lost[-1]:.4f}, rises in {rises:.0%} of the steps"
    )

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert abs(path[0] - 4) < 0.2 and max(path[:6]) < 8 and max(abs(s - 8) for s in path[-3:]) < 1
ratios = {eta: np.asarray(one.ratio) for eta, one in watched.items()}
falls = {eta: (np.diff(np.asarray(one.trace.loss)) <= 0).all() for eta, one in watched.items()}
assert falls[0.125] and not falls[0.25] and not falls[0.4]
assert ratios[0.125].max() < 0.9
assert abs(ratios[0.25][100:].mean() - 1) < 0.03 and abs(ratios[0.4][100:].mean() - 1) < 0.03
ends = [float(one.trace.loss[-1]) for one in watched.values()]
assert ends[0] > ends[1] > ends[2]

# %% [markdown]
# All three sharpen: this is *progressive sharpening*. At 0.4 the ratio is 1 within a few hundred steps, at 0.25 after more
# than a thousand, at 0.125 it is still on its way. Until the ratio first reaches 1, the loss falls at every
# step. At the edge it rises now and then, and falls in the long run: the largest rate ends lowest.
#
# The quadratic model says that a descent beyond its edge must leave. It does, but not far: as it swings wider across
# the steep direction, it drifts to where that direction is less steep, and the swing dies down (Damian et al.,
# "Self-stabilization", [arXiv 2209.15594](https://arxiv.org/abs/2209.15594)). The edge is no wall; it is where the
# descent lives.
#
# ## The catapult
#
# What if the descent *starts* beyond its edge? A network of two layers without an activation, on one input, multiplies
# them: $f = u \cdot v / \sqrt n$, with $n$ numbers in $u$ and in $v$. Let the loss be $f^2 / 2$. Its sharpness is near
# $\lambda = (|u|^2 + |v|^2) / n$, and a step of descent changes $f$ and $\lambda$ by a rule that needs nothing else:
#
# $$ f \leftarrow f \left(1 - \eta \lambda + \tfrac{\eta^2 f^2}{n}\right), \qquad \lambda \leftarrow \lambda + \tfrac{\eta f^2}{n} \, (\eta \lambda - 4). $$
#
# For $\eta\lambda$ between 2 and 4 the first factor is below $-1$ while $f$ is small, so $f$ grows. But the bracket on the
# right is negative: the larger $f$, the faster $\lambda$ falls, and when $\eta\lambda$ is below 2, $f$ shrinks. Beyond 4
# both grow.

# %%
n = 1000
u, v = jax.random.normal(jax.random.key(0), (2, n))
curvature = (u @ u + v @ v) / n
for factor in (1.9, 2.1, 3.9, 4.1):
    f, lam, eta, peak = u @ v / jnp.sqrt(n), curvature, factor / curvature, 0.0
    first = f**2 / 2
    for _ in range(100):
        f, lam = f * (1 - eta * lam + eta**2 * f**2 / n), lam + eta * f**2 / n * (eta * lam - 4)
        peak = jnp.fmax(peak, f**2 / 2)
    print(
        f"eta lambda {factor}: peak / start {peak / first:8.3g}, end {f**2 / 2:.1e}, eta lambda {eta * lam:.2f}"
    )

# %% [markdown]
# The same as descents on the $2n$ numbers themselves, in one sweep:

# %%
etas = jnp.array([1.9, 2.1, 3.9, 4.1]) / curvature
trace = descent.sweep(lambda p: jnp.square(p[0] @ p[1] / jnp.sqrt(n)) / 2, (u, v), etas, 100)
figures.losses(
    {
        f"$\\eta\\lambda$ = {name}": np.asarray(lane)[None]
        for name, lane in zip((1.9, 2.1, 3.9, 4.1), trace.loss, strict=True)
    },
    ylabel="loss",
)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
calm, low, high, lost = np.asarray(trace.loss)
assert (np.diff(calm[:20]) < 0).all() and not np.isfinite(lost[-1])
assert low.max() > 2 * low[0] and low[-1] < 1e-4 * low[0]
assert high.max() > 100 * high[0] and high[-1] < 1e-4 * high[0]
final = [leaf[1:3] for leaf in trace.final_params]
assert (etas[1:3] * sum((leaf**2).sum(axis=1) for leaf in final) / n < 2).all()

# %% [markdown]
# At 1.9 the loss falls. At 2.1 and 3.9 it is thrown up first, and lands where $\lambda$ is below $2/\eta$. At 4.1 it
# never comes back.
#
# ## Adam has an edge
#
# Adam divides each weight's average gradient $m$ by the root of its average square:
#
# $$ m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad w \leftarrow w - \eta \, P^{-1} m, \qquad P = \mathrm{diag}(\sqrt{\hat\nu} + \epsilon). $$
#
# ($\hat\nu$ is the average of $g^2$; both averages are corrected for their start at 0.) So what counts is not $H$ but
# $P^{-1} H$, the *preconditioned* Hessian. And averaging stabilises. Take one weight of curvature $a$, with $P = 1$. Where
# it swings without growing, each step turns the signs of $w$ and of $m$: the new average is
# $m = (1 - \beta_1)\, a w / (1 + \beta_1)$, and $2 w = \eta m$. The edge is at
#
# $$ a = \frac{2 + 2 \beta_1}{(1 - \beta_1)\, \eta} = \frac{38}{\eta} \quad \text{at } \beta_1 = 0.9. $$
#
# The loop agrees:

# %%
for edges in (37.5, 38.5):
    w, m, eta = 1.0, 0.0, 0.1
    for _ in range(2000):
        m = 0.9 * m + 0.1 * (edges / eta) * w
        w = w - eta * m
    print(f"curvature {edges} / eta: w = {w:.3g}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert abs((2 + 2 * 0.9) / (1 - 0.9) - 38) < 1e-9
assert abs(w) > 10

# %% [markdown]
# Now the network, with Adam at $\eta = 0.01$. With 301 weights one can still write the Hessian down, divide its rows by
# $P$, and compare the largest eigenvalue with $38 / \eta$. `descent.stability` needs no matrix, and knows nothing of Adam
# but its step; the two agree to a thousandth, as the average fades a little in that step:

# %%
optimizer = optax.adam(0.01)
params, state = start, optimizer.init(start)
update = jax.jit(optimizer.update)
for _ in range(1000):
    updates, state = update(jax.grad(loss)(params), state, params)
    params = optax.apply_updates(params, updates)

flat, unravel = jax.flatten_util.ravel_pytree(params)
hessian = jax.jit(jax.hessian(lambda w: loss(unravel(w))))(flat)
nu, _ = jax.flatten_util.ravel_pytree(state[0].nu)
preconditioner = jnp.sqrt(nu / (1 - 0.999**1000)) + 1e-8
by_hand = np.linalg.eigvals(np.asarray(hessian / preconditioner[:, None])).real.max() / (38 / 0.01)
found = descent.stability(loss, params, optimizer, state)
print(
    f"by hand {by_hand:.4f}, by descent.stability {found.ratio:.4f}; sharpness {found.sharpness:.1f}"
)

# %%
adam = descent.watch(loss, start, optimizer, 4000, every=20)
figures.readings(
    np.asarray(adam.at),
    {"Adam, $\\eta$ = 0.01": np.asarray(adam.ratio)[None]},
    ylabel="preconditioned sharpness over 38 / $\\eta$",
)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert flat.size == 301
assert abs(by_hand - found.ratio) < 2e-3
assert abs(np.asarray(adam.ratio)[100:].mean() - 1) < 0.04
assert np.isnan(adam.ratio[0]) and found.sharpness > 20

# %% [markdown]
# Adam climbs to its own edge and stays there. The plain sharpness says nothing here: it is far above that of the plain
# descents, and goes on growing. (The first reading is missing: before its first step Adam has no average to divide by.)
#
# ## Exercises
#
# 1. Nesterov's momentum looks ahead before it takes the gradient. Heavy ball moves the edge up to
#    $2 (1 + \beta) / \eta$; where is Nesterov's? Measure it on the bowl, then guess the formula.

# %%
for beta in (0.5, 0.9):
    optimizer = optax.sgd(0.1, momentum=beta)  # and with nesterov=True?
    found = descent.stability(bowl, jnp.ones(2), optimizer, optimizer.init(jnp.ones(2)))
    print(f"beta {beta}: critical sharpness {found.critical:.3f}")

# %% [markdown]
# <details><summary>Solution</summary>
#
# $2 (1 + \beta) / ((1 + 2 \beta)\, \eta)$: 15 and 13.571, below the 20 of plain descent. Looking ahead makes the edge lower, not higher.
#
# ```python
# for beta, edge in ((0.5, 15.0), (0.9, 13.571)):
#     optimizer = optax.sgd(0.1, momentum=beta, nesterov=True)
#     found = descent.stability(bowl, jnp.ones(2), optimizer, optimizer.init(jnp.ones(2)))
#     print(found.critical)
#     assert abs(found.critical - edge) < 1e-2
#     assert abs(2 * (1 + beta) / ((1 + 2 * beta) * 0.1) - edge) < 1e-3
# ```
#
# </details>

# %% [markdown]
# 2. The descent at $\eta = 0.25$ lives at its edge. Halve the rate there. What does the ratio do at once, and what
#    later? Does the loss still rise?

# %%
at_edge = watched[0.25].trace.final_params
print(f"sharpness {sharpness(at_edge):.3f}: the edge of 0.25 is 8, that of 0.125 is 16")

# %% [markdown]
# <details><summary>Solution</summary>
#
# The ratio is halved at once. From then on the loss falls at every step, and the network sharpens again, towards 16.
#
# ```python
# slower = descent.watch(loss, at_edge, optax.sgd(0.125), 4000, every=20)
# print(slower.ratio[0], slower.ratio[-1])
# assert abs(slower.ratio[0] - 0.5) < 0.05 and slower.ratio[-1] > slower.ratio[0] + 0.05
# assert (np.diff(np.asarray(slower.trace.loss)) <= 0).all()
# ```
#
# </details>

# %% [markdown]
# 3. Where is the edge of Adam without its first average, $\beta_1 = 0$ (RMSProp)? Compute it from the formula above, and
#    check it in the loop above.

# %%
beta1 = 0.9
print(f"{(2 + 2 * beta1) / (1 - beta1):.3f} / eta")  # and with beta1 = 0?

# %% [markdown]
# <details><summary>Solution</summary>
#
# $2/\eta$, as that of plain descent: the average of the gradients alone makes 38 of it.
#
# ```python
# for edges, leaves in ((1.99, False), (2.01, True)):
#     w = 1.0
#     for _ in range(2000):
#         w = w - 0.1 * (edges / 0.1) * w
#     print(edges, w)
#     assert (abs(w) > 1) == leaves
# ```
#
# </details>
