"""Cut the sample that lives inside the package from the four original files of MNIST.

    python experiments/make_embedded_digits.py --source FOLDER

takes the first 6,000 training and the first 1,000 test digits in their original order, 1.2 MB in
four files. The same originals give the same files bit for bit (with zlib; zlib-ng packs otherwise).
A second or two.
"""

from pathlib import Path

import numpy as np
import tyro

from chainrule import data
from chainrule.data.digits import files

SIZES = {"train": 6000, "test": 1000}


def main(source: Path, target: Path = Path("src/chainrule/data/digits/embedded")) -> None:
    """Write the four files of the embedded sample.

    Args:
      source: the folder of the four full files, whose checksums are those of MNIST.
      target: the folder to write to.
    """
    for split, size in SIZES.items():
        digits = data.mnist(split, source="idx", data_dir=source)
        parts = {"images": digits.images, "labels": digits.labels.astype(np.uint8)}
        for part, array in parts.items():
            path = target / f"{files.ORIGINALS[split][part].name}.gz"
            data.idx.write(path, array[:size])
            print(f"{path}  {path.stat().st_size} bytes")


if __name__ == "__main__":
    tyro.cli(main)
