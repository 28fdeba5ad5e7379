// refusal.js: why something was not done. A rule's "no" and the server's troubles look different: one is an answer.

import {h, icon} from './dom.js';
import {format, knows, t} from './i18n.js';
import {explain} from './loader.js';

/** A card that tells the reason; `onShow(nights)`, if given, is offered where nights were full. */
export function refusal(problem, {onShow} = {}) {
  const refused = problem.status === 422;
  const nights = problem.rule === 'no-free-room' ? (problem.nights ?? []) : [];
  return h(
    'div',
    {class: `card ${refused ? 'refused' : 'failed'}`, 'data-rule': problem.rule ?? '', tabindex: -1},
    h('h3', {}, icon('warn'), t(refused ? 'refused.title' : 'refused.failed')),
    nights.length > 0 && [
      h('p', {}, t('refused.nights')),
      h(
        'ul',
        {class: 'nights'},
        nights.map(night => h('li', {}, h('time', {datetime: night}, format('day', night)))),
      ),
    ],
    h('p', {}, reason(problem)),
    nights.length > 0 &&
      onShow &&
      h('button', {type: 'button', class: 'quiet', onclick: () => onShow(nights)}, t('refused.show')),
  );
}

function reason(problem) {
  if (problem.status !== 422) return explain(problem);
  const key = `rule.${problem.rule}`;
  return knows(key) ? t(key) : problem.message;
}

/** The message of each violation, by the field its JSON pointer names. */
export function violationsByField(problem) {
  return new Map(
    problem.violations.map(violation => [
      String(violation.pointer ?? '').replace(/^#?\//, ''),
      violation.detail ?? violation.message ?? problem.message,
    ]),
  );
}
