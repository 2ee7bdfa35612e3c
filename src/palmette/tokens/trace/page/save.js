// The page is also the data: it can write the trace in the format `palmette.trace/1`, exactly as it was.

function traceJson({ raw }) {
  const named = (keys) => (values) => Object.fromEntries(keys.map((key, i) => [key, values[i]]));
  const symbol = (i) => named(['token', 'bytes', 'name'])(raw.symbols[i]);
  const stage = named(['view', 'kept', 'removed_mass', 'removed']);
  const expansion = ([entropy, rest, places, logprobs, looks]) => ({
    entropy, candidates: places.map((place, i) => ({ ...symbol(place), logprob: logprobs[i] })), rest,
    looks: looks.map(([run, after, seen, stages]) => ({ run, entropy: after, stages: stages.map(stage), logprobs: seen ?? logprobs })),
  });
  const nodes = raw.nodes.map(([parent, place, logprob, rank, visits, spread], id) => ({
    id, parent, ...symbol(place), depth: trace.nodes[id].depth, logprob, rank,
    visits: visits.map(named(['run', 'step', 'logprob', 'score', 'kept'])), expansion: spread && expansion(spread),
  }));
  const answer = named(['node', 'text', 'score', 'logprob', 'finish']);
  const runs = raw.runs.map(([label, views, seed, answers]) => ({ label, views, seed, answers: answers.map(answer) }));
  return JSON.stringify({ format: 'palmette.trace/1', model: raw.model, prompt: raw.prompt, tokens: raw.tokens, runs, nodes });
}

function saveButton(trace) {
  const save = button('save as JSON', 'Save the trace as JSON', () => {
    const address = URL.createObjectURL(new Blob([traceJson(trace)], { type: 'application/json' }));
    make('a', { href: address, download: 'trace.json' }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  });
  document.getElementById('save').replaceChildren(save);
}
