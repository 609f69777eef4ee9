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
# # 6. X-ray
#
# Notebook 4 wrote backpropagation out by hand, one operator after the other, and checked it against
# `jax.grad`. But `jax.grad` returns only the ends: the gradients of the arguments. What flows in between
# stays inside. An x-ray shows it, for any JAX function, without changing the function: every operator
# with its value, the gradient that comes back to it, and the line of source that it stands on.
#
# **It takes** notebook 4. **Afterwards you can** look at every value and gradient inside a JAX function, and find where a NaN was born.
#
# *Before: [5. Graphs, sharing and siamese networks](05_graphs_and_siamese_networks.ipynb). After: [7. From convolution to LeNet](07_convolution_to_lenet.ipynb).*
#
# *The notes*: François Fleuret, "Deep Learning #3: MLP, backprop, autograd" (IfI Summer School 2018, [fleuret.org/ifi](https://fleuret.org/ifi)), and "Deep Learning Tutorials, Chapter 4: Graphs of operators, autograd, and convolutional layers". *The course*: "CS231n, Lecture 4 notes" (Stanford, spring 2017, [cs231n.stanford.edu](https://cs231n.stanford.edu)), and "Lesson 3". All of this follows them.

# %%
import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import SVG

from chainrule import data, losses, xray
from chainrule.models import mlp

# %% [markdown]
# ## Three numbers again
#
# $f = (x + y)\, z$ at $(-2, 5, -4)$. The function knows nothing of being looked at:


# %%
def product(x, y, z):
    return (x + y) * z


report = xray.xray(product, -2.0, 5.0, -4.0)
for node in report.nodes:
    print(f"{node.label:6} value {float(node.value):4g}   gradient {float(node.cotangent):4g}")

# %% [markdown]
# `print(report)` gives a table, with the line of source of each. The same as a picture: above the name of
# every node stands its value, in blue; below it the gradient of the result with respect to that value, in vermillion. Read
# the blue numbers from left to right and the vermillion ones from right to left: addition hands its gradient
# on to both inputs, multiplication switches them. The picture lives: drag $x$, $y$ or $z$ sideways, or type another
# number, and every value and gradient follows. `step` goes down the gradient. (Where a notebook is only shown and not
# run, the picture may be missing; [the book](play.md) has it.)

# %%
report.show(live=True)

# %% [markdown]
# It is a page: it zooms, and the arrow keys → and ← go through the backward pass one operator at a time, with the
# equation that is applied and its numbers. `/` searches, `?` lists the keys. `report.save("page.html")` keeps a page of
# the recorded numbers, `report.to_html(live=True)` returns one that lives. The sigmoid neuron of the course, its gates
# one by one:


# %%
def neuron(w, x):
    return 1 / (1 + jnp.exp(-(w[0] * x[0] + w[1] * x[1] + w[2])))


report = xray.xray(neuron, [2.0, -3.0, -3.0], [-1.0, -2.0])
report.show(live=True)

# %% [markdown]
# The gradient that arrives at the sum, 0.1966, is what the closed form $\sigma (1 - \sigma)$ of the whole sigmoid says,
# too. Drag a weight until the neuron is sure, and the gradient of all of them goes to 0.

# %%
result = report.output
print(result * (1 - result), report.grads[0][2])

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert abs(report.grads[0][2] - 0.1966) < 1e-4 and abs(result * (1 - result) - 0.1966) < 1e-4

# %% [markdown]
# ## Arrays
#
# Of a small matrix every number is shown, of a larger one a heat-map (red above 0, blue below), of the
# rest the range, the mean, the norm and the share of zeros. $\|W x\|^2$ with the numbers of the course:

# %%
W, x = jnp.array([[0.1, 0.5], [-0.3, 0.8]]), jnp.array([0.2, 0.4])
xray.xray(lambda W, x: jnp.sum(jnp.square(W @ x)), W, x).show(live=True)

# %% [markdown]
# ## Your own pass backward, graded
#
# The pass backward of this norm in your own lines: `report.grade` checks it gradient by gradient, and names the first
# that is wrong. Here somebody forgot to transpose:


# %%
def mine(values):
    q = values["dot_general_2"]  # W x
    g_q = 2 * q
    return {"dot_general_2": g_q, "W": np.outer(g_q, values["x"]), "x": values["W"] @ g_q}


report = xray.xray(lambda W, x: jnp.sum(jnp.square(W @ x)), W, x)
print(report.grade(mine))

# %% [markdown]
# ## A value that is used twice
#
# What is used twice gets two gradients back, and they add. The picture writes what each use contributes
# at its wire, and the sum below the name. `shared()` lists the same for arguments, with the lines:


# %%
def graph(w1, w2, x0):
    x1 = w1 * x0
    x2 = x0 + w2 * x1
    return w1 * (x1 + x2)


report = xray.xray(graph, 2.0, -3.0, 3.0)
SVG(report.to_svg())

# %%
for entry in report.shared():
    parts = [float(use.contribution) for use in entry.uses]
    print(
        entry.node.label,
        ":",
        " + ".join(f"{part:g}" for part in parts),
        "=",
        float(entry.node.cotangent),
    )

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert [float(entry.node.cotangent) for entry in report.shared()] == [-21, -6]

# %% [markdown]
# ## A network
#
# What stands in a `jax.named_scope` or in a function of its own is one group. A large graph starts with
# its groups closed, and a closed group shows what it hands on. Here is a small network on eight digits:

# %%
digits = data.mnist("train", source="embedded")
images = jnp.asarray(data.standardize(digits.images[:8]).inputs)
labels = jnp.asarray(digits.labels[:8])
params = mlp.init(jax.random.key(0), (784, 16, 10))


def loss(params, images, labels):
    return losses.cross_entropy(mlp.apply(params, images), labels)


report = xray.xray(loss, params, images, labels)
SVG(report.to_svg())

# %% [markdown]
# Opened: the gradient of a cross-entropy with respect to the scores is the probabilities minus the one-hot labels,
# divided by the batch. Each row of the last heat-map has one blue cell, the right answer, which is the
# only one to be pushed up.

# %%
SVG(report.to_svg(open=["apply"]))

# %% [markdown]
# Everything in the picture is plain data. The operators that a gradient of exactly zero comes through
# most, for example, are where the ReLU is closed:

# %%
for node in report.nodes:
    if node.kind == "operator" and node.cotangent is not None:
        of = node.cotangent_stats()
        if of.zeros > 0.2:
            print(
                f"{node.label:22} {of.zeros:5.0%} of its gradient is zero   {node.line.rpartition('/')[2]}"
            )

# %% [markdown]
# ## Where was this NaN born?
#
# A siamese loss compares two images through one map: their distance is to be small if they are of one
# class, large otherwise. On a pair of equal images the naive distance is 0. The loss is fine, and its
# gradient is NaN:


# %%
def distance(a, b):
    return jnp.sqrt(jnp.sum(jnp.square(a - b)))


def contrastive(kernel, a, b):
    return jnp.square(jnp.maximum(1 - distance(a @ kernel, b @ kernel), 0))


kernel = jax.random.normal(jax.random.key(1), (784, 2)) / 28
report = xray.xray(contrastive, kernel, images[0], images[0])
print("loss", report.output, "gradient", np.unique(report.grads[0]))

# %% [markdown]
# The slope of the square root at 0 is infinite, and infinity times the slope 0 of the square below it is
# not a number, *NaN*. The picture marks where both are born, and what they spread to:

# %%
SVG(report.to_svg())

# %% [markdown]
# The report names the operator and the reason; `cures` tries on this program what to write instead:

# %%
births = report.nonfinite().births
print(births[0].op, "|", births[0].cause.rule)
print("write:", report.nonfinite().cures()[0].code)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert report.output == 1 and np.isnan(report.grads[0]).all() and births[0].op == "sqrt"

# %% [markdown]
# With the cure, the gradient at two equal images is 0, as it should be:


# %%
def safe_distance(a, b):
    squared = jnp.sum(jnp.square(a - b))
    equal = squared == 0
    return jnp.where(equal, 0.0, jnp.sqrt(jnp.where(equal, 1.0, squared)))


def cured(kernel, a, b):
    return jnp.square(jnp.maximum(1 - safe_distance(a @ kernel, b @ kernel), 0))


report = xray.xray(cured, kernel, images[0], images[0])
print(report.nonfinite())
print("gradient", np.unique(report.grads[0]))

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert not report.nonfinite().births and not np.any(report.grads[0])

# %% [markdown]
# From the terminal, `chainrule xray FILE.py:FUNCTION` prints the tables and writes the page and the
# picture into a run folder; `experiments/xray_gallery.py` draws LeNet and VGG16.
#
# ## Exercises
#
# 1. Where is the NaN of `x * jnp.log(x)` at 0 born, forward or backward?

# %%
births = xray.xray(lambda x: jnp.log(x), 0.0).nonfinite().births
print([(birth.phase, birth.op) for birth in births])

# %% [markdown]
# <details><summary>Solution</summary>
#
# Forward, and not by the logarithm: that gives minus infinity, and 0 times infinity is no number.
#
# ```python
# births = xray.xray(lambda x: x * jnp.log(x), 0.0).nonfinite().births
# print([birth.op for birth in births])
# assert {"log", "mul"} <= {birth.op for birth in births}
# ```
#
# </details>

# %% [markdown]
# 2. In `x * x + x` the argument is used three times. What does each use contribute at $x = 3$?

# %%
(entry,) = xray.xray(lambda x: x * x, 3.0).shared()
print([float(use.contribution) for use in entry.uses])

# %% [markdown]
# <details><summary>Solution</summary>
#
# The product 3 and 3, the sum 1: together $2 x + 1 = 7$.
#
# ```python
# (entry,) = xray.xray(lambda x: x * x + x, 3.0).shared()
# print([float(use.contribution) for use in entry.uses])
# assert float(entry.node.cotangent) == 7
# ```
#
# </details>

# %% [markdown]
# 3. Hide one use of $x$ from the gradient, `x * jax.lax.stop_gradient(x)`. What is the gradient at 3?

# %%
print(xray.xray(lambda x: x * x, 3.0).grads)

# %% [markdown]
# <details><summary>Solution</summary>
#
# Only the use that is seen counts: 3 instead of 6, though the value is still 9.
#
# ```python
# report = xray.xray(lambda x: x * jax.lax.stop_gradient(x), 3.0)
# print(report.output, report.grads)
# assert report.output == 9 and report.grads[0] == 3
# ```
#
# </details>
