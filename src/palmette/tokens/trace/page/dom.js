// Elements. Text goes in as text only; nothing here builds markup from strings, and no style is written into markup.

const SVG = document.querySelector('svg').namespaceURI;

/** An HTML element with attributes (`class`, `on…` as listeners, true for bare ones) and children, elements or text. */
function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same in SVG. */
function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, '');
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

/** A button, named by its text or, where that is only a sign, by its label; `pressed` true or false makes it a switch. */
function button(text, label, click, pressed = null) {
  const name = /\p{L}/u.test(text) ? null : label;
  return make('button', { type: 'button', 'aria-label': name, title: label, 'aria-pressed': pressed === null ? null : String(pressed), click }, text);
}

/** The short line in a run's colour and dash pattern. */
function swatch(run) {
  return draw('svg', { class: 'swatch', width: 30, height: 10, viewBox: '0 0 30 10', 'aria-hidden': 'true' },
    draw('path', { d: 'M0 5h30', stroke: run.hue, 'stroke-width': 4, 'stroke-dasharray': run.dash || null }));
}

/** A table with a head; rows are lists of cells, a cell is text or an element. */
function table(caption, heads, rows, kind = '') {
  return make('table', { class: kind || null }, make('caption', {}, caption),
    make('thead', {}, make('tr', {}, heads.map((text) => (text ? make('th', { scope: 'col' }, text) : make('td'))))),
    make('tbody', {}, rows.map((row) => make('tr', {}, row.map((cell) => (cell instanceof Element && cell.tagName === 'TD' ? cell : make('td', {}, cell)))))));
}
