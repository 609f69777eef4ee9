"use strict";
// The living graph: the arguments can be dragged and typed, and every value and gradient follows.
globalThis.live = (data, page) => {
  const $ = (id) => document.getElementById(id);
  const { program: text, given, values, gradients, parts, wanted, results } = JSON.parse($("program").textContent);
  const program = engine.load(text);
  const nodes = data.nodes.filter(({ kind }) => kind === "parameter" || kind === "input");
  const MOST = 1000, FEW = 12, SMALL = 8; // numbers of an argument to change, with sliders, shown though it is fixed
  cards.reserved = cells.RESERVE.scalar;

  // --- the arguments, and what was done to them ----------------------------------------------------------

  const inputs = nodes.map((node, k) => {
    const array = program.arguments[k], start = engine.decoded(given[k], array.dtype);
    array.data.set(start);
    const slot = gradients[node.id][0];
    const gradient = slot !== null && wanted.includes(node.id) ? program.results[slot] : null;
    return { k, node, array, start, gradient, descends: false, show: () => {} };
  });
  const params = inputs.filter(({ node, gradient }) => gradient && node.kind === "parameter");
  for (const input of params.length ? params : inputs.filter(({ gradient }) => gradient)) input.descends = true;

  let version = 0, past = [], losses = [];
  const loss = () => results.reduce((sum, [node, output, g]) => {
    const x = program.results[values[node][output]];
    return g === null ? sum : sum + x.data.reduce((s, value, k) => s + value * g[k], 0);
  }, 0);

  function compute(changed) {
    program.run(changed);
    version += 1;
  }
  compute(null);
  losses = [loss()];

  // --- the picture: its numbers are the engine's, made where they are shown -----------------------------

  const kept = (make) => {
    let at = -1, found = null;
    return { enumerable: true, get: () => { if (at !== version) [at, found] = [version, make()]; return found; } };
  };
  const of = (slot) => (slot === null ? null : cells.cell(program.results[slot]));
  const first = (text, n) => text.split(" = ").slice(0, n).join(" = ");
  data.edges.forEach((edge, k) => {
    if (parts[k] === null) return;
    const array = program.results[parts[k]];
    Object.defineProperty(edge, "part", kept(() => ({ ...cells.cell(array), none: array.data.every((x) => x === 0) })));
  });
  const scalar = (cell) => (cell?.facts.length === 1 ? ` = ${cell.text[0]}` : "");
  const uses = data.nodes.map(() => []), takes = data.nodes.map(() => []);
  for (const edge of data.edges) {
    uses[edge.source].push(edge);
    if (edge.target !== null) takes[edge.target].push(edge);
  }
  for (const node of data.nodes) {
    const [value, gradient] = [values[node.id], gradients[node.id]];
    const { forward, backward } = node;
    Object.defineProperties(node, {
      value: kept(() => (value.length ? of(value[0]) : null)),
      gradient: kept(() => (gradient.length ? of(gradient[0]) : null)),
      forward: kept(() => forward && first(forward, 2) + scalar(node.value)),
      backward: kept(() => {
        const through = takes[node.id].filter((edge) => edge.part);
        return backward.map((row, k) => first(row, row.includes("+=") ? 1 : 2) + scalar(through[k]?.part));
      }),
      sum: kept(() => {
        const found = uses[node.id].map(({ part }) => part).filter(Boolean);
        if (found.length < 2 || found.length > 4 || !scalar(node.gradient)) return "";
        const terms = found.map(({ text: [t] }, k) => (!k ? t : t[0] === "−" ? ` − ${t.slice(1)}` : ` + ${t}`));
        return terms.join("") + scalar(node.gradient);
      }),
    });
    node.outputs.forEach((output, k) => Object.defineProperties(output, {
      value: kept(() => of(value[k])), gradient: kept(() => of(gradient[k])),
    }));
  }

  // Put the new numbers into the drawing as it stands; where its form has changed, draw it anew.
  let drawn = null, boxes = [], wires = [], plates = [];
  function refresh() {
    const scene = page.scene(), state = page.state();
    if (!scene) return;
    if (state.step !== null || !redraw(scene)) page.render();
    else if (state.selected) page.panel();
  }

  function redraw(scene) {
    const view = $("view");
    if (drawn !== view.firstElementChild) {
      drawn = view.firstElementChild;
      const rows = (g) => [...g.children].filter(({ tagName }) => tagName === "text" || tagName === "image");
      boxes = [...view.querySelectorAll(".box")].map((g) => ({ g, item: scene.places.get(g.dataset.id), rows: rows(g) }));
      [wires, plates] = [[...view.querySelectorAll("path.edge")], [...view.querySelectorAll("rect.plate")]];
    }
    for (const { item: { box }, rows } of boxes) {
      const fresh = cards.lines(data, box);
      if (fresh.length !== rows.length) return false;
      fresh.forEach((row, k) => {
        if (row.image) set(rows[k], "href", row.image.image);
        else {
          if (rows[k].textContent !== row.text) rows[k].textContent = row.text;
          set(rows[k], "class", row.kind);
        }
      });
    }
    let next = 0;
    scene.paths.forEach(({ edges, label }, k) => {
      const bad = edges.some(({ part }) => part?.bad), none = edges.every(({ part }) => part?.none);
      set(wires[k], "class", `edge${bad ? " bad" : ""}${none ? " shut" : ""}`);
      if (!label) return;
      const plate = plates[next++], said = plate?.nextElementSibling, { part } = edges[0];
      if (!plate || edges.length > 1 || said.textContent === part.short) return;
      said.textContent = part.short;
      set(said, "class", bad ? "part bad" : "part");
      const wide = cards.width(part.short, cards.SIZE.label) + 6;
      set(plate, "x", label.x - wide / 2);
      set(plate, "width", wide);
    });
    return true;
  }
  // What a screen reader says of the boxes, once numbers rest.
  function speak() {
    if (drawn === $("view").firstElementChild) for (const { g, item: { box } } of boxes) set(g, "aria-label", draw.spoken(box, data));
  }
  const set = (element, name, value) => {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  };

  // --- changes --------------------------------------------------------------------------------------------------

  const waiting = new Set();
  let frame = 0;
  function change(...which) {
    which.forEach((k) => waiting.add(k));
    frame ||= requestAnimationFrame(follow);
  }
  function follow() {
    cancelAnimationFrame(frame);
    frame = 0;
    if (!waiting.size) return;
    const changed = [...waiting];
    waiting.clear();
    compute(changed);
    refresh();
    for (const { k, show } of inputs) show(changed.includes(k));
    report();
  }

  const snapshot = () => ({ arrays: inputs.map(({ array, start }, k) => saved[k] ?? (saved[k] = array.data.slice())), losses: [...losses] });
  const saved = inputs.map(() => null); // a copy of each argument as it is, until it changes
  let editing = false;
  function edit(...which) { // before arguments change: one undo takes back all until `settle`
    if (!editing) past.push(snapshot());
    if (past.length > 200) past.shift();
    editing = true;
    for (const k of which) saved[k] = null;
    $("undo").disabled = false;
  }
  function settle() {
    editing = false;
    follow();
    speak();
    page.remember();
  }
  function restore({ arrays, losses: before }) {
    inputs.forEach(({ array }, k) => { array.data.set(arrays[k]); saved[k] = arrays[k]; });
    losses = before;
    change(...inputs.keys());
    settle();
  }
  function undo() {
    if (!past.length) return;
    restore(past.pop());
    $("undo").disabled = !past.length;
  }
  function reset() {
    const all = inputs.map(({ k }) => k);
    edit(...all);
    for (const { array, start } of inputs) array.data.set(start);
    compute(all);
    losses = [loss()];
    change(...all);
    settle();
  }
  function put(k, i, x) {
    edit(k);
    inputs[k].array.data[i] = inputs[k].array.dtype === "bool" ? (x ? 1 : 0) : x;
    change(k);
  }

  function descend(times) {
    const eta = numbers.parse($("eta").value);
    const moving = inputs.filter(({ descends }) => descends), which = moving.map(({ k }) => k);
    if (eta === null || !moving.length) return;
    edit(...which);
    for (let t = 0; t < times; t += 1) {
      for (const { array: { data: x }, gradient: { data: g } } of moving)
        for (let i = 0; i < x.length; i += 1) x[i] -= eta * g[i];
      compute(which);
      losses.push(loss());
    }
    change(...which);
    settle();
  }

  // --- what is said of the result ---------------------------------------------------------------------------

  function report() {
    const lines = results.map(([node, output, g], k) => {
      const x = program.results[values[node][output]], box = $(`result${k}`);
      if (x.data.length === 1) box.querySelector("output").textContent = cells.cell(x).text[0];
      else if (x.data.length <= 20)
        box.querySelectorAll("meter").forEach((meter, i) => {
          if (x.data[i] < meter.min) meter.min = x.data[i];
          if (x.data[i] > meter.max) meter.max = x.data[i];
          meter.value = x.data[i];
          meter.nextElementSibling.textContent = numbers.written(x.data[i], 3);
        });
      else box.querySelector("output").textContent = cells.cell(x).short;
    });
    const trace = $("trace"), good = losses.filter(Number.isFinite), [low, high] = [Math.min(...good), Math.max(...good)];
    const steps = losses.length - 1;
    trace.toggleAttribute("hidden", !steps);
    if (!steps) return lines;
    const [w, h] = [trace.clientWidth || 240, 56], x = (k) => (k / Math.max(1, steps)) * (w - 8) + 4, y = (v) => h - 5 - ((v - low) / (high - low || 1)) * (h - 10);
    const points = losses.map((v, k) => (Number.isFinite(v) ? `${x(k).toFixed(1)},${y(v).toFixed(1)}` : "")).filter(Boolean);
    trace.setAttribute("viewBox", `0 0 ${w} ${h}`);
    trace.innerHTML = `<polyline points="${points.join(" ")}"/>` +
      (points.length ? `<circle r="3" cx="${points.at(-1).split(",")[0]}" cy="${points.at(-1).split(",")[1]}"/>` : "");
    const said = `${steps} step${steps === 1 ? "" : "s"}: from ${numbers.written(losses[0])} to ${numbers.written(losses.at(-1))}`;
    trace.setAttribute("aria-label", `the result after each step, ${said}`);
    $("steps").textContent = said;
    return lines;
  }

  // --- fields ---------------------------------------------------------------------------------------------

  const make = (tag, settings = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(settings)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const index = (i, shape) => (shape.length ? `[${engine.strides(shape).map((by, d) => Math.floor(i / by) % shape[d]).join(", ")}]` : "");
  const unit = (x) => (Number.isFinite(x) && x ? Math.max(0.01, 10 ** (Math.floor(Math.log10(Math.abs(x))) - 1)) : 0.1);

  // One number: typed, dragged sideways, or moved by the arrow keys.
  function field({ k, node, array }, i, small) {
    const name = node.label + index(i, array.shape), whole = array.dtype[0] !== "f";
    const box = make("input", {
      type: "text", inputmode: "text", role: "spinbutton", "aria-label": name, title: "type, drag sideways, or ↑ and ↓",
      autocomplete: "off", spellcheck: "false",
    });
    const round = (x, by) => (whole ? Math.round(x) : Number((Math.round(x / by) * by).toPrecision(12)));
    const show = () => {
      const x = array.data[i], full = document.activeElement === box;
      if (!box.dataset.typing) box.value = full ? numbers.exact(x, array.dtype).replace("-", "−") : numbers.written(x, small ? 3 : 5, whole);
      box.setAttribute("aria-valuenow", array.data[i]);
    };
    const enter = () => {
      delete box.dataset.typing;
      const x = numbers.parse(box.value);
      box.toggleAttribute("aria-invalid", x === null);
      if (x !== null && !Object.is(Math.fround(x), array.data[i])) put(k, i, x);
      settle();
      if (x !== null) show();
    };
    box.addEventListener("input", () => { box.dataset.typing = "yes"; });
    for (const event of ["focus", "blur"]) box.addEventListener(event, show);
    box.addEventListener("change", enter);
    box.addEventListener("keydown", (event) => {
      const by = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
      if (event.key === "Enter") enter();
      if (!by) return;
      event.preventDefault();
      delete box.dataset.typing;
      const step = whole ? 1 : unit(array.data[i]);
      put(k, i, round((Number.isFinite(array.data[i]) ? array.data[i] : 0) + by * step, step));
      settle();
    });
    scrub(box, k, i, round);
    show();
    return { box, show };
  }

  // Dragged sideways, a number changes by a hundredth of its size a pixel.
  function scrub(element, k, i, round, grab = () => true) {
    let from = null;
    element.addEventListener("pointerdown", (event) => {
      if (event.button || !grab(event)) return;
      const x = inputs[k].array.data[i];
      from = { at: event.clientX, x: Number.isFinite(x) ? x : 0, by: unit(x) / 4, moved: false };
    });
    element.addEventListener("pointermove", (event) => {
      if (!from || (!from.moved && Math.abs(event.clientX - from.at) < 4)) return;
      if (!from.moved) element.setPointerCapture(event.pointerId);
      from.moved = true;
      event.preventDefault();
      put(k, i, round(from.x + (event.clientX - from.at) * from.by, from.by));
    });
    for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => { if (from?.moved) settle(); from = null; });
  }

  function slider({ k, node, array }, i) {
    const x = array.data[i], far = Math.max(1, 2 * Math.abs(Number.isFinite(x) ? x : 1));
    const whole = array.dtype[0] !== "f", bar = make("input", {
      type: "range", "aria-label": `${node.label}${index(i, array.shape)}, slider`, step: whole ? 1 : "any",
      min: whole && x >= 0 ? 0 : -far, max: whole ? Math.max(9, far) : far,
    });
    bar.addEventListener("input", () => put(k, i, Number(bar.value)));
    bar.addEventListener("change", settle);
    const show = () => {
      const now = array.data[i];
      if (Number.isFinite(now)) { bar.min = Math.min(bar.min, now); bar.max = Math.max(bar.max, now); bar.value = now; }
    };
    show();
    return { bar, show };
  }

  const sides = (shape) => shape.filter((n) => n !== 1);
  const drawable = ({ array }) => {
    const [h, w, ...more] = sides(array.shape);
    return array.dtype[0] === "f" && w && !more.length && h >= 8 && w >= 8;
  };

  // A matrix as large as an image is drawn on, with the mouse or with the keys.
  function drawing(input) {
    const { k, node, array, gradient } = input, [h, w] = sides(array.shape), ink = Math.max(1, ...input.start.filter(Number.isFinite));
    const paper = Math.min(0, ...input.start.filter(Number.isFinite));
    const sheet = make("canvas", { width: w, height: h, tabindex: 0, role: "application", "aria-roledescription": "drawing",
      "aria-label": `${node.label}: draw with the mouse; with the keys: arrows move, space draws, Delete rubs out` });
    const slope = gradient && make("canvas", { width: w, height: h, role: "img", "aria-label": `the gradient with respect to ${node.label}` });
    const pen = { x: Math.floor(w / 2), y: Math.floor(h / 2), keys: false };
    const rubber = make("input", { type: "checkbox" });
    const clear = make("button", { type: "button" }, "clear");
    function show() {
      const bytes = new Uint8ClampedArray(4 * w * h);
      for (let i = 0; i < w * h; i += 1) {
        const share = (array.data[i] - paper) / (ink - paper);
        bytes.set([255 * (1 - share), 255 * (1 - share), 255 * (1 - share), 255], 4 * i);
      }
      if (pen.keys) bytes.set([213, 94, 0, 255], 4 * (pen.y * w + pen.x));
      sheet.getContext("2d").putImageData(new ImageData(bytes, w, h), 0, 0);
      slope?.getContext("2d").putImageData(new ImageData(cells.painted(gradient.data, h, w).bytes, w, h), 0, 0);
    }
    function touch(x, y, rub) {
      edit(k);
      for (let i = Math.max(0, Math.floor(y - 2)); i < Math.min(h, y + 3); i += 1)
        for (let j = Math.max(0, Math.floor(x - 2)); j < Math.min(w, x + 3); j += 1) {
          const share = Math.max(0, Math.min(1, 1.9 - Math.hypot(i - y, j - x))), at = i * w + j;
          array.data[at] = rub ? (share ? paper : array.data[at]) : Math.max(array.data[at], paper + share * (ink - paper));
        }
      change(k);
    }
    let last = null;
    const place = (event) => {
      const { left, top, width, height } = sheet.getBoundingClientRect();
      return [((event.clientX - left) / width) * w - 0.5, ((event.clientY - top) / height) * h - 0.5];
    };
    const line = (event) => {
      const [x, y] = place(event), [p, q] = last ?? [x, y], steps = Math.ceil(Math.hypot(x - p, y - q)) || 1;
      for (let t = 1; t <= steps; t += 1) touch(p + ((x - p) * t) / steps, q + ((y - q) * t) / steps, rubber.checked || event.shiftKey);
      last = [x, y];
    };
    sheet.addEventListener("pointerdown", (event) => { sheet.setPointerCapture(event.pointerId); pen.keys = false; last = null; line(event); });
    sheet.addEventListener("pointermove", (event) => { if (last) line(event); });
    for (const end of ["pointerup", "pointercancel"]) sheet.addEventListener(end, () => { if (last) settle(); last = null; });
    sheet.addEventListener("keydown", (event) => {
      const move = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
      if (move) [pen.x, pen.y] = [Math.min(w - 1, Math.max(0, pen.x + move[0])), Math.min(h - 1, Math.max(0, pen.y + move[1]))];
      else if (event.key === " ") touch(pen.x, pen.y, false);
      else if (event.key === "Delete" || event.key === "Backspace") touch(pen.x, pen.y, true);
      else return;
      event.preventDefault();
      pen.keys = true;
      if (move) show(); else settle();
    });
    sheet.addEventListener("blur", () => { pen.keys = false; show(); });
    clear.addEventListener("click", () => { edit(k); array.data.fill(paper); change(k); settle(); });
    const row = make("div", { class: "sheets" }, sheet);
    if (slope) row.append(slope);
    show();
    return { box: make("div", {}, row, make("div", { class: "row" }, clear, make("label", {}, rubber, " rub out"))), show };
  }

  function fields(input) {
    const { node, array, gradient } = input, count = array.data.length;
    const group = make("fieldset", {}, make("legend", {}, make("b", {}, node.label), node.shape ? ` ${node.shape}` : ""));
    if (gradient) {
      const moves = make("input", { type: "checkbox", "aria-label": `descend along ${node.label}` });
      moves.checked = input.descends;
      moves.addEventListener("change", () => { input.descends = moves.checked; });
      group.firstChild.append(" ", make("label", { class: "moves" }, moves, " descends"));
    }
    if (count > MOST) {
      group.append(make("p", { class: "about" }, `${count.toLocaleString("en")} numbers, too many to type`));
      return group;
    }
    if (drawable(input)) {
      const { box, show } = drawing(input);
      input.show = show;
      group.append(box);
      return group;
    }
    const all = Array.from({ length: count }, (_, i) => {
      const one = field(input, i, count > FEW), bar = count <= FEW && array.dtype !== "bool" ? slider(input, i) : null;
      return { ...one, bar, show: () => { one.show(); bar?.show(); } };
    });
    input.show = (changed) => { if (changed) for (const { show } of all) show(); };
    if (count <= FEW)
      group.append(...all.map(({ box, bar }, i) =>
        make("div", { class: "row" }, ...(count > 1 ? [make("span", { class: "index" }, index(i, array.shape))] : []), ...(bar ? [bar.bar] : []), box)));
    else {
      const grid = make("div", { class: "grid" }, ...all.map(({ box }) => box));
      grid.style.gridTemplateColumns = `repeat(${Math.min(array.shape.at(-1), 40)}, 62px)`;
      group.append(make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `the numbers of ${node.label}` }, grid));
    }
    return group;
  }

  // The card of a number is dragged, too.
  const picture = $("picture");
  for (const { k, node, array } of inputs.filter(({ array }) => array.data.length === 1)) {
    const whole = array.dtype[0] !== "f";
    scrub(picture, k, 0, (x, by) => (whole ? Math.round(x) : Number((Math.round(x / by) * by).toPrecision(12))), (event) => {
      const mine = event.target.closest(`[data-id="n${node.id}"]`);
      if (mine) held = true;
      return mine;
    });
  }
  let held = false;
  picture.addEventListener("pointermove", (event) => { if (held) event.stopImmediatePropagation(); });
  for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => { held = false; });

  // What the gradient is with respect to comes first, then what is small; the rest is folded away.
  const moved = inputs.filter(({ gradient }) => gradient), others = inputs.filter(({ gradient }) => !gradient);
  const fixed = others.filter(({ node, array }) => moved.length && (node.kind === "parameter" || array.data.length > SMALL));
  $("given").append(...[...moved, ...others.filter((input) => !fixed.includes(input))].map(fields));
  if (moved.some(drawable)) $("results").before($("given"));
  if (fixed.length) {
    const some = `${fixed.length} argument${fixed.length === 1 ? "" : "s"} without a gradient`;
    $("given").append(make("details", {}, make("summary", {}, some), ...fixed.map(fields)));
  }
  $("results").append(...results.map(([node, output, g], k) => {
    const x = program.results[values[node][output]], name = g !== null ? "result" : `output ${k}`;
    const box = make("div", { id: `result${k}`, class: "result" });
    if (x.data.length === 1 || x.data.length > 20) box.append(`${name} `, make("output", {}));
    else
      box.append(...Array.from(x.data, (_, i) =>
        make("div", { class: "row" }, make("span", { class: "index" }, String(i)),
          make("meter", { min: Math.min(0, ...x.data), max: Math.max(1, ...x.data), "aria-label": `${name}, number ${i}` }), make("span", { class: "number" }))));
    return box;
  }));
  $("step").addEventListener("click", () => descend(1));
  $("steps10").addEventListener("click", () => descend(10));
  $("undo").addEventListener("click", undo);
  $("reset").addEventListener("click", reset);
  $("eta").addEventListener("change", () => $("eta").toggleAttribute("aria-invalid", numbers.parse($("eta").value) === null));
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !event.target.dataset?.typing) { event.preventDefault(); undo(); }
  });
  const able = inputs.some(({ descends }) => descends);
  for (const id of ["step", "steps10", "eta"]) $(id).disabled = !able;
  report();

  // --- the address ------------------------------------------------------------------------------------------

  const LONGEST = 6000; // characters
  function address() {
    const rows = inputs.filter(({ array }) => array.data.length <= MOST).flatMap(({ k, array, start }) => {
      const changed = [...array.data.keys()].filter((i) => !Object.is(array.data[i], start[i]));
      return changed.length ? [`${k}:${changed.map((i) => `${i}=${numbers.exact(array.data[i], array.dtype)}`).join(",")}`] : [];
    });
    const text = rows.join(";");
    return { set: text && text.length <= LONGEST ? text : null };
  }
  function recall(asked) {
    const wantedNow = inputs.map(({ start }) => start.slice());
    for (const row of (asked.get("set") ?? "").split(";").filter(Boolean)) {
      const [k, list = ""] = row.split(":");
      const into = /^\d+$/.test(k) ? wantedNow[Number(k)] : undefined;
      if (!into || into.length > MOST) continue;
      for (const one of list.split(",")) {
        const [i, x] = [one.split("=")[0], numbers.parse(one.split("=")[1] ?? "")];
        if (/^\d+$/.test(i) && Number(i) < into.length && x !== null) into[Number(i)] = x;
      }
    }
    const small = inputs.filter(({ array }) => array.data.length <= MOST);
    const changed = small.filter(({ k, array }) => array.data.some((x, i) => !Object.is(x, wantedNow[k][i])));
    if (!changed.length) return;
    for (const { k, array } of changed) { array.data.set(wantedNow[k]); saved[k] = null; }
    compute(changed.map(({ k }) => k));
    losses = [loss()];
    for (const { show } of inputs) show(true);
    report();
  }

  return { address, recall };
};
