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
# # 1. Threshold units and the perceptron
#
# The oldest artificial neuron adds up its inputs $x = (x_1, \ldots, x_n)$, each times a *weight* $w_i$, and
# says 1 if the sum reaches a threshold, else 0:
#
# $$ f(x) = \mathbf 1\{ w \cdot x + b \ge 0 \}, \qquad w \cdot x = w_1 x_1 + \dots + w_n x_n. $$
#
# The *bias* $b$ is the threshold with its sign turned, and $\mathbf 1\{\ldots\}$ is 1 where the condition
# holds and 0 where it does not.
#
# McCulloch and Pitts (1943) gave it Boolean inputs and one weight common to all of them; Rosenblatt's
# perceptron (1957) gave it real inputs and a weight each, and, what is more, a rule that finds the
# weights. This notebook goes from the one to the other, and to the first thing that neither can do.
#
# Both had nerve cells in mind: inputs as signals at the *dendrites*, weights as the strength of *synapses*, the sum in
# the cell body, and the output as the rate of impulses along the *axon*. Take it as a metaphor, and with care; the
# course warns of it. There are many kinds of neurons, dendrites compute non-linear functions of their own, a synapse
# changes with time where a weight is one number, and when the impulses come may matter beside their rate. Nothing below rests on the likeness.
#
# **It takes** school algebra and a little Python. **Afterwards you can** build any Boolean function of threshold units, find a unit's weights by Rosenblatt's rule, and show that no line computes XOR.
#
# The same [signs and colours](index.md#signs-and-colours) serve in all nine notebooks.
#
# *After: [2. Features made by hand](02_features.ipynb).*
#
# *The notes*: François Fleuret, "Deep Learning #3: MLP, backprop, autograd" (IfI Summer School 2018, [fleuret.org/ifi](https://fleuret.org/ifi)), and "Deep Learning Tutorials, Chapter 4: Graphs of operators, autograd, and convolutional layers". *The course*: "CS231n, Lecture 4 notes" (Stanford, spring 2017, [cs231n.stanford.edu](https://cs231n.stanford.edu)), and "Lesson 3". All of this follows them.

# %%
# %matplotlib inline
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import data
from chainrule.models import perceptron, threshold
from chainrule.plots import perceptron as figures

# %% [markdown]
# ## Gates with weights set by hand
#
# With both weights at 1, the bias alone makes the gate: $-\frac12$ is reached by one input that is on,
# $-\frac32$ only by two. A weight of $-1$ and a bias of $\frac12$ negate.
#
# Parameters are plain data in all of these notebooks: a nested dictionary, in which each layer has a `kernel`,
# a row an input and a column a unit, and a `bias`, a number a unit. AND is one layer of one unit:

# %%
table = threshold.rows(2)  # all inputs: 00, 01, 10, 11
print("AND:", threshold.AND)
print("u v   OR  AND")
for (u, v), either, both in zip(
    table, threshold.apply(threshold.OR, table), threshold.apply(threshold.AND, table), strict=True
):
    print(f"{u} {v}   {either:2d}  {both:3d}")
print("NOT 0, 1:", threshold.apply(threshold.NOT, threshold.rows(1)))

# %% [markdown]
# ## Any Boolean function
#
# A Boolean function gives a 0 or a 1 for each of the $2^n$ rows of its truth table. With OR, AND and NOT one can build every Boolean function. The construction is short: for every row
# of the truth table that is true, one unit that fires on that row and no other (weight $+1$ where the
# row has a 1, $-1$ where it has a 0), and an OR over these units. It is also wasteful, up to
# $2^n$ units, which is one reason to look for something better than writing tables down.

# %%
rng = np.random.default_rng(0)
for n in (2, 3, 8, 10):
    wanted = rng.integers(0, 2, 2**n)
    network = threshold.from_truth_table(wanted)
    units = network["layer1"]["kernel"].shape[1]
    right = bool((threshold.apply(network, threshold.rows(n)) == jnp.asarray(wanted)).all())
    print(f"{n:2d} inputs: {units:4d} units, all {2**n} rows right: {right}")

# %% [markdown]
# ## The same unit, found
#
# The weights of AND need not be set by hand. A step has no slope to go down. But the *sigmoid* of the same
# sum, $\sigma(s) = 1 / (1 + e^{-s})$, rises smoothly from 0 to 1 and can be read as the probability of a 1.
# Make the probabilities of the four right answers as large as can be, a small step at a time ([notebook
# 3](03_gradient_descent.ipynb) is about that), then put the threshold back:

# %%
found = threshold.descend([0, 0, 0, 1])
for name, unit in (("by hand", threshold.AND), ("found", found)):
    weights, bias = np.asarray(unit["layer1"]["kernel"])[:, 0], float(unit["layer1"]["bias"][0])
    print(f"{name:8}: w = {np.round(weights, 2)}, b = {bias:5.2f} ->", threshold.apply(unit, table))

# %% [markdown]
# Other numbers, the same gate: the line $w \cdot x + b = 0$ only has to pass between the one corner of
# the square and the three others.
#
# ## The perceptron's rule
#
# Given examples $x_n$ with targets $y_n \in \{-1, +1\}$, Rosenblatt's rule starts from $w = 0$ and walks
# through them. Where $y_n (w \cdot x_n) \le 0$, the example is on the wrong side, and
#
# $$ w \leftarrow w + y_n x_n. $$
#
# Each change turns the line towards the example that caused it. It may spoil others; and yet, if
# *some* line separates the two classes, the walk ends (Novikoff 1962): with all examples within $R$ of
# the origin, and all of them at least a margin $\gamma$ away from that line, after at most $(R / \gamma)^2$ changes.
#
# Here is a set in the plane. The rule is a loop of four lines; a constant third input of 1 has the bias as its weight:

# %%
points = jax.random.uniform(jax.random.key(3), (40, 2), minval=-1.0)
score = points[:, 0] + 0.8 * points[:, 1] - 0.1
apart = jnp.flatnonzero(jnp.abs(score) > 0.15)[:20]
points, targets = points[apart], jnp.where(score[apart] > 0, 1, -1)

w = np.zeros(3)
for _ in range(10):
    for x, y in zip(np.asarray(points), np.asarray(targets), strict=True):
        if y * (w @ [*x, 1]) <= 0:
            w = w + y * np.array([*x, 1])
print("weights:", np.round(w[:2], 3), "bias:", w[2])

# %% [markdown]
# `perceptron.path` runs the same loop and returns the weights after every example. The line after every change:

# %%
figures.changes(
    *jax.device_get((points, targets, perceptron.path(points, targets, epochs=10, bias=True)))
)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert np.allclose(w, perceptron.path(points, targets, epochs=10, bias=True)[-1], atol=1e-5)

# %% [markdown]
# ## On real digits
#
# Zeros against ones of MNIST, images of 28 x 28 = 784 pixels, no bias, in the order of the file. One walk
# through all examples is an *epoch*. `perceptron.fit` makes the same changes as the plain loop, but tests many
# examples with one product and jumps to the first mistake. Besides the last weights it keeps the *average* of
# the weights after every example, which often does better on digits that were not walked over, the *test* set:

# %%
train, test = (data.mnist(split, source="embedded") for split in ("train", "test"))


def two(digits, negative, positive):
    chosen = np.isin(digits.labels, (negative, positive))
    inputs = jnp.asarray(digits.images[chosen].reshape(-1, 784))
    return inputs, jnp.where(jnp.asarray(digits.labels[chosen]) == positive, 1, -1)


fit = perceptron.fit(*two(train, 0, 1), 20, test=two(test, 0, 1))
print("epoch  changes  train error  test error")
for epoch in range(int(fit.epochs)):
    print(
        f"{epoch:5d}  {fit.changes[epoch]:7d}  {100 * fit.errors.train[epoch]:9.2f} %"
        f"  {100 * fit.errors.test[epoch]:8.2f} %"
    )
print(f"{fit.changes.sum()} changes; the bound allows {float(fit.bound):.0f}")

# %%
figures.weight_images(
    {"last weights": np.asarray(fit.weights), "averaged weights": np.asarray(fit.averaged)}
)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert fit.converged and 15 <= int(fit.changes.sum()) <= 25 <= float(fit.bound)

# %% [markdown]
# The weights are a picture: red where ink speaks for a one, blue where it speaks for a zero. Nobody
# drew it; it is a sum of some twenty digits that were once on the wrong side.
# (`python experiments/perceptron.py --data-dir FOLDER` walks over the whole training set.)
#
# ## What it cannot do
#
# XOR is true when exactly one of two inputs is on. Suppose a line did it; then
#
# $$ b < 0, \quad w_1 + b \ge 0, \quad w_2 + b \ge 0, \quad w_1 + w_2 + b < 0. $$
#
# The middle two add up to $w_1 + w_2 + 2b \ge 0$, the outer two to $w_1 + w_2 + 2b < 0$. There is no
# such line, and the perceptron's walk never ends:

# %%
inputs, targets = threshold.rows(2), jnp.asarray([-1, 1, 1, -1])
fit = perceptron.fit(inputs, targets, max_epochs=1000, bias=True)
print(
    f"after {fit.epochs} epochs: converged {bool(fit.converged)}, last changes {fit.changes[-5:]}"
)

# %% [markdown]
# Of the 16 functions of two inputs, how many can one unit compute?

# %%
separable = [
    outputs
    for outputs in itertools.product((0, 1), repeat=4)
    if perceptron.fit(
        inputs, jnp.asarray([2 * bit - 1 for bit in outputs]), max_epochs=50, bias=True
    ).converged
]
print(
    len(separable), "of 16; the others are", set(itertools.product((0, 1), repeat=4)) - {*separable}
)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
others = set(itertools.product((0, 1), repeat=4)) - {*separable}
assert len(separable) == 14 and others == {(0, 1, 1, 0), (1, 0, 0, 1)}

# %% [markdown]
# All but XOR and its negation. The way out is the next notebook: give the unit a better input.
#
# ## Exercises
#
# 1. Write "$u$ and not $v$" as one threshold unit.

# %%
mine = {
    "layer1": {"kernel": jnp.array([[1.0], [1.0]]), "bias": jnp.array([-0.5])}
}  # this is OR: change it
print(table[:, 0] & (1 - table[:, 1]), "wanted")
print(threshold.apply(mine, table))

# %% [markdown]
# <details><summary>Solution</summary>
#
# $w = (1, -1)$, $b = -\frac12$: only $u = 1, v = 0$ reaches 0.
#
# ```python
# unit = {"layer1": {"kernel": jnp.array([[1.0], [-1.0]]), "bias": jnp.array([-0.5])}}
# print(threshold.apply(unit, table))
# assert threshold.apply(unit, table).tolist() == [0, 0, 1, 0]
# ```
#
# </details>

# %% [markdown]
# 2. Walk 4 against 9 instead of 0 against 1 with `max_epochs=50`. Does it end? Compare the test errors
#    of the last and of the averaged weights.

# %%
mine = perceptron.fit(
    *two(train, 0, 1), 20, test=two(test, 0, 1)
)  # change the digits and the epochs
print(bool(mine.converged), mine.changes[:10])
inputs, targets = two(test, 0, 1)
print(float((targets * perceptron.apply(mine.averaged, inputs) <= 0).mean()))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# fit = perceptron.fit(*two(train, 4, 9), 50, test=two(test, 4, 9))
# inputs, targets = two(test, 4, 9)
# for weights in (fit.weights, fit.averaged):
#     wrong = targets * perceptron.apply(weights, inputs) <= 0
#     print(bool(fit.converged), float(wrong.mean()))
# ```
#
# </details>

# %% [markdown]
# 3. Does the walk need more changes if all pixels are ten times as large?

# %%
scale = 1
inputs, targets = two(train, 0, 1)
print(perceptron.fit(inputs.astype(jnp.float32) * scale, targets, 20).changes.sum())

# %% [markdown]
# <details><summary>Solution</summary>
#
# No: every score and every change grows alike, so that the same examples are wrong, and the bound
# $(R / \gamma)^2$ is a ratio. For inputs that stay whole numbers, even to the bit:
#
# ```python
# inputs, targets = two(train, 0, 1)
# one, ten = (perceptron.fit(inputs.astype(jnp.float32) * scale, targets, 20) for scale in (1, 10))
# print(one.changes.sum(), ten.changes.sum())
# assert (one.changes == ten.changes).all()
# ```
#
# </details>
