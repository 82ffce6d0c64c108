// The log of `shim.c`, read: what a process did to the files below a directory and sent on its sockets, in order.
// Bytes that were written stay in the log; what was sent is searched for the names of what it promises.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const WINDOW = 1 << 20;
/** Longer than any name that is searched for, and what surrounds it. */
const SEAM = 120;

/**
 * The environment of a process of which that is written down. Its allocator does without a thread of its own: while it makes
 * one, signals are blocked, and a system call that is to arrive at the shim then would end the process (SIGSYS).
 */
export function watched(shim, root, log) {
  return { LD_PRELOAD: shim, POWERCUT_ROOT: root, POWERCUT_LOG: log, _RJEM_MALLOC_CONF: 'background_thread:false' };
}

export class Trace {
  /** In the order in which it happened. `op` says what; `at` is where the bytes of a write are in the log. */
  records = [];
  /** What has left the process, by name: the number of the first record that has it. */
  promised = new Map();

  /** `promise` finds names in what was sent: its first group is the name. */
  constructor(name, { promise }) {
    this.log = openSync(name, 'r');
    const size = fstatSync(this.log).size;
    const seams = new Map();
    let window = Buffer.alloc(0);
    let start = 0;
    const from = (position, length) => {
      if (position < start || position + length > start + window.length) {
        window = Buffer.alloc(Math.min(Math.max(WINDOW, length), size - position));
        start = position;
        readSync(this.log, window, 0, window.length, position);
      }
      return window.subarray(position - start, Math.min(position - start + length, window.length));
    };
    let position = 0;
    while (position < size) {
      const line = from(position, Math.min(16_384, size - position));
      const end = line.indexOf(10);
      // The process may have been killed while it wrote the last record.
      if (end < 0) break;
      const record = parse(line.toString('utf8', 0, end));
      position += end + 1;
      if (record.op === 'write' || record.op === 'send') {
        record.at = position;
        if (position + record.length + 1 > size) break;
        position += record.length + 1;
      }
      if (record.op === 'send') {
        const text = (seams.get(record.socket) ?? '') + from(record.at, record.length).toString('latin1');
        for (const [, promised] of text.matchAll(promise)) {
          if (!this.promised.has(promised)) this.promised.set(promised, this.records.length);
        }
        seams.set(record.socket, text.slice(-SEAM));
      }
      this.records.push(record);
    }
  }

  bytes(at, length) {
    const bytes = Buffer.allocUnsafe(length);
    if (readSync(this.log, bytes, 0, length, at) !== length) throw new Error('the log has become shorter');
    return bytes;
  }

  close() {
    closeSync(this.log);
  }

  /** The numbers of the records for which `test` holds. */
  where(test) {
    return this.records.flatMap((record, index) => (test(record) ? [index] : []));
  }
}

function parse(line) {
  const [op, ...words] = line.split(' ');
  const n = words.map(Number);
  const rest = (count) => words.slice(count).join(' ');
  switch (op) {
    case 'create':
    case 'mkdir':
    case 'link':
      return { op, file: n[0], name: rest(1) };
    case 'unlink':
    case 'rmdir':
      return { op, name: rest(0) };
    case 'rename': {
      const [name, to] = rest(0).split('\t');
      return { op, name, to };
    }
    case 'write':
      return { op, file: n[0], offset: n[1], length: n[2] };
    case 'truncate':
      return { op, file: n[0], length: n[1] };
    case 'allocate':
      return { op, file: n[0], mode: n[1], offset: n[2], length: n[3] };
    case 'sync':
      return { op, number: n[0], file: n[1] };
    case 'synced':
      return { op, number: n[0] };
    case 'send':
      return { op, socket: n[0], length: n[1] };
    case 'root':
      return { op, file: n[0] };
    case 'mark':
      return { op, text: rest(0) };
    default:
      throw new Error(`the server did something that the model of the disk does not know: ${line.slice(0, 200)}`);
  }
}
