// booking.js: the form that books. It shares the stay with the calendar: picking nights there fills it, and what is
// typed here is shown there. Whether there is room is for the server to decide; the outlook above the button only tells
// what is to be expected.

import {at, h, icon} from './dom.js';
import {addDays, isDate, monthOf, nightsBetween, today} from './dates.js';
import {format, t} from './i18n.js';
import {makeLoader} from './loader.js';
import {refusal, violationsByField} from './refusal.js';

const NUMBER_SIGNS = '23456789ABCDEFGHJKLMNPQRSTUVWXYZ'; // none that looks like another
const NIGHTS_MAX = 365;
const FORM_IN_VIEW = 0.6; // as much of the form needs no pointer to it

export function mountBooking({book, store, openReservation}) {
  const {state} = store;
  const panel = at('booking');
  const body = at('booking-body');
  const result = h('div', {class: 'result', 'aria-live': 'polite'});
  const outlook = h('p', {class: 'outlook'});
  const form = h('form', {novalidate: true, onsubmit: submit, autocomplete: 'off'});
  const bar = h('button', {type: 'button', class: 'stay-bar', hidden: true, onclick: () => fields.guest.focus()});
  let fields = {};
  let sending = false;
  let tried = null;
  body.append(form, result);
  document.body.append(bar);

  const forecast = makeLoader({body: outlook, load: loadOutlook, show: showOutlook});

  function build() {
    const kept = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.value]));
    fields = {
      room_type: h('select', {name: 'room_type', id: 'b-type', onchange: edited}),
      arrival: h('input', {type: 'date', name: 'arrival', id: 'b-arrival', required: true, onchange: edited}),
      departure: h('input', {type: 'date', name: 'departure', id: 'b-departure', onchange: departed}),
      nights: h('input', {
        type: 'number',
        name: 'nights',
        id: 'b-nights',
        min: 0,
        max: NIGHTS_MAX,
        required: true,
        inputmode: 'numeric',
        onchange: edited,
      }),
      guest: h('input', {
        type: 'text',
        name: 'guest',
        id: 'b-guest',
        required: true,
        maxlength: 200,
        placeholder: t('booking.guest.hint'),
        autocomplete: 'off',
      }),
    };
    form.replaceChildren(
      field('guest', 'booking.guest'),
      field('arrival', 'booking.arrival'),
      field('departure', 'booking.departure'),
      field('room_type', 'booking.type'),
      field('nights', 'booking.nights'),
      outlook,
      h('button', {type: 'submit', class: 'primary', id: 'b-submit'}, t('booking.submit')),
      h('p', {class: 'hint only-past'}, t('booking.past')),
    );
    for (const name of Object.keys(fields)) fields[name].addEventListener('input', () => wrong(name, ''));
    fillTypes();
    fields.guest.value = kept.guest ?? '';
    fill();
  }

  function field(name, label) {
    const input = fields[name];
    input.setAttribute('aria-describedby', `${input.id}-wrong`);
    return h(
      'div',
      {class: `field ${name}`},
      h('label', {for: input.id}, t(label)),
      input,
      h('p', {class: 'wrong', id: `${input.id}-wrong`}),
    );
  }

  function fillTypes() {
    const chosen = state.stay?.type ?? fields.room_type.value;
    fields.room_type.replaceChildren(...state.types.map(({type}) => h('option', {}, type)));
    fields.room_type.value = state.types.some(({type}) => type === chosen) ? chosen : (state.types[0]?.type ?? '');
  }

  /** The stay into the fields. */
  function fill() {
    const {stay} = state;
    if (stay) {
      fields.room_type.value = stay.type;
      fields.arrival.value = stay.arrival;
      fields.nights.value = stay.nights;
      fields.departure.value = addDays(stay.arrival, stay.nights);
    } else if (!fields.arrival.value) {
      fields.nights.value = 1;
    }
    bar.hidden = !stay;
    if (stay)
      bar.replaceChildren(
        h('span', {}, h('strong', {}, stay.type), ' ', stayInWords(stay)),
        h('span', {class: 'go'}, t('booking.continue')),
      );
    forecast.now();
  }

  /** The fields into the stay. */
  function edited() {
    const arrival = fields.arrival.value;
    const nights = Number(fields.nights.value);
    if (!isDate(arrival) || !Number.isInteger(nights) || nights < 0 || nights > NIGHTS_MAX) {
      store.set({stay: null});
      return;
    }
    store.set({
      stay: {type: fields.room_type.value, arrival, nights, open: false},
      refused: null,
      month: monthOf(arrival),
    });
  }

  function departed() {
    const {arrival, departure, nights} = fields;
    if (!isDate(arrival.value) || !isDate(departure.value)) return;
    const count = nightsBetween(arrival.value, departure.value);
    wrong('departure', count < 0 ? t('booking.order') : '');
    if (count >= 0) {
      nights.value = count;
      edited();
    }
  }

  async function loadOutlook(signal) {
    const {stay, hotel, asOf} = state;
    if (!stay || !hotel || stay.nights === 0) return {stay, rows: []};
    const to = addDays(stay.arrival, stay.nights);
    const {rows} = await book.query('free_rooms', {hotel, from: stay.arrival, to, as_of: asOf}, {signal});
    return {stay, rows: rows.filter(row => row.room_type === stay.type)};
  }

  function showOutlook({stay, rows}) {
    if (!stay) {
      outlook.replaceChildren(state.asOf === null ? h('span', {class: 'hint'}, t('booking.hint')) : '');
      return;
    }
    const full = rows.filter(row => row.free <= 0);
    const least = rows.reduce((least, row) => (least && least.free <= row.free ? least : row), null);
    outlook.replaceChildren(
      h('strong', {}, stayInWords(stay)),
      ' ',
      full.length > 0
        ? h(
            'span',
            {class: 'bad'},
            t(
              'booking.full',
              format(
                'list',
                full.slice(0, 5).map(row => format('day', row.night)),
              ),
            ),
          )
        : least && h('span', {}, t('booking.least', least.free, format('day', least.night))),
    );
  }

  async function submit(event) {
    event.preventDefault();
    if (sending || state.asOf !== null || !complete()) return;
    const wish = {
      hotel: state.hotel,
      room_type: fields.room_type.value,
      arrival: fields.arrival.value,
      nights: Number(fields.nights.value),
      guest: fields.guest.value.trim(),
      on: today(),
    };
    // The same wish sent again after no answer came is the same booking: it keeps its number and its key.
    if (JSON.stringify(wish) !== tried?.wish)
      tried = {
        wish: JSON.stringify(wish),
        reservation: newNumber(),
        key: crypto.getRandomValues(new Uint32Array(4)).join('-'),
      };
    send({reservation: tried.reservation, ...wish}, tried.key);
  }

  async function send(command, key) {
    busy(true);
    const quiet = book.on('retry', () => result.replaceChildren(h('p', {class: 'hint'}, t('booking.waiting'))));
    try {
      await book.command('BookRoom', command, {key});
      tried = null;
      booked(command);
    } catch (problem) {
      if (problem.status === 422) tried = null; // decided; anything else may have been done
      refuse(problem, command);
    } finally {
      quiet();
      busy(false);
    }
  }

  function booked(command) {
    fields.guest.value = '';
    store.set({stay: null, refused: null});
    const card = h(
      'div',
      {class: 'card done', tabindex: -1, 'data-reservation': command.reservation},
      h('h3', {}, icon('check'), t('booking.done', command.guest)),
      h('p', {}, `${command.room_type} · `, stayInWords(command)),
      h('p', {}, t('booking.number'), ' ', h('code', {}, command.reservation)),
      h(
        'button',
        {type: 'button', class: 'quiet', onclick: () => openReservation(command.reservation)},
        t('booking.open'),
      ),
    );
    result.replaceChildren(card);
    card.focus();
  }

  function refuse(problem, {room_type: type}) {
    const byField = violationsByField(problem);
    for (const [name, message] of byField) wrong(name, message);
    if (problem.rule === 'no-free-room') store.set({refused: {type, nights: new Set(problem.nights)}});
    const card = refusal(problem, {
      onShow: nights => {
        store.set({month: monthOf(nights[0])});
        at('calendar').focus();
      },
    });
    result.replaceChildren(card);
    if (byField.size > 0) fields[[...byField.keys()].find(name => name in fields)]?.focus();
    else card.focus();
  }

  /** Says what is missing, and whether nothing is. */
  function complete() {
    const missing = ['guest', 'room_type', 'arrival', 'nights'].filter(name => fields[name].value.trim() === '');
    for (const name of Object.keys(fields)) wrong(name, missing.includes(name) ? t('booking.missing') : '');
    fields[missing[0]]?.focus();
    return missing.length === 0;
  }

  function wrong(name, message) {
    if (!(name in fields)) return;
    fields[name].setAttribute('aria-invalid', String(message !== ''));
    at(`${fields[name].id}-wrong`).textContent = message;
  }

  function busy(now) {
    sending = now;
    at('b-submit').textContent = t(now ? 'booking.sending' : 'booking.submit');
    at('b-submit').setAttribute('aria-disabled', String(now));
  }

  function lock() {
    const past = state.asOf !== null;
    for (const element of form.querySelectorAll('input, select, button')) element.disabled = past;
    panel.classList.toggle('locked', past);
    if (past) result.replaceChildren();
  }

  new IntersectionObserver(([{intersectionRatio: part}]) => bar.classList.toggle('away', part >= FORM_IN_VIEW), {
    threshold: FORM_IN_VIEW,
  }).observe(form);
  store.on('language ready', () => {
    build();
    lock();
  });
  store.on('types', fillTypes);
  store.on('stay', fill);
  store.on('asOf', lock);
  store.on('head', () => {
    if (state.stay && state.asOf === null) forecast.soon();
  });
}

/** "3 nights, 12 Mar to 15 Mar". */
export function stayInWords({arrival, nights}) {
  return t('booking.stay', nights, format('day', arrival), format('day', addDays(arrival, nights)));
}

function newNumber() {
  return `W-${Array.from(crypto.getRandomValues(new Uint8Array(7)), byte => NUMBER_SIGNS[byte % NUMBER_SIGNS.length]).join('')}`;
}
