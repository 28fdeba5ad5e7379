// dates.js: nights and months as plain text (2026-03-12, 2026-03), so that no time zone can move a booking by a day.

const DAY_MS = 86_400_000;

/** The date `days` after `date`. */
export function addDays(date, days) {
  return new Date(Date.parse(date) + days * DAY_MS).toISOString().slice(0, 10);
}

/** How many nights lie between two dates; negative when `to` is earlier. */
export function nightsBetween(from, to) {
  return Math.round((Date.parse(to) - Date.parse(from)) / DAY_MS);
}

/** The day of a moment, where the visitor is. */
export function dayOf(moment) {
  return new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
}

export function today() {
  return dayOf(new Date());
}

export function monthOf(date) {
  return date.slice(0, 7);
}

export function addMonths(month, count) {
  const [year, number] = month.split('-').map(Number);
  return new Date(Date.UTC(year, number - 1 + count, 1)).toISOString().slice(0, 7);
}

/** Every night of a month, first to last. */
export function nightsOf(month) {
  const count = nightsBetween(`${month}-01`, `${addMonths(month, 1)}-01`);
  return Array.from({length: count}, (_, index) => addDays(`${month}-01`, index));
}

/** 0 Sunday … 6 Saturday. */
export function weekday(date) {
  return new Date(date).getUTCDay();
}

export function isDate(text) {
  return /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text));
}
