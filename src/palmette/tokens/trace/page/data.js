// The trace as the page was given it, and figures in words. Nothing here touches the page.

/** Read the page's data; arrays become things with names, words for infinities become numbers. */
function readTrace(text) {
  const raw = JSON.parse(text);
  const words = raw.words;
  const trace = { ...words, raw };
  trace.symbols = raw.symbols.map(([token, bytes], i) => ({ i, token, bytes, text: words.tokens[i], width: words.widths[i] }));
  trace.runs = raw.runs.map(([, views, seed, answers], i) => {
    const [letter, label, hue, dash] = words.runs[i];
    const read = answers.map(([node, , score, logprob, finish], place) => (
      { node, score: Number(score), logprob: Number(logprob), finish, name: `${letter}${place + 1}` }));
    return { letter, label, hue, dash, seed, views, answers: read };
  });
  trace.nodes = raw.nodes.map(([parent, symbol, logprob, rank, visits, expansion], id) => {
    const [status, best, probability, death, notes, parts, fates] = words.nodes[id];
    return {
      id, parent, symbol: trace.symbols[symbol], logprob: Number(logprob), rank, depth: 0, children: [],
      visits: visits.map(([run, step, after, score, kept]) => (
        { run, step, after: after === null ? null : Number(after), score: Number(score), kept })),
      expansion: expansion && readExpansion(expansion, trace),
      status: STATUS[status], best, probability, death, notes, parts: Boolean(parts),
      fates: fates.map(([run, fate, died]) => ({ run, status: STATUS[fate], died })),
    };
  });
  for (const node of trace.nodes.slice(1)) {
    trace.nodes[node.parent].children.push(node.id);
    node.depth = trace.nodes[node.parent].depth + 1;
  }
  return trace;
}

const STATUS = ['best', 'answer', 'kept', 'passed', 'pruned'];

function readExpansion([entropy, rest, places, logprobs, looks], trace) {
  const own = logprobs.map(Number);
  return {
    entropy, rest, logprobs: own, symbols: places.map((place) => trace.symbols[place]),
    looks: looks.map(([run, after, seen, stages]) => ({
      run, entropy: after, logprobs: seen ?? own,
      stages: stages.map(([view, kept, mass, removed]) => ({ view: trace.views[view], kept, mass, removed })),
    })),
  };
}

/** The ids of the generated nodes down to one, without the prompt. */
function pathTo(trace, id) {
  const found = [];
  for (let at = id; at > 0; at = trace.nodes[at].parent) found.push(at);
  return found.reverse();
}

/** The text of nodes that follow one another, as a person reads it. */
function textOf(trace, ids) {
  return ids.map((id) => trace.texts[id]).join('') + (trace.open[ids[ids.length - 1]] ?? '');
}

/** A log-probability as a percentage of at most three digits; a cross where it was removed. */
function percent(logprob) {
  if (logprob === null) return '✕';
  const p = 100 * Math.exp(logprob);
  if (p === 0) return '0\u00a0%';
  if (p < 0.01) return `${p.toExponential(0)}\u00a0%`;
  return `${p.toFixed(p >= 99.95 || (p >= 10 && p < 99) ? 0 : p >= 1 ? 1 : 2)}\u00a0%`;
}

/** A share of 1 as a percentage. */
const share = (value) => (value > 0 ? percent(Math.log(value)) : '0\u00a0%');

/** A figure of three digits with a real minus sign. */
function figure(value) {
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const text = value && Math.abs(value) < 1e-4 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  return text.replace('-', '−');
}

const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;

/** The place on the colour scale, as a class: even steps for each factor of probability. */
function levelOf(trace, logprob) {
  const part = Number.isFinite(logprob) ? Math.min(1, Math.max(0, 1 - logprob / trace.floor)) : 0;
  return `l${Math.round(part * (trace.levels - 1))}`;
}
