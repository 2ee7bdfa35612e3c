// The picture moves and zooms; a click on a thing shows its facts with their quotes, its neighbours, and nothing else.
// Text goes in as text only, and no request is ever made.

const data = JSON.parse(document.getElementById('data').textContent);
const svg = document.querySelector('.picture svg');
const items = [...document.querySelectorAll('[data-fact]')];
const spots = [...svg.querySelectorAll('[data-spot]')];
const bonds = [...svg.querySelectorAll('[data-bond]')];
const view = { x: 0, y: 0, w: data.size[0], h: data.size[1] };
let here = -1;

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key, value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function show() {
  svg.setAttribute('viewBox', `${view.x} ${view.y} ${view.w} ${view.h}`);
}

/** Zoom by a factor around a point of the picture, the middle unless given. */
function zoom(factor, x = view.x + view.w / 2, y = view.y + view.h / 2) {
  const width = Math.min(Math.max(view.w * factor, 120), 8 * data.size[0]);
  const real = width / view.w;
  view.x = x - (x - view.x) * real;
  view.y = y - (y - view.y) * real;
  view.w *= real;
  view.h *= real;
  show();
}

function place(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [point.x, point.y];
}

/** Show one thing, or all of them for -1. */
function pick(spot) {
  here = spot;
  const near = new Set([spot]);
  bonds.forEach((bond, i) => {
    const [a, b] = data.bonds[i];
    const on = spot >= 0 && (a === spot || b === spot);
    if (on) near.add(a).add(b);
    bond.classList.toggle('near', on);
    bond.classList.toggle('far', spot >= 0 && !on);
  });
  spots.forEach((element, i) => {
    element.classList.toggle('here', i === spot);
    element.classList.toggle('far', spot >= 0 && !near.has(i));
    element.setAttribute('aria-pressed', String(i === spot));
  });
  list();
}

/** The facts of what is picked that hold the words looked for. */
function list() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const name = here >= 0 ? data.spots[here][0] : null;
  let count = 0;
  for (const item of items) {
    const ends = data.facts[Number(item.dataset.fact)];
    const text = item.textContent.toLowerCase();
    const on = (name === null || ends.includes(name)) && words.every((word) => text.includes(word));
    item.hidden = !on;
    count += on;
  }
  const of = name === null ? '' : ` of ${name}`;
  status.textContent = `${count} fact${count === 1 ? '' : 's'}${of}`;
  all.hidden = here < 0 && !words.length;
}

const search = make('input', { type: 'search', placeholder: 'Find in facts and quotes', 'aria-label': 'Find in facts and quotes', input: list });
const all = make('button', { type: 'button', click: () => { search.value = ''; pick(-1); } }, 'Show all');
const status = make('p', { class: 'muted', role: 'status' });
document.querySelector('.side').prepend(make('div', { class: 'tools' }, search, all), status);
document.querySelector('.picture').append(make('div', { class: 'zoom' },
  make('button', { type: 'button', 'aria-label': 'Closer', click: () => zoom(0.75) }, '+'),
  make('button', { type: 'button', 'aria-label': 'Farther', click: () => zoom(1 / 0.75) }, '−'),
  make('button', { type: 'button', 'aria-label': 'The whole picture', click: () => {
    Object.assign(view, { x: 0, y: 0, w: data.size[0], h: data.size[1] });
    show();
  } }, '⤢')));

spots.forEach((element, i) => {
  element.setAttribute('tabindex', '0');
  element.setAttribute('role', 'button');
  element.setAttribute('aria-label', data.spots[i][0]);
  element.addEventListener('click', () => pick(here === i ? -1 : i));
  element.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      pick(here === i ? -1 : i);
    }
  });
});

let from = null;
svg.addEventListener('pointerdown', (event) => {
  if (event.button || event.target.closest('[data-spot]')) return;
  from = place(event);
  svg.setPointerCapture(event.pointerId);
  svg.classList.add('moving');
});
svg.addEventListener('pointermove', (event) => {
  if (!from) return;
  const [x, y] = place(event);
  view.x += from[0] - x;
  view.y += from[1] - y;
  show();
});
for (const name of ['pointerup', 'pointercancel']) {
  svg.addEventListener(name, () => {
    from = null;
    svg.classList.remove('moving');
  });
}
svg.addEventListener('wheel', (event) => {
  event.preventDefault();
  zoom(event.deltaY < 0 ? 0.87 : 1.15, ...place(event));
}, { passive: false });
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') {
    search.value = '';
    pick(-1);
  }
});

svg.removeAttribute('width');
svg.removeAttribute('height');
pick(-1);
