// The distribution after a node: for each of the likeliest tokens a pale bar (the model) and a dark one (after the views).

const TALL = 190;
const DECADES = 5;

class Histogram {
  constructor(trace) {
    this.trace = trace;
    this.logarithmic = false;
    this.plot = make('div', { class: 'plot' });
    this.readout = make('p', { class: 'readout', 'aria-live': 'polite' });
    this.scale = button('log scale', 'Logarithmic scale', () => {
      this.logarithmic = !this.logarithmic;
      this.scale.setAttribute('aria-pressed', String(this.logarithmic));
      this.draw();
    }, false);
    this.element = make('div', { class: 'histogram' }, this.plot, this.readout);
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  /** `bars`: {text, before, after, removed, chosen, here} in the model's order; `cuts`: [{at, view}]. */
  show(bars, cuts, rest) {
    Object.assign(this, { bars, cuts, rest, at: Math.max(0, bars.findIndex((bar) => bar.here)) });
    this.draw();
  }

  draw() {
    if (!this.bars) return;
    const wide = Math.max(200, this.plot.clientWidth || 320);
    this.left = 54;
    this.slot = (wide - this.left - 4) / this.bars.length;
    this.top = 14 + 13 * this.cuts.length;
    const drawn = draw('svg', {
      width: wide, height: TALL, viewBox: `0 0 ${wide} ${TALL}`, tabindex: 0, role: 'group', 'aria-label': `Histogram of ${plural(this.bars.length, 'token')}; arrow keys read the bars`,
      pointermove: (event) => this.point(Math.floor((event.offsetX - this.left) / this.slot)), keydown: (event) => this.key(event),
    }, this.axis(wide), this.bars.map((bar, i) => this.bar(bar, i)), this.cuts.map((cut, i) => this.cut(cut, i)), this.cursor = draw('rect', { class: 'cursor', y: this.top - 6, width: Math.max(3, this.slot), height: TALL - this.top - 6 }));
    const focused = this.plot.contains(document.activeElement);
    this.plot.replaceChildren(drawn);
    if (focused) drawn.focus();
    this.point(this.at);
  }

  heightOf(logprob) {
    if (logprob === null || !Number.isFinite(logprob)) return 0;
    const room = TALL - 22 - this.top;
    if (this.logarithmic) return room * Math.max(0, 1 + logprob / (DECADES * Math.LN10));
    return room * Math.exp(logprob) / this.ceiling;
  }

  axis(wide) {
    const likeliest = Math.max(...this.bars.flatMap((bar) => [bar.before, bar.after ?? -Infinity]));
    const nice = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1];
    this.ceiling = nice.find((each) => each >= Math.exp(likeliest) - 1e-9) ?? 1;
    const ticks = this.logarithmic ? Array.from({ length: DECADES + 1 }, (_, i) => 10 ** -i) : [0, this.ceiling / 2, this.ceiling];
    return ticks.map((value) => {
      const y = TALL - 22 - (value ? this.heightOf(Math.log(value)) : 0);
      const text = `${Number((100 * value).toPrecision(2))} %`;
      return draw('g', { class: 'axis' }, draw('path', { d: `M${this.left} ${y}H${wide}` }), draw('text', { x: this.left - 6, y: y + 4, 'text-anchor': 'end', 'font-size': 11 }, text));
    });
  }

  bar(bar, i) {
    const half = Math.max(1, this.slot * 0.42);
    const x = this.left + i * this.slot + this.slot * 0.08;
    const rect = (kind, left, value) => draw('rect', { class: kind, x: left, y: TALL - 22 - this.heightOf(value), width: half, height: this.heightOf(value) });
    const middle = x + half;
    const mark = (text, y, kind) => draw('text', { class: kind, x: middle, y, 'text-anchor': 'middle', 'font-size': 10 }, text);
    const high = Math.max(this.heightOf(bar.before), this.heightOf(bar.after));
    return draw('g', {}, rect('before', x, bar.before), rect('after', x + half, bar.after),
      bar.chosen ? mark('●', TALL - 26 - high, 'chosen') : null, bar.removed ? mark('×', TALL - 11, 'removed') : null, bar.here ? mark('▲', TALL - 11, 'chosen') : null);
  }

  cut(cut, i) {
    const x = this.left + cut.at * this.slot;
    const right = cut.at > this.bars.length / 2;
    return draw('g', { class: 'cut' }, draw('path', { d: `M${x} ${6 + 13 * i}V${TALL - 22}` }),
      draw('text', { x: x + (right ? -5 : 5), y: 13 + 13 * i, 'text-anchor': right ? 'end' : 'start', 'font-size': 11 }, cut.view.length > 34 ? `${cut.view.slice(0, 33)}…` : cut.view));
  }

  point(i) {
    this.at = Math.min(this.bars.length - 1, Math.max(0, i));
    const bar = this.bars[this.at];
    this.cursor.setAttribute('x', this.left + this.at * this.slot);
    const after = bar.removed ? `removed by ${bar.removed}` : bar.after === null ? '' : `${percent(bar.after)} after the views`;
    const signs = [bar.chosen ? 'chosen' : '', bar.here ? 'this token' : ''].filter(Boolean).join(', ');
    this.readout.replaceChildren(`${this.at + 1}. `, make('b', { dir: 'auto' }, bar.text), ` ${percent(bar.before)}${after ? ` → ${after}` : ''}${signs ? ` · ${signs}` : ''}`);
  }

  key(event) {
    const to = { ArrowRight: this.at + 1, ArrowLeft: this.at - 1, Home: 0, End: this.bars.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.point(to);
  }
}
