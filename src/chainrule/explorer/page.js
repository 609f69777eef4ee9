/* The descent explorer. On a landscape it computes the descents; of a network it shows recorded ones.

   `described` is what chainrule.explorer.page wrote. A landscape has the programs `slope` and
   `curvature`. Another problem has sweeps, and says where each array starts in `numbers`, the one
   Float32Array that holds all of them; a series of a sweep is [rates, steps + 1].

   Everything shown is a function of `state`; whoever changes it calls `draw`. The rate of a lane is a
   number on a landscape and elsewhere the place of one among the rates, and so is its start. */
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const LANES = ["a", "b"];
const described = JSON.parse($("#described").textContent);
let numbers;

const state = {
  problem: described.problems[0],
  step: 0,
  timer: null,
  moving: false, // while something is dragged
  a: { shown: true, optimizer: 0, start: 0, rate: 0, settings: {} },
  b: { shown: true, optimizer: 0, start: 0, rate: 0, settings: {} },
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

/* --- the descents ---------------------------------------------------------------------------- */

const computed = (p = state.problem) => "slope" in p;

function rates() {
  const p = state.problem;
  if (!computed()) return numbers.subarray(p.rates, p.rates + p.count);
  const [low, high] = p.rates;
  return Float32Array.from({ length: p.count }, (_, i) => low * (high / low) ** (i / (p.count - 1)));
}

const optimizerOf = (lane) => state.problem.optimizers[state[lane].optimizer];
const etaOf = (lane) => (computed() ? Math.fround(state[lane].rate) : rates()[state[lane].rate]);

/* What was found lately, by what it was found of: nothing is computed twice while it is shown. */
const found = new Map();
function once(key, compute) {
  if (!found.has(key)) {
    if (found.size > 16) found.clear();
    found.set(key, compute());
  }
  return found.get(key);
}

/* What a lane asks for on a landscape. */
function asked(lane) {
  const { start, settings } = state[lane];
  return { optimizer: optimizerOf(lane), settings, start, steps: state.problem.steps };
}

const HURRY = 30; // milliseconds: what takes longer waits until nothing is dragged any more

/* Where every rate ends: {optimizer, adapts, first, ends, verdicts, edges}. An edge is null where the
   optimizer has no prediction, "inf" where there is none. */
function sweepOf(lane) {
  const p = state.problem;
  if (!computed()) {
    const sweep = recorded(lane);
    return once(sweep, () => {
      const ends = Array.from(rates(), (_, rate) => seriesOf(sweep.loss, rate)[p.steps]);
      const verdicts = sweep.verdicts.map((k) => described.verdicts[k]);
      const { optimizer, edges } = sweep;
      return { optimizer, adapts: false, first: seriesOf(sweep.loss, 0)[0], ends, verdicts, edges };
    });
  }
  const key = JSON.stringify([p.name, asked(lane)]);
  if (state.moving && p.slow && !found.has(key) && p.last?.[lane]) return p.last[lane];
  const sweep = once(key, () => {
    const began = performance.now();
    const made = computedSweep(p, asked(lane));
    p.slow = performance.now() - began > HURRY;
    return made;
  });
  p.last = { ...p.last, [lane]: sweep };
  return sweep;
}

function computedSweep(p, wanted) {
  const { losses, norms, last } = descents.descend(p.slopes, wanted, rates());
  const ends = losses.map((loss) => loss[p.steps]);
  const axes = p.axes.length;
  const lowest = ends.reduce((best, end, k) => (end < ends[best] || ends[best] !== ends[best] ? k : best), 0);
  const points = [...wanted.start, ...last.subarray(lowest * axes, (lowest + 1) * axes)];
  const { adapts = false, response } = descents.RULES[wanted.optimizer];
  const hessians = matrices(p, Float32Array.from(points));
  const edges = ["edge at the start", "edge at the lowest point"].map((name, k) => {
    const s = descents.largest([1, 1], hessians[k]);
    const edge = s > 0 ? 1 / (response(wanted.settings) * s) : s <= 0 ? "inf" : null;
    return [name, adapts ? null : edge];
  });
  const verdicts = losses.map((loss, k) => descents.verdict(loss, norms[k]));
  return { optimizer: wanted.optimizer, adapts, first: losses[0][0], ends, verdicts, edges };
}

/* The Hessians at some points, flat. */
function matrices(p, points) {
  const size = p.axes.length ** 2;
  const [all] = p.curvatures(points);
  return Array.from({ length: all.length / size }, (_, k) => all.subarray(k * size, (k + 1) * size));
}

function recorded(lane) {
  const { optimizers, starts, sweeps } = state.problem;
  const { optimizer, start } = state[lane];
  return sweeps.find((s) => s.optimizer === optimizers[optimizer] && s.start === starts[start]);
}

function seriesOf(at, rate) {
  const length = state.problem.steps + 1;
  return numbers.subarray(at + rate * length, at + (rate + 1) * length);
}

/* The descent of a lane: every series has a number for each step. `ratio` is eta over the edge. */
function descent(lane) {
  const p = state.problem;
  const eta = etaOf(lane);
  if (computed()) return once(JSON.stringify([p.name, asked(lane), eta]), () => computedDescent(p, asked(lane), eta));
  const sweep = recorded(lane);
  const { rate } = state[lane];
  const counts = sweep.counts.map((at) => seriesOf(at, rate));
  const [loss, gradNorm] = [seriesOf(sweep.loss, rate), seriesOf(sweep.grad_norm, rate)];
  return { eta, loss, gradNorm, params: [], counts, verdict: described.verdicts[sweep.verdicts[rate]] };
}

function computedDescent(p, wanted, eta) {
  const d = descents.descend(p.slopes, wanted, [eta]);
  const points = Float32Array.from({ length: d.last.length * (p.steps + 1) }, (_, i) =>
    d.params[i % p.axes.length][Math.floor(i / p.axes.length)],
  );
  const hessians = matrices(p, points);
  const [[loss], [gradNorm]] = [d.losses, d.norms];
  return {
    eta, loss, gradNorm, params: d.params, slopes: d.slopes, counts: [],
    verdict: descents.verdict(loss, gradNorm),
    sharpness: hessians.map((h) => descents.largest([1, 1], h)),
    ratio: hessians.map((h, t) => descents.largest(d.responses[t].map((k) => eta * k), h)),
  };
}

const shownLanes = () => LANES.filter((lane) => state[lane].shown);

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

function edgesText({ edges, adapts }) {
  if (adapts) return "Its edge moves with its state: see the table, step by step.";
  if (edges.every(([, edge]) => edge === null)) return "No edge is predicted for this optimizer.";
  const texts = edges.map(([name, edge]) => `${name}: ${edge === "inf" ? "none" : show(edge, 4)}`);
  return `Predicted ${texts.join("; ")}.`;
}

/* What the dashed lines are, and whose edge is not among them: that of an optimizer which adapts to
   its gradients depends on its state, which differs from rate to rate. */
function dashes(sweeps) {
  const unknown = sweeps.filter(({ edges }) => edges.every(([, edge]) => edge === null));
  const named = (some) => [...new Set(some.map((sweep) => sweep.optimizer))].join(" and ");
  const moving = named(unknown.filter(({ adapts }) => adapts));
  const silent = named(unknown.filter(({ adapts }) => !adapts));
  return (
    (unknown.length < sweeps.length ? "A dashed line is a predicted edge. " : "") +
    (moving && `The edge of ${moving} moves with its state: the table has it. `) +
    (silent && `No edge is predicted for ${silent}. `)
  );
}

function edgeHere(d, t) {
  const [s, ratio] = [d.sharpness[t], d.ratio[t]];
  if (!Number.isFinite(s)) return "";
  if (Number.isNaN(ratio)) return "no prediction";
  return ratio > 0 ? show(d.eta / ratio, 3) : "none";
}

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
  if (computed()) {
    made.push(["sharpness", "sharpness (largest curvature)", (d, t) => show(d.sharpness[t], 3)]);
    made.push(["edge", "edge here, from the curvature", edgeHere]);
    made.push(["over", "η over this edge", (d, t) => (d.ratio[t] > 0 ? show(d.ratio[t], 3) : "")]);
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

/* A line through points, from the first finite one to the next that is not; kept within what SVG draws. */
function line(xs, ys, x, y) {
  let path = "";
  for (let i = 0; i < xs.length; i++) {
    const at = [x(xs[i]), y(ys[i])];
    if (!at.every(Number.isFinite)) {
      if (path) break;
      continue;
    }
    path += (path ? "L" : "M") + at.map((v) => Math.max(-1e4, Math.min(1e4, v)).toFixed(1)).join(" ");
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
  const beyond = made.getBBox().x + made.getBBox().width - (BOX.right + 8);
  if (beyond > 0) made.setAttribute("x", attributes.x - beyond);
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
    g.append(marker(lane, "start", x(w[0]), y(d.loss[0]), 10));
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
    g.append(marker(lane, "start", x(u[0]), y(v[0]), 10));
    for (let i = 0; i < t; i++) g.append(marker(lane, "past", x(u[i]), y(v[i]), 3));
    if (t < p.steps) g.append(marker(lane, "next", x(u[t + 1]), y(v[t + 1]), 4.5));
    g.append(marker(lane, "now", x(u[t]), y(v[t]), 6.5));
    named.push([lane, x(u[t]), y(v[t])]);
  }
  legend(svg);
  letters(svg, named);
  return { x, y, points: (d, i) => [d.params[0][i], d.params[1][i]] };
}

/* Values over steps, one line a lane; without a landscape also in its place. `promised`: the loss, with
   what the model promises; `edge`: the rate over its edge. */
function drawSteps(svg, name, valueOf, { log = false, promised = false, edge = false } = {}) {
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
    if (edge) high = Math.max(1.25, Math.min(3, high));
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
  if (edge) g.append(make("path", { class: "edge", d: `M${BOX.left} ${y(1)}H${BOX.right}` }));
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
    const gone = edge ? -1 : v.findIndex((value) => !Number.isFinite(value));
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
  const ends = sweeps.map((sweep) => sweep.ends.map((end) => end - p.floor));
  const start = Math.max(...sweeps.map((sweep) => sweep.first - p.floor));
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
      const diverged = sweep.verdicts[rate] === "diverged";
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
    const at = Math.max(BOX.left, Math.min(BOX.right, x(etaOf(lane))));
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
  else views.place = drawSteps(place, p.counts[0], (d, i) => d.counts[0][i]);
  const name = p.floor ? "loss above the lowest" : "loss";
  const loss = (d, i) => d.loss[i] - p.floor;
  views.loss = drawSteps($("#loss"), name, loss, { log: true, promised: true });
  $("#of-edge").hidden = !computed();
  if (computed())
    views.edge = drawSteps($("#edge"), "η over the edge", (d, i) => d.ratio[i], { edge: true });
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
    const { shown, start, rate, settings } = state[lane];
    if (!shown) kept.set(`${lane}.shown`, "no");
    kept.set(`${lane}.rate`, computed() ? rate : cell(rates()[rate]));
    kept.set(`${lane}.optimizer`, optimizerOf(lane));
    kept.set(`${lane}.start`, computed() ? start : p.starts[start]);
    for (const [name, value] of Object.entries(settings)) kept.set(`${lane}.${name}`, value);
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
  state.problem = problem;
  for (const lane of LANES) {
    const said = (name) => kept.get(`${lane}.${name}`);
    const optimizer = Math.max(0, problem.optimizers.indexOf(said("optimizer")));
    Object.assign(state[lane], begun(lane, optimizer), { shown: lane === "a" || said("shown") !== "no" });
    if (RATE(Number(said("rate")))) setRate(lane, Number(said("rate")));
    for (const name of Object.keys(state[lane].settings))
      if (said(name) && DECAY(Number(said(name)))) state[lane].settings[name] = Number(said(name));
    const start = said("start")?.split(",").map(Number) ?? [];
    if (!computed()) state[lane].start = Math.max(0, problem.starts.indexOf(said("start")));
    else if (start.length === problem.axes.length && start.every(PLACE)) state[lane].start = start;
  }
  const step = Math.trunc(Number(kept.get("step"))) || 0;
  present(problem, Math.max(0, Math.min(problem.steps, step)));
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
    text: "Drag the ring at A's start elsewhere, in the first picture (or type another start below).",
    computed: true,
    done: () => String(state.a.start) !== String(state.problem.starts[0]),
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
const stops = () => STOPS.filter((one) => !one.computed || computed());

function onward() {
  if (stop === null) return;
  while (stop < stops().length - 1 && stops()[stop].begun && stops()[stop].done()) visitStop(stop + 1);
}

function visitStop(to) {
  stop = to;
  $("#tour").hidden = stop === null;
  if (stop === null) return;
  const all = stops();
  stop = Math.min(stop, all.length - 1);
  all.forEach((one, i) => (one.begun = i === stop && !one.done()));
  const { text } = all[stop];
  const said = typeof text === "string" ? text : text();
  $("#tour-text").textContent = `${stop + 1} of ${all.length}. ${said}`;
  $("#tour-back").disabled = stop === 0;
  $("#tour-next").disabled = stop === all.length - 1;
}

function endTour() {
  visitStop(null);
  $("#tour-begin").focus();
}

function drawLane(lane) {
  const box = $(`fieldset.${lane}`);
  const d = descent(lane);
  box.classList.toggle("off", !state[lane].shown);
  for (const { refresh } of controls[lane]) refresh();
  const slider = $(".rate-slider", box);
  slider.value = computed() ? standing(d.eta) : state[lane].rate;
  slider.setAttribute("aria-valuetext", show(d.eta, 4));
  const peak = peakOf(d.loss);
  const steps = state.problem.steps;
  const word = document.createElement("b");
  word.textContent = d.verdict;
  const peaked = peak > 0 ? `, peak ${show(d.loss[peak], 4)} at step ${peak}` : "";
  $(".verdict", box).replaceChildren(
    word,
    ` after ${steps} steps: loss ${show(d.loss[0], 4)} to ${show(d.loss[steps], 4)}${peaked}. ${edgesText(sweepOf(lane))}`,
  );
}

function draw() {
  LANES.forEach(drawLane);
  views.rates = drawRates($("#rates"));
  drawStep();
}

/* --- what one can do ------------------------------------------------------------------------ */

/* What a lane begins with. */
function begun(lane, optimizer = 0) {
  const p = state.problem;
  const k = LANES.indexOf(lane);
  const settings = computed() ? { ...descents.RULES[p.optimizers[optimizer]].settings } : {};
  return { optimizer, start: computed() ? [...p.starts[k]] : 0, rate: p.chosen[k], settings };
}

function choose(problem) {
  state.problem = problem;
  for (const lane of LANES) Object.assign(state[lane], begun(lane));
  present(problem, 0);
}

function present(problem, step) {
  pause();
  state.step = step;
  if (computed() && !problem.slopes)
    [problem.slopes, problem.curvatures] = [problem.slope, problem.curvature].map(descents.each);
  for (const lane of LANES) {
    const box = $(`fieldset.${lane}`);
    const slider = $(".rate-slider", box);
    [slider.max, slider.step] = [problem.count - 1, computed() ? "any" : 1];
    const options = (words) => words.map((text, i) => new Option(text, i));
    $(".optimizer", box).replaceChildren(...options(problem.optimizers));
    $(".start", box).replaceChildren(...(computed() ? [] : options(problem.starts)));
    $(".start", box).value = String(state[lane].start);
    $(".start-of", box).hidden = computed();
    build(lane);
  }
  $("fieldset.b .shown").checked = state.b.shown;
  for (const button of $("#problems").children) {
    button.setAttribute("aria-pressed", String(button.textContent === problem.title));
  }
  $("#about").textContent = problem.about;
  $("#step").max = problem.steps;
  const drag = " Drag the ring of a start elsewhere, or type another.";
  $("#place-caption").textContent = {
    line: `The landscape, the steps so far, and the quadratic model at the current one. Its minimum, the open amber mark, is where plain descent steps next; the open mark on the landscape is where this optimizer does.${drag}`,
    plane: `Level lines of the loss, spaced evenly in its logarithm, and the steps so far. The circle is the quadratic model's level line through the current point; its centre is where plain descent steps next. A cross is a minimum.${drag}`,
    network: `After every step: ${problem.counts[0]}. The other numbers stand in the table.`,
  }[problem.kind];
  $("#how").textContent = computed()
    ? "The page computes these descents, from the equations of the loss, in float32 as JAX does."
    : `Every step was recorded in a run: of ${(problem.sweeps.length * problem.count).toLocaleString("en")} descents, and the page computes none of them.`;
  draw();
}

/* --- numbers that one types ------------------------------------------------------------------- */

const RATE = (x) => x > 0 && Number.isFinite(Math.fround(x)) && Math.fround(x) > 0;
const DECAY = (x) => x >= 0 && x < 1;
const PLACE = (x) => Number.isFinite(Math.fround(x));
const SETTINGS = { momentum: "momentum β", decay: "decay β", b1: "mean β₁", b2: "squares β₂" };
const controls = { a: [], b: [] };

/* A number to type, with the arrows up and down to nudge it; what is no such number is marked. */
function typed(input, { right, get, set, nudge }) {
  const take = (x) => {
    set(x);
    draw();
  };
  input.oninput = () => {
    const good = input.value !== "" && right(Number(input.value));
    input.toggleAttribute("aria-invalid", !good);
    if (good) take(Number(input.value));
  };
  input.onkeydown = (event) => {
    const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = nudge(get(), by);
    if (right(next)) take(next);
    refresh(true);
  };
  input.onblur = () => refresh(true);
  const refresh = (always = false) => {
    if (document.activeElement === input && !always && Number(input.value) === get()) return;
    if (document.activeElement === input && !always && input.hasAttribute("aria-invalid")) return;
    input.value = cell(get());
    input.removeAttribute("aria-invalid");
  };
  return { refresh };
}

function field(text, label) {
  const box = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "number", step: "any" });
  input.setAttribute("aria-label", label);
  box.append(`${text} `, input);
  return [box, input];
}

/* What a lane can be set to, of the problem and the optimizer that it has. */
function build(lane) {
  const box = $(`fieldset.${lane}`);
  const [p, own, name] = [state.problem, state[lane], lane.toUpperCase()];
  $(".optimizer", box).value = own.optimizer;
  const rate = { right: RATE, get: () => state[lane].rate, set: (x) => setRate(lane, x), nudge: nudged };
  if (!computed()) Object.assign(rate, { get: () => etaOf(lane), nudge: (_, by) => rates()[own.rate + by] });
  controls[lane] = [typed($(".rate-typed", box), rate)];
  const places = !computed() ? [] : p.axes.map((axis, i) => {
    const [made, input] = field(axis, `${axis} of the start of ${name}`);
    const set = (x) => (state[lane].start = state[lane].start.with(i, x));
    const nudge = (x, by) => rounded(x + (by * (p.window[i][1] - p.window[i][0])) / 200, i);
    controls[lane].push(typed(input, { right: PLACE, get: () => state[lane].start[i], set, nudge }));
    return made;
  });
  $(".place", box).replaceChildren(...(places.length ? ["start ", ...places] : []));
  const settings = Object.keys(own.settings).map((key) => {
    const [made, input] = field(SETTINGS[key], `${key} of ${name}`);
    const set = (x) => (state[lane].settings = { ...state[lane].settings, [key]: x });
    const get = () => state[lane].settings[key];
    const nudge = (x, by) => Number((x + by * 0.01).toFixed(6));
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: 0, max: 0.999, step: 0.001 });
    slider.setAttribute("aria-label", `${key} of ${name}, slider`);
    slid(slider, () => set(Number(slider.value)));
    controls[lane].push(typed(input, { right: DECAY, get, set, nudge }));
    controls[lane].push({ refresh: () => (slider.value = get()) });
    const row = document.createElement("div");
    row.append(made, slider);
    return row;
  });
  $(".settings", box).replaceChildren(...settings);
}

/* A slider that draws what follows while it moves, and all of it once it rests. */
function slid(slider, set) {
  slider.addEventListener("input", () => {
    state.moving = true;
    set();
    draw();
  });
  slider.addEventListener("change", rest);
}

function rest() {
  if (!state.moving) return;
  state.moving = false;
  draw();
}

/* A place on an axis in as many digits as can be told apart in the picture. */
function rounded(x, axis) {
  const [low, high] = state.problem.window[axis];
  return Number(x.toFixed(Math.max(0, Math.ceil(-Math.log10((high - low) / 1000)))));
}

/* Where a rate stands on the slider of a landscape, and the rate at a place there. */
function standing(eta) {
  const [low, high] = state.problem.rates;
  return ((state.problem.count - 1) * Math.log(eta / low)) / Math.log(high / low);
}
function rateAt(at) {
  const [low, high] = state.problem.rates;
  return Number((low * (high / low) ** (at / (state.problem.count - 1))).toPrecision(4));
}
const nudged = (eta, by) => rateAt(standing(eta) + by);

function go(step) {
  state.step = Math.max(0, Math.min(state.problem.steps, step));
  if (state.step === state.problem.steps) pause();
  drawStep();
}

/* Give a lane a rate; of recorded ones it is the nearest. */
function setRate(lane, eta) {
  state[lane].rate = computed() ? eta : nearestTo(eta);
}

function nudgeRate(lane, by) {
  const eta = computed() ? nudged(state[lane].rate, by) : rates()[state[lane].rate + by];
  if (RATE(eta)) setRate(lane, eta);
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
    const { start, settings } = state[lane];
    const set = Object.entries(settings).map(([key, value]) => `/${key}=${value}`).join("");
    const from = !computed() ? p.starts[start] : p.axes.length > 1 ? `(${p.axes.join(", ")}) = (${start.join(", ")})` : `${p.axes} = ${start}`;
    const name = `${lane.toUpperCase()}/${p.name}/eta=${cell(d.eta)}/optimizer=${optimizerOf(lane)}${set}/start=${from}`;
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

/* The nearest point of the lanes shown, within 40 units of the picture. */
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

/* The rate at a place in the picture of all rates. */
function pointed(px) {
  const eta = views.rates.x.inverse(Math.max(BOX.left, Math.min(BOX.right, px)));
  return computed() ? Number(eta.toPrecision(4)) : rates()[nearestTo(eta)];
}

/* Drag what the lanes have in a picture: the one that is nearest, by `away`, goes along by `move`. */
function draggable(svg, able, away, move) {
  let held = null;
  const pull = (event) => {
    move(held, pointer(svg, event));
    draw();
  };
  svg.addEventListener("pointerdown", (event) => {
    if (!able() || event.button) return;
    const at = pointer(svg, event);
    held = shownLanes().sort((a, b) => away(a, at) - away(b, at))[0];
    state.moving = true;
    svg.setPointerCapture(event.pointerId);
    pull(event);
  });
  svg.addEventListener("pointermove", (event) => held && pull(event));
  for (const end of ["pointerup", "pointercancel"])
    svg.addEventListener(end, () => {
      held = null;
      rest();
    });
}

function moveStart(lane, at) {
  const kept = [at[0], at[1]].map((v, i) => Math.max(BOX[["left", "top"][i]], Math.min(BOX[["right", "bottom"][i]], v)));
  const scales = [views.place.x, views.place.y];
  state[lane].start = state.problem.axes.map((_, i) => rounded(scales[i].inverse(kept[i]), i));
}

function awayFromStart(lane, [px, py]) {
  const [u, v] = views.place.points(descent(lane), 0);
  const aside = state.problem.kind === "plane" ? views.place.y(v) - py : 0;
  return Math.hypot(views.place.x(u) - px, aside) || 0;
}

function listenToPictures() {
  for (const name of ["place", "loss", "edge"]) {
    const svg = $(`#${name}`);
    svg.addEventListener("pointermove", (event) => {
      const near = nearest(views[name], pointer(svg, event));
      tell(event, near ? describe(near) : "");
    });
    svg.addEventListener("pointerleave", (event) => tell(event, ""));
  }
  draggable($("#place"), computed, awayFromStart, moveStart);
  const svg = $("#rates");
  const away = (lane, [px]) => Math.abs(views.rates.x(etaOf(lane)) - px);
  draggable(svg, () => true, away, (lane, [px]) => setRate(lane, pointed(px)));
  svg.addEventListener("pointermove", (event) => {
    const eta = pointed(pointer(svg, event)[0]);
    const at = nearestTo(eta);
    const lines = [`η ${show(rates()[at], 4)}`];
    for (const sweep of new Set(shownLanes().map(sweepOf)))
      lines.push(`${sweep.optimizer}: ${sweep.verdicts[at]}, final ${show(sweep.ends[at])}`);
    tell(event, lines.join("\n"));
  });
  svg.addEventListener("pointerleave", (event) => tell(event, ""));
}

/* --- keys, and where it begins --------------------------------------------------------------- */

const KEYS = {
  " ": play,
  ArrowLeft: () => go(state.step - 1),
  ArrowRight: () => go(state.step + 1),
  Home: () => go(0),
  End: () => go(state.problem.steps),
  "[": () => nudgeRate("a", -1),
  "]": () => nudgeRate("a", 1),
  "{": () => nudgeRate("b", -1),
  "}": () => nudgeRate("b", 1),
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
  if (type === "number" && event.key !== "Escape") return;
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
    const slider = $(".rate-slider", box);
    slid(slider, () => {
      const at = Number(slider.value);
      state[lane].rate = computed() ? rateAt(at) : at;
    });
    $(".optimizer", box).addEventListener("change", (event) => {
      const { optimizer, settings } = begun(lane, Number(event.target.value));
      Object.assign(state[lane], { optimizer, settings });
      build(lane);
      draw();
    });
    $(".start", box).addEventListener("change", (event) => {
      state[lane].start = Number(event.target.value);
      draw();
    });
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
  for (const p of described.problems) if (computed(p)) p.optimizers = Object.keys(descents.RULES);
  const hash = location.hash;
  choose(described.problems[0]);
  if (hash) {
    history.replaceState(null, "", hash);
    fromAddress();
  }
  document.documentElement.dataset.ready = "yes";
});
