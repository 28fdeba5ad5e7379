// events.js: an event of the hotel in words.

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

/** When it happened, as a <time>. */
export function moment({time}, how = 'time') {
  return h('time', {datetime: time}, format(how, time));
}

/** The tag that every event of one reservation carries. */
export function tagOf(reservation) {
  return `reservation:${reservation}`;
}
