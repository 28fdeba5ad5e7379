// calendar-grid.js: the heat map itself: a real table with one button a night. One cell takes the focus (Tab), the
// arrows move it. News is painted into the standing table, so focus and screen readers keep their place.

import {h} from './dom.js';
import {addDays, nightsOf, today, weekday} from './dates.js';
import {firstWeekday, format, t} from './i18n.js';

const FEW_TYPES = 5; // rows of so few can be taller
const MOVES = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};

/** `onPick(type, night)`, `onExtend(type, from, to)`, `onMonth(±1)` tell what the visitor did. */
export function makeGrid({onPick, onExtend, onMonth}) {
  let drawn = '';
  let cells = [];
  let buttons = new Map();
  let active = null;
  let anchor = null;
  let drag = null;
  let wanted = false;

  /** Brings the table in `frame` up to date; builds it anew only when its shape changes. */
  function draw(frame, view) {
    const shape = JSON.stringify([view.types, view.month, view.wide, view.language]);
    if (shape !== drawn || !frame.contains(buttons.values().next().value)) {
      const had = frame.contains(document.activeElement) || wanted;
      build(frame, view);
      drawn = shape;
      wanted = false;
      if (had) buttons.get(active)?.focus();
    }
    paint(view);
  }

  function build(frame, view) {
    const nights = nightsOf(view.month);
    const month = format('month', `${view.month}-01`);
    buttons = new Map();
    cells = view.wide ? view.types.map(type => nights.map(night => [type, night])) : pageOf(view.types[0], nights);
    const table = h(
      'table',
      {
        role: 'grid',
        class: view.wide ? (view.types.length > FEW_TYPES ? 'matrix' : 'matrix few') : 'page',
        'aria-describedby': 'calendar-hint',
        onkeydown,
        onclick,
        onpointerdown,
        onpointermove,
      },
      h(
        'caption',
        {class: 'sr'},
        view.wide ? t('calendar.caption', month) : t('calendar.caption.type', view.types[0], month),
      ),
      view.wide ? matrixHead(nights) : pageHead(),
      h(
        'tbody',
        {},
        cells.map((row, line) =>
          h(
            'tr',
            {},
            view.wide && typeHead(view, view.types[line]),
            row.map((cell, column) => cellOf(cell, line, column, view.wide)),
          ),
        ),
      ),
      view.wide &&
        h(
          'tfoot',
          {},
          h(
            'tr',
            {},
            h('th', {scope: 'row'}, t('calendar.all')),
            nights.map(night => h('td', {'data-sum': night})),
          ),
        ),
    );
    const key = active && buttons.has(active) ? active : buttons.keys().next().value;
    activate(key);
    frame.replaceChildren(table);
  }

  function cellOf(cell, line, column, wide) {
    if (!cell) return h('td', {class: 'blank'});
    const [type, night] = cell;
    const button = h(
      'button',
      {type: 'button', tabindex: -1, 'data-type': type, 'data-night': night, 'data-line': line, 'data-column': column},
      !wide && h('span', {class: 'day', 'aria-hidden': 'true'}, String(Number(night.slice(8)))),
      h('span', {class: 'free', 'aria-hidden': 'true'}),
    );
    buttons.set(`${type}|${night}`, button);
    return h('td', {}, button);
  }

  function paint({rows, month, stay, refused, wide}) {
    const sums = new Map();
    for (const row of rows) {
      sums.set(row.night, (sums.get(row.night) ?? 0) + row.free);
      const button = buttons.get(`${row.room_type}|${row.night}`);
      if (button) paintNight(button, row, stay, refused);
    }
    if (wide)
      for (const night of nightsOf(month))
        document.querySelector(`[data-sum="${night}"]`).textContent = sums.get(night) ?? '';
  }

  function paintNight(button, row, stay, refused) {
    const {room_type: type, night, free, rooms} = row;
    const number = button.lastChild;
    const before = number.textContent;
    const end = stay && addDays(stay.arrival, stay.nights);
    const inStay = stay?.type === type && night >= stay.arrival && night < end;
    const wasFull = refused?.type === type && refused.nights.has(night);
    number.textContent = free;
    const classes = [
      `l${level(row)}`,
      inStay && 'stay',
      inStay && night === stay.arrival && 'stay-first',
      inStay && addDays(night, 1) === end && 'stay-last',
      wasFull && 'refused',
    ].filter(Boolean);
    button.parentElement.className = classes.join(' ');
    button.parentElement.setAttribute('aria-selected', String(Boolean(inStay)));
    button.setAttribute(
      'aria-label',
      t('calendar.cell', type, format('long', night), free, rooms) +
        (inStay ? t('calendar.cell.selected') : '') +
        (wasFull ? t('calendar.cell.refused') : ''),
    );
    if (before !== '' && before !== String(free)) flash(button);
  }

  function activate(key) {
    if (active) buttons.get(active)?.setAttribute('tabindex', -1);
    active = key;
    buttons.get(key)?.setAttribute('tabindex', 0);
  }

  function onkeydown(event) {
    const {line, column, type, night} = event.target.dataset;
    if (line === undefined) return;
    if (event.key === 'PageUp' || event.key === 'PageDown') {
      event.preventDefault();
      wanted = true;
      active = null;
      onMonth(event.key === 'PageUp' ? -1 : 1);
      return;
    }
    const move = MOVES[event.key] ?? {Home: [0, -Infinity], End: [0, Infinity]}[event.key];
    if (!move) return;
    event.preventDefault();
    const next = neighbour(Number(line), Number(column), move);
    if (!next) return;
    activate(`${next.dataset.type}|${next.dataset.night}`);
    next.focus();
    if (!event.shiftKey) {
      anchor = null;
      return;
    }
    anchor ??= {type, night};
    if (anchor.type === next.dataset.type) onExtend(anchor.type, anchor.night, next.dataset.night);
  }

  function neighbour(line, column, [down, right]) {
    const find = cell => cell && buttons.get(`${cell[0]}|${cell[1]}`);
    if (Number.isFinite(right)) {
      const flat = cells.flat();
      const width = cells[0].length;
      const place = line * width + column + down * width + right;
      const sameRow = cells[0].length > 7 && right !== 0 && Math.floor(place / width) !== line;
      return sameRow ? null : find(flat[place]);
    }
    const row = cells[line].filter(Boolean);
    return find(right < 0 ? row[0] : row.at(-1));
  }

  function onclick({target, shiftKey}) {
    const button = target.closest('button');
    if (!button || drag?.moved) return;
    const {type, night} = button.dataset;
    activate(`${type}|${night}`);
    if (shiftKey && anchor?.type === type) onExtend(type, anchor.night, night);
    else {
      anchor = {type, night};
      onPick(type, night);
    }
  }

  function onpointerdown({target, pointerType}) {
    const button = target.closest('button');
    drag = button && pointerType === 'mouse' ? {...button.dataset, moved: false} : null;
  }

  function onpointermove({target, buttons: pressed}) {
    const button = target.closest('button');
    if (!drag || pressed !== 1 || !button || button.dataset.type !== drag.type) return;
    if (button.dataset.night === drag.night && !drag.moved) return;
    drag.moved = true;
    onExtend(drag.type, drag.night, button.dataset.night);
  }

  return {
    draw,
    forget() {
      drawn = '';
    },
  };
}

/** One type's month as weeks; null where a week reaches into another month. */
function pageOf(type, nights) {
  const skip = (weekday(nights[0]) - firstWeekday() + 7) % 7;
  const all = [...Array(skip).fill(null), ...nights.map(night => [type, night])];
  while (all.length % 7) all.push(null);
  return Array.from({length: all.length / 7}, (_, week) => all.slice(7 * week, 7 * week + 7));
}

function matrixHead(nights) {
  return h(
    'thead',
    {},
    h(
      'tr',
      {},
      h('td', {}),
      nights.map(night =>
        h(
          'th',
          {
            scope: 'col',
            class: [night === today() && 'today', [0, 6].includes(weekday(night)) && 'weekend']
              .filter(Boolean)
              .join(' '),
          },
          h('span', {class: 'weekday', 'aria-hidden': 'true'}, format('weekday', night)),
          h('span', {class: 'sr'}, format('weekdayLong', night), ' '),
          Number(night.slice(8)),
        ),
      ),
    ),
  );
}

function pageHead() {
  const sunday = '2024-09-01';
  const days = Array.from({length: 7}, (_, index) => addDays(sunday, index + firstWeekday()));
  return h(
    'thead',
    {},
    h(
      'tr',
      {},
      days.map(day => h('th', {scope: 'col', abbr: format('weekdayLong', day)}, format('weekday', day))),
    ),
  );
}

function typeHead({rows}, type) {
  const rooms = rows.find(row => row.room_type === type).rooms;
  return h(
    'th',
    {scope: 'row'},
    h('span', {class: 'type'}, type),
    h('span', {class: 'rooms'}, t('calendar.rooms', rooms)),
  );
}

/** How full a night is: 0 empty, then quarters, 'full' when nothing is left. */
function level({free, rooms, booked}) {
  if (free <= 0) return 'full';
  return Math.min(4, Math.ceil((4 * booked) / rooms));
}

function flash(button) {
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  button.animate([{transform: 'scale(1.35)'}, {transform: 'scale(1)'}], {duration: 500, easing: 'ease-out'});
}
