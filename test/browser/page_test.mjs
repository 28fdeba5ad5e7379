// page_test.mjs: the hotel's page in a real browser, against a real server.
//
//   node test/browser/page_test.mjs BUILD_FOLDER
//
// Pictures of the page go to $DAYBOOK_ARTEFACTS, or to BUILD_FOLDER/test/browser/pictures.

import assert from 'node:assert/strict';
import path from 'node:path';
import {webcrypto} from 'node:crypto';
import {addDays, addMonths, monthOf, today} from '../../examples/hotel/public/dates.js';
import en from '../../examples/hotel/public/text-en.js';
import ko from '../../examples/hotel/public/text-ko.js';
import {run, until} from '../lib/tap.mjs';
import {Browser, DESKTOP, PHONE} from './browser.mjs';
import {faint} from './contrast.mjs';
import {HOTEL, Hotel} from './hotel.mjs';
import {
  book,
  feed,
  feedIsWhole,
  free,
  night,
  overflow,
  picture,
  resultOf,
  settled,
  travel,
  turnTo,
  untilFree,
} from './page.mjs';
import {fillForPictures} from './year.mjs';

globalThis.crypto ??= webcrypto;

const build = path.resolve(process.argv[2] ?? 'build');
const hotel = await Hotel.open(build);
const browser = await Browser.start(path.join(build, 'test/browser'));

// All stays are in the month after this one, so that no test depends on the day it runs.
const MONTH = addMonths(monthOf(today()), 1);
const day = number => `${MONTH}-${String(number).padStart(2, '0')}`;
/** A test with a page of its own, which must end without a single wrong. */
function visit(test, options = DESKTOP) {
  return async () => {
    const page = await browser.open(hotel.url, options);
    try {
      await turnTo(page, MONTH);
      await test(page);
      assert.deepEqual(page.wrongs, []);
    } catch (error) {
      await picture(page, build, `failed-${Date.now()}`);
      throw error;
    } finally {
      await page.context().close();
    }
  };
}

await run({
  'both languages say the same things': () => {
    assert.deepEqual(Object.keys(ko), Object.keys(en));
    for (const key of Object.keys(en)) assert.equal(typeof ko[key], typeof en[key], key);
  },

  'a hotel without rooms says so, and fills as soon as there are some': async () => {
    const page = await browser.open(hotel.url, DESKTOP, {until: '#calendar-body .empty'});
    assert.match(await page.locator('.time-count').textContent(), /Nothing has happened yet/);
    await page.locator('#reservations-body .empty').waitFor();
    await hotel.addRooms({Double: 10, Single: 4, Suite: 2, Attic: 1});
    await until('four types', async () => (await page.locator('[role="grid"] tbody tr').count()) === 4);
    assert.equal(await page.locator('#hotel-name').textContent(), HOTEL);
    assert.deepEqual(page.wrongs, []);
    await page.context().close();
  },

  'nights picked in the calendar are booked, and show in the map, the list and the feed': visit(async page => {
    const before = await free(page, 'Double', day(12));
    const result = await book(page, {type: 'Double', from: day(12), to: day(14), guest: 'Kim Minjun'});
    assert.ok(result.done, result.text);
    await untilFree(page, 'Double', day(12), before - 1);
    assert.deepEqual(
      [await free(page, 'Double', day(11)), await free(page, 'Double', day(14)), await free(page, 'Double', day(15))],
      [before, before - 1, before],
    );
    await page.locator(`[data-row="${result.number}"]`).waitFor();
    await page.locator('#feed-body li', {hasText: 'Kim Minjun booked Double'}).waitFor();
    const [row] = await hotel.of('Kim Minjun');
    assert.deepEqual([row.arrival, row.nights, row.status, row.booked_on], [day(12), 3, 'booked', today()]);
  }),

  'a booking that the rule refuses tells the reason and the full nights': visit(async page => {
    await hotel.reserve({room_type: 'Attic', arrival: day(7), nights: 1, guest: 'First'});
    await hotel.reserve({room_type: 'Attic', arrival: day(9), nights: 1, guest: 'First'});
    await untilFree(page, 'Attic', day(9), 0);
    const result = await book(page, {type: 'Attic', from: day(6), to: day(10), guest: 'Second'});
    assert.deepEqual([result.done, result.rule, result.nights], [false, 'no-free-room', [day(7), day(9)]]);
    assert.match(result.text, /Every night of a stay needs a free room/);
    const marked = await page
      .locator('td.refused [data-night]')
      .evaluateAll(nights => nights.map(button => button.dataset.night));
    assert.deepEqual(marked, [day(7), day(9)]);
    assert.deepEqual(await hotel.of('Second'), []);
  }),

  'what is missing or wrong is said at its field': visit(async page => {
    await night(page, 'Double', day(3)).click();
    await page.click('#b-submit');
    assert.equal(await page.locator('#b-guest-wrong').textContent(), 'Please fill this in.');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'b-guest');
    await page.fill('#b-guest', 'Long Stayer');
    await page.fill('#b-nights', '366');
    await page.click('#b-submit');
    await page.locator('#b-nights[aria-invalid="true"]').waitFor();
    assert.notEqual(await page.locator('#b-nights-wrong').textContent(), '');
  }),

  'cancelling asks once, frees the nights, and stands in the history': visit(async page => {
    const before = await free(page, 'Suite', day(20));
    const {number} = await book(page, {type: 'Suite', from: day(20), to: day(21), guest: 'Lee Seo-yeon'});
    await untilFree(page, 'Suite', day(21), before - 1);
    await page.click('#booking .card button');
    await page.click('[data-action="CancelReservation"]');
    await page.click('[data-yes="CancelReservation"]');
    await page.locator('dialog .badge.cancelled').waitFor();
    assert.equal(await page.locator('dialog .history li').count(), 2);
    assert.match(await page.locator('dialog .history li').first().innerText(), new RegExp(`${number} cancelled`));
    await page.keyboard.press('Escape');
    await untilFree(page, 'Suite', day(21), before);
  }),

  'a guest arrives and leaves; another never comes': visit(async page => {
    await turnTo(page, monthOf(today())); // who checks in arrives today
    const number = await hotel.reserve({room_type: 'Double', arrival: today(), nights: 2, guest: 'Anna Schmidt'});
    await page.click(`[data-reservation="${number}"]`);
    await page.click('[data-action="CheckIn"]');
    await page.locator('dialog .badge.checked_in').waitFor();
    assert.equal(await page.locator('[data-action="CancelReservation"]').count(), 0);
    await page.click('[data-action="CheckOut"]');
    await page.locator('dialog .badge.checked_out').waitFor();
    assert.equal(await page.locator('dialog [data-action]').count(), 0);
    await page.keyboard.press('Escape');
    await turnTo(page, MONTH);
    const missing = await hotel.reserve({room_type: 'Double', arrival: day(1), nights: 2, guest: 'Nobody'});
    await page.click(`[data-reservation="${missing}"]`);
    await page.click('[data-action="MarkNoShow"]');
    await page.click('[data-yes="MarkNoShow"]');
    await page.locator('dialog .badge.no_show').waitFor();
  }),

  'a second visitor sees it all live, without asking': visit(async page => {
    const other = await browser.open(hotel.url);
    await turnTo(other, MONTH);
    const before = await free(other, 'Single', day(17));
    const {number} = await book(page, {type: 'Single', from: day(17), guest: 'Park Jiho'});
    await untilFree(other, 'Single', day(17), before - 1);
    await other.locator(`[data-row="${number}"]`).waitFor();
    await other.locator('#feed-body li', {hasText: 'Park Jiho booked Single'}).waitFor();
    assert.deepEqual(other.wrongs, []);
    await other.context().close();
  }),

  'the feed stands still when asked to, and goes on without a gap': visit(async page => {
    const before = (await feed(page))[0];
    await page.click('#feed-pause');
    for (const guest of ['One', 'Two', 'Three'])
      await hotel.reserve({room_type: 'Double', arrival: day(2), nights: 0, guest});
    await page.locator('#feed-pause', {hasText: '3 new events waiting'}).waitFor();
    assert.equal((await feed(page))[0], before);
    await page.click('#feed-pause');
    await feedIsWhole(page, before + 3);
  }),

  'the list is searched, filtered and paged': visit(async page => {
    const guests = Array.from({length: 15}, (_, index) => `Guest "${index}", of many`);
    await hotel.reserveAll(
      guests.map(guest => ({room_type: 'Double', arrival: addDays(day(28), 40), nights: 0, guest})),
    );
    await page.fill('#r-search', '", of many');
    await until('15 are found', async () => /of 15$/.test(await page.locator('#reservations-count').textContent()));
    assert.equal(await page.locator('.rows tbody tr').count(), 12);
    await page.click('#r-next');
    await until('the second page', async () => (await page.locator('.rows tbody tr').count()) === 3);
    await page.selectOption('#r-status', 'cancelled');
    await page.locator('.list .empty').waitFor();
    await page.click('.list .empty button');
    await until('all again', async () => (await page.locator('.rows tbody tr').count()) === 12);
  }),

  'the slider shows the hotel as it was, says so, and lets nothing be changed there': visit(async page => {
    const position = await hotel.head();
    const before = await free(page, 'Double', day(24));
    await book(page, {type: 'Double', from: day(24), guest: 'From the future'});
    await untilFree(page, 'Double', day(24), before - 1);
    await travel(page, position);
    await untilFree(page, 'Double', day(24), before);
    assert.match(await page.locator('.past').innerText(), /You are looking at the past/);
    assert.equal(await page.locator('.rows', {hasText: 'From the future'}).count(), 0);
    assert.ok(await page.locator('#b-submit').isDisabled());
    await night(page, 'Double', day(24)).click();
    assert.equal(await page.locator('[aria-selected="true"]').count(), 0);
    await picture(page, build, 'the-past');
    await hotel.reserve({room_type: 'Double', arrival: day(24), nights: 1, guest: 'Meanwhile'});
    await page.locator('#feed-body li', {hasText: 'Meanwhile'}).waitFor();
    assert.equal(await free(page, 'Double', day(24)), before);
    await page.click('#back-to-now');
    await untilFree(page, 'Double', day(24), before - 2);
    assert.equal(await page.locator('.in-the-past').count(), 0);
  }),

  'after the first event only its rooms exist': visit(async page => {
    await travel(page, 1);
    assert.equal(await page.locator('tbody th[scope="row"] .type').count(), 1);
    await page.locator('.list .empty').waitFor();
  }),

  'the server is killed and returns: no event is lost or repeated, the booking made meanwhile is made once': visit(
    async page => {
      await hotel.reserve({room_type: 'Double', arrival: day(2), nights: 1, guest: 'Before'});
      await feedIsWhole(page, await hotel.head());
      await hotel.kill();
      await page.waitForSelector('#connection[data-state="lost"], #connection[data-state="retry"]');
      await night(page, 'Double', day(26)).click();
      await page.fill('#b-guest', 'In the Dark');
      await page.click('#b-submit');
      await page.locator('#booking .result', {hasText: 'cannot be booked twice'}).waitFor();
      await hotel.start();
      await hotel.reserve({room_type: 'Double', arrival: day(2), nights: 1, guest: 'After'});
      assert.ok((await resultOf(page)).done);
      await page.waitForSelector('#connection[data-state="live"]');
      await hotel.reserve({room_type: 'Double', arrival: day(2), nights: 1, guest: 'Later'});
      await feedIsWhole(page, await hotel.head());
      assert.equal((await hotel.of('In the Dark')).length, 1);
    },
  ),

  'killed again and again under way, the feed still holds every event once': visit(async page => {
    for (let round = 0; round < 4; round += 1) {
      const before = await hotel.head();
      const stays = Array.from({length: 6}, (_, index) => ({
        room_type: 'Double',
        arrival: day(28),
        nights: 0,
        guest: `Round ${round}.${index}`,
      }));
      const booking = hotel.reserveAll(stays);
      await until('some of them', async () => (await feed(page))[0] > before);
      await hotel.kill();
      await hotel.start();
      await booking;
    }
    await feedIsWhole(page, await hotel.head());
  }),

  'it speaks Korean to who does, switches, and remembers': visit(
    async page => {
      assert.equal(await page.locator('html').getAttribute('lang'), 'ko');
      assert.equal(await page.locator('#b-submit').textContent(), '예약하기');
      const result = await book(page, {type: 'Double', from: day(5), to: day(6), guest: '김민준'});
      assert.match(result.text, /김민준 님의 예약이 완료되었습니다/);
      await hotel.reserve({room_type: 'Attic', arrival: day(25), nights: 1, guest: '먼저'});
      await untilFree(page, 'Attic', day(25), 0);
      assert.match(
        (await book(page, {type: 'Attic', from: day(25), guest: '나중'})).text,
        /모든 날에 빈 객실이 있어야/,
      );
      await page.click('#language');
      assert.equal(await page.locator('#b-submit').textContent(), 'Book');
      await page.reload();
      await page.waitForSelector('#b-submit');
      assert.equal(await page.locator('html').getAttribute('lang'), 'en');
    },
    {...DESKTOP, locale: 'ko-KR'},
  ),

  'on a phone nothing sticks out, and two taps and a name make a booking': visit(async page => {
    await page.selectOption('#calendar-type', 'Single');
    await night(page, 'Single', day(10)).tap();
    await night(page, 'Single', day(11)).tap();
    await page.tap('.stay-bar');
    await page.keyboard.type('Emma Dubois');
    await page.tap('#b-submit');
    const result = await resultOf(page);
    assert.ok(result.done, result.text);
    assert.equal((await hotel.of('Emma Dubois'))[0].nights, 2);
    await settled(page);
    assert.deepEqual(await overflow(page), []);
    await page.tap('#booking .card button');
    await page.locator('dialog .history li').waitFor();
    assert.deepEqual(await overflow(page), []);
  }, PHONE),

  'the keyboard alone is enough to book': visit(async page => {
    await page.keyboard.press('Tab');
    await until('the calendar by Tab', async () => {
      await page.keyboard.press('Tab');
      return page.evaluate(() => document.activeElement.matches('[role="grid"] button'));
    });
    const first = await page.evaluate(() => document.activeElement.dataset.type);
    await page.keyboard.press('Home');
    for (let times = 0; times < 7; times += 1) await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Shift+ArrowRight');
    await page.keyboard.press('Shift+ArrowRight');
    const stay = await page
      .locator('[aria-selected="true"] button')
      .evaluateAll(nights => nights.map(({dataset}) => [dataset.type, dataset.night]));
    assert.deepEqual(
      stay.map(([, date]) => date),
      [day(8), day(9), day(10)],
    );
    assert.notEqual(stay[0][0], first);
    await page.keyboard.press('Tab');
    await page.keyboard.type('Maria Silva');
    await page.keyboard.press('Enter');
    const result = await resultOf(page);
    assert.ok(result.done, result.text);
    assert.ok(await page.evaluate(() => document.activeElement.matches('.card.done')));
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.locator('dialog[open]').waitFor();
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('dialog[open]').count(), 0);
  }),

  'Page Down turns the month and keeps the focus in the calendar': visit(async page => {
    await night(page, 'Double', day(1)).focus();
    await page.keyboard.press('PageDown');
    await until('the next month has the focus', () =>
      page.evaluate(month => document.activeElement.dataset.night?.startsWith(month), addMonths(MONTH, 1)),
    );
  }),

  'everything that can be used has a name, every table a caption and heads': visit(async page => {
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll('button, input, select, a[href], [role="grid"]')]
        .filter(element => element.checkVisibility())
        .filter(
          element =>
            !(
              element.getAttribute('aria-label') ||
              element.labels?.[0]?.innerText ||
              element.innerText ||
              element.querySelector('caption')
            ),
        )
        .map(element => element.outerHTML.slice(0, 120)),
    );
    assert.deepEqual(nameless, []);
    const tables = await page.evaluate(() =>
      [...document.querySelectorAll('table')].map(table => [
        table.caption?.textContent !== '',
        table.querySelectorAll('th[scope]').length > 0,
      ]),
    );
    assert.ok(tables.length >= 2 && tables.flat().every(Boolean), JSON.stringify(tables));
    assert.match(await night(page, 'Suite', day(2)).getAttribute('aria-label'), /^Suite, night of .*: 2 of 2 free$/);
  }),

  'every word can be read, in light and dark, now and in the past': visit(
    async page => {
      const everywhere = async when => {
        for (const colorScheme of ['light', 'dark']) {
          await page.emulateMedia({colorScheme});
          assert.deepEqual(await faint(page), [], `${colorScheme}, ${when}`);
        }
      };
      await book(page, {type: 'Attic', from: day(6), to: day(9), guest: 'Nobody gets in'});
      await settled(page);
      await everywhere('now');
      await travel(page, (await hotel.head()) - 5);
      await everywhere('in the past');
    },
    {...DESKTOP, reducedMotion: 'reduce'},
  ),

  'without a gateway the breakers say so and nothing is wrong': visit(async page => {
    await page.locator('#breakers-body .empty', {hasText: 'No gateway in front'}).waitFor();
  }),

  'pictures: light and dark, phone and desktop, in both languages': async () => {
    await fillForPictures(hotel);
    for (const [where, options] of Object.entries({desktop: DESKTOP, phone: PHONE})) {
      const page = await browser.open(hotel.url, options);
      await turnTo(page, MONTH);
      await settled(page);
      await page.setViewportSize({
        width: options.viewport.width,
        height: await page.evaluate(() => document.body.scrollHeight),
      });
      for (const language of ['en', 'ko']) {
        if (language !== 'en') await page.click('#language');
        for (const colorScheme of ['light', 'dark']) {
          await page.emulateMedia({colorScheme});
          await settled(page);
          assert.deepEqual(await overflow(page), [], `${where} ${language}`);
          await picture(page, build, `${where}-${colorScheme}-${language}`);
        }
      }
      assert.deepEqual(page.wrongs, []);
      await page.context().close();
    }
  },

  'the server, asked to end with a visitor still listening, ends well': async () => {
    const page = await browser.open(hotel.url);
    assert.equal(await hotel.stop(), 0);
    await page.waitForSelector('#connection[data-state="lost"], #connection[data-state="retry"]');
    await page.context().close();
  },
});

await browser.close();
await hotel.close();
