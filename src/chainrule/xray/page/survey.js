"use strict";
// What is asked of a picture again and again, found in one pass over it and kept: the groups around
// every node, what stands in each group, and what reads every node.
globalThis.survey = (() => {
  let last = null;

  function survey(data) {
    if (last?.data === data) return last;
    const chains = []; // of every group: the groups around it and itself, outer first
    for (const { id, parent } of data.groups) chains.push(parent === null ? [id] : [...chains[parent], id]);
    const around = data.nodes.map((node) => (node.group === null ? [] : chains[node.group]));
    const groups = data.groups.map(() =>
      ({ operators: 0, parameters: 0, out: null, births: new Set(), dies: false, result: false, heat: 0, parts: false }));
    const ones = data.nodes.map(({ births, deaths, result, heat = 0, parts = false }) =>
      ({ births: new Set(births.map((b) => `${b.kind} born ${b.phase}`)), dies: deaths.length > 0, result, heat, parts }));
    for (const { id, kind } of data.nodes)
      for (const g of around[id]) {
        const all = groups[g], one = ones[id];
        if (kind === "operator") all.operators += 1;
        if (kind === "parameter") all.parameters += 1;
        for (const text of one.births) all.births.add(text);
        all.dies ||= one.dies;
        all.heat = Math.max(all.heat, one.heat);
        all.parts ||= one.parts;
        all.result ||= one.result;
      }
    const uses = data.nodes.map(() => []);
    for (const edge of data.edges) {
      uses[edge.source].push(edge);
      if (edge.target === null) continue;
      const [from, to] = [around[edge.source], around[edge.target]];
      // The output of a group: the last of its nodes that something outside reads.
      for (let k = from.length - 1; k >= 0 && to[k] !== from[k]; k -= 1)
        groups[from[k]].out = Math.max(groups[from[k]].out ?? 0, edge.source);
    }
    for (const { source } of data.edges.filter((edge) => edge.target === null))
      for (const g of around[source]) groups[g].out = Math.max(groups[g].out ?? 0, source);
    const children = data.groups.map(() => 0);
    for (const { group } of data.nodes) if (group !== null) children[group] += 1;
    for (const { parent } of data.groups) if (parent !== null) children[parent] += 1;
    last = { data, around, chains, children, groups, ones, uses, turn: new Map(data.steps.map((id, k) => [id, k])) };
    return last;
  }

  // Groups to open on top of those that are, outer before inner, as long as `most` boxes are enough.
  function within(data, open, most) {
    const { children } = survey(data);
    const shown = new Set(open);
    const top = (rows, key) => rows.filter((row) => row[key] === null).length;
    let count = top(data.nodes, "group") + top(data.groups, "parent");
    for (const g of shown) count += children[g] - 1;
    const rest = [];
    const depth = (g) => survey(data).chains[g].length;
    for (const { id, parent } of [...data.groups].sort((a, b) => depth(a.id) - depth(b.id) || a.id - b.id)) {
      if (shown.has(id)) continue;
      if ((parent === null || shown.has(parent)) && count + children[id] - 1 <= most) {
        shown.add(id);
        count += children[id] - 1;
      } else rest.push(id);
    }
    return { open: [...shown], closed: rest };
  }

  return Object.assign(survey, { within });
})();
