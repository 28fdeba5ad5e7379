// calendar.js: the free rooms of a month as a heat map, by night and room type; picking nights in it begins a booking.
// Wide screens see all types at once, narrow ones a page of the calendar for one type.

import {at, h, icon} from './dom.js';
import {makeGrid} from './calendar-grid.js';
import {addMonths, monthOf, nightsBetween, today} from './dates.js';
import {format, t} from './i18n.js';
import {makeLoader} from './loader.js';

const WIDE = matchMedia('(min-width: 900px)');

export function mountCalendar({book, store}) {
  const {state} = store;
  const body = at('calendar-body');
  const frame = h('div', {class: 'calendar-frame'});
  const choice = h('select', {
    id: 'calendar-type',
    onchange: () => {
      type = choice.value;
      draw();
    },
  });
  const choiceLabel = h('label', {class: 'type-choice', hidden: true}, h('span', {}), choice);
  const foot = h('div', {class: 'calendar-foot'});
  body.append(choiceLabel, frame, foot);
  let rows = null;
  let type = null;

  const grid = makeGrid({onPick: pick, onExtend: extend, onMonth: turn});
  const loader = makeLoader({body: frame, load, show});

  async function load(signal) {
    if (!state.hotel) return [];
    const from = `${state.month}-01`;
    const to = `${addMonths(state.month, 1)}-01`;
    return (await book.query('free_rooms', {hotel: state.hotel, from, to, as_of: state.asOf}, {signal})).rows;
  }

  function show(loaded) {
    rows = loaded;
    const types = [...new Map(rows.map(row => [row.room_type, {type: row.room_type, rooms: row.rooms}])).values()];
    if (JSON.stringify(types) !== JSON.stringify(state.types) && state.asOf === null) store.set({types});
    draw();
  }

  function draw() {
    drawNav();
    if (rows === null) {
      frame.replaceChildren(h('p', {class: 'waiting'}, t('loading')));
      return;
    }
    choiceLabel.hidden = WIDE.matches || rows.length === 0;
    if (rows.length === 0) {
      drawEmpty();
      return;
    }
    const types = [...new Set(rows.map(row => row.room_type))];
    if (!types.includes(type)) type = types[0];
    drawChoice(types);
    grid.draw(frame, {
      rows,
      types: WIDE.matches ? types : [type],
      month: state.month,
      wide: WIDE.matches,
      stay: state.stay,
      refused: state.refused,
      language: state.language,
    });
    drawLegend();
  }

  function drawEmpty() {
    const past = state.asOf !== null;
    frame.replaceChildren(
      h(
        'div',
        {class: 'empty'},
        h('p', {}, t(past ? 'calendar.none.past' : 'calendar.none')),
        !past && h('p', {class: 'hint'}, t('calendar.none.hint')),
      ),
    );
    foot.replaceChildren();
    grid.forget();
  }

  function drawNav() {
    const nav = at('calendar-nav');
    if (!nav.firstChild) {
      const button = (name, to) =>
        h('button', {type: 'button', class: 'quiet square', id: `month-${name}`, onclick: () => turn(to)}, icon(name));
      nav.append(
        button('left', -1),
        h('strong', {id: 'month', 'aria-live': 'polite'}),
        button('right', 1),
        h('button', {
          type: 'button',
          class: 'quiet',
          id: 'month-today',
          onclick: () => store.set({month: monthOf(today())}),
        }),
      );
    }
    nav.children[0].setAttribute('aria-label', t('calendar.previous'));
    nav.children[1].textContent = format('month', `${state.month}-01`);
    nav.children[2].setAttribute('aria-label', t('calendar.next'));
    nav.children[3].textContent = t('today');
  }

  function drawChoice(types) {
    choiceLabel.firstChild.textContent = t('calendar.type');
    choice.replaceChildren(...types.map(name => h('option', {}, name)));
    choice.value = type;
  }

  function drawLegend() {
    const steps = [0, 1, 2, 3, 4, 'full'].map(level => h('li', {class: `l${level}`}, level === 'full' ? '0' : ''));
    foot.replaceChildren(
      h(
        'div',
        {class: 'legend'},
        h('span', {}, t('calendar.legend')),
        h('span', {class: 'hint'}, t('calendar.legend.empty')),
        h('ol', {'aria-hidden': 'true'}, steps),
        h('span', {class: 'hint'}, t('calendar.legend.full')),
        h('span', {class: 'hint'}, t('calendar.legend.number')),
      ),
      h('p', {class: 'hint how', id: 'calendar-hint'}, state.asOf === null ? t('calendar.hint') : ''),
    );
  }

  /** A night was picked: the first of a stay, or, right after one, the last of it. */
  function pick(picked, night) {
    if (state.asOf !== null) return;
    const {stay} = state;
    if (stay?.open && stay.type === picked && night > stay.arrival) {
      store.set({stay: {...stay, nights: nightsBetween(stay.arrival, night) + 1, open: false}});
      return;
    }
    store.set({stay: {type: picked, arrival: night, nights: 1, open: true}, refused: null});
  }

  /** The stay reaches from one night to another, whichever comes first. */
  function extend(picked, from, to) {
    if (state.asOf !== null) return;
    const arrival = from < to ? from : to;
    store.set({
      stay: {type: picked, arrival, nights: Math.abs(nightsBetween(from, to)) + 1, open: false},
      refused: null,
    });
  }

  function turn(count) {
    store.set({month: addMonths(state.month, count)});
  }

  WIDE.addEventListener('change', draw);
  store.on('hotel month asOf', () => {
    drawNav();
    loader.now();
  });
  store.on('head', () => {
    if (state.asOf === null) loader.soon();
  });
  store.on('stay refused', () => {
    if (state.stay) type = state.stay.type;
    if (rows) draw();
  });
  store.on('language ready', draw);
}
