// occupancy.js: how full each month of the visible year is; a bar leads to its month.

import {at, h, s} from './dom.js';
import {format, t} from './i18n.js';
import {makeLoader} from './loader.js';

const BAR = {height: 120, head: 22, foot: 24}; // pixels; the width is what the panel has

export function mountOccupancy({book, store}) {
  const {state} = store;
  const body = at('occupancy-body');
  let rows = null;
  const loader = makeLoader({
    body,
    load,
    show: loaded => {
      rows = loaded;
      draw();
    },
  });

  async function load(signal) {
    if (!state.hotel) return [];
    return (await book.query('occupancy', {hotel: state.hotel, by: 'month', as_of: state.asOf}, {signal})).rows;
  }

  function draw() {
    if (rows === null) {
      body.replaceChildren(h('p', {class: 'waiting'}, t('loading')));
      return;
    }
    const year = state.month.slice(0, 4);
    const months = Array.from({length: 12}, (_, index) => `${year}-${String(index + 1).padStart(2, '0')}`);
    const rates = new Map(rows.map(row => [row.month, row.rate]));
    const bars = months.map(month => ({month, rate: rates.get(month) ?? 0}));
    const best = bars.reduce((best, bar) => (bar.rate > best.rate ? bar : best));
    at('occupancy-title').textContent = `${t('occupancy.title')} · ${year}`;
    body.replaceChildren(
      h(
        'p',
        {class: 'hint'},
        best.rate > 0
          ? t('occupancy.best', format('month', `${best.month}-01`), format('percent', best.rate))
          : t('occupancy.none'),
      ),
      picture(bars),
      table(bars),
    );
  }

  function picture(bars) {
    const {height, head, foot} = BAR;
    const step = Math.max(20, body.clientWidth / bars.length);
    const gap = step * 0.28;
    const width = step - gap;
    return s(
      'svg',
      {class: 'bars', viewBox: `0 0 ${bars.length * step} ${head + height + foot}`, 'aria-hidden': 'true'},
      bars.map(({month, rate}, index) => {
        const x = index * step + gap / 2;
        const tall = Math.max(rate > 0 ? 2 : 0, height * Math.min(1, rate));
        return s(
          'g',
          {class: month === state.month ? 'bar now' : 'bar', onclick: () => store.set({month})},
          s('rect', {class: 'ground', x, y: head, width, height, rx: 5}),
          s('rect', {class: 'fill', x, y: head + height - tall, width, height: tall, rx: Math.min(5, tall / 2)}),
          s('text', {x: x + width / 2, y: head - 7, class: 'rate'}, rate > 0 ? format('percent', rate) : '–'),
          s('text', {x: x + width / 2, y: head + height + 17}, format('monthShort', `${month}-01`)),
        );
      }),
    );
  }

  function table(bars) {
    return h(
      'table',
      {class: 'sr'},
      h('caption', {}, t('occupancy.caption')),
      h(
        'thead',
        {},
        h('tr', {}, h('th', {scope: 'col'}, t('occupancy.month')), h('th', {scope: 'col'}, t('occupancy.rate'))),
      ),
      h(
        'tbody',
        {},
        bars.map(({month, rate}) =>
          h('tr', {}, h('th', {scope: 'row'}, format('month', `${month}-01`)), h('td', {}, format('percent', rate))),
        ),
      ),
    );
  }

  new ResizeObserver(() => {
    if (rows) draw();
  }).observe(at('occupancy'));
  store.on('hotel asOf', () => loader.now());
  store.on('head', () => {
    if (state.asOf === null) loader.soon();
  });
  store.on('language ready month', draw);
}
