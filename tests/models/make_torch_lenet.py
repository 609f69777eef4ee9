"""Write torch_lenet.npz: the notes' Net in PyTorch, its tensors, and what it makes of four images.

    python tests/models/make_torch_lenet.py        (needs torch; written with 2.13.0)

The tensors are small integers over 64, and the images integers over 4: few bytes, exact in float32.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, as PyTorch calls it
from torch import nn

HERE = pathlib.Path(__file__).parent


class Net(nn.Module):
    """As in the notes."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=5)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=5)
        self.fc1 = nn.Linear(256, 200)
        self.fc2 = nn.Linear(200, 10)

    def forward(self, x):
        """Return the logits of [N, 1, 28, 28]."""
        x = F.relu(F.max_pool2d(self.conv1(x), kernel_size=3))
        x = F.relu(F.max_pool2d(self.conv2(x), kernel_size=2))
        x = F.relu(self.fc1(x.view(-1, 256)))
        return self.fc2(x)


def main():
    rng = np.random.default_rng(0)
    net = Net()
    stored = {
        name: rng.integers(-8, 9, t.shape).astype(np.int8) for name, t in net.state_dict().items()
    }
    net.load_state_dict({name: torch.tensor(array / 64) for name, array in stored.items()})
    images = rng.integers(-4, 5, (4, 1, 28, 28)).astype(np.int8)
    inputs = torch.tensor(images / 4, dtype=torch.float32, requires_grad=True)
    labels = torch.tensor([3, 0, 9, 9])
    logits = net(inputs)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    np.savez_compressed(
        HERE / "torch_lenet.npz",
        **stored,
        images=images,
        labels=labels.numpy().astype(np.int32),
        logits=logits.detach().numpy(),
        loss=loss.detach().numpy(),
        by_inputs=inputs.grad.numpy(),
        by_fc2=net.fc2.weight.grad.numpy(),
    )


if __name__ == "__main__":
    main()
