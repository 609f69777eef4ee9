"""Compare gradient descents: eta = 0.125 against eta = 0.5.

Two losses by default. On a one-dimensional landscape with two wells, where every step can be drawn:
a small rate creeps into the well it starts in, a large one overshoots. And on the notes' network
on real digits (784-200-1, ReLU, mean squared error, the first 1,000 training digits), where the
edge 2 / sharpness is near 0.02, so that both rates lie far beyond it: what happens then is shown
next to eta = 0.01, with the share of hidden units that end up dead.

    python experiments/descent.py
    python experiments/descent.py --etas 0.01 0.03 0.1 --losses digits --optimizer momentum
    python experiments/descent.py --losses rosenbrock --etas 0.0005 0.001 0.0015 --steps 2000
    python experiments/descent.py --explore

The last one runs sweeps of 40 rates on the network and leaves `explorer.html`, a page to play with:
it shows the descents on digits as they were recorded, and computes those on the landscapes.
"""

from settings import command

from chainrule._jobs.descents import Config, main
from chainrule._jobs.explore import show

if __name__ == "__main__":
    config, folder = command(main, Config, __doc__)
    if config.explore:
        show(folder / "explorer.html")
