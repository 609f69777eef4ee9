"""Small figures of every drawing function, that together reach every branch of them."""

from unittest import mock

import numpy as np

from chainrule.plots import (
    _player,
    backpropagation,
    capacity,
    classification,
    convolution,
    cost,
    descent,
    features,
    layers,
    network,
    perceptron,
    photographs,
    rate_colors,
    sliding,
    style,
    trajectory,
    verification,
)
from chainrule.xray.flow import Flow, LayerFlow

RED = ("#ff0000",)


def wave(*shape: int) -> np.ndarray:
    return np.sin(np.arange(1.0, np.prod(shape) + 1)).reshape(shape)


def high(*shape: int) -> np.ndarray:
    return np.abs(wave(*shape)) + 0.1


def heatmaps_with_digits():
    rows = [{"W": 3 * wave(2, 3), "x": wave(3, 1)}, {"nothing": np.zeros((1, 2))}]
    return backpropagation.heatmaps(rows, width=2.5, digits=1)


def heatmaps_without_digits():
    return backpropagation.heatmaps([{"W": wave(5, 4)}], width=3.0)


def traces():
    by_hand = np.array([1.0, 0.5, 0.25, 0.2])
    by_jax = by_hand * (1 + np.array([0, 1e-6, 0, -1e-5]))
    return backpropagation.traces(by_hand, by_jax, {"printed": {0: 1.0, 3: 0.2}})


def traces_alone():
    return backpropagation.traces(np.array([1.0, 0.5]), np.array([1.0, 0.501]))


def _errors(title, written):
    drawn = {"relu": high(3, 2), "tanh": 2 * high(3, 2)}
    trained = {name: values / 3 for name, values in drawn.items()}
    return capacity.Errors(title, drawn, trained, written, 1.5)


def errors():
    written = np.array([0.5, 0.25, 0.1])
    rows = [[_errors("f", None), _errors("g", written)], [_errors("h", None), _errors("k", None)]]
    return capacity.errors([2, 4, 8], rows)


def errors_of_more_activations_than_colors():
    one = {f"f{i}": np.full((1, 1), 1.0 + i) for i in range(8)}
    return capacity.errors([2], [[capacity.Errors("f", one, one, None, 1.5)]])


def fits():
    outputs = {
        "relu": {2: wave(2, 4), 5: wave(2, 4) / 2},
        "tanh": {2: wave(2, 4) / 3, 5: wave(2, 4) / 4},
    }
    return capacity.fits(np.arange(4.0), {"f": wave(4), "g": -wave(4)}, outputs)


def surfaces():
    outputs = {name: {2: wave(2, 2) / (i + 1)} for i, name in enumerate(("relu", "tanh", "sin"))}
    return capacity.surfaces(wave(2, 2), outputs, title="f")


def surfaces_of_two_sizes():
    return capacity.surfaces(wave(2, 2), {"relu": {2: -wave(2, 2), 5: wave(2, 2)}}, title="f")


def templates():
    kernels = {"kernel": wave(12, 3) - 0.5, "no change": np.zeros((12, 3))}
    return capacity.templates(kernels, np.array([1.0, 0.5, -3.0]), shape=(3, 4), count=2)


def templates_of_digits():
    return capacity.templates({"kernel": wave(784, 9)}, np.zeros(9))


def learning():
    errors = {"test": np.array([[0.2, 0.04, 0.002], [0.3, 0.05, 0.001]]), "train": high(1, 3) / 9}
    return classification.learning(np.array([1, 2, 4]), errors, targets={"notes": 0.01})


def learning_in_one_epoch():
    errors = {"test": np.array([[0.1]]), "train": np.array([[0.02]])}
    return classification.learning(np.array([1]), errors, colors=RED)


def confusion():
    return classification.confusion(np.array([[97, 3, 0], [0, 99, 1], [2, 0, 98]]))


def confusion_with_names():
    return classification.confusion(np.diag([3, 4]), names=["cat", "dog"])


def mistakes():
    labels, taken = np.array([4, 1, 2]), np.array([9, 7, 3])
    return classification.mistakes(
        wave(3, 4, 5), labels, taken, np.array([0.9, 0.5, 0.71]), columns=2
    )


def mistakes_in_a_row():
    return classification.mistakes(wave(1, 4, 4), np.array([1]), np.array([7]), np.array([0.5]))


def answers():
    images = [high(8, 9, 3) / 1.1, np.arange(64, dtype=np.uint8).reshape(8, 8, 1), high(4, 4, 3)]
    names = [["tabby", "tiger cat"], ["7", "2"], ["a name that goes on and on"]]
    shares = [np.array([0.8, 0.1]), np.array([0.999, 0.001]), np.array([0.4])]
    return photographs.answers(images, names, shares, titles=["a.jpg", "b" * 40, "c.png"])


def answers_alone():
    return photographs.answers([high(5, 5, 1)], [["cat", "dog"]], [np.array([0.6, 0.4])])


def reasons():
    maps = {
        "signed": wave(6, 6),
        "nothing": np.zeros((6, 6)),
        "a point": np.eye(36)[7].reshape(6, 6),
    }
    return photographs.reasons(high(6, 6, 3), maps, title="tabby, 87 %")


def filtered():
    kernels = {
        "same": np.ones((1, 1)), "mean": np.ones((3, 3)) / 9,
        "edge": np.array([[-1.0, 1.0]]) / 2, "wide": np.ones((4, 4)) / 16,
        "odd": np.array([[0.123, -0.123]]), "negative": -np.ones((1, 1)),
        "quarters": np.array([[1.0, 3.0]]) / 4, "eighths": np.array([[1.0, 7.0]]) / 8,
        "of 25": np.array([[0.04, 0.28]]),
    }  # fmt: skip
    outputs = {name: (i + 1) * wave(5, 5) for i, name in enumerate(kernels)}
    return convolution.filtered(high(5, 5), kernels, outputs)


def filtered_by_none_with_a_sign():
    return convolution.filtered(high(3, 3), {"same": np.ones((1, 1))}, {"same": high(3, 3)})


def fields():
    gradients = {"conv": np.eye(4), "pool": 2 * high(4, 5)}
    return convolution.fields(gradients, {"conv": ((1, 0), (2, 3)), "pool": ((-1, 1), (6, 5))})


def spread():
    extents = {"all": np.array([3, 5, 7]), "some": np.array([3, 7, 15])}
    deviations = {"all": np.array([1.0, 1.5, 1.7])}
    return convolution.spread(np.array([1, 2, 3]), extents, deviations)


def kernels():
    return convolution.kernels({"drawn": wave(2, 3, 3), "trained": 9 * wave(2, 3, 3)}, columns=2)


def kernels_in_a_row():
    return convolution.kernels({"drawn": wave(2, 2, 3)})


def activations():
    layers = {"conv": wave(2, 3, 3), "pool": wave(2, 2, 2)}
    return convolution.activations(wave(3, 4), layers, columns=2)


def activations_in_a_row():
    return convolution.activations(wave(3, 4), {"pool": wave(2, 2, 3)})


def batches():
    def timed(name, slower):
        ways = ("batch", "compiled loop", "Python loop")
        turns = np.array([1.0, 1.2, 1.1])
        seconds = {
            way: {size: slower * (k + 1 / size) * 1e-6 * turns for size in (1, 4, 16)}
            for k, way in enumerate(ways)
        }
        return cost.Pass(name, 2e5 * slower, 4e4, seconds)

    return cost.batches([timed("forward", 1.0), timed("backward", 2.0)], cost.Machine(5e10, 1e10))


def ratios():
    def spent(k):
        both = {"without": 1.0 + k, "with": 2.0 + k}
        timed = {way: np.array([0.9, 1.2, 1.0]) * ratio for way, ratio in both.items()}
        counted = {way: 1.1 * ratio for way, ratio in both.items()}
        return cost.Cost(both, counted, timed, 0.8 - k / 10, np.array([0.5, 0.7, 0.6]))

    found = {"8": spent(0), "64": spent(1)}
    return cost.ratios({"width": found, "depth": {"2": spent(2)}})


def final_against_rate():
    iterates = np.array([[1.0, 3.5], [0.5, 1.5], [-3.5, np.nan]])
    return descent.final_against_rate(
        np.array([0.1, 0.5, 0.9]), iterates, edges={"edge": 0.4, "none": np.inf},
        marked=(0.125, 0.5), stationary={"minimum": 1.0},
    )  # fmt: skip


def final_against_rate_without_an_edge():
    edges = {"edge": np.nan}
    return descent.final_against_rate(np.array([0.1, 0.5]), high(2, 3), edges=edges)


def losses():
    lanes = {
        "slow": np.array([[4.0, 3.0, 2.0], [4.0, 2.0, 1.0], [5.0, 2.0, 1.5]]),
        "fast": np.array([[4.0, 40.0, np.inf], [4.0, 2.0, 0.5], [5.0, 1.0, 0.1]]),
    }
    return descent.losses(
        lanes, colors=rate_colors((0.125, 0.5)), floors={"best affine": 0.4},
        points={"printed": {0: 4.0, 2: 1.0}}, ylabel="loss",
        dead={"slow": np.array([0.1, 0.0, 0.3]), "fast": np.array([0.5])},
    )  # fmt: skip


def losses_of_one_seed():
    return descent.losses({"one": 1 / np.arange(1.0, 5002.0)[None]})


def losses_that_all_diverge():
    return descent.losses({"one": np.array([[1.0, 1e5, 1e9], [2.0, 1e8, np.nan]])})


def outcomes():
    final = np.array([[1.0, 0.5, np.inf], [1.5, 0.4, np.nan], [0.8, 0.6, np.inf]])
    edges = np.array([0.2, 0.3, np.inf])
    etas, floors = np.array([0.1, 0.2, 0.4]), {"best affine": 0.3}
    return descent.outcomes(etas, final, 2 * final, edges, floors=floors, ylabel="loss")


def outcomes_without_an_edge():
    etas, final = np.array([0.1, 0.2]), high(1, 2)
    return descent.outcomes(etas, final, 2 * final, np.array([np.nan]))


def overlay():
    series = {"a/loss": (np.array([3.0, 1.0]), np.array([2.0, 1.0, 0.5]))}
    series |= {f"s{i}": (wave(2) - 1, wave(2) + i) for i in range(4)}
    return descent.overlay(series)


def overlay_of_thirteen():
    return descent.overlay({f"s{i}": (np.array([i]), np.array([np.inf])) for i in range(13)})


def readings():
    lanes = {"sgd": high(3, 3), "adam": np.array([[0.5, np.inf, 8.0]])}
    return descent.readings(np.array([0, 5, 10]), lanes)


def readings_of_one_seed():
    return descent.readings(np.array([0]), {"sgd": np.array([[0.5]])}, ylabel="ratio")


def exclusive_or():
    return features.exclusive_or(np.array([4.0, 3.0, -8.0, -2.0]))


def edges():
    return features.edges(high(2, 3, 4), wave(2, 3, 4), 2 * wave(2, 3, 4))


def histograms():
    votes = {2: high(2, 2, 3, 2), 3: np.zeros((2, 2, 2, 3))}
    return features.histograms(high(2, 4, 5), votes)


def error_by_features():
    numbers, found = np.array([784, 1784, 4784]), {"test": high(2, 3) / 9, "train": high(1, 3) / 9}
    return features.error_by_features(numbers, found, colors=RED, floor=("always no", 0.0974))


def error_by_features_without_a_floor():
    return features.error_by_features(np.array([1, 10]), {"test": high(1, 2)})


def error_by_samples():
    found = {"pixels": np.array([[0.3, 0.1, 0.008]]), "edges": np.array([[0.2, 0.05, 0.02]])}
    return features.error_by_samples(np.array([100, 1000, 10000]), found)


def shifts():
    moved = {"pixels": np.array([0.0, 0.8, 1.2]), "edges": np.array([0.0, 0.5, 0.9])}
    return features.shifts(np.arange(3), moved, {name: far / 4 for name, far in moved.items()})


def convergence():
    found = {"descent": np.array([1.0, 0.1, 0.0]), "momentum": np.array([1.0, 0.01, -0.1])}
    return features.convergence(found)


def _layer(name, gradient_norm=0.5, dead=None, saturated=None):
    blank = dict.fromkeys(LayerFlow._fields) | {"name": name, "activation_rms": 1.5}
    shares = {"dead": dead, "saturated": saturated}
    return LayerFlow(**(blank | {"gradient_norm": gradient_norm} | shares))


def flow():
    rows = (_layer("one", dead=0.25), _layer("two", gradient_norm=0.0, saturated=0.5))
    return layers.flow(_flow(rows))


def flow_of_many_layers():
    return layers.flow(_flow(tuple(_layer(f"dense{i}", dead=i / 10) for i in range(9))))


def flow_of_eight_layers():
    return layers.flow(_flow(tuple(_layer(f"dense{i}") for i in range(8))))


def flow_of_one_layer():
    return layers.flow(_flow((_layer("dense"),)))


def flow_of_thirty_layers():
    return layers.flow(_flow(tuple(_layer(f"dense{i}") for i in range(30))))


def _flow(rows):
    return mock.Mock(spec=Flow, layers=rows)


def profiles():
    curves = {"he": high(3, 4), "glorot": high(3, 4) / 2}
    expected = {"forward": {"he": np.ones(4)}}
    return layers.profiles({"forward": curves, "backward": {"he": high(3, 2)}}, expected, "norm")


def profiles_without_expectations():
    curves = {f"f{i}": np.full((2, 2), 1.0 + i) for i in range(8)}
    return layers.profiles({"forward": curves}, {}, "norm")


def along():
    panels = {"plain": high(3, 3), "dying": np.array([[0.5], [0.1], [0.0]])}
    return layers.along(np.array([0, 10, 20]), panels, {"plain": high(3), "dying": high(3)})


def sizes():
    outputs = {"image": (200, 8, 1), "conv": (99, 6, 4), "dense": (10,)}
    costs = {"parameters": [0, 40, 1450], "multiply-adds": [0, 1296, 1440], "nothing": [0] * 3}
    return network.sizes(outputs, ["input", "conv", "dense"], costs)


def sizes_of_many_layers():
    outputs = {f"dense{i}": (1,) for i in range(12)}
    return network.sizes(outputs, [f"k{i}" for i in range(12)], {})


def weight_images():
    weights = {"last": np.arange(-6.0, 6.0), "nothing": np.zeros(12)}
    return perceptron.weight_images(weights, shape=(3, 4))


def weight_images_of_digits():
    return perceptron.weight_images({"last": wave(784)})


def changes():
    inputs = np.array([[2.0, 1.0], [1.0, 3.0], [-1.0, 0.5]])
    weights = np.array([[0, 0, 0], [2, 1, 1], [2, 1, 1], [1, -2, 0], [0, 0, -1], [2, 1, 0]])
    return perceptron.changes(inputs, np.array([1, -1, 1]), weights.astype(float), columns=3)


def changes_through_the_origin():
    inputs, weights = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[0.0, 0.0], [2.0, 1.0]])
    return perceptron.changes(inputs, np.array([1, -1]), weights)


def changes_of_one_example():
    weights = np.array([[0.0, 0.0], [2.0, 1.0]])
    return perceptron.changes(np.array([[2.0, 1.0]]), np.array([1]), weights)


def grid():
    figure, axes = style.grid(2, 1, sharex=True)
    assert axes.shape == (2, 1)
    return figure


def _series():
    one = trajectory.Trajectory(0.125, wave(3), high(3), wave(3) / 2, wave(3, 4))
    return [one, trajectory.Trajectory(0.3, wave(7), high(7), wave(7) / 2, wave(7, 4))]


def frames():
    return trajectory.frames(_series(), np.arange(4.0), np.array([1.0, 0.25, 0.5, 2.0]))


class Player:
    """Plays one frame of an animation, and says with which settings it was to be played."""

    def __init__(self, figure, draw, **settings):
        self.settings = settings
        for frame in (0, settings["frames"] - 1):
            draw(frame)
        self.figure = figure

    def to_jshtml(self, **settings):
        self.figure.text(0, 0, f"{self.settings | settings}")
        Player.last = self.figure
        return '<link rel="stylesheet" href="font">'


def animation():
    short = [one._replace(w=one.w[:3]) for one in _series()]
    with mock.patch.object(_player, "FuncAnimation", Player):
        trajectory.animation(short, np.arange(4.0), np.array([1.0, 0.25, 0.5, 2.0]))
    return Player.last


def _slides():
    doubled = sliding.Slide(wave(4, 1), 2 * wave(4, 1), 2 * np.eye(4).reshape(4, 1, 4, 1))
    weights = np.zeros((2, 2, 2, 3, 3, 2))
    for (row, column, feature), one in zip(np.ndindex(2, 2, 2), wave(8), strict=True):
        weights[row, column, feature, row : row + 2, column : column + 2, feature] = one
    inputs = np.arange(18.0).reshape(3, 3, 2)
    return {"signal": doubled, "groups": sliding.Slide(inputs, wave(2, 2, 2), weights)}


def windows():
    large = sliding.Slide(wave(13, 12, 1), wave(1, 1, 1), np.ones((1, 1, 1, 13, 12, 1)))
    return sliding.positions(_slides() | {"large": large}, {"groups": (0, 1, 1)})


def window_that_slides():
    with mock.patch.object(_player, "FuncAnimation", Player):
        sliding.animation(_slides()["groups"], "two groups")
    return Player.last


def error_rates():
    found = {f"m{i}": (np.array([0.01, 0.1, 0.5]), np.array([0.5, 0.8, 0.99])) for i in range(5)}
    perfect = {"perfect": (np.array([1e-4, 0.5]), np.array([1.0, 1.0]))}
    return verification.error_rates({"digits": found, "letters": perfect})


def plane():
    return verification.plane(wave(23, 2), np.array([0, *range(22)]))


def shares():
    gradients = {"left": wave(2, 3, 2), "right": wave(2, 3, 2) / 2}
    return verification.shares({"left": high(4, 4)}, gradients, wave(2, 3, 2) * 1.5)


def shares_of_nothing():
    nothing = np.zeros((2, 2, 1))
    return verification.shares({}, {"left": nothing}, nothing)


FIGURES = {
    name: draw
    for name, draw in list(globals().items())
    if callable(draw)
    and getattr(draw, "__module__", "") == __name__
    and not name.startswith("_")
    and name not in ("wave", "high", "Player")
}
"""Name to the function that draws it."""
