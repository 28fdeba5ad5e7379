// The same loop through opossum and cockatiel: calls that succeed at once, and refusals of an open breaker.
//
//     node breaker_peers.mjs [SECONDS]
//
// Prints one JSON object: {"opossum": {"call_ns": …, "refusal_ns": …}, "cockatiel": {…}, "promise_ns": …}. Both await a promise
// for each call; promise_ns is that alone.
import { ConsecutiveBreaker, circuitBreaker, handleAll } from 'cockatiel';
import CircuitBreaker from 'opossum';

const SECONDS = Number(process.argv[2] ?? 1);
const BATCH = 1000;

/** CPU time of a call in ns: other load on the machine does not blur it. */
async function measure(step) {
  for (let i = 0; i < 20 * BATCH; i++) await step();
  const end = process.hrtime.bigint() + BigInt(SECONDS * 1e9);
  const began = process.cpuUsage();
  let calls = 0;
  while (process.hrtime.bigint() < end) {
    for (let i = 0; i < BATCH; i++) await step();
    calls += BATCH;
  }
  const used = process.cpuUsage(began);
  return (used.user + used.system) * 1000 / calls;
}

const works = async () => 1;
const fails = async () => { throw new Error('down'); };
const ignore = () => undefined;

async function opossum() {
  const options = { rollingCountTimeout: 10000, rollingCountBuckets: 20, volumeThreshold: 20, errorThresholdPercentage: 50,
    timeout: false, resetTimeout: 3600000 };
  const closed = new CircuitBreaker(works, options);
  const call = await measure(() => closed.fire());
  const open = new CircuitBreaker(fails, options);
  open.open();
  const refusal = await measure(() => open.fire().catch(ignore));
  closed.shutdown();
  open.shutdown();
  return { call_ns: call, refusal_ns: refusal };
}

async function cockatiel() {
  const make = () => circuitBreaker(handleAll, { halfOpenAfter: 3600000, breaker: new ConsecutiveBreaker(10) });
  const closed = make();
  const call = await measure(() => closed.execute(works));
  const open = make();
  for (let i = 0; i < 10; i++) await open.execute(fails).catch(ignore);
  const refusal = await measure(() => open.execute(works).catch(ignore));
  return { call_ns: call, refusal_ns: refusal };
}

const promise = await measure(works);
console.log(JSON.stringify({ opossum: await opossum(), cockatiel: await cockatiel(), promise_ns: promise }));
process.exit(0);
