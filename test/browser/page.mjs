// page.mjs: the page as a visitor uses it: words for tests.

import path from 'node:path';
import {until} from '../lib/tap.mjs';

/** The button of one night in the calendar. */
export function night(page, type, date) {
  return page.locator(`[data-type="${type}"][data-night="${date}"]`);
}

/** How many rooms of a type the calendar shows as free. */
export async function free(page, type, date) {
  return Number(await night(page, type, date).locator('.free').textContent());
}

/** Waits until the calendar shows this many. */
export function untilFree(page, type, date, count) {
  return until(`${type} ${date} shows ${count} free`, async () => (await free(page, type, date)) === count);
}

/** The positions the feed shows, newest first. */
export function feed(page) {
  return page.locator('#feed-body li').evaluateAll(items => items.map(item => Number(item.dataset.position)));
}

/** Throws unless the feed holds `head`, then every position below it, once each. */
export async function feedIsWhole(page, head) {
  const shown = await until(`the feed shows event ${head}`, async () => {
    const positions = await feed(page);
    return positions[0] >= head && positions;
  });
  shown.forEach((position, index) => {
    if (position !== shown[0] - index)
      throw new Error(`the feed shows ${shown.slice(Math.max(0, index - 3), index + 3)}`);
  });
}

/** Shows another month. */
export async function turnTo(page, month) {
  const shown = () => page.locator('[data-night]').first().getAttribute('data-night');
  for (let tries = 0; (await shown()).slice(0, 7) !== month; tries += 1) {
    if (tries === 36) throw new Error(`${month} is too far away`);
    const before = await shown();
    await page.click(before.slice(0, 7) < month ? '#month-right' : '#month-left');
    await until('the next month', async () => (await shown()) !== before);
  }
}

/** Fills in and sends the form for nights picked in the calendar; answers the card that tells how it went. */
export async function book(page, {type, from, to = from, guest}) {
  await night(page, type, from).click();
  if (to !== from) await night(page, type, to).click();
  await page.fill('#b-guest', guest);
  await page.click('#b-submit');
  return resultOf(page);
}

/** The card below the form. */
export async function resultOf(page) {
  const card = page.locator('#booking .card');
  await card.waitFor();
  return {
    done: (await card.getAttribute('class')).includes('done'),
    number: await card.getAttribute('data-reservation'),
    rule: await card.getAttribute('data-rule'),
    text: await card.innerText(),
    nights: await card.locator('.nights time').evaluateAll(times => times.map(time => time.dateTime)),
  };
}

/** Moves the slider to a position and waits until the page is there. */
export async function travel(page, position) {
  await page.locator('#slider').fill(String(position));
  await page.waitForSelector('.in-the-past');
  await settled(page);
}

/** Waits until no panel is asking for anything. */
export async function settled(page) {
  await until('the page to rest', async () => (await page.locator('[aria-busy="true"]').count()) === 0);
}

/** Whether the page is wider than the screen, and what sticks out. */
export function overflow(page) {
  return page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll('body *')]
      .filter(element => element.getBoundingClientRect().right > width + 1)
      .map(element => element.className || element.tagName);
  });
}

/** Keeps a picture of the page in $DAYBOOK_ARTEFACTS, or in the build folder. */
export function picture(page, build, name, options = {}) {
  const folder = process.env.DAYBOOK_ARTEFACTS ?? path.join(build, 'test/browser/pictures');
  return page.screenshot({path: path.join(folder, `${name}.png`), ...options});
}
