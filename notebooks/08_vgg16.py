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
# # 8. VGG16
#
# LeNet reads digits with two convolutions. VGG (Simonyan and Zisserman, 2015) sorts photographs into 1,000
# classes with up to sixteen, and there is almost nothing else to say about it: all kernels are 3 x 3, every
# pool halves the image, every block doubles the channels, until there are 512. This notebook takes it apart
# without ever holding its 553 MB of weights, and trains a small relative.
#
# **It takes** notebook 7. **Afterwards you can** say where the weights and the work of VGG16 are, train a small relative, and carry weights to and from other libraries.
#
# *Before: [7. From convolution to LeNet](07_convolution_to_lenet.ipynb).*
#
# *The notes*: François Fleuret, "Deep Learning #3: MLP, backprop, autograd" (IfI Summer School 2018, [fleuret.org/ifi](https://fleuret.org/ifi)), and "Deep Learning Tutorials, Chapter 4: Graphs of operators, autograd, and convolutional layers". *The course*: "CS231n, Lecture 4 notes" (Stanford, spring 2017, [cs231n.stanford.edu](https://cs231n.stanford.edu)), and "Lesson 3". All of this follows them.

# %%
# %matplotlib inline
import pathlib
import tempfile

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import data, export, losses, training
from chainrule.data import tensors
from chainrule.data.augment import shift
from chainrule.data.batches import Batches
from chainrule.models import stack, torchvision, vgg
from chainrule.plots import classification, convolution, network

# %% [markdown]
# ## Why 3 x 3
#
# Two convolutions of 3 x 3 in a row see what one of 5 x 5 sees, three what one of 7 x 7 sees. With 256
# channels in and out:

# %%
for count in (1, 2, 3):
    small = [stack.Conv(f"conv{i}", 256, kernel=3, padding=1) for i in range(1, count + 1)]
    large = stack.Conv("conv", 256, kernel=2 * count + 1, padding=count)
    described = [stack.describe(rows, (56, 56, 256)) for rows in (small, (large,))]
    sees = [d.layers[-1].receptive_field[0] for d in described]
    weights = [d.parameters for d in described]
    assert sees[0] == sees[1] and weights[0] <= weights[1]
    print(f"{count} x 3 x 3: sees {sees[0]}, {weights[0]:9,} weights   "
          f"one kernel: sees {sees[1]}, {weights[1]:9,} weights")  # fmt: skip

# %% [markdown]
# The field is the same, the weights are fewer, and between the small ones there is room for two ReLUs more.
#
# ## The table
#
# A configuration is a table: for each block the channels of its convolutions. `C` has kernels of 1 x 1 in it,
# written as a pair.

# %%
for letter, blocks in vgg.CONFIGS.items():
    print(letter, *blocks)

# %% [markdown]
# Everything else follows, and following it takes no memory: `describe` knows shapes, not numbers. The paper's
# table 2 says 133, 133, 134, 138 and 144 million parameters.

# %%
print("     layers   parameters    with batch norm    multiply-adds")
millions = []
for letter in vgg.CONFIGS:
    rows = vgg.rows(letter)
    plain, normed = (
        stack.describe(vgg.rows(letter, batch_norm=norm), (224, 224, 3)) for norm in (False, True)
    )
    millions.append(round(plain.parameters / 1e6))
    layers = sum("conv" in row.name or "dense" in row.name for row in rows)
    print(
        f"{letter}  {layers:9}  {plain.parameters:,}  {normed.parameters:15,}  {plain.multiply_adds:17,}"
    )

# %% [markdown]
# D is the one that is called VGG16. All of it:

# %%
vgg16 = stack.describe([row for row in vgg.rows("D") if "dropout" not in row.name], (224, 224, 3))
print(vgg16)

# %% [markdown]
# Where are the weights, and where is the work? Not in the same place:

# %%
network.sizes(*vgg16.columns())

# %%
dense = [layer for layer in vgg16.layers if layer.kind == "dense"]
print(f"the dense layers have {sum(d.parameters for d in dense) / vgg16.parameters:.0%} of the parameters "
      f"and do {sum(d.multiply_adds for d in dense) / vgg16.multiply_adds:.1%} of the work")  # fmt: skip

# %% [markdown]
# A weight of a dense layer is used once for an image, one of the first convolutions 224 x 224 = 50,176 times.
#
# The pools keep the work in bounds. The same convolutions without them:

# %%
convolutions = [row for row in vgg.rows("D") if "conv" in row.name]
without = stack.describe(convolutions, (224, 224, 3)).multiply_adds
with_pools = sum(layer.multiply_adds for layer in vgg16.layers if layer.kind == "conv")
print(
    f"{without / 1e9:.0f} billion multiply-adds instead of {with_pools / 1e9:.1f}: {without / with_pools:.0f} times as many"
)

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert millions == [133, 133, 134, 138, 144]
assert vgg16.parameters == 138_357_544 and round(4 * vgg16.parameters / 1e6) == 553
assert round(without / with_pools) == 48 and round(with_pools / 1e9, 1) == 15.3

# %% [markdown]
# ## The parameters are the architecture
#
# `vgg.init` draws nested dictionaries and `vgg.apply` reads off them how many blocks there are, how many
# convolutions in each, how large their kernels are, and whether there is a normalisation. Nothing is drawn
# here either: `jax.eval_shape` runs the function on shapes.

# %%
shapes = jax.eval_shape(vgg.init, jax.random.key(0))
print(jax.tree.map(jnp.shape, shapes["block3"]))
image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
print(jax.eval_shape(vgg.apply, shapes, image))
for name, feature in jax.eval_shape(vgg.features, shapes, image).items():
    print(f"{name:12}  {feature.shape}", end="\n" if "pool" in name or "dense" in name else "   ")

# %% [markdown]
# Five pools need an image of at least 32 x 32. A smaller one is refused before anything is drawn:

# %%
try:
    vgg.init(jax.random.key(0), image_size=28)
except ValueError as error:
    print(error)

# %% [markdown]
# ## A small one, for digits
#
# Digits have 28 x 28 pixels, enough for three blocks. The same plan, channels that double, and *batch
# normalisation*: behind every convolution each channel is shifted and scaled to mean 0 and variance 1 over the
# batch, which lets the learning rate be large. What it uses after the training, means and variances that were
# averaged on the way, is a second dictionary, the *state*:

# %%
blocks = ((8,), (16, 16), (32,))
train, test = (data.mnist(split, source="embedded") for split in ("train", "test"))
preprocessing = torchvision.Preprocessing((train.images.mean() / 255,), (train.images.std() / 255,))


@jax.jit
def init(key):
    return vgg.init(key, blocks, image_size=28, channels=1, classes=10, batch_norm=True, hidden=())


params = init(jax.random.key(0))
state = vgg.init_state(params)
print(stack.describe(vgg.rows_of(params), (28, 28, 1)))

# %% [markdown]
# While it trains, `apply` normalises by the batch and returns the new state beside the logits. Every digit
# is moved by up to two pixels, another way in every epoch.

# %%
optimizer = optax.adam(optax.cosine_onecycle_schedule(180, 0.02))


def loss(params, state, batch, key):
    inputs = torchvision.preprocess(batch["images"], preprocessing)
    logits, state = vgg.apply(params, inputs, state=state, train=True)
    wrong = jnp.mean(jnp.argmax(logits, axis=1) != batch["labels"], dtype=jnp.float32)
    return losses.cross_entropy(logits, batch["labels"]), (state, {"error": wrong})


def augment(key, batch):
    return batch | {"images": shift(key, batch["images"], pixels=2)}


digits = {"images": train.images[..., None], "labels": train.labels}
batches = Batches(digits, 100, key=jax.random.key(1))

# %% [markdown]
# A step takes the gradient with respect to the parameters alone, asks the optimizer what to add to them, and hands the
# new state on. The training is a loop of such steps. The first five:


# %%
@jax.jit
def step(params, state, opt_state, batch, key):
    (value, (state, _)), grads = jax.value_and_grad(loss, has_aux=True)(params, state, batch, key)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), state, opt_state, value


moving = params, state, optimizer.init(params)
for at in range(5):
    key = jax.random.fold_in(jax.random.key(2), at)
    *moving, value = step(*moving, augment(key, batches(at)), key)
    print(f"step {at}: loss {value:.3f}")

# %% [markdown]
# `training.fit` is this loop, many steps in one compiled program, with an evaluation after every epoch. Three epochs,
# from the start:


# %%
def probabilities(variables, images):
    params, state = variables
    return vgg.probabilities(params, torchvision.preprocess(images, preprocessing), state=state)


def evaluate(train_state):
    variables = train_state.params, train_state.state
    found = training.predict(probabilities, variables, test.images[..., None], size=500)
    return {"test": float(np.mean(np.argmax(found, axis=1) != test.labels))}


start = training.create(params, optimizer, key=jax.random.key(2), state=state)
records = []
end = training.fit(
    start, loss, optimizer, batches, 3, augment=augment, evaluate=evaluate, report=records.append
)
errors = {
    "train, moved": np.array([[r["error"] for r in records]]),
    "test": np.array([[r["test"] for r in records]]),
}
classification.learning(np.arange(1, 4), errors, targets={"chance": 0.9})

# %%
print(f"test error {records[-1]['test']:.1%}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert records[-1]["test"] < 0.06

# %% [markdown]
# (`experiments/vgg_digits.py` gives a larger one all 60,000 digits.)
#
# ## What the layers make of a digit
#
# `vgg.features` returns what every layer hands on, by its name. A row of maps a layer, red where a
# channel answers; all are behind their ReLU, so that nothing is blue:

# %%
one = torchvision.preprocess(test.images[:1, ..., None], preprocessing)
features = jax.jit(vgg.features)(end.params, one, state=end.state)
shown = {name: np.asarray(f[0]) for name, f in features.items() if "norm" in name or "pool" in name}
convolution.activations(test.images[0], shown)

# %% [markdown]
# Early maps still look like the digit, with its edges on one side or the other. Later ones say *where*
# less and less, and *what* more and more.
#
# And what it still gets wrong, the surest mistakes first:

# %%
found = np.asarray(
    training.predict(probabilities, (end.params, end.state), test.images[..., None], size=500)
)
answers = found.argmax(axis=1)
wrong = np.flatnonzero(answers != test.labels)
wrong = wrong[np.argsort(-found[wrong].max(axis=1))][:16]
classification.mistakes(
    test.images[wrong], test.labels[wrong], answers[wrong], found[wrong].max(axis=1)
)

# %% [markdown]
# ## Weights from elsewhere
#
# Published weights of VGG16 are in PyTorch's layout: channels first, kernels `[out, in, h, w]`, under names
# that count the modules. The first dense layer is the awkward one. Its inputs are a flattened image, and
# PyTorch flattens channels, rows, columns where here it is rows, columns, channels; so its weights have to
# be sorted anew. `chainrule.models.pretrained.torchvision` reads and writes that layout, in `.safetensors` or `.npz`
# files, together with the preprocessing that images need:

# %%
temporary = tempfile.TemporaryDirectory()
folder = pathlib.Path(temporary.name)
torchvision.save(
    folder / "digits.safetensors", end.params, end.state, image_size=28, preprocessing=preprocessing
)
stored = tensors.read(folder / "digits.safetensors")
for name, array in list(stored.arrays.items())[:6]:
    print(f"{name:24}  {array.shape}")
print(stored.metadata)

# %%
settings = {"image_size": 28, "channels": 1, "classes": 10, "batch_norm": True, "hidden": ()}
again = torchvision.load(folder / "digits.safetensors", blocks, **settings)
print(all(map(np.array_equal, jax.tree.leaves(again.params), jax.tree.leaves(end.params))))

# %% [markdown]
# A file that holds something else is refused with everything that is wrong with it, at once:

# %%
try:
    torchvision.load(folder / "digits.safetensors", ((8,), (16,), (32,)), **settings)
except ValueError as error:
    print(str(error).replace(str(folder), "..."))

# %% [markdown]
# The weights of torchvision's VGG16 take three lines. (Their file, `vgg16-397923af.pth`, is a pickle, and
# to open a pickle is to run a program: no pickle is opened here. Where PyTorch is installed,
# `safetensors.torch.save_file(torch.load(path, weights_only=True), "vgg16.safetensors")` makes a file of
# arrays of it.)
#
# ```python
# weights = torchvision.load("vgg16.safetensors", preprocessing=torchvision.IMAGENET)
# inputs = torchvision.preprocess(photographs, weights.preprocessing)  # uint8 [N, height, width, 3]
# vgg.probabilities(weights.params, inputs)                            # [N, 1000]
# ```
#
# ## In flax, and without anything
#
# The dictionaries have the names and the layout of flax. A flax model with these names takes them unchanged:


# %%
class Block(flax.linen.Module):
    widths: tuple[int, ...]

    @flax.linen.compact
    def __call__(self, x):
        for index, width in enumerate(self.widths, start=1):
            x = flax.linen.Conv(width, (3, 3), name=f"conv{index}")(x)
            x = flax.linen.BatchNorm(use_running_average=True, name=f"norm{index}")(x)
            x = flax.linen.relu(x)
        return flax.linen.max_pool(x, (2, 2), (2, 2))


class Net(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
        for index, widths in enumerate(blocks, start=1):
            x = Block(widths, name=f"block{index}")(x)
        return flax.linen.Dense(10, name="dense1")(x.reshape(x.shape[0], -1))


inputs = torchvision.preprocess(test.images[:100, ..., None], preprocessing)
theirs = jax.jit(Net().apply)({"params": end.params, "batch_stats": end.state}, inputs)
ours = jax.jit(vgg.apply)(end.params, inputs, state=end.state)
print(f"largest difference of a logit: {jnp.max(jnp.abs(theirs - ours)):.0e}")

# %% tags=["check"]
# The numbers of the text: where one no longer holds, the notebook stops.
assert jnp.max(jnp.abs(theirs - ours)) < 1e-3

# %% [markdown]
# And it can leave Python's source behind altogether. `export.save` writes the whole function, the
# preprocessing and the weights with it, as one program of StableHLO that JAX runs anywhere, for a batch of
# any size:

# %%
path = folder / "digits.stablehlo"
trained = (end.params, end.state)
export.save(path, lambda images: probabilities(trained, images), test.images[:1, ..., None])
program = export.load(path)
print(program.in_avals, program.platforms, f"{path.stat().st_size / 1e3:.0f} kB")
for size in (1, 7):
    print(size, np.argmax(program.call(test.images[:size, ..., None]), axis=1), test.labels[:size])
temporary.cleanup()

# %% [markdown]
# ## Exercises
#
# 1. Which layer of VGG16 has the most parameters, what is the smallest change to the network that would
#    save most of them, and how many are left?

# %%
largest = max(vgg16.layers, key=lambda layer: layer.output_bytes)  # and by parameters?
print(largest.name)

# %% [markdown]
# <details><summary>Solution</summary>
#
# `dense1`, 102,764,544 of 138,357,544: it sees 7 x 7 x 512 numbers. Averaging over the 7 x 7 positions leaves
# 512 of them:
#
# ```python
# rows = list(vgg.rows("D"))
# at = [row.name for row in rows].index("dense1")
# rows.insert(at, stack.Pool("average", 7, kind="avg"))
# left = stack.describe(rows, (224, 224, 3)).parameters
# print(f"{left:,}")
# assert left == 37_694_248 and max(layer.parameters for layer in vgg16.layers) == 102_764_544
# ```
#
# </details>

# %% [markdown]
# 2. What all layers of A make of one image of 224 x 224 takes 36 MB, which training keeps for the way back.
#    From which size on would it be more than 16 GB?

# %%
print(stack.describe(vgg.rows("A"), (448, 448, 3)).output_bytes / 1e9, "GB")

# %% [markdown]
# <details><summary>Solution</summary>
#
# All but what the dense layers make grows with the number of pixels, so that the side may grow by the root of
# 16 / 0.0359, to about 4,700:
#
# ```python
# sizes = (224, 448, 3584, 4704, 4736)
# found = [stack.describe(vgg.rows("A"), (size, size, 3)).output_bytes / 1e9 for size in sizes]
# print(dict(zip(sizes, found)))
# assert round(found[0], 4) == 0.0359 and found[3] < 16 < found[4]
# ```
#
# </details>

# %% [markdown]
# 3. The receptive field of the last pool is 212 x 212, in an image of 224 x 224. What is it after each block
#    of A?

# %%
print([(layer.name, layer.receptive_field) for layer in vgg16.layers][-6:])

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# layers = stack.describe(vgg.rows("A"), (224, 224, 3)).layers
# sees = {layer.name: layer.receptive_field[0] for layer in layers if "pool" in layer.name}
# print(sees)
# assert list(sees.values()) == [4, 10, 30, 70, 150]
# assert [layer for layer in vgg16.layers if "pool" in layer.name][-1].receptive_field[0] == 212
# ```
#
# 4, 10, 30, 70 and 150 pixels.
#
# </details>
