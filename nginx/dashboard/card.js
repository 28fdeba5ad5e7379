// card.js: one breaker as a card: its state and why, its rates against its thresholds, the last minute, its history.
import {t} from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const HISTORY = 12;
const WIDTH = 60;
const HEIGHT = 24;
const ORDERS = ['open', 'close', 'auto', 'reset'];

function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter(child => child != null && child !== false));
  return node;
}

/** "failure_rate=50% consecutive=5 …" as numbers where they are numbers. */
const rulesOf = config =>
  Object.fromEntries(
    config
      .split(' ')
      .map(pair => pair.split('='))
      .map(([name, value]) => [name, Number.parseFloat(value) || 0]),
  );

const seconds = ms => (ms / 1000).toFixed(ms < 10_000 ? 1 : 0);

const retry = ms => (ms > 0 ? t('retry_in', seconds(ms)) : t('retry_now'));

function why(breaker) {
  const words = [];
  if (breaker.state !== 'closed' && breaker.reason !== 'none') words.push(t(breaker.reason));
  if (breaker.state === 'half_open') words.push(t('probing', breaker.probes.out, breaker.probes.ok));
  if (breaker.state === 'ramp') words.push(t('share', breaker.share));
  if (breaker.state === 'open') words.push(h('strong', {}, retry(breaker.retry_after_ms)));
  return h('p', {class: 'why'}, ...words.flatMap((word, i) => (i ? [' · ', word] : [word])));
}

/** A share of calls against the threshold that trips. Below min_calls it means nothing yet, and says so. */
function rateRow(name, count, {total, least, threshold}) {
  const percent = total ? (count * 100) / total : 0;
  const isCounting = total < least;
  const gauge = h('dd', {class: `gauge${!isCounting && percent >= threshold ? ' over' : ''}`, 'aria-hidden': 'true'});
  const bar = h('i', {});
  const mark = h('b', {});
  bar.style.width = `${percent}%`;
  mark.style.left = `${threshold}%`;
  gauge.append(bar, mark);
  const text = isCounting ? t('of_least', total, least) : `${percent.toFixed(0)} % / ${threshold} %`;
  return [h('dt', {}, t(name)), gauge, h('dd', {}, text)];
}

/** "800ms", "2s", "5m" as milliseconds. */
function ms(duration) {
  const [, number, unit] = /^([\d.]+)(us|ms|s|m|h)?$/.exec(duration ?? '') ?? [];
  return (Number(number) || 0) * ({us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000}[unit] ?? 0);
}

/** As people say it: 0.4 ms, 12 ms, 850 ms, 2.3 s. */
function took(value) {
  if (value >= 1000) return `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)} s`;
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

const LEVELS = ['p50', 'p90', 'p99', 'max'];

/** How long calls took within the last window; what is longer than slow_call is marked, and the limit is named. */
function latency(breaker) {
  const {calls, ...values} = breaker.latency ?? {calls: 0};
  const slow = ms(/(?:^| )slow_call=(\S+)/.exec(breaker.config)?.[1]);
  const cells = LEVELS.map(level => {
    const value = values[`${level}_ms`];
    const isSlow = calls > 0 && slow > 0 && value > slow;
    return h(
      'div',
      {class: isSlow ? 'over' : null, 'data-level': level},
      h('dt', {}, t(`level_${level}`)),
      h('dd', {}, calls > 0 ? took(value) : '–'),
    );
  });
  return [
    h('dl', {class: 'levels', 'aria-label': t('latency')}, cells),
    h('p', {class: 'legend'}, slow > 0 ? t('latency_slow', calls, took(slow)) : t('latency_of', calls)),
  ];
}

function countRow(name, count, limit) {
  const gauge = h('dd', {class: `gauge${count >= limit ? ' over' : ''}`, 'aria-hidden': 'true'});
  const bar = h('i', {});
  bar.style.width = `${Math.min(100, (count * 100) / limit)}%`;
  gauge.append(bar);
  return [h('dt', {}, t(name)), gauge, h('dd', {}, `${count} / ${limit}`)];
}

function numbers(breaker) {
  const rules = rulesOf(breaker.config);
  const {hung, consecutive} = breaker.window;
  const {total, failures, slow} = breaker.window.total > 0 ? breaker.window : breaker.lately;
  const rows = [];
  if (rules.failure_rate > 0)
    rows.push(rateRow('failures', failures, {total, least: rules.min_calls, threshold: rules.failure_rate}));
  if (rules.slow_rate > 0)
    rows.push(rateRow('slow', slow + hung, {total: total + hung, least: rules.min_calls, threshold: rules.slow_rate}));
  if (rules.consecutive > 0) rows.push(countRow('in_row', consecutive, rules.consecutive));
  if (rules.max_in_flight > 0) rows.push(countRow('in_flight', breaker.in_flight, rules.max_in_flight));
  for (const name of ['streams', 'fallbacks'])
    if (breaker[name]) rows.push(countRow(name, breaker[name].in_flight, rulesOf(breaker[name].config).max_in_flight));
  return h('dl', {}, rows);
}

/** Calls a second as stacked bars: passed below, failed, refused on top. */
function plot(samples) {
  const peak = Math.max(1, ...samples.map(one => one.ok + one.failed + one.refused));
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'plot');
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', t('per_second', Math.round(peak)));
  const paths = {ok: '', failed: '', refused: ''};
  samples.forEach((one, i) => {
    let base = HEIGHT;
    for (const kind of ['ok', 'failed', 'refused']) {
      const height = (one[kind] / peak) * (HEIGHT - 1);
      if (height <= 0) continue;
      const x = WIDTH - samples.length + i;
      paths[kind] += `M${x + 0.1} ${base.toFixed(2)}h.8v${(-height).toFixed(2)}h-.8z`;
      base -= height;
    }
  });
  for (const [kind, d] of Object.entries(paths)) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('class', kind);
    path.setAttribute('d', d);
    svg.append(path);
  }
  const legend = h(
    'p',
    {class: 'legend'},
    h('span', {class: 'ok'}, t('passed')),
    h('span', {class: 'failed'}, t('failed')),
    h('span', {class: 'refused'}, t('refused')),
    t('per_second', Math.round(peak)),
  );
  return [svg, legend];
}

/** What the window held when it opened: afterwards it is empty. */
function evidence({to, total, failures, slow, hung, reason}) {
  if (to !== 'open' || !total) return '';
  return ` · ${reason === 'slow_rate' ? t('slow_of', slow + hung, total + hung) : t('failed_of', failures, total)}`;
}

function history(breaker, isOpened) {
  const events = breaker.events.slice(-HISTORY).reverse();
  if (events.length === 0) return h('p', {class: 'why'}, t('no_history'));
  return h(
    'details',
    {open: isOpened, 'data-name': breaker.name},
    h('summary', {'data-key': `history ${breaker.name}`}, t('history', breaker.events.length)),
    h(
      'ol',
      {},
      events.map(one =>
        h(
          'li',
          {},
          h('span', {}, `${t(one.from)} → ${t(one.to)}`, t(one.reason) && ` · ${t(one.reason)}`, evidence(one)),
          h('time', {}, t('ago', Math.round(one.ago_ms / 1000))),
        ),
      ),
    ),
  );
}

const current = {forced_open: 'open', forced_closed: 'close'};

export function card(breaker, {isOpened, mayOrder, onOrder}) {
  const {name, state, mode} = breaker;
  const orders = ORDERS.map(order =>
    h(
      'button',
      {
        type: 'button',
        'data-key': `${order} ${name}`,
        disabled: current[state] === order || (order === 'auto' && mode === 'auto'),
        onclick: () => onOrder(name, order),
      },
      t(`order_${order}`),
    ),
  );
  return h(
    'article',
    {class: state, 'data-breaker': name, 'data-state': state, 'aria-label': `${name}: ${t(state)}`},
    h('h2', {}, name, h('span', {class: 'state'}, t(state))),
    why(breaker),
    numbers(breaker),
    ...latency(breaker),
    ...plot(breaker.samples),
    history(breaker, isOpened),
    mayOrder && h('div', {class: 'orders'}, orders),
  );
}
