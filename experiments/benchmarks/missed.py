"""Why a target is missed, or why time grows faster than the work.

Written by hand, from measurements side by side: what was tried, and what limits it, by the
beginning of a row's name. Shown below the tables for the rows that need it.
"""

WHY: dict[str, str] = {
    "perceptron": (
        "it passes 13 times over 40 MB of digits, which no cache holds: 38 of 83 ms at the speed "
        "of copying. Nothing was tried."
    ),
    "MLP": (
        "products of matrices at three quarters of the limit; what lies between them was not "
        "looked into. Tried: oneDNN's products, 1.1 to 1.2 of the time on cores with AVX2."
    ),
    "oneDNN: LeNet": (
        "the ratios of the rounds lie on both sides of 1: this run does not decide it."
    ),
    "x-ray: a page of 10,000 nodes": (
        "cores with AVX-512, measured earlier, took half as long, within the target (50 to 84 ms "
        "more than an empty page). What takes the time was not looked into."
    ),
    "recorder: LeNet, batch 100, 30": (
        "the ratios of the rounds lie on both sides of 1: this run does not decide it."
    ),
    "x-ray: the record of LeNet's loss": (
        "of 74 ms, on cores at two thirds of their usual speed, 37 run the operators, where the "
        "gradient alone takes 26; 22 trace the function anew, so that what it closes over is read "
        "again; 10 look up its program by its text, 3 make the entries. Before, 140 (the gradient "
        "31): the maximum of a pool numbers no places now, 117 operators in place of 213 and 80 "
        "MB in place of 103, and the rules of JAX, `jax.nn.relu` say, are not traced at each "
        "call, 20 ms. Arrays that only change their shape share memory: before that 250 MB. "
        "Tried: its text as a tuple of its parts, 6 ms in place of 9."
    ),
    "x-ray, diff()": (
        "it takes two records, each traced anew, and runs the operators one by one. Each kind of "
        "operator is compiled once, an operator runs again only where what it takes differs, what "
        "is equal in both records is shared, and operators that only reshape are views: before "
        "that 32.0. Left: pairing and comparing run the same operators twice."
    ),
    "recorder": (
        "a state that is donated is copied before each step and looked at after each, as its "
        "arrays are gone by the next; one that is not is held, and every third is looked at. The "
        "ratios of the rounds lie on both sides of 1."
    ),
    "watch": (
        "in processor time, side by side, three rounds, while others used the cores: "
        "4.4 s, against 3.4 to 3.5 without readings (1.27) and 3.8 for the loop (1.15); what is "
        "beyond is waiting, not looked into. The descent alone takes as much in a scan as in a "
        "loop (0.34 s for 100 steps)."
    ),
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
        "milliseconds a step on two quiet cores with AVX-512, from 13.4: the unfolded inputs one "
        "axis after the other and the smaller operand turned, 10; the second convolution as a "
        "product, which uses both cores where XLA's uses one, 8.4. No gain: neighbours of the "
        "first convolution unfolded together, its pool with the rows first, the pool in a loop, "
        "the places of the maxima compared on the way back; the first convolution and its pool as "
        "one product with windows of 7 x 7 and 9 x 32 features, in chunks that the cache holds: "
        "twice the products, 0.91 to 0.99 of the step; XLA without its library of products, 1.2. "
        "What remains beside products of 3.5 ms is the pool's way back and the unfolding, which "
        "XLA writes to memory, one pass after the other. On cores with AVX2 only and two thirds "
        "of the speed, parts of the time of a step, medians of 11 and 15 rounds: the batch in "
        "four or five parts one after another (`accumulate`), 0.87 to 0.92; the first convolution "
        "as a product, 0.89, and with four parts 0.80, but alone 1.1 forward, so that it is not "
        "taken; smaller chunks of what is unfolded, 1.03 to 1.08; oneDNN, 1.01, and for the "
        "convolution, with the other library for most products, 0.92."
    ),
    "LeNet: start of the process to 99.0 % of the test digits, the first time": (
        "on cores with AVX-512, of 12 s, 4 compile: 2.4 the step, 0.6 the test, 0.5 the first "
        "weights; 4 train, 2 import. Done: the kernels drawn as matrices, which compile in a "
        "tenth of the time; XLA's own generator of random numbers, 2 s less; no figures; the "
        "compiled programs kept, the row below."
    ),
    "LeNet: start of the process to 99.0 % of the test digits, the programs kept": (
        "on cores with AVX-512, of 7.6 s, 4 train, at 4.9 ms a step with 50 digits, where the "
        "note on the epoch holds; 2 import."
    ),
    "siamese": (
        "on cores with AVX-512 products would take 5 of 20 ms a step at the limit; the rest is a "
        "flat list of passes over the memory, the longest of 1.2 ms. Tried, parts of the epoch's "
        "time: the pairs of an epoch drawn once and not at each call of its steps, 0.85; a chunk "
        "that was unfolded worked out again on the way back and not kept, 0.97 to 0.99; chunks of "
        "4 to 64 MB in place of 8, 0.97 to 1.02."
    ),
    "VGG16: step of training": (
        "the gradient of a kernel is products of unfolded inputs, which take 1.5 times as long as "
        "a convolution of that size: 99 and 66 ms for [4, 56, 56, 256] by 3 x 3. Tried, parts of "
        "the step's time: a chunk worked out again on the way back, 0.93 (and half the memory), "
        "so that is what it does; strips of rows in place of whole images and the gradients of "
        "the inputs as oneDNN's convolutions, 0.97, and 0.60 in bfloat16; parameters that are "
        "donated, huge pages, 1.0."
    ),
    "VGG16: forward": (
        "oneDNN's convolutions on both sides; of 287 ms for one image the operations take 201 at "
        "the limit, and 0.5 GB of dense weights are read once; eight images run at 97 % of it. "
        "Where TensorFloat-32 is allowed Winograd's filtering does, in the rows below; it is not "
        "the default because it rounds 12 to 40 times as coarsely and compiles for seconds. Tried "
        "on the way: all 36 products as one of three axes, which takes 1.1 to 2 times as long as "
        "one after the other; image by image in a loop, 1.3 to 2.8 times; sums that the next "
        "layer's padding works out again, 5 to 10 times, until a branch stood between."
    ),
}

FASTER: dict[str, str] = {
    "rates: sweep, two wells": (
        "a lane's step takes 1.0 ns with 16,000 rates, whose losses and their copy, 13 MB, a cache "
        "of 32 MB holds, 1.5 to 1.7 with 32,000 and 64,000, 2.7 with 128,000 and 3.3 to 5.1 up to "
        "a million, in memory that the process gets page by page. Tried: groups of lanes that fit "
        "into 2 to 32 MB, no gain up to 128,000 rates, 0.57 to 0.67 of the time for a million."
    ),
    "devices": (
        "the work is that of one device, as all of them share the cores of one CPU: what grows is "
        "the overhead of dividing it, and of the sums between them."
    ),
}
