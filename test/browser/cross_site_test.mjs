// cross_site_test.mjs: a page of another origin tries in a real browser what origin.c refuses.
//
//   node test/browser/cross_site_test.mjs BUILD_FOLDER

import assert from 'node:assert/strict';
import http from 'node:http';
import path from 'node:path';
import {webcrypto} from 'node:crypto';
import {run, until} from '../lib/tap.mjs';
import {Browser} from './browser.mjs';
import {Hotel} from './hotel.mjs';

globalThis.crypto ??= webcrypto;

const build = path.resolve(process.argv[2] ?? 'build');
const hotel = await Hotel.open(build);
await hotel.addRooms({Double: 10});
const evil = http.createServer((request, answer) => {
  answer.setHeader('Content-Type', 'text/html');
  answer.end('<!doctype html><title>other</title><main role="grid" id="calendar-body"><div role="grid">x</div></main>');
});
await new Promise(resolve => evil.listen(0, '127.0.0.1', resolve));
const port = evil.address().port;
const browser = await Browser.start(path.join(build, 'test/browser'));

// Another port is another origin of the same site; another name for the same address is another site.
const PAGES = {'same-site': `http://127.0.0.1:${port}/`, 'cross-site': `http://localhost:${port}/`};
const TRIED = [
  ['v1/scavenge?compact=1', 'POST', null, ''],
  ['v1/scavenge', 'POST', 'text/plain', '{}'],
  ['v1/views/availability/rebuild', 'POST', null, ''],
  ['v1/groups/g/replay', 'POST', 'application/x-www-form-urlencoded', 'a=b'],
  ['v1/append', 'POST', 'text/plain', '{"events":[{"type":"Forged"}]}'],
  ['v1/commands/AddRooms', 'POST', 'application/json', '{"hotel":"Forged","room_type":"x","rooms":1}'],
  ['v1/streams/s/retention', 'PUT', 'application/json', '{"max_count":1}'],
  ['v1/subjects/x', 'DELETE', null, ''],
];

/** All that an attack could have changed. */
async function state() {
  const read = async what => (await fetch(hotel.url + what)).json();
  const views = (await read('v1/views')).views.map(({name, version, generation, state}) => ({name, version, generation, state}));
  return [await read('v1/events?system=1&limit=1000'), await read('v1/scavenge'), views, await read('v1/retention')];
}

const before = await state();
const tests = {};
for (const [site, url] of Object.entries(PAGES)) {
  tests[`fetch() of a ${site} page changes nothing, in any mode`] = async () => {
    const page = await browser.open(url, undefined, {live: null});
    const answers = await page.evaluate(
      async ([base, tried]) => {
        const seen = [];
        for (const [what, method, type, body] of tried)
          for (const mode of ['no-cors', 'cors'])
            for (const credentials of ['omit', 'include'])
              seen.push(
                await fetch(base + what, {
                  method, mode, credentials, body: body || undefined, headers: type ? {'Content-Type': type} : {},
                }).then(answer => answer.type, error => error.name),
              );
        return seen;
      },
      [hotel.url, TRIED],
    );
    assert.ok(answers.includes('opaque'), 'some requests did reach the server');
    assert.ok(answers.every(answer => ['opaque', 'TypeError'].includes(answer)), `${answers}`);
    assert.deepEqual(await state(), before);
  };

  tests[`forms, beacons and pictures of a ${site} page change nothing`] = async () => {
    const page = await browser.open(url, undefined, {live: null});
    await page.evaluate(base => {
      navigator.sendBeacon(`${base}v1/scavenge?compact=1`);
      navigator.sendBeacon(`${base}v1/append`, new Blob(['{"events":[{"type":"Forged"}]}'], {type: 'text/plain'}));
      new Image().src = `${base}v1/scavenge?compact=1`;
    }, hotel.url);
    for (const type of ['text/plain', 'multipart/form-data', 'application/x-www-form-urlencoded']) {
      const answer = page.waitForResponse(response => response.url().includes('/v1/scavenge') && response.request().method() === 'POST'
        && response.request().isNavigationRequest());
      await page.evaluate(([base, enctype]) => {
        const form = Object.assign(document.createElement('form'), {method: 'post', action: `${base}v1/scavenge?compact=1`, enctype});
        document.body.append(form);
        form.submit();
      }, [hotel.url, type]);
      assert.ok([403, 415].includes((await answer).status()));
      await page.waitForURL('**/v1/scavenge*');
      await page.goto(url);
    }
    assert.deepEqual(await state(), before);
  };
}

await run({
  ...tests,
  'the page of the server itself books as before': async () => {
    const page = await browser.open(hotel.url);
    const status = await page.evaluate(async () =>
      (await fetch('v1/commands/AddRooms', {
        method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{"hotel":"Ours","room_type":"x","rooms":1}',
      })).status);
    assert.equal(status, 201);
    await until('it is in the journal', async () => (await state())[0].events.length > before[0].events.length);
  },

  'all of them end well when asked to': async () => {
    await browser.close();
    evil.close();
    assert.equal(await hotel.stop(), 0);
  },
});
await hotel.close();
