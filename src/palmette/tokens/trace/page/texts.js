// The answers as text: each token can be reached, tells its figures and selects its node; each answer can be followed.

class Texts {
  constructor(look, follow) {
    this.tokens = [...document.querySelectorAll('.token')];
    this.picks = [...document.querySelectorAll('.pick')];
    for (const token of this.tokens) {
      token.setAttribute('role', 'button');
      token.setAttribute('aria-label', token.title);
      token.tabIndex = token.previousElementSibling ? -1 : 0;
      token.addEventListener('click', () => look(Number(token.dataset.node)));
      token.addEventListener('keydown', (event) => this.key(event, token));
    }
    for (const pick of this.picks) {
      const chosen = button(pick.textContent, `Follow answer ${pick.textContent}`, () => follow(Number(pick.dataset.run), Number(pick.dataset.answer)), false);
      chosen.className = 'pick';
      Object.assign(chosen.dataset, pick.dataset);
      pick.replaceWith(chosen);
    }
    this.picks = [...document.querySelectorAll('.pick')];
  }

  /** One stop for the Tab key in each answer; arrows go from token to token. */
  key(event, token) {
    if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); token.click(); return; }
    const next = { ArrowRight: token.nextElementSibling, ArrowLeft: token.previousElementSibling }[event.key];
    if (!next) return;
    event.preventDefault();
    token.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  mark(now) {
    for (const token of this.tokens) {
      const here = Number(token.dataset.node) === now.id;
      token.classList.toggle('here', here);
      if (here) token.setAttribute('aria-current', 'true'); else token.removeAttribute('aria-current');
    }
    for (const pick of this.picks) pick.setAttribute('aria-pressed', String(Number(pick.dataset.run) === now.run && Number(pick.dataset.answer) === now.answer));
  }
}
