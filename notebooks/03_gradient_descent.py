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
# # 3. Gradient descent and its learning rate
#
# A *loss* $\ell$ says how bad the weights $w$ are, and a start $w_0$ is given. The gradient $\nabla \ell$, the vector of
# the derivatives with respect to every weight, points uphill. Gradient descent walks downhill by
#
# $$ w_{t+1} = w_t - \eta \, \nabla \ell(w_t), $$
#
# and everything about it that one has to decide is the *learning rate* $\eta$. This notebook looks at
# what $\eta$ does: where it can be predicted, where it cannot, and what happens beyond the edge. Each
# descent is data, a `Trace` of arrays, so that runs can be laid side by side.
#
# **It takes** derivatives. **Afterwards you can** predict from one number beyond which learning rate a descent no longer settles, and tell the ways in which it fails.
#
# *Before: [2. Features made by hand](02_features.ipynb). After: [3b. The edge](03b_the_edge.ipynb), or at once [4. Backpropagation by hand](04_backpropagation.ipynb).*
#
# *The notes*: François Fleuret, "Deep Learning #3: MLP, backprop, autograd" (IfI Summer School 2018, [fleuret.org/ifi](https://fleuret.org/ifi)), and "Deep Learning Tutorials, Chapter 4: Graphs of operators, autograd, and convolutional layers". *The course*: "CS231n, Lecture 4 notes" (Stanford, spring 2017, [cs231n.stanford.edu](https://cs231n.stanford.edu)), and "Lesson 3". All of this follows them.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import data, descent, landscapes, losses
from chainrule.models import mlp
from chainrule.plots import descent as figures
from chainrule.plots import rate_colors, trajectory

# %% [markdown]
# ## A parabola, where everything is known
#
# On $\ell(w) = \frac a2 w^2$ the gradient is $a w$, so each step multiplies $w$ by $1 - \eta a$. Below
# $\eta = 1/a$ the iterates approach the minimum from one side, up to $2/a$ they jump from side to side and still
# converge, and beyond $2/a$, the *edge*, they diverge. Descent is a loop of three lines; with $a = 4$ and
# $\eta = 0.1$ each step multiplies by 0.6:


# %%
def parabola(w):
    return landscapes.quadratic(w, curvature=4.0)


w = jnp.asarray(1.0)
for _ in range(4):
    w = w - 0.1 * jax.grad(parabola)(w)
    print(f"{w:.4f}")

# %% [markdown]
# `descent.gradient_descent` is this loop as one compiled program, and `descent.sweep` runs it for many rates at
# once. Four of them, with the edge at 0.5:

# %%
etas = jnp.asarray([0.1, 0.4, 0.49, 0.51])
trace = descent.sweep(parabola, jnp.asarray(1.0), etas, 60, record_params=True)
for eta, path, lane in zip(etas, trace.params, descent.summary(trace), strict=True):
    print(
        f"eta {eta:.2f}: {np.round(np.asarray(path[:5], float), 3)} ... {lane.verdict}, loss {lane.final:.2e}"
    )

# %% [markdown]
# The words follow a stated rule (`help(descent.verdict)`), and they are only words: read them with the
# numbers beside them.
#
# ## Why a step is a step
#
# Around $w_0$, descent believes the loss to be
#
# $$ m(w) = \ell(w_0) + \nabla \ell(w_0)^\top (w - w_0) + \frac{1}{2\eta} \lVert w - w_0 \rVert^2, $$
#
# a parabola whose curvature is $1/\eta$ whatever the loss looks like. Its minimum is the next iterate.
# Where the model lies above the loss, going to its minimum must go down; where the loss is more
# curved than $1/\eta$, nothing is promised. With many weights there is a curvature for every direction, and the
# largest, the largest eigenvalue of the matrix of second derivatives, is called the *sharpness*: near a minimum,
# the edge is 2 / sharpness.
#
# ## Two wells
#
# The loss below has two minima, of which the left one is deeper. It is our reconstruction: the notes
# show such pictures and do not print the function. Twelve iterates of each walk, with the
# model of each step in orange, the iterates at the rate 0.125 in blue and those at 0.5 in vermillion:


# %%
points = jnp.linspace(-1.75, 1.3, 241)


def walk(eta, start, count=11):
    loss = landscapes.two_well
    trace = descent.gradient_descent(loss, jnp.asarray(start), optax.sgd(eta), count)

    def at(w):
        return jax.grad(loss)(w), jax.vmap(descent.quadratic_model(loss, w, eta))(points)

    slopes, models = jax.vmap(at)(trace.params)
    return trajectory.Trajectory(eta, *map(np.asarray, (trace.params, trace.loss, slopes, models)))


series = [walk(0.125, -0.5), walk(0.125, 0.5), walk(0.5, -0.5)]
trajectory.frames(series, np.asarray(points), np.asarray(jax.vmap(landscapes.two_well)(points)))

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
left, right, swing = (one.w for one in series)
assert abs(left[-1] + 1.0467) < 0.05 and abs(right[-1] - 0.9456) < 0.05
assert (np.diff(np.sign(swing[1:] + 1.0467)) != 0).all()
left, top, right = jnp.asarray([-1.0467, 0.1010, 0.9456])
assert abs(jax.vmap(jax.grad(landscapes.two_well))(jnp.stack([left, top, right]))).max() < 1e-3
assert landscapes.two_well(left) < landscapes.two_well(right) < landscapes.two_well(top)

# %% [markdown]
# The first two rows approach the left minimum, the next two the right one: descent finds *a*
# local minimum, and the start decides which. The last two rows leave from the first start with four
# times the rate. The orange parabola has become flatter than the loss at its minimum, every
# step overshoots, and the iterates end by alternating between two places.
#
# ## Four hundred rates at once
#
# A sweep is one compiled program, so there is no reason to stop at two rates. For each of 400 rates,
# the last 60 of 1,000 iterates are drawn as dots above the rate:

# %%
etas = jnp.linspace(0.0025, 1.0, 400)
trace = descent.sweep(landscapes.two_well, jnp.asarray(-0.5), etas, 1000, record_params=True)
sharpness = descent.sharpness(landscapes.two_well, jnp.asarray(-1.0467), key=jax.random.key(0))
edge = descent.edge(float(sharpness))
figures.final_against_rate(
    np.asarray(etas),
    np.asarray(trace.params[:, -60:]),
    edges={"edge at the left minimum": edge},
    marked=(0.125, 0.5),
    stationary={"minimum": -1.0467, "maximum": 0.1010, "minimum ": 0.9456},
)

# %% [markdown]
# The curvature in the left minimum is 4.573, which predicts the edge at $2 / 4.573 = 0.437$: there
# the single line splits in two. Beyond, the swing doubles its period again and again until the
# iterates fill whole bands; at 0.71 the band reaches over the hill and the walk falls into the other
# well; and beyond 0.94 it leaves the picture. One number, measured at one point, told where it starts.

# %%
print(f"sharpness {float(sharpness):.3f}, edge {edge:.4f}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert abs(float(sharpness) - 4.573) < 1e-3 and abs(edge - 0.437) < 1e-3
ends = trace.params[:, -60:]
falls, leaves = etas[ends.min(axis=1) > 0.1], etas[~(abs(ends) < 3).all(axis=1)]
assert abs(falls.min() - 0.71) < 0.005 and abs(leaves.min() - 0.945) < 0.005

# %% [markdown]
# ## A gradient that is not the gradient
#
# Stopping the gradient through one use of a parameter, *detaching* it, changes where descent goes, without
# changing the loss. In $\ell(a, b) = (a-1)^2 + (b+1)^2 + (a-b)^2$, hide the $a$ of the coupling from the
# gradient:

# %%
start = {"a": jnp.asarray(0.5), "b": jnp.asarray(-0.5)}
for detach in (False, True):
    for eta, steps in ((1e-4, 100), (1e-3, 100), (1e-1, 300)):
        final = descent.gradient_descent(
            lambda p, detach=detach: landscapes.coupled(p, detach=detach),
            start,
            optax.sgd(eta),
            steps,
        ).final_params
        if not detach:
            whole = final
        print(
            f"detach {detach!s:5}  eta {eta:g}, {steps} steps: "
            f"a = {final['a']:.4f}, b = {final['b']:.4f}"
        )

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert abs(whole["a"] - 1 / 3) < 1e-3 and abs(whole["b"] + 1 / 3) < 1e-3
assert abs(final["a"] - 1) < 1e-3 and abs(final["b"]) < 1e-3

# %% [markdown]
# The limits are $(1/3, -1/3)$ with the whole gradient and $(1, 0)$ without: the second is the rest
# point of no loss at all. The notes print one result at $\eta = 10^{-3}$ and the other at
# $10^{-4}$; the lines above show both at both.
#
# ## The same on real digits
#
# A network of 200 *hidden units* learns to tell a 5 from the other digits, on the first 1,000 training digits.
# Each unit is a linear function of the pixels, cut off below 0: $\max(0, w \cdot x + b)$, a *ReLU*. The output is a
# linear function of the units, and the loss the mean of its squared distance from the target, 1 for a 5 and 0
# for the rest. ([Notebook 4](04_backpropagation.ipynb) takes such a network apart.) All rates leave from the same
# parameters.

# %%
digits = data.mnist("train", source="embedded")
inputs = jnp.asarray(data.standardize(digits.images[:1000]).inputs)
targets = jnp.asarray(digits.labels[:1000] == 5, jnp.float32)


def loss(params):
    return losses.squared_error(mlp.apply(params, inputs)[:, 0], targets)


params = mlp.init(jax.random.key(0), (784, 200, 1))
sharpness = descent.sharpness(loss, params, key=jax.random.key(1), iterations=24)
print(f"sharpness at the start {float(sharpness):.1f}, edge {descent.edge(float(sharpness)):.4f}")

etas = (0.01, 0.125, 0.5)
trace = descent.sweep(loss, params, etas, 100)
for eta, lane in zip(etas, descent.summary(trace), strict=True):
    print(
        f"eta {eta:5g}: {lane.verdict:12} start {lane.start:.3f}, "
        f"peak {lane.peak:8.3f} after {lane.peak_step} steps, end {lane.final:.4f}"
    )
figures.losses(
    {
        f"$\\eta$ = {eta:g}": np.asarray(lane)[None]
        for eta, lane in zip(etas, trace.loss, strict=True)
    },
    colors=rate_colors(etas),
    floors={"constant predictor": float(targets.mean() * (1 - targets.mean()))},
)

# %% [markdown]
# Both large rates lie far beyond the edge, and both lanes are thrown out within three steps. What
# comes back is another network: the spike pushes most hidden units to where no digit switches them on,
# and a unit that is never on has no gradient to bring it back. At 0.125 the survivors carry on, and
# reach a lower loss than the careful rate in the same number of steps. At 0.5 hardly any survive,
# and the network predicts a constant: its gradient is tiny, and by the rule it has "converged".


# %%
def dead(params):
    hidden = inputs @ params["layer1"]["kernel"] + params["layer1"]["bias"][None, :]
    return float(jnp.mean(~jnp.any(hidden > 0, axis=0)))


for lane, eta in enumerate(etas):
    final = jax.tree.map(lambda leaf, lane=lane: leaf[lane], trace.final_params)
    print(f"eta {eta:5g}: {100 * dead(final):5.1f} % of the hidden units are dead")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
careful, large, too_large = descent.summary(trace)
assert large.peak_step <= 3 and too_large.peak_step <= 3
assert large.final < careful.final < too_large.final
assert too_large.verdict == "converged" and dead(final) > 0.9

# %% [markdown]
# ## Momentum
#
# Heavy-ball momentum (Polyak 1964) keeps a sum of the gradients, in which old ones fade by a factor $\beta$, and
# walks along that sum:
#
# $$ v_{t+1} = \beta \, v_t + \nabla \ell(w_t), \qquad w_{t+1} = w_t - \eta \, v_{t+1}. $$

# %%
w, v = jnp.asarray(1.0), 0.0
for _ in range(60):
    v = 0.9 * v + jax.grad(parabola)(w)
    w = w - 0.1 * v
trace = descent.gradient_descent(parabola, jnp.asarray(1.0), optax.sgd(0.1, momentum=0.9), 60)
print(f"by the loop {w:.6f}, by optax {trace.params[-1]:.6f}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert abs(w - trace.params[-1]) < 1e-6

# %% [markdown]
# ## Exercises
#
# 1. With momentum $\beta = 0.9$, where is the edge on the parabola with $a = 4$? Find it with a sweep, then derive
#    it: two iterates in a row determine the next, linearly.


# %%
def heavy_ball(eta):
    return optax.sgd(eta, momentum=0.9)


rates = jnp.asarray([0.4, 0.6])  # where does the verdict change?
descent.verdict(descent.sweep(parabola, jnp.asarray(1.0), rates, 500, optimizer=heavy_ball))

# %% [markdown]
# <details><summary>Solution</summary>
#
# $w_{t+1} = (1 + \beta - \eta a) w_t - \beta w_{t-1}$. It alternates without growing, $w_{t+1} = -w_t = w_{t-1}$,
# where $1 + \beta - \eta a = -1 - \beta$: the edge is $2 (1 + \beta) / a = 0.95$.
#
# ```python
# rates, start = jnp.asarray([0.93, 0.97]), jnp.asarray(1.0)
# verdicts = descent.verdict(descent.sweep(parabola, start, rates, 500, optimizer=heavy_ball))
# print(verdicts)
# assert verdicts[0] != "diverged" == verdicts[1]
# ```
#
# </details>

# %% [markdown]
# 2. From $w = -0.5$ on the two wells the edge at the start is "none". Why?

# %%
here = descent.sharpness(landscapes.two_well, jnp.asarray(-1.0467), key=jax.random.key(0))
print(here, descent.edge(float(here)))  # at the left minimum: what is it at -0.5?

# %% [markdown]
# <details><summary>Solution</summary>
#
# The curvature $6 w^2 - 2$ is $-0.5$ there: the loss curves downwards, no step size makes the
# quadratic model fail to be an upper bound, and `descent.edge` returns infinity. The edge that matters
# is the one where the walk arrives.
#
# ```python
# here = descent.sharpness(landscapes.two_well, jnp.asarray(-0.5), key=jax.random.key(0))
# print(here, descent.edge(float(here)))
# assert abs(here + 0.5) < 1e-4 and np.isinf(descent.edge(float(here)))
# ```
#
# </details>

# %% [markdown]
# 3. A landscape is squeezed: $\ell(2 w)$ instead of $\ell(w)$. What becomes of the edge?

# %%
wide = descent.sharpness(parabola, jnp.asarray(1.0), key=jax.random.key(0))
print(descent.edge(float(wide)))

# %% [markdown]
# <details><summary>Solution</summary>
#
# The curvature is four times as large, so the edge is a quarter of what it was.
#
# ```python
# squeezed = descent.sharpness(lambda w: parabola(2 * w), jnp.asarray(1.0), key=jax.random.key(0))
# print(descent.edge(float(squeezed)))
# assert abs(descent.edge(float(squeezed)) - 0.5 / 4) < 1e-4
# ```
#
# </details>
