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
import jax
import jax.numpy as jnp
import numpy as np

from chainrule import data, losses
from chainrule.check import check_gradients
from chainrule.models import mlp
from chainrule.ops.activations import relu, relu_backward, sigmoid, sigmoid_backward
from chainrule.ops.elementary import add, add_backward, multiply, multiply_backward
from chainrule.ops.linear import linear, linear_backward
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
