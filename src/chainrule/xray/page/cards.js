"use strict";
// The card of a box: its lines of text and heat-maps, from the value above to the gradient below,
// and its size. Widths of letters are Helvetica's, as there may be no document to measure them.
globalThis.cards = (() => {
  const SIZE = { value: 11, name: 13, small: 11, gradient: 11, birth: 11, death: 11, title: 11, label: 11 };
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
    const row = (text, kind, of, reserve = 0) => rows.push({ text, kind, of, reserve });
    const cell = (part, kind, node) => {
      if (!part) return;
      if (part.image) rows.push({ image: part, kind, of: node.id });
      for (const text of part.text) row(text, part.bad ? `${kind} bad` : kind, node.id, part.reserve);
    };
    const { about } = box;
    const main = box.node ?? data.nodes[about.out];
    cell(main?.value, "value", main);
    if (box.node) {
      const operator = main.kind === "operator";
      row(operator ? main.symbol : main.kind === "constant" ? "constant" : main.label,
        main.kind === "constant" ? "small" : "name");
      const about = [main.scope, operator ? main.label : "", main.shape].filter(Boolean).join(" · ");
      if (about && main.kind !== "constant") row(about, "small");
      if (main.kind === "constant" && main.shape) row(main.shape, "small");
      if (main.gate) row(main.gate, "small");
    } else {
      row(`▸ ${box.group.name}`, "name");
      const plural = (n, what) => (n === 0 ? [] : [`${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`]);
      row([...plural(about.operators, "operator"), ...plural(about.parameters, "parameter")]
        .join(", "), "small");
      if (box.group.note) row(box.group.note, "small");
      if (main?.shape) row(main.shape, "small");
    }
    if (main?.sum) row(main.sum, main.gradient.bad ? "gradient bad" : "gradient", main.id, main.gradient.reserve && main.gradient.reserve * 2);
    else cell(main?.gradient, "gradient", main);
    for (const text of about.births) row(text, "birth");
    if (about.dies) row("gradient dies", "death");
    if (about.parts) row("they part here", "birth");
    return rows;
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
        row.width = Math.max(width(row.text, row.size, ["name", "birth", "death"].includes(kind)), row.reserve);
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

  // reserved: how wide the label of a wire is at least; a living page has room for other numbers.
  return { SIZE, PAD, reserved: 0, width, lines, fill, contribution };
})();
