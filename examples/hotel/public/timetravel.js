// timetravel.js: the slider over all positions. Somewhere before the head, the whole page shows the hotel as it was
// after that event, and says so.

import {at, h, icon} from './dom.js';
import {describe, dot, moment, when} from './events.js';
import {t} from './i18n.js';
import {makeLoader} from './loader.js';

const HAND_MS = 120; // the hand on the slider rests this long before the page follows

export function mountTimeTravel({book, store}) {
  const {state} = store;
  const slider = h('input', {type: 'range', id: 'slider', min: 1, max: 1, value: 1, oninput: () => follow()});
  const story = h('div', {class: 'time-story', id: 'time-story'});
  const count = h('p', {class: 'time-count'});
  const banner = h('div', {class: 'past', role: 'status'});
  const buttons = ['first', 'left', 'right', 'last'].map(name =>
    h('button', {type: 'button', class: 'quiet square', onclick: () => step(name)}, icon(name)),
  );
  let timer = null;
  let shown = null;

  at('time-body').append(
    h(
      'div',
      {class: 'time-row'},
      count,
      h('div', {class: 'time-track'}, buttons[0], buttons[1], slider, buttons[2], buttons[3]),
      story,
    ),
    banner,
  );

  const loader = makeLoader({
    body: story,
    load: async signal => {
      if (state.head === 0) return null;
      const {events} = await book.events({before: position() + 1, direction: 'backward', limit: 1}, {signal});
      return events[0] ?? null;
    },
    show: event => {
      shown = event;
      draw();
    },
  });

  function position() {
    return state.asOf ?? state.head;
  }

  function go(to) {
    store.set({asOf: to >= state.head ? null : Math.max(1, to), ...(to < state.head && {stay: null, refused: null})});
  }

  function step(name) {
    go({first: 1, left: position() - 1, right: position() + 1, last: state.head}[name]);
  }

  function follow() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = null;
      go(Number(slider.value));
      draw();
    }, HAND_MS);
    label(Number(slider.value));
  }

  function label(value) {
    slider.style.setProperty('--done', `${state.head < 2 ? 100 : (100 * (value - 1)) / (state.head - 1)}%`);
    count.textContent =
      state.head === 0
        ? t('time.none')
        : value < state.head
          ? t('time.at', value, state.head)
          : t('time.live', state.head);
    slider.setAttribute(
      'aria-valuetext',
      [count.textContent, shown && describe(shown), shown && when(shown)].filter(Boolean).join(', '),
    );
  }

  function draw() {
    const past = state.asOf !== null;
    slider.max = Math.max(1, state.head);
    if (timer === null) slider.value = position(); // else the hand is on it
    slider.disabled = state.head < 2;
    slider.setAttribute('aria-label', t('time.slider'));
    ['time.first', 'time.step.back', 'time.step.on', 'time.now'].forEach((key, index) => {
      buttons[index].setAttribute('aria-label', t(key));
      buttons[index].title = t(key);
      buttons[index].disabled = index < 2 ? position() <= 1 : !past;
    });
    label(timer === null ? position() : Number(slider.value));
    story.replaceChildren(...(shown ? [dot(shown), h('span', {class: 'what'}, describe(shown)), moment(shown)] : []));
    drawBanner(past);
  }

  function drawBanner(past) {
    document.body.classList.toggle('in-the-past', past);
    if (!past) {
      banner.replaceChildren();
      return;
    }
    if (banner.firstChild && banner.dataset.language === state.language) {
      banner.querySelector('.past-when').textContent = shown ? when(shown) : '';
      return;
    }
    banner.dataset.language = state.language;
    banner.replaceChildren(
      icon('clock'),
      h(
        'p',
        {},
        h('strong', {}, t('time.past')),
        ' ',
        h('span', {class: 'past-when'}, shown ? when(shown) : ''),
        ' ',
        h('span', {class: 'past-hint'}, t('time.past.hint')),
      ),
      h(
        'button',
        {
          type: 'button',
          id: 'back-to-now',
          onclick: () => {
            go(state.head);
            slider.focus();
          },
        },
        t('time.back'),
      ),
    );
  }

  store.on('asOf', () => {
    draw();
    loader.now();
  });
  store.on('head', () => {
    draw();
    if (state.asOf === null) loader.soon();
  });
  store.on('language ready', draw);
}
