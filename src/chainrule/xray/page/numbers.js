"use strict";
// What is typed, as a number: a small parser, for sums, products, powers, brackets, pi, e, inf and nan.
globalThis.numbers = (() => {
  const NAMES = { pi: Math.PI, π: Math.PI, e: Math.E, inf: Infinity, infinity: Infinity, "∞": Infinity, nan: NaN };
  const CALLS = { sqrt: Math.sqrt, exp: Math.exp, log: Math.log };
  const MOST = 200, DEEP = 20; // characters, and brackets within each other

  // Returns the number, or null where the text is none.
  function parse(text) {
    if (text.length > MOST) return null;
    const tokens = text.toLowerCase().replace(/[−–]/g, "-").replace(/[×·]/g, "*").replace(/÷/g, "/").replaceAll("**", "^")
      .match(/(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[a-zπ∞]+|[-+*/^()]|\S/g) ?? [];
    let [next, depth] = [0, 0];
    const take = (...wanted) => (wanted.includes(tokens[next]) ? tokens[next++] : null);
    const fail = () => { throw new SyntaxError(); };

    function sum() {
      let x = product();
      for (let sign; (sign = take("+", "-"));) x = sign === "+" ? x + product() : x - product();
      return x;
    }
    function product() {
      let x = signed();
      for (let sign; (sign = take("*", "/"));) x = sign === "*" ? x * signed() : x / signed();
      return x;
    }
    function signed() { // a minus binds less than a power, as in −2^2 = −4
      const sign = take("+", "-");
      if (sign && ["+", "-"].includes(tokens[next])) fail();
      return sign ? (sign === "-" ? -signed() : signed()) : power();
    }
    function power() {
      const x = atom();
      return take("^") ? x ** signed() : x;
    }
    function atom() {
      const token = tokens[next++] ?? fail();
      if (/^[\d.]/.test(token)) return Number(token);
      if (Object.hasOwn(NAMES, token)) return NAMES[token];
      const call = Object.hasOwn(CALLS, token) ? CALLS[token] : null;
      if (call ? !take("(") : token !== "(") fail();
      if ((depth += 1) > DEEP) fail();
      const x = sum();
      if (!take(")")) fail();
      depth -= 1;
      return call ? call(x) : x;
    }

    try {
      const x = sum();
      return next === tokens.length ? x : null;
    } catch (error) {
      if (error instanceof SyntaxError) return null;
      throw error;
    }
  }

  // A number as one writes it: the twin of `number` in words.py.
  function written(x, digits = 4, whole = false) {
    if (Number.isNaN(x)) return "NaN";
    if (x === Infinity || x === -Infinity) return x > 0 ? "∞" : "−∞";
    if (whole) return String(x).replace("-", "−");
    if (10 ** digits <= Math.abs(x) && Math.abs(x) < 1e6) return halfEven(x).replace("-", "−");
    if (x === 0) return "0";
    const [mantissa, exponent] = x.toExponential(digits - 1).split("e"), power = Number(exponent);
    const trim = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
    const text = power < -4 || power >= digits
      ? `${trim(mantissa)}e${power < 0 ? "-" : "+"}${Math.abs(power)}` : trim(x.toFixed(Math.max(0, digits - 1 - power)));
    return text.replaceAll("-", "−");
  }
  const halfEven = (x) => { const f = Math.floor(x), d = x - f; return String(d > 0.5 || (d === 0.5 && f % 2) ? f + 1 : f); };

  // The shortest text that names this float of 32 bits, or of 64.
  function exact(x, dtype) {
    if (dtype !== "float32" || !Number.isFinite(x)) return Object.is(x, -0) ? "-0" : String(x);
    for (let digits = 1; digits < 9; digits += 1) {
      const text = String(Number(x.toPrecision(digits)));
      if (Math.fround(Number(text)) === x) return Object.is(x, -0) ? "-0" : text;
    }
    return String(Number(x.toPrecision(9)));
  }

  return { parse, written, exact };
})();
