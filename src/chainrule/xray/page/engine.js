"use strict";
// A program, the data of live/writing.py, on typed arrays: every equation is turned into one loop
// when the program is loaded. A gradient is a program too, so that there are values only.
// Numbers are computed in double precision and rounded when they are stored, as float32 say.
globalThis.engine = (() => {
  const ARRAYS = {
    float32: Float32Array, float64: Float64Array, int32: Int32Array, uint32: Uint32Array, int16: Int16Array,
    uint16: Uint16Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array,
  };
  const isFloat = ({ dtype }) => dtype[0] === "f";
  const isWide = ({ dtype }) => dtype.endsWith("32") && !isFloat({ dtype }); // its products exceed 2 ** 53
  const size = (shape) => shape.reduce((n, m) => n * m, 1);
  const make = ([dtype, shape]) => ({ dtype, shape, data: new ARRAYS[dtype](size(shape)) });

  // How far apart neighbours along each axis are.
  function strides(shape) {
    const steps = shape.map(() => 1);
    for (let k = shape.length - 2; k >= 0; k -= 1) steps[k] = steps[k + 1] * shape[k + 1];
    return steps;
  }

  // Call `visit` with every index of a shape, in order; the index is one array that changes.
  function indices(shape, visit) {
    const at = shape.map(() => 0), count = size(shape);
    for (let i = 0; i < count; i += 1) {
      visit(at, i);
      for (let k = shape.length - 1; k >= 0 && (at[k] += 1) === shape[k]; k -= 1) at[k] = 0;
    }
  }

  // For every element of a shape, the number that a function makes of its index.
  function table(shape, of) {
    const found = new Int32Array(size(shape));
    indices(shape, (at, i) => { found[i] = of(at); });
    return found;
  }

  const rules = {}; // name -> (inputs, outputs, settings) -> the function that runs it

  // --- element by element ------------------------------------------------------------------------------

  const step = ({ data }, length) => (data.length === length ? 1 : 0); // a scalar meets every element

  const unary = (f, ints = f) => ([a], [y]) => {
    const x = a.data, z = y.data, n = z.length, g = isFloat(a) ? f : ints;
    return () => { for (let i = 0; i < n; i += 1) z[i] = g(x[i]); };
  };

  const binary = (f, ints = f) => ([a, b], [y]) => {
    const p = a.data, q = b.data, z = y.data, n = z.length, g = isFloat(a) ? f : isWide(a) && ints.wide ? ints.wide : ints;
    const s = step(a, n), t = step(b, n);
    return () => { for (let i = 0; i < n; i += 1) z[i] = g(p[s * i], q[t * i]); };
  };

  const power = (a, b) => (a === 1 || (a === -1 && (b === Infinity || b === -Infinity)) ? 1 : a ** b);
  const zero = (r, x) => (r === 0 && (x < 0 || Object.is(x, -0)) ? -0 : r);
  const away = (x) => { const t = Math.trunc(x); return Math.abs(x - t) >= 0.5 ? t + Math.sign(x) : t; };
  const even = (x) => {
    const t = Math.floor(x), d = x - t;
    return zero(d < 0.5 || (d === 0.5 && t % 2 === 0) ? t : Number.isFinite(x) ? t + 1 : x, x);
  };
  const same = (x) => x;
  const times = Object.assign((a, b) => a * b, { wide: Math.imul });

  for (const [name, f] of Object.entries({
    neg: (x) => -x, abs: Math.abs, sign: Math.sign, square: (x) => x * x, sqrt: Math.sqrt, rsqrt: (x) => 1 / Math.sqrt(x),
    cbrt: Math.cbrt, exp: Math.exp, exp2: (x) => 2 ** x, expm1: Math.expm1, log: Math.log, log2: Math.log2, log1p: Math.log1p,
    sin: Math.sin, cos: Math.cos, tan: Math.tan, asin: Math.asin, acos: Math.acos, atan: Math.atan,
    sinh: Math.sinh, cosh: Math.cosh, tanh: Math.tanh, asinh: Math.asinh, acosh: Math.acosh, atanh: Math.atanh,
    logistic: (x) => 1 / (1 + Math.exp(-x)), floor: Math.floor, ceil: Math.ceil,
    is_finite: (x) => (Number.isFinite(x) ? 1 : 0), one_minus_square: (x) => (1 - x) * (1 + x),
    erf: (x) => special.erf(x), erfc: (x) => special.erfc(x), erf_inv: (x) => special.erfInv(x),
    lgamma: (x) => special.lgamma(x), digamma: (x) => special.digamma(x),
  })) rules[name] = unary(f);
  rules.square = ([a], outs) => binary((x, y) => x * y, times)([a, a], outs);

  for (const [name, f, ints] of [
    ["add", (a, b) => a + b], ["add_any", (a, b) => a + b], ["sub", (a, b) => a - b], ["mul", (a, b) => a * b, times],
    ["div", (a, b) => a / b, (a, b) => (b === 0 ? -1 : Math.trunc(a / b))],
    ["rem", (a, b) => a % b, (a, b) => (b === 0 ? a : a % b)],
    ["max", Math.max], ["min", Math.min], ["pow", power, power], ["atan2", Math.atan2],
    ["eq", (a, b) => (a === b ? 1 : 0)], ["ne", (a, b) => (a !== b ? 1 : 0)], ["lt", (a, b) => (a < b ? 1 : 0)],
    ["le", (a, b) => (a <= b ? 1 : 0)], ["gt", (a, b) => (a > b ? 1 : 0)], ["ge", (a, b) => (a >= b ? 1 : 0)],
    ["and", (a, b) => a & b], ["or", (a, b) => a | b], ["xor", (a, b) => a ^ b],
    ["shift_left", (a, b) => (b >>> 0 < 32 ? a << b : 0)],
    ["shift_right_logical", (a, b) => (b >>> 0 < 32 ? a >>> b : 0)],
    ["shift_right_arithmetic", (a, b) => a >> Math.min(b >>> 0, 31)],
  ]) rules[name] = binary(f, ints);

  rules.not = ([a], outs) => unary(a.dtype === "bool" ? (x) => 1 - x : (x) => ~x)([a], outs);
  rules.round = (ins, outs, { rounding_method: how }) => unary(how ? even : away, same)(ins, outs);
  rules.integer_pow = ([a], [y], { y: n }) => {
    const whole = (x) => { let r = 1; for (let k = 0; k < n; k += 1) r = Math.imul(r, x); return r; };
    return unary((x) => x ** n, whole)([a], [y]);
  };
  rules.reduce_precision = (ins, outs, { exponent_bits: e, mantissa_bits: m }) => {
    const top = 2 ** (2 ** (e - 1) - 1) * (2 - 2 ** -m), least = 2 ** (2 - 2 ** (e - 1));
    return unary((x) => {
      if (!Number.isFinite(x) || x === 0) return x;
      const unit = 2 ** (Math.floor(Math.log2(Math.abs(x))) - m), r = even(x / unit) * unit;
      return Math.abs(r) > top ? Math.sign(x) * Infinity : Math.abs(r) < least ? 0 * x : r;
    })(ins, outs);
  };
  rules.convert_element_type = ([a], [y]) => {
    if (y.dtype === "bool") return unary((x) => (x !== 0 ? 1 : 0))([a], [y]);
    if (!isFloat(a) || isFloat(y)) return unary(same)([a], [y]);
    const bits = Number(/\d+/.exec(y.dtype)[0]), signed = y.dtype[0] === "i";
    const [low, high] = signed ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
    return unary((x) => (Number.isNaN(x) ? 0 : Math.trunc(Math.min(high, Math.max(low, x)))))([a], [y]);
  };
  rules.clamp = ([a, x, b], [y]) => {
    const [low, p, high] = [a.data, x.data, b.data], z = y.data, n = z.length;
    const [r, s, t] = [a, x, b].map((one) => step(one, n));
    return () => { for (let i = 0; i < n; i += 1) z[i] = Math.min(high[t * i], Math.max(low[r * i], p[s * i])); };
  };
  rules.polynomial = ([x, ...terms], [y]) => { // Horner's scheme, the constant term first
    const z = y.data, n = z.length, p = x.data, s = step(x, n), by = terms.map((term) => step(term, n));
    return () => {
      for (let i = 0; i < n; i += 1) {
        let sum = 0;
        for (let k = terms.length - 1; k >= 0; k -= 1) sum = sum * p[s * i] + terms[k].data[by[k] * i];
        z[i] = sum;
      }
    };
  };
  rules.select_n = ([which, ...cases], [y]) => {
    const w = which.data, z = y.data, n = z.length, s = step(which, n);
    const all = cases.map(({ data }) => data), by = cases.map((a) => step(a, n));
    return () => { for (let i = 0; i < n; i += 1) { const k = w[s * i]; z[i] = all[k][by[k] * i]; } };
  };

  // --- the same elements, elsewhere ------------------------------------------------------------------------

  const moved = (a, y, from, other) => { // element i is element from[i] of the input; -1: another number
    const x = a.data, z = y.data, n = z.length;
    return () => { for (let i = 0; i < n; i += 1) { const k = from[i]; z[i] = k < 0 ? other[0] : x[k]; } };
  };
  // Where every axis of the output comes from: a function from its index along the input's axes to an offset.
  const mapped = (of) => ([a, other], [y], settings) => {
    const place = of(a.shape, strides(a.shape), settings, y.shape);
    return moved(a, y, table(y.shape, place), other?.data);
  };
  const dot = (at, steps) => { let k = 0; for (let d = 0; d < steps.length; d += 1) k += at[d] * steps[d]; return k; };

  for (const name of ["reshape", "squeeze"]) rules[name] = null; // it shares the memory of its input
  rules.broadcast_in_dim = mapped((shape, steps, { broadcast_dimensions: axes }) => (at) =>
    axes.reduce((k, axis, d) => k + (shape[d] === 1 ? 0 : at[axis] * steps[d]), 0));
  rules.transpose = mapped((shape, steps, { permutation }) => {
    const by = permutation.map((d) => steps[d]);
    return (at) => dot(at, by);
  });
  rules.rev = mapped((shape, steps, { dimensions }) => (at) =>
    at.reduce((k, i, d) => k + (dimensions.includes(d) ? shape[d] - 1 - i : i) * steps[d], 0));
  rules.slice = mapped((shape, steps, { start_indices: start, strides: by }) => (at) =>
    at.reduce((k, i, d) => k + (start[d] + i * (by?.[d] ?? 1)) * steps[d], 0));
  rules.pad = mapped((shape, steps, { padding_config: rows }) => (at) => {
    let k = 0;
    for (let d = 0; d < at.length; d += 1) {
      const [low, , inner] = rows[d], i = at[d] - low;
      if (i < 0 || i % (inner + 1) || i / (inner + 1) >= shape[d]) return -1;
      k += (i / (inner + 1)) * steps[d];
    }
    return k;
  });
  rules.concatenate = (ins, [y], { dimension }) => {
    let start = 0;
    const parts = ins.map((a) => {
      const steps = strides(y.shape), first = start * steps[dimension];
      start += a.shape[dimension];
      return [a.data, table(a.shape, (at) => first + dot(at, steps))];
    });
    const z = y.data;
    return () => { for (const [x, to] of parts) for (let i = 0; i < x.length; i += 1) z[to[i]] = x[i]; };
  };
  rules.split = ([a], outs, { axis }) => {
    let start = 0;
    const parts = outs.map((y) => {
      const steps = strides(a.shape), first = start * steps[axis];
      start += y.shape[axis];
      return moved(a, y, table(y.shape, (at) => first + dot(at, steps)));
    });
    return () => parts.forEach((part) => part());
  };
  rules.stack = (ins, [y], { axis }) => {
    const steps = strides(y.shape), by = steps.toSpliced(axis, 1), z = y.data;
    const parts = ins.map((a, k) => [a.data, table(a.shape, (at) => k * steps[axis] + dot(at, by))]);
    return () => { for (const [x, to] of parts) for (let i = 0; i < x.length; i += 1) z[to[i]] = x[i]; };
  };
  rules.unstack = ([a], outs, { axis }) => {
    const steps = strides(a.shape), by = steps.toSpliced(axis, 1);
    const parts = outs.map((y, k) => moved(a, y, table(y.shape, (at) => k * steps[axis] + dot(at, by))));
    return () => parts.forEach((part) => part());
  };
  rules.tile = mapped((shape, steps) => (at) => at.reduce((k, i, d) => k + (i % shape[d]) * steps[d], 0));
  rules.bitcast_convert_type = ([a], [y]) => {
    const bits = new ARRAYS[y.dtype](a.data.buffer, a.data.byteOffset, y.data.length);
    return () => y.data.set(bits);
  };
  rules.iota = (ins, [y], { dimension }) => {
    indices(y.shape, (at, i) => { y.data[i] = at[dimension]; });
    return () => {};
  };
  rules.empty = rules.empty2 = () => () => {};

  // A part that begins where other inputs say; it moves inwards where it would stick out.
  const begins = (starts, shape, sizes, steps) => {
    let k = 0;
    for (let d = 0; d < shape.length; d += 1)
      k += Math.min(Math.max(starts[d].data[0], 0), shape[d] - sizes[d]) * steps[d];
    return k;
  };
  rules.dynamic_slice = ([a, ...starts], [y], { slice_sizes: sizes }) => {
    const steps = strides(a.shape), from = table(sizes, (at) => dot(at, steps)), x = a.data, z = y.data;
    return () => {
      const first = begins(starts, a.shape, sizes, steps);
      for (let i = 0; i < z.length; i += 1) z[i] = x[first + from[i]];
    };
  };
  rules.dynamic_update_slice = ([a, part, ...starts], [y]) => {
    const steps = strides(a.shape), to = table(part.shape, (at) => dot(at, steps)), p = part.data, z = y.data;
    return () => {
      const first = begins(starts, a.shape, part.shape, steps);
      z.set(a.data);
      for (let i = 0; i < p.length; i += 1) z[first + to[i]] = p[i];
    };
  };

  // --- sums, maxima, positions ----------------------------------------------------------------------------------

  const folds = {
    sum: [0, (a, b) => a + b], prod: [1, (a, b) => a * b, Math.imul], max: [-Infinity, Math.max], min: [Infinity, Math.min],
    and: [-1, (a, b) => a & b], or: [0, (a, b) => a | b], xor: [0, (a, b) => a ^ b],
  };
  const fold = (name, a) => {
    const [start, f, wide] = folds[name];
    return [name === "and" && a.dtype === "bool" ? 1 : start, wide && isWide(a) ? wide : f];
  };
  for (const name of Object.keys(folds))
    rules[`reduce_${name}`] = ([a], [y], { axes }) => {
      const steps = strides(a.shape.filter((n, d) => !axes.includes(d)));
      let next = 0;
      const by = a.shape.map((n, d) => (axes.includes(d) ? 0 : steps[next++]));
      const to = table(a.shape, (at) => dot(at, by)), x = a.data, z = y.data, [start, f] = fold(name, a);
      const sums = new Float64Array(z.length);
      return () => {
        sums.fill(start);
        for (let i = 0; i < x.length; i += 1) sums[to[i]] = f(sums[to[i]], x[i]);
        z.set(sums);
      };
    };

  // Along an axis: the offset of the first element of every row, and the step from one to the next.
  function rows(shape, axis) {
    const steps = strides(shape), others = shape.map((n, d) => (d === axis ? 1 : n));
    return { firsts: table(others, (at) => dot(at, steps)), by: steps[axis], length: shape[axis] };
  }

  const cumulative = (f) => ([a], [y], { axis, reverse }) => {
    const { firsts, by, length } = rows(a.shape, axis), x = a.data, z = y.data;
    return () => {
      for (const first of firsts) {
        let sum = 0;
        for (let k = 0; k < length; k += 1) {
          const i = first + (reverse ? length - 1 - k : k) * by;
          sum = k ? f(sum, x[i]) : x[i];
          z[i] = sum;
        }
      }
    };
  };
  rules.cumsum = cumulative(folds.sum[1]);
  rules.cumprod = cumulative(folds.prod[1]);
  rules.cummax = cumulative(Math.max);
  rules.cummin = cumulative(Math.min);
  rules.cumlogsumexp = cumulative((a, b) => {
    const top = Math.max(a, b);
    return Number.isFinite(top) ? top + Math.log(Math.exp(a - top) + Math.exp(b - top)) : a + b;
  });

  for (const [name, better] of [["argmax", (a, b) => a > b], ["argmin", (a, b) => a < b]])
    rules[name] = ([a], [y], { axes: [axis] }) => {
      const { firsts, by, length } = rows(a.shape, axis), x = a.data, z = y.data;
      return () => firsts.forEach((first, row) => {
        let best = 0;
        for (let k = 1; k < length; k += 1) {
          const [old, one] = [x[first + best * by], x[first + k * by]];
          if (!Number.isNaN(old) && (better(one, old) || Number.isNaN(one))) best = k;
        }
        z[row] = best;
      });
    };

  rules.sort = (ins, outs, { dimension, num_keys: keys }) => {
    const { firsts, by, length } = rows(ins[0].shape, dimension), order = Array.from({ length }, (_, k) => k);
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : Number.isNaN(a) - Number.isNaN(b));
    return () => {
      for (const first of firsts) {
        const sorted = [...order].sort((p, q) => {
          for (let k = 0; k < keys; k += 1) {
            const by_key = compare(ins[k].data[first + p * by], ins[k].data[first + q * by]);
            if (by_key) return by_key;
          }
          return p - q;
        });
        ins.forEach((a, k) => sorted.forEach((from, to) => { outs[k].data[first + to * by] = a.data[first + from * by]; }));
      }
    };
  };

  rules.top_k = ([a], [y, which], { axis, k: count }) => {
    const from = rows(a.shape, axis), to = rows(y.shape, axis), order = Array.from({ length: from.length }, (_, k) => k);
    const above = (p, q) => (p > q ? -1 : p < q ? 1 : Number.isNaN(q) - Number.isNaN(p));
    return () => from.firsts.forEach((first, row) => {
      const x = (k) => a.data[first + k * from.by];
      [...order].sort((p, q) => above(x(p), x(q)) || p - q).slice(0, count).forEach((best, k) => {
        y.data[to.firsts[row] + k * to.by] = x(best);
        which.data[to.firsts[row] + k * to.by] = best;
      });
    });
  };

  // --- a program -------------------------------------------------------------------------------------------

  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const DIGITS = new Uint8Array(128);
  [...LETTERS].forEach((letter, k) => { DIGITS[letter.charCodeAt(0)] = k; });
  function decoded(text, kind) { // base64; little-endian, as every machine that runs a browser
    const full = text.replace(/=+$/, ""), bytes = new Uint8Array(Math.floor((full.length * 3) / 4));
    for (let i = 0, k = 0; k < bytes.length; i += 4) {
      const [a, b, c, d] = [0, 1, 2, 3].map((j) => (i + j < full.length ? DIGITS[full.charCodeAt(i + j)] : 0));
      const word = (a << 18) | (b << 12) | (c << 6) | d;
      bytes[k++] = word >> 16;
      if (k < bytes.length) bytes[k++] = word >> 8;
      if (k < bytes.length) bytes[k++] = word;
    }
    return new ARRAYS[kind](bytes.buffer);
  }

  // Returns {arrays, arguments, results, run}: `run(changed)` recomputes what follows from the arguments
  // with these numbers, and everything without them.
  function load({ types, constants, arguments: given, equations, results }) {
    const arrays = types.map(() => null);
    for (const slot of given) arrays[slot] ??= make(types[slot]);
    for (const [slot, text] of constants) {
      const [dtype, shape] = types[slot];
      arrays[slot] = { dtype, shape, data: decoded(text, dtype) };
    }
    const steps = equations.map(([name, ins, outs, settings]) => {
      if (!(name in rules)) throw new Error(`${name} has no rule`);
      const inputs = ins.map((slot) => arrays[slot]);
      if (rules[name] === null) { // another shape of the same memory
        const [dtype, shape] = types[outs[0]];
        arrays[outs[0]] = { dtype, shape, data: inputs[0].data };
        return { run: null, ins, outs };
      }
      for (const slot of outs) arrays[slot] = make(types[slot]);
      return { run: rules[name](inputs, outs.map((slot) => arrays[slot]), settings), ins, outs };
    });
    const dirty = new Uint8Array(types.length);
    let first = true;
    function run(changed = null) {
      const all = first || changed === null;
      first = false;
      dirty.fill(0);
      if (!all) for (const k of changed) dirty[given[k]] = 1;
      for (const { run: go, ins, outs } of steps) {
        if (!all && !ins.some((slot) => dirty[slot])) continue;
        if (go) go();
        for (const slot of outs) dirty[slot] = 1;
      }
    }
    return { arrays, arguments: given.map((slot) => arrays[slot]), results: results.map((slot) => arrays[slot]), run };
  }

  return { load, decoded, rules, make, size, strides, indices, table, rows, isFloat, isWide };
})();
