// The drawn tree: pan, zoom, and moving through it with the keyboard.

class Tree {
  /** `onSelect(id, wantsStep)` is told of every choice. */
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.selected = 0;
    this.drawings = ['folded', 'whole'].map((id) => new Drawing(document.getElementById(id), this));
    this.tools();
    this.show(document.getElementById('tools').dataset.start);
  }

  tools() {
    const bar = document.getElementById('tools');
    const button = (text, label, act) => {
      const made = make('button', { type: 'button', title: label }, text);
      made.setAttribute('aria-label', label);
      made.addEventListener('click', () => act(made));
      bar.append(made);
      return made;
    };
    this.fold = button('chains', 'Fold chains of tokens into one box', () => {
      this.show(this.shown.name === 'folded' ? 'whole' : 'folded');
    });
    const pruned = button('pruned', 'Show pruned tokens', () => {
      const quiet = document.documentElement.classList.toggle('quiet');
      pruned.setAttribute('aria-pressed', String(!quiet));
    });
    pruned.setAttribute('aria-pressed', 'true');
    button('−', 'Zoom out', () => this.shown.zoom(1 / 1.3));
    button('+', 'Zoom in', () => this.shown.zoom(1.3));
    button('fit', 'Show the whole tree', () => this.shown.fit());
    this.note = make('span', { className: 'muted' });
    bar.append(this.note);
  }

  show(name) {
    for (const drawing of this.drawings) {
      drawing.place.hidden = drawing.name !== name;
      if (drawing.name === name) this.shown = drawing;
    }
    this.fold.setAttribute('aria-pressed', String(name === 'folded'));
    this.fold.textContent = name === 'folded' ? 'chains folded' : 'fold chains';
    this.note.textContent = this.shown.place.dataset.hidden;
    this.shown.open();
    this.shown.mark(this.selected);
  }

  select(id, wantsStep = false) {
    this.selected = id;
    this.shown.mark(id);
    this.onSelect(id, wantsStep);
  }
}

class Drawing {
  constructor(place, tree) {
    this.place = place;
    this.name = place.id;
    this.tree = tree;
    this.svg = place.querySelector('svg');
    this.width = Number(this.svg.dataset.width);
    this.height = Number(this.svg.dataset.height);
    this.boxes = [...this.svg.querySelectorAll('.box')];
    this.of = new Map();
    this.boxes.forEach((box, i) => {
      box.nodeIds = box.dataset.nodes.split(' ').map(Number);
      for (const id of box.nodeIds) this.of.set(id, box);
      box.setAttribute('role', 'treeitem');
      box.setAttribute('tabindex', i ? '-1' : '0');
      box.setAttribute('aria-level', String(depthOf(box.nodeIds[0]) + 1));
    });
    this.svg.setAttribute('role', 'tree');
    this.svg.setAttribute('aria-label', `Token tree of ${nodes.length - 1} tokens`);
    this.listen();
  }

  listen() {
    this.svg.addEventListener('wheel', (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.shiftKey && event.deltaMode === 0 && Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * 0.0016), this.point(event));
    }, { passive: false });
    const fingers = new Map();
    let moved = 0;
    this.svg.addEventListener('pointerdown', (event) => { fingers.set(event.pointerId, event); moved = 0; });
    this.svg.addEventListener('pointermove', (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      moved += Math.abs(event.clientX - before.clientX) + Math.abs(event.clientY - before.clientY);
      if (moved > 5 && !this.svg.hasPointerCapture(event.pointerId)) this.svg.setPointerCapture(event.pointerId);
      if (fingers.size === 2) {
        const other = [...fingers.values()].find((f) => f.pointerId !== event.pointerId);
        const span = (f) => Math.hypot(f.clientX - other.clientX, f.clientY - other.clientY) || 1;
        this.zoom(span(event) / span(before), this.point(event));
      } else if (moved > 5) {
        const unit = this.view[2] / this.svg.clientWidth;
        this.set(this.view[0] - (event.clientX - before.clientX) * unit, this.view[1] - (event.clientY - before.clientY) * unit, this.view[2]);
      }
      fingers.set(event.pointerId, event);
    });
    for (const end of ['pointerup', 'pointercancel']) this.svg.addEventListener(end, (event) => fingers.delete(event.pointerId));
    this.svg.addEventListener('click', (event) => {
      const box = event.target.closest('.box');
      if (box && moved <= 5) { box.focus({ preventScroll: true }); this.tree.select(box.nodeIds[0]); }
    });
    this.svg.addEventListener('keydown', (event) => this.key(event));
  }

  key(event) {
    const box = event.target.closest('.box');
    if (!box || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowRight: () => this.boxes.find((other) => box.nodeIds.includes(nodes[other.nodeIds[0]].p)),
      ArrowLeft: () => this.of.get(nodes[box.nodeIds[0]].p),
      ArrowDown: () => this.beside(box, 1),
      ArrowUp: () => this.beside(box, -1),
      Home: () => this.boxes[0],
      '+': () => this.zoom(1.3), '-': () => this.zoom(1 / 1.3), 0: () => this.fit(),
      Enter: () => this.tree.select(box.nodeIds[0], true),
      ' ': () => this.tree.select(box.nodeIds[0]),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    const next = act();
    if (next instanceof Element) {
      this.tree.select(next.nodeIds[0]);
      next.focus({ preventScroll: true });
      this.reveal(next);
    }
  }

  /** The sibling above or below, else the nearest box of the same step. */
  beside(box, direction) {
    const level = box.getAttribute('aria-level');
    const middle = (b) => { const r = b.getBBox(); return r.y + r.height / 2; };
    const here = middle(box);
    const same = this.boxes.filter((b) => b !== box && b.getAttribute('aria-level') === level && (middle(b) - here) * direction > 0);
    return same.sort((a, b) => Math.abs(middle(a) - here) - Math.abs(middle(b) - here))[0];
  }

  /** Called when the drawing becomes visible: as large as is readable. */
  open() {
    if (this.view) return;
    const readable = this.svg.clientWidth * 1.15;
    if (this.width <= readable) this.fit();
    else this.set(0, 0, readable);
  }

  fit() {
    const ratio = this.svg.clientHeight / this.svg.clientWidth || 0.6;
    const width = Math.max(this.width, this.height / ratio, 200);
    this.set((this.width - width) / 2, (this.height - width * ratio) / 2, width);
  }

  zoom(factor, at = null) {
    const [x, y, width] = this.view;
    const wide = Math.min(Math.max(width / factor, 120), Math.max(this.width, this.height) * 6);
    const [px, py] = at ?? [x + width / 2, y + this.view[3] / 2];
    const scale = wide / width;
    this.set(px - (px - x) * scale, py - (py - y) * scale, wide);
  }

  set(x, y, width) {
    const height = width * (this.svg.clientHeight / this.svg.clientWidth || 0.6);
    const within = (at, size, all) => Math.min(Math.max(at, -size * 0.8), all - size * 0.2);
    this.view = [within(x, width, this.width), within(y, height, this.height), width, height];
    this.svg.setAttribute('viewBox', this.view.map((v) => v.toFixed(2)).join(' '));
  }

  point(event) {
    const frame = this.svg.getBoundingClientRect();
    const [x, y, width, height] = this.view;
    return [x + ((event.clientX - frame.left) / frame.width) * width, y + ((event.clientY - frame.top) / frame.height) * height];
  }

  reveal(box) {
    const frame = this.frame(box);
    const [x, y, width, height] = this.view;
    const inside = frame.x >= x && frame.y >= y && frame.x + frame.width <= x + width && frame.y + frame.height <= y + height;
    if (!inside) this.set(frame.x + frame.width / 2 - width / 2, frame.y + frame.height / 2 - height / 2, width);
  }

  /** Where a box lies in the drawing. */
  frame(box) {
    const shift = box.parentNode.transform.baseVal[0]?.matrix;
    const r = box.getBBox();
    return { x: r.x + (shift?.e ?? 0), y: r.y + (shift?.f ?? 0), width: r.width, height: r.height };
  }

  mark(id) {
    for (const box of this.boxes) {
      const here = box.nodeIds.includes(id);
      box.classList.toggle('here', here);
      box.setAttribute('aria-selected', String(here));
      box.setAttribute('tabindex', here ? '0' : '-1');
    }
    const box = this.of.get(id);
    if (box) this.reveal(box);
    else if (this.boxes[0]) this.boxes[0].setAttribute('tabindex', '0');
  }
}
