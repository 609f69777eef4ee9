"use strict";
// Draws a picture, the data of picture.py, as SVG text. It touches no document, so that the page
// and Python (to_svg) run the same drawing. Layout within one group is dagre's; an open group is
// laid out by itself and is one large box outside, so that graphs of any size stay cheap.
globalThis.draw = (() => {
  const SIZE = { value: 11, name: 13, small: 9.5, gradient: 11, birth: 10.5, title: 11, label: 10 };
  const PAD = 9, LEAD = 1.32, TITLE = 24, INSET = 14, PIXELS = [90, 150];
  const SYMBOLS = {
    add: "+", add_any: "+", sub: "−", mul: "×", div: "÷", neg: "−x", dot_general: "@", square: "x²",
    sqrt: "√", rsqrt: "1/√", reduce_sum: "Σ", reduce_max: "max", reduce_min: "min", logistic: "σ",
    abs: "|x|", conv_general_dilated: "conv", reduce_window_max: "max pool", select_n: "where",
    integer_pow: "xⁿ", broadcast_in_dim: "broadcast", convert_element_type: "as type",
  };

  const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

  // Helvetica's widths in thousandths of the size; other letters are taken for an average one.
  const WIDTHS = {};
  for (const [letters, width] of [
    ["ijl'|", 222], ["ft.,:;/ []()!I\\", 285], ["r-·*\"", 340], ["csvxyzkJ", 500], ["mM%W", 860],
    ["w+−=<>×÷~^@", 700], ["ABEKPSVXYCDHNRUGOQ", 720], ["…∞", 1000], ["\u2002", 500],
  ]) for (const letter of letters) WIDTHS[letter] = width;
  const width = (text, size, bold) => {
    let sum = 0;
    for (const letter of text) sum += WIDTHS[letter] ?? 560;
    return (sum * size * (bold ? 1.1 : 1.03)) / 1000;
  };

  // --- what is seen: closed groups and the nodes outside them -----------------------------------

  function visible(data, open) {
    const shown = new Set(open);
    const chain = (group) => {
      const up = [];
      for (let g = group; g !== null; g = data.groups[g].parent) up.unshift(g);
      return up;
    };
    const boxes = new Map(); // id -> {id, node | group, members, path: the open groups around it}
    const of = data.nodes.map((node) => {
      const up = chain(node.group);
      const closed = up.findIndex((g) => !shown.has(g));
      const id = closed < 0 ? `n${node.id}` : `g${up[closed]}`;
      const path = closed < 0 ? up : up.slice(0, closed);
      if (!boxes.has(id)) {
        const what = closed < 0 ? { node } : { group: data.groups[up[closed]] };
        boxes.set(id, { id, path, members: [], ...what });
      }
      boxes.get(id).members.push(node);
      return id;
    });
    const links = new Map(); // several uses between two boxes of which one is a group are one link
    data.edges.forEach((edge, index) => {
      if (edge.target === null) return;
      const [from, to] = [of[edge.source], of[edge.target]];
      if (from === to) return;
      const key = from[0] === "n" && to[0] === "n" ? `${index}` : `${from} ${to}`;
      if (!links.has(key)) links.set(key, { from, to, edges: [] });
      links.get(key).edges.push(edge);
    });
    return { boxes, links: [...links.values()], of };
  }

  // --- the text of a box -----------------------------------------------------------------------

  function lines(data, box) {
    const rows = [];
    const row = (text, kind, of) => rows.push({ text, kind, of });
    const cell = (part, kind, node) => {
      if (!part) return;
      if (part.image) rows.push({ image: part, kind, of: node.id });
      for (const text of part.text) row(text, part.bad ? `${kind} bad` : kind, node.id);
    };
    const main = box.node ?? outgoing(data, box.members);
    cell(main?.value, "value", main);
    if (box.node) {
      const operator = main.kind === "operator";
      row(operator ? SYMBOLS[main.op] ?? main.op : main.kind === "constant" ? "constant" : main.label,
        main.kind === "constant" ? "small" : "name");
      const about = [main.scope, operator ? main.label : "", main.shape].filter(Boolean).join(" · ");
      if (about && main.kind !== "constant") row(about, "small");
      if (main.kind === "constant" && main.shape) row(main.shape, "small");
    } else {
      row(`▸ ${box.group.name}`, "name");
      const count = (kind) => box.members.filter((node) => node.kind === kind).length;
      const plural = (n, what) => (n === 0 ? [] : [`${n} ${what}${n === 1 ? "" : "s"}`]);
      row([...plural(count("operator"), "operator"), ...plural(count("parameter"), "parameter")]
        .join(", "), "small");
      if (main?.shape) row(main.shape, "small");
    }
    if (main?.sum) row(main.sum, main.gradient.bad ? "gradient bad" : "gradient", main.id);
    else cell(main?.gradient, "gradient", main);
    const born = new Set(box.members.flatMap((n) => n.births.map((b) => `${b.kind} born ${b.phase}`)));
    for (const text of born) row(text, "birth");
    return rows;
  }

  // The node that a group hands on: the last one that somebody outside reads.
  function outgoing(data, members) {
    const inside = new Set(members.map((node) => node.id));
    let last = null;
    for (const edge of data.edges)
      if (inside.has(edge.source) && !inside.has(edge.target) && (last === null || edge.source > last))
        last = edge.source;
    return last === null ? null : data.nodes[last];
  }

  function measure(rows) {
    let [wide, high] = [0, 2 * PAD - 6];
    for (const row of rows) {
      if (row.image) {
        const { rows: m, columns: n } = row.image;
        const pixel = Math.min(9, PIXELS[0] / m, PIXELS[1] / n);
        [row.width, row.height] = [n * pixel, m * pixel];
        row.high = row.height + 6;
      } else {
        const kind = row.kind.split(" ")[0];
        row.size = SIZE[kind];
        row.width = width(row.text, row.size, kind === "name" || kind === "birth");
        row.high = row.size * LEAD;
      }
      wide = Math.max(wide, row.width);
      high += row.high;
    }
    return { width: Math.max(wide + 2 * PAD, 34), height: high };
  }

  // --- layout: one call of dagre for each open group ---------------------------------------------

  function layout(data, open, direction) {
    const { boxes, links, of } = visible(data, open);
    for (const box of boxes.values()) {
      box.rows = lines(data, box);
      Object.assign(box, measure(box.rows));
    }
    const levels = new Map([[null, { children: new Map(), wires: new Map() }]]);
    const level = (g) => levels.get(g);
    for (const g of [...open].sort((a, b) => a - b))
      if (data.groups[g].parent === null || levels.has(data.groups[g].parent))
        levels.set(g, { children: new Map(), wires: new Map(), group: data.groups[g] });
    for (const box of boxes.values()) level(box.path.at(-1) ?? null).children.set(box.id, box);
    for (const [g, { group }] of levels)
      if (g !== null) level(group.parent).children.set(`o${g}`, { id: `o${g}`, opened: g });

    // A link is cut at the borders it crosses. One source passes a border once, through its port.
    const wire = (g, from, to, link, source, last) => {
      const label = last ? contribution(link) : "";
      const key = label || (last && link.edges.length === 1) ? links.indexOf(link) : "";
      const name = `${from} ${to} ${source} ${key}`;
      const { wires } = level(g);
      if (!wires.has(name)) wires.set(name, { from, to, source, label, edges: [], first: from === source, last });
      wires.get(name).edges.push(...link.edges);
    };
    for (const link of links) {
      const [from, to] = [boxes.get(link.from), boxes.get(link.to)];
      const [up, down] = [[null, ...from.path], [null, ...to.path]];
      let common = 0;
      while (common + 1 < Math.min(up.length, down.length) && up[common + 1] === down[common + 1])
        common += 1;
      let source = from.id;
      for (let k = up.length - 1; k > common; k -= 1) {
        wire(up[k], source, `out ${link.from}`, link, link.from, false);
        source = `o${up[k]}`;
      }
      const into = common + 1 < down.length ? `o${down[common + 1]}` : to.id;
      wire(up[common], source, into, link, link.from, into === to.id);
      for (let k = common + 1; k < down.length; k += 1) {
        const next = k + 1 < down.length ? `o${down[k + 1]}` : to.id;
        wire(down[k], `in ${link.from}`, next, link, link.from, next === to.id);
      }
    }
    const drawn = place(null, levels, direction);
    return { ...drawn, boxes, of };
  }

  function contribution(link) {
    const [edge] = link.edges;
    if (!edge.fan || !edge.part || link.edges.length > 1) return "";
    return edge.part.short;
  }

  function place(g, levels, direction) {
    const { children, wires, group } = levels.get(g);
    const graph = new dagre.graphlib.Graph({ multigraph: true });
    const down = direction === "down";
    graph.setGraph({ rankdir: down ? "TB" : "LR", nodesep: 22, ranksep: down ? 34 : 44, edgesep: 14 });
    const inner = new Map();
    for (const [id, box] of children) {
      if (box.opened !== undefined) inner.set(id, place(box.opened, levels, direction));
      const { width, height } = inner.get(id) ?? box;
      graph.setNode(id, { width, height });
    }
    for (const { from, to } of wires.values())
      for (const port of [from, to])
        if (/^(in|out) /.test(port) && !graph.hasNode(port)) {
          graph.setNode(port, { width: 1, height: 1 });
          const ends = port[0] === "i" ? ["first", port] : [port, "last"];
          for (const end of ends) if (end !== port) graph.setNode(end, { width: 1, height: 1 });
          graph.setEdge(...ends, { weight: 3 }, "port"); // keeps the ports at the border
        }
    for (const [name, { from, to, label }] of wires) {
      const room = label ? { width: width(label, SIZE.label) + 8, height: SIZE.label * 1.5 } : {};
      graph.setEdge(from, to, { labelpos: "c", ...room }, name);
    }
    arrange(graph, wires, inner, down);

    // Ports and their hidden ends take no place of their own.
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const id of children.keys()) {
      const { x, y, width, height } = graph.node(id);
      [left, right] = [Math.min(left, x - width / 2), Math.max(right, x + width / 2)];
      [top, bottom] = [Math.min(top, y - height / 2), Math.max(bottom, y + height / 2)];
    }
    for (const name of wires.keys()) {
      const { points, x, y, width = 0, height = 0 } = graph.edge({ ...ends(wires.get(name)), name });
      for (const p of points) {
        if (down) [left, right] = [Math.min(left, p.x), Math.max(right, p.x)];
        else [top, bottom] = [Math.min(top, p.y), Math.max(bottom, p.y)];
      }
      if (x !== undefined && width) {
        [left, right] = [Math.min(left, x - width / 2), Math.max(right, x + width / 2)];
        [top, bottom] = [Math.min(top, y - height / 2), Math.max(bottom, y + height / 2)];
      }
    }
    const [dx, dy] = group ? [INSET - left, TITLE + 8 - top] : [-left, -top];
    const title = group ? width(`▾ ${group.name}`, SIZE.title, true) + 2 * INSET : 0;
    const wide = Math.max(right - left + (group ? 2 * INSET : 0), title);
    const high = bottom - top + (group ? TITLE + 8 + INSET : 0);
    const shift = (wide - (right - left) - (group ? 2 * INSET : 0)) / 2;
    const at = ({ x, y }) => ({ x: x + dx + shift, y: y + dy });

    const across = down ? "x" : "y", along = down ? "y" : "x";
    const [span, depth] = down ? ["width", "height"] : ["height", "width"];
    const items = [], paths = [], ports = {};
    for (const port of graph.nodes())
      if (/^(in|out) /.test(port)) ports[port] = at(graph.node(port));
    if (group) items.push({ frame: group, x: 0, y: 0, width: wide, height: high });
    const corner = new Map();
    for (const [id, box] of children) {
      const { x, y } = at(graph.node(id));
      const { width, height } = inner.get(id) ?? box;
      corner.set(id, { x: x - width / 2, y: y - height / 2, width, height });
      if (!inner.has(id)) items.push({ box, ...corner.get(id) });
    }
    for (const [name, wire] of wires) {
      const edge = graph.edge({ ...ends(wire), name });
      const label = wire.label ? { text: wire.label, ...at(edge) } : null;
      paths.push({ points: bends(edge).map(at), label, edges: wire.edges, wire });
    }
    // A wire runs straight along the whole depth of a rank, so that it cuts no neighbour's corner.
    const ranks = new Map();
    for (const id of graph.nodes()) {
      const node = graph.node(id), middle = Math.round(at(node)[along]);
      ranks.set(middle, Math.max(ranks.get(middle) ?? 0, node[depth] / 2));
    }
    const straight = (point) => {
      const middle = Math.round(point[along]), half = ranks.get(middle);
      if (half === undefined) return [point];
      return [{ ...point, [along]: middle - half }, { ...point, [along]: middle + half }];
    };

    // Wires leave a box at the middle of one side, and spread over the other where they arrive.
    const arriving = new Map();
    for (const path of paths) {
      const { points, wire } = path;
      const [from, to] = [corner.get(wire.from), corner.get(wire.to)];
      const [start, end] = [{ ...points[0] }, { ...points.at(-1) }];
      if (!from) Object.assign(start, ports[wire.from], { [along]: 0 });
      else {
        const port = inner.get(wire.from)?.ports[`out ${wire.source}`];
        start[across] = from[across] + (port ? port[across] : from[span] / 2);
        start[along] = from[along] + from[depth];
      }
      if (!to) Object.assign(end, ports[wire.to], { [along]: down ? high : wide });
      else {
        const port = inner.get(wire.to)?.ports[`in ${wire.source}`];
        end[along] = to[along];
        if (port) end[across] = to[across] + port[across];
        else arriving.set(wire.to, [...(arriving.get(wire.to) ?? []), { near: points.at(-2), end }]);
      }
      const rank = (id) => at(graph.node(id))[along];
      Object.assign(path, { start, end, leave: rank(wire.from), arrive: rank(wire.to) });
    }
    for (const [id, list] of arriving) {
      const { [across]: first, [span]: length } = corner.get(id);
      list.sort((p, q) => p.near[across] - q.near[across]);
      list.forEach(({ end }, k) => { end[across] = first + (length * (k + 1)) / (list.length + 1); });
    }
    for (const path of paths) {
      const { points, start, end, leave, arrive } = path;
      const after = straight({ ...start, [along]: leave }).at(-1);
      const before = straight({ ...end, [along]: arrive })[0];
      after[along] = Math.max(after[along], start[along]); // a port has no depth of its own
      before[along] = Math.min(before[along], end[along]);
      path.points = [start, after, ...points.slice(1, -1).flatMap(straight), before, end];
    }
    for (const [id, part] of inner) {
      const { x, y } = corner.get(id);
      for (const item of part.items) items.push({ ...item, x: item.x + x, y: item.y + y });
      for (const path of part.paths)
        paths.push({
          ...path,
          points: path.points.map((p) => ({ x: p.x + x, y: p.y + y })),
          label: path.label && { ...path.label, x: path.label.x + x, y: path.label.y + y },
        });
    }
    return { items, paths, ports, width: wide, height: high };
  }

  // What leads to one box only stands in the order of that box's operands, where this crosses no
  // more wires than dagre's own order does.
  function arrange(graph, wires, inner, down) {
    const uses = new Map(), takes = new Map();
    for (const { from, to } of wires.values()) {
      uses.set(from, (uses.get(from) ?? 0) + 1);
      takes.set(to, [...(takes.get(to) ?? []), from]);
    }
    for (const [id, { ports }] of inner) { // an open group has its own order
      const at = (from) => ports[`in ${from}`]?.[down ? "x" : "y"] ?? Infinity;
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
    // The mirror image of dagre's own order is as good inside, but may fit the open groups better.
    const tries = [
      () => dagre.layout(graph, { constraints }), () => dagre.layout(graph), () => mirror(graph, down),
    ];
    let best = null;
    for (const arrangement of tries) {
      arrangement();
      const crossed = crossings(graph, wires, inner);
      if (best === null || crossed < best.crossed) best = { crossed, restore: snapshot(graph) };
      if (crossed === 0) break;
    }
    best.restore();
  }

  function mirror(graph, down) {
    const across = down ? "x" : "y";
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

  // dagre bends a wire between any two ranks, too: of those bends only a label's is needed.
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

  const ends = ({ from, to }) => ({ v: from, w: to });

  // --- the backward pass, step by step -----------------------------------------------------------

  // After `step` operators have gone backward: is what a use contributes, or a gradient, known?
  function progress(data, step) {
    if (step === null) return { edge: () => true, node: () => true, current: null };
    const turn = new Map(data.steps.map((id, k) => [id, k]));
    const edge = (e) => e.target === null || !turn.has(e.target) || turn.get(e.target) < step;
    const waiting = new Set();
    for (const e of data.edges) if (e.part && !edge(e)) waiting.add(e.source);
    return { edge, node: (id) => !waiting.has(id), current: step ? data.steps[step - 1] : null };
  }

  // --- SVG ----------------------------------------------------------------------------------------

  const round = (x) => Math.round(x * 10) / 10;

  // Through every point in the direction of flow, so that wires meet boxes at right angles.
  function curve(points, down) {
    const p = points.map(({ x, y }) => [round(x), round(y)]).filter(
      ([a, b], k, all) => k === 0 || Math.hypot(a - all[k - 1][0], b - all[k - 1][1]) > 0.5);
    let d = `M${p[0]}`;
    for (let k = 1; k < p.length; k += 1) {
      const [[a, b], [c, e]] = [p[k - 1], p[k]];
      if (down ? a === c : b === e) { d += `L${c},${e}`; continue; }
      const half = down ? round((b + e) / 2) : round((a + c) / 2);
      d += down ? `C${a},${half} ${c},${half} ${c},${e}` : `C${half},${b} ${half},${e} ${c},${e}`;
    }
    return d;
  }

  function card({ box, x, y, width, height }, state, known) {
    const kind = box.node ? box.node.kind : "closed";
    const classes = ["box", kind];
    if (box.members.some((n) => n.result)) classes.push("result");
    if (box.members.some((n) => n.births.length)) classes.push("born");
    if (state.selected === box.id) classes.push("selected");
    if (box.members.some((n) => n.id === known.current)) classes.push("current");
    if (state.found && !box.members.some((n) => state.found.includes(n.id))) classes.push("dim");
    const label = box.node ? box.node.label : box.group.name;
    const parts = [`<g class="${classes.join(" ")}" data-id="${box.id}" ` +
      `transform="translate(${round(x)},${round(y)})" tabindex="0" role="button">` +
      `<title>${escape(label)}</title>`];
    if (!box.node)
      parts.push(`<rect class="behind" x="3" y="3" width="${round(width)}" height="${round(height)}" rx="5"/>`);
    parts.push(`<rect class="body" width="${round(width)}" height="${round(height)}" rx="5"/>`);
    let offset = PAD - 3;
    for (const row of box.rows) {
      const classes = row.kind.split(" ");
      const hidden = classes[0] === "gradient" && !known.node(row.of);
      if (row.image) {
        if (!hidden)
          parts.push(`<image href="${row.image.image}" x="${round((width - row.width) / 2)}" ` +
            `y="${round(offset + 2)}" width="${round(row.width)}" height="${round(row.height)}" ` +
            `preserveAspectRatio="none"/>`);
      } else
        parts.push(`<text class="${row.kind}" x="${round(width / 2)}" ` +
          `y="${round(offset + row.size)}">${hidden ? "?" : escape(row.text)}</text>`);
      offset += row.high;
    }
    return parts.join("") + "</g>";
  }

  function frame({ frame: group, x, y, width, height }) {
    return `<g class="frame" data-id="o${group.id}" transform="translate(${round(x)},${round(y)})" ` +
      `tabindex="0" role="button"><title>${escape(group.name)}</title>` +
      `<rect width="${round(width)}" height="${round(height)}" rx="7"/></g>`;
  }

  const title = ({ frame: group, x, y }) =>
    `<text class="title" x="${round(x + 10)}" y="${round(y + 16)}">▾ ${escape(group.name)}</text>`;

  const cache = { data: null, drawings: new Map() };

  // state: {open: [group], step: null | number, selected: id, found: null | [node], direction}
  function scene(data, state) {
    if (cache.data !== data) Object.assign(cache, { data, drawings: new Map() });
    const key = `${state.direction}:${[...state.open].sort((a, b) => a - b)}`;
    if (!cache.drawings.has(key)) cache.drawings.set(key, layout(data, state.open, state.direction));
    const drawing = cache.drawings.get(key);
    const known = progress(data, state.step);
    const down = state.direction === "down";
    const open = drawing.items.filter((item) => item.frame);
    const edges = [], labels = [];
    for (const { points, label, edges: uses, wire } of drawing.paths) {
      const active = uses.some((e) => e.target === known.current && e.part);
      const bad = uses.some((e) => e.part?.bad && known.edge(e));
      const kind = `edge${active ? " active" : ""}${bad ? " bad" : ""}`;
      const arrow = active // a gradient goes against the arrow of the value
        ? wire.first ? ' marker-start="url(#against)"' : "" : wire.last ? ' marker-end="url(#arrow)"' : "";
      edges.push(`<path class="${kind}" d="${curve(points, down)}"${arrow}/>`);
      if (label && uses.every(known.edge))
        labels.push(`<text class="part${bad ? " bad" : ""}" x="${round(label.x)}" y="${round(label.y + 3.5)}">` +
          `${escape(label.text)}</text>`);
    }
    const boxes = drawing.items.filter((item) => item.box).map((item) => card(item, state, known));
    return {
      text: [...open.map(frame), ...edges, ...open.map(title), ...boxes, ...labels].join("\n"),
      width: drawing.width, height: drawing.height, of: drawing.of,
      places: new Map(drawing.items.map((item) => [item.box?.id ?? `o${item.frame.id}`, item])),
    };
  }

  const marker = (id) => `<marker id="${id}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" ` +
    `markerHeight="8" markerUnits="userSpaceOnUse" orient="auto-start-reverse">` +
    `<path class="${id}" d="M0,0.8L8,4L0,7.2z"/></marker>`;
  const DEFS = `<defs>${marker("arrow")}${marker("against")}</defs>`;

  // A file of its own: with its style, a white ground and a legend.
  function file(data, state, style) {
    const { text, width: wide, height: high, places } = scene(data, state);
    const seen = new Set([...places.values()].map(({ box }) => (box ? box.node?.kind ?? "closed" : "closed")));
    const kinds = ["parameter", "input", "constant", "closed"].filter((kind) => seen.has(kind));
    let [x, y] = [0, high + 26];
    const legend = [];
    const entry = (name, kind) => {
      const square = kind === "key"
        ? "" : `<rect class="body" x="${x}" y="${y - 9}" width="11" height="11" rx="2"/>`;
      const start = square ? x + 15 : x;
      legend.push(`<g class="box ${kind}">${square}<text class="${square ? "plain" : name} start" ` +
        `x="${start}" y="${y}">${name}</text></g>`);
      x = round(start + width(name, 11) + 14);
    };
    entry("value", "key");
    entry("gradient", "key");
    for (const kind of kinds) entry(kind === "closed" ? "group" : kind, kind);
    const [w, h] = [Math.ceil(Math.max(wide, x) + 24), Math.ceil(high + 50)];
    const middle = round(Math.max(0, (x - wide) / 2));
    return `<svg xmlns="http://www.w3.org/2000/svg" class="xray" viewBox="-12 -12 ${w} ${h}" ` +
      `width="${w}" height="${h}"><title>${escape(data.title)}</title><style>${style}</style>${DEFS}\n` +
      `<rect class="ground" x="-12" y="-12" width="${w}" height="${h}"/>\n` +
      `<g transform="translate(${middle},0)">\n${text}\n</g>\n${legend.join("\n")}\n</svg>\n`;
  }

  // To the right, as a line of text, while that fits a page.
  function direction(data, open) {
    return scene(data, { open, step: null, direction: "right" }).width <= 1000 ? "right" : "down";
  }

  return { scene, file, direction, DEFS };
})();
