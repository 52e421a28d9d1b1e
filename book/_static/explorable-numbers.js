/* The numbers behind the explorables: no page and no drawing in here.
 *
 * Every function takes the positions of the sliders and returns what the picture shows. The algorithms are
 * written down once more, small, and compared with the package in a browser (tests/book/test_explorables.py).
 * Matrices are arrays of rows; M[s][t] is how much the listening state s hears state t.
 */
(function (page) {
  "use strict";

  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const times = (matrix, v) => matrix.map((row) => dot(row, v));
  const transposed = (a) => a[0].map((_, j) => a.map((row) => row[j]));
  const product = (a, b) => a.map((row) => transposed(b).map((column) => dot(row, column)));
  const identity = (n) => Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => +(i === j)));
  const largest = (v) => v.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  const distance = (a, b) => largest(a.map((x, i) => x - b[i]));
  const mean = (v) => v.reduce((sum, x) => sum + x, 0) / v.length;

  /* The solution x of a x = b, by elimination with the largest pivot. */
  function solve(a, b) {
    const rows = a.map((row, i) => [...row, b[i]]);
    const n = rows.length;
    for (let k = 0; k < n; k++) {
      let top = k;
      for (let i = k + 1; i < n; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[top][k])) top = i;
      [rows[k], rows[top]] = [rows[top], rows[k]];
      for (let i = k + 1; i < n; i++) {
        const factor = rows[i][k] / rows[k][k];
        for (let j = k; j <= n; j++) rows[i][j] -= factor * rows[k][j];
      }
    }
    const x = new Array(n).fill(0);
    for (let k = n - 1; k >= 0; k--) {
      x[k] = (rows[k][n] - dot(rows[k].slice(k + 1, n), x.slice(k + 1))) / rows[k][k];
    }
    return x;
  }

  /* Softmax attention at inverse temperature tau; a state is heard once for each of its visits. */
  function attention(features, visits, tau) {
    return features.map((x) => {
      const scores = features.map((y) => tau * dot(x, y));
      const top = Math.max(...scores);
      const weights = scores.map((score, t) => visits[t] * Math.exp(score - top));
      const total = weights.reduce((sum, w) => sum + w, 0);
      return weights.map((w) => w / total);
    });
  }

  /* v = r + gamma P v */
  const valueOf = (chain, gamma) =>
    solve(identity(chain.reward.length).map((row, s) => row.map((x, t) => x - gamma * chain.transition[s][t])),
      chain.reward);

  const residual = (chain, gamma, v) =>
    times(chain.transition, v).map((next, s) => chain.reward[s] + gamma * next - v[s]);

  /* Values before the first layer (zero) and after each: v <- v + alpha M (r + gamma P v - v). */
  function layersOf(matching, chain, gamma, alpha, count) {
    const values = [chain.reward.map(() => 0)];
    for (let layer = 0; layer < count; layer++) {
      const v = values[layer];
      const step = times(matching, residual(chain, gamma, v));
      values.push(v.map((x, s) => x + alpha * step[s]));
    }
    return values;
  }

  /* ---- divergence: three states, sources as often as the chain is in them -------------------------------- */

  const THREE = {
    transition: [[0, 0.9, 0.1], [1, 0, 0], [0, 0.5, 0.5]],
    reward: [1, 0, -1],
    features: [[1], [4], [5]],
    visits: [5, 5, 1],
  };

  /* The eigenvalues of B = M (I - gamma P), three states. One is 1 - gamma; the other two are the roots of
   * x^2 - sigma x + q, where sigma = tr B - (1 - gamma) and q = det B / (1 - gamma). */
  function eigenvalues(b, gamma) {
    const minor = (i, j) => b[1][i] * b[2][j] - b[1][j] * b[2][i];
    const det = b[0][0] * minor(1, 2) - b[0][1] * minor(0, 2) + b[0][2] * minor(0, 1);
    const sigma = b[0][0] + b[1][1] + b[2][2] - (1 - gamma);
    const q = det / (1 - gamma);
    const inside = (sigma * sigma) / 4 - q;
    if (inside < 0) {
      const im = Math.sqrt(-inside);
      return [[1 - gamma, 0], [sigma / 2, im], [sigma / 2, -im]];
    }
    const far = sigma / 2 + (sigma < 0 ? -1 : 1) * Math.sqrt(inside); // the root without cancellation
    return [[1 - gamma, 0], [far, 0], [q / far, 0]];
  }

  function spectrum(tau, gamma, alpha) {
    const matching = attention(THREE.features, THREE.visits, tau);
    const bellman = identity(3).map((row, s) => row.map((x, t) => x - gamma * THREE.transition[s][t]));
    const roots = eigenvalues(product(matching, bellman), gamma);
    const ofLayer = roots.map(([re, im]) => [1 - alpha * re, -alpha * im]);
    const stable = roots.every(([re]) => re > 0);
    return {
      matching,
      eigenvalues: ofLayer, // of one layer, I - alpha B
      radius: Math.max(...ofLayer.map(([re, im]) => Math.hypot(re, im))),
      largestStep: stable ? Math.min(...roots.map(([re, im]) => (2 * re) / (re * re + im * im))) : 0,
    };
  }

  function divergence({ tau, gamma, alpha, count = 40 }) {
    const seen = spectrum(tau, gamma, alpha);
    const verdict = seen.radius < 1 ? "settles" : seen.largestStep > 0 ? "step too large" : "no step helps";
    return {
      ...seen,
      verdict,
      values: layersOf(seen.matching, THREE, gamma, alpha, count),
      limit: valueOf(THREE, gamma),
    };
  }

  /* ---- temperature: one context of five states, between linear and tabular TD ---------------------------- */

  const ANGLES = [0, 55, 130, 215, 290];
  const CONTEXT = {
    states: [0, 1, 2, 4, 0, 2, 3, 4, 1, 3, 4, 2, 4, 0, 1, 3, 4, 3, 4, 0, 2, 4, 0],
    reward: [-0.4, 0.5, 1, 0.3, -0.8],
    gamma: 0.7,
    features: ANGLES.map((a) => [Math.cos((a * Math.PI) / 180), Math.sin((a * Math.PI) / 180)]),
  };

  /* What a context says of its chain: visits, and how often each state followed each. */
  function empirical({ states, reward }) {
    const visits = reward.map(() => 0);
    const transition = reward.map(() => reward.map(() => 0));
    for (let k = 0; k + 1 < states.length; k++) {
      visits[states[k]] += 1;
      transition[states[k]][states[k + 1]] += 1;
    }
    return { reward, visits, transition: transition.map((row, s) => row.map((x) => x / visits[s])) };
  }

  function temperature({ tau, count = 60 }) {
    const { features, gamma } = CONTEXT;
    const chain = empirical(CONTEXT);
    const n = CONTEXT.states.length - 1;
    const matching = attention(features, chain.visits, tau);
    // The kernel to first order in tau: everybody alike, plus the centred inner products of linear TD.
    const linear = features.map((x) => {
      const scores = features.map((y) => dot(x, y));
      const average = dot(scores, chain.visits) / n;
      return scores.map((score, t) => (chain.visits[t] / n) * (1 + tau * (score - average)));
    });
    const limit = valueOf(chain, gamma);
    const runs = {};
    for (const [name, kernel] of [["softmax", matching], ["linear", linear], ["tabular", identity(5)]]) {
      runs[name] = layersOf(kernel, chain, gamma, 1, count);
    }
    let needed = 0;
    for (let v = limit.map(() => 0); needed < 2000 && distance(v, limit) > 0.01 * largest(limit); needed++) {
      const step = times(matching, residual(chain, gamma, v));
      v = v.map((x, s) => x + step[s]);
    }
    return { matching, limit, needed, ...runs };
  }

  /* ---- depth: a ring of eight states that forgets, attention on the own state ---------------------------- */

  const RING_REWARD = [0.9, 0.2, -0.3, 0.6, 1, -0.2, 0.1, 0.5];

  /* One step of the ring: with probability memory to the next state, else to any state alike. */
  function stepOf(memory, v) {
    const average = mean(v);
    return v.map((_, s) => memory * v[(s + 1) % v.length] + (1 - memory) * average);
  }

  function depth({ horizon, memory, count = 30 }) {
    const gamma = 1 - 1 / horizon;
    const reward = RING_REWARD;
    const transition = reward.map((_, s) =>
      reward.map((_, t) => memory * +(t === (s + 1) % reward.length) + (1 - memory) / reward.length));
    const chain = { transition, reward };
    const limit = valueOf(chain, gamma);
    const td = layersOf(identity(reward.length), chain, gamma, 1, count);
    // As many layers in all: the last one adds the mean TD error, priced at 1 / (1 - gamma).
    const priced = td.map((_, l) => {
      if (l === 0) return td[0];
      const price = mean(residual(chain, gamma, td[l - 1])) / (1 - gamma);
      return td[l - 1].map((x) => x + price);
    });
    return { gamma, limit, td, priced, needed: layersNeeded(gamma, memory, limit) };
  }

  /* Layers until no state's error exceeds 1 % of the span of the rewards. */
  function layersNeeded(gamma, memory, limit) {
    const accuracy = 0.01 * (Math.max(...RING_REWARD) - Math.min(...RING_REWARD));
    const needed = { td: null, priced: null };
    let error = limit;
    for (let l = 0; needed.td === null || needed.priced === null; l++) {
      const average = mean(error);
      if (needed.td === null && largest(error) <= accuracy) needed.td = l;
      if (needed.priced === null && largest(error.map((x) => x - average)) <= accuracy) needed.priced = l + 1;
      error = stepOf(memory, error).map((x) => gamma * x);
    }
    return needed;
  }

  /* ---- sarsa: one block of linear attention on a window of five transitions ------------------------------ */

  const WINDOW = {
    weights: [1, -0.5],
    features: [[0.8, 0.3], [-0.4, 0.9], [0.6, -0.7], [-0.9, -0.2], [0.3, 0.8], [0.7, -0.4]],
  };

  function sarsa({ rewards, gamma, alpha, broken = false }) {
    const { weights, features } = WINDOW;
    const n = rewards.length;
    // The prompt: columns (phi, gamma phi+, r, 0, 0, 0), and last the parameter column (0, .., 0, 1, w).
    const columns = rewards.map((r, i) => [...features[i], ...features[i + 1].map((x) => gamma * x), r, 0, 0, 0]);
    const prompt = transposed([...columns, [0, 0, 0, 0, 0, 1, ...weights]]);
    const P = identity(8).map((row) => row.map(() => 0));
    const V = identity(8).map((row) => row.map(() => 0));
    for (let i = 0; i < 2; i++) {
      P[i][6 + i] = -1; // - w'phi
      P[2 + i][6 + i] = broken ? -1 : 1; // + gamma w'phi+
      V[6 + i][i] = alpha; // alpha phi, to the place of w
    }
    P[4][5] = 1; // + r
    // H + (1/n) (V H) (H' P H): the last column of the second factor holds the scores.
    const score = product(transposed(prompt), product(P, prompt)).map((row) => row[n]);
    const written = product(V, prompt);
    const readout = [6, 7].map((row) => prompt[row][n] + dot(written[row], score) / n);
    const steps = rewards.map((_, i) => [6, 7].map((row) => (written[row][i] * score[i]) / n));
    // And SARSA, as a plain loop.
    const errors = rewards.map((r, i) => r + gamma * dot(weights, features[i + 1]) - dot(weights, features[i]));
    const updated = weights.map((w, j) => w + (alpha / n) * errors.reduce((sum, d, i) => sum + d * features[i][j], 0));
    return { score, errors, steps, readout, updated, miss: distance(readout, updated) };
  }

  page.explorableNumbers = {
    THREE, CONTEXT, RING_REWARD, WINDOW, spectrum, distance, largest, divergence, temperature, depth, sarsa,
  };
})(globalThis);
