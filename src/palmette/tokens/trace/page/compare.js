// Two runs side by side: what they share, where they part, and how each judged the other's token.

class Comparison {
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.place = document.getElementById('compare');
    this.finished = data.runs.map((run, i) => i).filter((i) => data.runs[i].answers.length);
    if (this.finished.length < 2) return;
    this.place.hidden = false;
    this.pair = [this.finished[0], this.finished[1]];
    this.draw();
  }

  draw() {
    const [a, b] = this.pair;
    const ways = this.pair.map((run) => pathTo(data.runs[run].answers[0][0]));
    let shared = 0;
    while (shared < ways[0].length && ways[0][shared] === ways[1][shared]) shared += 1;
    const title = make('h2', { id: 'compare-title' }, 'Two runs compared');
    const choice = make('div', { className: 'pair' }, this.select(0), ' and ', this.select(1));
    this.place.replaceChildren(title, choice, ...this.verdict(ways, shared), this.texts(ways, shared), this.figures(a, b, ways));
  }

  select(side) {
    const made = make('select', {}, ...this.finished.map((run) =>
      make('option', { value: String(run), selected: run === this.pair[side] }, `${data.runs[run].letter} ${data.runs[run].label}`)));
    made.setAttribute('aria-label', side ? 'Second run' : 'First run');
    made.addEventListener('change', () => { this.pair[side] = Number(made.value); this.draw(); });
    return made;
  }

  verdict(ways, shared) {
    const ends = ways.map((way) => way[shared]);
    if (ends.every((end) => end === undefined)) return [make('p', {}, `The best answers are the same ${shared} tokens.`)];
    const say = (end, i) => (end === undefined ? 'the end' : `${tokenText(nodes[end].t)} (${percent(nodes[end].l)}${this.after(end, this.pair[i])})`);
    const line = make('p', {}, `They share ${shared} tokens and part at step ${shared + 1}: ${say(ends[0], 0)} against ${say(ends[1], 1)}. `);
    const see = make('button', { type: 'button' }, 'show that step');
    see.addEventListener('click', () => this.onSelect(ends.find((end) => end !== undefined)));
    return [line, see];
  }

  after(id, run) {
    const visit = nodes[id].v.find((each) => each[0] === run);
    return visit && percent(visit[2]) !== percent(nodes[id].l) ? ` → ${percent(visit[2])}` : '';
  }

  texts(ways, shared) {
    return make('div', { className: 'texts' }, ...ways.map((way, i) => {
      return make('p', { className: 'context', dir: 'auto' }, `${data.runs[this.pair[i]].letter}  `, textOf(way.slice(0, shared)), make('mark', {}, textOf(way.slice(shared))));
    }));
  }

  figures(a, b, ways) {
    const figures = [a, b].map((run, i) => {
      const answer = data.runs[run].answers[0];
      const own = ways[i].reduce((sum, id) => sum + nodes[id].l, 0);
      return [data.runs[run].letter, ways[i].length, figure(own), figure(Math.exp(-own / ways[i].length)), figure(answer[2]), figure(answer[1]), answer[3]];
    });
    const heads = ['run', 'tokens', 'Σ log p, the model’s own', 'perplexity', 'Σ log p after views', 'score', 'ended by'];
    return make('div', { className: 'scroll' }, make('table', {},
      make('thead', {}, make('tr', {}, ...heads.map((text) => make('th', { scope: 'col' }, text)))),
      make('tbody', {}, ...figures.map((row) => make('tr', {}, ...row.map((cell) => make('td', {}, String(cell))))))));
  }
}
