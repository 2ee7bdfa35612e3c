// Two runs side by side: what they share, where they part, and how each judged the other's token.

class Comparison {
  constructor(trace, go) {
    Object.assign(this, { trace, go });
    this.place = document.getElementById('compare');
    const finished = [...trace.runs.keys()].filter((i) => trace.runs[i].answers.length);
    if (finished.length < 2) return;
    this.place.hidden = false;
    this.pair = [finished[0], finished[1]];
    const choices = [0, 1].map((side) => make('select', { 'aria-label': side ? 'Second run' : 'First run', change: (event) => { this.pair[side] = Number(event.target.value); this.draw(); } },
      finished.map((run) => make('option', { value: run, selected: run === this.pair[side] }, `${trace.runs[run].letter} ${trace.runs[run].label}`))));
    this.body = make('div');
    this.place.replaceChildren(make('div', { class: 'bar' }, make('h2', { id: 'compare-title' }, 'Two runs compared'), make('div', { class: 'tools' }, choices[0], ' and ', choices[1])), this.body);
    this.draw();
  }

  draw() {
    const runs = this.pair.map((run) => this.trace.runs[run]);
    const ways = runs.map((run) => pathTo(this.trace, run.answers[0].node));
    let shared = 0;
    while (shared < ways[0].length && ways[0][shared] === ways[1][shared]) shared += 1;
    this.body.replaceChildren(...this.verdict(ways, shared), this.texts(runs, ways, shared), make('div', { class: 'scroll' }, this.figures(runs, ways)));
  }

  verdict(ways, shared) {
    const ends = ways.map((way) => way[shared]);
    if (ends.every((end) => end === undefined)) return [make('p', {}, `Both best answers are the same ${plural(shared, 'token')}.`)];
    const beginning = shared ? `The first ${plural(shared, 'token')} ${shared === 1 ? 'is' : 'are'} the same; ` : 'They share nothing but the prompt: ';
    const see = make('button', { type: 'button', click: () => this.go(ends.find((end) => end !== undefined)) }, `show step ${shared + 1}`);
    const line = make('p', {}, beginning, `they part ◆ at step ${shared + 1}. `, see);
    return [line, make('div', { class: 'scroll' }, this.parting(ends))];
  }

  /** Each run's token at the parting, as the model and as both runs' views judge it. */
  parting(ends) {
    const { trace } = this;
    const rows = ends.map((end, side) => {
      const letter = trace.runs[this.pair[side]].letter;
      if (end === undefined) return [letter, 'ends here', '', '', ''];
      const node = trace.nodes[end];
      return [letter, make('b', { class: 'name', dir: 'auto' }, node.symbol.text), percent(node.logprob), ...this.pair.map((run) => this.judged(node, run))];
    });
    return table('The token that each takes', ['run', 'token', 'p, the model', ...this.pair.map((run) => `after the views of ${trace.runs[run].letter}`)], rows);
  }

  judged(node, run) {
    const { expansion } = this.trace.nodes[node.parent];
    const look = expansion?.looks.find((each) => each.run === run);
    const at = expansion ? expansion.symbols.indexOf(node.symbol) : -1;
    const visit = node.visits.find((each) => each.run === run);
    if (visit) return percent(visit.after);
    if (!look) return 'was not here';
    if (at < 0) return 'not among those kept';
    const stage = look.stages.find((each) => each.removed.includes(at));
    return stage ? `removed by ${stage.view}` : percent(look.logprobs[at]);
  }

  texts(runs, ways, shared) {
    return make('div', { class: 'texts' }, ways.map((way, side) => make('div', {},
      make('h3', {}, swatch(runs[side]), ` ${runs[side].letter} ${runs[side].label}`),
      make('p', { class: 'context', dir: 'auto' }, make('span', { class: 'shared' }, textOf(this.trace, way.slice(0, shared))), way.length > shared ? make('mark', {}, textOf(this.trace, way.slice(shared))) : ''))));
  }

  figures(runs, ways) {
    const own = ways.map((way) => way.reduce((sum, id) => sum + this.trace.nodes[id].logprob, 0));
    const both = (tell) => [tell(0), tell(1)];
    const [a, b] = runs.map((run) => new Set(run.answers.map((answer) => answer.node)));
    const rows = [
      ['tokens', ...both((i) => String(ways[i].length))],
      ['Σ log p, the model’s own', ...both((i) => figure(own[i]))],
      ['mean log p', ...both((i) => figure(own[i] / Math.max(1, ways[i].length)))],
      ['perplexity', ...both((i) => figure(Math.exp(-own[i] / Math.max(1, ways[i].length))))],
      ['Σ log p, the strategy’s', ...both((i) => figure(runs[i].answers[0].logprob))],
      ['score', ...both((i) => figure(runs[i].answers[0].score))],
      ['ended by', ...both((i) => runs[i].answers[0].finish)],
      ['answers', ...both((i) => String(runs[i].answers.length))],
      ['of them shared', String([...a].filter((node) => b.has(node)).length), String([...b].filter((node) => a.has(node)).length)],
    ];
    return table('Figures of the best answers', ['', ...runs.map((run) => run.letter)], rows, 'numbers');
  }
}
