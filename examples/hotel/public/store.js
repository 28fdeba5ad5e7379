// store.js: what the page is looking at, in one place; whoever shows a part of it listens for that part.

/** A store of named values: `state` is read freely and changed by `set` alone. */
export function makeStore(state) {
  const ears = [];
  return {
    state,
    /** Changes some values and tells, once each, the listeners of those that differ. */
    set(changes) {
      const changed = Object.keys(changes).filter(name => state[name] !== changes[name]);
      Object.assign(state, changes);
      for (const {names, ear} of ears) if (names.some(name => changed.includes(name))) ear(state);
    },
    /** Calls `ear(state)` whenever one of `names` (space-separated) changes. */
    on(names, ear) {
      ears.push({names: names.split(' '), ear});
    },
  };
}

/** A value this browser remembers; a browser that remembers nothing gets `otherwise`. */
export function recall(name, otherwise) {
  try {
    return localStorage.getItem(`daybook.${name}`) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`daybook.${name}`, value);
  } catch {
    /* private mode: it lasts as long as the page */
  }
}
