"use strict";
// The page around a drawing: zoom, groups, search, and the backward pass one operator at a time.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const living = globalThis.live?.(data, { state: () => state, scene: () => scene, render: () => render(), panel: () => panel(), remember: () => remember() });
  const start = JSON.parse($("start").textContent);
  const state = {
    open: new Set(start.open), step: null, selected: null, found: null, direction: start.direction,
  };
  const followed = new Set(); // groups that stepping opened, and closes again
  const view = { x: 0, y: 0, scale: 1 };
  let scene = null, room = null; // what is drawn, and the size of what it is drawn in

  const groupsOf = (node) => survey(data).around[node.id];
  const node = (id) => data.nodes[id];

  // --- drawing ------------------------------------------------------------------------------------

  function render() {
    const focus = document.activeElement?.closest?.("[data-id]")?.dataset.id;
    panel();
    steps();
    room = $("picture").getBoundingClientRect(); // before there is a new drawing to lay out
    scene = draw.scene(data, { ...state, open: [...state.open] });
    $("view").innerHTML = scene.text;
    minimap();
    if (focus) document.querySelector(`#view [data-id="${focus}"]`)?.focus({ preventScroll: true });
    place();
  }

  function place() {
    $("view").setAttribute("transform", `translate(${view.x},${view.y}) scale(${view.scale})`);
    const { x, y, scale } = view, { width, height } = room, seen = $("window");
    const box = { x: -x / scale, y: -y / scale, width: width / scale, height: height / scale };
    for (const [name, at] of Object.entries(box)) seen.setAttribute(name, at * map.scale);
    const all = box.x <= 0 && box.y <= 0 && box.x + box.width >= scene.width && box.y + box.height >= scene.height;
    $("map").toggleAttribute("hidden", all);
    remember();
  }

  // --- the whole graph in small ---------------------------------------------------------------------

  const map = { scale: 1 };
  function minimap() {
    const most = { width: Math.min(180, room.width / 3), height: Math.min(220, room.height / 4) };
    map.scale = Math.min(most.width / scene.width, most.height / scene.height);
    const [width, height] = [scene.width * map.scale, scene.height * map.scale].map((x) => Math.max(14, Math.ceil(x)));
    for (const [name, x] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) $("map").setAttribute(name, x);
    $("marks").innerHTML = [...scene.places].map(([id, item]) => {
      const kinds = item.frame ? "frame" : $("view").querySelector(`[data-id="${id}"]`).getAttribute("class");
      const [x, y, w, h] = [item.x, item.y, item.width, item.height].map((n) => (n * map.scale).toFixed(1));
      return `<rect class="${kinds}" x="${x}" y="${y}" width="${w}" height="${h}"/>`;
    }).join("");
  }

  function jump(event) { // the part in view comes to where the pointer is on the map
    const { left, top } = $("map").getBoundingClientRect();
    view.x = room.width / 2 - ((event.clientX - left - 1) / map.scale) * view.scale; // within its border
    view.y = room.height / 2 - ((event.clientY - top - 1) / map.scale) * view.scale;
    place();
  }

  // --- the address: what is open, selected and searched for -----------------------------------------

  let remembered = null;
  function remember() {
    const usual = [...state.open].sort().join() === [...start.open].sort().join();
    const parts = {
      open: usual ? null : [...state.open].sort((a, b) => a - b).join(), at: state.selected, step: state.step,
      find: state.found ? $("search").value : null, ...living?.address(),
    };
    const rows = Object.entries(parts).filter(([, part]) => part !== null && part !== undefined);
    const text = rows.map(([name, part]) => `${name}=${encodeURIComponent(part)}`).join("&");
    if (text === remembered || location.protocol === "about:") return; // a notebook's frame has no address
    remembered = text;
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }

  function recall() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const number = (text, below) => (/^\d+$/.test(text) && Number(text) < below ? Number(text) : null);
    const numbers = (text) => text.split(",").map((part) => number(part, data.groups.length)).filter((g) => g !== null);
    state.open = new Set(asked.has("open") ? numbers(asked.get("open")) : start.open);
    state.step = number(asked.get("step") ?? "", data.steps.length + 1);
    const at = number((asked.get("at") ?? "").slice(1), data.nodes.length);
    state.selected = at === null ? null : `n${at}`;
    for (const g of at === null ? [] : groupsOf(node(at))) state.open.add(g);
    $("search").value = asked.get("find") ?? "";
    living?.recall(asked);
    match();
  }

  function fit() {
    const { width, height } = room;
    const fits = Math.min((width - 40) / scene.width, (height - 40) / scene.height, 1.4);
    view.scale = Math.max(1, fits); // text stays large enough to read; of a large graph, its beginning
    view.x = (width - scene.width * view.scale) / 2;
    view.y = Math.max(20, (height - scene.height * view.scale) / 2);
    if (scene.width * view.scale > width) { // its first box is in sight, whatever stands beside it
      const boxes = [...scene.places.values()].filter(({ box }) => box);
      const first = boxes.reduce((a, b) => (state.direction === "down" ? b.y < a.y : b.x < a.x) ? b : a, boxes[0]);
      const middle = width / 2 - (first.x + first.width / 2) * view.scale;
      view.x = Math.min(20, Math.max(width - scene.width * view.scale - 20, middle));
    }
    place();
  }

  function zoom(factor, x, y) {
    const scale = Math.min(4, Math.max(0.05, view.scale * factor));
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    place();
  }

  function center(id) {
    const box = scene.places.get(id);
    if (!box) return;
    const { width, height } = room;
    if (view.scale < 0.7) view.scale = 1;
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    view.x = width / 2 - x * view.scale;
    view.y = height / 2 - y * view.scale;
    place();
  }

  // --- groups ---------------------------------------------------------------------------------------

  function toggle(g) {
    const before = scene.places.get(state.open.has(g) ? `o${g}` : `g${g}`);
    if (state.open.has(g)) {
      for (const h of [...state.open])
        for (let up = h; up !== null; up = data.groups[up].parent) if (up === g) state.open.delete(h);
    } else state.open.add(g);
    followed.delete(g);
    render();
    const after = scene.places.get(state.open.has(g) ? `o${g}` : `g${g}`);
    if (before && after) { // what was clicked stays under the pointer
      view.x += (before.x - after.x) * view.scale;
      view.y += (before.y - after.y) * view.scale;
      place();
    }
  }

  function reveal(id, follow, shut) {
    const around = groupsOf(node(id)), up = shut === undefined ? around : around.slice(0, around.indexOf(shut));
    if (follow)
      for (const g of [...followed])
        if (!up.includes(g)) { followed.delete(g); state.open.delete(g); }
    for (const g of up)
      if (!state.open.has(g)) { state.open.add(g); if (follow) followed.add(g); }
  }

  // --- the backward pass -------------------------------------------------------------------------

  // What it stops at: operators, and functions that are closed, whole. Of each, the number of
  // operators that have gone backward by then.
  let known = { open: null, found: [] };
  function stops() {
    const open = [...state.open].join();
    if (known.open === open) return known.found;
    const found = [];
    data.steps.forEach((id, k) => {
      const shut = groupsOf(node(id)).find((g) => data.groups[g].kind === "call" && !state.open.has(g));
      if (shut !== undefined && found.at(-1)?.shut === shut) found.at(-1).step = k + 1;
      else found.push({ shut, id, step: k + 1 });
    });
    known = { open, found };
    return found;
  }

  function go(stop) {
    if (stop === null) state.step = null;
    else if (stop <= 0 || !data.steps.length) state.step = 0;
    else {
      const all = stops(), { shut, id, step } = all[Math.min(stop, all.length) - 1];
      state.step = step;
      reveal(id, true, shut);
      state.selected = shut === undefined ? `n${id}` : null;
      render();
      center(shut === undefined ? `n${id}` : `g${shut}`);
      return;
    }
    render();
    const result = data.edges.find((e) => e.target === null && e.part);
    if (state.step === 0 && result) center(`n${result.source}`);
  }

  function steps() {
    const all = stops(), box = $("equation");
    const at = all.findIndex(({ step }) => step >= state.step);
    $("count").textContent = state.step === null ? `${all.length} steps` : `${state.step && at + 1} of ${all.length}`;
    box.hidden = state.step === null;
    if (state.step === null) return;
    if (state.step === 0) {
      const results = data.edges.filter((e) => e.target === null && e.part);
      fill(box, [
        line("where", "the backward pass starts at the result"),
        ...results.map((e) => line("backward", `∂${node(e.source).label} = ${e.part.text.join(", ")}`)),
      ]);
      return;
    }
    const { shut, id } = all[at], current = node(id), around = groupsOf(current);
    const names = (groups) => groups.map((g) => data.groups[g].name);
    if (shut !== undefined) {
      const count = survey(data).groups[shut].operators;
      fill(box, [
        line("where", names(around.slice(0, around.indexOf(shut) + 1)).join(" › ")),
        line("forward", `${count} operators in one step: open it to go through them one by one`),
      ]);
      return;
    }
    fill(box, [
      line("where", [...names(around), current.label].join(" › ")),
      line("forward", current.forward),
      ...current.backward.map((text) => line("backward", text)),
    ]);
  }

  // --- search ----------------------------------------------------------------------------------------

  let hit = -1, texts = null;
  function search() {
    match();
    render();
  }

  function match() {
    const query = $("search").value.trim().toLowerCase();
    hit = -1;
    state.found = null;
    if (query) {
      const names = (n) => groupsOf(n).map((g) => data.groups[g].name);
      const text = (n) => [n.label, n.op, n.kind, n.line, n.scope, ...names(n)].join(" ").toLowerCase();
      texts ??= data.nodes.map(text);
      state.found = data.nodes.filter((n) => texts[n.id].includes(query)).map((n) => n.id);
    }
    $("found").textContent = state.found ? `${state.found.length} found` : "";
  }

  function next(by) {
    if (!state.found?.length) return;
    hit = (hit + by + state.found.length) % state.found.length;
    const id = state.found[hit];
    reveal(id, false);
    state.selected = `n${id}`;
    render();
    center(`n${id}`);
    $("found").textContent = `${hit + 1} of ${state.found.length}`;
  }

  // --- the panel -----------------------------------------------------------------------------------

  function make(tag, kind, text) {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  }
  const line = (kind, text) => make("div", kind, text);
  const fill = (parent, children) => parent.replaceChildren(...children.filter(Boolean));

  function link(id, name) {
    const button = make("button", "link", name ?? node(id).label);
    button.onclick = () => select(id);
    return button;
  }

  function select(id) {
    reveal(id, false);
    state.selected = `n${id}`;
    render();
    center(`n${id}`);
  }

  function facts(cell, kind, name) {
    if (!cell) return null;
    const box = make("section", kind);
    box.append(make("h3", "", name));
    if (cell.image) {
      const image = make("img", "map");
      image.src = cell.image;
      image.alt = `${name}, ${cell.rows} × ${cell.columns}: ${cell.shows}`;
      const pixel = Math.max(2, Math.floor(260 / Math.max(cell.rows, cell.columns)));
      image.style.width = `${pixel * cell.columns}px`;
      image.style.height = `${pixel * cell.rows}px`;
      box.append(image, make("p", "about", cell.shows));
      if (cell.top) {
        const scale = make("div", "scale");
        scale.append(make("span", "", `−${cell.top}`), make("i"), make("span", "", cell.top));
        box.append(scale);
      }
    } else if (cell.full) box.append(make("pre", "", cell.text.join("\n")));
    const table = make("table");
    for (const [what, value] of cell.facts) {
      const row = make("tr");
      row.append(make("th", "", what), make("td", "", value));
      table.append(row);
    }
    box.append(table);
    return box;
  }

  function panel() {
    const box = $("panel");
    if (state.selected === null) {
      fill(box, [
        make("h2", "", data.title),
        ...births(), ...layers(),
        make("p", "about", `${data.nodes.length} nodes, ${data.compiled ? "run compiled" : "run operator by operator"}.`),
        make("p", "about", "Click a node for its numbers, a group to open it. → goes through the backward pass."),
        living ? make("p", "about", "Drag a number sideways, in the picture or above, or type one: everything follows.") : null,
      ]);
      return;
    }
    const n = node(Number(state.selected.slice(1)));
    const { uses: { [n.id]: uses } } = survey(data);
    const parts = uses.filter((e) => e.part);
    const table = make("table", "uses");
    for (const e of parts.length > 1 ? parts : []) {
      const row = make("tr"), to = make("td");
      if (e.target === null) to.textContent = "the result"; else to.append(link(e.target));
      row.append(to, make("td", "gradient", e.part.text.join(", ")));
      table.append(row);
    }
    if (parts.length > 1) {
      const row = make("tr", "sum");
      row.append(make("td", "", "sum"), make("td", "gradient", n.gradient.text.join(", ")));
      table.append(row);
    }
    const about = [n.scope, n.kind, n.kind === "operator" ? n.op : "", n.shape].filter(Boolean).join(" · ");
    const several = n.outputs.flatMap((output, k) => [
      facts(output.value, "value", `value ${k}, ${output.shape || "scalar"}`),
      facts(output.gradient, "gradient", `gradient ${k}`),
    ]);
    const inputs = data.edges.filter((e) => e.target === n.id);
    const from = make("p", "", inputs.length ? "takes " : "");
    inputs.forEach((e, k) => { if (k) from.append(", "); from.append(link(e.source)); });
    fill(box, [
      make("h2", "", n.label),
      make("p", "about", about),
      n.outer ? make("p", "line", n.outer) : null,
      n.quote ? make("pre", "quote", n.quote) : null,
      n.line ? make("p", "line", n.outer ? `from ${n.line}` : n.line) : null,
      n.within ? make("p", "line", `inside ${n.within}`) : null,
      ...n.births.map((b) => birth(b.text)),
      ...n.deaths.map((text) => birth(text)),
      ...(n.errors ?? []).map((text) => birth(text)),
      n.forward ? make("p", "equation", n.forward) : null,
      ...n.backward.map((text) => make("p", "equation gradient", text)),
      inputs.length ? from : null,
      n.note ? make("p", "note", n.note) : null,
      n.opens ? make("p", "about", `its inside: report.open("${n.label}")`) : null,
      ...(several.length ? several : [facts(n.value, "value", "value"), facts(n.gradient, "gradient", "gradient")]),
      parts.length > 1 ? make("h3", "", "the gradient is the sum over the uses") : null,
      parts.length > 1 ? table : null,
    ]);
  }

  function births() {
    const list = (title, kind, rows) =>
      rows.length ? [make("h3", kind, title), ...rows.map((row) => paragraph(row, kind))] : [];
    return [
      ...list("two executions", "bad", data.errors ?? []),
      ...list("not finite", "bad", data.nonfinite), ...list("write instead", "good", data.cures),
      ...list("where the gradient dies", "died", data.deaths),
    ];
  }

  // The gradient that comes back to every layer, as a number and a bar.
  function layers() {
    if (!data.layers.length) return [];
    const list = make("ul", "layers"), names = data.layers.map(({ name }) => name);
    let common = names[0].lastIndexOf("/") + 1; // the scope that all of them stand in
    while (common && !names.every((name) => name.startsWith(names[0].slice(0, common))))
      common = names[0].lastIndexOf("/", common - 2) + 1;
    for (const { name, node: id, gradient, share, flags } of data.layers) {
      const item = make("li"), row = make("div", "row"), bar = make("div", "bar"), part = make("i");
      row.append(link(id, name.slice(common)), make("span", "flags", flags.join(", ")), make("span", "number", gradient));
      part.style.width = `${100 * share}%`;
      bar.append(part);
      item.append(row, bar);
      list.append(item);
    }
    return [make("h3", "", "layers, and the norm of the gradient that comes back to each"), list];
  }

  // Beside a birth, and beside what cures it, stands its node.
  function paragraph({ text, node: id }, kind) {
    if (id === null) return make("p", "end", text);
    const box = birth(text, link(id));
    box.classList.add(kind);
    return box;
  }

  // Each line of its text hangs where that line begins.
  function birth(text, ...first) {
    const box = make("section", "birth");
    box.append(...first, ...text.split("\n").map((row) => line(row[0] === " " ? "row" : "place", row.trim())));
    return box;
  }

  // --- mouse and keyboard ---------------------------------------------------------------------------

  function activate(id) {
    if (id[0] === "n") { state.selected = state.selected === id ? null : id; render(); }
    else toggle(Number(id.slice(1)));
  }

  const MOST = 300; // boxes that "open" draws
  const setAll = (wanted) => {
    const { open, closed } = wanted ? survey.within(data, [], MOST) : { open: [], closed: [] };
    state.open = new Set(open);
    followed.clear();
    render();
    fit();
    $("found").textContent = closed.length
      ? `${open.length} of ${data.groups.length} groups are open: ${MOST} boxes are drawn at most. Click what to open, or search.` : "";
  };
  const theme = () => {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  };

  const picture = $("picture");
  const fingers = new Map();
  let drag = null;
  picture.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event);
    drag = { x: event.clientX, y: event.clientY, from: { ...view }, moved: false };
  });
  picture.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (fingers.size === 2 && fingers.has(event.pointerId)) { // two fingers zoom
      const [[, other]] = [...fingers].filter(([id]) => id !== event.pointerId);
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      zoom(apart(event) / apart(fingers.get(event.pointerId)), other.clientX - room.left, other.clientY - room.top);
      fingers.set(event.pointerId, event);
      drag.moved = true;
      return;
    }
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!drag.moved && Math.hypot(dx, dy) < 4) return;
    if (!drag.moved) picture.setPointerCapture(event.pointerId);
    drag.moved = true;
    [view.x, view.y] = [drag.from.x + dx, drag.from.y + dy];
    place();
  });
  picture.addEventListener("pointerup", (event) => {
    const moved = drag?.moved;
    fingers.delete(event.pointerId);
    if (fingers.size && moved) { // the finger that stays goes on from where it is
      const [one] = fingers.values();
      drag = { x: one.clientX, y: one.clientY, from: { ...view }, moved };
      return;
    }
    drag = null;
    if (moved) return;
    const target = event.target.closest("[data-id]");
    if (target) activate(target.dataset.id);
    else if (state.selected !== null) { state.selected = null; render(); }
  });
  picture.addEventListener("pointercancel", () => { drag = null; fingers.clear(); });
  let mapped = false;
  $("map").addEventListener("pointerdown", (event) => { mapped = true; $("map").setPointerCapture(event.pointerId); jump(event); });
  $("map").addEventListener("pointermove", (event) => { if (mapped) jump(event); });
  for (const end of ["pointerup", "pointercancel"]) $("map").addEventListener(end, () => { mapped = false; });
  picture.addEventListener("wheel", (event) => {
    if (self !== window.top && !event.ctrlKey) return; // in a notebook's frame, the wheel scrolls the notebook
    event.preventDefault();
    const { left, top } = room;
    zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - left, event.clientY - top);
  }, { passive: false });

  const middle = (factor) => { const { width, height } = room; zoom(factor, width / 2, height / 2); };
  const reached = () => state.step && stops().findIndex(({ step }) => step >= state.step) + 1;
  const forward = () => go(state.step === null ? 0 : reached() + 1);
  const back = () => { if (state.step !== null) go(state.step === 0 ? null : reached() - 1); };
  const keys = {
    ArrowRight: forward, ArrowLeft: back, Home: () => go(0), End: () => go(Infinity),
    "+": () => middle(1.25), "=": () => middle(1.25), "-": () => middle(0.8), 0: fit, f: fit,
    "/": () => $("search").focus(), n: () => next(1), N: () => next(-1),
    o: () => setAll(true), c: () => setAll(false), t: theme, "?": () => $("help").showModal(),
    Escape: () => {
      $("search").value = "";
      state.selected = null;
      search();
      go(null);
    },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (event.target.closest?.("#live")) return; // its fields and buttons have keys of their own
    if (event.target === $("search")) {
      if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape") { keys.Escape(); $("search").blur(); }
      return;
    }
    if ((event.key === "Enter" || event.key === " ") && event.target.dataset?.id) {
      event.preventDefault();
      activate(event.target.dataset.id);
    } else if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  $("search").addEventListener("input", search);
  for (const [id, act] of Object.entries({
    first: keys.Home, back, forward, last: keys.End, finish: () => go(null), fit, theme,
    open: () => setAll(true), close: () => setAll(false), bigger: keys["+"], smaller: keys["-"],
    keys: keys["?"],
  })) $(id).addEventListener("click", act);

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => { document.documentElement.dataset.theme = dark.matches ? "dark" : "light"; };
  dark.addEventListener("change", follow);
  follow();
  $("picture").insertAdjacentHTML("afterbegin", draw.DEFS);
  recall();
  state.direction ??= draw.direction(data, [...state.open]);
  render();
  fit();
  if (state.selected) center(state.selected);
  addEventListener("hashchange", () => { recall(); render(); if (state.selected) center(state.selected); });
  addEventListener("resize", () => { room = $("picture").getBoundingClientRect(); fit(); });
})();
