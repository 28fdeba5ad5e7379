// loader.js: one panel's data: asked for once at a time, the newest question wins, and an error says what to do while
// the last good picture stays.

import {h, icon} from './dom.js';
import {t} from './i18n.js';

const REST_MS = 400; // events may come by the thousand: a panel asks again at most this often

/**
 * Makes the two ways to bring a panel up to date. `load(signal)` answers the data, `show(data)` draws it into `body`.
 * `now()`: something was chosen; the running question is dropped. `soon()`: something happened; asks when there is rest.
 */
export function makeLoader({body, load, show}) {
  let running = null;
  let again = false;
  let timer = null;
  const trouble = h('div', {class: 'trouble', role: 'alert', hidden: true});
  body.before(trouble);

  async function now() {
    running?.abort();
    const mine = (running = new AbortController());
    again = false;
    body.setAttribute('aria-busy', 'true');
    try {
      const data = await load(mine.signal);
      if (mine.signal.aborted) return;
      trouble.hidden = true;
      show(data);
    } catch (problem) {
      if (!mine.signal.aborted) complain(problem);
    } finally {
      if (running === mine) rest();
    }
  }

  function rest() {
    running = null;
    body.removeAttribute('aria-busy');
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = null;
      if (again) now();
    }, REST_MS);
  }

  function complain(problem) {
    console.info(problem);
    trouble.replaceChildren(
      icon('warn'),
      h('p', {}, explain(problem)),
      h('button', {class: 'quiet', type: 'button', onclick: now}, t('retry')),
    );
    trouble.hidden = false;
  }

  return {
    now,
    soon() {
      if (running || timer) again = true;
      else now();
    },
  };
}

/** What went wrong and what to do about it, in the visitor's words. */
export function explain(problem) {
  if (problem.code === 'not-caught-up') return t('error.behind');
  if (problem.status === 421) return t('error.follower');
  if ([0, 502, 504].includes(problem.status)) return t('error.no-answer');
  if ([409, 429, 503].includes(problem.status)) return t('error.busy');
  return t('error.other', problem.message);
}
