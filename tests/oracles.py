"""Naive NumPy versions of what the package computes: loops, no cleverness, no code of ours."""

import math

import jax
import numpy as np

# --- features -------------------------------------------------------------------------------------


def pair_products(inputs, pairs):
    """Products of two features of each row."""
    return np.array([[row[u] * row[v] for u, v in pairs] for row in inputs])


def sobel(image):
    """Horizontal and vertical edges of one image, which goes on beyond its border."""
    height, width = image.shape
    smooth, slope = (1, 2, 1), (-1, 0, 1)
    horizontal, vertical = np.zeros((2, height, width))
    for r in range(height):
        for c in range(width):
            for i in range(3):
                for j in range(3):
                    row = min(max(r + i - 1, 0), height - 1)
                    column = min(max(c + j - 1, 0), width - 1)
                    horizontal[r, c] += slope[i] * smooth[j] * image[row, column]
                    vertical[r, c] += smooth[i] * slope[j] * image[row, column]
    return horizontal, vertical


def hog(image, cell, block, orientations, norm):
    """Histogram of oriented gradients of one image whose sides are multiples of the cell."""
    height, width = image.shape
    rows, columns = height // cell, width // cell
    cells = np.zeros((rows, columns, orientations))
    for r in range(height):
        for c in range(width):
            down = image[r + 1, c] - image[r - 1, c] if 0 < r < height - 1 else 0.0
            right = image[r, c + 1] - image[r, c - 1] if 0 < c < width - 1 else 0.0
            degrees = np.degrees(np.arctan2(down, right)) % 180
            vote = np.hypot(down, right) / cell**2
            cells[r // cell, c // cell, int(degrees // (180 / orientations))] += vote
    found = []
    for r in range(rows - block + 1):
        for c in range(columns - block + 1):
            h = cells[r : r + block, c : c + block].ravel()
            if norm != "none":
                h = h / np.sqrt(np.sum(h**2) + 1e-10)
            if norm == "l2-hys":
                h = np.minimum(h, 0.2)
                h = h / np.sqrt(np.sum(h**2) + 1e-10)
            found.extend(h)
    return np.array(found)


# --- operators, their rules, the losses, the MLP: one number at a time, in float64 ----------------


def elementwise(function, *arrays):
    """A function of numbers at every index of arrays of one shape."""
    arrays = [np.asarray(array, np.float64) for array in arrays]
    out = np.empty(arrays[0].shape)
    for index in np.ndindex(out.shape):
        out[index] = function(*(array[index] for array in arrays))
    return out


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def elementwise_operator(value, slope):
    """The operator and the rule of a function of one number, from its value and its slope."""

    def operator(inputs):
        return elementwise(value, inputs)

    def rule(g, inputs):
        return elementwise(lambda g, x: g * slope(x), g, inputs)

    return operator, rule


def linear(inputs, kernel, bias):
    out = np.zeros((inputs.shape[0], kernel.shape[1]))
    for n, j in np.ndindex(out.shape):
        out[n, j] = bias[j] + sum(
            float(inputs[n, i]) * float(kernel[i, j]) for i in range(kernel.shape[0])
        )
    return out


def linear_backward(g, inputs, kernel, bias):
    by_inputs, by_kernel, by_bias = (
        np.zeros(inputs.shape),
        np.zeros(kernel.shape),
        np.zeros(bias.shape),
    )
    for n, i, j in np.ndindex(inputs.shape[0], *kernel.shape):
        by_inputs[n, i] += float(g[n, j]) * float(kernel[i, j])
        by_kernel[i, j] += float(g[n, j]) * float(inputs[n, i])
    for n, j in np.ndindex(g.shape):
        by_bias[j] += float(g[n, j])
    return by_inputs, by_kernel, by_bias


def matvec(matrix, vector):
    return np.array(
        [sum(float(m) * float(v) for m, v in zip(row, vector, strict=True)) for row in matrix]
    )


def matvec_backward(g, matrix, vector):
    by_matrix, by_vector = np.zeros(matrix.shape), np.zeros(vector.shape)
    for i, j in np.ndindex(matrix.shape):
        by_matrix[i, j] = float(g[i]) * float(vector[j])
        by_vector[j] += float(g[i]) * float(matrix[i, j])
    return by_matrix, by_vector


def norm(inputs):
    out = np.empty(inputs.shape[:-1])
    for index in np.ndindex(out.shape):
        out[index] = math.sqrt(sum(float(x) ** 2 for x in inputs[index]))
    return out


def norm_backward(g, inputs):
    out, lengths = np.zeros(inputs.shape), norm(inputs)
    for index in np.ndindex(inputs.shape):
        if lengths[index[:-1]] > 0:
            out[index] = g[index[:-1]] * inputs[index] / lengths[index[:-1]]
    return out


def maxout(inputs, pieces):
    out = np.empty((*inputs.shape[:-1], inputs.shape[-1] // pieces))
    for *batch, i in np.ndindex(out.shape):
        out[(*batch, i)] = max(float(inputs[(*batch, i * pieces + j)]) for j in range(pieces))
    return out


def maxout_backward(g, inputs, pieces):
    out, outputs = np.zeros(inputs.shape), maxout(inputs, pieces)
    for *batch, i in np.ndindex(outputs.shape):
        for j in range(pieces):
            if inputs[(*batch, i * pieces + j)] == outputs[(*batch, i)]:
                out[(*batch, i * pieces + j)] = g[(*batch, i)]
                break
    return out


def mean_loss(function, predictions, targets):
    """The mean over all elements of a loss of one prediction and one target."""
    return elementwise(function, predictions, targets).mean()


def mean_loss_backward(slope, g, predictions, targets):
    return elementwise(lambda p, t: g * slope(p, t) / predictions.size, predictions, targets)


def cross_entropy(logits, labels):
    losses = []
    for row, label in zip(np.asarray(logits, np.float64), labels, strict=True):
        losses.append(math.log(sum(math.exp(s) for s in row)) - row[label])
    return sum(losses) / len(losses)


def cross_entropy_backward(g, logits, labels):
    out = np.zeros(logits.shape)
    for n, row in enumerate(np.asarray(logits, np.float64)):
        total = sum(math.exp(s) for s in row)
        for k, s in enumerate(row):
            out[n, k] = g * (math.exp(s) / total - (k == labels[n])) / len(labels)
    return out


def euclidean(a, b):
    return norm(a - b)


def euclidean_backward(g, a, b):
    gradient = norm_backward(g, a - b)
    return gradient, -gradient


def pairwise(a, b):
    return np.array([[sum((x - y) ** 2) for y in b] for x in a])


def pairwise_backward(g, a, b):
    by_a, by_b = np.zeros(a.shape), np.zeros(b.shape)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            by_a[i] += 2 * g[i, j] * (x - y)
            by_b[j] += 2 * g[i, j] * (y - x)
    return by_a, by_b


def unit(inputs):
    return np.array([x / math.sqrt(sum(x * x)) for x in inputs])


def unit_backward(g, inputs):
    # The Jacobian (I - u u^T) / |x|, which is symmetric.
    rows = []
    for gradient, x in zip(g, inputs, strict=True):
        length = math.sqrt(sum(x * x))
        rows.append((np.eye(len(x)) - np.outer(x, x) / length**2) @ gradient / length)
    return np.array(rows)


def supervised_contrastive(similarities, labels, temperature):
    n, total, anchors = len(labels), 0.0, 0
    for i in range(n):
        like = [j for j in range(n) if j != i and labels[j] == labels[i]]
        below = sum(math.exp(similarities[i, k] / temperature) for k in range(n) if k != i)
        if like:
            anchors += 1
            above = [math.exp(similarities[i, j] / temperature) for j in like]
            total -= sum(math.log(x / below) for x in above) / len(like)
    return np.asarray(total / anchors)


def supervised_contrastive_backward(g, similarities, labels, temperature):
    n, gradient = len(labels), np.zeros(similarities.shape)
    counts = [sum(labels == label) - 1 for label in labels]
    for i in range(n):
        below = sum(math.exp(similarities[i, k] / temperature) for k in range(n) if k != i)
        for j in range(n):
            if i != j and counts[i]:
                p = math.exp(similarities[i, j] / temperature) / below
                gradient[i, j] = p - (labels[i] == labels[j]) / counts[i]
    return g * gradient / temperature / sum(count > 0 for count in counts)


def mlp_one_sample(layers, x, function, slope, g):
    """The notes' equations for one sample, a column, and weights [out, in]; no batch anywhere.

    Returns the s and the x of every layer (x from the inputs on), and the gradients by the weights,
    the biases, every s and every x.
    """
    s, x = [], [np.asarray(x, np.float64)[:, None]]
    for index, (weight, bias) in enumerate(layers):
        s.append(weight @ x[-1] + bias[:, None])
        x.append(s[-1] if index == len(layers) - 1 else elementwise(function, s[-1]))
    by_w, by_b, by_s, by_x = [], [], [], [np.asarray(g, np.float64)[:, None]]
    for index in reversed(range(len(layers))):
        last = index == len(layers) - 1
        by_s.insert(0, by_x[0] if last else by_x[0] * elementwise(slope, s[index]))
        by_w.insert(0, by_s[0] @ x[index].T)
        by_b.insert(0, by_s[0][:, 0])
        by_x.insert(0, layers[index][0].T @ by_s[0])
    columns = [[column[:, 0] for column in columns] for columns in (s, x, by_s, by_x)]
    return columns[0], columns[1], by_w, by_b, columns[2], columns[3]


# --- the perceptron -------------------------------------------------------------------------------


def perceptron(inputs, targets, max_epochs, orders=None):
    """Rosenblatt's rule, example by example, in the dtype of the inputs: exact on integers.

    Returns the weights, their mean over all examples seen, and after each epoch run its number of
    changes and the weights.
    """
    weights = np.zeros_like(inputs[0])
    total, seen = np.zeros(inputs.shape[1]), 0
    changes, history = [], []
    for epoch in range(max_epochs):
        changed = 0
        for i in range(len(inputs)) if orders is None else orders[epoch]:
            if targets[i] * inputs[i].dot(weights) <= 0:
                weights = weights + targets[i] * inputs[i]
                changed += 1
            total += weights
            seen += 1
        changes.append(changed)
        history.append(weights)
        if changed == 0:
            break
    return weights, total / seen, changes, history


# --- convolution and pooling: every position, every tap -------------------------------------------


def window_taps(space, size, stride, pads, dilation, outputs=None):
    """Each position with its taps: (output index, [(tap, input index or None in the padding)])."""
    if outputs is None:
        outputs = [
            (n + lo + hi - (k - 1) * d - 1) // s + 1
            for n, k, s, (lo, hi), d in zip(space, size, stride, pads, dilation, strict=True)
        ]
    for position in np.ndindex(*outputs):
        taps = []
        for tap in np.ndindex(*size):
            at = tuple(
                p * s + t * d - lo
                for p, s, t, d, (lo, _) in zip(position, stride, tap, dilation, pads, strict=True)
            )
            inside = all(0 <= a < n for a, n in zip(at, space, strict=True))
            taps.append((tap, at if inside else None))
        yield position, taps


def conv(inputs, kernel, bias, stride, pads, dilation, groups=1):
    """Cross-correlation with one number an axis, and pairs of padding."""
    inputs, kernel = np.asarray(inputs), np.asarray(kernel)
    space, size = inputs.shape[1:-1], kernel.shape[:-2]
    per_group, features = kernel.shape[-2:]
    found = {}
    for position, taps in window_taps(space, size, stride, pads, dilation):
        for n in range(inputs.shape[0]):
            for f in range(features):
                group = f // (features // groups)
                total = 0.0 if bias is None else float(bias[f])
                for tap, at in taps:
                    for c in range(per_group) if at is not None else ():
                        value = inputs[(n, *at, group * per_group + c)]
                        total += float(value) * float(kernel[(*tap, c, f)])
                found[(n, *position, f)] = total
    return _filled(found)


def conv_backward(g, inputs, kernel, bias, stride, pads, dilation, groups=1):
    g, inputs, kernel = np.asarray(g), np.asarray(inputs), np.asarray(kernel)
    space, size = inputs.shape[1:-1], kernel.shape[:-2]
    per_group, features = kernel.shape[-2:]
    by_inputs, by_kernel = np.zeros(inputs.shape), np.zeros(kernel.shape)
    by_bias = np.zeros(features)
    for position, taps in window_taps(space, size, stride, pads, dilation):
        for n in range(inputs.shape[0]):
            for f in range(features):
                group = f // (features // groups)
                above = float(g[(n, *position, f)])
                by_bias[f] += above
                for tap, at in taps:
                    for c in range(per_group) if at is not None else ():
                        here = (n, *at, group * per_group + c)
                        by_inputs[here] += above * float(kernel[(*tap, c, f)])
                        by_kernel[(*tap, c, f)] += above * float(inputs[here])
    return (by_inputs, by_kernel) if bias is None else (by_inputs, by_kernel, by_bias)


def max_pool(inputs, size, stride, pads, dilation, outputs=None):
    """Values and, for each, the index along the space where the first of the largest stands."""
    space, found, where = inputs.shape[1:-1], {}, {}
    for position, taps in window_taps(space, size, stride, pads, dilation, outputs):
        for n, c in np.ndindex(inputs.shape[0], inputs.shape[-1]):
            best, winner = None, None
            for _, at in taps:
                if at is not None and (best is None or inputs[(n, *at, c)] > best):
                    best, winner = inputs[(n, *at, c)], at
            found[(n, *position, c)] = best
            where[(n, *position, c)] = np.ravel_multi_index(winner, space)
    return _filled(found), _filled(where)


def max_pool_backward(g, inputs, size, stride, pads, dilation, outputs=None):
    _, where = max_pool(inputs, size, stride, pads, dilation, outputs)
    gradient = np.zeros(inputs.shape)
    for index in np.ndindex(g.shape):
        at = np.unravel_index(int(where[index]), inputs.shape[1:-1])
        gradient[(index[0], *at, index[-1])] += float(g[index])
    return gradient


def avg_pool(inputs, size, stride, pads, dilation, count_include_pad=True):
    space, found = inputs.shape[1:-1], {}
    for position, taps in window_taps(space, size, stride, pads, dilation):
        for n, c in np.ndindex(inputs.shape[0], inputs.shape[-1]):
            values = [float(inputs[(n, *at, c)]) for _, at in taps if at is not None]
            found[(n, *position, c)] = sum(values) / (
                len(taps) if count_include_pad else len(values)
            )
    return _filled(found)


def avg_pool_backward(g, inputs, size, stride, pads, dilation, count_include_pad=True):
    space, gradient = inputs.shape[1:-1], np.zeros(inputs.shape)
    for position, taps in window_taps(space, size, stride, pads, dilation):
        inside = [at for _, at in taps if at is not None]
        for n, c in np.ndindex(inputs.shape[0], inputs.shape[-1]):
            share = float(g[(n, *position, c)]) / (len(taps) if count_include_pad else len(inside))
            for at in inside:
                gradient[(n, *at, c)] += share
    return gradient


def _filled(values):
    """The array of a dict from indices to numbers."""
    out = np.empty(tuple(max(axis) + 1 for axis in zip(*values, strict=True)))
    for index, value in values.items():
        out[index] = value
    return out


def rates_of(adam, steps):
    """The rate of each step of Adam: where every gradient is 1, its update is the rate."""
    state, rates = adam.init(np.zeros((), np.float32)), []
    with jax.numpy_dtype_promotion("standard"):  # the schedules of optax need it
        for _ in range(steps):
            update, state = adam.update(np.ones((), np.float32), state)
            rates.append(-float(update))
    return rates
