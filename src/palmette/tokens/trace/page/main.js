// Puts the parts together: whatever selects a token, all of them show it.

document.documentElement.classList.add('live');
const panel = new StepPanel((id) => tree.select(id));
const tokens = [...document.querySelectorAll('.token')];
const tree = new Tree((id, wantsStep) => {
  panel.show(id);
  for (const token of tokens) token.classList.toggle('here', Number(token.dataset.node) === id);
  if (wantsStep) panel.place.focus();
});
for (const token of tokens) {
  const pick = () => tree.select(Number(token.dataset.node));
  token.tabIndex = 0;
  token.setAttribute('role', 'button');
  token.setAttribute('aria-label', token.title);
  token.addEventListener('click', pick);
  token.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); pick(); }
  });
}
new Comparison((id) => tree.select(id));
const first = data.runs[0]?.answers[0];
tree.select(first ? pathTo(first[0])[0] ?? 0 : 0);
