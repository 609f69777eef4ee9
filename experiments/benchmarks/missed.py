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
    "LeNet: one epoch": (
        "the products alone, 0.42 TFLOP, take half of PyTorch's time at the limit. Tried, "
        "milliseconds a step on two quiet cores, from 13.4: the unfolded inputs one axis after the "
        "other and the smaller operand turned, 10; the second convolution as a product, which uses "
        "both cores where XLA's uses one, 8.4. No gain: neighbours of the first convolution "
        "unfolded together, its pool with the rows first, the pool in a loop, the places of the "
        "maxima compared on the way back. What remains beside products of 3.5 ms is the pool's way "
        "back and the unfolding, which XLA writes to memory, one pass after the other."
    ),
    "VGG16: forward": (
        "XLA's convolutions of 3 x 3 run at 193 of 205 GFLOP/s, so that only fewer operations "
        "help. Where TensorFloat-32 is allowed Winograd's filtering does, in the rows below; it is "
        "not the default because it rounds 12 to 40 times as coarsely and compiles for seconds. "
        "Tried on the way: all 36 products as one of three axes, which takes 1.1 to 2 times as "
        "long as one after the other; image by image in a loop, 1.3 to 2.8 times; sums that the "
        "next layer's padding works out again, 5 to 10 times, until a branch stood between."
    ),
}
