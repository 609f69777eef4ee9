"""Train the weights that live inside the package: LeNet's and a small VGG's, for digits.

    python experiments/make_pretrained.py lenet --data-dir FOLDER
    python experiments/make_pretrained.py vgg --data-dir FOLDER

Both train from the seed 0 on the first 55,000 training digits of MNIST, LeNet by the recipe
``accurate`` of ``lenet_mnist.py``, the VGG by that of ``vgg_digits.py``, with the number of epochs
given there. The last 5,000 training digits are held out; their errors are printed after every
epoch. The test digits are looked at once, after the weights were written as float16 and read back
as `chainrule.models.lenet.pretrained` reads them, and nothing was chosen by them. Inputs are
standardised by `chainrule.models.pretrained.preprocessing.DIGITS`.

On two cores it takes two and six minutes. Other machines round otherwise, so that the numbers of a
file can differ in their last digits, and the test errors by a few digits.
"""

import dataclasses
import json
import pathlib
import time
from typing import Literal

import jax
import jax.numpy as jnp
import lenet_mnist
import numpy as np
import tyro
import vgg_digits
from rich.console import Console

from chainrule import data, training
from chainrule.data.batches import Batches
from chainrule.models import lenet, torchvision, vgg
from chainrule.models.pretrained.preprocessing import DIGITS

HELD_OUT = 5_000
TARGET = pathlib.Path("src/chainrule/models/pretrained/digits")


def main(
    network: tyro.conf.Positional[Literal["lenet", "vgg"]],
    data_dir: pathlib.Path,
    *,
    target: pathlib.Path = TARGET,
    epochs: int | None = None,
    samples: int = 60_000 - HELD_OUT,
    seed: int = 0,
) -> pathlib.Path:
    """Train one of the two networks and write its file.

    Args:
      network: which.
      data_dir: the folder of the four files of MNIST.
      target: the folder to write to.
      epochs: instead of the recipe's.
      samples: how many training digits, the first ones.
      seed: of all random numbers.
    """
    console, clock = Console(), time.perf_counter()
    digits = data.mnist("train", "idx", data_dir)
    train = data.first(digits, samples)
    held_out = digits._replace(images=digits.images[-HELD_OUT:], labels=digits.labels[-HELD_OUT:])
    fit = {"lenet": _lenet, "vgg": _vgg}[network]
    params, state, errors = fit(console, train, held_out, epochs, seed)
    test = data.mnist("test", "idx", data_dir)
    words = {
        "trained on": f"the first {samples} training digits of MNIST",
        "by": f"experiments/make_pretrained.py {network}, seed {seed}, {len(errors)} epochs",
        "held-out error by epoch": json.dumps(errors),
        "preprocessing": json.dumps(dataclasses.asdict(DIGITS)),
        "licence": "CC BY-SA 3.0, see LICENSE",
    }
    path = target / f"{network}.safetensors"
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), (params, state))
    training.save_weights(
        path, {"params": half[0]} | ({"state": half[1]} if state else {}), metadata=words
    )
    kept = training.load_weights(path)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), kept)
    apply = _logits(network)
    variables = single["params"], single.get("state")
    found = training.predict(apply, variables, test.images[..., None], size=500)
    wrong = int((np.asarray(found).argmax(axis=1) != test.labels).sum())
    seconds = time.perf_counter() - clock
    console.print(f"{path}: {path.stat().st_size:,} bytes; held out: {errors[-1]:.2%} wrong")
    console.print(f"test: {wrong} of {len(test.labels)} wrong; {seconds:.0f} s")
    return path


def _logits(network: str):
    def logits(variables, images):
        params, state = variables
        inputs = torchvision.preprocess(images, DIGITS)
        return (
            lenet.apply(params, inputs)
            if network == "lenet"
            else vgg.apply(params, inputs, state=state)
        )

    return logits


def _lenet(console, train, held_out, epochs, seed):
    recipe = lenet_mnist.RECIPES["accurate"]
    recipe = recipe._replace(epochs=epochs or recipe.epochs)
    logits = _logits("lenet")
    optimizer = lenet_mnist.make_optimizer(recipe, len(train.labels))
    loss = lenet_mnist.make_loss(
        lambda params, images: logits((params, None), images), recipe.smoothing
    )
    keys = jax.random.split(jax.random.key(seed), 3)
    start = training.create(jax.jit(lenet.init)(keys[0]), optimizer, key=keys[2])
    errors = []

    def evaluate(end):
        found = training.predict(logits, (end.params, None), held_out.images[..., None], size=1000)
        errors.append(float((np.asarray(found).argmax(axis=1) != held_out.labels).mean()))
        return {"held_out": errors[-1]}

    with training.Progress(console) as progress:
        end = training.fit(
            start,
            loss,
            optimizer,
            Batches(
                {"images": train.images[..., None], "labels": train.labels},
                recipe.batch,
                key=keys[1],
            ),
            recipe.epochs,
            augment=lenet_mnist.make_augment(recipe.pixels),
            evaluate=evaluate,
            report=progress.report,
            tick=progress.tick,
        )
    return end.params, {}, errors


def _vgg(console, train, held_out, epochs, seed):
    config = vgg_digits.Config(seed=seed)
    config = dataclasses.replace(config, epochs=epochs or config.epochs)
    small = vgg_digits.make_small(config, train, preprocessing=DIGITS)
    end, records = vgg_digits.fit(config, small, console, train, held_out, seed)
    return end.params, end.state, [record["test_error"] for record in records]


if __name__ == "__main__":
    tyro.cli(main)
