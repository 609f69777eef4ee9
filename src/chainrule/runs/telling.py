"""What the traces of two runs tell: where they part first, and how each loss went."""

from typing import Any

import numpy as np

from chainrule import _require
from chainrule.descent.explaining import explain
from chainrule.descent.trace import Trace
from chainrule.runs.comparing import Comparison, Gap
from chainrule.runs.read import Loaded

__all__ = ["told"]
__dir__ = __all__.copy

_MOST = 6  # losses that are told


def told(comparison: Comparison) -> tuple[str, ...]:
    """Say where two runs part first, and of each loss what its column of ``trace.csv`` shows.

    Args:
      comparison: what `chainrule.runs.compare` returns.

    Returns:
      Sentences: the first step at which a series of both parts, and for each of the first six
      losses what `chainrule.descent.explain` says of A's and of B's.

    Raises:
      ValueError: the argument is of another type.
    """
    _require.instance("comparison", comparison, Comparison, "what runs.compare returns")
    apart = [gap for gap in comparison.gaps if gap.parts_at is not None]
    if not apart:
        return (f"They do not part in any of {len(comparison.gaps)} series.",)
    first = min(apart, key=lambda gap: gap.parts_at or 0)
    said = [f"They part first at step {first.parts_at}, in {first.series}."]
    for gap in [gap for gap in apart if gap.loss][:_MOST]:
        for which, run, name in (("A", comparison.a, gap.name_a), ("B", comparison.b, gap.name_b)):
            said.append(f"{which}, {name}: {_loss(run, name, gap)}")
    return tuple(said)


def _loss(run: Loaded, name: str, gap: Gap) -> str:
    loss: Any = run.trace[name]
    # Norms, if the run has them, stand under the same name; the verdict needs their ends.
    norms: Any = run.trace.get(f"{name.removesuffix('loss')}grad_norm", np.full(len(loss), np.nan))
    sentences = explain(Trace(loss, norms, None, None)).sentences
    return " ".join([*sentences, f"It parts at step {gap.parts_at}, at {loss[gap.parts_at]:.6g}."])
