"""Why a target is missed: what was tried, and what limits it, by the beginning of a row's name.

Written by hand, from measurements side by side; shown below the table while the row is missed.
"""

WHY: dict[str, str] = {
    "sweep": (
        "it is products of matrices, which a single run does at nine tenths of the limit. Tried, "
        "on one core by processor time, 16 rates of 6 to 12 steps, over the time of the single "
        "runs: all lanes at once, 1.10 (64 of them fill 51 MB an array, which no cache holds); "
        "groups of 2, 4, 8 and 16 lanes, 1.02, 0.93 to 0.97, 0.96 to 1.06 and 1.05, so that groups "
        "are what it does, four of this network; the lanes in the middle of the axes, so that "
        "X [W1 ... Wk] is one product without a transposition, 0.96 with 4 lanes and 1.00 with 8. "
        "What there is to gain is that such a product of 4 to 16 kernels runs at 104 to 106 "
        "GFLOP/s, that of one at 98."
    ),
}
