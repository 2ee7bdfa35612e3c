// What mouse, fingers and keys do in the tree.

Tree.prototype.gestures = function gestures() {
  const fingers = new Map();
  let moved = 0;
  const here = (event) => { const frame = this.svg.getBoundingClientRect(); return [event.clientX - frame.left, event.clientY - frame.top]; };
  this.svg.addEventListener('wheel', (event) => {
    // a page must stay scrollable: the wheel zooms only a tree that one works in, or with a key held
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== this.svg) return;
    event.preventDefault();
    this.zoom(Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) * 0.004), here(event));
  }, { passive: false });
  this.svg.addEventListener('pointerdown', (event) => { fingers.set(event.pointerId, event); if (fingers.size === 1) moved = 0; });
  this.svg.addEventListener('pointermove', (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    moved += Math.abs(dx) + Math.abs(dy);
    if (moved > 5 && !this.svg.hasPointerCapture(event.pointerId)) this.svg.setPointerCapture(event.pointerId);
    const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
    if (other) {
      const span = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY) || 1;
      this.zoom(span(event) / span(before), here(event));
    } else if (moved > 5) this.pan(dx, dy);
    fingers.set(event.pointerId, event);
  });
  for (const end of ['pointerup', 'pointercancel']) this.svg.addEventListener(end, (event) => fingers.delete(event.pointerId));
  this.svg.addEventListener('click', (event) => {
    if (moved > 5) return;
    const sign = event.target.closest('[data-handle]');
    const box = event.target.closest('.box');
    if (sign) this.toggle(this.of.get(Number(sign.dataset.handle)));
    else if (box) this.onSelect(Number(box.dataset.node), false);
  });
  this.svg.addEventListener('dblclick', (event) => {
    const box = event.target.closest('.box');
    if (box && !event.target.closest('[data-handle]')) this.onSelect(Number(box.dataset.node), true);
  });
  this.svg.addEventListener('keydown', (event) => this.key(event));
};

/** Arrow keys move through the tree; Space folds, Enter opens the details. */
Tree.prototype.key = function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const box = this.boxFor(this.selected);
  const inside = () => this.boxes.filter((other) => this.boxes[other.parent] === box);
  const act = {
    ArrowRight: () => inside()[0] ?? (box.hidden ? this.toggle(box) : null),
    ArrowLeft: () => this.boxes[box.parent],
    ArrowDown: () => this.beside(box, 1),
    ArrowUp: () => this.beside(box, -1),
    Home: () => this.boxes[0],
    '+': () => this.zoom(1.25), '=': () => this.zoom(1.25), '-': () => this.zoom(0.8), 0: () => this.fit(),
    Enter: () => this.onSelect(this.selected, true),
    ' ': () => { if (box.hidden || box.children) this.toggle(box); },
  }[event.key];
  if (!act) return;
  event.preventDefault();
  const next = act();
  if (next && next.nodes) this.onSelect(next.id, false);
};

/** The sibling above or below, else the nearest box of the same level. */
Tree.prototype.beside = function beside(box, direction) {
  const same = this.boxes.filter((other) => other.level === box.level && (other.y - box.y) * direction > 0);
  const far = (other) => Math.abs(other.y - box.y);
  return same.reduce((nearest, other) => (!nearest || far(other) < far(nearest) ? other : nearest), null);
};
