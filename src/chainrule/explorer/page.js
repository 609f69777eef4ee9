/* The descent explorer: shows descents that were run and recorded, and computes none of them.

   `described` is what chainrule.explorer.page.page wrote: problems, their sweeps, and where each
   array starts in `numbers`, the one Float32Array that holds all of them. A series of a sweep is
   [rates, steps + 1]; the parameters and slopes have one such block an axis.

   Everything shown is a function of `state`; whoever changes it calls `draw`. */
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const LANES = ["a", "b"];
const described = JSON.parse($("#described").textContent);
let numbers;

const state = {
  problem: described.problems[0],
  step: 0,
  timer: null,
  a: { shown: true, optimizer: 0, start: 0, rate: 0 },
  b: { shown: true, optimizer: 0, start: 0, rate: 0 },
};

/* The arrays are deflated after their bytes were sorted by place, which halves their size. */
async function unpack() {
  const packed = Uint8Array.from(atob($("#recorded").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = planes.length / 4;
  const bytes = new Uint8Array(planes.length);
  for (let i = 0; i < count; i++) {
    for (let k = 0; k < 4; k++) bytes[4 * i + k] = planes[k * count + i];
  }
  return new Float32Array(bytes.buffer);
}

/* --- what was recorded ---------------------------------------------------------------------- */

function rates() {
  const { rates: at, count } = state.problem;
  return numbers.subarray(at, at + count);
}

function sweepOf(lane) {
  const { optimizer, start } = state[lane];
  const { optimizers, starts, sweeps } = state.problem;
  return sweeps.find((s) => s.optimizer === optimizers[optimizer] && s.start === starts[start]);
}

/* One recorded descent: the lane `rate` of a sweep, its series as views on the numbers. */
function descentOf(sweep, rate) {
  const { count, steps, axes } = state.problem;
  const length = steps + 1;
  const series = (at, axis = 0) => {
    const from = at + (axis * count + rate) * length;
    return numbers.subarray(from, from + length);
  };
  const each = (at) => (at === null ? [] : axes.map((_, axis) => series(at, axis)));
  const slopes = each(sweep.slopes);
  return {
    eta: rates()[rate],
    loss: series(sweep.loss),
    gradNorm:
      sweep.grad_norm === null
        ? slopes[0].map((_, i) => Math.hypot(...slopes.map((s) => s[i])))
        : series(sweep.grad_norm),
    sharpness: sweep.sharpness === null ? null : series(sweep.sharpness),
    params: each(sweep.params),
    slopes,
    counts: sweep.counts.map((at) => series(at)),
    verdict: described.verdicts[sweep.verdicts[rate]],
    factor: (t) => (sweep.factors === null ? sweep.factor : series(sweep.factors)[t]),
    moves: sweep.factors !== null,
    edges: sweep.edges,
  };
}

const shownLanes = () => LANES.filter((lane) => state[lane].shown);
const descent = (lane) => descentOf(sweepOf(lane), state[lane].rate);

function peakOf(loss) {
  let peak = -1;
  loss.forEach((x, i) => {
    if (Number.isFinite(x) && (peak < 0 || x > loss[peak])) peak = i;
  });
  return peak;
}

/* What plain descent is promised by the quadratic model: f - eta |g|^2 / 2. */
const promise = (d, t) => d.loss[t] - (d.eta / 2) * d.gradNorm[t] ** 2;

/* --- words and numbers ---------------------------------------------------------------------- */

function show(x, digits = 5) {
  if (x === undefined) return "";
  if (x === null || Number.isNaN(x)) return "not a number";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "-∞";
  const size = Math.abs(x);
  if (size >= 1e6 || (size < 1e-4 && size > 0))
    return x.toExponential(digits - 1).replace(/\.?0*e/, "e");
  return String(Number(x.toPrecision(digits)));
}

/* A cell of the exported table: the shortest text that reads back as the same float32. */
function cell(x) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf";
  const digits = [6, 7, 8, 9].find((n) => Math.fround(Number(x.toPrecision(n))) === x);
  return String(Number(x.toPrecision(digits)));
}

/* The edges of a sweep: null where the optimizer has no prediction, "inf" where there is none. */
function edgesText(edges, moves) {
  if (moves) return "Its edge moves with its state: see the table, step by step.";
  if (edges.every(([, edge]) => edge === null)) return "No edge is predicted for this optimizer.";
  const texts = edges.map(([name, edge]) => `${name}: ${edge === "inf" ? "none" : show(edge, 4)}`);
  return `Predicted ${texts.join("; ")}.`;
}

/* What the dashed lines are, and whose edge is not among them: that of an optimizer which adapts to
   its gradients depends on its state, which differs from rate to rate. */
function dashes(sweeps) {
  const unknown = sweeps.filter((sweep) => sweep.factor === null);
  const named = (some) => [...new Set(some.map((sweep) => sweep.optimizer))].join(" and ");
  const moving = named(unknown.filter((sweep) => sweep.factors !== null));
  const silent = named(unknown.filter((sweep) => sweep.factors === null));
  return (
    (unknown.length < sweeps.length ? "A dashed line is a predicted edge. " : "") +
    (moving && `The edge of ${moving} moves with its state: the table has it. `) +
    (silent && `No edge is predicted for ${silent}. `)
  );
}

function edgeHere(d, t) {
  const [s, factor] = [d.sharpness[t], d.factor(t)];
  if (factor === null || (d.moves && Number.isNaN(factor))) return "no prediction";
  if (!Number.isFinite(s)) return "";
  return s > 0 ? show(factor / s, 3) : "none";
}

const overEdge = (d, t) => {
  const [s, factor] = [d.sharpness[t], d.factor(t)];
  return factor > 0 && s > 0 ? show((d.eta * s) / factor, 3) : "";
};

/* The table: [key, name, text of a descent at a step]. */
function rows() {
  const p = state.problem;
  const next = (d, t) => (t < p.steps ? show(d.loss[t + 1]) : "the last step");
  const made = p.axes.map((name, axis) => [name, name, (d, t) => show(d.params[axis][t])]);
  made.push(["loss", "loss", (d, t) => show(d.loss[t])]);
  p.counts.forEach((name, i) => made.push([name, name, (d, t) => show(d.counts[i][t])]));
  made.push(["grad_norm", "length of the gradient", (d, t) => show(d.gradNorm[t], 4)]);
  made.push(["promise", "next loss, promised by the model", (d, t) => show(promise(d, t), 4)]);
  made.push(["next", "next loss, as it came", next]);
  if (p.sweeps[0].sharpness !== null) {
    made.push(["sharpness", "sharpness (largest curvature)", (d, t) => show(d.sharpness[t], 3)]);
    made.push(["edge", "edge here, from the curvature", edgeHere]);
    made.push(["over", "η over this edge", overEdge]);
  }
  return made;
}

/* --- drawing -------------------------------------------------------------------------------- */

const BOX = { left: 80, right: 548, top: 22, bottom: 352 };

function make(tag, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function scale(low, high, from, to, log = false) {
  const f = log ? Math.log10 : (x) => x;
  const [a, b] = [f(low), f(high)];
  const place = (x) => from + ((f(x) - a) / (b - a)) * (to - from);
  place.inverse = (pixel) => {
    const x = a + ((pixel - from) / (to - from)) * (b - a);
    return log ? 10 ** x : x;
  };
  place.ticks = log ? decades(a, b) : round(low, high);
  return place;
}

function decades(a, b) {
  const every = Math.max(1, Math.ceil((b - a) / 7));
  const ticks = [];
  for (let k = Math.ceil(a); k <= b; k++) if (k % every === 0) ticks.push(10 ** k);
  if (ticks.length > 1) return ticks;
  return [1, 2, 5, 10, 20, 50]
    .map((m) => m * 10 ** Math.floor(a))
    .filter((x) => x >= 10 ** a && x <= 10 ** b);
}

function round(low, high) {
  const raw = (high - low) / 6;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const every = [1, 2, 5, 10].map((m) => m * unit).find((step) => step >= raw);
  const ticks = [];
  for (let k = Math.ceil(low / every); k * every <= high * (1 + 1e-9); k++) ticks.push(k * every);
  return ticks;
}

const tickText = (x) =>
  x !== 0 && (Math.abs(x) >= 1e4 || Math.abs(x) < 1e-3) ? x.toExponential(0) : show(x, 4);

/* The frame of a plot: what is drawn next goes into the returned group, cut off at the frame. */
function frame(svg, x, y, names) {
  const id = `${svg.id}-frame`;
  const { left, right, top, bottom } = BOX;
  const clip = make("clipPath", { id });
  clip.append(make("rect", { x: left, y: top, width: right - left, height: bottom - top }));
  const back = make("g");
  for (const tick of x.ticks) {
    back.append(make("path", { class: "grid", d: `M${x(tick)} ${top}V${bottom}` }));
    back.append(
      make(
        "text",
        { class: "tick", x: x(tick), y: bottom + 18, "text-anchor": "middle" },
        tickText(tick),
      ),
    );
  }
  for (const tick of y.ticks) {
    back.append(make("path", { class: "grid", d: `M${left} ${y(tick)}H${right}` }));
    back.append(
      make(
        "text",
        { class: "tick", x: left - 7, y: y(tick) + 4, "text-anchor": "end" },
        tickText(tick),
      ),
    );
  }
  back.append(make("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` }));
  back.append(
    make("text", { x: (left + right) / 2, y: bottom + 40, "text-anchor": "middle" }, names[0]),
  );
  const turned = {
    transform: `translate(15 ${(top + bottom) / 2}) rotate(-90)`,
    "text-anchor": "middle",
  };
  back.append(make("text", turned, names[1]));
  const inside = make("g", { "clip-path": `url(#${id})` });
  svg.replaceChildren(clip, back, inside);
  return inside;
}

/* A line through points; it ends where a number is not finite, and is kept within what SVG draws. */
function line(xs, ys, x, y) {
  let path = "";
  for (let i = 0; i < xs.length; i++) {
    const at = [x(xs[i]), y(ys[i])];
    if (!at.every(Number.isFinite)) break;
    path += (i ? "L" : "M") + at.map((v) => Math.max(-1e4, Math.min(1e4, v)).toFixed(1)).join(" ");
  }
  return path || "M0 0";
}

/* A circle for A, a square for B: the lanes differ in shape as well as in colour. */
function marker(lane, kind, cx, cy, r) {
  if (![cx, cy].every(Number.isFinite)) return make("g");
  const near = (v) => Math.max(-1e4, Math.min(1e4, v));
  if (lane === "a") return make("circle", { class: `${kind} a`, cx: near(cx), cy: near(cy), r });
  const side = 1.8 * r;
  return make("rect", {
    class: `${kind} b`,
    x: near(cx) - side / 2,
    y: near(cy) - side / 2,
    width: side,
    height: side,
  });
}

/* Text that no line crosses: it stands on paper of its own, within the picture. */
function label(svg, attributes, text) {
  const made = make("text", { ...attributes, class: `over ${attributes.class ?? ""}` }, text);
  svg.append(made);
  const { x, y, width, height } = made.getBBox();
  const box = { x: x - 2, y, width: width + 4, height };
  svg.insertBefore(make("rect", { class: "label-box", ...box }), made);
}

/* What the two kinds of lines are. */
function legend(svg) {
  ["loss", "quadratic model"].forEach((text, i) => {
    const place = { x: BOX.right - 8, y: BOX.bottom - 28 + 18 * i, "text-anchor": "end" };
    label(svg, { class: i ? "of-model" : "of-loss", ...place }, text);
  });
}

/* The letters of the lanes beside their points [lane, x, y], the higher one above; at the frame, with
   an arrow, where a point is outside. */
function letters(svg, points) {
  const seen = points.filter(([, cx, cy]) => Number.isFinite(cx) && Number.isFinite(cy));
  const top = Math.min(...seen.map(([, , cy]) => cy));
  let above = true;
  for (const [lane, cx, cy] of seen) {
    const up = cy === top && above;
    if (up) above = false;
    const x = Math.max(BOX.left + 14, Math.min(BOX.right - 26, cx + 10));
    const y = Math.max(BOX.top + 14, Math.min(BOX.bottom - 8, cy + (up ? -9 : 18)));
    const outside =
      cx < BOX.left ? "←" : cx > BOX.right ? "→" : cy < BOX.top ? "↑" : cy > BOX.bottom ? "↓" : "";
    label(svg, { class: `lane-name ${lane}`, x, y }, lane.toUpperCase() + outside);
  }
}

function drawLine(svg) {
  const p = state.problem;
  const xs = numbers.subarray(p.curve[0], p.curve[0] + p.curve[2]);
  const ys = numbers.subarray(p.curve[1], p.curve[1] + p.curve[2]);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const x = scale(xs[0], xs[xs.length - 1], BOX.left, BOX.right);
  const y = scale(low - 0.22 * (high - low), high, BOX.bottom, BOX.top);
  const g = frame(svg, x, y, [p.axes[0], "loss"]);
  g.append(make("path", { class: "landscape", d: line(xs, ys, x, y) }));
  const t = state.step;
  const named = [];
  for (const lane of shownLanes()) {
    const d = descent(lane);
    const [w, slope] = [d.params[0], d.slopes[0]];
    const model = (v) => d.loss[t] + slope[t] * (v - w[t]) + (v - w[t]) ** 2 / (2 * d.eta);
    if (Number.isFinite(model(w[t]))) {
      const fine = Float32Array.from({ length: 161 }, (_, i) =>
        x.inverse(BOX.left + (i / 160) * (BOX.right - BOX.left)),
      );
      g.append(make("path", { class: `model ${lane}`, d: line(fine, fine.map(model), x, y) }));
      const lowest = w[t] - d.eta * slope[t];
      g.append(marker(lane, "promise", x(lowest), y(model(lowest)), 4.5));
    }
    for (let i = 0; i < t; i++) g.append(marker(lane, "past", x(w[i]), y(d.loss[i]), 3.4));
    if (t < p.steps) g.append(marker(lane, "next", x(w[t + 1]), y(d.loss[t + 1]), 5));
    g.append(marker(lane, "now", x(w[t]), y(d.loss[t]), 7));
    named.push([lane, x(w[t]), y(d.loss[t])]);
  }
  legend(svg);
  letters(svg, named);
  return { x, y, points: (d, i) => [d.params[0][i], d.loss[i]] };
}

function drawPlane(svg) {
  const p = state.problem;
  const [[left, right], [low, high]] = p.window;
  // The same scale on both axes, so that the level lines of the model are circles.
  const unit = Math.min(
    (BOX.right - BOX.left) / (right - left),
    (BOX.bottom - BOX.top) / (high - low),
  );
  const middle = (left + right) / 2;
  const half = (BOX.right - BOX.left) / 2 / unit;
  const x = scale(middle - half, middle + half, BOX.left, BOX.right);
  const centre = (low + high) / 2;
  const tall = (BOX.bottom - BOX.top) / 2 / unit;
  const y = scale(centre - tall, centre + tall, BOX.bottom, BOX.top);
  const g = frame(svg, x, y, p.axes);
  let contours = "";
  let from = p.contours.at;
  for (const length of p.contours.lengths) {
    const points = numbers.subarray(from, (from += 2 * length));
    for (let i = 0; i < points.length; i += 2) {
      contours += `${i ? "L" : "M"}${x(points[i]).toFixed(1)} ${y(points[i + 1]).toFixed(1)}`;
    }
  }
  g.append(make("path", { class: "contour", d: contours || "M0 0" }));
  for (const [u, v] of p.minima) {
    g.append(
      make("path", { class: "minimum", d: `M${x(u) - 6} ${y(v)}h12M${x(u)} ${y(v) - 6}v12` }),
    );
  }
  const t = state.step;
  const named = [];
  for (const lane of shownLanes()) {
    const d = descent(lane);
    const [u, v] = d.params;
    g.append(make("path", { class: `path rest ${lane}`, d: line(u, v, x, y) }));
    g.append(
      make("path", {
        class: `path ${lane}`,
        d: line(u.subarray(0, t + 1), v.subarray(0, t + 1), x, y),
      }),
    );
    const to = [u[t] - d.eta * d.slopes[0][t], v[t] - d.eta * d.slopes[1][t]];
    const r = unit * d.eta * d.gradNorm[t];
    if (r < 1e4) {
      g.append(make("circle", { class: `model ${lane}`, cx: x(to[0]), cy: y(to[1]), r }));
      g.append(marker(lane, "promise", x(to[0]), y(to[1]), 4.5));
    }
    for (let i = 0; i < t; i++) g.append(marker(lane, "past", x(u[i]), y(v[i]), 3));
    if (t < p.steps) g.append(marker(lane, "next", x(u[t + 1]), y(v[t + 1]), 4.5));
    g.append(marker(lane, "now", x(u[t]), y(v[t]), 6.5));
    named.push([lane, x(u[t]), y(v[t])]);
  }
  legend(svg);
  letters(svg, named);
  return { x, y, points: (d, i) => [d.params[0][i], d.params[1][i]] };
}

/* Values over steps, one line a lane; without a landscape also in its place. */
function drawSteps(svg, name, log, valueOf, promised) {
  const p = state.problem;
  const t = state.step;
  const lanes = shownLanes().map((lane) => [lane, descent(lane)]);
  const values = lanes.map(([, d]) =>
    Float64Array.from({ length: p.steps + 1 }, (_, i) => valueOf(d, i)),
  );
  const finite = values.flatMap((v) => [...v]).filter((v) => Number.isFinite(v) && (!log || v > 0));
  let [low, high] = [Math.min(...finite), Math.max(...finite)];
  if (log) {
    // Beyond a million times the start, or a ten-millionth of it, a curve tells nothing more.
    const first = values[0] && values[0][0] > 0 ? values[0][0] : 1;
    // Nor does it below what float32 resolves at the floor.
    low = Math.max(low, first * 1e-7, Math.abs(p.floor) * 5e-7) / 1.5;
    high = Math.min(high, first * 1e6) * 1.5;
  } else {
    [low, high] = [0, 1.06 * high || 1];
  }
  if (!(low < high)) [low, high] = [log ? 1e-3 : 0, 1];
  const x = scale(0, Math.max(p.steps, 1), BOX.left, BOX.right);
  const y = scale(low, high, BOX.bottom, BOX.top, log);
  const g = frame(svg, x, y, ["step", name]);
  const floor = log ? low / 1.2 : -1e9;
  const place = (v) => (Number.isNaN(v) ? NaN : y(log ? Math.max(v, floor) : v));
  const steps = Float64Array.from({ length: p.steps + 1 }, (_, i) => i);
  const named = [];
  g.append(make("path", { class: "cursor", d: `M${x(t)} ${BOX.top}V${BOX.bottom}` }));
  lanes.forEach(([lane, d], i) => {
    const v = values[i];
    g.append(make("path", { class: `path rest ${lane}`, d: line(steps, v, x, place) }));
    g.append(
      make("path", {
        class: `path ${lane}`,
        d: line(steps.subarray(0, t + 1), v.subarray(0, t + 1), x, place),
      }),
    );
    if (promised && t < p.steps)
      g.append(marker(lane, "promise", x(t + 1), place(promise(d, t) - p.floor), 4.5));
    g.append(marker(lane, "now", x(t), place(v[t]), 6));
    named.push([lane, x(t), place(v[t])]);
    const gone = v.findIndex((value) => !Number.isFinite(value));
    if (gone >= 0) {
      const said = `${lane.toUpperCase()}: not finite from step ${gone} on`;
      label(
        svg,
        {
          class: `lane-name ${lane}`,
          x: BOX.right - 4,
          y: BOX.top + (lane === "a" ? 16 : 34),
          "text-anchor": "end",
        },
        said,
      );
    }
  });
  letters(svg, named);
  return { x, y, points: (d, i) => [i, valueOf(d, i)] };
}

function drawRates(svg) {
  const p = state.problem;
  const eta = rates();
  const sweeps = [...new Set(shownLanes().map(sweepOf))];
  const ends = sweeps.map((sweep) =>
    Array.from(eta, (_, rate) => descentOf(sweep, rate).loss[p.steps] - p.floor),
  );
  const start = Math.max(...sweeps.map((sweep) => descentOf(sweep, 0).loss[0] - p.floor));
  const finite = ends.flat().filter((v) => Number.isFinite(v) && v > 0);
  const low = Math.max(Math.min(...finite, start), start * 1e-7, Math.abs(p.floor) * 5e-7) / 2;
  const high = start * 30;
  const x = scale(eta[0], eta[eta.length - 1], BOX.left, BOX.right, true);
  const y = scale(low, high, BOX.bottom, BOX.top, true);
  const g = frame(svg, x, y, [
    "learning rate η",
    p.floor ? "final loss above the lowest" : "final loss",
  ]);
  sweeps.forEach((sweep, i) => {
    const lanes = shownLanes().filter((lane) => sweepOf(lane) === sweep);
    const color = lanes.length > 1 ? "" : lanes[0];
    let dots = "";
    let crosses = "";
    ends[i].forEach((end, rate) => {
      const [cx, cy] = [
        x(eta[rate]),
        end > high || !Number.isFinite(end) ? BOX.top + 5 : y(Math.max(end, low * 1.2)),
      ];
      const diverged = described.verdicts[sweep.verdicts[rate]] === "diverged";
      if (diverged) crosses += `M${cx - 3} ${cy - 3}l6 6m0 -6l-6 6`;
      else if (color === "b") dots += `M${cx - 2.4} ${cy - 2.4}h4.8v4.8h-4.8z`;
      else dots += `M${cx - 2.6} ${cy}a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0 -5.2 0z`;
    });
    const ink = color ? "" : "stroke:var(--soft);fill:var(--soft)";
    g.append(
      make("path", { class: `dot ${color}`, d: dots || "M0 0", style: ink && "fill:var(--soft)" }),
    );
    g.append(
      make("path", {
        class: `chosen ${color}`,
        d: crosses || "M0 0",
        style: `stroke-width:1.3;fill:none;${ink && "stroke:var(--soft)"}`,
      }),
    );
  });
  $("#rates-caption").textContent =
    `Where each of the ${p.count} rates ends after ${p.steps} steps; a cross diverged. ` +
    `${dashes(sweeps)}Drag A or B to another rate.`;
  // The predicted edges of A's sweep, and of B's where it is another one.
  const said = new Map();
  for (const lane of shownLanes()) {
    for (const [name, edge] of sweepOf(lane).edges) {
      if (typeof edge === "number" && edge >= eta[0] && edge <= eta[eta.length - 1]) {
        const value = show(edge, 3);
        said.set(value, { edge, names: new Set([...(said.get(value)?.names ?? []), name]) });
      }
    }
  }
  const texts = [];
  [...said].forEach(([value, { edge, names }], i) => {
    g.append(make("path", { class: "edge", d: `M${x(edge)} ${BOX.top}V${BOX.bottom}` }));
    const left = x(edge) > 0.55 * BOX.left + 0.45 * BOX.right;
    const place = {
      x: x(edge) + (left ? -6 : 6),
      y: BOX.top + 34 + 19 * i,
      "text-anchor": left ? "end" : "start",
    };
    texts.push([place, `${names.size > 1 ? "edge" : [...names][0]}: ${value}`]);
  });
  for (const lane of shownLanes()) {
    const at = x(eta[state[lane].rate]);
    g.append(make("path", { class: `chosen ${lane}`, d: `M${at} ${BOX.top}V${BOX.bottom}` }));
    svg.append(
      make(
        "text",
        { class: `over lane-name ${lane}`, x: at, y: BOX.top - 6, "text-anchor": "middle" },
        lane.toUpperCase(),
      ),
    );
  }
  for (const [place, text] of texts) label(svg, place, text);
  return { x, y };
}

const views = {};

function drawStep() {
  const p = state.problem;
  const place = $("#place");
  if (p.kind === "line") views.place = drawLine(place);
  else if (p.kind === "plane") views.place = drawPlane(place);
  else views.place = drawSteps(place, p.counts[0], false, (d, i) => d.counts[0][i], false);
  const name = p.floor ? "loss above the lowest" : "loss";
  views.loss = drawSteps($("#loss"), name, true, (d, i) => d.loss[i] - p.floor, true);
  $("#step").value = state.step;
  $("#step-shown").textContent = `${state.step} of ${p.steps}`;
  const table = rows().map(([key, name, text]) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    row.append(head);
    for (const lane of LANES) {
      const cell = document.createElement("td");
      cell.className = `number ${lane}`;
      cell.dataset.lane = lane;
      cell.dataset.key = key;
      cell.textContent = state[lane].shown ? text(descent(lane), state.step) : "";
      row.append(cell);
    }
    return row;
  });
  $("#numbers tbody").replaceChildren(...table);
  remember();
  onward();
}

/* --- the state in the address ---------------------------------------------------------------- */

/* What the page shows, as the part of its address behind "#". */
function toAddress() {
  const p = state.problem;
  const kept = new URLSearchParams({ problem: p.name, step: state.step });
  for (const lane of LANES) {
    const { shown, optimizer, start, rate } = state[lane];
    if (!shown) kept.set(`${lane}.shown`, "no");
    kept.set(`${lane}.rate`, cell(rates()[rate]));
    kept.set(`${lane}.optimizer`, p.optimizers[optimizer]);
    kept.set(`${lane}.start`, p.starts[start]);
  }
  return `#${kept}`;
}

function remember() {
  if (location.hash !== toAddress()) history.replaceState(null, "", toAddress());
}

/* Show what an address says; what it does not say, or says of another page, is left as it is. */
function fromAddress() {
  const kept = new URLSearchParams(location.hash.slice(1));
  const problem = described.problems.find((p) => p.name === kept.get("problem"));
  if (!problem) return;
  for (const lane of LANES) {
    const eta = Number(kept.get(`${lane}.rate`));
    state[lane].shown = lane === "a" || kept.get(`${lane}.shown`) !== "no";
    state.problem = problem;
    const at = eta > 0 ? nearestTo(eta) : problem.chosen[lane];
    const known = (kind) => Math.max(0, problem[`${kind}s`].indexOf(kept.get(`${lane}.${kind}`)));
    Object.assign(state[lane], { rate: at, optimizer: known("optimizer"), start: known("start") });
  }
  const wanted = structuredClone({ a: state.a, b: state.b });
  const step = Math.trunc(Number(kept.get("step"))) || 0;
  choose(problem, wanted, Math.max(0, Math.min(problem.steps, step)));
}

function nearestTo(eta) {
  const away = Array.from(rates(), (x) => Math.abs(Math.log(x / eta)));
  return away.indexOf(Math.min(...away));
}

/* --- a guided tour ---------------------------------------------------------------------------- */

const edgeOf = (lane) => {
  const known = sweepOf(lane).edges.map(([, edge]) => edge);
  const inside = known.filter((edge) => typeof edge === "number" && edge > rates()[0]);
  return inside.length ? Math.min(...inside) : null;
};
const etaOf = (lane) => rates()[state[lane].rate];

/* Each stop: what to do, and whether it is done; the tour goes on by itself then. */
const STOPS = [
  {
    text: "A and B leave from the same start at two learning rates. Press → (or play) and watch them.",
    done: () => state.step > 0,
  },
  {
    text: () =>
      edgeOf("a") === null
        ? "In the picture of all rates, drag A to a rate that ends at a cross: it diverged."
        : "In the picture of all rates, drag A past the dashed line, its predicted edge (or press ]).",
    done: () =>
      edgeOf("a") === null ? descent("a").verdict === "diverged" : etaOf("a") > edgeOf("a"),
  },
  {
    text: "Read A's verdict below. Now drag B well below the edge (or press {): it creeps, but it arrives.",
    done: () => edgeOf("b") === null || etaOf("b") < 0.5 * edgeOf("b"),
  },
  {
    text: "Choose another optimizer for B. The sweep shows both: the edge has moved.",
    done: () => state.problem.optimizers.length < 2 || state.a.optimizer !== state.b.optimizer,
  },
  {
    text: "Go to the last step (End), and compare the numbers of A and B in the table.",
    done: () => state.step === state.problem.steps,
  },
  {
    text: "The address of this page holds what you found: copy it, and another reader sees the same.",
    done: () => false,
  },
];
let stop = null;

function onward() {
  if (stop === null) return;
  while (stop < STOPS.length - 1 && STOPS[stop].begun && STOPS[stop].done()) visitStop(stop + 1);
}

function visitStop(to) {
  stop = to;
  $("#tour").hidden = stop === null;
  if (stop === null) return;
  STOPS.forEach((one, i) => (one.begun = i === stop && !one.done()));
  const { text } = STOPS[stop];
  const said = typeof text === "string" ? text : text();
  $("#tour-text").textContent = `${stop + 1} of ${STOPS.length}. ${said}`;
  $("#tour-back").disabled = stop === 0;
  $("#tour-next").disabled = stop === STOPS.length - 1;
}

function endTour() {
  visitStop(null);
  $("#tour-begin").focus();
}

function drawLane(lane) {
  const box = $(`fieldset.${lane}`);
  const d = descent(lane);
  box.classList.toggle("off", !state[lane].shown);
  const eta = show(d.eta, 4);
  $(".rate output", box).textContent = eta;
  const slider = $(".rate-slider", box);
  slider.value = state[lane].rate;
  slider.setAttribute("aria-valuetext", eta);
  const peak = peakOf(d.loss);
  const steps = state.problem.steps;
  const word = document.createElement("b");
  word.textContent = d.verdict;
  const peaked = peak > 0 ? `, peak ${show(d.loss[peak], 4)} at step ${peak}` : "";
  $(".verdict", box).replaceChildren(
    word,
    ` after ${steps} steps: loss ${show(d.loss[0], 4)} to ${show(d.loss[steps], 4)}${peaked}. ${edgesText(d.edges, d.moves)}`,
  );
}

function draw() {
  LANES.forEach(drawLane);
  views.rates = drawRates($("#rates"));
  drawStep();
}

/* --- what one can do ------------------------------------------------------------------------ */

function choose(problem, wanted = null, step = 0) {
  pause();
  state.problem = problem;
  state.step = step;
  for (const lane of LANES) {
    const first = { optimizer: 0, start: 0, rate: problem.chosen[lane] };
    Object.assign(state[lane], wanted ? wanted[lane] : first);
    const box = $(`fieldset.${lane}`);
    $(".rate-slider", box).max = problem.count - 1;
    for (const kind of ["optimizer", "start"]) {
      const options = problem[`${kind}s`].map((text, i) => new Option(text, i));
      $(`.${kind}`, box).replaceChildren(...options);
      $(`.${kind}`, box).value = state[lane][kind];
    }
  }
  $("fieldset.b .shown").checked = state.b.shown;
  for (const button of $("#problems").children) {
    button.setAttribute("aria-pressed", String(button.textContent === problem.title));
  }
  $("#about").textContent = problem.about;
  $("#step").max = problem.steps;
  $("#place-caption").textContent = {
    line: "The landscape, the steps so far, and the quadratic model at the current one. Its minimum, the open amber mark, is where plain descent steps next; the open mark on the landscape is where this optimizer does.",
    plane:
      "Level lines of the loss, spaced evenly in its logarithm, and the steps so far. The circle is the quadratic model's level line through the current point; its centre is where plain descent steps next. The cross is the minimum.",
    network: `After every step: ${problem.counts[0]}. The other numbers stand in the table.`,
  }[problem.kind];
  draw();
}

function go(step) {
  state.step = Math.max(0, Math.min(state.problem.steps, step));
  if (state.step === state.problem.steps) pause();
  drawStep();
}

function rate(lane, to) {
  state[lane].rate = Math.max(0, Math.min(state.problem.count - 1, to));
  draw();
}

function pause() {
  clearInterval(state.timer);
  state.timer = null;
  $("#play").textContent = "play";
}

function play() {
  if (state.timer !== null) return pause();
  if (state.step === state.problem.steps) go(0);
  $("#play").textContent = "pause";
  const pace = Math.max(50, Math.min(350, 12000 / state.problem.steps)); // all of it in 12 s
  state.timer = setInterval(() => go(state.step + 1), pace);
  return undefined;
}

/* Columns as in the trace.csv of a run folder. */
function toCsv() {
  const p = state.problem;
  const columns = [["step", (i) => String(i)]];
  for (const lane of shownLanes()) {
    const d = descent(lane);
    const sweep = sweepOf(lane);
    const name = `${lane.toUpperCase()}/${p.name}/eta=${cell(d.eta)}/optimizer=${sweep.optimizer}/start=${sweep.start}`;
    const add = (what, series) => columns.push([`${name}/${what}`, (i) => cell(series[i])]);
    add("loss", d.loss);
    add("grad_norm", d.gradNorm);
    p.axes.forEach((axis, i) => add(axis, d.params[i]));
    p.counts.forEach((count, i) => add(count, d.counts[i]));
  }
  const quoted = columns.map(([name]) =>
    /[",\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name,
  );
  const lines = [quoted.join(",")];
  for (let i = 0; i <= p.steps; i++) lines.push(columns.map(([, text]) => text(i)).join(","));
  return lines.join("\n") + "\n";
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toCsv()], { type: "text/csv" }));
  link.download = `descent-${state.problem.name}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

/* --- numbers on hover ------------------------------------------------------------------------ */

function pointer(svg, event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(
    svg.getScreenCTM().inverse(),
  );
  return [point.x, point.y];
}

function tell(event, text) {
  const box = $("#hover");
  box.hidden = !text;
  box.textContent = text;
  const width = box.offsetWidth;
  box.style.left = `${Math.min(event.clientX + 14, innerWidth - width - 8)}px`;
  box.style.top = `${Math.max(8, event.clientY - box.offsetHeight - 10)}px`;
}

/* The nearest recorded point of the lanes shown, within 40 units of the picture. */
function nearest(view, [px, py]) {
  let best = null;
  for (const lane of shownLanes()) {
    const d = descent(lane);
    for (let i = 0; i < d.loss.length; i++) {
      const [u, v] = view.points(d, i);
      const distance = Math.hypot(view.x(u) - px, view.y(v) - py);
      if (distance < 40 && (best === null || distance < best.distance))
        best = { lane, d, i, distance };
    }
  }
  return best;
}

function describe({ lane, d, i }) {
  const p = state.problem;
  const lines = [`${lane.toUpperCase()}, step ${i}`, `loss ${show(d.loss[i])}`];
  p.axes.forEach((name, axis) => lines.push(`${name} ${show(d.params[axis][i])}`));
  p.counts.forEach((name, k) => lines.push(`${name} ${show(d.counts[k][i])}`));
  return lines.join("\n");
}

function nearestRate(view, px) {
  const eta = rates();
  let best = 0;
  eta.forEach((x, i) => {
    if (Math.abs(view.x(x) - px) < Math.abs(view.x(eta[best]) - px)) best = i;
  });
  return best;
}

function listenToPictures() {
  for (const name of ["place", "loss"]) {
    const svg = $(`#${name}`);
    svg.addEventListener("pointermove", (event) => {
      const found = nearest(views[name], pointer(svg, event));
      tell(event, found ? describe(found) : "");
    });
    svg.addEventListener("pointerleave", (event) => tell(event, ""));
  }
  const svg = $("#rates");
  let held = null;
  svg.addEventListener("pointerdown", (event) => {
    const [px] = pointer(svg, event);
    const away = (lane) => Math.abs(views.rates.x(rates()[state[lane].rate]) - px);
    held = shownLanes().sort((a, b) => away(a) - away(b))[0];
    svg.setPointerCapture(event.pointerId);
    rate(held, nearestRate(views.rates, px));
  });
  svg.addEventListener("pointermove", (event) => {
    const at = nearestRate(views.rates, pointer(svg, event)[0]);
    if (held) rate(held, at);
    const lines = [`η ${show(rates()[at], 4)}`];
    for (const sweep of new Set(shownLanes().map(sweepOf))) {
      const d = descentOf(sweep, at);
      lines.push(`${sweep.optimizer}: ${d.verdict}, final ${show(d.loss[state.problem.steps])}`);
    }
    tell(event, lines.join("\n"));
  });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => (held = null));
  svg.addEventListener("pointerleave", (event) => tell(event, ""));
}

/* --- keys, and where it begins --------------------------------------------------------------- */

const KEYS = {
  " ": play,
  ArrowLeft: () => go(state.step - 1),
  ArrowRight: () => go(state.step + 1),
  Home: () => go(0),
  End: () => go(state.problem.steps),
  "[": () => rate("a", state.a.rate - 1),
  "]": () => rate("a", state.a.rate + 1),
  "{": () => rate("b", state.b.rate - 1),
  "}": () => rate("b", state.b.rate + 1),
  b: () => $("fieldset.b .shown").click(),
  Escape: endTour,
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  const { tagName, type } = event.target;
  // A control that has the focus keeps the keys that it answers itself.
  if (tagName === "SELECT" || (event.key === " " && (tagName === "BUTTON" || type === "checkbox")))
    return;
  if (type === "range" && /^(Arrow|Home|End)/.test(event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
}

function listen() {
  for (const problem of described.problems) {
    const button = document.createElement("button");
    button.textContent = problem.title;
    button.addEventListener("click", () => choose(problem));
    $("#problems").append(button);
  }
  for (const lane of LANES) {
    const box = $(`fieldset.${lane}`);
    $(".rate-slider", box).addEventListener("input", (event) =>
      rate(lane, Number(event.target.value)),
    );
    for (const kind of ["optimizer", "start"]) {
      $(`.${kind}`, box).addEventListener("change", (event) => {
        state[lane][kind] = Number(event.target.value);
        draw();
      });
    }
  }
  $("fieldset.b .shown").addEventListener("change", (event) => {
    state.b.shown = event.target.checked;
    draw();
  });
  const buttons = {
    first: () => go(0),
    back: () => go(state.step - 1),
    play,
    forward: () => go(state.step + 1),
    export: download,
    "tour-begin": () => visitStop(0),
    "tour-back": () => visitStop(stop - 1),
    "tour-next": () => visitStop(stop + 1),
    "tour-end": endTour,
  };
  for (const [id, act] of Object.entries(buttons)) $(`#${id}`).addEventListener("click", act);
  $("#step").addEventListener("input", (event) => go(Number(event.target.value)));
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", fromAddress);
  listenToPictures();
}

unpack().then((unpacked) => {
  numbers = unpacked;
  listen();
  const runs = described.problems.reduce((sum, p) => sum + p.sweeps.length * p.count, 0);
  $("#count").textContent = runs.toLocaleString("en");
  const asked = location.hash;
  choose(described.problems[0]);
  if (asked) {
    history.replaceState(null, "", asked);
    fromAddress();
  }
  document.documentElement.dataset.ready = "yes";
});
