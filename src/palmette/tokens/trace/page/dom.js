// Elements and figures. Text goes in as text only; nothing here builds markup from strings.

const data = JSON.parse(document.getElementById('data').textContent);
const nodes = data.nodes;

/** An element with properties, and children that are elements or text. */
function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element && key !== 'list') element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** The ids of the generated nodes down to one, without the prompt. */
function pathTo(id) {
  const found = [];
  for (let at = id; at > 0; at = nodes[at].p) found.push(at);
  return found.reverse();
}

const depthOf = (id) => pathTo(id).length;
const tokenText = (token) => data.tokens[token] ?? `token ${token}`;

/** The text of nodes that follow one another, as a person reads it. */
const textOf = (ids) => ids.map((id) => data.texts[id]).join('');

/** A log-probability as a percentage of at most three digits; a cross where it was removed. */
function percent(logprob) {
  if (logprob === null || logprob === '−∞') return '✕';
  const p = 100 * Math.exp(logprob);
  if (p === 0) return '0 %';
  if (p < 0.01) return `${p.toExponential(0)} %`;
  return `${p.toFixed(p >= 99.95 || (p >= 10 && p < 99) ? 0 : p >= 1 ? 1 : 2)} %`;
}

/** A figure of three digits with a real minus sign. */
function figure(value) {
  return typeof value === 'string' ? value : String(Number(value.toPrecision(3))).replace('-', '−');
}

/** A share of 1 as a percentage. */
const share = (value) => (value > 0 ? percent(Math.log(value)) : '0 %');
