// feed.js: what happens, as it happens. The newest is on top; a click goes to that moment.

import {at, h, icon} from './dom.js';
import {describe, dot, moment} from './events.js';
import {t} from './i18n.js';

const SHOWN_COUNT_MAX = 120;
const BURST_COUNT = 4; // more at once are announced as a number, not read out one by one
const GATHER_MS = 60;

export function mountFeed({book, store}) {
  const {state} = store;
  const list = h('ol', {class: 'events', reversed: true, tabindex: 0});
  const note = h('p', {class: 'sr', role: 'status'});
  const empty = h('p', {class: 'empty'});
  const pause = at('feed-pause');
  at('feed-body').append(empty, note, list);
  let events = [];
  let waiting = [];
  let held = 0; // how many came during a pause; only the newest of them are kept
  let paused = false;
  let timer = null;
  let caughtUp = false;

  function arrive() {
    timer = null;
    if (paused || waiting.length === 0) {
      drawPause();
      return;
    }
    const news = waiting.splice(0);
    const count = held;
    held = 0;
    events = [...events, ...news].slice(-SHOWN_COUNT_MAX); // oldest first
    if (count > BURST_COUNT && caughtUp) note.textContent = t('feed.burst', count);
    else if (caughtUp) note.textContent = news.map(describe).join('. ');
    list.prepend(...news.reverse().map(event => entry(event, caughtUp)));
    while (list.children.length > SHOWN_COUNT_MAX) list.lastChild.remove();
    empty.hidden = true;
    mark();
    drawPause();
  }

  function entry(event, fresh) {
    const go = () => store.set({asOf: event.position >= state.head ? null : event.position, stay: null, refused: null});
    return h(
      'li',
      {'data-position': event.position, class: fresh && 'fresh'},
      dot(event),
      h('button', {type: 'button', class: 'link', title: t('feed.go', event.position), onclick: go}, describe(event)),
      h('p', {class: 'hint'}, moment(event), h('span', {class: 'position'}, `#${event.position}`)),
    );
  }

  /** The moment the page shows, when that is in the past. */
  function mark() {
    for (const item of list.children)
      item.toggleAttribute('data-future', state.asOf !== null && Number(item.dataset.position) > state.asOf);
  }

  function drawPause() {
    pause.replaceChildren(
      icon(paused ? 'play' : 'pause'),
      paused && held ? t('feed.waiting', held) : t(paused ? 'feed.resume' : 'feed.pause'),
    );
  }

  function draw() {
    list.setAttribute('aria-label', t('feed.label'));
    empty.textContent = t('feed.none');
    empty.hidden = events.length > 0;
    list.replaceChildren(...events.toReversed().map(event => entry(event, false)));
    mark();
    drawPause();
  }

  pause.addEventListener('click', () => {
    paused = !paused;
    arrive();
  });
  book.on('event', event => {
    waiting.push(event);
    if (waiting.length > SHOWN_COUNT_MAX) waiting.shift();
    held += 1;
    timer ??= setTimeout(arrive, GATHER_MS);
  });
  book.on('caught-up', () => {
    arrive();
    caughtUp = true;
  });
  store.on('language ready', draw);
  store.on('asOf', mark);
}
