// dashboard.js: asks the gateway once a second how its breakers are, and draws them. Text is set as text, never as HTML.
import {card} from './card.js';
import {language, t, toggleLanguage} from './words.js';

const ASK_MS = 1000;
const SAMPLES = 60;
const STATUS = '../../breakers';

const at = id => document.getElementById(id);
const samples = new Map(); // name → [{ok, failed, refused}], the last minute, calls a second
const totals = new Map(); // name → what was counted at the last answer
const states = new Map();
let last = null;
let mayOrder = false;

const sum = object => Object.values(object ?? {}).reduce((all, one) => all + one, 0);

function measure(breaker, seconds) {
  const {ok = 0, slow = 0, neutral = 0} = breaker.calls;
  const passed = ok + slow + neutral;
  const now = {ok: passed, failed: sum(breaker.calls) - passed, refused: sum(breaker.refused)};
  const before = totals.get(breaker.name);
  const many = samples.get(breaker.name) ?? [];
  if (before) {
    const rate = key => Math.max(0, now[key] - before[key]) / seconds;
    many.push({ok: rate('ok'), failed: rate('failed'), refused: rate('refused')});
  }
  totals.set(breaker.name, now);
  samples.set(breaker.name, many.slice(-SAMPLES));
}

/** Bulkheads (NAME.streams, NAME.fallbacks) belong onto the card of their breaker. */
function families(breakers) {
  const bulkheads = new Map(breakers.filter(one => one.name.includes('.')).map(one => [one.name, one]));
  const isBulkhead = one => /^[\w-]+\.(streams|fallbacks)$/.test(one.name);
  return breakers
    .filter(one => !isBulkhead(one))
    .sort((one, other) => one.name.localeCompare(other.name))
    .map(one => ({
      ...one,
      streams: bulkheads.get(`${one.name}.streams`),
      fallbacks: bulkheads.get(`${one.name}.fallbacks`),
      samples: samples.get(one.name) ?? [],
    }));
}

function announce(breakers) {
  for (const {name, state} of breakers) {
    if (states.has(name) && states.get(name) !== state) at('news').textContent = t('became', name, t(state));
    states.set(name, state);
  }
}

function draw() {
  document.documentElement.lang = language();
  document.title = t('title');
  at('title').textContent = t('title');
  at('language').textContent = t('language');
  at('language').lang = language() === 'ko' ? 'en' : 'ko';
  at('lost').textContent = t('lost');
  at('looking').textContent = t('looking');
  at('looking').hidden = mayOrder || !last;
  at('yes').textContent = t('yes');
  at('no').textContent = t('no');
  if (!last) return;

  const breakers = families(last);
  const closed = breakers.filter(one => one.state === 'closed').length;
  at('summary').textContent = t('summary', closed, breakers.length - closed);

  const main = at('breakers');
  const focused = document.activeElement?.dataset?.key;
  const opened = new Set([...main.querySelectorAll('details[open]')].map(one => one.dataset.name));
  if (breakers.length === 0) {
    const empty = document.createElement('p');
    empty.className = 'empty';
    empty.textContent = t('empty');
    main.replaceChildren(empty);
    return;
  }
  main.replaceChildren(...breakers.map(one => card(one, {isOpened: opened.has(one.name), mayOrder, onOrder: confirmOrder})));
  if (focused) main.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function confirmOrder(name, order) {
  const dialog = at('confirm');
  at('question').textContent = t(`ask_${order}`, name);
  at('meaning').textContent = t(`means_${order}`);
  dialog.returnValue = 'no';
  dialog.onclose = async () => {
    if (dialog.returnValue !== 'yes') return;
    const answer = await fetch(`../${encodeURIComponent(name)}/${order}`, {
      method: 'POST',
      headers: {'Content-Type': 'application/json'},
      body: '{}',
    }).catch(() => null);
    if (!answer?.ok) at('news').textContent = t('denied');
    await ask();
  };
  dialog.showModal();
}

let asked = 0;

async function ask() {
  try {
    const answer = await fetch(STATUS, {headers: {Accept: 'application/json'}, cache: 'no-store'});
    if (!answer.ok) throw new Error(String(answer.status));
    const {breakers} = await answer.json();
    const now = performance.now();
    const seconds = Math.max(0.2, (now - asked) / 1000);
    breakers.forEach(one => measure(one, seconds));
    asked = now;
    announce(breakers);
    last = breakers;
    at('lost').hidden = true;
  } catch {
    at('lost').hidden = false;
  }
  if (!at('confirm').open) draw();
}

/** Who may give orders is the gateway's to say: it answers OPTIONS to those who may. Without them there are no buttons. */
async function askWhatIsAllowed() {
  const answer = await fetch('../', {method: 'OPTIONS'}).catch(() => null);
  mayOrder = answer?.ok === true;
}

async function run() {
  if (!document.hidden) await ask();
  setTimeout(run, ASK_MS);
}

at('language').addEventListener('click', () => {
  toggleLanguage();
  draw();
});
draw();
await askWhatIsAllowed();
run();
