// hotel.mjs: a hotel for a test: the real server with the real application on an empty folder, killed and started at
// will, and a few sentences to fill it; and the gateway before two of them.

import {execFileSync} from 'node:child_process';
import fs from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {today} from '../../examples/hotel/public/dates.js';
import {Daybook} from '../../web/daybook.js';
import {end, start} from './process.mjs';

export const HOTEL = 'Hotel Hanok';
const AT_ONCE_COUNT = 8; // commands in flight while the hotel is filled
const NGINX = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../nginx/gateway');

/** The server of one test run, on a folder of its own. */
export class Hotel {
  #command;
  #folder;
  #server = null;
  #number = 0;
  port = 0;

  /** `build`: the folder with `daybook` and `examples/hotel`. `follow`: the hotel it is to be a copy of. */
  static async open(build, {follow} = {}) {
    const hotel = new Hotel();
    hotel.#folder = await fs.mkdtemp(path.join(os.tmpdir(), 'daybook-browser-'));
    hotel.#command = [path.join(build, 'daybook'), 'serve', '--data', path.join(hotel.#folder, 'data')];
    if (follow) hotel.#command.push('--follow', follow.url);
    hotel.#command.push(path.join(build, 'examples/hotel'));
    await hotel.start();
    return hotel;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  get book() {
    return new Daybook(this.url);
  }

  /** Starts the server; the second time on the port of the first, as a runner would. */
  async start() {
    const [program, serve, ...rest] = this.#command;
    const listen = ['--listen', `127.0.0.1:${this.port}`];
    this.#server = await start([program, serve, ...listen, ...rest], /http:\/\/127\.0\.0\.1:(\d+)/);
    this.port = Number(this.#server.match[1]);
  }

  /** Ends the server as a power cut would. */
  kill() {
    return end(this.#server, 'SIGKILL');
  }

  /** Asks the server to end; answers its exit status. */
  stop() {
    return end(this.#server, 'SIGTERM');
  }

  async close() {
    await this.kill();
    await fs.rm(this.#folder, {recursive: true, force: true});
  }

  addRooms(types) {
    const {book} = this;
    return Promise.all(
      Object.entries(types).map(([room_type, rooms]) => book.command('AddRooms', {hotel: HOTEL, room_type, rooms})),
    );
  }

  /** Books through the API, as another desk would; answers the reservation's number. */
  async reserve({room_type, arrival, nights, guest}) {
    const reservation = `R-${String((this.#number += 1)).padStart(5, '0')}`;
    const on = today();
    await this.book.command('BookRoom', {reservation, hotel: HOTEL, room_type, arrival, nights, guest, on});
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

  /** The newest position. */
  async head() {
    return (await this.book.events({limit: 1, direction: 'backward'})).events[0].position;
  }

  /** The reservations in this guest's name. */
  async of(guest) {
    return (await this.book.view('reservations', {guest: `eq.${guest}`})).rows;
  }
}

/** A full hotel is part of the picture; anything else is a mistake of the test. */
function refused(problem) {
  if (problem.rule !== 'no-free-room') throw problem;
}

/** nginx with our breaker module, before a leader and its copy. */
export class Gateway {
  #folder;
  #nginx;

  static async open(build, {leader, follower}) {
    const gateway = new Gateway();
    gateway.#folder = await fs.mkdtemp(path.join(os.tmpdir(), 'daybook-gateway-'));
    await fs.chmod(gateway.#folder, 0o711); // for nginx's workers, who are not root
    gateway.port = await freePort();
    const rules = {
      build,
      port: gateway.port,
      leader: leader.port,
      follower: follower.port,
      open: '2s',
      open_max: '2s',
      ramp: '0',
    };
    const {command, environment} = rendered(gateway.#folder, rules);
    gateway.#nginx = await start(command, /start worker process \d+/, environment);
    return gateway;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  stop() {
    return end(this.#nginx, 'SIGTERM');
  }

  async close() {
    await this.stop();
    await fs.rm(this.#folder, {recursive: true, force: true});
  }
}

/** nginx/gateway/gateway.py writes the configuration and knows how nginx is started with it. */
function rendered(folder, rules) {
  const script = `
import json, sys
sys.path.insert(0, sys.argv[1])
import gateway
folder, rules = sys.argv[2], json.loads(sys.argv[3])
gateway.write(folder, **rules)
print(json.dumps({"command": gateway.command(folder), "environment": gateway.environment(rules["build"])}))`;
  const options = {env: {...process.env, PYTHONDONTWRITEBYTECODE: '1'}};
  return JSON.parse(execFileSync('python3', ['-c', script, NGINX, folder, JSON.stringify(rules)], options));
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer().on('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const {port} = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
