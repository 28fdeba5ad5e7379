// events.js: an event of the hotel in words.

import {dayOf} from './dates.js';
import {h} from './dom.js';
import {format, knows, t} from './i18n.js';

const TONES = {
  RoomsAdded: 'added',
  RoomBooked: 'booked',
  ReservationCancelled: 'cancelled',
  GuestCheckedIn: 'in',
  GuestCheckedOut: 'out',
  GuestMissing: 'missing',
};

/** What happened, in one short sentence; an event this page has never heard of is called by its type. */
export function describe({type, data}) {
  if (!knows(`event.${type}`) || !data || typeof data !== 'object') return type;
  const nights = Array.isArray(data.nights) ? data.nights.length : data.nights;
  const stay = data.arrival ? t('event.stay', nights, format('day', data.arrival)) : '';
  return t(`event.${type}`, {...data, stay});
}

/** The dot beside an event, coloured by its kind. */
export function dot({type}) {
  return h('span', {class: `dot ${TONES[type] ?? ''}`, 'aria-hidden': 'true'});
}

/** When it happened: the day the hotel gave it, if that is another than the recording's (an import), else the time. */
export function when({time, data}) {
  const {on} = data ?? {};
  return on && on !== dayOf(new Date(time)) ? format('full', on) : format('time', time);
}

/** The same as a <time>; pointing at it tells when it was recorded. */
export function moment(event) {
  return h('time', {datetime: event.time, title: format('time', event.time)}, when(event));
}

/** The tag that every event of one reservation carries. */
export function tagOf(reservation) {
  return `reservation:${reservation}`;
}
