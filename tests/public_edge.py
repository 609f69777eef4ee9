"""One valid call of every public function, for the fuzz of `tests/test_public_edge.py` to spoil.

The calls are small: each takes milliseconds where it can. Paths are relative, into the folder that
the fuzz runs in.
"""

import functools
import inspect
import pathlib
import pkgutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from chainrule import descent, losses, runs, training, verification, xray
from chainrule.data import Digits, Provenance, batches, pairs
from chainrule.explorer import problem
from chainrule.models import dag, lenet, mlp, stack, threshold, vgg
from chainrule.models.pretrained import layouts, preprocessing, torchvision
from chainrule.ops import activations, elementary, linear
from chainrule.plots import capacity, cost, sliding, trajectory
from chainrule.training import export

Call = dict[str, Any]

#: What is not called at all, by the beginning of its name.
LEFT_OUT = {
    "chainrule.cli": "the command line: its arguments are parsed text",
    "chainrule.data.command": "the command line",
    "chainrule.runs.command": "the command line",
    "chainrule.xray.command": "the command line",
    "chainrule.data.digits.download": "downloads",
    "chainrule.data.fetch": "downloads",
    "chainrule.data.digits.tfds": "prepares a data set of tensorflow-datasets, for seconds",
    "chainrule.data.prepare": "prepares a data set of tensorflow-datasets, for seconds",
    "chainrule.training.launch": "starts processes",
    "chainrule.training.interrupt": "changes what signals do",
    "chainrule.compiling": "changes where JAX keeps its programs",
    "chainrule.plots.style.styled": "decorates our own functions",
    # Parts of a room: public to read, called with what the functions around them have checked.
    "chainrule.data.digits.files": "a part of data.mnist",
    "chainrule.data.digits.idx": "a part of data.mnist",
    "chainrule.data.digits.record.check": "a part of data.mnist",
    "chainrule.descent.updates": "a part of descent and training",
    "chainrule.explorer.block": "a part of explorer.page",
    "chainrule.explorer.landscape.check": "a part of explorer.page",
    "chainrule.explorer.landscape.programs": "a part of explorer.page",
    "chainrule.explorer.problem.check": "a part of explorer.page",
    "chainrule.models.dag.passes.by_vjp": "a part of dag.backward",
    "chainrule.models.stack.rows.checked": "a part of stack",
    "chainrule.models.stack.rows.as_matrix": "a part of stack",
    "chainrule.models.stack.rows.run": "a part of stack",
    "chainrule.models.stack.rows.param_shapes": "a part of stack",
    "chainrule.models.stack.rows.window": "a part of stack",
    "chainrule.models.stack.network.steps": "a part of stack",
    "chainrule.ops.windows": "a part of convolution and pooling",
    "chainrule.data.tensors.pieces": "a part of tensors and layouts",
    "chainrule.data.labelled_images.labelled": "reads files, its own tests spoil them",
    "chainrule.plots.descent.draw_edges": "a part of plots.descent",
    "chainrule.plots.descent.draw_points": "a part of plots.descent",
    "chainrule._files": "a part of runs.start",
    "chainrule.runs.write.Run": "made by runs.start",
    "chainrule.runs.folder": "a part of runs.start",
    "chainrule.runs.formats": "a part of runs.load",
    "chainrule.runs.limits": "a part of runs.start",
    "chainrule.runs.pages.cells": "a part of the pages",
    "chainrule.runs.read.read_record": "a part of runs.load",
    "chainrule.runs.trace": "a part of runs.start",
    "chainrule.runs.metrics.Log": "a part of runs.start",
    "chainrule.runs.metrics.numbers": "a part of runs.start",
    "chainrule.runs.wording": "a part of the pages",
    "chainrule.training.carry": "a part of training.fit",
    "chainrule.training.feed": "a part of training.fit",
    "chainrule.training.flight": "a part of training.fit",
    "chainrule.training.loop.begin": "a part of training.fit",
    "chainrule.training.loop.unknown": "a part of training.fit",
    "chainrule.training.stopping": "a part of training.fit",
    "chainrule.training.from_checkpoint": "needs the checkpoints of a training",
    "chainrule.training.checkpoints.folder": "a part of training.Checkpoints",
    "chainrule.training.checkpoints.identity": "a part of training.Checkpoints",
    "chainrule.training.checkpoints.manifest": "a part of training.Checkpoints",
    "chainrule.training.checkpoints.session": "a part of training.Checkpoints",
    "chainrule.training.devices": "a part of training.fit",
    "chainrule.training.step.unwrap_key": "a part of training.Checkpoints",
    "chainrule.training.step.wrap_key": "a part of training.Checkpoints",
    "chainrule.xray.": "parts of the x-ray: what is public stands in chainrule.xray itself",
}


def calls() -> dict[str, tuple[Callable[..., Any], Call]]:
    """Return name -> the function, and valid arguments by the names of its parameters."""
    tables = (_check, _data, _descent, _landscapes, _losses, _ops, _features, _models)
    found: dict[str, Call] = {}
    for table in (*tables, _pretrained, _training, _runs, _plots, _explorer, _xray):
        for name, call in table().items():
            assert name not in found, name
            found[name] = call
    return {f"chainrule.{name}": (_function(name), call) for name, call in found.items()}


def _function(name: str) -> Callable[..., Any]:
    """Import a function; of a method, the function that takes the object first, as ``self``."""
    return _ENTERED.get(name) or pkgutil.resolve_name(f"chainrule.{name}")


def _floats(*shape: int) -> jax.Array:
    return jnp.asarray(_np(*shape))


def _labels() -> jax.Array:
    return jnp.array([0, 1, 2, 1], jnp.int32)


KEY = functools.partial(jax.random.key, 0)
SIGNS = functools.partial(jnp.array, [1, -1, 1, -1])


def _square(params: Any, *batch: Any) -> jax.Array:
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def _check() -> dict[str, Call]:
    return {
        "check.check_gradients": {
            "mine": lambda x: 2 * x,
            "reference": lambda x: jnp.sum(x**2),
            "args": (jnp.ones(2),),
            "max_differences": 1,
        },
    }


def _data() -> dict[str, Call]:
    images = np.zeros((3, 28, 28), np.uint8)
    record = dict.fromkeys(("train", "test"), 3)
    digits = Digits(
        images, np.arange(3, dtype=np.int32),
        Provenance("idx", "train", ("a", "b"), {"a": "0", "b": "1"}, record, "as in the files"),
    )  # fmt: skip
    members = pairs.by_class(np.array([0, 0, 1, 1], np.int32))
    augmented = jnp.zeros((2, 6, 6, 1))
    data = {"x": np.ones((4, 2), np.float32)}
    made = batches.Batches(data, 2, key=KEY())
    return {
        "data.digits.record.standardize": {"images": images, "mean": 10.0, "std": 5.0},
        "data.digits.record.first": {"digits": digits, "count": 2},
        "data.digits.record.describe": {"digits": digits},
        "data.digits.sources.mnist": {"split": "train", "source": "embedded", "data_dir": None},
        "data.augment.shift": {"key": KEY(), "images": augmented, "pixels": 1},
        "data.augment.turn": {"images": augmented, "turns": jnp.array([0, 1])},
        "data.augment.affine": {
            "key": KEY(), "images": augmented, "rotation": 5.0, "scale": 0.1, "shear": 2.0,
            "pixels": 1.0,
        },
        "data.batches.Batches": {"data": data, "size": 2, "key": KEY(), "dtype": "narrow"},
        "data.batches.Batches.indices": {"self": made, "step": 1},
        "data.batches.Batches.order": {"self": made, "epoch": 1},
        "data.batches.Batches.__call__": {"self": made, "step": 1},
        "data.pairs.by_class": {"labels": np.array([0, 0, 1, 1], np.int32), "identical": False},
        "data.pairs.pairs": {"key": KEY(), "members": members, "count": 4, "identical": False},
        "data.pairs.triplets": {"key": KEY(), "members": members, "count": 4, "identical": False},
        "data.pairs.Tuples": {
            "data": data, "labels": np.array([0, 0, 1, 1], np.int32), "size": 2, "key": KEY(),
            "draw": pairs.pairs, "dtype": "narrow",
        },
        "data.tensors.write": {
            "path": "w.npz", "arrays": {"a": np.ones(2)}, "metadata": {"b": "c"},
        },
        "data.tensors.read": {"path": "weights.npz"},
        "data.tensors.look": {"path": "weights.npz"},
        "data.photos.read": {"path": "photo.png", "channels": 1, "shorter": 8, "crop": 6},
        "data.photos.find": {"paths": ["photo.png"]},
    }  # fmt: skip


def _descent() -> dict[str, Call]:
    params = {"w": jnp.array([1.0, -2.0])}
    trace = descent.Trace(
        jnp.array([[3.0, 2.0, 1.0]]), jnp.array([[1.0, 1.0, 1.0]]), None, {"w": jnp.ones((1, 2))}
    )
    return {
        "descent.run.gradient_descent": {
            "loss": _square, "params": params, "optimizer": optax.sgd(0.1), "steps": 2,
            "batch": lambda step: step, "record_params": True, "observe": lambda p: p["w"][0],
        },
        "descent.run.sweep": {
            "loss": _square, "params": params, "etas": [0.1, 0.2], "steps": 2,
            "optimizer": optax.sgd, "batch": lambda step: step, "record_params": False,
            "observe": lambda p: p["w"][0],
        },
        "descent.verdicts.verdict": {"trace": trace},
        "descent.verdicts.summary": {"trace": trace},
        "descent.curvature.sharpness": {
            "loss": _square, "params": params, "key": KEY(), "iterations": 4,
        },
        "descent.curvature.edge": {"sharpness": 2.0, "optimizer": optax.sgd},
        "descent.curvature.spectrum": {
            "loss": _square, "params": params, "k": 1, "batch": None, "key": KEY(),
        },
        "descent.curvature.stability": {
            "loss": _square, "params": params, "optimizer": optax.sgd(0.1),
            "opt_state": optax.sgd(0.1).init(params), "batch": None, "key": KEY(),
        },
        "descent.watching.watch": {
            "loss": _square, "params": params, "optimizer": optax.sgd(0.1), "steps": 2,
            "every": 1, "batch": lambda step: step, "key": KEY(),
        },
        "descent.watching.watcher": {
            "loss": _square, "optimizer": optax.sgd(0.1), "batch": None,
        },
        "descent.choosing.choose": {
            "loss": _square, "params": params, "batches": lambda step: step, "steps": 16,
            "optimizer": optax.sgd, "budget": 0.025, "key": KEY(),
        },
        "descent.evidence.page": {
            "choice": descent.choose(_square, params, None, 16, budget=0.025), "title": "a rate",
        },
        "descent.explaining.explain": {
            "watched": descent.watch(_square, params, optax.sgd(0.1), 2, every=1),
            "loss": _square, "optimizer": optax.sgd(0.1), "batch": None, "step": 1, "key": KEY(),
        },
        "descent.curvature.quadratic_model": {"loss": _square, "params": params, "eta": 0.1},
    }  # fmt: skip


def _landscapes() -> dict[str, Call]:
    return {
        "landscapes.quadratic": {"w": jnp.ones(()), "curvature": 1.0},
        "landscapes.two_well": {"w": jnp.ones(())},
        "landscapes.rosenbrock": {"w": jnp.ones(2)},
        "landscapes.coupled": {"params": {"a": jnp.ones(()), "b": jnp.ones(())}, "detach": False},
    }


def _with_rules(table: dict[str, Call], room: str, *settings: str) -> dict[str, Call]:
    """Add the rule beside each operator: a g like its result, then the same arguments."""
    found = {}
    for name, call in table.items():
        result = jax.eval_shape(functools.partial(_function(f"{room}.{name}"), **call))
        first = result[0] if isinstance(result, tuple) else result
        found[f"{room}.{name}"] = call
        found[f"{room}.{name}_backward"] = {"g": np.ones(first.shape, first.dtype), **call}
    return found


def _losses() -> dict[str, Call]:
    distances, same = jnp.array([0.5, 1.5]), jnp.array([True, False])
    signs = SIGNS()
    return {
        **_with_rules(
            {
                "squared_error": {"predictions": _floats(4, 1), "targets": _floats(4, 1)},
                "cross_entropy": {"logits": _floats(4, 3), "labels": _labels()},
                "binary_cross_entropy": {"logits": _floats(4), "labels": (signs + 1) // 2},
                "hinge": {"scores": _floats(4), "targets": signs, "margin": 1.0},
                "squared_hinge": {"scores": _floats(4), "targets": signs},
                "perceptron": {"scores": _floats(4), "targets": signs},
            },
            "losses.predictions",
        ),
        **_with_rules(
            {
                "contrastive": {"distances": distances, "same": same, "margin": 1.0},
                "triplet": {"positive": distances, "negative": distances, "margin": 1.0},
                "supervised_contrastive": {
                    "similarities": _floats(4, 4), "labels": jnp.array([0, 0, 1, 1]),
                    "temperature": 0.1,
                },
            },
            "losses.metric",
        ),
    }  # fmt: skip


def _ops() -> dict[str, Call]:
    x, y = _floats(2, 4), _floats(2, 4) + 0.5
    image, kernel = _floats(1, 5, 5, 2), _floats(3, 3, 2, 4)
    window = {"window": 2, "stride": 1, "padding": 0, "dilation": 1, "ceil_mode": False}
    conv = {
        "inputs": image, "kernel": kernel, "bias": jnp.zeros(4), "stride": 1, "padding": 1,
        "dilation": 1, "groups": 1,
    }  # fmt: skip
    transposed = {
        "inputs": _floats(1, 5, 5, 4), "kernel": kernel, "bias": jnp.zeros(2), "stride": 2,
        "padding": 1, "dilation": 1, "groups": 1, "output_padding": 1,
    }  # fmt: skip
    return {
        "ops.backward_of": {"operator": elementary.add},
        **_with_rules(
            {
                "affine": {"inputs": x, "scale": 2.0, "shift": 1.0},
                "step": {"inputs": x},
                "sigmoid": {"inputs": x},
                "tanh": {"inputs": x},
                "relu": {"inputs": x},
                "leaky_relu": {"inputs": x, "slope": 0.1},
                "elu": {"inputs": x, "alpha": 1.0},
                "maxout": {"inputs": x, "pieces": 2},
            },
            "ops.activations",
        ),
        **_with_rules(
            {"conv": conv, "plain_conv": conv, "conv_transpose": transposed}, "ops.convolution"
        ),
        **_with_rules(
            {
                "euclidean": {"a": x, "b": y},
                "pairwise": {"a": x, "b": y},
                "unit": {"inputs": x},
            },
            "ops.distances",
        ),
        **_with_rules(
            {
                "add": {"x": x, "y": y},
                "multiply": {"x": x, "y": y},
                "maximum": {"x": x, "y": y},
                "square": {"inputs": x},
                "norm": {"inputs": x},
                "plain_norm": {"inputs": x},
            },
            "ops.elementary",
        ),
        **_with_rules(
            {
                "linear": {"inputs": x, "kernel": _floats(4, 3), "bias": jnp.zeros(3)},
                "matvec": {"matrix": x, "vector": _floats(4)},
            },
            "ops.linear",
        ),
        **_with_rules(
            {
                "max_pool": {"inputs": image, **window},
                "max_pool_with_indices": {"inputs": image, **window},
                "avg_pool": {"inputs": image, **window, "count_include_pad": True},
                "max_unpool": {
                    "inputs": _floats(1, 2, 2, 2),
                    "indices": jnp.arange(8, dtype=jnp.int32).reshape(1, 2, 2, 2),
                    "size": 5,
                },
            },
            "ops.pooling",
        ),
    }


def _features() -> dict[str, Call]:
    embeddings, labels = _floats(6, 3), np.array([0, 0, 1, 1, 2, 2], np.int32)
    distances, same = np.array([0.1, 0.4, 0.3, 0.9]), np.array([True, True, False, False])
    return {
        "features.pairs": {"key": KEY(), "features": 5, "count": 3},
        "features.pair_products": {"inputs": _floats(2, 5), "pairs": jnp.array([[0, 1], [2, 3]])},
        "features.sobel": {"images": _floats(2, 6, 6)},
        "features.hog": {
            "images": _floats(2, 8, 8), "cell": 4, "block": 1, "orientations": 3, "norm": "l2",
        },
        "verification.roc": {"distances": distances, "same": same},
        "verification.area": {"curve": verification.roc(distances, same)},
        "verification.equal_error_rate": {"curve": verification.roc(distances, same)},
        "verification.accuracy": {"distances": distances, "same": same, "threshold": 0.35},
        "verification.best_threshold": {"distances": distances, "same": same},
        "verification.one_shot": {
            "embeddings": embeddings, "labels": labels, "ways": 2, "episodes": 3, "key": KEY(),
        },
        "verification.spread": {"embeddings": embeddings, "limit": 0.05},
    }  # fmt: skip


_ROWS = (
    stack.Conv("conv", 2, kernel=3, padding=1, activation=activations.relu),
    stack.Pool("pool", 2),
    stack.Dense("dense", 3),
)


def _squares(images: Any) -> Any:
    return jnp.stack([jnp.sum(images**power, axis=(1, 2, 3)) for power in (2, 3)], axis=1)


@functools.cache
def _vgg() -> Any:
    return _drawn(vgg.init, ((2,),), image_size=4, classes=3, channels=1, hidden=())


@functools.cache
def _lenet() -> Any:
    return _drawn(lenet.init)


def _drawn(init: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    """Draw the parameters of a model in one program."""
    return jax.jit(lambda key: init(key, *args, **settings))(KEY())


def _models() -> dict[str, Call]:
    image = _floats(2, 4, 4, 1)
    sizes = (3, 4, 2)
    params, inputs = _drawn(mlp.init, sizes), _floats(5, 3)
    graph = {
        "s": dag.Node(dag.layer(elementary.multiply), ("x",), "w"),
        "y": dag.Node(dag.layer(elementary.square), ("s",)),
    }
    weights, x = {"w": jnp.array(2.0)}, {"x": jnp.array(3.0)}
    tied = {"kernel": _floats(3, 2)}
    embed = lambda params, x: x @ params["kernel"]  # noqa: E731
    apart = {"branch1": tied, "branch2": tied}
    net = _drawn(stack.init, _ROWS, (4, 4, 1))
    table = [0, 0, 0, 1]
    return {
        "models.threshold.apply": {"params": threshold.AND, "inputs": jnp.array([[0, 1], [1, 1]])},
        "models.threshold.rows": {"n": 2},
        "models.threshold.from_truth_table": {"table": table},
        "models.threshold.descend": {"table": table, "eta": 1.0, "steps": 2},
        "models.perceptron.apply": {
            "weights": _floats(3), "inputs": inputs, "features": lambda x: x,
        },
        "models.perceptron.update": {
            "weights": _floats(3), "example": _floats(3), "target": jnp.array(1),
        },
        "models.perceptron.path": {
            "inputs": _floats(4, 2), "targets": SIGNS(), "epochs": 2, "bias": True,
        },
        "models.perceptron.fit": {
            "inputs": _floats(4, 2), "targets": SIGNS(), "max_epochs": 2,
            "test": (_floats(4, 2), SIGNS()), "bias": True, "key": KEY(),
            "features": None,
        },
        "models.mlp.init": {"key": KEY(), "sizes": sizes},
        "models.mlp.forward": {
            "params": params, "inputs": inputs, "activation": activations.relu, "probes": None,
        },
        "models.mlp.apply": {"params": params, "inputs": inputs, "activation": activations.tanh},
        "models.mlp.backward": {
            "params": params, "activations": mlp.forward(params, inputs), "g": jnp.ones((5, 2)),
            "activation": activations.relu,
        },
        "models.mlp.gradient_step": {
            "params": params, "inputs": inputs, "targets": jnp.ones((5, 2)), "eta": 0.1,
            "activation": activations.relu,
            "loss": losses.squared_error,
        },
        "models.mlp.collapse": {"params": params, "scale": 1.0, "shift": 0.0},
        "models.dag.layer": {"operator": linear.linear, "settings": {}},
        "models.dag.operator": {"graph": graph, "inputs": ("x",), "output": "y"},
        "models.dag.check": {"graph": graph, "params": weights, "inputs": x, "outputs": "y"},
        "models.dag.forward": {"graph": graph, "params": weights, "inputs": x},
        "models.dag.backward": {
            "graph": graph, "params": weights, "activations": dag.forward(graph, weights, x),
            "g": {"y": jnp.array(1.0)},
        },
        "models.dag.equations": {"graph": graph, "output": "y"},
        "models.siamese.on_sphere": {"embed": embed},
        "models.siamese.apply": {"params": tied, "inputs": _floats(4, 2, 3), "embed": embed},
        "models.siamese.distances": {"params": tied, "inputs": _floats(4, 2, 3), "embed": embed},
        "models.siamese.anchor_distances": {
            "params": tied, "inputs": _floats(4, 3, 3), "embed": embed,
        },
        "models.siamese.init_untied": {
            "key": KEY(), "init": lambda key: tied, "branches": 2,
        },
        "models.siamese.untie": {"params": tied, "branches": 2},
        "models.siamese.apply_untied": {
            "params": apart, "inputs": _floats(4, 2, 3), "embed": embed,
        },
        "models.siamese.contributions": {
            "loss": lambda z: jnp.sum(z[:, 0] * z[:, 1]), "params": tied,
            "inputs": _floats(4, 2, 3), "embed": embed,
        },
        "models.lenet.init": {"key": KEY()},
        "models.lenet.apply": {"params": _lenet(), "inputs": jnp.zeros((1, 28, 28, 1))},
        "models.lenet.features": {"params": _lenet(), "inputs": jnp.zeros((1, 28, 28, 1))},
        "models.lenet.from_torch": {"tensors": lenet.to_torch(_lenet())},
        "models.lenet.to_torch": {"params": _lenet()},
        "models.stack.init": {
            "key": KEY(), "rows": _ROWS, "input_shape": (4, 4, 1),
            "kernel_init": jax.nn.initializers.he_normal(), "dtype": jnp.float32,
        },
        "models.stack.init_state": {"params": net},
        "models.stack.apply": {
            "params": net, "inputs": image, "rows": _ROWS, "state": None, "key": KEY(),
            "train": False,
        },
        "models.stack.features": {"params": net, "inputs": image, "rows": _ROWS, "state": None},
        "models.stack.describe": {"rows": _ROWS, "input_shape": (4, 4, 1)},
        "models.stack.Conv": {
            "name": "conv", "features": 2, "kernel": 3, "stride": 1, "padding": 0, "dilation": 1,
            "groups": 1, "activation": activations.relu,
        },
        "models.stack.Norm": {
            "name": "norm", "momentum": 0.9, "epsilon": 1e-5, "activation": activations.relu,
        },
        "models.stack.Pool": {
            "name": "pool", "window": 2, "stride": None, "padding": 0, "ceil_mode": False,
            "kind": "max", "activation": None,
        },
        "models.stack.Dense": {"name": "dense", "features": 2, "activation": None},
        "models.stack.Dropout": {"name": "dropout", "rate": 0.5},
        "models.vgg.rows": {
            "config": "A", "classes": 3, "hidden": (4,), "batch_norm": True, "dropout": 0.5,
        },
        "models.vgg.init": {
            "key": KEY(), "config": ((2,),), "image_size": 4, "channels": 1, "classes": 3,
            "batch_norm": False, "hidden": (),
        },
        "models.vgg.apply": {
            "params": _vgg(), "inputs": image, "state": None, "key": KEY(), "train": False,
            "dropout": 0.5,
        },
        "models.vgg.features": {"params": _vgg(), "inputs": image, "state": None},
        "models.vgg.probabilities": {"params": _vgg(), "inputs": image, "state": None},
        "models.vgg.rows_of": {"params": _vgg(), "dropout": 0.5},
        "models.vgg.embed": {
            "params": _vgg(), "images": image, "block": 1, "pool": "max", "state": None,
        },
        "models.vgg.top": {
            "probabilities": np.full((2, 3), 1 / 3), "k": 2, "names": ("a", "b", "c"),
        },
        "models.vgg.pretrained": {"name": "digits"},
        "models.lenet.pretrained": {},
        "models.reasons.gradient": {
            "logits": _squares, "images": image, "classes": np.array([1, 0]),
        },
        "models.reasons.smoothed": {
            "logits": _squares, "images": image, "classes": np.array([1, 0]), "key": KEY(),
            "noise": 0.1, "samples": 2,
        },
        "models.reasons.input_times_gradient": {
            "logits": _squares, "images": image, "classes": np.array([1, 0]),
        },
        "models.reasons.grad_cam": {
            "head": _squares, "maps": image, "classes": np.array([1, 0]),
        },
        "models.reasons.halves": {
            "params": _vgg(), "rows": vgg.rows_of(_vgg()), "layer": "block1/pool", "state": None,
        },
        "models.reasons.enlarge": {"maps": jnp.ones((1, 2, 2)), "height": 4, "width": 4},
    }  # fmt: skip


def _pretrained() -> dict[str, Call]:
    rows = (stack.Dense("dense", 3),)
    params = _drawn(stack.init, rows, (2,))
    names = {"dense": "fc"}
    ready = preprocessing.Preprocessing((0.5,), (0.25,))
    return {
        "models.pretrained.layouts.to_torch": {
            "params": params, "state": {}, "names": names, "rows": rows, "input_shape": (2,),
        },
        "models.pretrained.layouts.from_torch": {
            "tensors": layouts.to_torch(params, {}, names, rows, (2,)), "names": names,
            "rows": rows, "input_shape": (2,),
        },
        "models.pretrained.preprocessing.Preprocessing": {
            "mean": (0.5,), "std": (0.25,), "resize": 4, "crop": 4,
        },
        "models.pretrained.preprocessing.preprocess": {
            "images": np.zeros((1, 4, 4, 1), np.uint8), "preprocessing": ready,
        },
        "models.pretrained.shipped.read": {"name": "lenet"},
        "models.pretrained.shipped.metadata": {"name": "lenet"},
        "models.pretrained.names.read": {"path": "names.txt"},
        "models.pretrained.recognition.recognise": {
            "shapes": {name: a.shape for name, a in layouts.to_torch(
                _vgg(), {}, torchvision.names(vgg.rows_of(_vgg())), vgg.rows_of(_vgg()), (4, 4, 1)
            ).items()},
        },
        "models.pretrained.torchvision.names": {"rows": vgg.rows("A")},
        "models.pretrained.torchvision.save": {
            "path": "vgg.npz", "params": _vgg(), "state": None, "image_size": 4,
            "preprocessing": ready,
        },
        "models.pretrained.torchvision.load": {
            "path": "small.npz", "config": ((2,),), "image_size": 4, "channels": 1, "classes": 3,
            "batch_norm": False, "hidden": (), "preprocessing": ready,
        },
    }  # fmt: skip


def _mean(params: Any, state: Any, batch: Any, key: Any) -> Any:
    return jnp.mean((params - batch) ** 2), (state, {})


def _training() -> dict[str, Call]:
    optimizer = optax.sgd(0.1)
    start = training.create(jnp.array(0.0), optimizer, key=KEY())
    data = batches.Batches(np.array([1.0, 3.0, 5.0, 7.0], np.float32), 2, key=KEY())
    return {
        "training.step.create": {
            "params": {"w": jnp.ones(2)}, "optimizer": optimizer, "key": KEY(), "state": {},
        },
        "training.step.make_step": {
            "loss": _mean, "optimizer": optimizer, "augment": lambda key, batch: batch,
            "accumulate": 1,
        },
        "training.loop.fit": {
            "train_state": start, "loss": _mean, "optimizer": optimizer, "batches": data,
            "epochs": 1, "augment": None, "evaluate": lambda state: {}, "report": lambda r: None,
            "tick": lambda step, steps: None, "accumulate": 1, "skip_nonfinite": 0,
            "checkpoints": None, "mesh": None, "recorder": None,
        },
        "training.transfer.last_layer": {
            "features": _floats(6, 3), "labels": np.arange(6) % 2, "classes": 2, "decay": 0.1,
            "steps": 3,
        },
        "training.evaluation.predict": {
            "apply_fn": lambda params, x: x * params, "params": jnp.array(2.0),
            "inputs": _floats(3, 2), "size": 2, "mesh": None,
        },
        "training.optimizers.optimizer": {
            "name": "sgd", "eta": 0.1, "schedule": "cosine", "steps": 10, "warmup": 2,
            "clip": 1.0, "settings": {"momentum": 0.9},
        },
        "training.checkpoints.store.Checkpoints": {
            "folder": "checkpoints", "keep": 2, "best": "loss", "mode": "min", "every": 1,
            "resume": False, "identity": {"a": 1}, "accept": (),
        },
        "training.weights.save_weights": {
            "path": "saved.npz", "params": {"w": jnp.ones(2)}, "metadata": {"a": "b"},
        },
        "training.weights.load_weights": {"path": "weights.npz", "like": {"w": jnp.ones(2)}},
        "training.export.save": {
            "path": "f.export", "f": lambda x: 2 * x, "inputs": (jnp.ones((2, 3)),),
            "platforms": ("cpu",),
        },
        "training.export.load": {"path": "double.export"},
        "training.progress.Progress": {"console": None},
    }  # fmt: skip


def _enter(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def entered(*args: Any, **kwargs: Any) -> None:
        with call(*args, **kwargs):
            pass

    return entered


def _in_a_run(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> None:
        with runs.start("method", seed=0, arguments={}, root="methods") as run:
            method(run, *args, **kwargs)

    signature = inspect.signature(method)
    own = [one for one in signature.parameters.values() if one.name != "self"]
    call.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
    return call


_ENTERED = {
    "training.checkpoints.store.Checkpoints": _enter(training.Checkpoints),
    "runs.write.start": _enter(runs.start),
    **{
        f"runs.write.Run.{name}": _in_a_run(getattr(runs.Run, name))
        for name in ("save_text", "save_trace", "append", "note", "result")
    },
}


def _runs() -> dict[str, Call]:
    a, b = (str(path) for path, _ in runs.find("found").runs)
    record = {"experiment": "demo", "results": {"loss": {"value": 0.25, "expected": 0.2}}}
    return {
        "runs.write.start": {
            "experiment": "demo", "seed": 1, "arguments": {"eta": 0.1}, "root": "runs",
            "resume": None, "about": "a demo", "keep_programs": False,
        },
        "runs.write.Run.save_text": {"filename": "notes.txt", "text": "done"},
        "runs.write.Run.save_trace": {"series": {"loss": [2.0, 1.0]}},
        "runs.write.Run.append": {"record": {"step": 1, "loss": 0.5}},
        "runs.write.Run.note": {"fields": {"data": "embedded"}},
        "runs.write.Run.result": {"name": "loss", "value": 0.5, "expected": 0.5, "per": None},
        "runs.read.load": {"path": a},
        "runs.listing.find": {"folder": "found"},
        "runs.listing.rows": {"listing": runs.find("found")},
        "runs.listing.listed": {"listing": runs.find("found"), "results": 2, "width": 80},
        "runs.listing.tsv": {"listing": runs.find("found")},
        "runs.comparing.compare": {"run_a": a, "run_b": b, "tolerance": 1e-6},
        "runs.comparing.text": {"comparison": runs.compare(a, b), "containing": ""},
        "runs.metrics.read": {"path": "metrics.jsonl"},
        "runs.pages.comparison.page": {
            "comparison": runs.compare(a, b), "containing": "", "picture": "x.svg", "folder": ".",
            "told": ["They part first at step 1, in x."],
        },
        "runs.telling.told": {"comparison": runs.compare(a, b)},
        "runs.pages.run.report": {"record": record, "files": ["loss.png"]},
        "runs.pages.run.write_report": {"folder": a},
    }  # fmt: skip


def _explorer() -> dict[str, Call]:
    loss = np.array([[2.0, 0.5], [2.0, 8.0]])
    one = problem.Sweep(
        "sgd",
        "w = 2",
        loss,
        loss,
        ("descending", "diverged"),
        {"edge": 2.0},
        {"errors": loss > 1},
    )
    demo = problem.Problem("demo", "a demo", "", np.array([0.5, 3.0]), [one], (0.5, 3.0))
    return {"explorer.build.page": {"problems": [demo], "title": "rates"}}


def _xray() -> dict[str, Call]:
    def f(x, y):
        return jnp.sum(jax.nn.relu(x) * y)

    report = xray.xray(f, jnp.ones(2), jnp.ones(2))
    relu = next(node.label for node in report.nodes if node.op == "relu")
    return {
        "xray.xray": {
            "f": f, "args": (jnp.ones(2), jnp.ones(2)), "argnums": 0, "has_aux": False,
            "cotangent": None, "keep": "values", "compiled": True, "unroll": False,
            "gradients": True,
        },
        "xray.audit": {"f": f, "args": (jnp.ones(2), jnp.ones(2)), "ignore": ("relu",)},
        "xray.assert_healthy": {"f": f, "args": (jnp.ones(2), jnp.ones(2)), "ignore": ()},
        "xray.probe": {"loss": lambda p, x: jnp.sum(p * x), "args": (jnp.ones(2),), "settings": {}},
        "xray.diff": {
            "first": f, "rest": (f, jnp.ones(2), jnp.ones(2)), "a": "op by op",
            "b": "op by op", "argnums": 0, "cotangent": None, "gradients": False,
        },
        "xray.Diff.save": {
            "self": xray.diff(f, f, jnp.ones(2), jnp.ones(2)), "path": "diff.html",
        },
        "xray.load": {"path": report.save("record.xray")},
        "xray.Report.to_svg": {"self": report, "open": "all", "direction": None},
        "xray.Report.to_html": {
            "self": report, "open": "auto", "direction": None, "live": True,
        },
        "xray.Report.grade": {"self": report, "rule": lambda values: {}},
        "xray.Report.to_dot": {"self": report},
        "xray.Report.save": {"self": report, "path": "report.html"},
        "xray.Report.node": {"self": report, "name": relu},
        "xray.Report.open": {"self": report, "node": relu, "step": None},
    }  # fmt: skip


def _plots() -> dict[str, Call]:
    square, line = _np(5, 5), _np(3)
    one = {"a": np.abs(_np(2, 3)) + 0.1}
    red = ("#ff0000",)
    errors = capacity.Errors("f", {"relu": np.ones((2, 3))}, {"relu": np.ones((2, 3))}, None, 1.0)
    timed = cost.Pass("forward", 100.0, 10.0, {"loop": {1: np.ones(2)}, "one": {1: np.ones(2)}})
    both = {"without": 1.0, "with": 2.0}
    spent = cost.Cost(both, both, {way: np.ones(2) for way in both}, 0.5, np.ones(2))
    descents = [trajectory.Trajectory(0.1, line, line, line, _np(3, 4))]
    slide = sliding.Slide(_np(3, 1), _np(2, 1), _np(2, 1, 3, 1))
    figures = {"series": descents, "points": np.arange(4.0), "landscape": np.ones(4)}
    flow = xray.xray(
        lambda p, x: jnp.sum(jnp.tanh(x @ p["one"]["kernel"]) @ p["two"]["kernel"]),
        {"one": {"kernel": jnp.eye(2)}, "two": {"kernel": jnp.ones((2, 1))}},
        jnp.ones((1, 2)),
        argnums=0,
    ).flow()
    return {
        "plots.backpropagation.heatmaps": {"rows": [{"W": square}], "width": 3.0, "digits": 1},
        "plots.backpropagation.traces": {"by_hand": np.abs(line), "by_jax": np.abs(line)},
        "plots.capacity.errors": {"units": [1, 2], "rows": [[errors]]},
        "plots.capacity.fits": {
            "inputs": line, "targets": {"f": line}, "outputs": {"relu": {1: _np(1, 3)}},
        },
        "plots.capacity.surfaces": {
            "target": square, "outputs": {"relu": {1: square}}, "title": "f",
        },
        "plots.capacity.templates": {
            "kernels": {"k": _np(12, 2)}, "weights": _np(2), "shape": (3, 4), "count": 2,
        },
        "plots.classification.learning": {
            "epochs": np.array([1, 2, 3]), "errors": one, "colors": red, "targets": {"t": 0.1},
        },
        "plots.photographs.answers": {
            "images": [np.zeros((4, 4, 3), np.uint8)], "names": [["cat", "dog"]],
            "probabilities": [np.array([0.75, 0.25])], "titles": ["a.jpg"],
        },
        "plots.photographs.reasons": {
            "image": np.zeros((4, 4, 1)), "maps": {"gradient": np.eye(4)}, "title": "cat",
        },
        "plots.classification.confusion": {"counts": np.eye(2, dtype=int), "names": ["a", "b"]},
        "plots.classification.mistakes": {
            "images": _np(1, 4, 4), "labels": np.array([1]), "predictions": np.array([2]),
            "probabilities": np.array([0.5]), "columns": 2,
        },
        "plots.convolution.filtered": {
            "image": square, "kernels": {"k": np.ones((1, 1))}, "outputs": {"k": square},
        },
        "plots.convolution.fields": {
            "gradients": {"conv": square}, "boxes": {"conv": ((1, 1), (3, 3))},
        },
        "plots.convolution.spread": {
            "layers": np.arange(3), "extents": {"a": np.arange(3)},
            "deviations": {"a": np.arange(3)},
        },
        "plots.convolution.kernels": {"layers": {"a": _np(3, 3, 2)}, "columns": 2},
        "plots.convolution.activations": {
            "image": square, "layers": {"a": _np(3, 3, 2)}, "columns": 2,
        },
        "plots.cost.batches": {"passes": [timed], "machine": cost.Machine(1e9, 1e9)},
        "plots.cost.ratios": {"costs": {"width": {"1": spent}}},
        "plots.descent.final_against_rate": {
            "etas": line, "iterates": _np(3, 2), "edges": {"e": 1.0}, "marked": (0.5,),
            "stationary": {"s": 0.0},
        },
        "plots.descent.losses": {
            "lanes": one, "colors": red, "floors": {"f": 0.1}, "dead": None, "ylabel": "loss",
        },
        "plots.descent.outcomes": {
            "etas": np.array([0.1, 0.2]), "final": np.ones((3, 2)), "peak": np.ones((3, 2)),
            "edges": np.ones(3), "floors": None, "ylabel": "loss",
        },
        "plots.descent.overlay": {"series": {"a": (line, line)}},
        "plots.descent.readings": {
            "at": np.arange(4), "lanes": {"a": np.ones((2, 4))}, "ylabel": "ratio",
        },
        "plots.features.exclusive_or": {"weights": np.array([4.0, 4.0, -8.0, -2.0])},
        "plots.features.edges": {
            "images": _np(1, 4, 4), "horizontal": _np(1, 4, 4), "vertical": _np(1, 4, 4),
        },
        "plots.features.histograms": {
            "images": _np(1, 8, 8), "votes": {4: np.ones((1, 2, 2, 3))},
        },
        "plots.features.error_by_features": {
            "features": np.array([1, 2, 3]), "errors": one, "colors": red, "floor": ("no", 0.1),
        },
        "plots.features.error_by_samples": {"samples": np.array([1, 2, 3]), "errors": one},
        "plots.features.shifts": {
            "pixels": np.arange(3), "distances": {"a": line}, "errors": {"a": line},
        },
        "plots.features.convergence": {"excess": {"a": np.abs(line)}},
        "plots.layers.flow": {"flow": flow},
        "plots.layers.profiles": {
            "panels": {"p": one}, "expected": {"p": {"a": np.ones(3)}}, "label": "norm",
        },
        "plots.layers.along": {
            "steps": np.arange(2), "panels": {"a": np.ones((2, 3))}, "losses": {"a": np.ones(2)},
            "label": "norm",
        },
        "plots.network.sizes": {
            "outputs": {"image": (8, 8, 1), "conv": (8, 8, 4)}, "kinds": ["input", "conv"],
            "costs": {"parameters": [0, 10]},
        },
        "plots.perceptron.weight_images": {"weights": {"w": _np(12)}, "shape": (3, 4)},
        "plots.perceptron.changes": {
            "inputs": np.array([[2.0, 1.0], [1.0, 3.0]]), "targets": np.array([1, -1]),
            "weights": np.array([[0.0, 0.0], [2.0, 1.0], [1.0, -2.0]]), "columns": 2,
        },
        "plots.style.grid": {
            "rows": 1, "columns": 1, "width": 3.0, "height": 2.0, "options": {"sharex": True},
        },
        "plots.style.rate_colors": {"etas": [0.1, 0.5]},
        "plots.sliding.positions": {"slides": {"a": slide}, "at": {"a": (1, 0)}},
        "plots.sliding.animation": {"slide": slide, "title": "a"},
        "plots.trajectory.frames": figures,
        "plots.trajectory.animation": figures,
        "plots.verification.error_rates": {"panels": {"p": {"m": (np.ones(2), np.ones(2))}}},
        "plots.verification.plane": {"points": _np(4, 2), "labels": np.array([0, 0, 1, 1])},
        "plots.verification.shares": {
            "images": {"a": square}, "shares": {"a": _np(3, 3, 2)}, "total": _np(3, 3, 2),
        },
    }  # fmt: skip


def _np(*shape: int) -> np.ndarray:
    return np.sin(np.arange(1, np.prod(shape) + 1, dtype=np.float32)).reshape(shape)


def furnish(folder: pathlib.Path) -> None:
    """Write the files that the calls read."""
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\\n')
    training.save_weights(folder / "weights.npz", {"w": jnp.ones(2)})
    (folder / "names.txt").write_text("cat\ndog\n")
    Image.new("L", (12, 9)).save(folder / "photo.png")
    torchvision.save(folder / "small.npz", _vgg(), image_size=4)
    export.save(folder / "double.export", lambda x: 2 * x, jnp.ones((2, 3)), platforms=("cpu",))
    for seed in (1, 2):
        with runs.start("demo", seed=seed, arguments={}, root=folder / "found") as run:
            run.save_trace({"loss": [2.0, 1.0 / seed]})
            run.result("final loss", 1.0, expected=1.0)
