"""Write torch_vgg.npz: narrow VGGs in torchvision's layout, their weights, inputs and logits.

    python tests/models/make_torch_vgg.py        (needs torch; written with 2.13.0)

Members are ``<case>/<name of the state_dict>``, ``<case>/inputs`` (channels last) and
``<case>/logits``. ``preprocess/*`` is what PyTorch makes of images that it resizes, crops and
standardises.
"""

import pathlib

import numpy as np
import torch
from torch import nn

HERE = pathlib.Path(__file__).parent
CASES = {  # blocks of (features, kernel), the size of the images, batch normalisation
    "plain": ((((3, 3),), ((4, 3), (5, 1))), 13, False),
    "batch_norm": ((((4, 3), (3, 3)), ((6, 3),)), 8, True),
}
CHANNELS, HIDDEN, CLASSES = 3, 7, 5


class VGG(nn.Module):
    """As torchvision lays it out, without the pool that fits other sizes to 7 x 7."""

    def __init__(self, blocks, size, batch_norm):
        super().__init__()
        layers, channels = [], CHANNELS
        for block in blocks:
            for features, kernel in block:
                layers.append(nn.Conv2d(channels, features, kernel, padding=kernel // 2))
                layers += [nn.BatchNorm2d(features)] * batch_norm + [nn.ReLU(inplace=True)]
                channels = features
            layers.append(nn.MaxPool2d(2, 2))
            size //= 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels * size * size, HIDDEN), nn.ReLU(True), nn.Dropout(),
            nn.Linear(HIDDEN, HIDDEN), nn.ReLU(True), nn.Dropout(),
            nn.Linear(HIDDEN, CLASSES),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


def case(blocks, size, batch_norm):
    model = VGG(blocks, size, batch_norm)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.4)
    model.eval()
    inputs = torch.randn(4, CHANNELS, size, size)
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    logits = model(inputs).detach().numpy()
    return tensors | {"inputs": inputs.numpy().transpose(0, 2, 3, 1), "logits": logits}


def preprocessed():
    images = torch.randint(0, 256, (2, 3, 21, 16), dtype=torch.uint8)
    scaled = nn.functional.interpolate(
        images / 255, (13, 10), mode="bilinear", antialias=True, align_corners=False
    )
    top, left = round((13 - 8) / 2), round((10 - 8) / 2)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.4, 0.5, 0.3), (0.2, 0.3, 0.25)))
    inputs = (scaled[:, :, top : top + 8, left : left + 8] - mean) / std
    return {
        "images": images.numpy().transpose(0, 2, 3, 1),
        "inputs": inputs.numpy().transpose(0, 2, 3, 1),
    }


def main():
    torch.manual_seed(0)
    made = {name: case(*settings) for name, settings in CASES.items()}
    made["preprocess"] = preprocessed()
    flat = {
        f"{name}/{key}": array for name, arrays in made.items() for key, array in arrays.items()
    }
    np.savez_compressed(HERE / "torch_vgg.npz", **flat)


if __name__ == "__main__":
    main()
