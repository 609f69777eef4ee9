"use strict";
// Draws a picture, the data of picture.py, as SVG text. It touches no document, so that the page
// and Python (`to_svg`) run the same drawing.
globalThis.draw = (() => {
  const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

  // --- the backward pass, step by step -----------------------------------------------------------

  // After `step` operators have gone backward: is what a use contributes, or a gradient, known?
  function progress(data, step) {
    if (step === null) return { edge: () => true, node: () => true, current: null };
    const { turn } = survey(data);
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

  // What a screen reader says of a box.
  function spoken({ node, group, about }, data, known) {
    const main = node ?? data.nodes[about.out];
    const [value, gradient] = [main?.value?.short, main && known.node(main.id) ? main.gradient?.short : ""];
    return [
      node ? `${node.label}, ${node.kind}` : `${group.name}, group of ${about.operators} operators`,
      value ? `value ${value}` : "", gradient ? `gradient ${gradient}` : "",
      ...about.births, about.dies ? "gradient dies" : "",
    ].filter(Boolean).join(", ");
  }

  function card({ box, x, y, width, height }, data, state, known, of, found) {
    const kind = box.node ? box.node.kind : "closed";
    const classes = ["box", kind];
    if (box.about.result) classes.push("result");
    if (box.about.births.size) classes.push("born");
    else if (box.about.dies) classes.push("died");
    if (box.about.heat) classes.push(`heat${box.about.heat}`);
    if (box.about.parts) classes.push("parts");
    if (state.selected === box.id) classes.push("selected");
    if (known.current !== null && of[known.current] === box.id) classes.push("current");
    if (found) classes.push(found.has(box.id) ? "found" : "dim");
    const label = box.node ? box.node.label : box.group.name;
    const parts = [`<g class="${classes.join(" ")}" data-id="${box.id}" ` +
      `transform="translate(${round(x)},${round(y)})" tabindex="0" role="button" ` +
      `aria-label="${escape(spoken(box, data, known))}"${box.node ? "" : ' aria-expanded="false"'}>` +
      `<title>${escape(label)}</title>`];
    if (!box.node)
      parts.push(`<rect class="behind" x="3" y="3" width="${round(width)}" height="${round(height)}" rx="5"/>`);
    parts.push(`<rect class="body" width="${round(width)}" height="${round(height)}" rx="5"/>`);
    let offset = cards.PAD - 3;
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
      `tabindex="0" role="button" aria-expanded="true" aria-label="${escape(group.name)}, open group">` +
      `<title>${escape(group.name)}</title>` +
      `<rect width="${round(width)}" height="${round(height)}" rx="7"/></g>`;
  }

  const title = ({ frame: group, x, y }) =>
    `<text class="title" x="${round(x + 10)}" y="${round(y + 16)}">▾ ${escape(group.name)}</text>`;

  const last = { data: null, key: null, drawing: null };

  // state: {open: [group], step: null | number, selected: id, found: null | [node], direction}
  function scene(data, state) {
    const key = `${state.direction}:${[...state.open].sort((a, b) => a - b)}`;
    if (last.data !== data || last.key !== key)
      Object.assign(last, { data, key, drawing: layout(data, state.open, state.direction) });
    const { drawing } = last;
    const found = state.found && new Set(state.found.map((id) => drawing.of[id]));
    const known = progress(data, state.step);
    const down = state.direction === "down";
    const open = drawing.items.filter((item) => item.frame);
    const edges = [], labels = [];
    for (const { points, label, edges: uses, first, last } of drawing.paths) {
      const active = uses.some((e) => e.target === known.current && e.part);
      const bad = uses.some((e) => e.part?.bad && known.edge(e));
      const shut = uses.every((e) => e.part?.none && known.edge(e)); // no gradient comes through
      const kind = `edge${active ? " active" : ""}${bad ? " bad" : ""}${shut ? " shut" : ""}`;
      const arrow = active // a gradient goes against the arrow of the value
        ? first ? ' marker-start="url(#against)"' : "" : last ? ' marker-end="url(#arrow)"' : "";
      edges.push(`<path class="${kind}" d="${curve(points, down)}"${arrow}/>`);
      if (label && uses.every(known.edge)) { // on a plate, or a line beside it reads as a minus
        const text = uses.length === 1 ? uses[0].part.short : label.text;
        const wide = cards.width(text, cards.SIZE.label) + 6;
        labels.push(`<rect class="plate" x="${round(label.x - wide / 2)}" y="${round(label.y - 7)}" ` +
          `width="${round(wide)}" height="14" rx="7"/>` +
          `<text class="part${bad ? " bad" : ""}" x="${round(label.x)}" y="${round(label.y + 3.5)}">` +
          `${escape(text)}</text>`);
      }
    }
    const boxes = drawing.items.filter((item) => item.box).map((item) => card(item, data, state, known, drawing.of, found));
    return {
      text: [...open.map(frame), ...edges, ...open.map(title), ...boxes, ...labels].join("\n"),
      width: drawing.width, height: drawing.height, of: drawing.of, paths: drawing.paths,
      places: new Map(drawing.items.map((item) => [item.box?.id ?? `o${item.frame.id}`, item])),
    };
  }

  const marker = (id) => `<marker id="${id}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" ` +
    `markerHeight="8" markerUnits="userSpaceOnUse" orient="auto-start-reverse">` +
    `<path class="${id}" d="M0,0.8L8,4L0,7.2z"/></marker>`;
  const DEFS = `<defs>${marker("arrow")}${marker("against")}</defs>`;

  // A self-contained file: with its style, a white background and a legend.
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
      x = round(start + cards.width(name, 11) + 14);
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

  // To the right, as a line of text, if that fits a page.
  function direction(data, open) {
    return scene(data, { open, step: null, direction: "right" }).width <= 1000 ? "right" : "down";
  }

  return { scene, file, direction, spoken: (box, data) => spoken(box, data, progress(data, null)), DEFS };
})();
