// breakers.js: the breakers of the gateway the page came through. Without a gateway it says so, gently.

import {at, h} from './dom.js';
import {format, knows, t} from './i18n.js';

const ASK_MS = 2_000;
const ASK_MS_CALM = 15_000; // without a gateway there is little to expect

export function mountBreakers({book, store}) {
  const body = at('breakers-body');
  let breakers = null;
  let drawn = '';

  async function ask() {
    if (document.hidden) {
      setTimeout(ask, ASK_MS);
      return;
    }
    try {
      const answer = await fetch('breakers', {headers: {Accept: 'application/json'}, cache: 'no-store'});
      const isJson = answer.headers.get('Content-Type')?.startsWith('application/json');
      breakers = answer.ok && isJson ? listOf(await answer.json()) : null;
    } catch {
      breakers = null;
    }
    draw();
    setTimeout(ask, breakers ? ASK_MS : ASK_MS_CALM);
  }

  function draw() {
    const picture = JSON.stringify([breakers, store.state.language]);
    if (picture === drawn) return;
    drawn = picture;
    if (breakers === null)
      body.replaceChildren(
        h('div', {class: 'empty'}, h('p', {}, t('breakers.none')), h('p', {class: 'hint'}, t('breakers.none.hint'))),
      );
    else if (breakers.length === 0) body.replaceChildren(h('p', {class: 'empty'}, t('breakers.empty')));
    else body.replaceChildren(h('ul', {class: 'breaker-list'}, breakers.map(itemOf)));
  }

  store.on('language ready', draw);
  book.on('state', () => {
    if (breakers) draw();
  });
  ask();
}

function itemOf({name, state, reason, rate, retry_s: retry}) {
  const why = [
    ['open', 'forced_open'].includes(state) && (knows(`reason.${reason}`) ? t(`reason.${reason}`) : reason),
    retry > 0 && t('breakers.retry', retry),
  ].filter(Boolean);
  return h(
    'li',
    {class: `breaker ${state}`, 'data-breaker': name, 'data-state': state},
    h('span', {class: 'lamp', 'aria-hidden': 'true'}),
    h(
      'div',
      {},
      h(
        'p',
        {class: 'name'},
        h('code', {}, name),
        ' ',
        h('strong', {}, knows(`breaker.${state}`) ? t(`breaker.${state}`) : state),
      ),
      knows(`breaker.means.${state}`) && h('p', {class: 'hint'}, t(`breaker.means.${state}`)),
      why.length > 0 && h('p', {class: 'hint'}, why.join(' · ')),
    ),
    rate !== null &&
      h('p', {class: 'rate'}, h('span', {}, format('percent', rate)), h('span', {class: 'hint'}, t('breakers.rate'))),
  );
}

/**
 * What the gateway tells of each breaker, as much as is shown here. A breaker's limits (`service1.streams`) stand under
 * its own name with a dot: they are shown when they have something to say.
 */
function listOf({breakers}) {
  return breakers
    .filter(({name, state}) => state !== 'closed' || !breakers.some(other => name.startsWith(`${other.name}.`)))
    .map(({name, state, reason, window, retry_after_ms: retry_ms}) => ({
      name,
      state,
      reason,
      rate: window.total > 0 ? window.failures / window.total : null,
      retry_s: Math.ceil(retry_ms / 1000),
    }));
}
