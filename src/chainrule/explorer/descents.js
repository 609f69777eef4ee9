"use strict";
/* Descents on a landscape as chainrule.descent makes them with optax: the loss and its derivatives are
   programs of the engine, and the optimizers' steps are taken in float32 and in optax's order. */
globalThis.descents = (() => {
  const f = Math.fround;
  const EPS = 1e-8; // optax's, of rmsprop and of adam
  const mean = (decay, old, x) => f(f(f(1 - decay) * x) + f(f(decay) * old));
  const corrected = (x, decay, t) => f(x * f(1 / f(1 - f(f(decay) ** t)))); // XLA divides all lanes so

  /* Of each optimizer: its settings as optax has them; `move`, from the gradient g of parameter i at
     step t, counted from 1, to what eta times is subtracted; and `response`, how far a step answers
     to a gradient that alternates in sign, over eta (see chainrule/descent/_response.py): one over the
     largest eigenvalue of it and the Hessian is the rate at the edge. Of one that adapts it depends on
     its state, so that its edge moves. */
  const RULES = {
    sgd: { settings: {}, move: (g) => g, response: () => 1 / 2 },
    momentum: {
      settings: { momentum: 0.9 },
      move: (g, i, { first }, { momentum }) => (first[i] = f(g + f(f(momentum) * first[i]))),
      response: ({ momentum }) => 1 / (2 + 2 * momentum),
    },
    nesterov: {
      settings: { momentum: 0.9 },
      move(g, i, { first }, { momentum }) {
        first[i] = f(g + f(f(momentum) * first[i]));
        return f(g + f(f(momentum) * first[i]));
      },
      response: ({ momentum }) => (1 + 2 * momentum) / (2 + 2 * momentum),
    },
    rmsprop: {
      settings: { decay: 0.9 },
      adapts: true,
      move(g, i, { second }, { decay }) {
        second[i] = mean(decay, second[i], f(g * g));
        return f(f(1 / Math.sqrt(f(second[i] + f(EPS)))) * g);
      },
      response: ({ decay }, second) => 1 / (2 * Math.sqrt(decay * second + EPS)),
    },
    adam: {
      settings: { b1: 0.9, b2: 0.999 },
      adapts: true,
      move(g, i, { first, second }, { b1, b2 }, t) {
        first[i] = mean(b1, first[i], g);
        second[i] = mean(b2, second[i], f(g * g));
        const root = f(Math.sqrt(corrected(second[i], b2, t)));
        return f(corrected(first[i], b1, t) / f(root + f(EPS)));
      },
      response({ b1, b2 }, second, t) {
        if (t === 1) return NaN; // before its first step
        const root = Math.sqrt((b2 * second) / (1 - b2 ** t)) + EPS;
        return (1 - b1) / ((2 + 2 * b1) * (1 - b1 ** t) * root);
      },
    },
  };

  /* A program of many points as a function of any number of them, [count * axes]. */
  function each(program) {
    const loaded = engine.load(program);
    const [points] = loaded.arguments;
    const [most, axes] = points.shape;
    return (w) => {
      const count = w.length / axes;
      const found = loaded.results.map(({ data }) => new Float32Array((count * data.length) / most));
      for (let k = 0; k < count; k += most) {
        points.data.set(w.subarray(k * axes, (k + most) * axes));
        loaded.run([0]);
        loaded.results.forEach(({ data }, r) => {
          const size = data.length / most;
          found[r].set(data.subarray(0, Math.min(most, count - k) * size), k * size);
        });
      }
      return found;
    };
  }

  /* Descend at all these rates at once. Of every rate the losses, the lengths of the gradients and the
     last point are returned, and of the first rate its points, its slopes, and its responses. */
  function descend(slope, { optimizer, settings, start, steps }, rates) {
    const { move, response } = RULES[optimizer];
    const [count, axes] = [rates.length, start.length];
    const w = Float32Array.from({ length: count * axes }, (_, i) => start[i % axes]);
    const memory = { first: new Float32Array(w.length), second: new Float32Array(w.length) };
    const series = (n) => Array.from({ length: n }, () => new Float32Array(steps + 1));
    const [losses, norms, params, slopes] = [count, count, axes, axes].map(series);
    const responses = Array.from({ length: steps + 1 }, () => []);
    for (let t = 0; t <= steps; t += 1) {
      const [loss, g] = slope(w);
      for (let k = 0; k < count; k += 1) {
        losses[k][t] = loss[k];
        let square = 0;
        for (let i = k * axes; i < (k + 1) * axes; i += 1) square = f(square + f(g[i] * g[i]));
        norms[k][t] = Math.sqrt(square);
      }
      for (let i = 0; i < axes; i += 1) {
        [params[i][t], slopes[i][t]] = [w[i], g[i]];
        responses[t].push(response(settings, memory.second[i], t + 1));
      }
      if (t === steps) break;
      for (let i = 0; i < w.length; i += 1) {
        const by = f(-rates[Math.floor(i / axes)]);
        w[i] = w[i] + f(by * f(move(g[i], i, memory, settings, t + 1)));
      }
    }
    return { losses, norms, params, slopes, responses, last: w };
  }

  /* The rules of chainrule.descent.verdict, in its order and precision. */
  function verdict(loss, norm) {
    const last = loss.length - 1;
    if (!loss.every(Number.isFinite) || loss[last] > loss[0]) return "diverged";
    if (norm[last] <= f(f(1e-3) * norm[0])) return "converged";
    const tail = loss.slice(-1 - Math.max(2, Math.ceil(last / 10)));
    const rises = tail.slice(1).filter((x, i) => f(x - tail[i]) > f(f(1e-4) * Math.abs(tail[i])));
    return tail.length > 1 && rises.length >= 0.25 * (tail.length - 1) ? "oscillating" : "descending";
  }

  /* The largest eigenvalue of a diagonal K with a Hessian, at one point. */
  function largest(k, h) {
    if (h.length === 1) return k[0] * h[0];
    const [a, c, b] = [k[0] * h[0], k[1] * h[3], Math.sqrt(k[0] * k[1]) * h[1]];
    return (a + c) / 2 + Math.hypot((a - c) / 2, b);
  }

  return { RULES, each, descend, verdict, largest };
})();
