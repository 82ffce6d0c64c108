// One power cut: where in a trace, what it spares, and a server that is started on the rest.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { check, owedAfter } from './check.mjs';
import { Disk, numbersBelow } from './disk.mjs';
import { seeded } from '../lib/seeded.mjs';
import { FATES } from './fates.mjs';
import { Load, PROMISE } from './load.mjs';
import { Trace, watched } from './trace.mjs';

/** One in so many servers that come back loses its power, too. */
const AGAIN_EVERY = 6;
/** One in so many cuts is of a store of its own, whose first process was killed while it began. */
const BIRTH_EVERY = 12;
/** Records behind such a mark in which it may be done. */
const AFTER_MARK = 60;
const NAMES = ['create', 'mkdir', 'unlink', 'rmdir', 'rename', 'link'];
const FATE_NAMES = Object.keys(FATES);

export class Cuts {
  #places;

  /** `work` is a directory for what is needed for a while. */
  constructor({ trace, said, shim, seed, work }) {
    Object.assign(this, { trace, said, shim, seed, work });
    this.#places = places(trace);
    this.beginning = trace.records.findIndex(({ op, name }) => op === 'unlink' && name.endsWith('/BEGINNING')) - trace.where(({ op }, at) => op === 'mark' && at < 2).length;
  }

  /** The cut of this number, which with the seed decides everything about it: what it was, and what is wrong after it. */
  async make(number, target) {
    const random = seeded(this.seed * 7_919 + number);
    random();
    const fate = FATE_NAMES[number % FATE_NAMES.length];
    const options = { random, orderly: number % 5 === 0 };
    if (number % BIRTH_EVERY === BIRTH_EVERY - 1) return this.#birth(fate, target, options);
    const until = this.#choose(random);
    const { leave, owed, what } = this.#one(this.trace, this.said, until, fate, random);
    leave(target);
    if (number % AGAIN_EVERY) return { what, wrong: await check(target, owed, this.said, options) };
    return this.#again(target, leave, owed, what, options);
  }

  #choose(random) {
    let drawn = random() * 100;
    const from = this.#places.find(({ share }) => (drawn -= share) < 0).at;
    return Math.min(from[Math.floor(random() * from.length)], this.trace.records.length);
  }

  #one(trace, said, until, fate, random) {
    const model = new Disk(trace, until);
    const drawn = random() * 2 ** 32;
    const leave = (to) => {
      mkdirSync(to, { recursive: true });
      model.leave(to, FATES[fate](seeded(drawn), until));
    };
    const owed = owedAfter(trace, until, said);
    return { leave, owed, what: `after record ${until} (${fate}), ${owed.messages.length} messages owed` };
  }

  /** The server that comes back is watched, and the power goes away once more while it looks at what is there, or later. */
  async #again(target, leave, owed, what, options) {
    const { random } = options;
    const [untouched, log, second] = ['before', 'log', 'again'].map((name) => `${target}-${name}`);
    leave(untouched);
    const numbers = numbersBelow(target);
    writeFileSync(log, '');
    const env = watched(this.shim, target, log);
    const wrong = await check(target, owed, this.said, { ...options, env });
    const trace = new Trace(log, { promise: PROMISE });
    try {
      if (wrong.length) return { what, wrong };
      const early = trace.where(({ op }) => op === 'send')[0] ?? trace.records.length;
      const until = Math.floor(random() * (random() < 0.7 ? early : trace.records.length));
      const fate = FATE_NAMES[Math.floor(random() * FATE_NAMES.length)];
      mkdirSync(second);
      new Disk(trace, until, { base: { files: untouched, numbers } }).leave(second, FATES[fate](random, until));
      return { what: `${what}, and once more after record ${until} (${fate})`, wrong: await check(second, owed, this.said, options) };
    } finally {
      trace.close();
      for (const name of [untouched, log, second]) rmSync(name, { recursive: true, force: true });
    }
  }

  async #birth(fate, target, options) {
    const { random } = options;
    const end = random() < 0.6 ? this.beginning - 4 + Math.floor(random() * 8) : 1 + Math.floor(random() * this.beginning);
    const directory = `${target}-birth`;
    const load = new Load(directory, { shim: this.shim });
    await load.birth(end);
    const trace = new Trace(load.log, { promise: PROMISE });
    try {
      const moments = random() < 0.6 ? [trace.records.length] : [...trace.promised.values()].map((at) => at + 1);
      const { leave, owed, what } = this.#one(trace, load.said, moments[Math.floor(random() * moments.length)], fate, random);
      leave(target);
      return { what: `of a store whose beginning was killed at record ${end}, ${what}`, wrong: await check(target, owed, load.said, options) };
    } finally {
      trace.close();
      rmSync(directory, { recursive: true, force: true });
    }
  }
}

/** Where cuts are interesting, and how many of a hundred are made there. */
function places(trace) {
  const mark = (text) => trace.where((record) => record.op === 'mark' && record.text.startsWith(text))[0];
  const marks = (text) => trace.where((record) => record.op === 'mark' && record.text.startsWith(`${text} `));
  const between = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);
  const names = trace.where(({ op }) => NAMES.includes(op));
  const synced = trace.where(({ op }) => op === 'synced');
  return [
    { share: 20, at: [...trace.promised.values()].map((at) => at + 1) },
    // While something is cleared, and while something is removed.
    { share: 10, at: ['clearing', 'cleared'].flatMap((what) => marks(what).flatMap((at) => between(at, Math.min(at + AFTER_MARK, trace.records.length)))) },
    { share: 25, at: names.flatMap((at) => [at, at + 1, at + 2]) },
    { share: 10, at: synced },
    { share: 5, at: synced.map((at) => at + 1) },
    { share: 12, at: between(0, mark('ready first')) },
    { share: 6, at: between(mark('stopping'), mark('stopped')) },
    { share: 6, at: between(mark('starting again'), mark('ready again')) },
    { share: 6, at: between(0, trace.records.length + 1) },
  ];
}
