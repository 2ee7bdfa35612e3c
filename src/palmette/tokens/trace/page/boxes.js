// Which nodes a drawing shows, and in which boxes: chains become one box, whatever is left out is counted in its box.

/** What is folded away: all of it is a value, so that a drawing follows from trace and state alone. */
function firstState(trace) {
  return { fold: trace.nodes.length > 65, pruned: true, branches: true, shut: new Set(), open: new Set(), loose: new Set() };
}

/** A branch that leaves the best answers for good. */
const leaves = (trace, node) => !node.best.length && node.parent >= 0 && trace.nodes[node.parent].best.length > 0;

/** Boxes, parents first; `x` and `y` (the middle) are added by `place`. */
function boxesOf(trace, state) {
  const sizes = trace.subtrees ??= subtreesOf(trace);
  const boxes = [];
  const stack = [[0, -1]];
  while (stack.length) {
    const [start, parent] = stack.pop();
    const chain = [start];
    let inside = shownChildren(trace, state, start);
    while (state.fold && start && !state.loose.has(start) && inside.length === 1 && alike(trace, chain[chain.length - 1], inside[0])) {
      chain.push(inside[0]);
      inside = shownChildren(trace, state, inside[0]);
    }
    const drawn = new Set([...chain, ...inside]);
    let hidden = 0;
    for (const id of chain) for (const child of trace.nodes[id].children) if (!drawn.has(child)) hidden += sizes[child];
    boxes.push(boxOf(trace, chain, parent, hidden, inside.length === 0));
    for (const child of inside.reverse()) stack.push([child, boxes.length - 1]);
  }
  for (const box of boxes) box.children = 0;
  for (const box of boxes) if (box.parent >= 0) { box.place = boxes[box.parent].children += 1; }
  return boxes;
}

/** For each node how many nodes its subtree has, itself included. */
function subtreesOf(trace) {
  const found = trace.nodes.map(() => 1);
  for (let id = trace.nodes.length - 1; id > 0; id -= 1) found[trace.nodes[id].parent] += found[id];
  return found;
}

function shownChildren(trace, state, id) {
  const opened = state.open.has(id);
  if (state.shut.has(id) || (!state.branches && !opened && leaves(trace, trace.nodes[id]))) return [];
  const all = state.pruned || opened;
  return ordered(trace, id).filter((child) => all || trace.nodes[child].status !== 'pruned');
}

/** The way of the first best answer, pruned ones, then the other branches. */
function ordered(trace, id) {
  const first = trace.nodes[id].best[0];
  const rank = (node) => {
    if (node.status === 'best') return node.best[0] === first ? 0 : 2;
    return { pruned: 1, answer: 3 }[node.status] ?? 4;
  };
  const order = (a, b) => rank(a) - rank(b) || (a.status === 'pruned' ? b.logprob - a.logprob : 0) || a.id - b.id;
  return trace.nodes[id].children.map((child) => trace.nodes[child]).sort(order).map((node) => node.id);
}

/** Whether two nodes of a chain may share a box: same runs, same fate, nothing that ends or parts between them. */
function alike(trace, upper, lower) {
  const [a, b] = [trace.nodes[upper], trace.nodes[lower]];
  return a.status === b.status && a.best.join() === b.best.join() && a.notes.length === 0;
}

function boxOf(trace, chain, parent, hidden, leaf) {
  const last = trace.nodes[chain[chain.length - 1]];
  const first = trace.nodes[chain[0]];
  let kind = first.id === 0 ? 'prompt' : chain.length > 1 ? 'chain' : 'token';
  if (kind === 'token' && last.status === 'pruned' && leaf && !hidden) kind = 'slim';
  const logprobs = chain.map((id) => trace.nodes[id].logprob);
  const sum = logprobs.reduce((all, each) => all + each, 0);
  const captions = [];
  if (kind === 'chain') captions.push(`${chain.length} tokens · ${percent(Math.min(...logprobs))} … ${percent(Math.max(...logprobs))}`, `Σ log p ${figure(sum)}`);
  else if (kind !== 'prompt') captions.push(last.probability);
  if (last.death) captions.push(last.death);
  captions.push(...last.notes);
  const box = { id: chain[0], nodes: chain, parent, kind, status: last.status, best: last.best, parts: last.parts,
    hidden, depth: first.depth, logprob: sum / chain.length, captions, lines: linesOf(trace, chain, kind) };
  return Object.assign(box, kind === 'prompt' ? promptSize(trace, captions) : sizeOf(trace.sizes, box));
}

/** Lines of [text, width in cells]. */
function linesOf(trace, chain, kind) {
  if (kind === 'prompt') return trace.root[0].map((text) => [text, 0]);
  if (kind !== 'chain') {
    const { symbol } = trace.nodes[chain[0]];
    return (trace.lines[symbol.i] ?? [symbol.text]).map((text) => [text, symbol.width]);
  }
  const lines = [['', 0]];
  for (const id of chain) {
    const { symbol } = trace.nodes[id];
    let [text, width] = trace.pieces[id] ?? [symbol.text.replace(/␣/g, ' '), symbol.width];
    let line = lines[lines.length - 1];
    const room = trace.sizes.wrap - line[1] - width; // a full stop or the rest of a word may stand out a little
    if (line[1] && (text.startsWith(' ') ? room < 0 : room < -6)) {
      if (lines.length === trace.sizes.lines) { line[0] += '…'; line[1] += 1; break; }
      lines.push(line = ['', 0]);
    }
    if (!line[1] && lines.length > 1 && text.startsWith(' ')) [text, width] = [text.slice(1), width - 1];
    line[0] += text;
    line[1] += width;
  }
  if (lines[0][0].startsWith(' ')) lines[0][0] = `␣${lines[0][0].slice(1)}`;
  return lines;
}

function sizeOf(s, box) {
  const small = Math.max(0, ...box.captions.map((text) => text.length)) * s.caption * s.cell;
  if (box.kind === 'slim') {
    box.captions = [box.captions.join(' ')];
    return { width: box.lines[0][1] * s.slim * s.cell + 3 * s.pad + box.captions[0].length * s.caption * s.cell, height: s.low };
  }
  const wide = Math.max(...box.lines.map((line) => line[1])) * s.token * s.cell;
  return { width: Math.max(44, Math.max(wide, small) + 2 * s.pad), height: box.lines.length * s.line + box.captions.length * s.note + 2 * s.inset };
}

function promptSize(trace, captions) {
  const [, width, height] = trace.root;
  const small = Math.max(0, ...captions.map((text) => text.length)) * trace.sizes.caption * trace.sizes.cell + 2 * trace.sizes.pad;
  const notes = trace.root[0].length * trace.sizes.line + captions.length * trace.sizes.note + 2 * trace.sizes.inset;
  return { width: Math.max(width, small), height: Math.max(Math.min(height, notes), notes) };
}
