// Puts the parts together: whatever selects a token, every part shows it.

const trace = readTrace(document.getElementById('data').textContent);
document.documentElement.classList.add('live');

/** Which answer is followed, and which of the nodes is looked at. */
const now = { run: Math.max(0, trace.runs.findIndex((run) => run.answers.length)), answer: 0, id: 0 };
const wayOf = () => { const answer = trace.runs[now.run]?.answers[now.answer]; return answer ? pathTo(trace, answer.node) : []; };

/** Look at a node; the answer followed changes only if it does not lead there and a run's best answer does. */
function look(id, open = false) {
  if (id === undefined) return;
  const node = trace.nodes[id];
  if (!wayOf().includes(id)) {
    const better = node.best[0] ?? node.visits[0]?.run;
    if (id && better !== undefined) Object.assign(now, { run: better, answer: 0 });
  }
  now.id = id;
  refresh();
  if (open) { details.place.focus(); details.place.scrollIntoView({ block: 'nearest' }); }
}

/** Follow an answer from its first token, or from the step that was looked at. */
function follow(run, answer, keep = true) {
  const depth = trace.nodes[now.id].depth;
  Object.assign(now, { run, answer });
  const way = wayOf();
  now.id = way.length ? way[keep ? Math.min(Math.max(depth, 1), way.length) - 1 : 0] : now.id;
  refresh();
}

function refresh() {
  const way = wayOf();
  tree.select(now.id, way);
  details.show(now.id, now.run, way);
  texts.mark(now);
}

const texts = new Texts((id) => look(id), (run, answer) => follow(run, answer, false));
const tree = new Tree(trace, look);
const details = new Details(trace, look, (run) => follow(run, 0));
const comparison = new Comparison(trace, (id) => look(id, true));
toolbar(tree, document.getElementById('tools'));
tree.open();
follow(now.run, 0, false);
tree.open();
saveButton(trace);
window.addEventListener('beforeprint', () => tree.fit());
