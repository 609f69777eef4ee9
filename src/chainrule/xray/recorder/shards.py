"""A step that spans processes: each of them looks at its own part of the data, and runs nothing.

To run such a step again, all processes would have to do so at one time; one that does not would let
the others wait for ever.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from chainrule.xray.recorder.calls import Call
from chainrule.xray.recorder.plan import counts, is_float
from chainrule.xray.recorder.samples import Rows, Samples

__all__ = ["bad_data", "parts", "spans"]
__dir__ = __all__.copy


def spans(call: Call) -> bool:
    """Tell whether an argument lies on devices of several processes."""
    arrays = [call.leaves[k] for k in call.arrays]
    return any(isinstance(x, jax.Array) and not x.is_fully_addressable for x in arrays)


def parts(leaf: Any) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield what of an array lies in this process: where each part begins, and its numbers."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        yield (0,) * np.ndim(leaf), np.asarray(leaf)
        return
    seen = {}
    for shard in leaf.addressable_shards:
        seen[tuple(axis.start or 0 for axis in shard.index)] = shard.data
    for start, part in seen.items():
        yield start, np.asarray(part)


def bad_data(call: Call, rows: Rows) -> tuple[tuple[str, ...], Samples]:
    """Return what is not finite in the arguments in this process, and the samples of it."""
    here = f"of process {jax.process_index()}"
    found, places = [], set()
    for k in call.arrays:
        if not is_float(call.leaves[k]):
            continue
        for start, part in parts(call.leaves[k]):
            where = np.argwhere(~np.isfinite(part))
            if len(where):
                first = [int(a + b) for a, b in zip(start, where[0], strict=True)]
                what = ", ".join(counts(part))
                found.append(f"not finite in the part {here}: {call.names[k]} at {first} ({what})")
                if k in rows.leaves:
                    places |= {int(start[0] + index[0]) for index in where}
    why = f"what of its data lies in the part {here} is not finite"
    if not places:
        why = f"the data in the part {here} are finite, and a step that spans processes runs once"
    return tuple(found), Samples(tuple(sorted(places)), rows.size, False, why)
