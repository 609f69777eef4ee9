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
# # 2. Features made by hand
#
# A linear predictor can only say $w \cdot x + b$. If that is not enough, there are two ways out: a
# predictor that says more (the networks of the later notebooks), or a better $x$. This notebook takes
# the second, which was the whole art for decades. A feature map $\Phi$ is fixed and made by hand, and the
# predictor $w \cdot \Phi(x) + b$ is still linear in what is learned. (That the constant $b$ makes it *affine*,
# strictly, is passed over here as elsewhere.)
#
# **It takes** the unit and the perceptron of notebook 1. **Afterwards you can** make a linear predictor more capable by products of its inputs, less sensitive by histograms of edges, and measure both.
#
# *Before: [1. Threshold units and the perceptron](01_threshold_units_and_the_perceptron.ipynb). After: [3. Gradient descent and its learning rate](03_gradient_descent.ipynb).*
#
# *The notes*: François Fleuret, "Deep Learning #3: MLP, backprop, autograd" (IfI Summer School 2018, [fleuret.org/ifi](https://fleuret.org/ifi)), and "Deep Learning Tutorials, Chapter 4: Graphs of operators, autograd, and convolutional layers". *The course*: "CS231n, Lecture 4 notes" (Stanford, spring 2017, [cs231n.stanford.edu](https://cs231n.stanford.edu)), and "Lesson 3". All of this follows them.

# %%
# %matplotlib inline
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import data, descent, features, losses
from chainrule.models import mlp, perceptron
from chainrule.plots import features as figures

train, test = (data.mnist(split, source="embedded") for split in ("train", "test"))
images, test_images = (jnp.asarray(digits.images, jnp.float32) / 255 for digits in (train, test))
labels, test_labels = (jnp.asarray(digits.labels) for digits in (train, test))

# %% [markdown]
# ## One product makes XOR linear
#
# No line separates the corners of the unit square as XOR does. Add the product as a third coordinate,
# $\Phi(u, v) = (u, v, uv)$, and a plane does: the corner (1, 1) is lifted off the ground, and the
# others stay on it. The sigmoid $\sigma(w \cdot \Phi + b)$ is read as the probability $P(1)$ of a 1. The *loss*
# is the cross-entropy: the mean of $-\log$ of the probability that the predictor gives to the right
# answer. Gradient descent makes it small: a thousand times, it takes from every weight 4 times the derivative of the
# loss with respect to it. Why that works is the subject of the next notebook.

# %%
corners = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
xor = jnp.array([0, 1, 1, 0])
lifted = jnp.concatenate([corners, features.pair_products(corners, jnp.array([[0, 1]]))], axis=1)


def fit_xor(inputs):
    def loss(params):
        return losses.binary_cross_entropy(mlp.apply(params, inputs)[:, 0], xor)

    params, slope = mlp.init(jax.random.key(0), (inputs.shape[1], 1)), jax.jit(jax.grad(loss))
    for _ in range(1000):
        params = jax.tree.map(lambda w, g: w - 4.0 * g, params, slope(params))
    odds = jax.nn.sigmoid(mlp.apply(params, inputs)[:, 0])
    return float(loss(params)), np.round(np.asarray(odds, float), 3), params["layer1"]


for name, inputs in (("u, v", corners), ("u, v, uv", lifted)):
    loss, odds, layer = fit_xor(inputs)
    print(f"{name:8}: loss {loss:.4f}, P(1) at 00, 01, 10, 11: {odds}")
figures.exclusive_or(np.append(layer["kernel"][:, 0], layer["bias"]))

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert abs(fit_xor(corners)[0] - np.log(2)) < 1e-4 and loss < 0.01

# %% [markdown]
# Without the product, the best it can say is "one half" everywhere, at a loss of $\log 2 = 0.6931$.
#
# ## Products of pixels: is it an 8?
#
# The same trick on digits: to the 784 pixels, add products of random pairs of them. The predictor
# becomes a quadratic form. There are 306,936 pairs, so the products are made block by block as the
# perceptron walks. (`python experiments/eight_vs_rest.py --data-dir FOLDER` does it on all 60,000.)


# %%
def eight(digits):
    inputs = jnp.asarray(digits.images.reshape(-1, 784))
    return inputs, jnp.where(jnp.asarray(digits.labels) == 8, 1, -1)


def with_products(pairs, pixels):
    x = pixels.astype(jnp.float32) / 255
    return jnp.concatenate([x, features.pair_products(x, pairs)], axis=1)


always_no = float(jnp.mean(test_labels == 8))
pairs = features.pairs(jax.random.key(0), features=784, count=4000)
counts, errors = (0, 1000, 4000), []
for count in counts:
    feature_map = functools.partial(with_products, pairs[:count])
    fit = perceptron.fit(*eight(train), 5, bias=True, key=jax.random.key(1), features=feature_map)
    errors.append(
        [
            float(jnp.mean(y * perceptron.apply(fit.averaged, x, features=feature_map) <= 0))
            for x, y in (eight(train), eight(test))
        ]
    )
    print(f"{784 + count:5d} features: train {errors[-1][0]:.2%}, test {errors[-1][1]:.2%}")
errors = np.asarray(errors)
figures.error_by_features(
    784 + np.asarray(counts),
    {"train": errors[None, :, 0], "test": errors[None, :, 1]},
    floor=("always no", always_no),
)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert 784 * 783 // 2 == 306_936
assert (np.diff(errors[:, 0]) < 0).all()
assert (np.diff(errors[:, 1] - errors[:, 0]) > 0).all()

# %% [markdown]
# Blue is the error on the digits that were learned from, vermillion that on others. More features make a more
# capable predictor. The training error falls faster than the test error, and the distance between the two
# grows: capacity has its price.
#
# ## Features that take away
#
# The other use of features is to *remove* what should not matter. For a digit that is, among other
# things, the exact place of its strokes. Start with the edges, the places where the brightness changes. Sobel's
# filters measure how fast it does, downwards and to the right: red where it rises, blue where it falls.

# %%
five = images[:3]
figures.edges(*(np.asarray(x) for x in (five, *features.sobel(five))))

# %% [markdown]
# The two numbers of a pixel are the gradient of the image there: it points to where the brightness rises
# most, across the edge. A histogram of oriented gradients (HOG; Dalal and Triggs, 2005) forgets where in a small cell an edge was and keeps which way it
# ran. Each pixel votes with the length of its gradient for its orientation, and a cell keeps the sum of
# the votes. Drawn as stars, each stroke along the edge:


# %%
def stars(images, cell):
    votes = features.hog(images, cell=cell, block=1, norm="none")
    across = -(-28 // cell)
    return np.asarray(votes).reshape(len(images), across, across, 9)


figures.histograms(np.asarray(five), {8: stars(five, 8), 4: stars(five, 4)})

# %% [markdown]
# On top of each kind of input, the same linear predictor: ten scores, one a digit, of which the largest is the
# answer. With targets $y$ of $+1$ for the digit's own score $s$ and $-1$ for the others, the loss is the squared
# hinge, the mean of $\max(0, 1 - y s)^2$: a score is to be on its side by at least 1. A little weight decay,
# $\lambda \lVert w \rVert^2$, keeps the weights small, and L-BFGS, a descent that learns the curvature on its way,
# finds them. A multi-layer perceptron without a hidden layer *is* a linear predictor, so no new model is needed.
#
# The third input has finer cells, and divides the histograms of each block of neighbouring cells by their length,
# so that a faint stroke counts as much as a bold one.

# %%
maps = {
    "pixels": lambda images: images.reshape(len(images), -1),
    "HOG 8 x 8": functools.partial(features.hog, cell=8, block=1, norm="none"),
    "HOG 4 x 4, blocks": features.hog,
}


@functools.partial(jax.jit, static_argnames="steps")
def learn(inputs, labels, steps=40):
    targets = 2 * jax.nn.one_hot(labels, 10) - 1

    def loss(params):
        decay = 4e-4 * jnp.sum(params["layer1"]["kernel"] ** 2)
        return losses.squared_hinge(mlp.apply(params, inputs), targets) + decay

    start = mlp.init(jax.random.key(0), (inputs.shape[1], 10))
    return descent.gradient_descent(
        loss, start, optax.lbfgs(), steps, record_params=False
    ).final_params


def scaled(feature_map):
    """The features in units in which their mean square on the training images is 1."""
    inputs = feature_map(images)
    scale = jnp.sqrt(jnp.mean(inputs**2))
    return inputs / scale, lambda images: feature_map(images) / scale


def error(params, inputs, labels):
    return float(jnp.mean(jnp.argmax(mlp.apply(params, inputs), axis=1) != labels))


trained, wrong = {}, {}
for name, feature_map in maps.items():
    inputs, feature_map = scaled(feature_map)
    trained[name] = learn(inputs, labels), feature_map
    wrong[name] = error(trained[name][0], feature_map(test_images), test_labels)
    print(f"{name:18}: {inputs.shape[1]:4d} features, test error {wrong[name]:.1%}")

# %% [markdown]
# ## A digit moved by one pixel
#
# To the eye nothing has happened. To the pixels a lot has: measure how far a digit moves in feature
# space, in units of the distance between two different digits, and how many more of them are misread.

# %%
moved, moves, lost = jnp.roll(test_images, 1, axis=2), {}, {}
for name, (params, feature_map) in trained.items():
    here, there = feature_map(test_images), feature_map(moved)
    distance = jnp.linalg.norm(here - there, axis=1).mean()
    between = jnp.linalg.norm(here - jnp.roll(here, 1, axis=0), axis=1).mean()
    moves[name], after = float(distance / between), error(params, there, test_labels)
    lost[name] = after - wrong[name]
    print(f"{name:18}: moves by {moves[name]:.2f}, error {wrong[name]:.1%} -> {after:.1%}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert wrong["pixels"] > wrong["HOG 4 x 4, blocks"]
assert max(moves["HOG 8 x 8"], moves["HOG 4 x 4, blocks"]) < moves["pixels"]
assert max(lost["HOG 8 x 8"], lost["HOG 4 x 4, blocks"]) < lost["pixels"]

# %% [markdown]
# The histograms move less than the pixels, and the errors grow less: they are not invariant to shifts, but
# *less variant*, pseudo-invariant. Convolution and pooling, in
# [notebook 7](07_convolution_to_lenet.ipynb), get the same property with features that are learned.
#
# ## Exercises
#
# 1. How many pair products make *every* Boolean function of two inputs linear? And of three inputs,
#    with products of any number of them?
#
# <details><summary>Solution</summary>
#
# One: $(u, v, uv)$ and a constant are four functions, linearly independent on the four rows of the
# table, so that every table is a linear combination of them. For three inputs take
# $uv, uw, vw, uvw$: with the inputs and the constant they are eight functions on eight rows.
#
# </details>
#
# 2. Train `"pixels"` on the first 300 digits only, then `"HOG 4 x 4, blocks"`. Which one is right more often?

# %%
_, feature_map = trained["pixels"]
mine = learn(feature_map(images[:1000]), labels[:1000])  # 300 digits, and the other features
print(f"{error(mine, feature_map(test_images), test_labels):.1%}")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# few = {}
# for name, (_, feature_map) in trained.items():
#     params = learn(feature_map(images[:300]), labels[:300])
#     few[name] = error(params, feature_map(test_images), test_labels)
#     print(name, f"{wrong[name]:.1%} -> {few[name]:.1%}")
# assert few["HOG 4 x 4, blocks"] < few["pixels"]
# ```
#
# Both lose, about as much, and the histograms keep their lead.
#
# </details>

# %% [markdown]
# 3. Move the digits by two pixels instead of one. Which of the three inputs loses most?

# %%
moved = jnp.roll(test_images, 1, axis=2)  # by one pixel
params, feature_map = trained["pixels"]
print(f"{error(params, feature_map(moved), test_labels):.1%}")

# %% [markdown]
# <details><summary>Solution</summary>
#
# A histogram forgives what stays in its cell, and no more than that. How much that is, the errors say:
#
# ```python
# far = jnp.roll(test_images, 2, axis=2)
# for name, (params, feature_map) in trained.items():
#     print(name, f"{error(params, feature_map(far), test_labels):.1%}")
# ```
#
# </details>
