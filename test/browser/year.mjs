// year.mjs: a few hundred plausible stays around today, the same in every run, so that pictures look like a hotel.

import {addDays, today} from '../../examples/hotel/public/dates.js';

const STAY_COUNT = 420;
const GUESTS = [
  'Kim Minjun',
  '이서연',
  'Maria Silva',
  '박지호',
  'John Carter',
  'Anna Schmidt',
  '최유나',
  'Luca Rossi',
  'Emma Dubois',
  '정하늘',
  'Tanaka Yui',
  '강도현',
];
const TYPES = {Twin: 12, Family: 6, Hanok: 4};

/** Numbers in [0, 1) that look random (mulberry32). */
function makeDice(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Fills the hotel; the types of the other tests are filled too. */
export async function fillForPictures(hotel) {
  await hotel.addRooms(TYPES);
  const dice = makeDice(2026);
  const types = ['Double', 'Single', 'Suite', ...Object.keys(TYPES)];
  const pick = list => list[Math.floor(dice() * list.length)];
  const stays = Array.from({length: STAY_COUNT}, () => ({
    room_type: pick(types),
    arrival: addDays(today(), Math.floor(dice() * 110) - 30),
    nights: 1 + Math.floor(dice() * dice() * 7),
    guest: pick(GUESTS),
  }));
  await hotel.reserveAll(stays);
}
