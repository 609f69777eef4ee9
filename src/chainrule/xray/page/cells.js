"use strict";
// One array as what a card and the panel show of it: the twin of cells.py, on the engine's arrays.
// How many lines there are depends on the shape alone, so that a card keeps its size as numbers change.
globalThis.cells = (() => {
  const FULL = 9, MAP = [2, 48], COUNT = 16, ALONE = 96, SIDE = 24, SMALLEST = 5, KERNEL = 11;
  const RED = [178, 24, 43], BLUE = [33, 102, 172];
  const FIGURE = "\u2007", GAP = "\u2002"; // as wide as a digit, and half as wide as a letter
  const RESERVE = { scalar: 56, column: 48, text: 112 }; // pixels, whatever the numbers are

  const written = (x, digits, { dtype }) =>
    dtype === "bool" ? (x ? "True" : "False") : numbers.written(x, digits, dtype[0] !== "f");

  function measured({ data }) {
    const of = { min: Infinity, max: -Infinity, mean: 0, norm: 0, zeros: 0, nans: 0, infs: 0 };
    let [sum, squares] = [0, 0];
    for (const x of data) {
      if (Number.isNaN(x)) of.nans += 1;
      else if (x === Infinity || x === -Infinity) of.infs += 1;
      else {
        if (x < of.min) of.min = x;
        if (x > of.max) of.max = x;
        if (x === 0) of.zeros += 1;
        sum += x;
        squares += x * x;
      }
    }
    of.mean = sum / Math.max(1, data.length - of.nans - of.infs);
    of.norm = Math.sqrt(squares);
    of.zeros /= data.length;
    return of;
  }

  const percent = (share) => `${numbers.written(100 * share, 3)} %`;
  const counts = ({ nans, infs }) =>
    [[nans, "NaN"], [infs, "Inf"]].filter(([n]) => n).map(([n, what]) => `${n.toLocaleString("en")} ${what}`);

  function facts(of) {
    const rows = of.min <= of.max ? ["min", "mean", "max", "norm"].map((name) => [name, numbers.written(of[name], 5)]) : [];
    rows.push(["zeros", percent(of.zeros)]);
    for (const [what, n] of [["NaN", of.nans], ["Inf", of.infs]]) if (n) rows.push([what, n.toLocaleString("en")]);
    return rows;
  }

  // What looks like images or kernels, as tiles beside each other: the twin of images.py, without colours.
  function tiles({ shape, data }) {
    if (shape.length !== 4) return null;
    const [a, b, c, d] = shape;
    let count, high, wide, at, what;
    if (a === b && b <= KERNEL && !(b === c && c >= SMALLEST)) {
      [count, high, wide, what] = [d, a, b, `${d} kernels${c === 1 ? "" : ` of channel 1 of ${c}`}`];
      at = (k, i, j) => data[((i * b + j) * c) * d + k];
    } else if (Math.min(b, c) >= SMALLEST && Math.max(b, c) <= 2 * Math.min(b, c)) {
      [count, high, wide, what] = d === 1 ? [a, b, c, `${a} samples`] : [d, b, c, `${d} channels of sample 1 of ${a}`];
      at = d === 1 ? (k, i, j) => data[(k * b + i) * c + j] : (k, i, j) => data[(i * c + j) * d + k];
    } else return null;
    const shown = Math.min(count, COUNT), every = Math.ceil(Math.max(high, wide) / (shown === 1 ? ALONE : SIDE));
    const [h, w] = [Math.ceil(high / every), Math.ceil(wide / every)];
    const across = Math.ceil(Math.sqrt(shown)), down = Math.ceil(shown / across);
    const rows = down * (h + 1) - 1, columns = across * (w + 1) - 1, pixels = new Float64Array(rows * columns);
    for (let k = 0; k < shown; k += 1)
      for (let i = 0; i < h; i += 1)
        for (let j = 0; j < w; j += 1)
          pixels[(Math.floor(k / across) * (h + 1) + i) * columns + (k % across) * (w + 1) + j] = at(k, i * every, j * every);
    const first = shown < count ? `the first ${shown} of ` : "", seen = every === 1 ? "" : `, every pixel number ${every}`;
    return { pixels, rows, columns, shows: `${first}${what}, ${high} × ${wide} each${seen}: red above 0, blue below` };
  }

  // Red above 0, blue below, white at 0, black where it is not finite.
  function painted(pixels, rows, columns) {
    let top = 0;
    for (const x of pixels) if (Number.isFinite(x) && Math.abs(x) > top) top = Math.abs(x);
    const bytes = new Uint8ClampedArray(4 * rows * columns);
    for (let k = 0; k < rows * columns; k += 1) {
      const x = pixels[k], good = Number.isFinite(x), share = good ? Math.abs(x) / (top || 1) : 0, end = x > 0 ? RED : BLUE;
      for (let c = 0; c < 3; c += 1) bytes[4 * k + c] = good ? (1 - share) * 255 + share * end[c] : 0;
      bytes[4 * k + 3] = 255;
    }
    return { bytes, top: top || 1 };
  }

  let canvas = null;
  function image(pixels, rows, columns) {
    const { bytes, top } = painted(pixels, rows, columns);
    if (typeof document === "undefined") return { rows, columns };
    canvas ??= document.createElement("canvas");
    [canvas.width, canvas.height] = [columns, rows];
    canvas.getContext("2d").putImageData(new ImageData(bytes, columns, rows), 0, 0);
    return { image: canvas.toDataURL(), rows, columns, top: numbers.written(top, 3), shows: "red above 0, blue below" };
  }

  function cell(x) {
    const { shape, data } = x, count = data.length;
    if (!count) return { text: ["empty"], short: "empty", facts: [], bad: false };
    if (count === 1) {
      const text = written(data[0], 4, x);
      const bad = !Number.isFinite(data[0]), fact = written(data[0], 8, x);
      return { text: [text], short: text, facts: [["value", fact]], bad, reserve: RESERVE.scalar };
    }
    const of = measured(x), bad = of.nans + of.infs > 0, found = counts(of);
    const range = found[0] ?? `${numbers.written(of.min, 3)} … ${numbers.written(of.max, 3)}`;
    const short = found[0] ?? `norm ${numbers.written(of.norm, 3)}`;
    const drawn = { short, facts: facts(of), bad, reserve: RESERVE.text };
    const sides = shape.filter((n) => n !== 1);
    const [rows, columns] = sides.length > 2 ? [0, 0] : [sides.length === 2 ? sides[0] : 1, sides.at(-1)];
    if (rows && count <= FULL) {
      const texts = Array.from(data, (n) => written(n, 3, x)), wide = Math.max(5, ...texts.map((text) => text.length));
      const lines = Array.from({ length: rows }, (_, i) =>
        texts.slice(i * columns, (i + 1) * columns).map((text) => text.padStart(wide, FIGURE)).join(GAP));
      return { ...drawn, text: lines, short: rows === 1 ? lines[0] : short, full: true, reserve: columns * RESERVE.column };
    }
    if (rows && columns >= MAP[0] && Math.max(rows, columns) <= MAP[1])
      return { ...drawn, text: [range], ...image(data, rows, columns) };
    const seen = tiles(x);
    if (seen) return { ...drawn, text: [range], ...image(seen.pixels, seen.rows, seen.columns), shows: seen.shows };
    return { ...drawn, text: [range, `norm ${numbers.written(of.norm, 3)}`] };
  }

  return { cell, painted, RESERVE };
})();
