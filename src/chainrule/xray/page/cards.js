"use strict";
// The card of a box: its lines of text and heat-maps, from the value above to the gradient below,
// and its size. Widths of letters are Helvetica's, as there may be no document to measure them.
globalThis.cards = (() => {
  const SIZE = { value: 11, name: 13, small: 9.5, gradient: 11, birth: 10.5, death: 10.5, title: 11, label: 10 };
  const PAD = 9, LEAD = 1.32, PIXELS = [90, 150];

  // Helvetica's widths in thousandths of the size; any other letter gets an average width.
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
      row(operator ? main.symbol : main.kind === "constant" ? "constant" : main.label,
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
    if (box.members.some((n) => n.deaths.length)) row("gradient dies", "death");
    return rows;
  }

  // The output of a group: the last of its nodes that something outside reads.
  function outgoing(data, members) {
    const inside = new Set(members.map((node) => node.id));
    let last = null;
    for (const edge of data.edges)
      if (inside.has(edge.source) && !inside.has(edge.target) && (last === null || edge.source > last))
        last = edge.source;
    return last === null ? null : data.nodes[last];
  }

  // Give a box its rows, its width and its height.
  function fill(data, box) {
    box.rows = lines(data, box);
    Object.assign(box, measure(box.rows));
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
        row.width = width(row.text, row.size, ["name", "birth", "death"].includes(kind));
        row.high = row.size * LEAD;
      }
      wide = Math.max(wide, row.width);
      high += row.high;
    }
    return { width: Math.max(wide + 2 * PAD, 34), height: high };
  }

  // The label of a wire: what this use adds to the gradient, where there are several uses.
  function contribution(link) {
    const [edge] = link.edges;
    if (!edge.fan || !edge.part || link.edges.length > 1) return "";
    return edge.part.short;
  }

  return { SIZE, PAD, width, fill, contribution };
})();
