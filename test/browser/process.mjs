// process.mjs: a program that a test starts, waits for, and ends by its own process id.

import {spawn} from 'node:child_process';
import {until} from '../lib/tap.mjs';

const READY_MS_MAX = 30_000;
const running = new Set();

// Whatever ends the test ends what it started.
process.on('exit', () => running.forEach(child => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** Starts `command` ([program, …arguments]) and waits until it has said something that matches `ready`. */
export async function start(command, ready, environment = {}) {
  const child = spawn(command[0], command.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {...process.env, ...environment},
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', text => (said += text));
  const match = await until(
    `${command[0]} to be ready`,
    () => {
      if (child.exitCode !== null) throw new Error(`${command.join(' ')} ended (${child.exitCode}): ${said}`);
      return ready.exec(said);
    },
    READY_MS_MAX,
  );
  return {child, match};
}

/** Ends it with this signal and waits until it is gone; answers its exit status (null: the signal ended it). */
export async function end({child}, signal) {
  if (child.exitCode === null && child.signalCode === null) {
    const gone = new Promise(resolve => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }
  return child.exitCode;
}
