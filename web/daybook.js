// daybook.js: what a page needs to talk to a daybook server, and nothing more.
//
//   import {Daybook} from './daybook.js';
//   const book = new Daybook('/');
//   book.on('event', event => show(event));        // any number of listeners,
//   book.follow({after: 0});                       // one connection a page
//   await book.command('BookRoom', {…});           // sent until answered, done at most once
//   const {rows} = await book.view('reservations', {status: 'eq.booked'}); // sees that booking
//
// What holds:
// D1  Listeners get every event after the start exactly once and in order, whatever dies in between: the cursor of
//     the last frame taken in is what the next connection resumes from.
// D2  A command keeps its Idempotency-Key over all its tries, so trying again is always safe.
// D3  A read never shows less than this page has written or seen (min_position); one of the past (as_of) is exempt.
//
// Listeners: 'event' (an event), 'caught-up', 'reset' (another journal: forget everything, its events follow),
// 'state' ({state: 'connecting' | 'live' | 'lost', problem?}), 'role' ('leader' | 'follower': who answered last),
// 'retry' ({wait_ms, problem}).

/** Every time limit there is; `new Daybook(base, {…})` takes others. */
export const LIMITS = Object.freeze({
  pause_ms: 250, // first pause between tries; doubles up to …
  pause_ms_max: 4_000,
  patience_ms: 30_000, // a command or a read gives up after this long …
  try_ms_max: 20_000, // … and one try of it after this long
  silence_ms_max: 40_000, // the server's heartbeat comes every 15 s: a stream this silent is dead
  wait_s: 5, // how long a read asks the server to wait for min_position
});

/** An answer that is an error: RFC 9457's members, and whatever else the server said (rule, nights, violations…). */
export class Problem extends Error {
  constructor(status, body = {}, retryAfter_s = NaN) {
    super(body.detail || body.title || `HTTP ${status}`);
    Object.assign(this, body, {name: 'Problem', status, violations: body.violations ?? [], retryAfter_s});
  }
}

export class Daybook {
  #base; #limits; #ears = new Map(); #journal = ''; #role = '';
  #floor = 0; // reads show at least this position
  #cursor = ''; #seen = 0; #stop = null; #pause_ms = 1000; // the connection

  constructor(base = '/', limits = {}) {
    this.#base = base;
    this.#limits = {...LIMITS, ...limits};
  }

  /** Calls `ear` on each `name` (see the top); returns a function that ends it. */
  on(name, ear) {
    if (!this.#ears.has(name)) this.#ears.set(name, new Set());
    this.#ears.get(name).add(ear);
    return () => this.#ears.get(name).delete(ear);
  }

  /** Sends a command; answers {position, events, replayed}. Throws a Problem with `rule` or `violations` if refused. */
  async command(name, body, {key = newKey(), signal} = {}) {
    const headers = {'Content-Type': 'application/json', 'Idempotency-Key': key};
    const init = {method: 'POST', headers, body: JSON.stringify(body)};
    const {body: done} = await this.#ask(`v1/commands/${encodeURIComponent(name)}`, init, signal);
    this.#floor = Math.max(this.#floor, done.position ?? 0);
    return done;
  }

  /** Rows of a view, in PostgREST's grammar; answers {rows, position, total} (`total` with `count: true`). */
  view(name, params, options) { return this.#rows(`v1/views/${encodeURIComponent(name)}`, params, options); }

  /** Rows of a named query; answers as `view` does. */
  query(name, params, options) { return this.#rows(`v1/queries/${encodeURIComponent(name)}`, params, options); }

  /** A page of the journal: {events, after, head, more}. */
  async events(params, {signal} = {}) { return (await this.#ask(`v1/events?${search(params)}`, {}, signal)).body; }

  /** Opens the page's one connection: the events after position `after`, or after the last one seen, then live ones. */
  follow({after} = {}) {
    this.close();
    if (after !== undefined) {
      this.#cursor = '';
      this.#seen = after;
    }
    this.#stop = new AbortController();
    this.#run(this.#stop.signal);
  }

  /** Ends the connection; `follow()` goes on where it stopped. */
  close() {
    this.#stop?.abort();
    this.#stop = null;
  }

  async #rows(path, params = {}, {signal, count = false} = {}) {
    const past = params.as_of !== undefined && params.as_of !== null;
    const asked = past || !this.#floor ? params : {...params, min_position: this.#floor};
    const wishes = [asked.min_position && `wait=${this.#limits.wait_s}`, count && 'count=exact'].filter(Boolean);
    const init = wishes.length ? {headers: {Prefer: wishes.join(', ')}} : {};
    const {body, headers} = await this.#ask(`${path}?${search(asked)}`, init, signal);
    const total = Number(headers.get('Content-Range')?.split('/')[1]);
    return {rows: body, position: Number(headers.get('Daybook-Position')), total};
  }

  /** One request, tried again while that can help and patience lasts. */
  async #ask(path, init, signal) {
    const {pause_ms, pause_ms_max, patience_ms} = this.#limits;
    const until = Date.now() + patience_ms;
    for (let pause = pause_ms; ; pause = Math.min(2 * pause, pause_ms_max)) {
      try {
        return await this.#once(path, init, signal);
      } catch (problem) {
        const wait_ms = problem.retryAfter_s * 1000 || pause * (0.75 + Math.random() / 2);
        if (signal?.aborted || !passing(problem) || Date.now() + wait_ms > until) throw problem;
        this.#tell('retry', {wait_ms, problem});
        await sleep(wait_ms, signal);
      }
    }
  }

  async #once(path, init, signal) {
    const limit = deadline(this.#limits.try_ms_max, signal);
    try {
      const answer = await fetch(this.#base + path, {...init, signal: limit.signal, cache: 'no-store'});
      const text = await answer.text(); // a body cut short is a try that failed
      if (!answer.ok) throw problemOf(answer, text);
      this.#note(answer);
      return {headers: answer.headers, body: text ? JSON.parse(text) : null};
    } catch (error) {
      if (error instanceof Problem || signal?.aborted) throw error;
      throw new Problem(0, {title: 'No answer', code: 'no-answer', detail: String(error)});
    } finally {
      limit.release();
    }
  }

  async #run(signal) {
    const {pause_ms, pause_ms_max, patience_ms} = this.#limits;
    for (let pause = pause_ms; ; ) {
      this.#tell('state', {state: 'connecting'});
      let problem, heard = false;
      await this.#listen(signal, () => { heard = true; }).catch(error => { problem = error; });
      if (signal.aborted) return;
      this.#tell('state', {state: 'lost', problem});
      pause = heard ? this.#pause_ms : Math.min(2 * pause, pause_ms_max);
      await sleep(Math.min(problem?.retryAfter_s * 1000 || pause, patience_ms), signal);
      if (signal.aborted) return;
    }
  }

  /** One connection, from the cursor on, until it ends. */
  async #listen(signal, onHeard) {
    const silence = deadline(this.#limits.silence_ms_max, signal);
    try {
      const headers = {Accept: 'text/event-stream', ...(this.#cursor && {'Last-Event-ID': this.#cursor})};
      const init = {headers, signal: silence.signal, cache: 'no-store'};
      const answer = await fetch(`${this.#base}v1/events?after=${this.#seen}`, init);
      if (!answer.ok) throw problemOf(answer, await answer.text());
      this.#note(answer);
      this.#tell('state', {state: 'live'});
      for await (const frame of frames(answer.body, silence.postpone)) {
        onHeard();
        this.#take(frame);
      }
    } finally {
      silence.release();
    }
  }

  #take({id, event, data, retry}) {
    if (retry) this.#pause_ms = Number(retry) || this.#pause_ms;
    if (event === 'daybook.reset') {
      this.#seen = this.#floor = 0;
      this.#tell('reset');
    }
    if (event === 'daybook.caught-up') this.#tell('caught-up');
    if (data !== undefined && !event?.startsWith('daybook.')) this.#hand(JSON.parse(data));
    if (id) this.#cursor = id;
  }

  #hand(event) {
    if (event.position <= this.#seen) return; // D1, should a server ever repeat itself
    this.#seen = event.position;
    this.#floor = Math.max(this.#floor, event.position);
    this.#tell('event', event);
  }

  /** Who answered, and from which journal: after a restore positions begin anew. */
  #note({headers}) {
    const journal = headers.get('Daybook-Journal') ?? this.#journal;
    if (this.#journal && journal !== this.#journal) this.#floor = 0;
    this.#journal = journal;
    const role = headers.get('Daybook-Role') ?? this.#role;
    if (role !== this.#role) this.#tell('role', (this.#role = role));
  }

  #tell(name, what) {
    for (const ear of this.#ears.get(name) ?? []) {
      try { ear(what); } catch (error) { console.error(error); }
    }
  }
}

/** The frames of an event stream (WHATWG HTML §9.2.6); one that the end cuts off is dropped. */
async function* frames(body, onBytes) {
  const reader = body.getReader(), text = new TextDecoder();
  for (let rest = '', frame = {}; ; ) {
    const {done, value} = await reader.read();
    if (done) return;
    onBytes();
    const lines = (rest + text.decode(value, {stream: true})).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      const [, name, content] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (line === '') { yield frame; frame = {}; }
      else if (name === 'data') frame.data = frame.data === undefined ? content : `${frame.data}\n${content}`;
      else if (name) frame[name] = content; // a comment has no name
    }
  }
}

/** A signal that fires after `time_ms`, counted from the last `postpone`, or with `other`; `release` when done. */
function deadline(time_ms, other) {
  const end = new AbortController(), abort = () => end.abort();
  let timer = setTimeout(abort, time_ms);
  other?.addEventListener('abort', abort);
  if (other?.aborted) abort();
  const postpone = () => { clearTimeout(timer); timer = setTimeout(abort, time_ms); };
  const release = () => { clearTimeout(timer); other?.removeEventListener('abort', abort); abort(); };
  return {signal: end.signal, postpone, release};
}

async function sleep(time_ms, signal) {
  const limit = deadline(time_ms, signal);
  if (!limit.signal.aborted) await new Promise(resolve => { limit.signal.addEventListener('abort', resolve); });
  limit.release();
}

/** True when the same request may succeed later: nothing was wrong with the request itself. */
function passing({status, code}) {
  const codes = ['contention', 'idempotency-in-progress', 'not-caught-up'];
  return [0, 429, 502, 503, 504].includes(status) || codes.includes(code);
}

function problemOf(answer, text) {
  let body = {};
  try { body = JSON.parse(text); } catch { /* not ours: the status has to do */ }
  const retryAfter_s = Number(answer.headers.get('Retry-After') ?? NaN);
  return new Problem(answer.status, {title: answer.statusText, ...body}, retryAfter_s);
}

function search(params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null);
  return new URLSearchParams(given.flatMap(([name, value]) => [value].flat().map(one => [name, one])));
}

/** 128 random bits; crypto.randomUUID() is missing on plain http outside localhost. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');
}
