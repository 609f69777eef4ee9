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
# # 5. Graphs, sharing and siamese networks
#
# A multi-layer perceptron is a chain: each layer feeds the next. Nothing in backpropagation asks for
# that. A layer may feed several others, several may meet in one, and the same weight may serve in two
# places. As long as nothing feeds itself, there is an order in which everything can be computed, and
# the chain rule walks it backward. Only one thing is new, and it is an addition.
#
# **It takes** the rules of notebook 4. **Afterwards you can** write a network as a graph, share a weight by naming it twice, and train two branches to tell same from different.
#
# *Before: [4. Backpropagation by hand](04_backpropagation.ipynb). After: [6. X-ray](06_xray.ipynb).*
#
# *The notes*: François Fleuret, "Deep Learning #3: MLP, backprop, autograd" (IfI Summer School 2018, [fleuret.org/ifi](https://fleuret.org/ifi)), and "Deep Learning Tutorials, Chapter 4: Graphs of operators, autograd, and convolutional layers". *The course*: "CS231n, Lecture 4 notes" (Stanford, spring 2017, [cs231n.stanford.edu](https://cs231n.stanford.edu)), and "Lesson 3". All of this follows them.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import SVG

from chainrule import data, losses, xray
from chainrule.models import dag, mlp
from chainrule.models.dag import Node, layer
from chainrule.ops.activations import relu, tanh
from chainrule.ops.elementary import add, norm
from chainrule.ops.linear import linear, matvec
from chainrule.plots.backpropagation import heatmaps

# %% [markdown]
# ## A graph is data
#
# The example of the notes has two branches that meet, and uses its first weight twice:
#
# $$ x^{(1)} = w^{(1)} x^{(0)}, \quad x^{(2)} = x^{(0)} + w^{(2)} x^{(1)}, \quad
#    x^{(3)} = w^{(1)} \bigl(x^{(1)} + x^{(2)}\bigr), \quad q = \lVert x^{(3)} \rVert, $$
#
# with $x^{(0)}$ a column of two numbers, the $w$ matrices, and $\lVert \cdot \rVert$ the length.
#
# In general, node $j$ applies an operator to what some other nodes made, and may have a weight:
# $x^{(j)} = \phi^{(j)}(x^{(i)}, \ldots; w)$. Here a node says just that: an operator, the names of
# what it takes, the name of its weight. `layer` makes an operator of `chainrule.ops` one of a graph and
# takes the rule beside it along; any function `op(params, *inputs)` will do.


# %%
def phi2(w, x0, x1):
    return x0 + w @ x1


def phi3(w, x1, x2):
    return w @ (x1 + x2)


notes = {
    "q": Node(layer(norm), ("x3",)),
    "x1": Node(layer(matvec), ("x0",), "w1"),
    "x3": Node(phi3, ("x1", "x2"), "w1"),
    "x2": Node(phi2, ("x0", "x1"), "w2"),
}
params = {"w1": jnp.array([[1.0, 2.0], [0.0, 1.0]]), "w2": jnp.array([[0.0, 1.0], [-1.0, 3.0]])}
inputs = {"x0": jnp.array([1.0, -2.0])}

# %% [markdown]
# The nodes stand in no order; `forward` finds one. $w^{(1)}$ is shared by naming it twice, and there is
# one array of that name:

# %%
activations = dag.forward(notes, params, inputs)
for name, value in activations.items():
    print(f"{name:3}", value)

# %% [markdown]
# ## Backward: add what comes back
#
# A small change of $x^{(1)}$ reaches $q$ on two ways, through $x^{(2)}$ and through $x^{(3)}$, and to
# first order the two effects add. So the gradient with respect to an activation is the sum over the
# nodes that take it, and that with respect to a weight the sum over the nodes that use it:
#
# $$ \frac{\partial q}{\partial x^{(i)}} = \sum_{j \text{ takes } i}
#    J_{j | i}^\top \, \frac{\partial q}{\partial x^{(j)}}, \qquad
#    \frac{\partial q}{\partial w} = \sum_{j \text{ uses } w}
#    J_{j | w}^\top \, \frac{\partial q}{\partial x^{(j)}}, $$
#
# where $J_{j | i}$ is the Jacobian of $\phi^{(j)}$ with respect to the thing named, `J[j|i]` below. The notes print these equations
# without the transposes; with them the numbers come out. For our graph:

# %%
equations = dag.equations(notes, "q")
print(*equations.forward.values(), "", *equations.backward.values(), "", sep="\n")
print(*equations.params.values(), sep="\n")

# %% [markdown]
# `backward` computes just these, from the last line of the forward pass to its first. No Jacobian is
# built: an operator is handed the gradient with respect to its output and returns the products.

# %%
grads = dag.backward(notes, params, activations, {"q": jnp.array(1.0)})
for name in equations.backward:
    print(f"dq/d{name:3}", np.round(grads.activations[name], 4))


def flat(params, x0):
    x1 = params["w1"] @ x0
    x2 = x0 + params["w2"] @ x1
    return jnp.linalg.norm(params["w1"] @ (x1 + x2))


by_params, by_x0 = jax.grad(flat, argnums=(0, 1))(params, inputs["x0"])
print("\nlargest difference from jax.grad of the same, written flat:")
pairs = {**by_params, "x0": by_x0}, {**grads.params, "x0": grads.activations["x0"]}
jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), *pairs)

# %% [markdown]
# ## A shared weight
#
# The gradient of $w^{(1)}$ is the sum over its two uses, and `backward` keeps the share of each. The
# two need not agree; here the use in $x^{(1)}$ does most:

# %%
shares = {
    f"the use in {node}": np.asarray(part) for node, part in grads.contributions["w1"].items()
}
heatmaps([{**shares, "the sum": np.asarray(grads.params["w1"])}], digits=2)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert np.linalg.norm(shares["the use in x1"]) > 2 * np.linalg.norm(shares["the use in x3"])

# %% [markdown]
# There is a way to see that this is no convention. Give each use a copy of its own. Nothing changes
# forward, and the gradients of the copies are ordinary ones, of weights that are used once. Tying
# the copies means to move both by the same $\Delta$, and then $q$ changes by the sum:

# %%
untied = {**notes, "x3": notes["x3"]._replace(params="copy")}
copies = {**params, "copy": params["w1"]}
apart = dag.forward(untied, copies, inputs)
parts = dag.backward(untied, copies, apart, {"q": jnp.array(1.0)}).params
print("q:", activations["q"], apart["q"])
print("sum of the copies' gradients:", *np.round(parts["w1"] + parts["copy"], 4))
print("gradient of the shared one:  ", *np.round(grads.params["w1"], 4))

# %% [markdown]
# ## The other notation
#
# The notes also draw the graph with every elementary operation as a node. Weights are then inputs like
# others, and there is one rule less: a weight's gradient is that of an input.

# %%
elementary = {
    "x1": Node(layer(matvec), ("w1", "x0")),
    "m": Node(layer(matvec), ("w2", "x1")),
    "x2": Node(layer(add), ("x0", "m")),
    "s": Node(layer(add), ("x1", "x2")),
    "x3": Node(layer(matvec), ("w1", "s")),
    "q": Node(layer(norm), ("x3",)),
}
same = dag.forward(elementary, {}, {**params, **inputs})
back = dag.backward(elementary, {}, same, {"q": jnp.array(1.0)})
print(dag.equations(elementary, "q").backward["w1"])
print(*np.round(back.activations["w1"], 4))

# %% [markdown]
# `xray`, which knows nothing of our graphs, draws what JAX makes of this one: every value in blue, every
# gradient in vermillion, and at a fork the share of each way. It is the subject of
# [the next notebook](06_xray.ipynb).


# %%
def q(w1, w2, x0):
    return dag.forward(elementary, {}, {"w1": w1, "w2": w2, "x0": x0})["q"]


report = xray.xray(q, params["w1"], params["w2"], inputs["x0"])
SVG(report.to_svg(open="none", direction="down"))

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
q_now = dag.forward(
    notes,
    {"w1": jnp.array([[1.0, 2.0], [0.0, 1.0]]), "w2": jnp.array([[0.0, 1.0], [-1.0, 3.0]])},
    {"x0": jnp.array([1.0, -2.0])},
)["q"]
assert abs(q_now - 19.3132) < 1e-4

# %% [markdown]
# ## What can be wrong with a graph
#
# `dag.check` looks at shapes only, computes nothing, and reports everything at once. `forward` calls it.

# %%
wrong = {
    "a": Node(layer(tanh), ("c",)),
    "b": Node(layer(tanh), ("a",)),
    "c": Node(layer(add), ("b", "x")),  # a cycle
    "d": Node(layer(add), ("x", "y")),  # shapes that do not meet
    "e": Node(layer(matvec), ("z",), "w"),  # neither z nor w is there
}
try:
    dag.check(wrong, {}, {"x": jnp.ones(2), "y": jnp.ones(3)}, outputs="f")
except ValueError as error:
    print(error)

# %% [markdown]
# ## A network as a graph
#
# A multi-layer perceptron and its loss are four nodes, and the numbers are those of `mlp.apply`. A layer
# that is a dict of arrays has one name:

# %%
network = {
    "s1": Node(layer(linear), ("x0",), "layer1"),
    "x1": Node(layer(relu), ("s1",)),
    "s2": Node(layer(linear), ("x1",), "layer2"),
    "loss": Node(layer(losses.cross_entropy), ("s2", "labels")),
}
digits = data.mnist("train", source="embedded")
batch = {
    "x0": jnp.asarray(data.standardize(digits.images[:64]).inputs),
    "labels": jnp.asarray(digits.labels[:64], jnp.int32),
}
weights = mlp.init(jax.random.key(0), (784, 200, 10))


@jax.jit
def by_graph(weights, batch):
    activations = dag.forward(network, weights, batch)
    return dag.backward(network, weights, activations, {"loss": jnp.array(1.0)}).params


def plain(weights):
    return losses.cross_entropy(mlp.apply(weights, batch["x0"]), batch["labels"])


gaps = jax.tree.map(
    lambda a, b: float(jnp.max(jnp.abs(a - b))), by_graph(weights, batch), jax.grad(plain)(weights)
)
print(f"largest difference of any parameter's gradient: {max(jax.tree.leaves(gaps)):.0e}")

# %% [markdown]
# Compiled, the graph is gone: the walk happens while JAX traces, and XLA sees the operations of the flat
# function, no more. (`experiments/graphs.py` counts and times them, for LeNet's graph as well.)

# %%
programs = (
    jax.jit(by_graph).lower(weights, batch).compile(),
    jax.jit(jax.grad(plain)).lower(weights).compile(),
)
print("operations:", *(f"{int(program.cost_analysis()['flops']):,}" for program in programs))

# %% [markdown]
# ## A graph is an operator
#
# Graphs nest: `dag.operator` makes one a node of another. Two nodes with the same inner graph and the same
# weight name are two branches with one set of weights. This is all that a *siamese* network is: the
# same network looks at two images, and a distance looks at what it makes of them.

# %%
embed = dag.operator(
    {
        "s1": Node(layer(linear), ("image",), "layer1"),
        "x1": Node(layer(relu), ("s1",)),
        "out": Node(layer(linear), ("x1",), "layer2"),
    },
    inputs=("image",),
    output="out",
)
siamese = {
    "left": Node(embed, ("a",), "embedding"),
    "right": Node(embed, ("b",), "embedding"),
    "difference": Node(lambda _, a, b: a - b, ("left", "right")),
    "distance": Node(layer(norm), ("difference",)),
}
pair = {"a": batch["x0"][:1], "b": batch["x0"][1:2]}
tree = {"embedding": weights}
activations = dag.forward(siamese, tree, pair)
grads = dag.backward(siamese, tree, activations, {"distance": jnp.ones(1)})
print(f"distance of a {digits.labels[0]} and a {digits.labels[1]}:", activations["distance"][0])
shares = grads.contributions["embedding"]
for name in ("layer1", "layer2"):
    sizes = (float(jnp.linalg.norm(part[name]["kernel"])) for part in shares.values())
    total = float(jnp.linalg.norm(grads.params["embedding"][name]["kernel"]))
    lengths = (f"{node} {size:.3f}" for node, size in zip(shares, sizes, strict=True))
    print(f"{name}, length of the kernel's gradient:", ", ".join(lengths), f"sum {total:.3f}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
left, right = (
    jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(shares[side])])
    for side in ("left", "right")
)
whole = jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(grads.params["embedding"])])
assert jnp.allclose(left + right, whole, atol=1e-4)

# %% [markdown]
# Each branch pulls at the weights in its own direction, and what they agree on is left. Swapping the
# images swaps the shares, and changes neither the distance nor their sum:

# %%
swapped_pair = {"a": pair["b"], "b": pair["a"]}
swapped = dag.forward(siamese, tree, swapped_pair)
back = dag.backward(siamese, tree, swapped, {"distance": jnp.ones(1)})
print("distance:", swapped["distance"][0])
gaps = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), back.params, grads.params)
print(f"largest difference of any parameter's gradient: {max(jax.tree.leaves(gaps)):.0e}")

# %% [markdown]
# ## Are these two the same digit?
#
# Trained, the distance answers that question. A pair of one class is drawn together, another pushed
# apart until a margin $m$ is reached (Hadsell, Chopra and LeCun, 2006), $d_i$ being the distance of pair $i$ of $n$:
#
# $$\ell = \frac{1}{n} \sum_i \frac{1}{2} \begin{cases} d_i^2 & \text{of one class} \\
# \max(0, m - d_i)^2 & \text{else} \end{cases}$$
#
# Pairs are drawn by a key and the number of the step, half of them of one class. The embeddings are
# divided by their lengths, so that no distance is above 2. Adam is a descent that gives every weight a
# rate of its own, by the size of its recent gradients; it walks on a *batch* of 128 pairs a step.

# %%
import optax

from chainrule import training, verification
from chainrule.data.pairs import Tuples, by_class, pairs, triplets
from chainrule.models import siamese as branches
from chainrule.ops.distances import euclidean

train, test = data.mnist("train", "embedded"), data.mnist("test", "embedded")
pixels = {
    name: jnp.asarray(part.images.reshape(-1, 784), jnp.float32) / 255
    for name, part in (("train", train), ("test", test))
}
on_sphere = branches.on_sphere(mlp.apply)


def pair_loss(params, state, batch, key):
    distances = branches.distances(params, batch["images"], on_sphere)
    same = batch["labels"][:, 0] == batch["labels"][:, 1]
    return losses.contrastive(distances, same, margin=1.0), (state, {})


known = slice(0, 5500)
samples = {"images": pixels["train"][known], "labels": train.labels[known]}
drawn = Tuples(samples, samples["labels"], 128, key=jax.random.key(0))
optimizer = optax.adam(1e-3)
start = training.create(
    mlp.init(jax.random.key(1), (784, 128, 32)), optimizer, key=jax.random.key(2)
)

# %% [markdown]
# A step draws a batch, takes the gradient, and lets the optimizer turn it into an update:

# %%
params, state = start.params, optimizer.init(start.params)
for step in range(3):
    chosen = np.asarray(drawn.indices(step))
    batch = {name: leaf[chosen] for name, leaf in samples.items()}
    (value, _), grads = jax.value_and_grad(pair_loss, has_aux=True)(params, (), batch, None)
    updates, state = optimizer.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    print(f"step {step + 1}: loss {value:.4f}")

# %% [markdown]
# `training.fit` runs the same loop, an epoch in one compiled program:

# %%
trained = training.fit(start, pair_loss, optimizer, drawn, epochs=12).params

# %% [markdown]
# The threshold between "same" and "different" is a parameter too, and test pairs must not choose it:
# the last 500 training digits were kept back for that. The *accuracy* is the share of right answers; the *equal
# error rate* needs no threshold: it is the error where pairs of one class are refused as often as others are accepted.

# %%
held_pairs, held_same = pairs(jax.random.key(3), by_class(train.labels[5500:]), 4000)
test_pairs, test_same = pairs(jax.random.key(4), by_class(test.labels), 4000)


def judge(name, embed):
    """Choose on pairs that were held out, judge those of the test."""
    held, found = embed(pixels["train"][5500:]), embed(pixels["test"])
    far = euclidean(held[held_pairs[:, 0]], held[held_pairs[:, 1]])
    threshold = verification.best_threshold(far, held_same)
    distances = euclidean(found[test_pairs[:, 0]], found[test_pairs[:, 1]])
    right = verification.accuracy(distances, test_same, threshold)
    rate = verification.equal_error_rate(verification.roc(distances, test_same))
    print(f"{name}: accuracy {right:.3f}, equal error rate {rate:.3f}")
    return right


by_pixels = judge("pixels", lambda images: images)
by_network = judge("trained", lambda images: on_sphere(trained, images))

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert by_pixels < 0.7 and by_network > 0.92

# %% [markdown]
# ## Only drawing together
#
# Without the pairs that push, one point for all images is the best answer. The loss is then next to
# 0 and so is its gradient, as if all were well: only a look at the embeddings tells. Their spread is
# their distance from their mean, by their length.

# %%


def only_together(params, state, batch, key):
    anchor, like = batch["images"][:, 0], batch["images"][:, 1]
    near = euclidean(on_sphere(params, anchor), on_sphere(params, like))
    return jnp.mean(near**2), (state, {})


drawn3 = Tuples(samples, samples["labels"], 128, key=jax.random.key(0), draw=triplets)
records = []
one_point = training.fit(start, only_together, optimizer, drawn3, 6, report=records.append).params
print("loss", f"{records[-1]['loss']:.1e}")
for name, params in (("drawn", start.params), ("pairs", trained), ("only together", one_point)):
    print(f"{name}:", verification.spread(on_sphere(params, pixels["test"])))

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert records[-1]["loss"] < 0.01
assert verification.spread(on_sphere(one_point, pixels["test"])).collapsed

# %% [markdown]
# Convolutions, all the digits, digits never seen in training, and what becomes of it when the
# branches do not share: `experiments/siamese.py`.
#
# ## Exercises
#
# 1. In $q = w_1 (w_1 x)$ the scalar $w_1$ is used twice. Write it as a graph; what are the two shares of
#    its gradient, and what is their sum?

# %%
once = {"q": Node(lambda w, x: w * x, ("x",), "w1")}  # the second use is missing
weight, at = {"w1": jnp.array(3.0)}, {"x": jnp.array(5.0)}
dag.backward(once, weight, dag.forward(once, weight, at), {"q": jnp.array(1.0)}).contributions

# %% [markdown]
# <details><summary>Solution</summary>
#
# Each use contributes $w_1 x$, together $2 w_1 x$.
#
# ```python
# twice = {
#     "x1": Node(lambda w, x: w * x, ("x",), "w1"),
#     "q": Node(lambda w, x: w * x, ("x1",), "w1"),
# }
# weight, at = {"w1": jnp.array(3.0)}, {"x": jnp.array(5.0)}
# back = dag.backward(twice, weight, dag.forward(twice, weight, at), {"q": jnp.array(1.0)})
# print(back.contributions["w1"], back.params["w1"])
# assert back.params["w1"] == 2 * 3 * 5
# ```
#
# </details>

# %% [markdown]
# 2. The two images of a pair are the same. What is the distance, and what the gradient of its weights?

# %%
other = {"a": pair["a"], "b": pair["b"]}  # make them the same
print(dag.forward(siamese, tree, other)["distance"])

# %% [markdown]
# <details><summary>Solution</summary>
#
# Both are 0: the package's `norm` has the gradient 0 at 0, where the formula would divide 0 by 0.
#
# ```python
# same = {"a": pair["a"], "b": pair["a"]}
# values = dag.forward(siamese, tree, same)
# back = dag.backward(siamese, tree, values, {"distance": jnp.ones(1)})
# print(values["distance"], max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(back.params)))
# assert values["distance"] == 0 and not any(leaf.any() for leaf in jax.tree.leaves(back.params))
# ```
#
# </details>

# %% [markdown]
# 3. The embeddings are divided by their lengths. What is the largest margin that makes sense?
#
# <details><summary>Solution</summary>
#
# Two points of a sphere of radius 1 are at most 2 apart. With a margin above 2, every pair of different
# classes is pushed for ever.
#
# </details>
