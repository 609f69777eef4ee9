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
# # 7. From convolution to LeNet
#
# A perceptron looks at a digit as at 784 numbers in no particular order: shuffle the pixels of all images
# in the same way, and it learns just as well. That throws something away. Neighbours belong together,
# and a stroke is a stroke wherever it lies. A convolution builds both into the network: it looks at small
# windows, and at all of them with the same weights.
#
# **It takes** notebooks 4 and 5. **Afterwards you can** compute what a convolution does, forward and backward, read the costs of a network off its table, and train LeNet.
#
# *Before: [6. X-ray](06_xray.ipynb). After: [8. VGG16](08_vgg16.ipynb).*
#
# *The notes*: François Fleuret, "Deep Learning #3: MLP, backprop, autograd" (IfI Summer School 2018, [fleuret.org/ifi](https://fleuret.org/ifi)), and "Deep Learning Tutorials, Chapter 4: Graphs of operators, autograd, and convolutional layers". *The course*: "CS231n, Lecture 4 notes" (Stanford, spring 2017, [cs231n.stanford.edu](https://cs231n.stanford.edu)), and "Lesson 3". All of this follows them.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import data, losses, training
from chainrule.check import check_gradients
from chainrule.data.augment import shift
from chainrule.data.batches import Batches
from chainrule.models import lenet, stack
from chainrule.models.stack import Conv, Dense
from chainrule.ops.convolution import conv, conv_backward, conv_transpose
from chainrule.ops.pooling import avg_pool, avg_pool_backward, max_pool, max_pool_backward
from chainrule.plots import classification, convolution, network, sliding

train, test = (data.mnist(split, source="embedded") for split in ("train", "test"))

# %% [markdown]
# ## A scalar product that moves
#
# Put the kernel $(3, 2)$ under the first two of the values $(1, 2, 3, 4)$ and take the scalar product; move it
# by one, take the next. $1 \cdot 3 + 2 \cdot 2 = 7$, then $2 \cdot 3 + 3 \cdot 2 = 12$, then 17:

# %%
signal, kernel = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([3.0, 2.0])
print(conv(signal[None, :, None], kernel[:, None, None])[0, :, 0])

# %% [markdown]
# What signal processing calls a convolution turns the kernel round first, and would give
# $1 \cdot 2 + 2 \cdot 3 = 8$. A kernel that is learned does not care which way round it is stored, so that
# deep learning leaves the turning out and keeps the name.
#
# The extra axes are for the batch and the channels, which come last: images are `[batch, rows, columns,
# channels]`, kernels `[rows, columns, channels in, features out]`. Three numbers decide which windows
# there are: the *padding* puts zeros around the image, the *stride* is how far the window moves, and the
# *dilation* how far apart its weights are. Of $n$ values with a kernel of $k$, padding $p$ on both sides,
# stride $s$ and dilation $d$,
#
# $$ \left\lfloor \frac{n + 2 p - (1 + (k - 1) d)}{s} \right\rfloor + 1 $$
#
# windows fit. The examples of the notes, none of them computed, only asked for their shapes:


# %%
def size(inputs, kernel, **settings):
    shapes = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (inputs, kernel))
    return jax.eval_shape(lambda x, w: conv(x, w, **settings), *shapes).shape


print(
    "117 maps of 10 x 13 with 4 channels, 5 kernels of 2 x 3:", size((117, 10, 13, 4), (2, 3, 4, 5))
)
print("20 x 30, 3 x 3, dilation 4:", size((1, 20, 30, 1), (3, 3, 1, 1), dilation=4))
print("50 x 50, 3 x 3:", size((5, 50, 50, 3), (3, 3, 3, 1)))
print("50 x 50, 3 x 3, padding 1:", size((5, 50, 50, 3), (3, 3, 3, 1), padding=1))

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert conv(signal[None, :, None], kernel[:, None, None])[0, :, 0].tolist() == [7, 12, 17]
assert np.convolve([1, 2, 3, 4], [3, 2], "valid")[0] == 8
assert size((1, 20, 30, 1), (3, 3, 1, 1), dilation=4) == (1, 12, 22, 1)

# %% [markdown]
# ## Filters
#
# Before networks learned them, kernels were designed. Weights that add up to 1 keep the brightness, weights
# that add up to 0 answer to differences only: nothing on paper, nothing in the middle of a broad stroke,
# red where the image rises along the kernel, blue where it falls.

# %%
sobel = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
kernels = {
    "identity": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
    "blur": np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16,
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
    "edges": np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]),
    "Sobel, horizontal": sobel,
    "Sobel, vertical": sobel.T,
}
image = np.block([[*test.images[:2]], [*test.images[2:4]]]).astype(np.float32) / 255
bank = jnp.asarray(np.stack(list(kernels.values()), axis=-1), jnp.float32)[:, :, None]
outputs = conv(jnp.asarray(image)[None, ..., None], bank, padding=1)[0]
convolution.filtered(
    image, kernels, {name: np.asarray(outputs[..., i]) for i, name in enumerate(kernels)}
)

# %% [markdown]
# Which inputs an output reads, and with which weight, is its gradient: nobody has to work out where a window lies. A
# *stride* lets positions out, a *dilation* spreads the kernel, and a *transposed* convolution goes the way of a stride back:
# every value writes the kernel, and the image grows.

# %%
places = {
    "stride 2": (lambda x: conv(x, bank[..., 4:5], stride=2), (7, 7, 1), (1, 1, 0)),
    "dilation 2": (lambda x: conv(x, bank[..., 4:5], dilation=2), (7, 7, 1), (1, 1, 0)),
    "transposed": (lambda x: conv_transpose(x, bank[..., 4:5], stride=2), (3, 3, 1), (4, 3, 0)),
}
slides = {}
for name, (operator, shape, _) in places.items():
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 10

    def one(x, operator=operator):
        return operator(x[None])[0]

    slides[name] = sliding.Slide(x, one(x), jax.jacobian(one)(jnp.asarray(x)))
sliding.positions(slides, {name: at for name, (*_, at) in places.items()})

# %% [markdown]
# ## Why not connect everything?
#
# Because of the arithmetic. Between two colour images of 256 x 256 a fully connected layer has a weight
# for every pair of values; a convolution has one for every pair of channels and every place in its window.

# %%
weights = {}
for row in (Dense("dense", 256 * 256 * 3), Conv("conv", 3, kernel=3, padding=1)):
    (layer,) = stack.describe((row,), (256, 256, 3)).layers
    weights[row.name] = layer.parameters - row.features  # without the biases
    gigabytes = 4 * weights[row.name] / 1e9
    print(f"{row.name}: {weights[row.name]:,} weights, {gigabytes:.3g} GB in float32")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert weights == {"dense": (256 * 256 * 3) ** 2, "conv": 81}
assert round(weights["dense"] / 1e10, 2) == 3.87 and round(4 * weights["dense"] / 1e9) == 155

# %% [markdown]
# And because of what is true of images. A digit that is moved should give the same features, moved. That
# is a property of a convolution, whatever its weights:

# %%
rng = np.random.default_rng(0)
random_bank = jnp.asarray(rng.normal(size=(3, 3, 1, 4)), jnp.float32)
digit = jnp.asarray(test.images[:1, ..., None], jnp.float32) / 255
moved_first = conv(jnp.roll(digit, (-3, 2), axis=(1, 2)), random_bank, padding=1)
moved_after = jnp.roll(conv(digit, random_bank, padding=1), (-3, 2), axis=(1, 2))
print(
    f"largest value {moved_first.max():.2f}, difference {jnp.abs(moved_first - moved_after).max():.1g}"
)

# %% [markdown]
# ## Backward
#
# Nothing new is needed for the gradients. A weight of the kernel is a *shared* weight: it is used at every
# position of every image, and its gradient is the sum over its uses,
#
# $$ \frac{\partial \ell}{\partial W_k} = \sum_i x_{i + k}\, g_i, \qquad
# \frac{\partial \ell}{\partial x_j} = \sum_k W_k\, g_{j - k}. $$
#
# The second is a convolution again, of $g$ and with the kernel turned round. As an example small enough
# to be done by hand, with $g = (1, 10, 100)$:

# %%
g = jnp.array([1.0, 10.0, 100.0])[None, :, None]
by_signal, by_kernel = conv_backward(g, signal[None, :, None], kernel[:, None, None])
print("by the signal:", by_signal[0, :, 0])
print("by the kernel:", by_kernel[:, 0, 0], "= 1 (1, 2) + 10 (2, 3) + 100 (3, 4)")

# %% [markdown]
# As always, never believed without a check:

# %%
x, w, b = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 6, 7, 3), (3, 2, 3, 4), 4))
settings = {"stride": (2, 1), "padding": 1, "dilation": (1, 2)}
g = jnp.asarray(rng.normal(size=conv(x, w, b, **settings).shape), jnp.float32)
print(
    check_gradients(
        lambda x, w, b: conv_backward(g.astype(x.dtype), x, w, b, **settings),
        lambda x, w, b: jnp.sum(g * conv(x, w, b, **settings)),
        *(x, w, b),
        max_differences=50,
    )
)

# %% [markdown]
# ## One axis, and three
#
# A kernel can move along every axis on which neighbours are near: along the time of a sound, the height and the width of
# an image, the frames of a film. The notes put it so: a third axis needs a *metric* meaning. The channels of a
# colour image have none, as red is no nearer to green than to blue; a kernel does not move across them, but sums over them.
#
# A sound of one second: a low note, then a high one. The kernel is a hundredth of a second of the high note. Its
# response is loud where the note is:

# %%
rate = 4000
time = np.arange(rate) / rate
note = np.where(time < 0.5, np.sin(2 * np.pi * 220 * time), np.sin(2 * np.pi * 440 * time))
sound = jnp.asarray(note, jnp.float32)[None, :, None]
high = jnp.asarray(np.sin(2 * np.pi * 440 * time[:40]), jnp.float32)[:, None, None]
heard = conv(sound, high, padding="same")
first, second = jnp.split(jnp.abs(heard[0, :, 0]), 2)
print(f"mean response: {first.mean():.1f} to the low note, {second.mean():.1f} to the high one")
by_sound, by_kernel = conv_backward(jnp.ones_like(heard), sound, high, padding="same")
print("the gradient of the kernel has its shape:", by_kernel.shape)

# %% [markdown]
# A film of a digit that moves to the right, by a pixel a frame. The kernel spans two frames and two columns: what is
# there now, minus what was one pixel to the left a frame ago. That is 0 where everything moves to the right, and large for
# the same film played backwards. An image alone could not tell the two:

# %%
film = jnp.stack([jnp.roll(digit[0], frame, axis=1) for frame in range(6)])[None]
right = jnp.zeros((2, 1, 2, 1, 1)).at[1, 0, 1].set(1.0).at[0, 0, 0].set(-1.0)
forward, backward = conv(film, right), conv(film[:, ::-1], right)
print(f"{film.shape} gives {forward.shape}")
print(
    f"mean response: {jnp.abs(forward).mean():.3f} forward, {jnp.abs(backward).mean():.3f} backward"
)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert second.mean() > 5 * first.mean()
assert jnp.abs(forward).max() == 0 and jnp.abs(backward).mean() > 0.05
for arrays in ((sound[:, :60], high[:7]), (film[:, :3, 10:14, 10:15], right)):
    g = jnp.asarray(rng.normal(size=conv(*arrays).shape), jnp.float32)
    found = check_gradients(
        lambda x, w, g=g: conv_backward(g.astype(x.dtype), x, w),
        lambda x, w, g=g: jnp.sum(g * conv(x, w)),
        *arrays,
        max_differences=30,
    )
    assert found.verdict == "equal", found

# %% [markdown]
# ## Pools
#
# A pool keeps one value of each cell, the largest for example. With cells of 2 x 2, three quarters of the values
# are gone, and all that follows is four times cheaper. Backward, the gradient goes to the value that won, and
# nowhere else:

# %%
square = jnp.arange(16.0).reshape(1, 4, 4, 1)
print(max_pool(square, 2)[0, ..., 0])
g = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, ..., None]
print(max_pool_backward(g, square, window=2)[0, ..., 0])

# %% [markdown]
# An *average* pool keeps the mean of each cell, and its gradient goes to all values of the cell in equal parts:

# %%
print(avg_pool(square, 2)[0, ..., 0])
print(avg_pool_backward(g, square, window=2)[0, ..., 0])

# %% [markdown]
# Inside a cell the order does not matter, to either pool: sort the values of every cell from large to small, and
# nothing changes behind it. Move the whole image by one pixel, and values cross from one cell to the next:


# %%
def within_cells(images, order):
    cells = images.reshape(1, 2, 2, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(1, 2, 2, 4, 1)
    cells = cells[:, :, :, order].reshape(1, 2, 2, 2, 2, 1)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(1, 4, 4, 1)


sorted_cells, rolled = within_cells(square, jnp.array([3, 2, 1, 0])), jnp.roll(square, 1, axis=2)
for name, pool in (("max", max_pool), ("average", avg_pool)):
    here, inside, along = (pool(x, 2).ravel() for x in (square, sorted_cells, rolled))
    print(f"{name:7}", here, "sorted", inside, "moved", along)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert sorted_cells[0, :2, :2, 0].tolist() == [[5, 4], [1, 0]]
for pool in (max_pool, avg_pool):
    assert (pool(sorted_cells, 2) == pool(square, 2)).all()
    assert (pool(rolled, 2) != pool(square, 2)).any()
assert avg_pool(square, 2).ravel().tolist() == [2.5, 4.5, 10.5, 12.5]

# %% [markdown]
# So a pool forgives a shift, as long as everything stays in its
# cell, and that is all: it is not invariant to shifts, only less sensitive. How far do the edges of a digit
# move when the digit does, in units of the distance between two different digits?

# %%
digits = jnp.asarray(test.images[:300, ..., None], jnp.float32) / 255
four = jnp.asarray(np.stack([sobel, -sobel, sobel.T, -sobel.T], axis=-1), jnp.float32)[:, :, None]


def moved(window, pixels):
    @jax.jit
    def edges(images):
        return max_pool(jax.nn.relu(conv(images, four, padding=1)), window).reshape(300, -1)

    here, there = edges(digits), edges(jnp.roll(digits, pixels, axis=2))
    apart = jnp.linalg.norm(here - jnp.roll(here, 1, axis=0), axis=1)
    return float(jnp.linalg.norm(there - here, axis=1).mean() / apart.mean())


print("shift      1 px   2 px   3 px")
ways = []
for window in (1, 2, 4, 7):
    ways.append([moved(window, pixels) for pixels in (1, 2, 3)])
    print(f"{window} x {window}  ", *(f"{way:6.2f}" for way in ways[-1]))

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert (np.diff(ways, axis=0) < 0).all() and (np.diff(ways, axis=1) > 0).all()

# %% [markdown]
# The larger the cells, the shorter the way; but the further the shift, the longer it is, whatever the cells.
# `experiments/convolution.py` measures it with shifts in all directions, and what it does to a predictor.
#
# ## The notes' network
#
# Convolutions and pools in turn, so that the maps get smaller and more, and a small perceptron at the end. An
# architecture is a table, and everything about its sizes follows from the table, before there is any number:

# %%
described = stack.describe(lenet.ROWS, lenet.INPUT_SHAPE)
print(described)

# %%
network.sizes(*described.columns())

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
share = {layer.name: layer.parameters / described.parameters for layer in described.layers}
assert share["conv1"] < 0.01 and 0.45 < share["dense1"] < 0.55
first, wide = described.layers[0], described.layers[4]
assert (first.name, wide.name) == ("conv1", "dense1")
assert first.output_bytes > 0.8 * described.output_bytes
assert wide.multiply_adds < 0.05 * described.multiply_adds

# %% [markdown]
# Look where the costs are. Most of the *memory* is taken by the first layer, which has less than a hundredth
# of the *parameters*; half of those are in the first dense layer, which takes hardly any *time*. So it is
# in nearly every convolutional network.
#
# The column *sees* is the receptive field: which part of the image one output depends on. It can be
# computed, or it can be seen, as the part where the gradient of that output is not zero. Here the mean of
# its size over 50 digits, in a network that has learned nothing yet:

# %%
params = jax.jit(lenet.init)(jax.random.key(0))
mean, std = float(train.images.mean()), float(train.images.std())


def apply(params, images):
    return lenet.apply(params, (jnp.asarray(images, jnp.float32) - mean) / std)


names = [layer.name for layer in described.layers if len(layer.outputs) == 3]


@jax.jit
def seen(params, images):
    def middle(images, name):
        maps = lenet.features(params, images)[name]
        return jnp.sum(maps[:, maps.shape[1] // 2, maps.shape[2] // 2])

    return [jnp.abs(jax.grad(middle)(images, name)).mean(axis=(0, 3)) for name in names]


some = (jnp.asarray(test.images[:50, ..., None], jnp.float32) - mean) / std
gradients = dict(zip(names, map(np.asarray, seen(params, some)), strict=True))
boxes = {}
for name, gradient in gradients.items():
    rows, columns = np.nonzero(gradient)
    boxes[name] = (rows.min(), columns.min()), (np.ptp(rows) + 1, np.ptp(columns) + 1)
convolution.fields(gradients, boxes)

# %% [markdown]
# ## Training
#
# Batches of 100 and Adam, with a learning rate that rises and then falls. The network gives ten scores, the
# *logits*; their *softmax*, $e^{s_i} / \sum_j e^{s_j}$, are the probabilities, and the loss is their cross-entropy. Every digit is moved by up to two
# pixels at random whenever its turn comes: the one thing we know about digits that the network does not.
# The 6,000 digits that come with the package make 60 steps an epoch. `training.fit` runs the loop of
# [notebook 5](05_graphs_and_siamese_networks.ipynb): draw a batch, move its digits, take the gradient, update.

# %%
epochs, size = 6, 100
batches = Batches(
    {"images": train.images[..., None], "labels": train.labels}, size, key=jax.random.key(1)
)
steps = epochs * batches.per_epoch
optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0.0, 0.005, steps // 10, steps))


def loss(params, state, batch, key):
    logits = apply(params, batch["images"])
    wrong = jnp.argmax(logits, axis=1) != batch["labels"]
    return losses.cross_entropy(logits, batch["labels"]), (state, {"error": jnp.mean(wrong)})


def augment(key, batch):
    return batch | {"images": shift(key, batch["images"], pixels=2)}


def test_logits(params):
    return np.asarray(training.predict(apply, params, test.images[..., None], size=500))


def evaluate(train_state):
    wrong = test_logits(train_state.params).argmax(axis=1) != test.labels
    return {"test_error": float(wrong.mean())}


records = []
start = training.create(params, optimizer, key=jax.random.key(2))
end = training.fit(
    start,
    loss,
    optimizer,
    batches,
    epochs,
    augment=augment,
    evaluate=evaluate,
    report=records.append,
)
classification.learning(
    np.arange(1, epochs + 1),
    {
        "train, moved, during the epoch": np.array([[record["error"] for record in records]]),
        "test": np.array([[record["test_error"] for record in records]]),
    },
)

# %%
print(f"test error {records[-1]['test_error']:.1%}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert batches.per_epoch == 60 and records[-1]["test_error"] < 0.035

# %% [markdown]
# The training error is that of moved digits, while the weights still change: it may well be above the test error.
# `experiments/lenet_mnist.py` trains the same network on all 60,000.
#
# ## What it has learned
#
# The 32 filters of the first layer, each on a scale of its own. They began as noise; trained, some have a red side
# and a blue one, as Sobel's have:

# %%
convolution.kernels(
    {
        name: np.asarray(tree["conv1"]["kernel"])[:, :, 0]
        for name, tree in (("drawn", params), ("trained", end.params))
    }
)

# %% [markdown]
# And what the layers make of one digit. Where the ReLU follows, blue is gone:

# %%
features = jax.jit(lenet.features)(end.params, some[:1])
convolution.activations(test.images[0], {name: np.asarray(features[name][0]) for name in names})

# %% [markdown]
# ## What it confuses

# %%
logits = test_logits(end.params)
answers, odds = logits.argmax(axis=1), np.asarray(jax.nn.softmax(logits)).max(axis=1)
counts = np.zeros((10, 10), int)
np.add.at(counts, (test.labels, answers), 1)
classification.confusion(counts)

# %%
wrong = np.flatnonzero(answers != test.labels)
surest = wrong[np.argsort(-odds[wrong])][:24]
classification.mistakes(test.images[surest], test.labels[surest], answers[surest], odds[surest])

# %% [markdown]
# The surest mistake comes first. Some of them one would make oneself.
#
# ## In the terms of PyTorch
#
# | PyTorch | here |
# | --- | --- |
# | images `[N, C, H, W]`, kernels `[D, C, h, w]` | images `[N, H, W, C]`, kernels `[h, w, C, D]` |
# | `F.conv2d(x, w, b, stride, padding, dilation, groups)` | `conv(x, w, b, stride, padding, dilation, groups)` |
# | `padding=(1, 2)`: one number an axis, for both sides | the same, and `((lo, hi), ...)` for each side |
# | `F.max_pool2d(x, 2, return_indices=True)` | `max_pool_with_indices(x, 2)` |
# | `class Net(nn.Module)` with layers as attributes | a table of rows, `lenet.ROWS` |
# | `x.view(-1, 256)`: channels, rows, columns | `Dense` flattens rows, columns, channels |
# | `net.state_dict()` | `lenet.from_torch(tensors)`, `lenet.to_torch(params)` |
#
# ## Exercises
#
# 1. A kernel of 3 with dilation $d$ equals a larger kernel without. Which one? Show it.

# %%
x = jnp.arange(20.0)[None, :, None]
print(conv(x, jnp.ones((3, 1, 1)), dilation=4).shape, conv(x, jnp.ones((5, 1, 1))).shape)

# %% [markdown]
# <details><summary>Solution</summary>
#
# The kernel of size $1 + 2 d$ with $d - 1$ zeros between the weights.
#
# ```python
# w = jnp.asarray(rng.normal(size=(3, 1, 1)), jnp.float32)
# stuffed = jnp.zeros((9, 1, 1)).at[::4].set(w)
# x = jnp.asarray(rng.normal(size=(1, 20, 1)), jnp.float32)
# gap = jnp.abs(conv(x, w, dilation=4) - conv(x, stuffed)).max()
# print(gap)
# assert gap < 1e-5
# ```
#
# </details>

# %% [markdown]
# 2. In the notes' network the ReLU stands after the pool. What changes if it stands before?
#
# <details><summary>Solution</summary>
#
# Nothing in the outputs: a ReLU never decreases, so that the ReLU of the largest value is the largest of the
# ReLUs. It costs nine ReLUs where one is enough, and a cell without a positive value sends its gradient nowhere
# in both cases.
#
# </details>
#
# 3. How much do the pools of VGG16 save? Describe its convolutions with the pools and without.

# %%
rows = [
    Conv("conv1", 64, padding=1),
    Conv("conv2", 64, padding=1),
    stack.Pool("pool1"),
]  # one block
print(f"{stack.describe(rows, (224, 224, 3)).multiply_adds:,}")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# widths, work = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3), []
# for pools in (True, False):
#     rows = []
#     for i, block in enumerate(widths):
#         rows += [Conv(f"conv{i}{j}", width, padding=1) for j, width in enumerate(block)]
#         rows += [stack.Pool(f"pool{i}")] * pools
#     work.append(stack.describe(rows, (224, 224, 3)).multiply_adds)
#     print(f"{work[-1]:,}")
# assert (round(work[0] / 1e9, 1), round(work[1] / 1e9), round(work[1] / work[0])) == (15.3, 738, 48)
# assert (224 // 7) ** 2 == 1024
# ```
#
# 15.3 billion multiply-adds with pools, 738 billion without: 48 times as many. And the first dense layer
# behind them would have 1,024 times as many weights.
#
# </details>
