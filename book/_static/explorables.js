/* Explorables: figures with sliders, computed in the page by explorable-numbers.js and drawn here as SVG.
 *
 * A page holds <figure class="explorable NAME"> with a still picture and a caption. Where
 * this script runs, the live figure takes the still's place on the screen; without it, and in print, the
 * still stands. Native inputs do the work of the keyboard, nothing moves by itself, nothing is fetched.
 */
(function () {
  "use strict";
  const numbers = globalThis.explorableNumbers;
  const STATES = ["blue", "orange", "purple", "green", "red"]; // colours of states 0, 1, 2, ..

  /* ---- text ---------------------------------------------------------------------------------------------- */

  const minus = (text) => text.replace("-", "−");
  const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

  /* A number to be read: two decimals, powers of ten where that is no use. */
  function read(x, digits = 2) {
    const size = Math.abs(x);
    if (size >= 1e5 || (size > 0 && size < 0.5 * 10 ** -digits)) {
      const [mantissa, power] = x.toExponential(1).split("e");
      return minus(`${mantissa}·10${superscript(+power)}`);
    }
    const text = x.toFixed(digits);
    return minus(+text === 0 ? text.replace("-", "") : text);
  }

  const whole = (k) => String(k).replace(/\B(?=(\d{3})+$)/g, k < 10000 ? "" : "\u202f"); // 10 196

  const superscript = (k) => [...String(k)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[+c])).join("");

  /* ---- drawing: a chart collects pieces of SVG ------------------------------------------------------------- */

  const round = (x) => Math.round(x * 10) / 10;

  class Chart {
    constructor({ w, h, x, y, log = false, title, left = 30, right = 10, top = 24, bottom = 32 }) {
      Object.assign(this, { w, h, left, right, top, bottom, pieces: [], inside: [] });
      const scale = log ? Math.log10 : (v) => v;
      const [lo, hi] = y.map(scale);
      const clamp = (v) => Math.max(-2 * h, Math.min(3 * h, v)); // far away is far enough, infinity too
      this.X = (v) => round(left + ((v - x[0]) / (x[1] - x[0])) * (w - left - right));
      this.Y = (v) => round(clamp(h - bottom - ((scale(v) - lo) / (hi - lo)) * (h - top - bottom)));
      this.shown = (v) => v >= Math.min(...y) && v <= Math.max(...y);
      this.text(left, 14, title, "title");
    }

    text(x, y, content, kind = "", anchor = "start") {
      this.pieces.push(`<text x="${round(x)}" y="${round(y)}" class="${kind}" text-anchor="${anchor}">${escaped(content)}</text>`);
    }

    /* Ticks as [position, label], at the bottom and on the left; grid lines are quiet. */
    axes(xTicks, yTicks, xLabel, yLabel) {
      const { w, h, left, right, top, bottom } = this;
      for (const [v, label] of yTicks) {
        this.inside.push(`<path class="grid" d="M${left} ${this.Y(v)}H${w - right}"/>`);
        this.text(left - 5, this.Y(v) + 4, label, "tick", "end");
      }
      for (const [v, label] of xTicks) this.text(this.X(v), h - bottom + 14, label, "tick", "middle");
      this.pieces.push(`<path class="axis" d="M${left} ${top}V${h - bottom}H${w - right}"/>`);
      if (xLabel) this.text((left + w - right) / 2, h - 3, xLabel, "", "middle");
      if (yLabel) this.text(left + 6, top + 8, yLabel);
    }

    line(points, kind) {
      const path = points.map(([x, y], i) => `${i ? "L" : "M"}${this.X(x)} ${this.Y(y)}`).join("");
      this.inside.push(`<path class="line ${kind}" d="${path}"/>`);
    }

    dot(x, y, kind, radius = 4) {
      this.inside.push(`<circle class="${kind}" cx="${this.X(x)}" cy="${this.Y(y)}" r="${radius}"/>`);
    }

    /* Names at the right end of lines, moved apart where they would overlap. */
    names(entries, x) {
      const placed = entries.map(([label, value, kind]) => [label, this.Y(value), kind]).sort((a, b) => a[1] - b[1]);
      let previous = -Infinity;
      placed.forEach(([label, y, kind], i) => {
        const lowest = this.h - this.bottom - 13 * (placed.length - 1 - i);
        previous = Math.min(Math.max(y + 4, previous + 13, this.top + 8), lowest);
        this.text(this.X(x) + 5, previous, label, `name ${kind}`);
      });
    }

    svg() {
      const { w, h, left, right, top, bottom } = this;
      const box = [left - 5, top - 5, w - left - right + 10, h - top - bottom + 10];
      const clipped = `<svg x="${box[0]}" y="${box[1]}" width="${box[2]}" height="${box[3]}" viewBox="${box.join(" ")}">`;
      return `${clipped}${this.inside.join("")}</svg>${this.pieces.join("")}`;
    }
  }

  /* A matrix of attention: rows listen, columns are heard, dark is much. */
  function heat({ w, h, matrix, title, xLabel, yLabel }) {
    const n = matrix.length;
    const chart = new Chart({ w, h, x: [0, n], y: [n, 0], title, left: 34, bottom: 36 });
    matrix.forEach((row, s) => {
      chart.text(chart.left - 6, chart.Y(s + 0.5) + 4, s, "tick", "end");
      chart.text(chart.X(s + 0.5), h - chart.bottom + 14, s, "tick", "middle");
      row.forEach((weight, t) => {
        const [x, y] = [chart.X(t), chart.Y(s)];
        const [wide, high] = [chart.X(t + 1) - x - 1, chart.Y(s + 1) - y - 1];
        chart.inside.push(`<rect class="cell${s === t ? " own" : ""}" x="${x}" y="${y}" width="${round(wide)}" height="${round(high)}" fill-opacity="${(0.77 * weight).toFixed(3)}"/>`);
        chart.text(x + wide / 2, y + high / 2 + 4, weight.toFixed(2).slice(n > 3 && weight < 0.995 ? 1 : 0), "cell-text", "middle");
      });
    });
    chart.text((chart.left + w - chart.right) / 2, h - 3, xLabel, "", "middle");
    chart.pieces.push(`<text transform="translate(11 ${h / 2}) rotate(-90)" text-anchor="middle">${escaped(yLabel)}</text>`);
    return chart.svg();
  }

  const span = (values, pad) => {
    const [lo, hi] = [Math.min(...values), Math.max(...values)];
    return [lo - pad * (hi - lo), hi + pad * (hi - lo)];
  };
  const spaced = (from, to, count) => Array.from({ length: count }, (_, i) => from + ((to - from) * i) / (count - 1));
  /* Round numbers between lo and hi, two to six of them. */
  function ticks(lo, hi) {
    const rough = (hi - lo) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
    const first = Math.ceil(lo / step);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return spaced(first, Math.floor(hi / step), Math.floor(hi / step) - first + 1)
      .map((k) => [k * step, minus((k * step).toFixed(digits))]);
  }
  const indexed = (values) => values.map((v, i) => [i, v]);

  /* Errors on a logarithmic axis, one line for each algorithm, and the layer that the sliders name. */
  function errorChart({ w, h, title, layers, layer, powers, lines }) {
    const [low, high] = powers;
    const chart = new Chart({ w, h, x: [0, layers], y: [10 ** low, 10 ** high], log: true, title, left: 36, right: 54, bottom: 36 });
    const powersOfTen = spaced(low, Math.floor(high), Math.floor(high) - low + 1);
    chart.axes(spaced(0, layers, 4).map((l) => [l, l]), powersOfTen.map((k) => [10 ** k, k ? `10${superscript(k)}` : "1"]), "layer");
    chart.inside.push(`<path class="now" d="M${chart.X(layer)} ${chart.top}V${h - chart.bottom}"/>`);
    const ends = [];
    for (const [name, errors, kind] of lines) {
      const seen = indexed(errors).filter(([, e]) => e > 10 ** (low - 1) && e < 10 ** (high + 1));
      chart.line(seen, kind);
      if (chart.shown(errors[layer])) chart.dot(layer, errors[layer], kind);
      ends.push([name, Math.max(Math.min(errors[layers], 10 ** high), 10 ** low), kind]);
    }
    chart.names(ends, layers);
    return chart.svg();
  }

  /* ---- the four figures ------------------------------------------------------------------------------------
   * controls: the sliders, with where they start. A slider on a logarithmic scale moves the exponent.
   * draw(state) returns one picture for each panel, what it shows in words, and the verdict.
   */

  const FIGURES = {};

  FIGURES.divergence = {
    title: "Does softmax TD settle? The chain of three states",
    controls: [
      { name: "tau", label: "inverse temperature τ", min: -1.5, max: 0.75, step: 0.025, value: -0.225, power: true },
      { name: "gamma", label: "discount γ", min: 0, max: 0.99, step: 0.01, value: 0.9 },
      { name: "alpha", label: "step size α", min: 0.05, max: 3, step: 0.05, value: 1 },
    ],
    panels: [{ w: 210, h: 210 }, { w: 190, h: 210 }, { w: 310, h: 210 }],
    draw({ tau, gamma, alpha }) {
      const seen = numbers.divergence({ tau, gamma, alpha });
      const good = seen.verdict === "settles";

      // The part of the circle where something happens, and all of it for steps that are far too large.
      const half = Math.min(...seen.eigenvalues.map(([re]) => re)) < -0.5 ? 1.65 : 1.1;
      const middle = 1.65 - half;
      const plane = new Chart({ w: 210, h: 210, x: [middle - half, middle + half], y: [-0.95 * half, 0.95 * half], title: "eigenvalues of one layer", left: 30, right: 8, top: 24, bottom: 36 });
      plane.axes(ticks(middle - half, middle + half), ticks(-half, half).filter(([v]) => Math.abs(v) < 0.95 * half), "real part");
      const radius = plane.X(1) - plane.X(0);
      plane.inside.push(`<ellipse class="circle" cx="${plane.X(0)}" cy="${plane.Y(0)}" rx="${radius}" ry="${round(plane.Y(0) - plane.Y(1))}"/>`);
      for (const power of spaced(-1.5, 0.75, 91)) { // where the eigenvalues are at other temperatures
        for (const [re, im] of numbers.spectrum(10 ** power, gamma, alpha).eigenvalues) plane.dot(re, im, "trail", 1);
      }
      for (const [re, im] of seen.eigenvalues) {
        const x = Math.max(middle - half, Math.min(middle + half, re));
        plane.dot(x, im, Math.hypot(re, im) < 1 ? "blue" : "red", 4.5);
      }

      const reach = Math.max(1.2, 1.6 * numbers.largest(seen.limit));
      const curves = new Chart({ w: 310, h: 210, x: [0, 40], y: [-reach, reach], title: "values, layer by layer", left: 30, right: 50, bottom: 36 });
      curves.axes(ticks(0, 40), ticks(-reach, reach), "layer");
      seen.limit.forEach((v, s) => curves.line([[0, v], [40, v]], `${STATES[s]} dashed`));
      seen.limit.forEach((_, s) => curves.line(seen.values.map((v, l) => [l, v[s]]), STATES[s]));
      curves.names(seen.limit.map((v, s) => [`state ${s}`, v, STATES[s]]), 40);

      const rho = read(seen.radius, seen.radius > 0.9 && seen.radius < 1.1 ? 3 : 2);
      const words = {
        settles: ["It settles.", `The largest eigenvalue of a layer has modulus ${rho}, below 1: the curves tend to the dashed values. Steps below ${read(seen.largestStep)} settle.`],
        "step too large": ["It does not settle at this step size.", `The largest eigenvalue has modulus ${rho} ≥ 1; steps below ${read(seen.largestStep)} settle.`],
        "no step helps": ["It diverges at every step size.", `The largest eigenvalue has modulus ${rho}, above 1, and a smaller α only slows it down: some eigenvalue stays outside the circle.`],
      }[seen.verdict];
      const list = seen.eigenvalues.map(([re, im]) => read(re) + (im ? ` ${im < 0 ? "−" : "+"} ${read(Math.abs(im))}i` : ""));
      const last = seen.values[40].map((v) => read(v)).join(", ");
      return {
        pictures: [
          plane.svg(),
          heat({ w: 190, h: 210, matrix: seen.matching, title: "attention M", xLabel: "heard state", yLabel: "listening" }),
          curves.svg(),
        ],
        labels: [
          `Eigenvalues of one layer and the unit circle: ${list.join("; ")}.`,
          `Attention. ${seen.matching.map((row, s) => `State ${s} hears 0, 1, 2 by ${row.map((x) => read(x)).join(", ")}`).join(". ")}.`,
          `Values of states 0, 1, 2 over 40 layers; after the last: ${last}. The fixed point: ${seen.limit.map((v) => read(v)).join(", ")}.`,
        ],
        verdict: [good ? "good" : "bad", ...words],
      };
    },
  };

  FIGURES.temperature = {
    title: "One context at every temperature, between linear and tabular TD",
    controls: [
      { name: "tau", label: "inverse temperature τ", min: -1.5, max: 1.5, step: 0.05, value: -0.5, power: true },
      { name: "layer", label: "layer", min: 0, max: 60, step: 1, value: 5 },
    ],
    panels: [{ w: 200, h: 210 }, { w: 200, h: 210 }, { w: 310, h: 210 }],
    draw({ tau, layer }) {
      const seen = numbers.temperature({ tau });
      const runs = [["softmax", seen.softmax, "blue"], ["tabular", seen.tabular, "green"], ["linear", seen.linear, "orange"]];

      const states = new Chart({ w: 200, h: 210, x: [-0.5, 4.5], y: span(seen.limit, 0.3), title: `values after layer ${layer}`, left: 34, bottom: 36 });
      states.axes([0, 1, 2, 3, 4].map((s) => [s, s]), ticks(...span(seen.limit, 0.3)), "state");
      seen.limit.forEach((v, s) => {
        states.inside.push(`<path class="target" d="M${states.X(s - 0.36)} ${states.Y(v)}H${states.X(s + 0.36)}"/>`);
      });
      for (const [name, run, kind] of [runs[1], runs[2], runs[0]]) {
        run[layer].forEach((v, s) => states.dot(s, v, name === "softmax" ? kind : `${kind} ring`, name === "softmax" ? 3.5 : 5.5));
      }
      const errors = runs.map(([name, run, kind]) => [name, run.map((v) => numbers.distance(v, seen.limit)), kind]);
      const toTabular = numbers.distance(seen.softmax[layer], seen.tabular[layer]);
      const toLinear = numbers.distance(seen.softmax[layer], seen.linear[layer]);
      const needed = seen.needed < 2000 ? `${seen.needed} layers` : "more than 2000 layers";
      const nearer = toLinear < toTabular ? "nearer to linear TD" : "nearer to tabular TD";
      return {
        pictures: [
          heat({ w: 200, h: 210, matrix: seen.matching, title: "attention M̂", xLabel: "heard state", yLabel: "listening" }),
          states.svg(),
          errorChart({ w: 310, h: 210, title: "distance to the fixed point v̂", layers: 60, layer, powers: [-4, 0.5], lines: errors }),
        ],
        labels: [
          `Attention. Own states are heard by ${seen.matching.map((row, s) => read(row[s])).join(", ")}.`,
          `Values of the five states after layer ${layer}: softmax TD ${seen.softmax[layer].map((v) => read(v)).join(", ")}; the fixed point ${seen.limit.map((v) => read(v)).join(", ")}.`,
          `Largest distance to the fixed point, over 60 layers. After layer ${layer}: ${errors.map(([name, e]) => `${name} ${read(e[layer], 4)}`).join(", ")}.`,
        ],
        verdict: ["good", `The same end, in ${needed}.`,
          `${seen.needed < 2000 ? `After ${needed} softmax TD` : `Beyond layer 2000 softmax TD`} is within 1 % of v̂, the bars. At layer ${layer} it is ${nearer}: ${toLinear < 100 ? `${read(toLinear, 3)} from linear TD` : "linear TD has run away"}, ${read(toTabular, 3)} from tabular TD.`],
      };
    },
  };

  FIGURES.depth = {
    title: "TD against priced TD, on a ring of eight states that forgets",
    controls: [
      { name: "horizon", label: "horizon 1/(1 − γ)", min: 0.3, max: 3, step: 0.025, value: 1.5, power: true },
      { name: "memory", label: "memory ρ of the chain", min: 0, max: 1, step: 0.05, value: 0.6 },
      { name: "layer", label: "layers", min: 1, max: 30, step: 1, value: 8 },
    ],
    panels: [{ w: 330, h: 220 }, { w: 350, h: 220 }],
    draw({ horizon, memory, layer }) {
      const seen = numbers.depth({ horizon, memory });
      const range = [Math.min(0, 1.3 * Math.min(...seen.limit)), 1.12 * Math.max(...seen.limit)];
      const states = new Chart({ w: 330, h: 220, x: [-0.5, 7.5], y: range, title: `values after ${layer} layer${layer > 1 ? "s" : ""}`, left: 36, bottom: 36 });
      states.axes(spaced(0, 7, 8).map((s) => [s, s]), ticks(...range), "state");
      seen.limit.forEach((v, s) => {
        states.inside.push(`<path class="target" d="M${states.X(s - 0.36)} ${states.Y(v)}H${states.X(s + 0.36)}"/>`);
      });
      seen.td[layer].forEach((v, s) => states.dot(s, v, "orange"));
      seen.priced[layer].forEach((v, s) => states.dot(s, v, "blue"));
      const errors = [["TD", seen.td, "orange"], ["priced", seen.priced, "blue"]]
        .map(([name, run, kind]) => [name, run.map((v) => numbers.distance(v, seen.limit)), kind]);
      const { td, priced } = seen.needed;
      const far = td >= 1.5 * priced;
      return {
        pictures: [
          states.svg(),
          errorChart({ w: 350, h: 220, title: "largest error over the states", layers: 30, layer, powers: [-3, 3], lines: errors }),
        ],
        labels: [
          `Values of eight states after ${layer} layers. TD: ${seen.td[layer].map((v) => read(v)).join(", ")}. Priced TD: ${seen.priced[layer].map((v) => read(v)).join(", ")}. True: ${seen.limit.map((v) => read(v)).join(", ")}.`,
          `Largest error over 30 layers. After ${layer}: ${errors.map(([name, e]) => `${name} ${read(e[layer], 4)}`).join(", ")}.`,
        ],
        verdict: [far ? "good" : "even", `TD needs ${whole(td)} layers, priced TD ${whole(priced)}.`,
          `Layers for an error of 1 % of the span of the rewards, the averaging layer counted; γ = ${read(seen.gamma, 4)}. ${memory === 1
            ? "This ring never forgets: the price pays the mean, and the differences live as long as the horizon."
            : "TD pays for the horizon, priced TD for the chain’s memory."}`],
      };
    },
  };

  FIGURES.sarsa = {
    title: "The score is the TD error: drag a reward",
    controls: [
      ...[0.6, -0.4, 0.8, 0.2, -0.6].map((value, i) => ({ name: `r${i}`, label: `r${"₁₂₃₄₅"[i]}`, spoken: `reward of transition ${i}`, min: -2, max: 2, step: 0.1, value, upright: true })),
      { name: "gamma", label: "discount γ", min: 0, max: 0.99, step: 0.01, value: 0.8 },
      { name: "alpha", label: "step size α", min: 0.1, max: 3, step: 0.1, value: 1 },
      { name: "broken", label: "break it: flip the sign of one block of P", check: true, value: false },
    ],
    panels: [{ w: 380, h: 200, upright: true }, { w: 290, h: 290 }],
    draw(state) {
      const rewards = [0, 1, 2, 3, 4].map((i) => state[`r${i}`]);
      const seen = numbers.sarsa({ rewards, gamma: state.gamma, alpha: state.alpha, broken: state.broken });
      const bars = new Chart({ w: 380, h: 200, x: [-0.5, 5.5], y: [-3.8, 3.8], title: "score of each column", left: 30, right: 6, bottom: 22 });
      bars.axes(["x₀", "x₁", "x₂", "x₃", "x₄", "w̃"].map((name, i) => [i, name]), ticks(-3.8, 3.8), "");
      bars.inside.push(`<path class="axis" d="M${bars.left} ${bars.Y(0)}H${380 - bars.right}"/>`);
      seen.score.forEach((score, i) => {
        const [a, b] = [bars.Y(Math.max(score, 0)), bars.Y(Math.min(score, 0))];
        bars.inside.push(`<rect class="bar" x="${bars.X(i - 0.28)}" y="${a}" width="${round(bars.X(0.56) - bars.X(0))}" height="${round(b - a)}"/>`);
      });
      seen.errors.forEach((error, i) => {
        bars.dot(i, error, "orange", 4.5);
        bars.text(bars.X(i), bars.Y(Math.max(error, seen.score[i], 0)) - 8, read(error), "cell-text", "middle");
      });

      // The plane of the weights: one arrow for each transition, head to tail.
      const start = numbers.WINDOW.weights;
      const path = [start];
      for (const step of seen.steps) path.push(path[path.length - 1].map((x, j) => x + step[j]));
      const points = [...path, seen.updated];
      const reach = Math.max(0.25, ...points.map((p) => 1.25 * numbers.distance(p, start)));
      const around = start.map((c) => [c - reach, c + reach]);
      const plane = new Chart({ w: 290, h: 290, x: around[0], y: around[1], title: "score × value, summed", left: 40, right: 14, bottom: 40 });
      plane.axes(ticks(...around[0]), ticks(...around[1]), "w[1]", "w[2]");
      path.slice(1).forEach((to, i) => plane.inside.push(arrow(plane, path[i], to)));
      plane.dot(...start, "ink", 4);
      plane.dot(...seen.updated, "orange", 5);
      const side = seen.updated[0] < start[0] ? -1 : 1; // names stand outside, left and right of the arrows
      const name = (label, [x, y], outward, kind) =>
        plane.text(plane.X(x) + 9 * outward, plane.Y(y) + 4, label, kind, outward < 0 ? "end" : "start");
      name("w", start, -side, "name");
      name("w⁺", seen.updated, side, "name orange");

      const same = seen.miss < 1e-12;
      const pair = (w) => `(${w.map((x) => read(x, 3)).join(", ")})`;
      return {
        pictures: [bars.svg(), plane.svg()],
        labels: [
          `Scores of the five transitions: ${seen.score.slice(0, 5).map((x) => read(x)).join(", ")}. TD errors: ${seen.errors.map((x) => read(x)).join(", ")}.`,
          `Weights from ${pair(start)}; the arrows end at ${pair(path[5])}, SARSA at ${pair(seen.updated)}.`,
        ],
        verdict: same
          ? ["good", "The score is the TD error.", `Bars end on the dots, arrows on SARSA’s w⁺ = ${pair(seen.updated)}. One reward moves one bar, by as much.`]
          : ["bad", "Not SARSA.", `With +γφ⁺ read as −γφ⁺ the bars miss the dots, and the block reads out ${pair(seen.readout)} in place of ${pair(seen.updated)}.`],
      };
    },
  };

  function arrow(chart, from, to) {
    const [x0, y0, x1, y1] = [chart.X(from[0]), chart.Y(from[1]), chart.X(to[0]), chart.Y(to[1])];
    const length = Math.hypot(x1 - x0, y1 - y0);
    if (length < 1) return "";
    const [ux, uy] = [(x1 - x0) / length, (y1 - y0) / length];
    const size = Math.min(8, length);
    const [bx, by] = [x1 - size * ux, y1 - size * uy];
    const corner = (side) => `${round(bx - side * 0.4 * size * uy)} ${round(by + side * 0.4 * size * ux)}`;
    return `<path class="line blue" d="M${x0} ${y0}L${round(bx)} ${round(by)}"/><path class="blue" d="M${x1} ${y1}L${corner(1)}L${corner(-1)}Z"/>`;
  }

  /* ---- the shell: inputs, panels, verdict ------------------------------------------------------------------ */

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  const valueOf = (control, input) =>
    control.check ? input.checked : control.power ? 10 ** Number(input.value) : Number(input.value);

  function shown(control, value) {
    if (control.step >= 1) return String(value);
    return read(value, control.power ? (value < 0.0995 ? 3 : value < 9.95 ? 2 : value < 99.5 ? 1 : 0) : control.step < 0.1 ? 2 : 1);
  }

  function mount(figure) {
    const name = Object.keys(FIGURES).find((key) => figure.classList.contains(key));
    if (!name || figure.classList.contains("is-live")) return;
    const spec = FIGURES[name];
    const upright = element("div", { class: "explorable-upright" });
    const controls = element("div", { class: "explorable-controls" });
    const rows = spec.controls.map((control) => {
      const id = `explorable-${name}-${control.name}`;
      const range = { id, type: "range", min: control.min, max: control.max, step: control.step };
      const input = element("input", control.check ? { id, type: "checkbox" } : range);
      if (control.spoken) input.setAttribute("aria-label", control.spoken);
      const value = element("span", { class: "explorable-value", "aria-hidden": "true" });
      const label = element("label", { for: id }, control.label);
      const row = element("div", { class: `explorable-control${control.check ? " is-check" : ""}` });
      row.append(...(control.check ? [input, label] : [label, input, value]));
      (control.upright ? upright : controls).append(row);
      input.addEventListener("input", render);
      return { control, input, value };
    });
    const reset = element("button", { type: "button", class: "explorable-reset" }, "Reset");
    reset.addEventListener("click", () => { start(); render(); });
    controls.append(reset);

    const pictures = spec.panels.map(({ w, h }) => {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      for (const [key, value] of Object.entries({ viewBox: `0 0 ${w} ${h}`, class: "explorable-svg", role: "img" })) svg.setAttribute(key, value);
      return svg;
    });
    const panels = element("div", { class: "explorable-panels" }, ...spec.panels.map((panel, i) => {
      const box = element("div", {}, pictures[i]);
      box.style.flex = `${panel.w} 1 ${0.82 * panel.w}px`; // alike in scale within a row
      if (panel.upright) box.append(upright);
      return box;
    }));
    const mark = element("span", { class: "explorable-mark", "aria-hidden": "true" });
    const [headline, words] = [element("strong"), element("span")];
    const verdict = element("p", { class: "explorable-verdict", role: "status" }, mark, headline, " ", words);
    const live = element("div", { class: "explorable-live", role: "group", "aria-label": spec.title }, panels, verdict, controls);

    function start() {
      for (const { control, input } of rows) {
        if (control.check) input.checked = control.value;
        else input.value = control.value;
      }
    }

    function render() {
      const state = {};
      for (const { control, input, value } of rows) {
        state[control.name] = valueOf(control, input);
        if (control.check) continue;
        value.textContent = shown(control, state[control.name]);
        input.setAttribute("aria-valuetext", value.textContent);
      }
      const seen = spec.draw(state);
      pictures.forEach((svg, i) => {
        svg.innerHTML = seen.pictures[i];
        svg.setAttribute("aria-label", seen.labels[i]);
      });
      [mark.dataset.kind, headline.textContent, words.textContent] = seen.verdict;
      live.dataset.state = JSON.stringify(state);
    }

    start();
    render();
    figure.prepend(live);
    figure.classList.add("is-live");
  }

  /* The still of a figure: its panels side by side at the sliders' start, as one SVG file. */
  function still(name, style) {
    const spec = FIGURES[name];
    const state = Object.fromEntries(spec.controls.map((c) => [c.name, c.power ? 10 ** c.value : c.value]));
    const seen = spec.draw(state);
    let x = 0;
    const high = Math.max(...spec.panels.map(({ h }) => h));
    const parts = spec.panels.map(({ w, h }, i) => {
      const part = `<svg x="${x}" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}">${seen.pictures[i]}</svg>`;
      x += w + 8;
      return part;
    });
    const verdict = `<text x="6" y="${high + 20}"><tspan font-weight="bold">${escaped(seen.verdict[1])}</tspan></text>`;
    return `<svg xmlns="http://www.w3.org/2000/svg" class="explorable-svg" viewBox="0 0 ${x - 8} ${high + 28}" width="${x - 8}" height="${high + 28}"><style>${style}</style>${parts.join("\n")}\n${verdict}</svg>\n`;
  }

  globalThis.explorables = { still };
  const all = () => document.querySelectorAll("figure.explorable").forEach(mount);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
  else all();
})();
