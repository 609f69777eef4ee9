"""Train on one device and on 2, 4 and 8, and print what came out as JSON; see test_devices.py."""

import json
import sys
import tempfile
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import training
from chainrule.data.batches import Batches
from chainrule.training import devices

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(50, 6)).astype(np.float32)
DATA = {"inputs": INPUTS, "targets": (INPUTS**2).sum(axis=1)}
# Neither 4 nor 8 divides 10; 5 steps an epoch.
BATCHES = Batches(DATA, 10, key=jax.random.key(0))
PARAMS = {
    "layer1": {"kernel": RNG.normal(size=(6, 16)).astype(np.float32)},
    "layer2": {"kernel": RNG.normal(size=(16, 1)).astype(np.float32), "bias": np.zeros(1, "f")},
}
OPTIMIZER = optax.adam(1e-2)


def apply(params, inputs):
    return jnp.tanh(inputs @ params["layer1"]["kernel"])


def loss(params, state, batch, key):
    """With batch statistics, dropout and a running mean: all that could differ by the device."""
    hidden = apply(params, batch["inputs"])
    mean = jnp.mean(hidden, axis=0, keepdims=True)
    hidden = jnp.where(jax.random.bernoulli(key, 0.9, hidden.shape), hidden - mean, 0)
    outputs = (hidden @ params["layer2"]["kernel"])[:, 0] + params["layer2"]["bias"][0]
    error = jnp.mean((outputs - batch["targets"]) ** 2)
    return error, ({"mean": 0.9 * state["mean"] + 0.1 * mean[0]}, {"largest": jnp.max(outputs)})


def start():
    state = {"mean": jnp.zeros(16)}
    return training.create(PARAMS, OPTIMIZER, key=jax.random.key(1), state=state)


def fit(begin=None, report=None, **settings):
    return training.fit(
        start() if begin is None else begin,
        loss,
        OPTIMIZER,
        BATCHES,
        4,
        report=report,
        **settings,
    )


def gap(left, right):
    """The largest difference of two trainings, parameters and batch statistics."""
    pairs = zip(
        jax.tree.leaves((left.params, left.state)),
        jax.tree.leaves((right.params, right.state)),
        strict=True,
    )
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in pairs)


def main():
    found, records = {"devices": jax.device_count()}, []
    one = fit(report=records.append)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = training.Checkpoints(folder, every=7, keep=9)
        for count in (2, 4, 8):
            mesh, seen = devices.mesh(count), []
            # On four, every array is cut into four parts, and saved from there.
            begin = devices.shard(start(), mesh) if count == 4 else start()
            saved = {"checkpoints": checkpoints} if count == 4 else {}
            end = fit(begin, seen.append, mesh=mesh, **saved)
            pairs = list(zip(records, seen, strict=True))
            kernel = end.params["layer1"]["kernel"]
            found[str(count)] = {
                "gap": gap(end, one),
                "loss": max(abs(a["loss"] - b["loss"]) for a, b in pairs),
                "largest": max(abs(a["largest"] - b["largest"]) for a, b in pairs),
                "shard": kernel.sharding.shard_shape(kernel.shape),
            }
        for step in set(checkpoints.steps()) - {7}:
            checkpoints._folder.set_aside(step)
        checkpoints.close()
        with training.Checkpoints(folder, resume=True) as checkpoints:
            found["resumed on one"] = gap(fit(checkpoints=checkpoints), one)
    # 21 is rounded up to 24, and no other rule that could be meant gives a multiple of 8.
    outputs = training.predict(apply, one.params, INPUTS, size=21, mesh=devices.mesh(8))
    found["predict"] = float(np.max(np.abs(outputs - apply(one.params, INPUTS))))
    try:
        devices.mesh(9)
    except ValueError as error:
        found["nine"] = str(error)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
