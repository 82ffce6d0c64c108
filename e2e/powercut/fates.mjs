// What may become of that which no fsync covers. Each fate is drawn from a seed, and the same seed draws the same.

import { PAGE } from './disk.mjs';

const whole = (changes) => changes.map(({ length }) => [[0, length]]);
const none = () => [];

/** The pages of a write that are on the disk, each on its own. */
function pages({ op, offset, length }, random, share) {
  if (op !== 'write') return random() < share ? [[0, length]] : undefined;
  const ranges = [];
  for (let from = 0; from < length; ) {
    const to = Math.min(length, from + PAGE - ((offset + from) % PAGE));
    if (random() < share) ranges.push([from, to]);
    from = to;
  }
  return ranges;
}

/** The newest write got to some byte; behind it, there is nothing, or zeros, or what was on the disk before. */
function torn(changes, random) {
  const fates = whole(changes);
  const last = changes.findLastIndex(({ op }) => op === 'write');
  if (last < 0) return fates;
  const { length } = changes[last];
  const until = Math.floor(random() * (length + 1));
  const kind = Math.floor(random() * 3);
  const rest = (bytes) => (kind === 1 ? Buffer.alloc(bytes) : Buffer.from(Array.from({ length: bytes }, () => Math.floor(random() * 256))));
  fates[last] = kind === 0 || until === length ? [[0, until]] : [[0, until], [until, length, rest]];
  return fates;
}

const share = (random) => [0.1, 0.5, 0.9][Math.floor(random() * 3)];

/** By name: what the cut does, given random numbers and the number of records before it. */
export const FATES = {
  /** Nothing that was not synced. */
  nothing: () => ({ name: () => false, data: none }),
  /** All of it: as if only the process had died. */
  everything: () => ({ name: () => true, data: whole }),
  /** Names, and files without what was written to them. */
  names: () => ({ name: () => true, data: none }),
  /** What was written, and no names. */
  data: () => ({ name: () => false, data: whole }),
  /** A file system with a journal: names change in order, up to a moment; pages as it happens. */
  journalled: (random, until) => {
    const moment = until - Math.floor(random() ** 3 * until);
    const part = share(random);
    return { name: ({ at }) => at < moment, data: (changes) => changes.map((change) => pages(change, random, part)) };
  },
  /** Each name and each page on its own. */
  scattered: (random) => {
    const part = share(random);
    return { name: () => random() < part, data: (changes) => changes.map((change) => pages(change, random, part)) };
  },
  /** Everything, except that the last write to a file was under way. */
  torn: (random) => ({ name: () => true, data: (changes) => torn(changes, random) }),
};
