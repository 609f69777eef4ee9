"""What is said of a descent, as data: each sentence rests on numbers that stand beside it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Literal

from chainrule.descent.verdicts import Lane

__all__ = ["Crossing", "Explanation", "Growth", "Move", "Silent", "Spike", "SpikeKind", "Survival"]
__dir__ = __all__.copy

SpikeKind = Literal["catapult", "divergence", "spike", "rise"]
"""What a rise of the loss was: see `Spike`."""


@dataclasses.dataclass(frozen=True)
class Crossing:
    """Whether the step became unstable: the ratio of the sharpness to its critical value.

    Attributes:
      step: the first one found at which the ratio is above 1, or None.
      before: the ratio one step earlier; NaN if there is none.
      ratio: the ratio there; without a crossing the highest that was read, NaN if none was.
      readings: how many readings there are of the ratio.
      highest: the highest reading's step.
    """

    step: int | None
    before: float
    ratio: float
    readings: int
    highest: int


@dataclasses.dataclass(frozen=True)
class Spike:
    """The largest rise of the loss over the lowest one before.

    Attributes:
      kind: ``"catapult"`` if the ratio had passed 1, the loss came back and the sharpness was lower
        then; ``"spike"`` if the loss came back otherwise, or no sharpness is known;
        ``"divergence"`` if it did not come back and the descent diverged, ``"rise"`` if it did
        neither.
      onset: the step of the lowest loss before.
      peak: the step of the highest one.
      back: the first step after it at which the loss is less than a fifth above the lowest before;
        None if never.
      losses: at the onset, at the peak.
      sharpness: the last reading up to the onset, and the first from ``back`` on; NaN if unknown.
      ratio: at the same two readings.
    """

    kind: SpikeKind
    onset: int
    peak: int
    back: int | None
    losses: tuple[float, float]
    sharpness: tuple[float, float]
    ratio: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Move:
    """One step of the iterate.

    Attributes:
      step: it leads from ``step - 1`` to ``step``.
      length: its Euclidean length.
      along: the share of its squared length along the direction in which this step is least stable,
        for plain descent that of the largest curvature; NaN if it is not known.
      shares: the share of its squared length in each layer, the largest first.
    """

    step: int
    length: float
    along: float
    shares: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Growth:
    """The norm of a layer's gradient at two steps."""

    layer: str
    since: int
    step: int
    before: float
    after: float


@dataclasses.dataclass(frozen=True)
class Silent:
    """Units of a layer that get no gradient: that of all their weights is exactly 0.

    Attributes:
      layer: its name.
      units: how many it has.
      start: how many get none at the start.
      end: how many get none at the last step.
    """

    layer: str
    units: int
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Survival:
    """A continuation with shorter steps, that was run.

    Attributes:
      factor: what every step was multiplied by.
      since: the step from which on.
      steps: how many more were taken.
      survives: whether every loss is finite and every one of the last tenth at most that at
        ``since``, at this factor and at every smaller one tried, also from a start moved a little.
      highest: the highest loss on the way; infinity or NaN if it is not finite.
      final: the highest of the last tenth.
    """

    factor: float
    since: int
    steps: int
    survives: bool
    highest: float
    final: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What happened in a descent and why, as numbers; `str` says it in sentences.

    Attributes:
      lane: the descent in numbers, see `summary`.
      steps: how many it has.
      step: the step that is explained.
      crossing: when the step became unstable; None if nothing was read.
      spike: the largest rise of the loss, if it rose by a fifth.
      move: the step that led there, if the parameters are known.
      growths: of every layer's gradient, the largest growth first.
      silent: layers in which units get no gradient.
      survivals: what was tried in place of a descent that did not come back.
      parted: how far the loss at ``step`` is from the recorded one where the descent was run again,
        relative to it; None if it was not.
    """

    lane: Lane
    steps: int
    step: int
    crossing: Crossing | None = None
    spike: Spike | None = None
    move: Move | None = None
    growths: tuple[Growth, ...] = ()
    silent: tuple[Silent, ...] = ()
    survivals: tuple[Survival, ...] = ()
    parted: float | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What `str` prints, a sentence each."""
        return tuple(_sentences(self))

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def _sentences(of: Explanation) -> Iterator[str]:
    lane = of.lane
    ended = f"Loss {lane.start:.4g} to {lane.final:.4g} in {of.steps} steps: {lane.verdict}"
    first = lane.first_nonfinite
    yield f"{ended}." if first is None else f"{ended}; it is not finite after {first} steps."
    if of.crossing is not None:
        yield _crossed(of.crossing)
    if of.spike is not None:
        yield _spiked(of.spike)
    if of.move is not None:
        yield _moved(of.move)
    if of.growths and of.growths[0].after > of.growths[0].before:
        one = of.growths[0]
        times = f", {one.after / one.before:.3g} times" if one.before > 0 else ""
        yield (
            f"From step {one.since} to step {one.step} the gradient grew most in {one.layer}: its "
            f"norm from {one.before:.3g} to {one.after:.3g}{times}."
        )
    for layer in of.silent:
        yield (
            f"Of the {layer.units} units of {layer.layer}, {layer.start} get no gradient at the "
            f"start, {layer.end} at the end."
        )
    if of.survivals:
        yield _survived(of.survivals)
    if of.parted is not None and not of.parted <= 1e-3:
        yield (
            f"Run again to explain it, the loss at step {of.step} differs from the recorded one by "
            f"{of.parted:.1%} of it: rounding decides where this descent goes, and what is said of "
            "layers, units and other rates is of the second run."
        )


def _crossed(of: Crossing) -> str:
    if of.step is None:
        if math.isnan(of.ratio):
            return "It is not known how far a step was from its edge: no reading has a ratio."
        count = "its one reading" if of.readings == 1 else f"any of its {of.readings} readings"
        return (
            "The ratio of the sharpness to its critical value was not above 1 at "
            f"{count}; the highest was {of.ratio:.3g}, at step {of.highest}."
        )
    if of.step == 0:
        times = f"{of.ratio:.3g} times its critical value"
        return f"The first step was unstable already: the sharpness is {times}."
    known = "" if math.isnan(of.before) else f", {of.before:.4g} one step before"
    return (
        "The ratio of the sharpness to its critical value was first above 1 at step "
        f"{of.step}: {of.ratio:.4g}{known}."
    )


def _spiked(of: Spike) -> str:
    (low, high), (onset, peak) = of.losses, (of.onset, of.peak)
    rise = f"he loss rose from {low:.3g} at step {onset} to {high:.3g} at step {peak}"
    if of.back is None:
        if of.kind == "divergence":
            return f"A divergence: t{rise}, and did not come back."
        return f"T{rise}, and was not back by the last step."
    back = f"A {of.kind}: t{rise}, and was back by step {of.back}"
    if math.isnan(sum(of.sharpness)):
        return f"{back}."
    went = f"sharpness went from {of.sharpness[0]:.3g} to {of.sharpness[1]:.3g}"
    if not math.isnan(sum(of.ratio)):
        went += f", its ratio from {of.ratio[0]:.3g} to {of.ratio[1]:.3g}"
    return f"{back}; meanwhile the {went}."


def _moved(of: Move) -> str:
    where = f"The move from step {of.step - 1} to step {of.step}"
    layers = ", ".join(f"{share:.0%} in {layer}" for layer, share in list(of.shares.items())[:3])
    shares = f"its squared length lies {layers}" if len(of.shares) > 1 else ""
    if math.isnan(of.along):
        return f"{where} has the length {of.length:.3g}" + (f"; {shares}." if shares else ".")
    along = f"{of.along:.0%} of its squared length along the least stable direction"
    return f"{where} went {along}" + (f"; {shares}." if shares else ".")


def _survived(of: tuple[Survival, ...]) -> str:
    good = next((one for one in of if one.survives), None)
    if good is None:
        tried, first = ", ".join(f"{one.factor:g}" for one in of), of[0]
        return (
            f"Tried from step {first.since} on: steps {tried} times as long; none survives "
            f"{first.steps} more."
        )
    tale = (
        f"Steps {good.factor:g} times as long from step {good.since} on survive {good.steps} more: "
        f"run, the loss is {good.highest:.3g} at most, and {good.final:.3g} in the last tenth"
    )
    worse = [f"{one.factor:g}" for one in of if not one.survives]
    return f"{tale}; {', '.join(worse)} times as long do not." if worse else f"{tale}."
