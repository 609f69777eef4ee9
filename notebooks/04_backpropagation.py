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
# # 4. Backpropagation by hand
#
# Gradient descent asks one question of a network, again and again: if this weight were a little larger,
# how would the loss change? A network has thousands of weights and one loss. Backpropagation answers
# for all of them at once, at the price of about two more passes, by walking through the computation
# from its end to its start. There is nothing in it but the chain rule. This notebook writes it out,
# number by number, and never believes a gradient that it has not checked.
#
# **It takes** the chain rule, matrix products, and the descent of notebook 3. **Afterwards you can** write the backward pass of a network line by line, and find the line in which a gradient goes wrong.
#
# *Before: [3. Gradient descent and its learning rate](03_gradient_descent.ipynb). After: [5. Graphs, sharing and siamese networks](05_graphs_and_siamese_networks.ipynb).*
#
# *The notes*: François Fleuret, "Deep Learning #3: MLP, backprop, autograd" (IfI Summer School 2018, [fleuret.org/ifi](https://fleuret.org/ifi)), and "Deep Learning Tutorials, Chapter 4: Graphs of operators, autograd, and convolutional layers". *The course*: "CS231n, Lecture 4 notes" (Stanford, spring 2017, [cs231n.stanford.edu](https://cs231n.stanford.edu)), and "Lesson 3". All of this follows them.

# %%
# %matplotlib inline
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import data, descent, losses, xray
from chainrule.check import check_gradients
from chainrule.models import mlp
from chainrule.ops import activations as functions
from chainrule.ops.activations import relu, relu_backward, sigmoid, sigmoid_backward
from chainrule.ops.elementary import add, add_backward, multiply, multiply_backward
from chainrule.ops.linear import linear, linear_backward
from chainrule.plots import COLORS, capacity, grid, styled
from chainrule.plots import backpropagation as figures

# %% [markdown]
# ## Three numbers
#
# $f = (x + y)\, z$ at $(-2, 5, -4)$. Forward, from the inputs to the result:

# %%
x, y, z = jnp.array([-2.0, 5.0, -4.0])
q = add(x, y)
f = multiply(q, z)
print(f"q = {q:g}, f = {f:g}")

# %% [markdown]
# Backward, from the result to the inputs. The gradient of $f$ with respect to itself is 1. Each operator is handed
# the gradient with respect to its output, always called `g`, and returns those with respect to its inputs. It need not
# know what comes before it or after it:

# %%
g = jnp.array(1.0)
g_q, g_z = multiply_backward(g, q, z)
g_x, g_y = add_backward(g_q, x, y)
print(f"df/dq = {g_q:g}, df/dx = {g_x:g}, df/dy = {g_y:g}, df/dz = {g_z:g}")

# %% [markdown]
# `jax.grad` does the same by itself. Here it is never the answer, but the check:

# %%
print([float(slope) for slope in jax.grad(lambda x, y, z: (x + y) * z, argnums=(0, 1, 2))(x, y, z)])

# %% [markdown]
# The same as a picture: above each name its value, in blue; below it the gradient, in vermillion. It lives: drag $x$, $y$
# or $z$ sideways, or type another number, and watch what addition and multiplication hand back. (Where a notebook is
# only shown and not run, it may be missing; [the book](play.md) has it.)

# %%
xray.xray(lambda x, y, z: (x + y) * z, x, y, z).show(live=True)

# %% [markdown]
# ## A rule for each operator
#
# In this package the rule of an operator `f` stands right below it and is called `f_backward`
# (`chainrule.ops.backward_of(f)` finds it). These are all that a multi-layer perceptron needs, and a few more:
#
# | operator | forward | what goes back | in a word |
# | --- | --- | --- | --- |
# | `add` | $x + y$ | $g$ and $g$ | distributes |
# | `multiply` | $x \odot y$ | $g \odot y$ and $g \odot x$ | switches |
# | `maximum` | $\max(x, y)$ | $g$ to the larger, 0 to the other | routes |
# | `relu` | $\max(x, 0)$ | $g$ where $x > 0$, else 0 | a gate |
# | `tanh` | $\tanh x$ | $g \odot (1 - \tanh^2 x)$ | closes at both ends |
# | `sigmoid` | $\sigma(x)$ | $g \odot \sigma(x) (1 - \sigma(x))$ | never more than a quarter |
# | `linear` | $X W + \mathbf 1 b^\top$ | $G W^\top$, $X^\top G$ and $G^\top \mathbf 1$ | two products |
# | `squared_error` | $\frac 1n \sum (p - t)^2$ | $\frac{2 g}{n} (p - t)$ | where it begins |
#
# Here $\odot$ multiplies element by element, $\sigma(x) = 1 / (1 + e^{-x})$, $\mathbf 1$ is a column of ones, one a
# sample, $X$ has a sample a row, and $G$ is the $g$ of a matrix; $p$ are $n$ predictions and $t$ their targets.
#
# And one thing that is no operator: a value that is **used twice** gets two gradients back, and they
# are added. The sigmoid neuron of the course, with the sigmoid as one operator instead of four:

# %%
w0, x0, w1, x1, w2 = jnp.array([2.0, -1.0, -3.0, -2.0, -3.0])
s = add(add(multiply(w0, x0), multiply(w1, x1)), w2)
g_s = sigmoid_backward(jnp.array(1.0), s)
print(f"s = {s:.2f}, f = {sigmoid(s):.2f}, df/ds = {g_s:.2f}")
for name, gates in (("w0, x0", (w0, x0)), ("w1, x1", (w1, x1))):
    print(f"df by {name}:", " ".join(f"{slope:.2f}" for slope in multiply_backward(g_s, *gates)))
print(f"df by w2: {g_s:.2f}")


# %%
def neuron(w0, x0, w1, x1, w2):
    return jax.nn.sigmoid(w0 * x0 + w1 * x1 + w2)


xray.xray(neuron, w0, x0, w1, x1, w2).show(live=True)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert (f, g_x, g_y, g_z) == (-12, -4, -4, 3)
assert abs(multiply_backward(g_s, w0, x0)[1] - 0.3932) < 1e-4

# %% [markdown]
# The course prints 0.40 where this prints 0.39, because it rounds on the way: $2 \times 0.20$.
#
# ## A network, forward
#
# A *multi-layer perceptron* alternates affine maps, each with a matrix of weights $w^{(l)}$ and a bias $b^{(l)}$, and
# *activations* $\sigma$, functions of one number such as the ReLU, $\max(0, s)$. For one sample, a column $x^{(0)}$,
# the layers $l = 1, 2, \ldots$ give
#
# $$ s^{(l)} = w^{(l)} x^{(l-1)} + b^{(l)}, \qquad x^{(l)} = \sigma(s^{(l)}). $$
#
# Here a sample is a row, so that a batch is a matrix $X$ and every product appears transposed:
# $S = X W + \mathbf 1 b^\top$ with $W$ the transpose of the notes' $w$. Six samples, three inputs, five
# hidden ReLU units, two outputs:

# %%
rng = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


params = {
    "layer1": {"kernel": normal(3, 5), "bias": normal(5)},
    "layer2": {"kernel": normal(5, 2), "bias": normal(2)},
}
inputs, targets = normal(6, 3), normal(6, 2)

x_0 = inputs
s_1 = linear(x_0, **params["layer1"])
x_1 = relu(s_1)
s_2 = linear(x_1, **params["layer2"])
loss = losses.squared_error(s_2, targets)
print(f"loss {loss:.4f}")

# %% [markdown]
# ## And backward
#
# The notes' four equations, for one sample, from the last layer to the first:
#
# $$
# \frac{\partial \ell}{\partial s^{(l)}} = \frac{\partial \ell}{\partial x^{(l)}} \odot \sigma'(s^{(l)}),
# \qquad
# \frac{\partial \ell}{\partial x^{(l-1)}} = {w^{(l)}}^\top \frac{\partial \ell}{\partial s^{(l)}},
# $$
#
# $$
# \frac{\partial \ell}{\partial w^{(l)}} = \frac{\partial \ell}{\partial s^{(l)}} {x^{(l-1)}}^\top,
# \qquad
# \frac{\partial \ell}{\partial b^{(l)}} = \frac{\partial \ell}{\partial s^{(l)}}.
# $$
#
# The left pair on top is the walk itself; the pair below picks up what the walk passes by. For a
# batch the last two are sums over the samples, which the matrix products do without being asked. In
# code it is one line for each line of the forward pass, in reverse:

# %%
g_s2, _ = losses.squared_error_backward(jnp.array(1.0), s_2, targets)
g_x1, g_w2, g_b2 = linear_backward(g_s2, x_1, **params["layer2"])
g_s1 = relu_backward(g_x1, s_1)
g_x0, g_w1, g_b1 = linear_backward(g_s1, x_0, **params["layer1"])

figures.heatmaps(
    [
        {"$x^{(0)}$": x_0, "$s^{(1)}$": s_1, "$x^{(1)}$": x_1, "$s^{(2)}$": s_2},
        {
            r"$\partial\ell / \partial x^{(0)}$": g_x0,
            r"$\partial\ell / \partial s^{(1)}$": g_s1,
            r"$\partial\ell / \partial x^{(1)}$": g_x1,
            r"$\partial\ell / \partial s^{(2)}$": g_s2,
        },
    ],
    digits=2,
)

# %% [markdown]
# Above what was computed from left to right, one sample a row; below the gradient of the loss with respect to each
# of these numbers, computed from right to left. Look at the zeros of $x^{(1)}$, where the ReLU was
# closed: in $\partial\ell / \partial s^{(1)}$, and only from there on, the same places are zero. What
# a unit did not let pass forward, it does not let pass backward.
#
# For any number of layers they are two loops. The first goes forward and keeps what the second needs on its way back:

# %%
kept, x = [], inputs
for name, layer in params.items():
    s = linear(x, **layer)
    kept.append((name, x, s))
    x = relu(s)  # behind the last layer nobody uses it

g, grads = g_s2, {}
for name, x, s in reversed(kept):
    if name != "layer2":
        g = relu_backward(g, s)
    g, g_w, g_b = linear_backward(g, x, **params[name])
    grads[name] = {"kernel": g_w, "bias": g_b}
print("layer1, kernel: the same numbers", bool(jnp.all(grads["layer1"]["kernel"] == g_w1)))

# %% [markdown]
# `mlp.forward` and `mlp.backward` are these two loops:

# %%
activations = mlp.forward(params, inputs)
gradients = mlp.backward(params, activations, g_s2)
by_jax = jax.grad(lambda p: losses.squared_error(mlp.apply(p, inputs), targets))(params)
for layer, ours in (("layer1", g_w1), ("layer2", g_w2)):
    for name, grads in (("mlp.backward", gradients.params), ("jax.grad", by_jax)):
        gap = jnp.max(jnp.abs(ours - grads[layer]["kernel"]))
        print(f"{layer}, kernel: largest difference from {name} {gap:.1g}")

# %% [markdown]
# ## Never believe a gradient
#
# A wrong gradient rarely looks wrong: the loss still falls, only not as it should. So one compares,
# element by element, with two other sources. `jax.grad` derives the gradient from the same function
# with rules of its own; the central difference
#
# $$ \frac{\partial \ell}{\partial w} \approx \frac{\ell(w + h) - \ell(w - h)}{2 h} $$
#
# knows no rules at all. The gradient with respect to an *intermediate* value needs a trick: it is that with respect to a
# zero that is added to that value. Such zeros are called `probes` here.


# %%
def reference(params, inputs, probes):
    return losses.squared_error(mlp.forward(params, inputs, probes=probes).outputs, targets)


def mine(params, inputs, probes):
    values = mlp.forward(params, inputs)
    g, _ = losses.squared_error_backward(jnp.ones(()), values.outputs, targets)
    grads, by = mlp.backward(params, values, g)
    return grads, by.inputs, by


probes = jax.tree.map(jnp.zeros_like, activations)
print(check_gradients(mine, reference, params, inputs, probes))

# %% [markdown]
# Every array is *equal* to `jax.grad`, to within the last digits of float64. Now somebody forgets
# $\sigma'$ on the way through the hidden layer:


# %%
def forgetful(params, inputs, probes):
    values = mlp.forward(params, inputs)
    g, _ = losses.squared_error_backward(jnp.ones(()), values.outputs, targets)
    grads, by = mlp.backward(params, values, g)
    g_s1 = by.x["layer1"]  # should have been multiplied by 1 where s > 0, else 0
    g_x0, g_w1, g_b1 = linear_backward(g_s1, inputs, **params["layer1"])
    grads = grads | {"layer1": {"kernel": g_w1, "bias": g_b1}}
    by = by._replace(inputs=g_x0, s=by.s | {"layer1": g_s1})
    return grads, g_x0, by


print(check_gradients(forgetful, reference, params, inputs, probes))

# %% [markdown]
# The table says where to look: everything is right down to $x^{(1)}$ and wrong from $s^{(1)}$ on, so
# the slip lies between the two. The columns on the right show the worst element, and whom to believe:
# `jax.grad` and the difference agree with each other.
#
# A third verdict is neither. At its corner a ReLU has no derivative; every number between the slopes on its
# two sides may be called one, and rules differ in which they take:

# %%
corner = jnp.array([-1.0, 0.0, 2.0])
print(
    check_gradients(lambda x: (x >= 0).astype(x.dtype), lambda x: jnp.sum(jax.nn.relu(x)), corner)
)

# %% [markdown]
# ## The matrices that nobody builds
#
# The chain rule is usually written with Jacobians: the matrix of all derivatives of a map's outputs
# by its inputs. For a chain of maps it is a product, the last map first,
#
# $$ J_{f_N \circ \dots \circ f_1} = J_{f_N} \cdots J_{f_2} J_{f_1}. $$
#
# For the third of our samples, from the three inputs to the two outputs:

# %%
row = slice(2, 3)


def jacobian(function, at):
    return jax.jacobian(lambda x: function(x[None])[0])(at[0])


chain = {
    "$J$ of layer 2": jacobian(lambda x: linear(x, **params["layer2"]), x_1[row]),
    "$J$ of the ReLU": jacobian(relu, s_1[row]),
    "$J$ of layer 1": jacobian(lambda x: linear(x, **params["layer1"]), x_0[row]),
}
product = chain["$J$ of layer 2"] @ chain["$J$ of the ReLU"] @ chain["$J$ of layer 1"]
whole = jacobian(lambda x: mlp.apply(params, x), x_0[row])
print(
    f"the product and the Jacobian of the network differ by {jnp.max(jnp.abs(product - whole)):.0e}"
)
figures.heatmaps([chain | {"their product": product}], digits=2)

# %% [markdown]
# The middle one is the point. An activation acts on each number by itself, so that its Jacobian is
# diagonal: multiplying by it is multiplying element by element, and the 20 zeros are never needed.
# Nor is the product of two Jacobians: with one loss at the end, one starts from a single row and
# multiplies it from the left through the chain, $g \leftarrow g J$ (as a column, $J^\top g$: this is
# where the transpose in the notes' second equation comes from). For the notes' network on 1,000 digits:

# %%
batch, units = 1000, 200
print(f"the hidden activations, and their gradient: {4 * batch * units / 1e6:.1f} MB each")
print(f"the Jacobian of the ReLU between them: {4 * (batch * units) ** 2 / 1e9:.0f} GB")

# %% [markdown]
# ## Activations, and where their gradients die
#
# Every gradient that goes back through an activation is multiplied by its slope. Six of them, in blue their value
# and in vermillion their slope; grey is where the slope is below 0.01, so that next to nothing comes back. The *leaky*
# ReLU keeps a tenth of what is below 0, the *ELU* is $e^x - 1$ there, and *maxout* takes the largest of several linear
# functions, here $x$ and $-\frac12 x$:


# %%
def maxout(x):
    return functions.maxout(jnp.stack([x, -x / 2]), pieces=2)[0]


curves = {
    "sigmoid": sigmoid,
    "tanh": functions.tanh,
    "ReLU": relu,
    "leaky ReLU": functools.partial(functions.leaky_relu, slope=0.1),
    "ELU": functions.elu,
    "maxout": maxout,
}


@styled
def draw(x, curves):
    figure, axes = grid(2, 3, width=7.0, height=3.6, sharex=True)
    for ax, (name, (values, slopes)) in zip(axes.flat, curves.items(), strict=True):
        ax.plot(x, values, color=COLORS["value"], label="value")
        ax.plot(x, slopes, color=COLORS["gradient"], label="slope")
        flat, whole = np.abs(slopes) < 0.01, ax.get_xaxis_transform()
        ax.fill_between(x, 0, 1, where=flat, transform=whole, color="0.5", alpha=0.2, lw=0)
        ax.set(title=name, ylim=(-1.2, 2.2))
    axes[0, 0].legend()
    return figure


axis = jnp.arange(-300, 301) / 50.0
found = {name: jax.vmap(jax.value_and_grad(f))(axis) for name, f in curves.items()}
print("slope below 0.01:")
for name, (_, slopes) in found.items():
    dead = np.asarray(axis)[np.abs(slopes) < 0.01]
    below, above = dead[dead < 0.01], dead[dead > 0.01]
    sides = [f"x up to {side.max():.1f}" for side in (below,) if len(side)]
    sides += [f"x from {side.min():.1f} on" for side in (above,) if len(side)]
    print(f"{name:10}", " and ".join(sides) or "nowhere")
draw(np.asarray(axis), {name: tuple(map(np.asarray, pair)) for name, pair in found.items()})

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
least = {name: float(jnp.abs(slopes).min()) for name, (_, slopes) in found.items()}
assert least["leaky ReLU"] > 0.09 and least["maxout"] > 0.4 and least["ReLU"] == 0
assert abs(float(found["sigmoid"][1].max()) - 0.25) < 1e-6 and 4**10 > 1_000_000

# %% [markdown]
# The sigmoid's slope is a quarter at most: ten of them in a row shrink a gradient by $4^{10}$, more than a million
# times, wherever they stand. A ReLU is 1 or nothing. A unit that is below 0 for every sample gets nothing at all and
# stays there: it is *dead*, as most units of notebook 3 were after the spike. The last row keeps a slope on both
# sides, the ELU only as far as its grey.
#
# ## Without a bend
#
# What is an activation for? Without one, or with an affine one, the layers collapse: $W_2 (W_1 x + b_1) + b_2$ is the
# one affine map $(W_2 W_1) x + (W_2 b_1 + b_2)$, however many layers there are. `mlp.collapse` multiplies them out:

# %%
flat = mlp.collapse(params)
for name, activation in (("no activation", functions.affine), ("ReLU", relu)):
    gap = mlp.apply(params, inputs, activation=activation) - linear(inputs, **flat)
    print(f"{name:13}: largest difference from one affine map {jnp.max(jnp.abs(gap)):.1g}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
bent, straight = (mlp.apply(params, inputs, activation=f) for f in (relu, functions.affine))
assert jnp.allclose(straight, linear(inputs, **flat), atol=1e-4)
assert jnp.max(jnp.abs(bent - straight)) > 1

# %% [markdown]
# ## What one hidden layer can do
#
# With an activation that is no polynomial, one hidden layer comes as near as you please to any continuous function on
# a bounded domain, if it has enough units: the *universal approximation theorem* (Cybenko 1989; Leshno and others
# 1993). For ReLU on $[0, 1]$ the network can be written down without any search. Cut the interval into as many pieces
# as there are units, and let each unit add the change of slope at the start of its piece:


# %%
def written(function, units):
    knots = jnp.linspace(0, 1, units + 1)
    slopes = jnp.diff(function(knots)) * units
    return {
        "layer1": {"kernel": jnp.ones((1, units)), "bias": -knots[:-1]},
        "layer2": {
            "kernel": jnp.diff(slopes, prepend=0)[:, None],
            "bias": function(knots[:1]),
        },
    }


def wave(x, waves=3):
    return jnp.sin(2 * jnp.pi * waves * x)


def bell(x):
    return jnp.exp(-4 * x**2)


points = jnp.linspace(0, 1, 1001)


def answer(function, units):
    return mlp.apply(written(function, units), points[:, None])[:, 0]


def off(function, units):
    return float(jnp.sqrt(jnp.mean((answer(function, units) - function(points)) ** 2)))


capacity.fits(
    np.asarray(points),
    {"$e^{-4 x^2}$": np.asarray(bell(points)), r"$\sin\, 6 \pi x$": np.asarray(wave(points))},
    {
        "ReLU": {
            units: np.stack([answer(bell, units), answer(wave, units)]) for units in (4, 8, 16, 32)
        }
    },
)

# %% [markdown]
# The theorem promises less than it seems to. It says nothing about three things that one would like to know.
#
# **How many units.** For waves that are four times as many, four times as many units (and in more dimensions it is
# worse: as many pieces along every axis, multiplied):

# %%
needed = {}
for waves in (1, 4, 16):
    function = functools.partial(wave, waves=waves)
    needed[waves] = next(n for n in (4, 8, 16, 32, 64, 128, 256) if off(function, n) < 0.01)
    print(f"{waves:2} waves: {needed[waves]:3} units for an error below 0.01")

# %% [markdown]
# **What lies between the samples.** Twelve samples of one wave, with noise. Hidden tanh units are drawn at random, and
# the output weights that fit best are found by least squares. Two hundred units go through every sample, and miss the
# wave by more than ten times as much as four:

# %%
random = np.random.default_rng(0)
seen = np.sort(random.random(12))
heard = np.sin(2 * np.pi * seen) + 0.3 * random.normal(size=12)
steep = random.uniform(-20, 20, 200)
places = random.random(200)
between, misses = np.linspace(0, 1, 1001), {}
for units in (4, 200):
    rows, grid_rows = (
        np.hstack([np.tanh(steep[:units] * (x[:, None] - places[:units])), np.ones((len(x), 1))])
        for x in (seen, between)
    )
    best, *_ = np.linalg.lstsq(rows, heard, rcond=None)
    misses[units] = [
        float(np.sqrt(np.mean(error**2)))
        for error in (rows @ best - heard, grid_rows @ best - np.sin(2 * np.pi * between))
    ]
    at, apart = misses[units]
    print(f"{units:3} units: error at the samples {at:.1g}, on the whole interval {apart:.2f}")

# %% [markdown]
# **Whether a descent finds them.** One hundred ReLU, spread over $[-1, 1]$, are to make $x^2$, and only their output
# weights move, from 0, at one over the sharpness. Good weights exist. A thousand steps are not there yet:

# %%
axis = np.linspace(-1, 1, 201)[:, None]
hidden = np.hstack([np.maximum(axis - np.linspace(-1, 1, 100), 0), np.ones_like(axis)])
best, *_ = np.linalg.lstsq(hidden, axis**2, rcond=1e-5)
errors, v = {}, np.zeros_like(best)
eta = 1 / np.linalg.eigvalsh(hidden.T @ hidden)[-1]
for step in range(1, 1001):
    v = v - eta * hidden.T @ (hidden @ v - axis**2)
    if step in (10, 100, 1000):
        errors[f"after {step} steps"] = v
for name, weights in (errors | {"the best weights": best}).items():
    errors[name] = float(np.sqrt(np.mean((hidden @ weights - axis**2) ** 2)))
    print(f"{name:17}: error {errors[name]:.2g}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert needed == {1: 16, 4: 64, 16: 256}
assert misses[200][0] < 1e-6 and misses[200][1] > 10 * misses[4][1]
assert errors["after 1000 steps"] > 100 * errors["the best weights"]

# %% [markdown]
# So other kinds of layers are worth having, which make what one looks for easier to find: convolutions, in
# [notebook 7](07_convolution_to_lenet.ipynb). `experiments/universal_approximation.py` measures all of this over seeds,
# and on a square.
#
# ## Templates
#
# A linear predictor has one *template*: an image of weights that is laid over the input. The course asks what a second
# layer makes of several, with horses that face left or right. Here are threes that do, against eights. Half of the
# digits are mirrored. A three laid over its mirror image is an eight, which is just what one template cannot afford:

# %%
train, test = (data.mnist(split, source="embedded") for split in ("train", "test"))


def both_ways(digits):
    chosen = np.isin(digits.labels, (3, 8))
    pictures = digits.images[chosen].astype(np.float32) / 255
    threes = (digits.labels[chosen] == 3).astype(np.int32)
    pictures = np.concatenate([pictures, pictures[:, :, ::-1]]).reshape(-1, 784)
    return pictures, np.concatenate([threes, threes])


pictures, threes = both_ways(train)
pictures_test, threes_test = both_ways(test)
middle = pictures.mean(axis=0)


def descend(sizes):
    def loss(params):
        scores = mlp.apply(params, jnp.asarray(pictures - middle))[:, 0]
        return losses.binary_cross_entropy(scores, jnp.asarray(threes))

    small = jax.tree.map(lambda leaf: 0.1 * leaf, mlp.init(jax.random.key(1), sizes))
    trace = descent.gradient_descent(loss, small, optax.adam(0.01), 200, record_params=False)
    scores = mlp.apply(trace.final_params, jnp.asarray(pictures_test - middle))[:, 0]
    return trace.final_params, float(jnp.mean((scores > 0) != threes_test))


(alone, by_one), (several, by_four) = descend((784, 1)), descend((784, 4, 1))
print(f"test error: one template {by_one:.1%}, four {by_four:.1%}")
kernel, weights = (np.asarray(several[name]["kernel"]) for name in ("layer1", "layer2"))
half = len(threes_test) // 2
h = np.asarray(relu(linear(jnp.asarray(pictures_test - middle), **several["layer1"])))
scores = {
    "3": h[:half][threes_test[:half] == 1].mean(axis=0),
    "mirrored 3": h[half:][threes_test[half:] == 1].mean(axis=0),
    "8, both ways": h[threes_test == 0].mean(axis=0),
}
print("unit           ", *(f"{unit:6d}" for unit in range(4)))
for name, row in scores.items():
    print(f"mean h, {name:12}", *(f"{value:6.2f}" for value in row))
print("weight in W2   ", *(f"{value:+6.2f}" for value in weights[:, 0]))
capacity.templates({"W1": kernel}, weights[:, 0])

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
one = np.asarray(alone["layer1"]["kernel"]).reshape(28, 28)
assert np.abs(one - one[:, ::-1]).max() < 0.03 * np.abs(one).max()
left, right, eight = scores.values()
assert left[1] > 10 * right[1] and right[2] > 3 * left[2] and (weights[1:3] > 0).all()
assert (weights[[0, 3]] < 0).all() and (eight[[0, 3]] > 5 * left[[0, 3]]).all()
assert by_four < by_one

# %% [markdown]
# W1 holds the templates: unit 1 answers to threes, unit 2 to mirrored ones, 0 and 3 to eights. $h$ is how much of
# each is in this image, $\max(0, W_1 x)$ and a bias, and W2 does the weighing. A three of either kind gets a high score
# from a high score of *one* of its templates. The single template had to serve both ways: trained, it is its own mirror
# image, but for about a hundredth that is left of its start.
#
# ## Sums of gradients
#
# Three sums look alike and are the same: a value that is used twice, a loss that is a sum over samples,
# and an output with several components. Gradients add. So a batch that does not fit into memory may
# come in pieces, if the loss is a sum (for a mean, weigh each piece by its share of the samples):

# %%


def summed(params, rows):
    return jnp.sum((mlp.apply(params, inputs[rows]) - targets[rows]) ** 2)


pieces = [jax.grad(summed)(params, rows) for rows in (slice(0, 2), slice(2, 6))]
together = jax.tree.map(jnp.add, *pieces)
whole = jax.grad(summed)(params, slice(0, 6))
gaps = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), together, whole)
print(f"largest difference of any parameter's gradient: {max(jax.tree.leaves(gaps)):.0e}")

# %% [markdown]
# ## What the forward pass keeps
#
# A rule needs numbers from the way forward, and an operator either keeps them or computes them again. Here is one that
# keeps: a layer of tanh units, whose slope $1 - y^2$ is found from its output. `jax.custom_vjp` is how JAX is told of a
# rule: `forward` returns the output and what is kept, `backward` takes what was kept and the incoming $g$.


# %%
def product_of(x, w):
    return jnp.tanh(x @ w)


def rule_of_layer(x, w, y, g):
    g_s = g * (1 - y**2)
    return g_s @ w.T, x.T @ g_s


keeping, computing = jax.custom_vjp(product_of), jax.custom_vjp(product_of)
keeping.defvjp(
    lambda x, w: ((y := product_of(x, w)), (x, w, y)),
    lambda kept, g: rule_of_layer(*kept, g),
)
computing.defvjp(
    lambda x, w: (product_of(x, w), (x, w)),  # y is forgotten,
    lambda kept, g: rule_of_layer(*kept, product_of(*kept), g),  # and computed again
)

kernels, batch = [jnp.eye(64)] * 8, jnp.ones((1000, 64))
costs = {}
for name, operator in (("keeps y", keeping), ("forgets y", computing)):

    def deep(kernels, operator=operator):
        return jnp.sum(functools.reduce(operator, kernels, batch))

    _, pull = jax.vjp(deep, kernels)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(pull)) / 1e6
    products = str(jax.make_jaxpr(jax.grad(deep))(kernels)).count("dot_general")
    costs[name] = products, held
    print(f"{name:9}: {products} products of matrices for the gradient")


@jax.checkpoint
def eight(kernels):
    return functools.reduce(product_of, kernels, batch)


def held_by(function):
    _, pull = jax.vjp(lambda kernels: jnp.sum(function(kernels)), kernels)
    return sum(leaf.nbytes for leaf in jax.tree.leaves(pull)) / 1e6


plain = held_by(lambda kernels: functools.reduce(product_of, kernels, batch))
print(f"kept between the two passes: {plain:.2f} MB, under jax.checkpoint {held_by(eight):.2f} MB")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert (costs["keeps y"][0], costs["forgets y"][0]) == (24, 32)
assert held_by(eight) < plain / 4

# %% [markdown]
# Eight layers are 8 products forward and 16 backward. Computing every $y$ again makes 32 of the 24: a third more work,
# to keep less. `jax.checkpoint` does the same for any function: what is inside keeps its inputs only. (Compiled for one
# CPU, XLA may notice that it computes the same twice and keep it after all; on an accelerator it is told not to.)
#
# ## Batches
#
# The same parameters serve all samples of a batch. For one sample, a layer of 1,024 units on 1,024 inputs reads four
# million bytes of weights, and multiplies and adds each weight once. For a batch they are read once:

# %%
matrix = jax.ShapeDtypeStruct((1024, 1024), jnp.float32)
per_byte = {}
for size in (1, 8, 64, 512):
    rows = jax.ShapeDtypeStruct((size, 1024), jnp.float32)
    counted = jax.jit(jnp.matmul).lower(rows, matrix).compile().cost_analysis()
    per_byte[size] = counted["flops"] / counted["bytes accessed"]
    print(f"batch of {size:3}: {per_byte[size]:6.1f} operations a byte")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert abs(per_byte[1] - 0.5) < 0.01 and per_byte[512] > 100 and 4 * 1024**2 > 4e6

# %% [markdown]
# Half an operation a byte leaves a machine waiting for its memory, which is slower than its arithmetic by far more than
# that. `experiments/batch_processing.py` takes the time: [a sample of a batch of 64 costs a small part](experiments.md)
# of one that comes alone.
#
# ## A descent without autodiff
#
# Forward, backward, a step, and again: no derivative in this loop is JAX's. On 1,000 digits, is it a 5 or not:

# %%
digits = data.mnist("train", source="embedded")
images = jnp.asarray(data.standardize(digits.images[:1000]).inputs)
fives = jnp.asarray(digits.labels[:1000, None] == 5, jnp.float32)


start = mlp.init(jax.random.key(0), (784, 200, 1))
moving = start
for _ in range(3):
    values = mlp.forward(moving, images)
    g, _ = losses.squared_error_backward(jnp.array(1.0), values.outputs, fives)
    grads, _ = mlp.backward(moving, values, g)
    moving = jax.tree.map(lambda weight, grad: weight - 0.01 * grad, moving, grads)
    print(f"loss {losses.squared_error(values.outputs, fives):.4f}")

# %% [markdown]
# `mlp.gradient_step` is the body of this loop. 200 steps of it in one program, beside the same descent with `jax.grad`
# from the same start:


# %%
def by_hand(params, _):
    return mlp.gradient_step(params, images, fives, 0.01)


def by_autodiff(params, _):
    value, grads = jax.value_and_grad(lambda p: losses.squared_error(mlp.apply(p, images), fives))(
        params
    )
    return jax.tree.map(lambda weight, grad: weight - 0.01 * grad, params, grads), value


curves = [np.asarray(jax.lax.scan(step, start, length=201)[1]) for step in (by_hand, by_autodiff)]
print(f"loss {curves[0][0]:.4f} -> {curves[0][-1]:.4f} and {curves[1][-1]:.4f} after 200 steps")
figures.traces(*curves)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert np.abs(curves[0] - curves[1]).max() < 1e-4 and abs(curves[0][-1] - 0.025) < 0.002

# %% [markdown]
# The two differ by what float32 rounds, and each step hands the difference on. `experiments/worked_examples.py`
# runs the 1,000 steps of the notes both ways, and times them.
#
# ## In the terms of PyTorch
#
# The notes use PyTorch, where a gradient is a field of a tensor and is filled by a walk over a
# graph recorded on the way. In JAX a gradient is the value of a function.
#
# | PyTorch | JAX |
# | --- | --- |
# | `w.requires_grad_()` | nothing to mark: `argnums` of `jax.grad` names the arguments |
# | `loss.backward(); w.grad` | `grads = jax.grad(loss)(w)`, a tree of the form of `w` |
# | `w.grad` accumulates, `zero_grad()` | a gradient is returned; to accumulate, add two |
# | `torch.autograd.grad(loss, (a, b))` | `jax.grad(loss, argnums=(0, 1))(a, b)` |
# | `y.backward(v)` for several outputs | `_, pull = jax.vjp(f, x); pull(v)` |
# | `x.detach()` | `jax.lax.stop_gradient(x)` |
# | `with torch.no_grad():` | nothing to switch off: what nobody differentiates is not recorded |
# | `create_graph=True` | `jax.grad(jax.grad(f))` |
# | `retain_graph=True` | `_, pull = jax.vjp(f, x)`: call `pull` as often as you like |
# | `y.register_hook(print)` | `probes`, as above: the gradient with respect to a zero that is added to `y` |
# | `F.relu(x, inplace=True)` | `jax.jit(step, donate_argnums=0)` hands over the memory of an argument |
# | `nn.Module`, `nn.ModuleList` register parameters | a dict or list *is* the parameters, nothing registers |
# | an integer cannot require a gradient | nor has it one: `TypeError` |
# | `y *= y` after `y` was saved: an error | cannot happen: `y = y * y` is a new array |
#
# The last line is worth a look. The rule of a product needs its inputs, so they are saved on the way
# forward. A buffer that is overwritten in between takes them away. PyTorch counts the changes of each
# buffer and refuses; NumPy does not:

# %%
t = np.array([1.0, 2.0, 3.0])
saved = y = np.sin(t)
y *= y  # the same buffer
print("from the overwritten buffer:", np.round(2 * saved * np.cos(t), 4))
print("what it should have been:   ", np.round(np.sin(2 * t), 4))
print(
    "by jax.grad:                ",
    jax.grad(lambda t: jnp.sum(jnp.sin(t) ** 2))(jnp.asarray(t, jnp.float32)),
)

# %% [markdown]
# A gradient is a function like others, so that it has a gradient of its own; and a pullback may be called twice. For
# $\sum x^3$ at $(-3, 2, 5)$ the gradient is $3 x^2$, and the gradient of its sum $6 x$:

# %%
cubes = jnp.array([-3.0, 2.0, 5.0])


def gradient(x):
    return jax.grad(lambda x: jnp.sum(x**3))(x)


second = jax.grad(lambda x: jnp.sum(gradient(x)))(cubes)
_, pull = jax.vjp(lambda x: jnp.sum(x**3), cubes)
once, twice = (pull(jnp.array(g))[0] for g in (1.0, 2.0))
print("gradient", gradient(cubes), "  second", second)
print("pulled back: 1 gives", once, "  2 gives", twice)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert gradient(cubes).tolist() == [27, 12, 75] and second.tolist() == [-18, 12, 30]
assert once.tolist() == [27, 12, 75] and twice.tolist() == [54, 24, 150]

# %% [markdown]
# The notes have slips, a transpose left out among them: [the errata](README.md) list each, with what comes
# out if one follows it to the letter and what is right, both computed.

# %% [markdown]
# ## Exercises
#
# 1. Write the rule of $f(x) = x^3$, use it for $\sum x^3$ at $(-3, 2, 5)$, and let the checker
#    judge it. Then plant an error so small that the checker calls it *rounding*.

# %%
x = jnp.array([-3.0, 2.0, 5.0])
print(check_gradients(lambda x: 2 * x, lambda x: jnp.sum(x**2), x))  # the rule of a square

# %% [markdown]
# <details><summary>Solution</summary>
#
# The gradient is $3 x^2 = (27, 12, 75)$.
#
# ```python
# x = jnp.array([-3.0, 2.0, 5.0])
# print(check_gradients(lambda x: 3 * x**2, lambda x: jnp.sum(x**3), x))
# print(check_gradients(lambda x: 3.00001 * x**2, lambda x: jnp.sum(x**3), x))
# ```
#
# The second factor is off by 3e-6, relative, which is what float32 would do.
#
# </details>

# %% [markdown]
# 2. Which gradients of the network above are zero if all weights start at zero, and why is that a bad
#    start?

# %%
start = jax.tree.map(jnp.ones_like, params)  # ones, not zeros
grads = jax.grad(lambda p: losses.squared_error(mlp.apply(p, inputs), targets))(start)
print(jax.tree.map(lambda g: float(jnp.abs(g).max()), grads))

# %% [markdown]
# <details><summary>Solution</summary>
#
# With $w^{(2)} = 0$ nothing passes from $s^{(2)}$ to $x^{(1)}$, so the gradients of the first layer are
# zero. With $w^{(1)} = 0$ and $b^{(1)} = 0$ the hidden units are zero too, and so is the gradient of
# $w^{(2)}$. Only $b^{(2)}$ moves: the network can learn a constant and nothing else.
#
# ```python
# zeros = jax.tree.map(jnp.zeros_like, params)
# jax.grad(lambda p: losses.squared_error(mlp.apply(p, inputs), targets))(zeros)
# ```
#
# </details>

# %% [markdown]
# 3. The rule of thumb says that the backward pass costs twice the forward pass. Count the matrix products of
#    784-200-1: is it true, and what would make it true?
#
# <details><summary>Solution</summary>
#
# Forward there is one product a layer; backward two, $G W^\top$ and $X^\top G$, each with as many
# multiplications. But the first layer needs no $G W^\top$: nobody asks for the gradient with respect to the digits. Here
# the first layer is nearly all of the work, so that the backward pass costs as much as the forward pass,
# once and not twice. In a deep network of equal widths the rule is nearly true.
#
# </details>
