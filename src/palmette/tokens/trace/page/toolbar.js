// The buttons above the tree.

const SWITCHES = [
  ['fold', 'fold chains', 'Join chains of tokens into one box'],
  ['branches', 'side branches', 'Show branches that leave the best answers; otherwise each is one box with a count'],
  ['pruned', 'pruned tokens', 'Show pruned tokens; otherwise they are counted in their boxes'],
];

function toolbar(tree, place) {
  const switches = SWITCHES.map(([name, text, label]) => button(text, label, () => tree.set({ [name]: !tree.state[name] }), tree.state[name]));
  const note = make('span', { class: 'muted', role: 'status' });
  const say = () => {
    SWITCHES.forEach(([name], i) => switches[i].setAttribute('aria-pressed', String(tree.state[name])));
    const hidden = tree.boxes.reduce((sum, box) => sum + box.hidden, 0);
    note.textContent = hidden ? `${hidden} counted, not shown` : '';
  };
  tree.changed = say;
  place.replaceChildren(note, ...switches, make('span', { class: 'zoom', role: 'group', 'aria-label': 'Zoom' },
    button('−', 'Zoom out', () => tree.zoom(0.8)), button('+', 'Zoom in', () => tree.zoom(1.25)), button('fit', 'Show the whole tree', () => tree.fit())));
  say();
}
