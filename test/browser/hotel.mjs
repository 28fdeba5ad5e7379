// hotel.mjs: a hotel for a test: the real server with the real application on an empty folder, killed and started at
// will, and a few sentences to fill it.

import {spawn} from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import {Daybook} from '../../web/daybook.js';
import {today} from '../../examples/hotel/public/dates.js';
import {until} from '../lib/tap.mjs';

export const HOTEL = 'Hotel Hanok';
const READY_MS_MAX = 20_000;
const AT_ONCE_COUNT = 8; // commands in flight while the hotel is filled

/** The server of one test run, on a folder of its own. */
export class Hotel {
  #build;
  #folder;
  #child = null;
  #port = 0;
  #number = 0;

  /** `build`: the folder with `daybook` and `examples/hotel`. */
  static async open(build) {
    const hotel = new Hotel();
    hotel.#build = build;
    hotel.#folder = await fs.mkdtemp(path.join(os.tmpdir(), 'daybook-browser-'));
    await hotel.start();
    return hotel;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}/`;
  }

  get book() {
    return new Daybook(this.url);
  }

  /** Starts the server; the second time on the port of the first, as a runner would. */
  async start() {
    const data = path.join(this.#folder, 'data');
    const listen = `127.0.0.1:${this.#port}`;
    const child = spawn(
      path.join(this.#build, 'daybook'),
      ['serve', '--data', data, '--listen', listen, path.join(this.#build, 'examples/hotel')],
      {stdio: ['ignore', 'pipe', 'pipe']},
    );
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', text => (said += text));
    this.#child = child;
    const port = await until(
      'the server to be ready',
      () => {
        if (child.exitCode !== null) throw new Error(`the server ended (${child.exitCode}): ${said}`);
        return /http:\/\/127\.0\.0\.1:(\d+)/.exec(said)?.[1];
      },
      READY_MS_MAX,
    );
    this.#port = Number(port);
  }

  /** Ends the server as a power cut would. */
  async kill() {
    const child = this.#child;
    const gone = new Promise(resolve => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  async close() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill();
    await fs.rm(this.#folder, {recursive: true, force: true});
  }

  addRooms(types) {
    const book = this.book;
    return Promise.all(
      Object.entries(types).map(([room_type, rooms]) => book.command('AddRooms', {hotel: HOTEL, room_type, rooms})),
    );
  }

  /** Books through the API, as another desk would; answers the reservation's number. */
  async reserve({room_type, arrival, nights, guest}) {
    const reservation = `R-${String((this.#number += 1)).padStart(5, '0')}`;
    await this.book.command('BookRoom', {reservation, hotel: HOTEL, room_type, arrival, nights, guest, on: today()});
    return reservation;
  }

  /** Books all of these, a few at a time. */
  async reserveAll(stays) {
    const waiting = [...stays];
    const desk = async () => {
      for (let stay; (stay = waiting.shift());) await this.reserve(stay).catch(refused);
    };
    await Promise.all(Array.from({length: AT_ONCE_COUNT}, desk));
  }
}

/** A full hotel is part of the picture; anything else is a mistake of the test. */
function refused(problem) {
  if (problem.rule !== 'no-free-room') throw problem;
}
