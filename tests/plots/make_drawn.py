"""Write down what is drawn, for `test_drawn.py` to compare with.

    python -m tests.plots.make_drawn changed/

From the root of the checkout. The figures that changed, and new ones, are saved in the folder, and
what changed in them is printed: look at every one of them before you commit `drawn.txt`.
"""

import pathlib
import re
import sys

from tests.plots.drawings import described, differences
from tests.plots.figures import FIGURES

DRAWN = pathlib.Path(__file__).with_name("drawn.txt")


def stored() -> dict[str, list[str]]:
    """Return what was drawn, figure by figure."""
    text = DRAWN.read_text(encoding="utf-8") if DRAWN.exists() else ""
    parts = re.split(r"^(\w+)\n", text, flags=re.MULTILINE)[1:]
    lines = [part.replace("\n  ", "\n")[2:-1].split("\n") for part in parts[1::2]]
    return dict(zip(parts[::2], lines, strict=True))


def main(folder: str) -> None:
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    before, text = stored(), ""
    for name, draw in FIGURES.items():
        figure = draw()
        lines = described(figure)
        changed = differences(before.get(name, []), lines)
        if changed:
            figure.savefig(pathlib.Path(folder, f"{name}.png"))
            print(name, *changed, sep="\n")
        else:
            lines = before[name]  # no digit changes that means nothing
        text += "\n".join([name, *("  " + line for line in lines)]) + "\n"
    DRAWN.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
