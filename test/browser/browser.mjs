// browser.mjs: Debian's chromium under playwright-core, and pages that keep a list of everything that went wrong in them.

import {execFileSync} from 'node:child_process';
import fs from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';
import {fileURLToPath} from 'node:url';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const CHROMIUM = process.env.DAYBOOK_CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const WAIT_MS_MAX = 30_000; // for anything on the page

export const DESKTOP = {viewport: {width: 1440, height: 960}, locale: 'en-GB', colorScheme: 'light'};
export const PHONE = {
  viewport: {width: 390, height: 844},
  locale: 'en-GB',
  colorScheme: 'light',
  hasTouch: true,
  reducedMotion: 'reduce',
  deviceScaleFactor: 2,
};

/** playwright-core as package-lock.json has it, fetched once into `folder`, which is outside the source. */
function playwright(folder) {
  const wanted = JSON.parse(fs.readFileSync(path.join(HERE, 'package.json'))).dependencies['playwright-core'];
  const manifest = path.join(folder, 'node_modules/playwright-core/package.json');
  if (!fs.existsSync(manifest) || JSON.parse(fs.readFileSync(manifest)).version !== wanted) {
    fs.mkdirSync(folder, {recursive: true});
    for (const name of ['package.json', 'package-lock.json', '.npmrc'])
      fs.copyFileSync(path.join(HERE, name), path.join(folder, name));
    execFileSync('npm', ['ci', '--ignore-scripts', '--prefer-offline'], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
  return createRequire(path.join(folder, 'index.js'))('playwright-core');
}

/** A browser with an empty profile; `open` makes separate visitors in it. */
export class Browser {
  #browser;

  static async start(folder) {
    const made = new Browser();
    made.#browser = await playwright(folder).chromium.launch({executablePath: CHROMIUM, args: FLAGS});
    return made;
  }

  close() {
    return this.#browser.close();
  }

  /**
   * A new visitor at `url`: nothing remembered, nothing shared with others. `page.wrongs` collects errors on the
   * console, exceptions, broken policies and requests to anywhere else. Waits for `live`, if any, and `until`.
   */
  async open(url, options = DESKTOP, {live = '[data-state="live"]', until = '#calendar-body [role="grid"]'} = {}) {
    const context = await this.#browser.newContext(options);
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS_MAX);
    page.wrongs = [];
    page.on('pageerror', error => page.wrongs.push(`exception: ${error.stack}`));
    page.on('console', message => {
      if (message.type() === 'error' && !expected(message.text())) page.wrongs.push(`console: ${message.text()}`);
    });
    page.on('request', request => {
      if (new URL(request.url()).origin !== new URL(url).origin) page.wrongs.push(`request to ${request.url()}`);
    });
    await page.goto(url);
    if (live) await page.waitForSelector(live);
    await page.waitForSelector(until);
    return page;
  }
}

/** The browser's own remark about an answer that is an error; the page has to deal with those, and does. */
function expected(text) {
  return text.startsWith('Failed to load resource:');
}
