"""Why a target is missed, or why time grows faster than the work.

Written by hand, from measurements side by side: what was tried, and what limits it, by the
beginning of a row's name. Shown below the tables for the rows that need it.
"""

WHY: dict[str, str] = {
    "perceptron": (
        "of 33 ms 29 are 13 epochs, each 1.75 for the walk, on one core, and 0.5 for the errors "
        "after it, on both; 1.6 check the inputs, 0.9 take their norms. Tried: blocks of 16 to "
        "512 examples in place of 32, 0.95 to 1.08 of the time."
    ),
    "HOG": (
        "scikit-image takes a third of the time that it took on cores with AVX2 (2.8 and 8.2 s), "
        "ours half (75 and 147 ms). An image takes 4 microseconds in a batch of 100, 6 to 8 in "
        "one of 10,000, whose features are 52 MB of new memory. Tried: parts of 50 to 1,000 "
        "images, 0.76 to 1.04 of the time beside other work, which decides nothing."
    ),
    "graph": ("the ratios of the rounds lie on both sides of 1: this run does not decide it."),
    "x-ray: the record of LeNet's loss": (
        "of 23 to 27 ms 12 run the operators one by one, where the gradient alone takes 8; the "
        "rest traces the function anew, so that what it closes over is read again, looks up its "
        "program by its text, and makes the entries: 12, 6 and 1.5 ms of 37 under a profiler. "
        "Before, 140 on slower cores (the gradient 31): the maximum of a pool numbers no places "
        "now, 117 operators in place of 213 and 80 MB in place of 103, and the rules of JAX, "
        "`jax.nn.relu` say, are not traced at each call, 20 ms. Arrays that only change their "
        "shape share memory: before that 250 MB. Tried: its text as a tuple of its parts, 6 ms "
        "in place of 9."
    ),
    "x-ray, diff()": (
        "it takes two records, each traced anew, and runs the operators one by one. Each kind of "
        "operator is compiled once, an operator runs again only where what it takes differs, "
        "what is equal in both records is shared, and operators that only reshape are views: "
        "before that 32.0. Left: pairing and comparing run the same operators twice."
    ),
    "recorder": (
        "a state that is donated is copied before each step and looked at after each, as its "
        "arrays are gone by the next: 0.6 of the 5.7 ms of a short step, LeNet's. One that is "
        "not is held, and every third is looked at."
    ),
    "watch": (
        "in processor time, side by side, three rounds, while others used the cores: 4.4 s, "
        "against 3.4 to 3.5 without readings (1.27) and 3.8 for the loop (1.15); what is beyond "
        "is waiting, not looked into. The descent alone takes as much in a scan as in a loop "
        "(0.34 s for 100 steps)."
    ),
    "sweep": (
        "it is products of matrices, which a single run does at nine tenths of the limit. Tried, "
        "on one core by processor time, 16 rates of 6 to 12 steps, over the time of the single "
        "runs: all lanes at once, 1.10 (64 of them fill 51 MB an array, which no cache holds); "
        "groups of 2, 4, 8 and 16 lanes, 1.02, 0.93 to 0.97, 0.96 to 1.06 and 1.05, so that "
        "groups are what it does, four of this network; the lanes in the middle of the axes, so "
        "that X [W1 ... Wk] is one product without a transposition, 0.96 with 4 lanes and 1.00 "
        "with 8. What there is to gain is that such a product of 4 to 16 kernels runs at 104 to "
        "106 GFLOP/s, that of one at 98."
    ),
    "LeNet: one epoch": (
        "PyTorch's own time goes from 2.4 to 3.8 s from process to process, ours from 2.3 to "
        "2.7. A batch of 100 takes 4.0 ms without the loop's own work, of which the five large "
        "products 2.4, and the limit would be 1.4: the rest is the pool's way back and the "
        "unfolding, which XLA writes to memory, one pass after the other. Two parts of 50, which "
        "a cache holds, take 0.83 to 0.87 of the time, and so ours takes them; four, 0.88 to "
        "0.90. PyTorch gains nothing by that: 0.99 and 1.00, compiled 0.98 and 1.00. No gain, in "
        "this run of trials: seven choices of what XLA's other library takes, with oneDNN 0.98 "
        "to 1.0, without 1.0 to 1.14; the first convolution as a product, 1.0. Earlier, "
        "milliseconds a step from 13.4: the unfolded inputs one axis after the other and the "
        "smaller operand turned, 10; the second convolution as a product, which uses both cores "
        "where XLA's uses one, 8.4. No gain: neighbours of the first convolution unfolded "
        "together, its pool with the rows first, the pool in a loop, the places of the maxima "
        "compared on the way back; the first convolution and its pool as one product with "
        "windows of 7 x 7 and 9 x 32 features: twice the products, 0.91 to 0.99 of the step."
    ),
    "LeNet: start of the process to 99.0 % of the test digits, the first time": (
        "of 8.7 s 4.6 compile: with the programs kept it takes 4.0, the row below. PyTorch "
        "compiles nothing. Done: the kernels drawn as matrices, which compile in a tenth of the "
        "time; XLA's own generator of random numbers, 2 s less; no figures."
    ),
    "LeNet: start of the process to 99.0 % of the test digits, the programs kept": (
        "on cores with AVX-512, of 7.6 s, 4 train, at 4.9 ms a step with 50 digits, where the "
        "note on the epoch holds; 2 import."
    ),
    "siamese": (
        "a flat list of passes over the memory: on slower cores with AVX-512 the longest took "
        "1.2 of 20 ms a step. Tried, parts of the epoch's time: the pairs of an epoch drawn once "
        "and not at each call of its steps, 0.85; a chunk that was unfolded worked out again on "
        "the way back and not kept, 0.97 to 0.99; chunks of 4 to 64 MB in place of 8, 0.97 to "
        "1.02; a batch in two parts, 0.94, but PyTorch's is 0.93 to 0.95 then, so that neither "
        "takes it."
    ),
    "VGG16: step of training": (
        "the gradient of a kernel is products of unfolded inputs, which take 1.5 times as long "
        "as a convolution of that size, and PyTorch has one of oneDNN's own. Tried, parts of the "
        "step's time: a chunk worked out again on the way back, 0.93 (and half the memory), so "
        "that is what it does; strips of rows in place of whole images and the gradients of the "
        "inputs as oneDNN's convolutions, 0.97, and 0.60 in bfloat16; sums with XLA's other "
        "library, 0.98 to 0.99, and the gradients of biases as such sums, 0.92 to 0.97 in "
        "bfloat16; those as products with ones, 0.96, so not; outer products that are added one "
        "by one, 1.0; parameters that are donated, 1.0. New memory, 0.5 GB at each step in "
        "bfloat16, costs 190 ms of the processor; with memory kept the step takes 0.75 to 0.77 "
        "of the time, PyTorch's 0.81 to 0.86, in processes of their own. With huge pages PyTorch "
        "gains as much; ours loses 600 ms in the system where PyTorch ran before it, and gains a "
        "tenth where it did not."
    ),
    "VGG16: forward": (
        "oneDNN's convolutions on both sides. In bfloat16, of 237 ms for eight images under a "
        "profiler, 156 are convolutions and products and 17 other operators; the rest was not "
        "looked into. Where TensorFloat-32 is allowed Winograd's filtering does, in the rows "
        "below; it is not the default because it rounds 12 to 40 times as coarsely and compiles "
        "for seconds. Tried on the way: sums with XLA's other library, 0.97 to 0.99, so that is "
        "what it does; element by element with that library, too, 1.07 to 1.22; all 36 products "
        "as one of three axes, which takes 1.1 to 2 times as long as one after the other; image "
        "by image in a loop, 1.3 to 2.8 times; sums that the next layer's padding works out "
        "again, 5 to 10 times, until a branch stood between."
    ),
}

FASTER: dict[str, str] = {
    "rates: sweep, two wells": (
        "on slower cores a lane's step takes 1.0 ns with 16,000 rates, whose losses and their "
        "copy, 13 MB, a cache of 32 MB holds, 1.5 to 1.7 with 32,000 and 64,000, 2.7 with "
        "128,000 and 3.3 to 5.1 up to a million, in memory that the process gets page by page. "
        "Tried: groups of lanes that fit into 2 to 32 MB, no gain up to 128,000 rates, 0.57 to "
        "0.67 of the time for a million."
    ),
    "devices": (
        "the work is that of one device, as all of them share the cores of one CPU: what grows "
        "is the overhead of dividing it, and of the sums between them."
    ),
}
