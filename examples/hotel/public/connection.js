// connection.js: whether the page hears the server, and which service answers.

import {at, h} from './dom.js';
import {t} from './i18n.js';

const CALM_MS = 600; // a connection that is back this soon is not worth a word

export function mountConnection({book, store}) {
  const chip = at('connection');
  let state = 'connecting';
  let role = '';
  let retrying = null;
  let timer = null;

  const draw = () => {
    const word = retrying ? 'retry' : state === 'live' && role === 'follower' ? 'follower' : state;
    chip.dataset.state = word;
    chip.title = state === 'live' && role ? t(`connection.title.${role}`) : '';
    chip.replaceChildren(h('span', {class: 'lamp', 'aria-hidden': 'true'}), t(`connection.${word}`));
  };
  book.on('state', news => {
    if (news.state === 'connecting' && state === 'lost') return; // still lost, until it is heard
    state = news.state;
    clearTimeout(timer);
    timer = setTimeout(draw, state === 'live' ? 0 : CALM_MS);
  });
  book.on('role', now => {
    role = now;
    draw();
  });
  book.on('retry', ({wait_ms}) => {
    clearTimeout(retrying);
    retrying = setTimeout(() => {
      retrying = null;
      draw();
    }, wait_ms + CALM_MS);
    draw();
  });
  store.on('language ready', draw);
}
