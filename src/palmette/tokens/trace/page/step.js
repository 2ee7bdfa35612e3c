// One step: the token's figures, the distribution that it was chosen from or that follows it, and which view removed what.

const FEW = 12;
const FATES = { best: 'on its best answer', answer: 'on an answer', kept: 'kept', passed: 'passed', pruned: 'dropped at once' };

class Details {
  /** `go` is told of a node that the reader wants, `turn` of another run; see main.js. */
  constructor(trace, go, turn) {
    Object.assign(this, { trace, go, turn, follows: false, all: false });
    this.place = document.getElementById('step');
    this.histogram = new Histogram(trace);
    this.walker = this.walk();
    this.head = make('div');
    this.spread = make('div');
    this.place.replaceChildren(this.walker, this.head, this.spread);
  }

  /** Back and forth along an answer; the parts stay, so that focus stays. */
  walk() {
    const step = (by) => () => this.go(this.path[this.path.indexOf(this.id) + by] ?? this.path[by > 0 ? 0 : this.path.length - 1]);
    this.back = button('‹', 'Previous step', step(-1));
    this.next = button('›', 'Next step', step(1));
    this.slider = make('input', { type: 'range', min: 1, 'aria-label': 'Step of the answer', input: () => this.go(this.path[Number(this.slider.value) - 1]) });
    this.choice = make('select', { 'aria-label': 'Run whose answer is walked', change: () => this.turn(Number(this.choice.value)) },
      this.trace.runs.map((run, i) => make('option', { value: i }, `${run.letter} ${run.label}`)));
    return make('div', { class: 'walk' }, this.choice, this.back, this.slider, this.next);
  }

  /** Show node `id` as run `run` saw it, on the way `path`. */
  show(id, run, path) {
    Object.assign(this, { id, run, path });
    const at = path.indexOf(id);
    this.choice.value = String(run);
    this.slider.max = String(Math.max(1, path.length));
    this.slider.value = String(at + 1 || 1);
    this.slider.setAttribute('aria-valuetext', at >= 0 ? `step ${at + 1} of ${path.length}` : 'off this answer');
    this.slider.disabled = path.length < 2;
    this.back.disabled = at === 0 || !path.length;
    this.next.disabled = at === path.length - 1 || !path.length;
    this.head.replaceChildren(...this.about());
    this.drawSpread();
  }

  about() {
    const { trace } = this;
    const node = trace.nodes[this.id];
    if (!this.id) return [make('h2', { id: 'step-title' }, 'The prompt'), make('p', { class: 'muted' }, 'What may follow it:')];
    const before = textOf(trace, pathTo(trace, node.parent).slice(-24));
    const facts = [['probability', percent(node.logprob)], ['log p', figure(node.logprob)], ['rank', String(node.rank)], ['token id', String(node.symbol.token)],
      ['bytes', node.symbol.bytes.match(/../g)?.join(' ') ?? 'none'], ['depth', String(node.depth)]];
    return [
      make('h2', { id: 'step-title' }, `Step ${node.depth} `, make('span', { class: 'name', dir: 'auto' }, node.symbol.text)),
      make('p', { class: 'context', dir: 'auto' }, node.depth > 25 ? '…' : '', before, make('b', {}, node.symbol.text)),
      make('dl', { class: 'facts' }, facts.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, value)))),
      node.visits.length ? make('div', { class: 'scroll' }, table('How each run saw it', ['run', 'after its views', 'log p', 'score', 'fate'], node.visits.map((visit) => this.visit(node, visit)), 'small')) : '',
    ];
  }

  visit(node, visit) {
    const run = this.trace.runs[visit.run];
    const mark = node.fates.find((each) => each.run === visit.run);
    const died = mark?.died ? (mark.status === 'pruned' ? `dropped in step ${mark.died}` : `given up in step ${mark.died}`) : FATES[mark?.status] ?? '';
    return [make('span', { class: 'run-name' }, swatch(run), ` ${run.letter}`), percent(visit.after), visit.after === null ? '✕' : figure(visit.after), figure(visit.score), died];
  }

  drawSpread() {
    const above = this.follows || !this.id ? this.id : this.trace.nodes[this.id].parent;
    const { expansion } = this.trace.nodes[above];
    const swap = this.id ? make('div', { class: 'tools', role: 'group', 'aria-label': 'Which distribution' }, button('chosen from', 'The distribution this token was chosen from', () => this.swap(false), !this.follows),
      button('what follows', 'The distribution after this token', () => this.swap(true), this.follows)) : '';
    if (!expansion) return this.spread.replaceChildren(swap, make('p', { class: 'muted' }, 'No run went on from here.'));
    const look = expansion.looks.find((each) => each.run === this.run) ?? expansion.looks[0];
    const bars = this.bars(above, expansion, look);
    const seen = look ? `, ${figure(look.entropy)} after the views of ${this.trace.runs[look.run].letter}` : '';
    const key = make('p', { class: 'key' }, make('span', { class: 'before' }), ' the model ', make('span', { class: 'after' }), ` after the views${look ? ` of ${this.trace.runs[look.run].letter}` : ''}  ● chosen  ▲ this token  × removed`);
    this.spread.replaceChildren(make('div', { class: 'bar' }, swap || make('span'), this.histogram.scale),
      make('h3', {}, `The ${bars.length} likeliest tokens`),
      make('p', { class: 'muted' }, `entropy ${figure(expansion.entropy)} nats${seen} · all other tokens together ${share(expansion.rest)}`),
      key, this.histogram.element, make('div', { class: 'scroll' }, ...this.list(bars)), ...(look?.stages.length ? this.pipeline(expansion, look) : [make('p', { class: 'muted' }, 'This run has no views: it sees the model as it is.')]));
    return this.histogram.show(bars, this.cuts(expansion, look), expansion.rest);
  }

  swap(follows) {
    this.follows = follows;
    this.drawSpread();
    this.spread.querySelector('[aria-pressed="true"]').focus();
  }

  bars(above, expansion, look) {
    const removed = new Map();
    for (const stage of look?.stages ?? []) for (const i of stage.removed) removed.set(i, stage.view);
    const children = new Map(this.trace.nodes[above].children.map((id) => [this.trace.nodes[id].symbol.token, this.trace.nodes[id]]));
    return expansion.symbols.map((symbol, i) => {
      const child = children.get(symbol.token);
      return {
        text: symbol.text, before: expansion.logprobs[i], after: look ? look.logprobs[i] : null, removed: removed.get(i) ?? '', child,
        chosen: Boolean(child?.visits.some((visit) => visit.run === look?.run && visit.kept)), here: child?.id === this.id,
      };
    });
  }

  /** Where a view cut off the tail: everything from there on had been removed by it or before it. */
  cuts(expansion, look) {
    const gone = new Set();
    const found = [];
    for (const stage of look?.stages ?? []) {
      stage.removed.forEach((i) => gone.add(i));
      let at = expansion.symbols.length;
      while (at > 0 && gone.has(at - 1)) at -= 1;
      if (stage.removed.length && at < expansion.symbols.length && stage.removed.includes(at)) found.push({ at, view: stage.view });
    }
    return found;
  }

  list(bars) {
    const some = this.all ? bars : bars.filter((bar, i) => i < FEW || bar.here || bar.chosen);
    const rows = some.map((bar) => {
      const name = bar.child ? make('button', { type: 'button', class: 'link', dir: 'auto', click: () => this.go(bar.child.id) }, bar.text) : make('span', { dir: 'auto' }, bar.text);
      const sign = make('span', { role: bar.chosen || bar.removed ? 'img' : null, 'aria-label': bar.chosen ? 'chosen' : bar.removed ? 'removed' : null }, bar.chosen ? '●' : bar.removed ? '×' : '');
      return [`${bars.indexOf(bar) + 1}`, sign, name, percent(bar.before), bar.removed ? make('span', { class: 'muted' }, bar.removed.split('(')[0]) : percent(bar.after)];
    });
    const more = bars.length > some.length || this.all ? button(this.all ? 'show fewer' : `show all ${bars.length}`, this.all ? 'Show fewer tokens' : 'Show all tokens', () => { this.all = !this.all; this.drawSpread(); }) : null;
    return [table('Candidates', ['', '', 'token', 'model', 'after'], rows, 'candidates'), more].filter(Boolean);
  }

  pipeline(expansion, look) {
    const left = new Set(expansion.symbols.keys());
    let beyond = null; // how many of the tokens that are not shown are still in; unknown before the first view
    const rows = look.stages.map((stage, i) => {
      stage.removed.forEach((place) => left.delete(place));
      const still = Math.max(0, stage.kept - left.size);
      const lost = beyond === null ? (still === 0 && expansion.rest > 0 ? 'all beyond those shown' : '') : beyond > still ? `+${beyond - still} beyond those shown` : '';
      beyond = still;
      const chips = stage.removed.slice(0, 10).map((place) => make('span', { class: 'chip', dir: 'auto' }, expansion.symbols[place].text));
      const more = stage.removed.length > 10 ? `+${stage.removed.length - 10} of those shown` : '';
      const notes = [more, lost].filter(Boolean).join(', ');
      return [String(i + 1), stage.view, String(stage.kept), share(stage.mass), make('div', { class: 'chips' }, ...chips, notes ? ` ${notes}` : chips.length ? '' : 'nothing')];
    });
    return [make('h3', {}, 'The pipeline'), make('div', { class: 'scroll' }, table('Views in their order, the first nearest to the model', ['', 'view', 'left', 'mass removed', 'removed'], rows, 'pipeline'))];
  }
}
