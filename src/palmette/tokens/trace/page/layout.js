// A tidy tree that reads like text, as in layout.py (Reingold and Tilford 1981, van der Ploeg 2014): outlines are linked
// lists that share their tails, so that each merge costs the shorter of two and the whole O(n). A test compares the two.

/** Positions of boxes {parent, width, height, depth}, parents first; `columns` are left edges of steps, or empty. */
function place(boxes, sizes, columns = []) {
  const starts = [];
  const below = boxes.map(() => []);
  boxes.forEach((box, i) => {
    if (box.parent >= 0) below[box.parent].push(i);
    if (box.parent < 0) starts.push(0);
    else starts.push(columns.length ? columns[box.depth] : starts[box.parent] + boxes[box.parent].width + sizes.gap);
  });
  const shifts = boxes.map(() => 0);
  const tops = [];
  const bottoms = [];
  for (let i = boxes.length - 1; i >= 0; i -= 1) {
    const end = starts[i] + boxes[i].width;
    const half = boxes[i].height / 2;
    tops[i] = outline(cell(end, -half));
    bottoms[i] = outline(cell(end, half));
    if (!below[i].length) continue;
    let [upper, lower] = [tops[below[i][0]], bottoms[below[i][0]]];
    for (const child of below[i].slice(1)) [upper, lower, shifts[child]] = merge(upper, lower, tops[child], bottoms[child], sizes.apart);
    const start = starts[below[i][0]];
    const last = below[i][below[i].length - 1];
    tops[i] = under(upper, tops[i].first, cell(start, -sizes.apart));
    bottoms[i] = under(lower, bottoms[i].first, cell(start, shifts[last] + sizes.apart));
  }
  const ys = [];
  boxes.forEach((box, i) => ys.push(shifts[i] + (box.parent >= 0 ? ys[box.parent] : 0)));
  const highest = boxes.reduce((least, box, i) => Math.min(least, ys[i] - box.height / 2), Infinity);
  return boxes.map((box, i) => ({ x: starts[i], y: ys[i] - highest }));
}

/** The left edge of each step: one column is as wide as its widest box. */
function columnsOf(boxes, gap) {
  const widths = [];
  for (const box of boxes) widths[box.depth] = Math.max(widths[box.depth] ?? 0, box.width);
  const edges = [0];
  for (let depth = 0; depth < widths.length - 1; depth += 1) edges.push(edges[depth] + widths[depth] + gap);
  return edges;
}

const cell = (end, level) => ({ end, level, next: null, shift: 0 });
const outline = (only) => ({ first: only, last: only, shift: 0, tail: 0 });

function under(found, near, far) {
  near.next = far;
  far.next = found.first;
  far.shift = found.shift;
  return { first: near, last: found.last, shift: 0, tail: found.tail };
}

/** Push a subtree (top, bottom) below a forest (upper, lower): the new forest and the push. */
function merge(upper, lower, top, bottom, apart) {
  let push = 0;
  let [a, b, at, bt] = [lower.first, top.first, lower.shift, top.shift];
  while (a && b) {
    push = Math.max(push, a.level + at + apart - b.level - bt);
    const [ends, other] = [a.end, b.end];
    if (ends <= other) { at += a.shift; a = a.next; }
    if (other <= ends) { bt += b.shift; b = b.next; }
  }
  let merged = { ...bottom, shift: bottom.shift + push, tail: bottom.tail + push };
  if (a) {
    merged.last.next = a;
    merged.last.shift = at - merged.tail;
    merged = { first: merged.first, last: lower.last, shift: merged.shift, tail: lower.tail };
  }
  if (b) {
    upper.last.next = b;
    upper.last.shift = bt + push - upper.tail;
    upper = { first: upper.first, last: top.last, shift: upper.shift, tail: top.tail + push };
  }
  return [upper, merged, push];
}
