// One step: the likeliest tokens before and after the views, what was chosen, and which view removed what.

class StepPanel {
  /** `onSelect(id)` is told when the reader walks along an answer. */
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.place = document.getElementById('step');
    this.run = 0;
    this.logarithmic = false;
    this.id = 0;
  }

  /** Show the choice that made node `id`; for the prompt, the first choice of the run. */
  show(id) {
    this.id = id;
    const above = id === 0 ? 0 : nodes[id].p;
    const runs = this.runsAt(above, id);
    if (runs.length && !runs.includes(this.run)) this.run = runs[0];
    this.place.replaceChildren(
      make('h2', { id: 'step-title' }, `Step ${depthOf(above) + 1}`),
      this.walker(), this.context(above, id), id ? this.facts(id) : '',
      ...this.expansion(above, id, runs),
    );
  }

  runsAt(above, id) {
    const looks = (nodes[above].x?.looks ?? []).map((look) => look.run);
    const visits = nodes[id].v.map((visit) => visit[0]);
    return [...looks.filter((run) => visits.includes(run)), ...looks.filter((run) => !visits.includes(run))];
  }

  /** Back and forth along the best answer of the run. */
  walker() {
    const answer = data.runs[this.run].answers[0];
    const path = answer ? pathTo(answer[0]) : [];
    const at = path.indexOf(this.id);
    const go = (place) => { if (path[place] !== undefined) this.onSelect(path[place]); };
    const slider = make('input', { type: 'range', min: '0', max: String(Math.max(path.length - 1, 0)), value: String(Math.max(at, 0)) });
    slider.setAttribute('aria-label', `Step of the best answer of run ${data.runs[this.run].letter}`);
    slider.addEventListener('input', () => { go(Number(slider.value)); this.place.querySelector('input').focus(); });
    const button = (text, label, place) => {
      const made = make('button', { type: 'button', disabled: path[place] === undefined }, text);
      made.setAttribute('aria-label', label);
      made.addEventListener('click', () => go(place));
      return made;
    };
    const choice = make('select', {}, ...data.runs.map((run, i) => make('option', { value: String(i), selected: i === this.run }, `${run.letter} ${run.label}`)));
    choice.setAttribute('aria-label', 'Run');
    choice.addEventListener('change', () => {
      this.run = Number(choice.value);
      const first = data.runs[this.run].answers[0];
      this.onSelect(first ? pathTo(first[0])[Math.max(at, 0)] ?? pathTo(first[0])[0] : 0);
    });
    const walk = make('div', { className: 'walk' }, button('‹', 'Previous step', at - 1), slider, button('›', 'Next step', at + 1));
    return make('div', {}, data.runs.length > 1 ? choice : null, walk);
  }

  context(above, id) {
    const said = textOf(pathTo(above).slice(-40));
    const line = make('p', { className: 'context', dir: 'auto' }, `${above === 0 ? 'after the prompt ' : `…${said}`}`);
    if (id) line.append(make('b', {}, tokenText(nodes[id].t)));
    return line;
  }

  facts(id) {
    const node = nodes[id];
    const raw = data.bytes[node.t];
    const list = [`token ${node.t}${raw ? `, bytes ${raw}` : ''}`, `rank ${node.r}, ${percent(node.l)}, log p ${figure(node.l)}`];
    for (const [run, step, after, score, kept] of node.v) {
      const named = data.runs[run].letter;
      list.push(`${named}: ${percent(after)} after its views, score ${figure(score)}${kept ? '' : `, given up at once in step ${step + 1}`}`);
    }
    return make('div', { className: 'figures' }, ...list.map((text) => make('div', {}, text)));
  }

  expansion(above, id, runs) {
    const x = nodes[above].x;
    if (!x) return [make('p', { className: 'muted' }, 'Nothing was chosen here.')];
    const look = x.looks.find((each) => each.run === this.run) ?? x.looks[0];
    const parts = [];
    if (runs.length > 1) parts.push(this.runButtons(runs));
    const entropy = `entropy ${figure(x.h)} nats${look ? `, after the views ${figure(look.h)}` : ''} · all other tokens ${share(x.rest)}`;
    const scale = make('button', { type: 'button' }, 'log scale');
    scale.setAttribute('aria-pressed', String(this.logarithmic));
    scale.addEventListener('click', () => { this.logarithmic = !this.logarithmic; this.show(this.id); });
    parts.push(make('h3', {}, `The ${x.t.length} likeliest tokens`), make('p', { className: 'muted' }, entropy), scale, this.histogram(x, look, above, id));
    if (look?.stages.length) parts.push(make('h3', {}, 'The pipeline: which view removed what'), this.pipeline(x, look));
    return parts;
  }

  runButtons(runs) {
    return make('div', { className: 'tools' }, 'as seen by ', ...runs.map((run) => {
      const made = make('button', { type: 'button' }, data.runs[run].letter);
      made.setAttribute('aria-pressed', String(run === this.run));
      made.addEventListener('click', () => { this.run = run; this.show(this.id); });
      return made;
    }));
  }

  histogram(x, look, above, id) {
    const cutBy = new Map();
    for (const [view, , , removed] of look?.stages ?? []) for (const place of removed) cutBy.set(place, view);
    const taken = new Set(nodes.filter((n) => n.p === above && n.v.some((v) => v[0] === look?.run && v[4])).map((n) => n.t));
    const after = look ? look.l : x.l;
    const largest = Math.max(...x.l, ...after.filter((l) => l !== null));
    const firstCut = cutBy.size ? Math.min(...cutBy.keys()) : -1;
    const bar = (kind, l) => { const made = make('div', { className: kind }); made.style.width = `${this.length(l, largest)}%`; return made; };
    const rows = x.t.map((token, i) => {
      const gone = cutBy.get(i);
      const picked = taken.has(token);
      const row = make('tr', { className: `${gone ? 'gone' : ''} ${token === nodes[id].t && id ? 'taken' : ''} ${i === firstCut ? 'cut' : ''}` },
        make('td', { className: 'mark' }, picked ? '●' : gone ? '✕' : ''),
        make('td', { className: 'token-cell', title: tokenText(token) }, tokenText(token)),
        make('td', { className: 'bars' }, bar('before', x.l[i]), bar('then', gone ? null : after[i])),
        make('td', { className: 'number' }, percent(x.l[i])),
        make('td', { className: gone ? 'muted' : 'number' }, gone ? gone : percent(after[i])));
      row.querySelector('.mark').setAttribute('aria-label', picked ? 'chosen' : gone ? `removed by ${gone}` : '');
      return row;
    });
    const head = make('tr', {}, ...['', 'token', 'before (pale), after (dark)', 'before', 'after'].map((text) => make('th', { scope: 'col' }, text)));
    return make('table', {}, make('thead', {}, head), make('tbody', {}, ...rows));
  }

  length(l, largest) {
    if (l === null) return 0;
    if (!this.logarithmic) return 100 * Math.exp(l - largest);
    return Math.max(0, 100 * (1 + (l - largest) / 16));
  }

  pipeline(x, look) {
    const rows = look.stages.map(([view, kept, mass, removed], i) => {
      const names = removed.slice(0, 8).map((place) => tokenText(x.t[place])).join('  ');
      const more = removed.length > 8 ? `  +${removed.length - 8} of those shown` : '';
      return make('tr', {}, make('td', { className: 'number' }, `${i + 1}`), make('td', {}, view),
        make('td', { className: 'number' }, String(kept)), make('td', { className: 'number' }, share(mass)),
        make('td', { className: 'chips' }, removed.length ? names + more : '–'));
    });
    const head = make('tr', {}, ...['', 'view', 'left', 'mass removed', 'removed of the likeliest'].map((text) => make('th', { scope: 'col' }, text)));
    return make('table', {}, make('thead', {}, head), make('tbody', {}, ...rows));
  }
}
