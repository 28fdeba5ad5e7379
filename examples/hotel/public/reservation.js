// reservation.js: one reservation: what is known of it, what can happen next, and its history, event by event.

import {at, h, icon} from './dom.js';
import {today} from './dates.js';
import {describe, dot, moment, tagOf} from './events.js';
import {format, t} from './i18n.js';
import {makeLoader} from './loader.js';
import {refusal} from './refusal.js';
import {badge} from './reservations.js';

const HISTORY_COUNT_MAX = 1000;
const ACTIONS = {booked: ['CheckIn', 'CheckOut', 'MarkNoShow', 'CancelReservation'], checked_in: ['CheckOut']};
const NEEDS_YES = ['CancelReservation', 'MarkNoShow'];

/** Makes the dialog; returns what opens it for a reservation number. */
export function mountReservation({book, store}) {
  const {state} = store;
  const dialog = at('reservation');
  const title = h('h2', {id: 'reservation-title'});
  const facts = h('div', {class: 'facts'});
  const actions = h('div', {class: 'actions'});
  const result = h('div', {class: 'result', 'aria-live': 'polite'});
  const history = h('ol', {class: 'history'});
  const body = h('div', {class: 'dialog-body'});
  const head = h('div', {class: 'dialog-head'});
  let number = null;
  let sending = false;
  dialog.append(head, body);
  body.append(
    facts,
    actions,
    result,
    h('h3', {'data-t': 'reservation.history'}),
    h('p', {class: 'hint', 'data-t': 'reservation.history.hint'}),
    history,
  );

  const loader = makeLoader({body: facts, load, show});

  function open(wanted) {
    number = wanted;
    result.replaceChildren();
    title.textContent = number;
    head.replaceChildren(
      title,
      h(
        'button',
        {type: 'button', class: 'quiet square', 'aria-label': t('close'), onclick: () => dialog.close()},
        icon('close'),
      ),
    );
    for (const element of dialog.querySelectorAll('[data-t]')) element.textContent = t(element.dataset.t);
    for (const part of [facts, actions, history]) part.replaceChildren();
    if (!dialog.open) dialog.showModal();
    loader.now();
  }

  async function load(signal) {
    const [{rows}, {events}] = await Promise.all([
      book.view('reservations', {reservation: `eq.${number}`, as_of: state.asOf}, {signal}),
      book.events(
        {tag: tagOf(number), limit: HISTORY_COUNT_MAX, before: state.asOf === null ? null : state.asOf + 1},
        {signal},
      ),
    ]);
    return {row: rows[0], events};
  }

  function show({row, events}) {
    if (row) drawFacts(row);
    else facts.replaceChildren(h('p', {class: 'empty'}, t('reservation.gone')));
    drawActions(row?.status);
    history.replaceChildren(...events.toReversed().map(step));
  }

  function drawFacts(row) {
    const fact = (key, ...value) => h('div', {}, h('dt', {}, t(key)), h('dd', {}, value));
    facts.replaceChildren(
      h('p', {class: 'who'}, h('span', {}, row.guest), badge(row.status)),
      h(
        'dl',
        {},
        fact('reservations.room', row.room_type),
        fact('reservations.stay', t('nights', row.nights)),
        fact('booking.arrival', format('full', row.arrival)),
        fact('reservations.booked', format('full', row.booked_on)),
        fact('reservation.since', format('full', row.status_on)),
      ),
    );
  }

  function drawActions(status) {
    if (state.asOf !== null || !status) {
      actions.replaceChildren(state.asOf === null ? '' : h('p', {class: 'hint'}, t('time.past.hint')));
      return;
    }
    if (actions.querySelector('.sure') && actions.dataset.status === status) return; // a question is being answered
    actions.dataset.status = status;
    const possible = ACTIONS[status] ?? [];
    actions.replaceChildren(
      possible.length
        ? h(
            'div',
            {class: 'buttons'},
            possible.map(name =>
              h(
                'button',
                {
                  type: 'button',
                  class: name === 'CheckIn' || status === 'checked_in' ? 'primary' : 'quiet',
                  'data-action': name,
                  onclick: () => ask(name, status),
                },
                t(`action.${name}`),
              ),
            ),
          )
        : h('p', {class: 'hint'}, t('reservation.finished')),
    );
  }

  function ask(name, status) {
    if (!NEEDS_YES.includes(name)) {
      act(name);
      return;
    }
    const back = () => {
      actions.replaceChildren();
      drawActions(status);
      actions.querySelector('button')?.focus();
    };
    const yes = h(
      'button',
      {type: 'button', class: 'danger', 'data-yes': name, onclick: () => act(name)},
      t(`action.yes.${name}`),
    );
    actions.replaceChildren(
      h(
        'div',
        {class: 'sure', role: 'group', 'aria-label': t(`action.sure.${name}`)},
        h('p', {}, t(`action.sure.${name}`)),
        h('div', {class: 'buttons'}, yes, h('button', {type: 'button', class: 'quiet', onclick: back}, t('action.no'))),
      ),
    );
    yes.focus();
  }

  async function act(name) {
    if (sending) return;
    sending = true;
    const quiet = book.on('retry', () => result.replaceChildren(h('p', {class: 'hint'}, t('connection.retry'))));
    try {
      await book.command(name, {reservation: number, on: today()});
      result.replaceChildren(h('p', {class: 'card done', tabindex: -1}, icon('check'), ' ', t(`done.${name}`)));
    } catch (problem) {
      result.replaceChildren(refusal(problem));
    } finally {
      quiet();
      sending = false;
      actions.replaceChildren();
      await loader.now();
      result.firstChild?.focus();
    }
  }

  function step(event) {
    const travel = () => {
      dialog.close();
      store.set({asOf: event.position >= state.head ? null : event.position, stay: null, refused: null});
      scrollTo({top: 0});
    };
    return h(
      'li',
      {'data-position': event.position},
      dot(event),
      h(
        'div',
        {},
        h('p', {class: 'what'}, describe(event)),
        h('p', {class: 'hint'}, moment(event), ` · #${event.position}`),
      ),
      h(
        'button',
        {
          type: 'button',
          class: 'quiet square',
          title: t('reservation.then'),
          'aria-label': t('reservation.then'),
          onclick: travel,
        },
        icon('clock'),
      ),
    );
  }

  book.on('event', event => {
    if (dialog.open && event.tags.includes(tagOf(number))) loader.soon();
  });
  store.on('language asOf', () => {
    if (dialog.open) open(number);
  });
  dialog.addEventListener('click', ({target}) => {
    if (target === dialog) dialog.close();
  });
  return open;
}
