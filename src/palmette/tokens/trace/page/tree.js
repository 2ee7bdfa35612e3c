// The tree that one looks at: pan, zoom, keyboard, folding. Focus stays on the drawing itself; the active box is named
// to screen readers by aria-activedescendant, so that redrawing never loses anyone's place.

const FAR = 0.25;

class Tree {
  /** `onSelect(id, open)` is told of every choice; `open` when the reader asks for the details. */
  constructor(trace, onSelect) {
    Object.assign(this, { trace, onSelect, state: firstState(trace), selected: 0, way: new Set(), view: null });
    this.layer = draw('g');
    this.svg = draw('svg', { role: 'tree', tabindex: 0, 'aria-label': `Token tree, ${plural(trace.nodes.length - 1, 'token')}`, 'aria-describedby': 'tree-hint' }, this.layer);
    this.place = document.getElementById('tree');
    this.place.replaceChildren(this.svg);
    this.gestures();
    this.begin();
    new ResizeObserver(() => { if (this.view) this.paint(true); }).observe(this.svg);
  }

  /** Show as much as makes a tree one can look over: first side branches are counted, then pruned tokens too. */
  begin() {
    for (const [change, height] of [[{}, 1000], [{ branches: false }, 1500], [{ pruned: false }, Infinity]]) {
      Object.assign(this.state, change);
      this.arrange();
      if (this.height <= height) return;
    }
  }

  /** Lay out anew after folding; the box `anchor` stays where it is on the screen. */
  arrange(anchor = null) {
    const before = anchor === null ? null : this.boxFor(anchor);
    const at = before && { x: before.x, y: before.y };
    this.boxes = boxesOf(this.trace, this.state);
    const columns = this.state.fold ? [] : columnsOf(this.boxes, this.trace.sizes.gap);
    place(this.boxes, this.trace.sizes, columns).forEach((spot, i) => Object.assign(this.boxes[i], spot));
    this.of = new Map();
    for (const box of this.boxes) {
      const above = this.boxes[box.parent];
      box.level = above ? above.level + 1 : 1;
      box.siblings = above ? above.children : 1;
      for (const id of box.nodes) this.of.set(id, box);
    }
    this.width = Math.max(...this.boxes.map((box) => box.x + box.width));
    this.height = Math.max(...this.boxes.map((box) => box.y + box.height / 2));
    if (at && this.view) {
      const now = this.boxFor(anchor);
      this.view.x += now.x - at.x;
      this.view.y += now.y - at.y;
    }
    this.changed?.();
    if (this.view) this.paint(true);
  }

  /** The box that holds a node, or the nearest one above it. */
  boxFor(id) {
    let at = id;
    while (at > 0 && !this.of.has(at)) at = this.trace.nodes[at].parent;
    return this.of.get(Math.max(at, 0));
  }

  /** Select a node; `path` are the nodes to underline. Folded ones are brought to light. */
  select(id, path = []) {
    this.selected = id;
    this.way = new Set(path);
    if (!this.of.has(id)) {
      for (const up of pathTo(this.trace, id)) {
        const above = this.trace.nodes[this.trace.nodes[up].parent];
        this.state.shut.delete(above.id);
        if (leaves(this.trace, above) || this.trace.nodes[up].status === 'pruned') this.state.open.add(above.id);
      }
      this.arrange(id);
    }
    this.paint(true);
    this.reveal(this.boxFor(id));
  }

  /** Draw what lies in view, with a margin; while panning within the margin only the shift changes. */
  paint(anew = false) {
    const { x, y, k } = this.view;
    const [wide, high] = [this.svg.clientWidth / k, this.svg.clientHeight / k];
    this.layer.setAttribute('transform', `translate(${(-x * k).toFixed(2)} ${(-y * k).toFixed(2)}) scale(${k.toFixed(4)})`);
    const seen = this.drawn;
    const far = k < FAR;
    if (!anew && seen && far === seen.far && wide * 6 > seen.right - seen.x && x >= seen.x && y >= seen.y && x + wide <= seen.right && y + high <= seen.bottom) return;
    this.drawn = { x: x - wide / 2, y: y - high / 2, right: x + 1.5 * wide, bottom: y + 1.5 * high, far };
    const active = this.boxFor(this.selected);
    const [strands, bold, boxes] = [[], [], []];
    for (const box of this.boxes) {
      const above = this.boxes[box.parent];
      if (above && this.touches(Math.min(above.x, box.x), Math.min(above.y, box.y), Math.max(box.x, above.x + above.width), Math.max(above.y, box.y))) {
        (box.best.length ? bold : strands).push(...drawStrands(this.trace, above, box, this.way.has(box.id)));
      }
      const half = box.height / 2;
      if (box === active || this.touches(box.x, box.y - half, box.x + box.width, box.y + half)) {
        boxes.push(drawBox(this.trace, box, { selected: box === active, onPath: this.way.has(box.id), far }));
      }
    }
    this.layer.setAttribute('class', far ? 'far' : 'near');
    this.layer.replaceChildren(...strands, ...bold, ...boxes);
    this.svg.setAttribute('aria-activedescendant', `box-${active.id}`);
  }

  touches(left, top, right, bottom) {
    return right >= this.drawn.x && left <= this.drawn.right && bottom >= this.drawn.y && top <= this.drawn.bottom;
  }

  /** Unfold what a box hides, or fold what follows it. */
  toggle(box) {
    const last = box.nodes[box.nodes.length - 1];
    if (!box.hidden) this.state.shut.add(last);
    else if (!this.state.shut.delete(last)) for (const id of box.nodes) { this.state.open.add(id); this.state.loose.add(id); }
    this.arrange(box.id);
  }

  /** Fold or unfold chains, show or count pruned tokens and side branches: everything folded by hand is forgotten. */
  set(change) {
    Object.assign(this.state, change, { open: new Set(), loose: new Set(), shut: new Set() });
    this.arrange(this.selected);
    this.reveal(this.boxFor(this.selected));
  }

  /** As large as is readable: the whole tree if it fits, else its beginning. */
  open() {
    const scale = Math.min(this.svg.clientWidth / (this.width + 48), this.svg.clientHeight / (this.height + 48));
    if (scale >= 0.8) return this.fit();
    this.view = { x: -20, y: -20, k: 0.95 };
    return this.paint(true);
  }

  fit() {
    const [wide, high] = [this.svg.clientWidth, this.svg.clientHeight];
    const k = Math.min(1.15, wide / (this.width + 48), high / (this.height + 48));
    this.view = { x: Math.min(-24, (this.width - wide / k) / 2), y: Math.min(-24, (this.height - high / k) / 2), k };
    if (this.width * k < wide - 60) this.view.x = -24;
    this.paint(true);
  }

  /** Zoom about a point of the drawing's frame, its middle by default. */
  zoom(factor, at = [this.svg.clientWidth / 2, this.svg.clientHeight / 2]) {
    const { x, y, k } = this.view;
    const least = Math.min(0.1, this.svg.clientWidth / (this.width + 48) / 2);
    const next = Math.min(4, Math.max(least, k * factor));
    this.view = { x: x + at[0] / k - at[0] / next, y: y + at[1] / k - at[1] / next, k: next };
    this.paint();
  }

  pan(dx, dy) {
    const { k } = this.view;
    const within = (at, size, all) => Math.min(Math.max(at, 40 / k - size), all - 40 / k);
    this.view.x = within(this.view.x - dx / k, this.svg.clientWidth / k, this.width);
    this.view.y = within(this.view.y - dy / k, this.svg.clientHeight / k, this.height);
    this.paint();
  }

  /** Move as little as needed to bring a box into view. */
  reveal(box) {
    const { k } = this.view;
    const need = (at, size, low, high) => {
      if (low < at + 16 / k || high - low > size) return low - 24 / k;
      return high > at + size - 16 / k ? high - size + 24 / k : at;
    };
    const half = box.height / 2;
    this.view.x = need(this.view.x, this.svg.clientWidth / k, box.x, box.x + box.width);
    this.view.y = need(this.view.y, this.svg.clientHeight / k, box.y - half, box.y + half);
    this.paint();
  }
}
