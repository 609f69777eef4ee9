"use strict";
// Functions that JavaScript does not have, to double precision or nearly so.
globalThis.special = (() => {
  const HALF_ROOT_PI = Math.sqrt(Math.PI) / 2;

  // The series of Abramowitz and Stegun, 7.1.6: all its terms have one sign.
  function erf(x) {
    if (Math.abs(x) > 2.5) return Math.sign(x) * (1 - erfc(Math.abs(x)));
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n += 1) { term *= (2 * x * x) / (2 * n + 1); sum += term; }
    return (Math.exp(-x * x) * sum) / HALF_ROOT_PI;
  }

  // Beyond 2.5 the continued fraction, 7.1.14, from its end.
  function erfc(x) {
    if (!(x > 2.5)) return x < -2.5 ? 2 - erfc(-x) : 1 - erf(x);
    if (x > 27.3) return 0;
    let tail = 0;
    for (let n = 80; n > 0; n -= 1) tail = n / 2 / (x + tail);
    return (Math.exp(-x * x) / (x + tail) / HALF_ROOT_PI) / 2;
  }

  function erfInv(y) {
    if (!(Math.abs(y) < 1)) return Math.abs(y) === 1 ? Math.sign(y) * Infinity : NaN;
    if (y === 0) return y;
    const log = Math.log1p(-y * y), half = 2 / (Math.PI * 0.147) + log / 2; // Winitzki's, then Newton's steps
    let x = Math.sqrt(Math.sqrt(half * half - log / 0.147) - half);
    const a = Math.abs(y);
    for (let k = 0; k < 3; k += 1) {
      const gap = a < 0.9 ? erf(x) - a : 1 - a - erfc(x);
      const slope = Math.exp(-x * x) / HALF_ROOT_PI, newton = gap / slope;
      x -= newton / (1 + x * newton);
    }
    return Math.sign(y) * x;
  }

  // Lanczos' approximation, g = 7.
  const LANCZOS = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  function lgamma(x) {
    if (Math.abs(x) === Infinity || (x <= 0 && Math.floor(x) === x)) return Infinity;
    if (x < 0.5) return Math.log(Math.PI / Math.abs(Math.sin(Math.PI * x))) - lgamma(1 - x);
    if (x === 1 || x === 2) return 0;
    const t = x + 6.5;
    const sum = LANCZOS.reduce((s, c, k) => s + (k ? c / (x - 1 + k) : c), 0);
    return Math.log(2 * Math.PI) / 2 + (x - 0.5) * Math.log(t) - t + Math.log(sum);
  }

  // Moved above 8, and there its asymptotic series.
  function digamma(x) {
    if (x <= 0 && Math.floor(x) === x) return NaN;
    if (x < 0) return digamma(1 - x) - Math.PI / Math.tan(Math.PI * x);
    let sum = 0;
    for (; x < 8; x += 1) sum -= 1 / x;
    const r = 1 / (x * x);
    return sum + Math.log(x) - 0.5 / x - r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))));
  }

  return { erf, erfc, erfInv, lgamma, digamma };
})();
