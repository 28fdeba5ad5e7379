// daybook_test.mjs: daybook.js against a server that does what a script says: answers, refuses, cuts, repeats.

import assert from 'node:assert/strict';
import http from 'node:http';
import {webcrypto} from 'node:crypto';
import {Daybook, Problem} from './daybook.js';
import {run, until} from '../test/lib/tap.mjs';

globalThis.crypto ??= webcrypto; // Node 18 has it under another name

const QUICK = {pause_ms: 5, pause_ms_max: 20, patience_ms: 3_000, try_ms_max: 2_000, silence_ms_max: 3_000};

/** A server whose n-th request is answered by the n-th handler (the last one answers the rest); keeps what was asked. */
async function serve(...handlers) {
  const asked = [];
  const server = http.createServer(async (request, answer) => {
    let body = '';
    for await (const part of request) body += part;
    asked.push({method: request.method, url: request.url, headers: request.headers, body});
    handlers[Math.min(asked.length, handlers.length) - 1](answer, asked.length);
  });
  await new Promise(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    asked,
    base: `http://127.0.0.1:${server.address().port}/`,
    end() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A test with such a server and a client for it; both are gone afterwards. */
function withServer(handlers, test, limits = {}) {
  return async () => {
    const server = await serve(...handlers);
    const book = new Daybook(server.base, {...QUICK, ...limits});
    try {
      await test({book, asked: server.asked});
    } finally {
      book.close();
      server.end();
    }
  };
}

const json =
  (status, body, headers = {}) =>
  answer => {
    answer.writeHead(status, {
      'Content-Type': status < 400 ? 'application/json' : 'application/problem+json',
      'Daybook-Journal': 'j1',
      ...headers,
    });
    answer.end(JSON.stringify(body));
  };
const done = (position, more = {}) => json(201, {position, events: [], replayed: false, ...more});
const cut = answer => answer.destroy();
const cutInBody = answer => {
  answer.writeHead(201, {'Content-Length': 1000});
  answer.write('{"position":');
  setTimeout(() => answer.destroy(), 5);
};
const stream =
  (text, {open = false, headers = {}} = {}) =>
  answer => {
    answer.writeHead(200, {
      'Content-Type': 'text/event-stream',
      'Daybook-Journal': 'j1',
      'Daybook-Role': 'leader',
      ...headers,
    });
    answer.write(text);
    if (!open) setTimeout(() => answer.destroy(), 5);
  };
const frame = (position, data = {}) => `id: j1-${position}\ndata: ${JSON.stringify({position, type: 'T', data})}\n\n`;
const hold = stream(': here\n\n', {open: true});

/** Collects the positions a book hands out. */
function collect(book) {
  const got = [];
  book.on('event', event => got.push(event.position));
  return got;
}

const thrown = promise =>
  promise.then(
    () => assert.fail('nothing was thrown'),
    error => error,
  );

await run({
  'a command keeps its key over tries that got no answer': withServer(
    [cut, cutInBody, done(7)],
    async ({book, asked}) => {
      assert.equal((await book.command('BookRoom', {nights: 2})).position, 7);
      assert.equal(asked.length, 3);
      assert.equal(new Set(asked.map(({headers}) => headers['idempotency-key'])).size, 1);
      assert.deepEqual(
        asked.map(({body}) => body),
        Array(3).fill('{"nights":2}'),
      );
      assert.equal(asked[0].headers['content-type'], 'application/json');
    },
  ),

  'two commands have two keys': withServer([done(1), done(2)], async ({book, asked}) => {
    await book.command('A', {});
    await book.command('A', {});
    assert.notEqual(asked[0].headers['idempotency-key'], asked[1].headers['idempotency-key']);
  }),

  'a busy server is asked again, no sooner than Retry-After says': withServer(
    [json(503, {code: 'draining'}, {'Retry-After': '1'}), done(1)],
    async ({book}) => {
      const waits = [];
      const begin = Date.now();
      book.on('retry', ({wait_ms}) => waits.push(wait_ms));
      await book.command('A', {});
      assert.deepEqual(waits, [1000]);
      assert.ok(Date.now() - begin >= 990);
    },
  ),

  'a rule that says no is told at once, with its facts': withServer(
    [json(422, {title: 'Rejected', code: 'rejected', rule: 'no-free-room', nights: ['2026-03-12']})],
    async ({book, asked}) => {
      const problem = await thrown(book.command('BookRoom', {}));
      assert.ok(problem instanceof Problem);
      assert.deepEqual(
        [problem.status, problem.rule, problem.nights, problem.violations],
        [422, 'no-free-room', ['2026-03-12'], []],
      );
      assert.equal(asked.length, 1);
    },
  ),

  'violations come through whole': withServer(
    [json(422, {code: 'invalid', violations: [{pointer: '/nights', detail: 'must be 0 to 365'}]})],
    async ({book}) => {
      assert.deepEqual((await thrown(book.command('A', {}))).violations, [
        {pointer: '/nights', detail: 'must be 0 to 365'},
      ]);
    },
  ),

  'an error page that is not JSON is still a Problem': withServer(
    [
      answer => {
        answer.writeHead(404, {'Content-Type': 'text/html'});
        answer.end('<h1>no</h1>');
      },
    ],
    async ({book}) => {
      assert.equal((await thrown(book.view('x'))).status, 404);
    },
  ),

  'a lost race and a key in progress are tried again': withServer(
    [json(409, {code: 'contention'}), json(409, {code: 'idempotency-in-progress'}), done(3)],
    async ({book, asked}) => {
      assert.equal((await book.command('A', {})).position, 3);
      assert.equal(asked.length, 3);
    },
  ),

  'a conflict that stays one is not tried again': withServer(
    [json(409, {code: 'append-condition-failed'})],
    async ({book, asked}) => {
      assert.equal((await thrown(book.command('A', {}))).code, 'append-condition-failed');
      assert.equal(asked.length, 1);
    },
  ),

  'patience ends, with the last reason': withServer(
    [json(503, {code: 'read-only'})],
    async ({book}) => {
      assert.equal((await thrown(book.command('A', {}))).code, 'read-only');
    },
    {patience_ms: 60},
  ),

  'a server that never answers is given up on': withServer(
    [() => {}],
    async ({book, asked}) => {
      assert.equal((await thrown(book.view('x'))).code, 'no-answer');
      assert.ok(asked.length >= 2);
    },
    {try_ms_max: 50, patience_ms: 300},
  ),

  'whoever asked may stop asking': withServer([() => {}], async ({book}) => {
    const stop = new AbortController();
    const asking = thrown(book.view('x', {}, {signal: stop.signal}));
    stop.abort();
    assert.ok(await asking);
  }),

  'a read after a command sees that command': withServer(
    [done(41), json(200, [{a: 1}], {'Daybook-Position': '41'})],
    async ({book, asked}) => {
      await book.command('A', {});
      const {rows, position} = await book.query('free_rooms', {hotel: 'H & Co'});
      assert.deepEqual([rows, position], [[{a: 1}], 41]);
      assert.equal(asked[1].url, '/v1/queries/free_rooms?hotel=H+%26+Co&min_position=41');
      assert.equal(asked[1].headers.prefer, 'wait=5');
    },
  ),

  'a read of the past asks for no position': withServer([done(41), json(200, [])], async ({book, asked}) => {
    await book.command('A', {});
    await book.view('reservations', {as_of: 12});
    assert.equal(asked[1].url, '/v1/views/reservations?as_of=12');
    assert.equal(asked[1].headers.prefer, undefined);
  }),

  'a view that has not caught up is asked again': withServer(
    [json(409, {code: 'not-caught-up', reached: 3}), json(200, [])],
    async ({book}) => {
      assert.deepEqual((await book.view('x')).rows, []);
    },
  ),

  'a counted view tells its total': withServer(
    [json(200, [1, 2], {'Content-Range': '0-1/4200'})],
    async ({book, asked}) => {
      assert.equal((await book.view('x', {limit: 2}, {count: true})).total, 4200);
      assert.equal(asked[0].headers.prefer, 'count=exact');
    },
  ),

  'after a restore old positions are not asked for': withServer(
    [done(900), json(200, [], {'Daybook-Journal': 'j2'}), json(200, [], {'Daybook-Journal': 'j2'})],
    async ({book, asked}) => {
      await book.command('A', {});
      await book.view('x');
      await book.view('x');
      assert.equal(asked[2].url, '/v1/views/x');
    },
  ),

  'a stream that is cut in the middle of a frame loses and repeats nothing': withServer(
    [
      stream(frame(1) + frame(2) + 'id: j1-3\ndata: {"posi'),
      cut,
      stream(frame(3)),
      stream(frame(4) + frame(5), {open: true}),
    ],
    async ({book, asked}) => {
      const got = collect(book);
      book.follow({after: 0});
      await until('five events', () => got.length === 5);
      assert.deepEqual(got, [1, 2, 3, 4, 5]);
      assert.deepEqual(
        asked.map(({headers}) => headers['last-event-id']),
        [undefined, 'j1-2', 'j1-2', 'j1-3'],
      );
      assert.equal(asked[0].url, '/v1/events?after=0');
    },
  ),

  'an event that comes twice is handed out once': withServer(
    [stream(frame(1) + frame(2) + frame(1) + frame(2) + frame(3), {open: true})],
    async ({book}) => {
      const got = collect(book);
      book.follow();
      await until('the third', () => got.includes(3));
      assert.deepEqual(got, [1, 2, 3]);
    },
  ),

  'bytes may be split anywhere': withServer(
    [
      answer => {
        answer.writeHead(200, {'Content-Type': 'text/event-stream'});
        const text = `: hello\r\n\r\nid: j1-1\r\ndata: {"position":1,\r\ndata: "guest":"김민준 \u2028"}\r\n\r\n${frame(2)}`;
        const bytes = Buffer.from(text);
        const next = at => {
          if (at < bytes.length) answer.write(bytes.subarray(at, at + 1), () => setImmediate(next, at + 1));
        };
        next(0);
      },
    ],
    async ({book}) => {
      const got = [];
      book.on('event', event => got.push(event));
      book.follow();
      await until('both events', () => got.length === 2);
      assert.deepEqual([got[0].guest, got[1].position], ['김민준 \u2028', 2]);
    },
  ),

  'a checkpoint moves the cursor and hands out nothing': withServer(
    [stream(`${frame(1)}event: daybook.checkpoint\nid: j1-50\ndata: {}\n\n`), hold],
    async ({book, asked}) => {
      const got = collect(book);
      book.follow();
      await until('the second connection', () => asked.length === 2);
      assert.equal(asked[1].headers['last-event-id'], 'j1-50');
      assert.deepEqual(got, [1]);
    },
  ),

  'another journal is told as a reset, and its events are handed out from the first': withServer(
    [
      stream(frame(1) + frame(2)),
      stream(`event: daybook.reset\nid: j2-0\ndata: {}\n\n${frame(1)}`, {
        open: true,
        headers: {'Daybook-Journal': 'j2'},
      }),
    ],
    async ({book}) => {
      const told = [];
      book.on('event', ({position}) => told.push(position));
      book.on('reset', () => told.push('reset'));
      book.follow();
      await until('the new first event', () => told.length === 4);
      assert.deepEqual(told, [1, 2, 'reset', 1]);
    },
  ),

  'catching up is told once': withServer(
    [stream(`${frame(1)}event: daybook.caught-up\nid: j1-1\ndata: {}\n\n`, {open: true})],
    async ({book}) => {
      let count = 0;
      book.on('caught-up', () => {
        count += 1;
      });
      book.follow();
      await until('caught up', () => count === 1);
    },
  ),

  'a stream refused with 503 is asked for again from the same place': withServer(
    [stream(frame(1)), json(503, {}, {}), stream(frame(2), {open: true})],
    async ({book, asked}) => {
      const got = collect(book);
      book.follow();
      await until('the second event', () => got.length === 2);
      assert.deepEqual([got, asked[2].headers['last-event-id']], [[1, 2], 'j1-1']);
    },
  ),

  'a silent stream is taken for dead': withServer(
    [hold, stream(frame(1), {open: true})],
    async ({book}) => {
      const got = collect(book);
      book.follow();
      await until('an event from the second connection', () => got.length === 1);
    },
    {silence_ms_max: 60},
  ),

  'any number of listeners share one connection, and one that throws hurts nobody': withServer(
    [stream('retry: 5\n\n' + frame(1) + frame(2), {open: true})],
    async ({book, asked}) => {
      const quiet = console.error;
      console.error = () => {};
      book.on('event', () => {
        throw new Error('a listener of its own');
      });
      const [first, second] = [collect(book), collect(book)];
      book.follow();
      await until('both', () => first.length === 2 && second.length === 2);
      console.error = quiet;
      assert.equal(asked.length, 1);
    },
  ),

  'what was seen on the stream is what a read must show': withServer(
    [stream(frame(17), {open: true}), json(200, [])],
    async ({book, asked}) => {
      const got = collect(book);
      book.follow();
      await until('the event', () => got.length === 1);
      await book.view('x');
      assert.equal(asked[1].url, '/v1/views/x?min_position=17');
    },
  ),

  'it tells when it is live and when it lost the server, and who answers': withServer(
    [stream('retry: 5\n\n' + frame(1)), stream(frame(2), {open: true, headers: {'Daybook-Role': 'follower'}})],
    async ({book}) => {
      const states = [];
      const roles = [];
      book.on('state', ({state}) => states.push(state));
      book.on('role', role => roles.push(role));
      book.follow();
      await until('live again', () => states.filter(state => state === 'live').length === 2);
      assert.deepEqual(states, ['connecting', 'live', 'lost', 'connecting', 'live']);
      assert.deepEqual(roles, ['leader', 'follower']);
    },
  ),

  'following again goes on where it was closed': withServer(
    [stream(frame(1) + frame(2), {open: true}), stream(frame(3), {open: true})],
    async ({book, asked}) => {
      const got = collect(book);
      book.follow({after: 0});
      await until('two events', () => got.length === 2);
      book.close();
      book.follow();
      await until('the third', () => got.length === 3);
      assert.deepEqual([got, asked[1].headers['last-event-id']], [[1, 2, 3], 'j1-2']);
    },
  ),

  'closing ends the connection for good': withServer([stream(frame(1), {open: true})], async ({book, asked}) => {
    const got = collect(book);
    book.follow();
    await until('the event', () => got.length === 1);
    book.close();
    await new Promise(resolve => {
      setTimeout(resolve, 60);
    }); // longer than every pause of QUICK
    assert.equal(asked.length, 1);
  }),
});
