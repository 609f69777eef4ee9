"""A training with a checkpoint after every step, to be killed; see test_faults.py.

It prints ``step N`` after every step and the SHA-256 of the parameters at the end.
"""

import argparse
import hashlib
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from chainrule import training
from chainrule.data.batches import Batches

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(20, 3)).astype(np.float32)
BATCHES = Batches({"inputs": INPUTS, "targets": INPUTS.sum(axis=1)}, 4, key=jax.random.key(0))
OPTIMIZER = optax.sgd(0.01, momentum=0.9)


def loss(params, state, batch, key):
    predictions = batch["inputs"] @ params["kernel"] + jax.random.normal(key)
    return jnp.mean((predictions - batch["targets"]) ** 2), (state, {})


def fit(epochs, **settings):
    start = training.create({"kernel": jnp.zeros(3)}, OPTIMIZER, key=jax.random.key(1))
    return training.fit(start, loss, OPTIMIZER, BATCHES, epochs, **settings)


def digest(train_state):
    leaves = jax.tree.leaves((train_state.params, train_state.opt_state, train_state.step))
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("epochs", type=int)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--sleep", type=float, help="in the evaluation")
    parser.add_argument("--full-after", type=int, help="the step after which the disk is full")
    options = parser.parse_args()
    console = Console()

    def evaluate(train_state):
        console.print("evaluates")
        time.sleep(options.sleep)
        return {}

    def tick(step, steps):
        console.print(f"step {step}")
        if step == options.full_after:
            # No file may pass 100 bytes any more; Python ignores the signal that goes with it.
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    with training.Checkpoints(options.folder, every=1, resume=options.resume) as checkpoints:
        end = fit(
            options.epochs,
            checkpoints=checkpoints,
            tick=tick,
            evaluate=evaluate if options.sleep else None,
        )
    console.print(digest(end))


if __name__ == "__main__":
    main()
