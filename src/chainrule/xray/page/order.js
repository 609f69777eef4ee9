"use strict";
// The order of boxes within the ranks of one level, chosen among what dagre offers.
globalThis.order = (() => {
  const FEW = 12;

  // Boxes that lead to one box only take the order of its operands, unless this crosses more wires
  // than dagre's own order.
  function arrange(graph, wires, inner, across) {
    const uses = new Map(), takes = new Map();
    for (const { from, to } of wires.values()) {
      uses.set(from, (uses.get(from) ?? 0) + 1);
      takes.set(to, [...(takes.get(to) ?? []), from]);
    }
    for (const [id, { ports }] of inner) { // an open group has its own order
      const at = (from) => ports[`in ${from}`]?.[across] ?? Infinity;
      const sources = new Map([...wires.values()].map(({ from, source }) => [from, source]));
      takes.get(id)?.sort((p, q) => at(sources.get(p)) - at(sources.get(q)));
    }
    const constraints = [];
    const tree = (root) => {
      const parts = (takes.get(root) ?? []).filter((from) => uses.get(from) === 1)
        .map((from) => [from, ...tree(from)]);
      parts.forEach((part, k) => {
        for (const left of part)
          for (const right of parts.slice(k + 1).flat()) constraints.push({ left, right });
      });
      return parts.flat();
    };
    for (const id of graph.nodes()) if (uses.get(id) !== 1) tree(id);
    // The mirror image of dagre's own order crosses as many wires, but may fit the open groups better.
    const tries = [
      ...(constraints.length ? [() => dagre.layout(graph, { constraints })] : []),
      () => dagre.layout(graph), () => mirror(graph, across),
    ];
    let best = null;
    for (const arrangement of tries) {
      arrangement();
      const crossed = crossings(graph, wires, inner);
      if (best === null || crossed < best.crossed) best = { crossed, restore: snapshot(graph) };
      if (crossed <= graph.nodeCount() / FEW) break; // among many boxes one crossing is no matter
    }
    best.restore();
  }

  function mirror(graph, across) {
    const flip = (thing) => { if (thing[across] !== undefined) thing[across] *= -1; };
    graph.nodes().forEach((id) => flip(graph.node(id)));
    for (const id of graph.edges()) [graph.edge(id), ...graph.edge(id).points].forEach(flip);
  }

  function snapshot(graph) {
    const nodes = graph.nodes().map((id) => [graph.node(id), { ...graph.node(id) }]);
    const edges = graph.edges().map((id) => graph.edge(id)).map((edge) =>
      [edge, { ...edge, points: edge.points.map((p) => ({ ...p })) }]);
    return () => [...nodes, ...edges].forEach(([thing, before]) => Object.assign(thing, before));
  }

  // dagre also bends wires between any two ranks; of those bends only a label's is needed.
  const bends = ({ points, x, y, width }) =>
    points.filter((p, k) => k % 2 === 0 || (width && p.x === x && p.y === y));

  function crossings(graph, wires, inner) {
    const tip = (id, port) => {
      const node = graph.node(id), offset = inner.get(id)?.ports[port];
      if (!offset) return node;
      return { x: node.x - node.width / 2 + offset.x, y: node.y - node.height / 2 + offset.y };
    };
    const pieces = [...wires].flatMap(([name, { from, to, source }]) => {
      const between = bends(graph.edge({ v: from, w: to, name })).slice(1, -1);
      const points = [tip(from, `out ${source}`), ...between, tip(to, `in ${source}`)];
      return points.slice(1).map((p, k) => [points[k], p]);
    });
    const side = (p, q, r) => Math.sign((q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x));
    let count = 0;
    pieces.forEach(([a, b], k) => {
      for (const [c, d] of pieces.slice(k + 1))
        if (side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0) count += 1;
    });
    return count;
  }

  return { arrange, bends };
})();
