// dashboard_test.mjs: the breakers' page: what it shows while a service fails and returns, and who may give orders.
//
//   node test/browser/dashboard_test.mjs BUILD_FOLDER

import assert from 'node:assert/strict';
import path from 'node:path';
import {run, until} from '../lib/tap.mjs';
import {Browser, DESKTOP, PHONE} from './browser.mjs';
import {faint} from './contrast.mjs';
import {BreakerGateway, Service} from './gateway.mjs';
import {overflow, picture} from './page.mjs';

const build = path.resolve(process.argv[2] ?? 'build');
const service = await Service.open();
const gateway = await BreakerGateway.open(build, service);
const browser = await Browser.start(path.join(build, 'test/browser'));
const open = (url, options) => browser.open(url, options, {live: null, until: '[data-breaker="payments"]'});
const page = await open(gateway.operatorUrl);

const card = (state, on = page) => on.locator(`[data-breaker="payments"]${state ? `[data-state="${state}"]` : ''}`);
const text = async (selector, on = page) => (await card('', on).locator(selector).allInnerTexts()).join(' | ');
const shows = (what, selector, pattern) => until(what, async () => pattern.test(await text(selector)));
const order = (name, on = page) => card('', on).getByRole('button', {name, exact: true});

/** Answers the question with one of its two buttons. */
async function answer(button, on = page) {
  await on.locator('dialog[open]').waitFor();
  const question = await on.locator('dialog').innerText();
  await on.locator('dialog').getByRole('button', {name: button, exact: true}).click();
  await on.locator('dialog:not([open])').waitFor({state: 'attached'});
  return question;
}

await run({
  'a closed breaker shows its rates against their thresholds and how long calls took': async () => {
    service.status = 200;
    await gateway.calls(20);
    await shows('the failure rate', 'dl', /Failures\s+0 % \/ 50 %/);
    await shows('the slow rate', 'dl', /Slow calls\s+0 % \/ 60 %/);
    await shows('failures in a row', 'dl', /In a row\s+0 \/ 5/);
    await shows('percentiles', '.levels', /half\s+[\d.]+ ms\s+90 %\s+[\d.]+ ms\s+99 %\s+[\d.]+ ms\s+longest/);
    assert.match(await text('.legend'), /20 calls took lately; longer than 200 ms is slow/);
    assert.equal(await card().locator('.state').innerText(), 'closed');
  },

  'too few calls are told as such and not as a rate': async () => {
    assert.match(await page.locator('[data-breaker="orders"] dl').first().innerText(), /0 of 20 calls/);
    assert.match(await page.locator('[data-breaker="orders"] .levels').innerText(), /half\s+–/);
  },

  'traffic is a plot of what passed, failed and was refused': async () => {
    const bars = kind => card().locator(`.plot .${kind}`).getAttribute('d');
    const before = (await bars('ok')) ?? '';
    await gateway.calls(20);
    await until('a bar for what passed', async () => (await bars('ok')).length > before.length);
    assert.match(await card().locator('.plot').getAttribute('aria-label'), /calls a second/);
  },

  'slow calls show in the percentiles, which are marked against slow_call': async () => {
    service.delay_ms = 300;
    await Promise.all(Array.from({length: 4}, () => gateway.calls(1)));
    await card().locator('[data-level="max"].over').waitFor();
    assert.match(await text('[data-level="max"]'), /(2[6-9]\d|3\d\d) ms/);
    service.delay_ms = 0;
  },

  'a breaker that opens says why, when it tries again, and what was refused': async () => {
    service.status = 500;
    const answers = await gateway.calls(9);
    assert.ok(answers.every(one => one === 'instead'), String(answers));
    await card('open').waitFor();
    assert.match(await text('.why'), /too many failures in a row · tries again in [\d.]+ s/);
    await shows('history', 'summary', /History \(1\)/);
    await card().locator('.plot .refused[d^="M"]').waitFor({state: 'attached'});
    assert.match(await page.locator('#summary').innerText(), /1 closed, 1 not/);
    assert.match(await page.locator('#news').textContent(), /payments is open now/);
    await picture(page, build, 'dashboard-open', {fullPage: true});
  },

  'the time until the next probe runs down, then it says that the next call is one': async () => {
    const left = async () => Number(/in ([\d.]+) s/.exec(await text('.why'))?.[1] ?? 0);
    const first = await left();
    await until('less time', async () => (await left()) < first);
    await shows('the end of it', '.why', /tries again with the next call/);
  },

  'probes that succeed close it, and history tells each step and its reason': async () => {
    service.status = 200;
    await gateway.calls(3);
    await card('closed').waitFor();
    await card().locator('summary').click();
    await shows('history', 'ol', /half-open → closed · the probes succeeded/);
    assert.match(await text('ol'), /open → half-open · the open time was over/);
    assert.match(await text('ol'), /closed → open · too many failures in a row · \d+ of \d+ failed/);
    assert.match(await text('ol li >> nth=0'), /s ago/);
  },

  'history stays unfolded and the focus stays where it was while the page renews itself': async () => {
    await card().locator('summary').focus();
    const first = await card().elementHandle();
    await until('it is drawn anew', () => first.evaluate(one => !one.isConnected));
    assert.equal(await page.evaluate(() => document.activeElement.dataset.key), 'history payments');
    assert.ok(await card().locator('details').evaluate(one => one.open));
  },

  'force open asks first, and does nothing when the answer is no': async () => {
    await order('Force open').click();
    assert.match(await answer('Cancel'), /Force payments open\?[\s\S]*Every call is refused/);
    assert.equal((await gateway.breaker()).mode, 'auto');
  },

  'forced open, forced closed, automatic and reset are given after a yes': async () => {
    for (const [name, question, state] of [
      ['Force open', /Force payments open\?/, 'forced_open'],
      ['Force closed', /Force payments closed\?/, 'forced_closed'],
      ['Automatic', /decide by itself/, 'closed'],
      ['Force open', /Force payments open\?/, 'forced_open'],
      ['Reset', /Reset payments\?/, 'closed'],
    ]) {
      await order(name).click();
      assert.match(await answer('Do it'), question);
      await card(state).waitFor();
      assert.equal((await gateway.breaker()).state, state);
    }
    assert.deepEqual(page.wrongs, []);
  },

  'an order that would change nothing cannot be given': async () => {
    assert.ok(await order('Automatic').isDisabled());
    assert.ok(await order('Force open').isEnabled());
  },

  'the keyboard alone is enough': async () => {
    await order('Force open').focus();
    await page.keyboard.press('Enter');
    await page.locator('dialog[open]').waitFor();
    await page.keyboard.press('Escape');
    await page.locator('dialog:not([open])').waitFor({state: 'attached'});
    assert.equal((await gateway.breaker()).mode, 'auto');
    await order('Force open').focus();
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await card('forced_open').waitFor();
    await gateway.calls(3);
    await order('Reset').focus();
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await card('closed').waitFor();
  },

  'who may only look sees all of it, no buttons, and is told so; the gateway takes no order from there': async () => {
    const guest = await open(gateway.guestUrl);
    await card('closed', guest).waitFor();
    assert.equal(await guest.getByRole('button', {name: 'Force open'}).count(), 0);
    assert.equal(await guest.locator('#looking').innerText(), 'You may look, and not give orders.');
    assert.ok(await page.locator('#looking').isHidden());
    const refused = await guest.evaluate(() =>
      fetch('../payments/open', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}).then(r => r.status),
    );
    assert.equal(refused, 403);
    assert.deepEqual(guest.wrongs, []);
    await picture(guest, build, 'dashboard-guest', {fullPage: true});
  },

  'it can be read in light and dark, on a desk and on a phone, in both languages': async () => {
    service.status = 500;
    await gateway.calls(9);
    for (const [kind, options] of Object.entries({desktop: DESKTOP, phone: PHONE}))
      for (const colorScheme of ['light', 'dark']) {
        const one = await open(gateway.operatorUrl, {...options, colorScheme});
        await until('some traffic', async () => {
          await gateway.calls(8);
          return (await one.locator('.plot path[d^="M"]').count()) > 0;
        });
        await card('', one).locator('summary').click();
        assert.deepEqual(await faint(one), [], `${kind} ${colorScheme}`);
        assert.deepEqual(await overflow(one), [], `${kind} ${colorScheme}`);
        await picture(one, build, `dashboard-${kind}-${colorScheme}`, {fullPage: true});
        await one.click('#language');
        await one.locator('h1', {hasText: '서킷 브레이커'}).waitFor();
        assert.deepEqual(await overflow(one), [], `${kind} ${colorScheme} Korean`);
        await picture(one, build, `dashboard-${kind}-${colorScheme}-ko`, {fullPage: true});
        assert.deepEqual(one.wrongs, []);
      }
  },

  'a gateway that is gone is said, and what it said last stays': async () => {
    await gateway.close();
    await page.locator('#lost:not([hidden])').waitFor();
    assert.match(await page.locator('#lost').innerText(), /does not answer/);
    assert.equal(await card().count(), 1);
  },
});

await browser.close();
await gateway.close();
await service.close();
