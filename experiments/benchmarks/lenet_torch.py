"""The fast recipe of `lenet_mnist.py` in PyTorch alone: what somebody without this package writes.

    python experiments/benchmarks/lenet_torch.py FOLDER --seed 0

The same network, distribution of the first weights, Adam, schedule, smoothing, batches and number
of digits; it prints the test accuracy.
"""

import argparse
import gzip
import math
import pathlib

import numpy as np
import torch
from torch import nn

SAMPLES, BATCH, PEAK, RISING, SMOOTHING = 40_000, 50, 0.01, 0.1, 0.2


class Net(nn.Module):
    """Two convolutions, each with a pool, and two dense layers."""

    def __init__(self, first: int = 32, outputs: int = 10) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, first, 5), nn.Conv2d(first, 64, 5)
        self.fc1, self.fc2 = nn.Linear(256, 200), nn.Linear(200, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs, ``[batch, outputs]``, of images ``[batch, 1, 28, 28]``."""
        x = nn.functional.max_pool2d(self.conv1(x), 3).relu()
        x = nn.functional.max_pool2d(self.conv2(x), 2).relu()
        return self.fc2(self.fc1(x.flatten(1)).relu())


def read(folder: pathlib.Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images, uint8 ``[N, 1, 28, 28]``, and the labels of a part of MNIST."""
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"{name}-{kind}-ubyte.gz").read_bytes()), np.uint8)
        for kind in ("images-idx3", "labels-idx1")
    )
    return (
        torch.tensor(images[16:].reshape(-1, 1, 28, 28)),
        torch.tensor(labels[8:], dtype=torch.long),
    )


def main(folder: pathlib.Path, seed: int) -> None:
    """Train, and print the test accuracy."""
    torch.manual_seed(seed)
    x, y = (part[:SAMPLES] for part in read(folder, "train"))
    test_x, test_y = read(folder, "t10k")
    mean, std = x[:5000].float().mean(), x[:5000].float().std()
    net, steps = Net(), len(y) // BATCH
    for name, weights in net.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weights)
        else:
            bound = 1 / math.sqrt(weights[0].numel())
            nn.init.uniform_(weights, -bound, bound)
    optimizer = torch.optim.Adam(net.parameters(), lr=PEAK, betas=(0.9, 0.99))
    rising = max(1, round(RISING * steps))

    def rate(step: int) -> float:
        return step / rising if step < rising else (steps - step) / (steps - rising)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for rows in torch.randperm(len(y))[: steps * BATCH].view(steps, BATCH):
        logits = net((x[rows].float() - mean) / std)
        loss = nn.functional.cross_entropy(logits, y[rows], label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        answers = [net((part.float() - mean) / std).argmax(1) for part in test_x.split(1000)]
    print(f"{(torch.cat(answers) == test_y).float().mean().item():.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
