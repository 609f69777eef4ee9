"""A program as a user writes it, with NumPy's arrays: type checkers find nothing to complain of."""

import jax
import numpy as np
import optax

from chainrule import check, descent, features, landscapes, losses, training, verification, xray
from chainrule.data.batches import Batches
from chainrule.models import dag, lenet, mlp, perceptron, siamese, threshold, vgg
from chainrule.ops import activations, convolution, linear, pooling

rng = np.random.default_rng(0)
inputs = rng.normal(size=(32, 8)).astype(np.float32)
targets = rng.normal(size=32).astype(np.float32)
labels = rng.integers(0, 3, 32).astype(np.int32)
images = rng.normal(size=(4, 28, 28, 1)).astype(np.float32)
pairs = rng.normal(size=(16, 2, 8)).astype(np.float32)
same = rng.integers(0, 2, 16).astype(bool)

params = mlp.init(jax.random.key(0), (8, 16, 1))


def loss(params: mlp.Params) -> jax.Array:
    return losses.squared_error(mlp.apply(params, inputs)[:, 0], targets)


def batch_loss(params: mlp.Params, batch: tuple[np.ndarray, np.ndarray]) -> jax.Array:
    x, y = batch
    return losses.squared_error(mlp.apply(params, x)[:, 0], y)


def embed(params: mlp.Params, inputs: jax.Array) -> jax.Array:
    return mlp.apply(params, inputs)


outputs: jax.Array = mlp.apply(params, inputs)
recorded: mlp.Activations = mlp.forward(params, inputs)
gradients = mlp.backward(params, recorded, np.ones((32, 1), np.float32))
stepped, value = mlp.gradient_step(params, inputs, targets[:, None], 0.125)

trace = descent.gradient_descent(loss, params, optax.adam(0.01), 3)
lanes = descent.sweep(loss, params, np.array([0.125, 0.5], np.float32), 3)
words: tuple[str, ...] = descent.verdict(trace) + descent.verdict(lanes)
slope = descent.sharpness(landscapes.two_well, jax.numpy.asarray(0.5), key=jax.random.key(1))

report: xray.Report = xray.xray(loss, params)
births = report.nonfinite().births
names: list[str] = [node.label for node in report.nodes]

logits = lenet.apply(lenet.init(jax.random.key(1)), images)
plan = vgg.rows("A", classes=3)
small_vgg = vgg.init(jax.random.key(4), ((4,), (8,)), 8, channels=1, classes=3, hidden=(6,))
shares = vgg.probabilities(small_vgg, np.zeros((1, 8, 8, 1), np.float32))
error: jax.Array = losses.cross_entropy(logits, labels[:4])
edges = features.sobel(images[0, :, :, 0])
distances = siamese.distances(params, pairs, embed)
contrast = losses.contrastive(distances, same, 1.0)
rates = verification.roc(np.asarray(distances), same)

small = convolution.conv(images, np.ones((3, 3, 1, 2), np.float32), padding="same")
pooled = pooling.max_pool(np.asarray(small), 2)
affine = linear.linear(inputs, np.ones((8, 2), np.float32), np.zeros(2, np.float32))
active = activations.relu(np.asarray(affine))
bits = threshold.apply(threshold.OR, np.array([[0.0, 1.0]], np.float32))
fitted = perceptron.fit(inputs, np.where(targets > 0, 1, -1), 5)
signs = perceptron.apply(fitted.weights, inputs)

graph = {"y": dag.Node(dag.layer(linear.linear), ("x",), "w")}
weights = {"w": params["layer1"]}
forward = dag.forward(graph, weights, {"x": inputs})

batches = Batches((inputs, targets), 8, key=jax.random.key(2))
state = training.create(params, optax.sgd(0.1), key=jax.random.key(3))
by_hand = check.check_gradients(
    lambda *arrays: linear.linear_backward(np.ones((32, 2), np.float32), *arrays),
    lambda *arrays: linear.linear(*arrays).sum(),
    inputs,
    np.ones((8, 2), np.float32),
    np.zeros(2, np.float32),
)
