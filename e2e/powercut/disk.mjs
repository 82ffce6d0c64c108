// A disk that forgets: from a trace, what a directory may hold after the power went at some moment.
//
// What an fsync covers is there. Everything else was in memory and may have reached the disk or not: bytes written to a
// file, its length, and, on their own, the names in a directory, which only a sync of that directory covers.

import { closeSync, copyFileSync, ftruncateSync, constants, lstatSync, mkdirSync, openSync, readdirSync, writeSync } from 'node:fs';
import path from 'node:path';

export const PAGE = 4_096;

/** The disk as the processes saw it after the first `until` records, and what of that has been synced. */
export class Disk {
  /** `base` is a directory that the trace began with; `disk` is where that was, for the numbers of its files. */
  constructor(trace, until, { base } = {}) {
    this.trace = trace;
    this.root = { directory: true, changes: [], synced: 0, now: new Map(), before: new Map() };
    this.files = new Map();
    if (base) this.#inherit(this.root, base.files, base.numbers, '');
    // A process that lives on and another that comes may use the same number for a sync; a trace has one at a time.
    const syncing = new Map();
    for (let at = 0; at < until; at += 1) this.#apply(trace.records[at], at, syncing);
  }

  #inherit(node, from, numbers, name) {
    for (const entry of readdirSync(path.join(from, name), { withFileTypes: true })) {
      const below = path.join(name, entry.name);
      const file = entry.isDirectory() ? this.#directory() : { changes: [], synced: 0, origin: path.join(from, below) };
      node.now.set(entry.name, file);
      node.before.set(entry.name, file);
      this.files.set(numbers.get(below), file);
      if (entry.isDirectory()) this.#inherit(file, from, numbers, below);
    }
  }

  #directory() {
    return { directory: true, changes: [], synced: 0, now: new Map(), before: new Map() };
  }

  #parent(name) {
    const steps = name.split('/');
    const last = steps.pop();
    let node = this.root;
    for (const step of steps) node = node.now.get(step);
    return [node, last];
  }

  #apply(record, at, syncing) {
    switch (record.op) {
      case 'root':
        this.files.set(record.file, this.root);
        break;
      case 'create':
      case 'mkdir':
      case 'link': {
        const [parent, name] = this.#parent(record.name);
        const known = record.op === 'link' ? this.files.get(record.file) : undefined;
        const file = known ?? (record.op === 'mkdir' ? this.#directory() : { changes: [], synced: 0 });
        this.files.set(record.file, file);
        parent.now.set(name, file);
        parent.changes.push({ at, put: name, file });
        break;
      }
      case 'unlink':
      case 'rmdir': {
        const [parent, name] = this.#parent(record.name);
        parent.changes.push({ at, remove: name, file: parent.now.get(name) });
        parent.now.delete(name);
        break;
      }
      case 'rename': {
        const [parent, name] = this.#parent(record.name);
        const [other, to] = this.#parent(record.to);
        if (parent !== other) throw new Error(`a move between directories is not modelled: ${record.name} to ${record.to}`);
        const file = parent.now.get(name);
        parent.now.delete(name);
        parent.now.set(to, file);
        parent.changes.push({ at, from: name, put: to, file });
        break;
      }
      case 'write':
      case 'truncate':
      case 'allocate':
        // A number that is not known was given anew to a file elsewhere.
        this.files.get(record.file)?.changes.push({ ...record, bytes: record.at, at });
        break;
      case 'sync':
        syncing.set(record.number, { file: this.files.get(record.file), at });
        break;
      case 'synced': {
        const sync = syncing.get(record.number);
        if (sync?.file) sync.file.synced = Math.max(sync.file.synced, sync.at);
        break;
      }
      default:
        break;
    }
  }

  /**
   * Writes what a power cut leaves into the empty directory `target`. `fate` decides about everything that no sync covers:
   * `name(change)` whether a change of names happened, `data(changes)` which ranges of a file's unsynced changes
   * did: for each change, in order, a list of [from, to), or undefined when it did not happen.
   */
  leave(target, fate) {
    this.#directoryTo(this.root, target, fate);
  }

  #directoryTo(node, target, fate) {
    const names = new Map(node.before);
    for (const change of node.changes) {
      if (change.at >= node.synced && !fate.name(change)) continue;
      const gone = change.remove ?? change.from;
      if (gone !== undefined && names.get(gone) === change.file) names.delete(gone);
      if (change.put !== undefined) names.set(change.put, change.file);
    }
    for (const [name, file] of names) {
      const to = path.join(target, name);
      if (file.directory) {
        mkdirSync(to);
        this.#directoryTo(file, to, fate);
      } else {
        this.#fileTo(file, to, fate);
      }
    }
  }

  #fileTo(file, target, fate) {
    if (file.origin) copyFileSync(file.origin, target, constants.COPYFILE_FICLONE);
    const out = openSync(target, file.origin ? 'r+' : 'w');
    try {
      const open = file.changes.filter(({ at }) => at >= file.synced);
      for (const change of file.changes) if (change.at < file.synced) this.#change(out, change, [[0, change.length]]);
      const fates = open.length ? fate.data(open) : [];
      open.forEach((change, index) => fates[index] && this.#change(out, change, fates[index]));
    } finally {
      closeSync(out);
    }
  }

  #change(out, change, ranges) {
    if (change.op === 'truncate') {
      ftruncateSync(out, change.length);
      return;
    }
    if (change.op === 'allocate') throw new Error('fallocate is not modelled');
    const bytes = this.trace.bytes(change.bytes, change.length);
    for (const [from, to, garbage] of ranges) {
      const part = garbage ? garbage(to - from) : bytes.subarray(from, to);
      writeSync(out, part, 0, part.length, change.offset + from);
    }
  }
}

/** The numbers of all files below a directory, by their names. */
export function numbersBelow(directory, name = '', numbers = new Map()) {
  for (const entry of readdirSync(path.join(directory, name), { withFileTypes: true })) {
    const below = path.join(name, entry.name);
    numbers.set(below, lstatSync(path.join(directory, below)).ino);
    if (entry.isDirectory()) numbersBelow(directory, below, numbers);
  }
  return numbers;
}
