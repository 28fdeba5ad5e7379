// reservations.js: the list of reservations: searched, filtered, ordered and paged by the server (PostgREST's grammar).

import {at, h, icon} from './dom.js';
import {format, t} from './i18n.js';
import {makeLoader} from './loader.js';

const PAGE_COUNT = 12;
const TYPING_MS = 200;
const STATUSES = ['booked', 'checked_in', 'checked_out', 'cancelled', 'no_show'];
const ORDERS = ['booked_on.desc', 'arrival.desc', 'arrival.asc', 'guest.asc'];

export function mountReservations({book, store, openReservation}) {
  const {state} = store;
  const wish = {text: '', status: '', order: ORDERS[0], offset: 0};
  const tools = h('div', {class: 'tools', role: 'search'});
  const list = h('div', {class: 'list'});
  const pager = h('nav', {class: 'pager'});
  at('reservations-body').append(tools, list, pager);
  let shown = null;
  let timer = null;

  const loader = makeLoader({body: list, load, show});

  async function load(signal) {
    if (!state.hotel) return {rows: [], total: 0};
    const params = {
      hotel: `eq.${state.hotel}`,
      ...(wish.status && {status: `eq.${wish.status}`}),
      ...(wish.text && {or: either(wish.text)}),
      order: `${wish.order},reservation.desc`,
      limit: PAGE_COUNT,
      offset: wish.offset,
      as_of: state.asOf,
    };
    return book.view('reservations', params, {signal, count: true});
  }

  function show({rows, total}) {
    if (rows.length === 0 && wish.offset > 0) {
      wish.offset = 0;
      loader.now();
      return;
    }
    shown = {rows, total};
    drawList();
  }

  function change(changes) {
    Object.assign(wish, {offset: 0}, changes);
    loader.now();
  }

  function drawTools() {
    const options = (names, key) => names.map(name => h('option', {value: name}, t(`${key}.${name}`)));
    const typed = ({target}) => {
      clearTimeout(timer);
      timer = setTimeout(() => change({text: target.value.trim()}), TYPING_MS);
    };
    const status = h(
      'select',
      {id: 'r-status', 'aria-label': t('reservations.status'), onchange: ({target}) => change({status: target.value})},
      h('option', {value: ''}, t('reservations.any')),
      options(STATUSES, 'status'),
    );
    const order = h(
      'select',
      {id: 'r-order', 'aria-label': t('reservations.order'), onchange: ({target}) => change({order: target.value})},
      options(ORDERS, 'reservations.order'),
    );
    status.value = wish.status;
    order.value = wish.order;
    tools.replaceChildren(
      h(
        'div',
        {class: 'search'},
        icon('search'),
        h('input', {
          type: 'search',
          id: 'r-search',
          value: wish.text,
          placeholder: t('reservations.search'),
          'aria-label': t('reservations.search'),
          oninput: typed,
        }),
      ),
      status,
      order,
    );
  }

  function drawList() {
    if (shown === null) {
      list.replaceChildren(h('p', {class: 'waiting'}, t('loading')));
      return;
    }
    const {rows, total} = shown;
    const from = wish.offset;
    at('reservations-count').textContent = rows.length
      ? t('reservations.count', from + 1, from + rows.length, total)
      : '';
    drawPager(from, rows.length, total);
    if (rows.length === 0) {
      drawEmpty();
      return;
    }
    const focused = list.contains(document.activeElement) && document.activeElement.dataset.reservation;
    list.replaceChildren(
      h(
        'table',
        {class: 'rows'},
        h('caption', {class: 'sr'}, t('reservations.caption')),
        h(
          'thead',
          {},
          h(
            'tr',
            {},
            ['guest', 'room', 'stay', 'booked', 'status'].map(name =>
              h(
                'th',
                {scope: 'col', class: name},
                t(name === 'status' ? 'reservations.status' : `reservations.${name}`),
              ),
            ),
          ),
        ),
        h('tbody', {}, rows.map(rowOf)),
      ),
    );
    if (focused) list.querySelector(`[data-reservation="${CSS.escape(focused)}"]`)?.focus();
  }

  function rowOf(row) {
    const open = () => openReservation(row.reservation);
    return h(
      'tr',
      {'data-row': row.reservation, onclick: ({target}) => target.closest('button') || open()},
      h(
        'th',
        {scope: 'row', class: 'guest'},
        h(
          'button',
          {
            type: 'button',
            class: 'link',
            'data-reservation': row.reservation,
            'aria-label': `${row.guest}, ${t('reservations.open', row.reservation)}`,
            onclick: open,
          },
          row.guest,
        ),
        h('code', {}, row.reservation),
      ),
      h('td', {class: 'room'}, row.room_type),
      h(
        'td',
        {class: 'stay'},
        h('time', {datetime: row.arrival}, format('full', row.arrival)),
        h(
          'span',
          {class: 'hint'},
          ' ',
          h('span', {class: 'room-too', 'aria-hidden': 'true'}, `${row.room_type} · `),
          t('nights', row.nights),
        ),
      ),
      h('td', {class: 'booked'}, format('full', row.booked_on)),
      h('td', {class: 'status'}, badge(row.status)),
    );
  }

  function drawPager(from, count, total) {
    pager.hidden = total <= PAGE_COUNT;
    pager.setAttribute('aria-label', t('reservations.title'));
    const button = (id, name, key, offset, on) =>
      h(
        'button',
        {
          type: 'button',
          id,
          class: 'quiet square',
          'aria-label': t(key),
          disabled: !on,
          onclick: () => {
            wish.offset = offset;
            loader.now().then(() => at(id).focus());
          },
        },
        icon(name),
      );
    pager.replaceChildren(
      button('r-previous', 'left', 'reservations.previous', Math.max(0, from - PAGE_COUNT), from > 0),
      h('span', {}, count ? t('reservations.count', from + 1, from + count, total) : ''),
      button('r-next', 'right', 'reservations.next', from + PAGE_COUNT, from + count < total),
    );
  }

  function drawEmpty() {
    const searched = wish.text || wish.status;
    const clear = () => {
      Object.assign(wish, {text: '', status: ''});
      drawTools();
      change({});
      at('r-search').focus();
    };
    list.replaceChildren(
      h(
        'div',
        {class: 'empty'},
        h('p', {}, t(searched ? 'reservations.none' : 'reservations.empty')),
        h('p', {class: 'hint'}, t(searched ? 'reservations.none.hint' : 'reservations.empty.hint')),
        searched && h('button', {type: 'button', class: 'quiet', onclick: clear}, t('reservations.clear')),
      ),
    );
  }

  store.on('language ready', () => {
    drawTools();
    drawList();
  });
  store.on('hotel asOf', () => {
    wish.offset = 0;
    loader.now();
  });
  store.on('head', () => {
    if (state.asOf === null) loader.soon();
  });
}

/** A status as a small coloured word. */
export function badge(status) {
  return h('span', {class: `badge ${status}`}, t(`status.${status}`));
}

/** "The guest's name or the number contains this", as PostgREST writes it. */
function either(text) {
  const pattern = `"*${text.replace(/["\\]/g, '\\$&')}*"`;
  return `(guest.like.${pattern},reservation.like.${pattern})`;
}
