// Boxes and strands as SVG, drawn only where the reader looks: thousands of boxes are laid out, some dozens are drawn.

const LANE = 4;

/** A box at its place, from afar without its texts. The sign at its edge folds what follows, or unfolds what is hidden. */
function drawBox(trace, box, { selected, onPath, far }) {
  const s = trace.sizes;
  const top = box.y - box.height / 2;
  const frame = { x: box.x, y: top, width: box.width, height: box.height, rx: 5 };
  const fill = box.kind === 'prompt' ? 'plain' : levelOf(trace, box.logprob);
  const said = wordsOf(trace, box);
  const parts = [draw('rect', { class: 'face', ...frame })];
  if (box.status === 'pruned') parts.push(draw('rect', { ...frame, fill: 'url(#palmette-hatch)' }));
  const left = box.x + s.pad;
  if (far) {
    // texts would be smaller than anyone can read
  } else if (box.kind === 'slim') {
    parts.push(textAt(left, box.y + 4, box.lines[0], s.slim), textAt(left + box.lines[0][1] * s.slim * s.cell + s.pad, box.y + 4, [box.captions[0], 0], s.caption));
  } else {
    let y = top + s.inset;
    for (const [i, line] of box.lines.entries()) {
      const small = box.kind === 'prompt' && i === 0;
      parts.push(textAt(left, y + 13, line, small ? s.caption : s.token, box.best.length && !small));
      y += s.line;
    }
    for (const caption of box.captions) { parts.push(textAt(left, y + 10, [caption, 0], s.caption)); y += s.note; }
  }
  if (box.parts) parts.push(draw('path', { class: 'diamond', d: `M${box.x + box.width + 8} ${box.y - 8}l8 8l-8 8l-8 -8z` }));
  if (!far && (box.hidden || box.children)) parts.push(handle(box));
  const classes = ['box', box.kind, box.status, fill, selected ? 'here' : '', onPath ? 'way' : ''].filter(Boolean).join(' ');
  return draw('g', {
    class: classes, id: `box-${box.id}`, 'data-node': box.id, role: 'treeitem', 'aria-level': box.level, 'aria-label': said,
    'aria-selected': String(selected), 'aria-expanded': box.hidden || box.children ? String(!box.hidden) : null,
    'aria-posinset': box.place ?? 1, 'aria-setsize': box.siblings ?? 1,
  }, draw('title', {}, said), draw('g', { 'aria-hidden': 'true' }, parts));
}

/** ⊕ with the count of what is hidden, or ⊖. */
function handle(box) {
  const sign = box.hidden ? `+${box.hidden}` : '−';
  const wide = Math.max(16, sign.length * 7 + 8);
  const x = box.x + box.width + 6 - wide / 4;
  const y = box.y + box.height / 2;
  return draw('g', { class: box.hidden ? 'handle more' : 'handle', 'data-handle': box.id },
    draw('title', {}, box.hidden ? `show ${box.hidden} more` : 'fold what follows'),
    draw('rect', { x: x - wide / 2, y: y - 8, width: wide, height: 16, rx: 8 }),
    draw('text', { x, y: y + 4, 'text-anchor': 'middle', 'font-size': 11 }, sign));
}

/** A line of text; where glyphs may come from other fonts its width is fixed, so that it cannot leave its box. */
function textAt(x, y, [text, width], size, bold = false) {
  const foreign = [...text].some((c) => c.codePointAt(0) > 126);
  const fixed = foreign && width > 1 ? (width * size * 0.602).toFixed(1) : null;
  return draw('text', { x: x.toFixed(1), y: y.toFixed(1), 'font-size': size, 'font-weight': bold ? 'bold' : null, 'xml:space': 'preserve',
    'unicode-bidi': 'plaintext', textLength: fixed, lengthAdjust: fixed && 'spacingAndGlyphs' }, text);
}

/** Everything about a box in words: what stands in it, in its order, and what its looks say. */
function wordsOf(trace, box) {
  const fate = { best: 'on a best answer', answer: 'on an answer', pruned: 'pruned' }[box.status] ?? 'kept for a while';
  const rest = [box.kind === 'prompt' ? '' : fate, box.hidden ? `${box.hidden} hidden` : ''].filter(Boolean);
  return [box.lines.map((line) => line[0]).join(' '), ...box.captions, ...rest].join(', ');
}

/** All strands into a box: one for each best answer that passes, else a thin one; dashed when pruned. */
function drawStrands(trace, above, box, way) {
  const start = above.x + above.width;
  if (!box.best.length) {
    return [draw('path', { class: `strand ${box.status}${way ? ' way' : ''}`, d: bend(start, above.y, box.x - trace.sizes.gap / 2, box.x, box.y) })];
  }
  return box.best.map((run) => {
    const [from, to] = [lane(above, run), lane(box, run)];
    const { hue, dash } = trace.runs[run];
    return draw('path', { class: 'strand best', stroke: hue, 'stroke-dasharray': dash || null,
      d: bend(start, above.y + from, box.x - trace.sizes.gap / 2 - to, box.x, box.y + to) });
  });
}

const lane = (box, run) => (box.best.indexOf(run) - (box.best.length - 1) / 2) * LANE;

function bend(x, y, turn, toX, toY) {
  const rise = toY - y;
  if (Math.abs(rise) < 0.5) return `M${x} ${y}H${toX}`;
  if (Math.abs(rise) < 14) return `M${x} ${y}H${turn - 6}L${turn + 6} ${toY}H${toX}`;
  const by = rise > 0 ? 7 : -7;
  return `M${x} ${y}H${turn - 7}Q${turn} ${y} ${turn} ${y + by}V${toY - by}Q${turn} ${toY} ${turn + 7} ${toY}H${toX}`;
}
