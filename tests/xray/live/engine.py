"""The page's engine in QuickJS, and what it makes of a record."""

import functools
import importlib.resources
import json

import numpy as np
import quickjs

from chainrule.xray.live.recorded import living

SCRIPTS = ("special.js", "engine.js", "contract.js", "numbers.js", "cells.js")
_RUN = """function run(text) {
  const { program, given } = JSON.parse(text);
  const loaded = engine.load(program);
  loaded.arguments.forEach((x, k) => x.data.set(engine.decoded(given[k], x.dtype)));
  loaded.run();
  const written = (x) => Array.from(x.data, (n) => (Object.is(n, -0) ? "-0" : String(n))).join(" ");
  return JSON.stringify(loaded.results.map(written));
}"""


@functools.cache
def context():
    made = quickjs.Context()
    for name in SCRIPTS:
        made.eval((importlib.resources.files("chainrule.xray") / "page" / name).read_text("utf-8"))
    made.eval(_RUN)
    return made


def primitives(program):
    """Return the names of the primitives in a program, and in those within it."""
    found = set()
    for name, _, _, settings in program["equations"]:
        found.add(name)
        inner = [settings.get(key) for key in ("body", "condition")] + settings.get("branches", [])
        found |= set().union(*(primitives(one) for one in inner if one))
    return found


def results(record):
    """Return value and gradient of every node, the part of every edge, and the primitives of it."""
    made = living(record)
    texts = json.loads(context().get("run")(json.dumps(made)))

    def array(k, aval):
        if k is None:
            return None
        with np.errstate(over="ignore"):
            return np.array([float(n) for n in texts[k].split()]).reshape(aval.shape)

    nodes, edges = record.nodes, record.edges
    values, gradients = (
        [
            [array(k, a) for k, a in zip(row, n.avals, strict=True)]
            for row, n in zip(rows, nodes, strict=True)
        ]
        for rows in (made["values"], made["gradients"])
    )
    parts = [
        array(k, nodes[e.source].avals[e.output]) for k, e in zip(made["parts"], edges, strict=True)
    ]
    return values, gradients, parts, primitives(made["program"])
