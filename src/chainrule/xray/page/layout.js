"use strict";
// Layout. dagre lays out each open group by itself; to its surroundings the group is one large box,
// so that graphs of any size stay cheap. Wires are cut at its border.
globalThis.layout = (() => {
  const TITLE = 24, INSET = 14, NEAR = 8; // of an open group, and between its title and its boxes
  const LANE = 12, BEND = 26; // beside the boxes, for wires from one source to many
  const MANY = 4;
  const AXES = {
    down: { rankdir: "TB", ranksep: 34, across: "x", along: "y", span: "width", depth: "height" },
    right: { rankdir: "LR", ranksep: 44, across: "y", along: "x", span: "height", depth: "width" },
  };
  const isPort = (id) => /^(in|out) /.test(id);

  const kept = { data: null, placed: new Map() }; // levels that were placed, under all that decides how
  const KEPT = 2000;

  function layout(data, open, direction) {
    if (kept.data !== data || kept.placed.size > KEPT) Object.assign(kept, { data, placed: new Map() });
    const { boxes, links, of } = visible(data, open);
    for (const box of boxes.values()) cards.fill(data, box);
    return { ...place(null, levels(data, open, boxes, links), direction), of };
  }

  // Closed groups and the nodes outside them, each with the open groups around it, outer first.
  function visible(data, open) {
    const shown = new Set(open), { around, ones, groups } = survey(data);
    const boxes = new Map(); // id -> {id, node | group, about, path}
    const of = data.nodes.map((node) => {
      const up = around[node.id];
      const closed = up.findIndex((g) => !shown.has(g));
      const id = closed < 0 ? `n${node.id}` : `g${up[closed]}`;
      if (!boxes.has(id)) {
        const path = closed < 0 ? up : up.slice(0, closed), g = up[closed];
        const what = closed < 0 ? { node, about: ones[node.id] } : { group: data.groups[g], about: groups[g] };
        boxes.set(id, { id, path, ...what });
      }
      return id;
    });
    const links = new Map(); // several uses between two boxes of which one is a group are one link
    data.edges.forEach((edge, index) => {
      if (edge.target === null) return;
      const [from, to] = [of[edge.source], of[edge.target]];
      if (from === to) return;
      const key = from[0] === "n" && to[0] === "n" ? `${index}` : `${from} ${to}`;
      if (!links.has(key)) links.set(key, { from, to, index, edges: [] });
      links.get(key).edges.push(edge);
    });
    return { boxes, links: [...links.values()], of };
  }

  // The content of each open group, and of the page (null): its boxes, and the pieces of the links.
  // A link is cut at the borders it crosses. Each source crosses a border once, through its port.
  function levels(data, open, boxes, links) {
    const found = new Map([[null, { children: new Map(), wires: new Map() }]]);
    for (const g of [...open].sort((a, b) => a - b)) {
      const group = data.groups[g];
      if (!found.has(group.parent)) continue; // it is open inside a closed one
      found.set(g, { children: new Map(), wires: new Map(), group });
      found.get(group.parent).children.set(`o${g}`, { id: `o${g}`, opened: g });
    }
    for (const box of boxes.values()) found.get(box.path.at(-1) ?? null).children.set(box.id, box);
    links.forEach((link) => {
      const up = [null, ...boxes.get(link.from).path], down = [null, ...boxes.get(link.to).path];
      let common = 0;
      while (common + 1 < Math.min(up.length, down.length) && up[common + 1] === down[common + 1])
        common += 1;
      const piece = (g, from, to) => {
        const last = to === link.to;
        const label = last ? cards.contribution(link) : "";
        // Uses by one box keep separate wires, pieces with the same ends share one.
        const name = [from, to, link.from, last && link.edges.length === 1 ? link.index : ""].join(" ");
        const { wires } = found.get(g);
        if (!wires.has(name))
          wires.set(name, { from, to, label, source: link.from, first: from === link.from, last, edges: [] });
        wires.get(name).edges.push(...link.edges);
      };
      let from = link.from;
      for (let k = up.length - 1; k > common; k -= 1) {
        piece(up[k], from, `out ${link.from}`);
        from = `o${up[k]}`;
      }
      for (let k = common; k < down.length; k += 1) {
        piece(down[k], from, k + 1 < down.length ? `o${down[k + 1]}` : link.to);
        from = `in ${link.from}`;
      }
    });
    return found;
  }

  // Place one level: its items (cards and frames), its paths, and where wires pass its border.
  function place(g, levels, direction) {
    const level = levels.get(g), { children, wires } = level;
    const inner = new Map();
    for (const [id, box] of children)
      if (box.opened !== undefined) inner.set(id, place(box.opened, levels, direction));
    const opened = [...children.keys()].map((id) => [id, inner.get(id)?.number]);
    const key = JSON.stringify([direction, g, opened, [...wires.keys()]]);
    if (!kept.placed.has(key)) {
      const number = kept.placed.size;
      kept.placed.set(key, { ...arranged(level, inner, AXES[direction]), number });
    }
    return kept.placed.get(key);
  }

  function arranged(level, inner, axes) {
    const { children, group } = level;
    const { wires, buses } = shortened(level);
    const graph = toDagre({ children, wires }, inner, axes);
    order.arrange(graph, wires, inner, axes.across);

    const room = extent(graph, { children, wires }, axes);
    const lanes = new Map([...new Set([...buses.values()].map(({ from }) => from))].map((from, k) =>
      [from, room[axes.across === "x" ? "left" : "top"] - LANE * (k + 1)]));
    const texts = [...buses.values()].map(({ label }) => (label ? cards.width(label, cards.SIZE.label) / 2 : 0));
    room[axes.across === "x" ? "left" : "top"] -= LANE * lanes.size + Math.max(0, ...texts);
    const { left, top, right, bottom } = room;
    const margin = group ? 2 * INSET : 0;
    const title = group ? cards.width(`▾ ${group.name}`, cards.SIZE.title, true) + margin : 0;
    const width = Math.max(right - left + margin, title);
    const height = bottom - top + (group ? TITLE + NEAR + INSET : 0);
    const dx = (width - (right - left)) / 2 - left, dy = (group ? TITLE + NEAR : 0) - top;
    const at = (point) => ({ ...point, x: point.x + dx, y: point.y + dy });

    const corner = new Map(); // of boxes: left, top and size
    for (const id of children.keys()) {
      const node = at(graph.node(id));
      corner.set(id, { ...node, x: node.x - node.width / 2, y: node.y - node.height / 2 });
    }
    const ports = Object.fromEntries(graph.nodes().filter(isPort).map((id) => [id, at(graph.node(id))]));
    const frame = group ? [{ frame: group, x: 0, y: 0, width, height }] : [];
    const boxes = [...children.values()].filter(({ id }) => !inner.has(id));
    const items = [...frame, ...boxes.map((box) => ({ box, ...corner.get(box.id) }))];
    const border = axes.along === "y" ? height : width;
    const paths = route({ graph, wires, buses, lanes, inner, corner, ports, border, at, axes });

    for (const [id, part] of inner) {
      const move = (point) => ({ ...point, x: point.x + corner.get(id).x, y: point.y + corner.get(id).y });
      items.push(...part.items.map(move));
      for (const path of part.paths)
        paths.push({ ...path, points: path.points.map(move), label: path.label && move(path.label) });
    }
    return { items, paths, ports, width, height };
  }

  // A wire whose ends are also joined through other boxes says nothing about their order. Where one
  // source has many of these, to every step of a loop say, they run beside the boxes in one lane.
  function shortened({ wires }) {
    const after = new Map(), targets = new Map();
    for (const [name, { from, to }] of wires) {
      after.set(from, [...(after.get(from) ?? []), to]);
      targets.set(from, [...(targets.get(from) ?? []), [name, to]]);
    }
    const buses = new Map();
    for (const [from, list] of targets) {
      if (list.length <= MANY) continue;
      const behind = new Set(), todo = after.get(from).flatMap((id) => after.get(id) ?? []);
      while (todo.length) {
        const id = todo.pop();
        if (!behind.has(id)) { behind.add(id); todo.push(...(after.get(id) ?? [])); }
      }
      const long = list.filter(([, to]) => behind.has(to));
      if (long.length >= MANY) for (const [name] of long) buses.set(name, wires.get(name));
    }
    return { wires: new Map([...wires].filter(([name]) => !buses.has(name))), buses };
  }

  function toDagre({ children, wires }, inner, { rankdir, ranksep }) {
    const graph = new dagre.graphlib.Graph({ multigraph: true });
    graph.setGraph({ rankdir, ranksep, nodesep: 22, edgesep: 14 });
    const point = (id) => graph.setNode(id, { width: 1, height: 1 });
    for (const [id, box] of children) {
      const { width, height } = inner.get(id) ?? box;
      graph.setNode(id, { width, height });
    }
    for (const { from, to } of wires.values())
      for (const port of [from, to].filter((id) => isPort(id) && !graph.hasNode(id))) {
        const ends = port.startsWith("in ") ? ["first", port] : [port, "last"];
        ends.forEach(point);
        graph.setEdge(...ends, { weight: 3 }, "port"); // keeps the port at the border
      }
    for (const [name, { from, to, label }] of wires) {
      const size = cards.SIZE.label;
      const room = label ? { width: Math.max(cards.width(label, size), cards.reserved) + 8, height: size * 1.5 } : {};
      graph.setEdge(from, to, { labelpos: "c", ...room }, name);
    }
    return graph;
  }

  // The extent of boxes, labels and bends; ports and their hidden ends add nothing.
  function extent(graph, { children, wires }, { across }) {
    const room = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
    const add = ({ x, y, width = 0, height = 0 }) => {
      if (x !== undefined)
        [room.left, room.right] = [Math.min(room.left, x - width / 2), Math.max(room.right, x + width / 2)];
      if (y !== undefined)
        [room.top, room.bottom] = [Math.min(room.top, y - height / 2), Math.max(room.bottom, y + height / 2)];
    };
    for (const id of children.keys()) add(graph.node(id));
    for (const [name, { from, to, label }] of wires) {
      const edge = graph.edge({ v: from, w: to, name });
      for (const point of edge.points) add({ [across]: point[across] });
      if (label) add(edge);
    }
    return room;
  }

  // The routes of the wires: from the middle of a box's side, or a port, to the facing side of
  // another box, along which arriving wires spread.
  function route({ graph, wires, buses, lanes, inner, corner, ports, border, at, axes }) {
    const { across, along, span, depth } = axes;
    const middle = (id) => at(graph.node(id))[along];
    // A wire runs straight along the whole depth of a rank, so that it cuts no neighbour's corner.
    const ranks = new Map();
    for (const id of graph.nodes()) {
      const rank = Math.round(middle(id));
      ranks.set(rank, Math.max(ranks.get(rank) ?? 0, graph.node(id)[depth] / 2));
    }
    const straight = (point) => {
      const rank = Math.round(point[along]), half = ranks.get(rank);
      if (half === undefined) return [point]; // the place of a label, between two ranks
      return [{ ...point, [along]: rank - half }, { ...point, [along]: rank + half }];
    };
    const arriving = new Map();
    const paths = [...wires, ...buses].map(([name, wire]) => {
      const { from, to, source, label, edges, first, last } = wire;
      const edge = graph.edge({ v: from, w: to, name });
      const bends = edge ? order.bends(edge).slice(1, -1).map(at) : [];
      const [start, end] = [{}, {}];
      if (ports[from]) Object.assign(start, { [across]: ports[from][across], [along]: 0 });
      else {
        const box = corner.get(from), port = inner.get(from)?.ports[`out ${source}`];
        start[across] = box[across] + (port ? port[across] : box[span] / 2);
        start[along] = box[along] + box[depth];
      }
      if (ports[to]) Object.assign(end, { [across]: ports[to][across], [along]: border });
      else {
        const box = corner.get(to), port = inner.get(to)?.ports[`in ${source}`];
        end[along] = box[along];
        if (port) end[across] = box[across] + port[across];
        else {
          if (!arriving.has(to)) arriving.set(to, []);
          arriving.get(to).push({ end, near: (bends.at(-1) ?? at(graph.node(from)))[across] });
        }
      }
      const place = label && edge ? { text: label, ...at(edge) } : null;
      const lane = edge ? null : at({ x: 0, y: 0, [across]: lanes.get(from) })[across];
      return { start, bends, end, from, to, lane, text: label, label: place, edges, first, last };
    });
    for (const [id, list] of arriving) {
      const box = corner.get(id);
      list.sort((p, q) => p.near - q.near);
      list.forEach(({ end }, k) => {
        end[across] = box[across] + (box[span] * (k + 1)) / (list.length + 1);
      });
    }
    return paths.map(({ start, bends, end, from, to, lane, text, ...rest }) => {
      if (lane !== null) {
        const [a, b] = [start[along] + BEND, Math.max(start[along] + BEND, end[along] - BEND)];
        const label = text && { text, [across]: lane, [along]: b };
        return { ...rest, label, points: [start, { [across]: lane, [along]: a }, { [across]: lane, [along]: b }, end] };
      }
      const after = straight({ ...start, [along]: middle(from) }).at(-1);
      const before = straight({ ...end, [along]: middle(to) })[0];
      after[along] = Math.max(after[along], start[along]); // a port has no depth of its own
      before[along] = Math.min(before[along], end[along]);
      return { ...rest, points: [start, after, ...bends.flatMap(straight), before, end] };
    });
  }

  return layout;
})();
