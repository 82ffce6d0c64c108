// Waiting: for a condition, with a deadline, and with a sentence that says what was waited for.
// Nothing in these tests waits for time to pass.

/** A failure text may be a string or a function that makes one when the deadline has passed. */
const textOf = (value) => (typeof value === 'function' ? value() : value);

/**
 * Polls `condition` until it returns something truthy, and returns that.
 * An exception counts as "not yet"; the last one is part of the failure.
 */
export async function until(what, condition, { ms = 5_000, every = 5 } = {}) {
  const deadline = performance.now() + ms;
  let last;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= deadline) {
      throw new Error(`after ${ms} ms still not: ${textOf(what)}${last ? `\nlast error: ${last.stack ?? last}` : ''}`);
    }
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

/** Waits for a promise, but not for ever. */
export async function within(what, promise, ms = 5_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${ms} ms still not: ${textOf(what)}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
