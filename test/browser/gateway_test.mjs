// gateway_test.mjs: the page behind the gateway: nginx with our breakers, the first service, and its copy.
//
//   node test/browser/gateway_test.mjs BUILD_FOLDER

import assert from 'node:assert/strict';
import path from 'node:path';
import {webcrypto} from 'node:crypto';
import {addMonths, monthOf, today} from '../../examples/hotel/public/dates.js';
import {run, until} from '../lib/tap.mjs';
import {Browser} from './browser.mjs';
import {Gateway, Hotel} from './hotel.mjs';
import {feedIsWhole, free, night, picture, resultOf, turnTo, untilFree} from './page.mjs';

globalThis.crypto ??= webcrypto;

const build = path.resolve(process.argv[2] ?? 'build');
const leader = await Hotel.open(build);
await leader.addRooms({Double: 10, Suite: 2});
const follower = await Hotel.open(build, {follow: leader});
const gateway = await Gateway.open(build, {leader, follower});
const browser = await Browser.start(path.join(build, 'test/browser'));

const MONTH = addMonths(monthOf(today()), 1);
const day = number => `${MONTH}-${String(number).padStart(2, '0')}`;
const page = await browser.open(gateway.url);
await turnTo(page, MONTH);

const breaker = (name, state) => page.locator(`[data-breaker="${name}"][data-state="${state}"]`);

await run({
  'the page shows the breakers of the gateway it came through': async () => {
    await breaker('service1', 'closed').waitFor();
    await breaker('service2', 'closed').waitFor();
  },

  'the first service is killed: its copy answers, and the page says so': async () => {
    await leader.reserve({room_type: 'Double', arrival: day(3), nights: 2, guest: 'Before'});
    await untilFree(page, 'Double', day(4), 9);
    await until('the copy has it too', async () => (await follower.of('Before')).length === 1);
    await leader.kill();
    await page.waitForSelector('#connection[data-state="follower"]');
    // The page alone is too quiet for a breaker to make up its mind.
    await Promise.all(Array.from({length: 8}, () => fetch(`${gateway.url}v1/views/reservations?limit=1`)));
    await breaker('service1', 'open').waitFor();
    await page.click('#month-right');
    await page.click('#month-left');
    await until('the calendar from the copy', async () => (await free(page, 'Double', day(4))) === 9);
    await picture(page, build, 'service-1-is-away', {fullPage: true});
  },

  'a booking made meanwhile waits for the first service, and is made once': async () => {
    await night(page, 'Suite', day(10)).click();
    await page.fill('#b-guest', 'Patient');
    await page.click('#b-submit');
    await page.locator('#booking .result', {hasText: 'cannot be booked twice'}).waitFor();
    await leader.start();
    assert.ok((await resultOf(page)).done);
    assert.equal((await leader.of('Patient')).length, 1);
  },

  'the breaker closes again, and the feed has every event once': async () => {
    await leader.reserve({room_type: 'Double', arrival: day(3), nights: 2, guest: 'After'});
    await feedIsWhole(page, await leader.head());
    await breaker('service1', 'closed').waitFor();
    await untilFree(page, 'Double', day(4), 8);
    assert.deepEqual(page.wrongs, []);
  },

  'all of them end well when asked to': async () => {
    assert.deepEqual([await gateway.stop(), await follower.stop(), await leader.stop()], [0, 0, 0]);
  },
});

await browser.close();
await gateway.close();
await follower.close();
await leader.close();
