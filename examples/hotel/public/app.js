// app.js: wires the page. Each panel is one module: it gets the book (the server), the store (what is looked at) and
// draws itself; this file brings the hotel's name, the month to begin with, and the news.

import {Daybook} from './daybook.js';
import {at, h, icon} from './dom.js';
import {monthOf, today} from './dates.js';
import {firstLanguage, speak, t, translate} from './i18n.js';
import {makeLoader} from './loader.js';
import {makeStore, recall, remember} from './store.js';
import {mountBooking} from './booking.js';
import {mountBreakers} from './breakers.js';
import {mountCalendar} from './calendar.js';
import {mountConnection} from './connection.js';
import {mountFeed} from './feed.js';
import {mountOccupancy} from './occupancy.js';
import {mountReservation} from './reservation.js';
import {mountReservations} from './reservations.js';
import {mountTimeTravel} from './timetravel.js';

const FEED_COUNT = 60; // events the feed begins with
const HIDDEN_MS = 60_000; // a tab hidden this long stops listening
const GATHER_MS = 50; // news by the thousand is told in handfuls
const HOTELS_COUNT_MAX = 10_000;
const THEMES = ['auto', 'light', 'dark'];

const book = new Daybook(new URL('./', document.baseURI).pathname);
const store = makeStore({
  hotel: undefined, // null: there is none yet
  hotels: [],
  types: [], // types: [{type, rooms}] of the hotel shown
  month: monthOf(today()),
  head: 0, // the newest position
  asOf: null, // the position shown; null for now
  stay: null, // {type, arrival, nights} being picked
  refused: null, // {type, nights: Set} that the rule refused
  language: firstLanguage(),
  theme: recall('theme', 'auto'),
});
const page = {book, store, following: false, resting: false};
store.on('language ready', () => {
  speak(store.state.language); // before any panel says a word
  translate();
  drawNames();
});
page.openReservation = mountReservation(page);
for (const mount of [
  mountConnection,
  mountTimeTravel,
  mountCalendar,
  mountBooking,
  mountReservations,
  mountFeed,
  mountOccupancy,
  mountBreakers,
])
  mount(page);

mountSwitches();
restWhileHidden();
const hotels = makeLoader({body: at('main'), load: loadHotels, show: showHotels});
begin();

function begin() {
  store.set({ready: true}); // from here on everybody draws
  hotels.now();
  let newest = 0;
  let timer = null;
  book.on('event', event => {
    newest = event.position;
    timer ??= setTimeout(() => {
      timer = null;
      store.set({head: Math.max(newest, store.state.head)});
    }, GATHER_MS);
    if (event.type === 'RoomsAdded') hotels.soon();
  });
  book.on('reset', () => location.reload()); // restored from a backup: nothing on this page holds any more
}

async function loadHotels(signal) {
  const {events, head} = await book.events({type: 'RoomsAdded', limit: HOTELS_COUNT_MAX}, {signal});
  const names = [...new Set(events.map(event => event.data.hotel))];
  const wanted = store.state.hotel ?? recall('hotel', null);
  const hotel = names.includes(wanted) ? wanted : (names[0] ?? null);
  const month = hotel && store.state.hotels.length === 0 ? await firstMonth(hotel, signal) : store.state.month;
  return {hotels: names, hotel, month, head: Math.max(head, store.state.head)};
}

/** This month; of a hotel whose guests have all come and gone, the fullest there was. */
async function firstMonth(hotel, signal) {
  const latest = {hotel: `eq.${hotel}`, select: 'arrival', order: 'arrival.desc', limit: 1};
  const {rows: last} = await book.view('reservations', latest, {signal});
  if (last.length === 0 || last[0].arrival >= today()) return monthOf(today());
  const {rows: months} = await book.query('occupancy', {hotel, by: 'month'}, {signal});
  const fullest = months.reduce((best, month) => (best && best.rate >= month.rate ? best : month), null);
  return fullest?.month ?? monthOf(last[0].arrival);
}

function showHotels(shown) {
  store.set(shown);
  drawNames();
  if (!page.following) book.follow({after: Math.max(0, shown.head - FEED_COUNT)});
  page.following = true;
}

/** Browsers allow few connections to a host: a tab nobody looks at gives its own back, and catches up when seen again. */
function restWhileHidden() {
  let timer = null;
  const rest = now => {
    page.resting = now;
    if (now) book.close();
    else book.follow();
  };
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (!page.following) return;
    if (document.hidden) timer = setTimeout(() => rest(true), HIDDEN_MS);
    else if (page.resting) rest(false);
  });
}

function drawNames() {
  const {hotel, hotels: names} = store.state;
  at('hotel-name').textContent = hotel ?? t('hotel');
  document.title = t('title', hotel ?? t('hotel'));
  const choice = at('hotel-choice');
  choice.replaceChildren(...names.map(name => h('option', {}, name)));
  choice.value = hotel ?? '';
  choice.parentElement.hidden = names.length < 2;
}

function mountSwitches() {
  at('hotel-choice').addEventListener('change', ({target}) => {
    remember('hotel', target.value);
    store.set({hotel: target.value, stay: null, refused: null});
    drawNames();
  });
  at('language').addEventListener('click', () => store.set({language: store.state.language === 'ko' ? 'en' : 'ko'}));
  at('theme').addEventListener('click', () =>
    store.set({theme: THEMES[(THEMES.indexOf(store.state.theme) + 1) % THEMES.length]}),
  );
  store.on('language theme ready', ({language, theme}) => {
    at('language').textContent = t('language.other');
    at('language').lang = language === 'ko' ? 'en' : 'ko';
    at('language').setAttribute('aria-label', t('language.label'));
    document.documentElement.dataset.theme = theme;
    remember('theme', theme);
    at('theme').replaceChildren(icon({auto: 'auto', light: 'sun', dark: 'moon'}[theme]));
    at('theme').setAttribute('aria-label', t(`theme.${theme}`));
    at('theme').title = t(`theme.${theme}`);
  });
}
