// i18n.js: words, dates and numbers in the visitor's language.

import en from './text-en.js';
import ko from './text-ko.js';
import {recall, remember} from './store.js';

const TEXTS = {en, ko};
const LOCALES = {en: 'en-GB', ko: 'ko-KR'};

/** The language to begin with: the one chosen earlier, else the browser's if we speak it, else English. */
export function firstLanguage() {
  const spoken = [recall('language', ''), ...navigator.languages.map(tag => tag.slice(0, 2))];
  return spoken.find(tag => tag in TEXTS) ?? 'en';
}

let language = 'en';
let formats = {};

/** Switches the language of everything said from now on, and of the document itself. */
export function speak(tag) {
  language = tag;
  remember('language', tag);
  document.documentElement.lang = tag;
  const date = options => new Intl.DateTimeFormat(LOCALES[tag], {timeZone: 'UTC', ...options});
  formats = {
    day: date({day: 'numeric', month: 'short'}),
    full: date({day: 'numeric', month: 'short', year: 'numeric'}),
    long: date({weekday: 'long', day: 'numeric', month: 'long', year: 'numeric'}),
    month: date({month: 'long', year: 'numeric'}),
    monthShort: date({month: 'short'}),
    weekday: date({weekday: 'narrow'}),
    weekdayLong: date({weekday: 'long'}),
    time: new Intl.DateTimeFormat(LOCALES[tag], {dateStyle: 'medium', timeStyle: 'medium'}),
    clock: new Intl.DateTimeFormat(LOCALES[tag], {hour: '2-digit', minute: '2-digit', hourCycle: 'h23'}),
    percent: new Intl.NumberFormat(LOCALES[tag], {style: 'percent'}),
    number: new Intl.NumberFormat(LOCALES[tag]),
    list: new Intl.ListFormat(LOCALES[tag], {type: 'conjunction'}),
  };
}

/** The text named `key`; one that is a function is called with the rest. */
export function t(key, ...about) {
  const text = TEXTS[language][key] ?? TEXTS.en[key] ?? key;
  return typeof text === 'function' ? text(...about) : text;
}

/** Whether there is a text of this name. */
export function knows(key) {
  return key in TEXTS.en;
}

/** `format('day', '2026-03-12')`: a date, month, moment or number as people here write it (names: see `speak`). */
export function format(name, value) {
  if (name === 'list') return formats.list.format(value);
  const text = formats[name].format(typeof value === 'string' ? new Date(value) : value);
  return name === 'day' ? text.replaceAll(' ', '\u00a0') : text; // in a sentence a day is one word
}

/** Sunday is 0: Koreans open the week with it, the English with Monday. */
export function firstWeekday() {
  return language === 'ko' ? 0 : 1;
}

/** Puts the words into everything in the page that carries data-t or data-t-label. */
export function translate(root = document) {
  for (const element of root.querySelectorAll('[data-t]')) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll('[data-t-label]'))
    element.setAttribute('aria-label', t(element.dataset.tLabel));
}
