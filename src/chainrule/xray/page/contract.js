"use strict";
// The rules of the engine that look at many elements at once: products, windows, gathering and scattering,
// and programs within a program.
(() => {
  const { load, rules, size, strides, indices, table, isFloat, isWide } = engine;
  const dot = (at, steps) => at.reduce((k, i, d) => k + i * steps[d], 0);
  const pick = (list, which) => which.map((d) => list[d]);
  const rest = (count, ...taken) => Array.from({ length: count }, (_, d) => d).filter((d) => !taken.flat().includes(d));

  // --- products ------------------------------------------------------------------------------------------

  rules.dot_general = ([a, b], [y], { dimension_numbers: [[ka, kb], [ba, bb]] }) => {
    const ma = rest(a.shape.length, ka, ba), nb = rest(b.shape.length, kb, bb);
    const order = (x, axes) => { // the offsets of its elements with the axes in this order
      const by = pick(strides(x.shape), axes);
      return table(pick(x.shape, axes), (at) => dot(at, by));
    };
    const left = order(a, [...ba, ...ma, ...ka]), right = order(b, [...bb, ...kb, ...nb]);
    const [batch, m, k, n] = [pick(a.shape, ba), pick(a.shape, ma), pick(a.shape, ka), pick(b.shape, nb)].map(size);
    const p = a.data, q = new Float64Array(right.length), z = y.data, sums = new Float64Array(n);
    const start = k === 1 ? -0 : 0, whole = isWide(a);
    return () => {
      for (let i = 0; i < q.length; i += 1) q[i] = b.data[right[i]];
      for (let r = 0; r < batch * m; r += 1) {
        sums.fill(start);
        for (let c = 0; c < k; c += 1) {
          const x = p[left[r * k + c]];
          let at = (Math.floor(r / m) * k + c) * n;
          if (whole) for (let j = 0; j < n; j += 1) sums[j] += Math.imul(x, q[at++]);
          else for (let j = 0; j < n; j += 1) sums[j] += x * q[at++];
        }
        z.set(sums, r * n);
      }
    };
  };

  // For every place of a window and every place in it, the offset in the input: -1 where there is none.
  function windows(input, steps, places, window, { strides: by, padding, base, dilation }) {
    const offset = (at, inner) => {
      let k = 0;
      for (let d = 0; d < at.length; d += 1) {
        const i = at[d] * by[d] - padding[d][0] + inner[d] * dilation[d];
        if (i < 0 || i % base[d] || i / base[d] >= input[d]) return -1;
        k += (i / base[d]) * steps[d];
      }
      return k;
    };
    const found = new Int32Array(size(places) * size(window));
    let next = 0;
    indices(places, (at) => indices(window, (inner) => { found[next++] = offset(at, inner); }));
    return found;
  }

  rules.conv_general_dilated = ([a, w], [y], settings) => {
    const { lhs_spec: ls, rhs_spec: rs, out_spec: os } = settings.dimension_numbers;
    const groups = settings.feature_group_count, parts = settings.batch_group_count;
    const [lead, lead_w, lead_y] = [strides(a.shape), strides(w.shape), strides(y.shape)];
    const [space, window, places] = [pick(a.shape, ls.slice(2)), pick(w.shape, rs.slice(2)), pick(y.shape, os.slice(2))];
    const from = windows(space, pick(lead, ls.slice(2)), places, window, {
      strides: settings.window_strides, padding: settings.padding, base: settings.lhs_dilation, dilation: settings.rhs_dilation,
    });
    const [spots, taps] = [size(places), size(window)];
    const [outer, inner] = [w.shape[rs[0]], w.shape[rs[1]]]; // channels of the output, and of a group of the input
    const many = outer / (groups * parts), batch = y.shape[os[0]];
    const to = table(places, (at) => dot(at, pick(lead_y, os.slice(2))));
    const kernel = table([groups * parts, ...window, inner, many], (at) =>
      (at[0] * many + at.at(-1)) * lead_w[rs[0]] + at.at(-2) * lead_w[rs[1]] + dot(at.slice(1, -2), pick(lead_w, rs.slice(2))));
    const x = a.data, z = y.data, k = new Float64Array(kernel.length), sums = new Float64Array(many);
    return () => {
      for (let i = 0; i < k.length; i += 1) k[i] = w.data[kernel[i]];
      for (let g = 0; g < groups * parts; g += 1)
        for (let n = 0; n < batch; n += 1) {
          const row = parts > 1 ? g * batch + n : n, channel = groups > 1 ? g * inner : 0;
          const first = row * lead[ls[0]] + channel * lead[ls[1]];
          for (let spot = 0; spot < spots; spot += 1) {
            sums.fill(0);
            for (let tap = 0; tap < taps; tap += 1) {
              const at = from[spot * taps + tap];
              if (at < 0) continue;
              let weight = (g * taps + tap) * inner * many;
              for (let c = 0; c < inner; c += 1) {
                const value = x[first + at + c * lead[ls[1]]];
                for (let d = 0; d < many; d += 1) sums[d] += value * k[weight++];
              }
            }
            const out = n * lead_y[os[0]] + g * many * lead_y[os[1]] + to[spot];
            for (let d = 0; d < many; d += 1) z[out + d * lead_y[os[1]]] = sums[d];
          }
        }
    };
  };

  // --- windows --------------------------------------------------------------------------------------------

  const over = (a, places, settings) => windows(a.shape, strides(a.shape), places, settings.window_dimensions, {
    strides: settings.window_strides, padding: settings.padding,
    base: settings.base_dilation ?? a.shape.map(() => 1), dilation: settings.window_dilation ?? a.shape.map(() => 1),
  });
  for (const [name, start, f] of [["sum", 0, (p, q) => p + q], ["max", -Infinity, Math.max], ["min", Infinity, Math.min]])
    rules[`reduce_window_${name}`] = ([a], [y], settings) => {
      const from = over(a, y.shape, settings), taps = size(settings.window_dimensions), x = a.data, z = y.data;
      return () => {
        for (let i = 0; i < z.length; i += 1) {
          let sum = start;
          for (let k = i * taps; k < (i + 1) * taps; k += 1) if (from[k] >= 0) sum = f(sum, x[from[k]]);
          z[i] = sum;
        }
      };
    };
  rules.select_and_scatter_add = ([source, a], [y], settings) => { // the first of the best gets all of it
    const from = over(a, source.shape, settings), taps = size(settings.window_dimensions);
    const x = a.data, s = source.data, z = y.data, sums = new Float64Array(z.length);
    const keeps = settings.select_prim === "ge" ? (p, q) => p >= q : (p, q) => p <= q;
    return () => {
      sums.fill(0);
      for (let i = 0; i < s.length; i += 1) {
        let best = -1;
        for (let k = i * taps; k < (i + 1) * taps; k += 1)
          if (from[k] >= 0 && (best < 0 || !keeps(x[best], x[from[k]]))) best = from[k];
        if (best >= 0) sums[best] += s[i];
      }
      z.set(sums);
    };
  };

  // --- gathering and scattering ----------------------------------------------------------------------------

  // Calls `visit(i, offset, whole)` for every element i of the small array that is taken from, or goes into, the
  // large one: its offset there, -1 outside; under "clip" a window moves inwards.
  function walker(large, starts, small, { windowed, collapsed, batched, indexed, lists, sizes, mode }) {
    const steps = strides(large.shape), kept = rest(large.shape.length, collapsed, batched);
    const outer = rest(small.shape.length, windowed), depth = starts.shape.length - 1;
    const lead = strides(starts.shape);
    const length = large.shape.length;
    const places = [], firsts = new Int32Array(size(small.shape)), groups = [];
    indices(small.shape, (at, i) => {
      const batch = pick(at, outer), base = dot(batch, lead.slice(0, depth));
      let inner = 0;
      kept.forEach((d, j) => { inner += at[windowed[j]] * steps[d]; });
      let own = 0;
      batched.forEach((d, j) => { own += batch[lists[j]] * steps[d]; });
      places.push(inner + own);
      firsts[i] = base;
      groups.push(kept.map((d, j) => at[windowed[j]]));
    });
    const lookup = new Map(kept.map((d, j) => [d, j]));
    const most = indexed.map((d) => large.shape[d] - sizes[d]);
    return (visit) => {
      const index = starts.data;
      for (let i = 0; i < firsts.length; i += 1) {
        let at = places[i], inside = true;
        for (let j = 0; j < indexed.length && inside; j += 1) {
          let k = index[firsts[i] + j];
          if (mode === "clip") k = Math.min(Math.max(k, 0), most[j]);
          else if (mode === "window" && (k < 0 || k > most[j])) inside = false; // all of the window, or nothing
          else if (mode === "element") {
            const whole = k + (lookup.has(indexed[j]) ? groups[i][lookup.get(indexed[j])] : 0);
            if (whole < 0 || whole >= large.shape[indexed[j]]) inside = false;
          }
          at += k * steps[indexed[j]];
        }
        visit(i, inside ? at : -1);
      }
      return length;
    };
  }

  rules.gather = ([a, starts], [y], { dimension_numbers: n, slice_sizes: sizes, mode, fill_value: fill }) => {
    const walk = walker(a, starts, y, {
      windowed: n.offset_dims, collapsed: n.collapsed_slice_dims, batched: n.operand_batching_dims,
      indexed: n.start_index_map, lists: n.start_indices_batching_dims, sizes, mode: mode === "fill" ? "window" : "clip",
    });
    const x = a.data, z = y.data, bits = Number(/\d+/.exec(a.dtype)?.[0]);
    const usual = isFloat(a) ? NaN : a.dtype === "bool" ? 1 : a.dtype[0] === "u" ? 2 ** bits - 1 : -(2 ** (bits - 1));
    const other = fill === null ? usual : Number(fill);
    return () => { walk((i, at) => { z[i] = at < 0 ? other : x[at]; }); };
  };

  for (const [name, f, wide] of [
    ["scatter", (old, one) => one], ["scatter_add", (old, one) => old + one], ["scatter_sub", (old, one) => old - one],
    ["scatter_mul", (old, one) => old * one, Math.imul], ["scatter_min", Math.min], ["scatter_max", Math.max],
  ])
    rules[name] = ([a, starts, updates], [y], { dimension_numbers: n, mode }) => {
      const sizes = a.shape.map(() => 1);
      rest(a.shape.length, n.inserted_window_dims, n.operand_batching_dims)
        .forEach((d, j) => { sizes[d] = updates.shape[n.update_window_dims[j]]; });
      const walk = walker(a, starts, updates, {
        windowed: n.update_window_dims, collapsed: n.inserted_window_dims, batched: n.operand_batching_dims,
        indexed: n.scatter_dims_to_operand_dims, lists: n.scatter_indices_batching_dims, sizes,
        mode: mode === "clip" ? "clip" : "window",
      });
      const u = updates.data, z = y.data, sums = new Float64Array(z.length), g = wide && !isFloat(a) ? wide : f;
      return () => {
        sums.set(a.data);
        walk((i, at) => { if (at >= 0) sums[at] = g(sums[at], u[i]); });
        z.set(sums);
      };
    };

  // --- programs within a program -------------------------------------------------------------------------------

  const give = (inner, arrays) => inner.arguments.forEach((to, k) => to.data.set(arrays[k].data ?? arrays[k]));

  rules.cond = ([which, ...ins], outs, { branches }) => {
    const all = branches.map(load);
    return () => {
      const inner = all[Math.min(Math.max(which.data[0], 0), all.length - 1)];
      give(inner, ins);
      inner.run();
      inner.results.forEach((x, k) => outs[k].data.set(x.data));
    };
  };

  rules.while = (ins, outs, { condition, body, condition_consts: p, body_consts: q }) => {
    const [test, turn] = [load(condition), load(body)];
    return () => {
      const fixed = ins.slice(p, p + q), state = ins.slice(p + q).map(({ data }) => data.slice());
      for (;;) {
        give(test, [...ins.slice(0, p), ...state]);
        test.run();
        if (!test.results[0].data[0]) break;
        give(turn, [...fixed, ...state]);
        turn.run();
        turn.results.forEach(({ data }, k) => state[k].set(data));
      }
      outs.forEach(({ data }, k) => data.set(state[k]));
    };
  };

  rules.scan = (ins, outs, { body, consts, carries, length, reverse }) => {
    const inner = load(body);
    return () => {
      const fixed = ins.slice(0, consts), rows = ins.slice(consts + carries);
      const state = ins.slice(consts, consts + carries).map(({ data }) => data.slice());
      for (let k = 0; k < length; k += 1) {
        const t = reverse ? length - 1 - k : k;
        const part = ({ data }, n = data.length / length) => data.subarray(t * n, (t + 1) * n);
        give(inner, [...fixed, ...state, ...rows.map((x) => part(x))]);
        inner.run();
        inner.results.slice(0, carries).forEach(({ data }, j) => state[j].set(data));
        inner.results.slice(carries).forEach(({ data }, j) => part(outs[carries + j]).set(data));
      }
      state.forEach((data, j) => outs[j].data.set(data));
    };
  };
})();
