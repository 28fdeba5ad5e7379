// tap.mjs: tests in JavaScript, one line of TAP each. Names are sentences; a test fails by throwing.

/**
 * Runs `tests` ({name: async function}) one after another; the process's exit status tells whether all passed.
 * $DAYBOOK_ONLY, while working on one of them: only those with this in their name.
 */
export async function run(tests) {
  const names = Object.keys(tests).filter(name => name.includes(process.env.DAYBOOK_ONLY ?? ''));
  let failed = 0;
  console.log(`TAP version 13\n1..${names.length}`);
  for (const [index, name] of names.entries()) {
    try {
      await tests[name]();
      console.log(`ok ${index + 1} - ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`not ok ${index + 1} - ${name}`);
      console.log(String(error?.stack ?? error).replace(/^/gm, '# '));
    }
  }
  process.exitCode = failed ? 1 : 0;
}

/** Waits until `condition()` answers something true and returns it; throws after `limit_ms`. */
export async function until(what, condition, limit_ms = 30_000) {
  for (const end = Date.now() + limit_ms; ;) {
    const answer = await condition();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited ${limit_ms} ms in vain: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}
