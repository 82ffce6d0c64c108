// A store's life with a lot going on, while everything that reaches its files is written down: a first start, a start with
// much to keep, a kill, a start that finds what the kill left, orderly stops.

import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { Api, describe } from '../lib/api.mjs';
import { connected } from '../lib/clients.mjs';
import { Server } from '../lib/server.mjs';
import { seeded } from '../lib/seeded.mjs';
import { watched } from './trace.mjs';

export const ADMIN_KEY = 'tk_0123456789abcdef';
/** Where the store is on the disk that forgets: deep, so that the directories above it have to be kept, too. */
export const STORE = 'var/lib/tidings';
/** A namespace that is filled and cleared, again and again; messages of one filling. */
export const SHELF = 'shelf';
export const SHELF_MESSAGES = 8;
/** Names that begin like this are promises once they leave the process. */
export const PROMISE = /"(?:id|name)":"(p-[^"]+)"/g;

/** Enough for the journal to be rotated (64 MB) and for tables to be merged. */
const LARGE_BYTES = 60_000;
const LARGE_TOTAL = 84_000_000;
/** A device that is away has fewer of them than a mailbox holds. */
const LARGE_FOR_DEVICE = 60;
/** Names as long as they may be fill the memtables of devices (512 KiB) soonest. */
const GUESTS = 700;
const GUEST_NAME_BYTES = 230;
const SYNC_US = 3_000;

export const WITNESSES = [
  { device: 'ann-1', user: 'ann', rooms: ['red'], ackOf: () => true },
  { device: 'ann-2', user: 'ann', rooms: ['red', 'blue'], ackOf: () => false },
  { device: 'bob-1', user: 'bob', rooms: ['blue'], ackOf: (n) => n % 3 === 0 },
  { device: 'cat-1', user: 'cat', rooms: ['blue'], away: true, ackOf: () => false },
  { device: 'zoe-1', user: 'zoe', rooms: [], away: true, ackOf: () => false },
];
const TARGETS = [
  { topic: 'all', to: { all: true }, meant: () => true },
  ...['ann', 'bob', 'cat'].map((user) => ({ topic: `user:${user}`, to: { users: [user] }, meant: (it) => it.user === user })),
  ...['red', 'blue'].map((room) => ({ topic: `room:${room}`, to: { rooms: [room] }, meant: (it) => it.rooms.includes(room) })),
];
const NOBODY = { topic: 'room:attic', to: { rooms: ['attic'] }, meant: () => false };
const ZOE = { topic: 'user:zoe', to: { users: ['zoe'] }, meant: (it) => it.user === 'zoe' };

const NOISE = (() => {
  const random = seeded(1);
  return Array.from({ length: 16_384 }, () => Math.floor(random() * 2 ** 32).toString(16).padStart(8, '0')).join('');
})();

/** The characters that a push carries besides its number. */
export function padding(n, length) {
  return NOISE.slice(n % 8_192, (n % 8_192) + length);
}

export class Load {
  /** What was pushed, by id: its number, size, topic, and the witnesses that are meant. */
  pushes = new Map();
  /** Where each message was when a witness saw it: id → topic/offset. */
  positions = new Map();
  #n = 0;
  #round = 0;

  constructor(directory, { shim, scale = 1 }) {
    Object.assign(this, { directory, scale });
    this.disk = path.join(directory, 'disk');
    this.log = path.join(directory, 'log');
    mkdirSync(this.disk, { recursive: true });
    writeFileSync(this.log, '');
    const env = { ...watched(shim, this.disk, this.log), POWERCUT_SYNC_US: String(SYNC_US), TIDINGS_ADMIN_KEY: ADMIN_KEY };
    this.server = new Server({ store: path.join(this.disk, STORE), adminKey: ADMIN_KEY, env });
    this.api = new Api(this.server);
  }

  mark(text) {
    appendFileSync(this.log, `mark ${text}\n`);
  }

  get said() {
    return { pushes: this.pushes, positions: this.positions };
  }

  /** A store whose first process is killed at a record of its beginning, and whose second makes promises. */
  async birth(endAt) {
    this.server.env.POWERCUT_END_AT = String(endAt);
    await this.server.start().catch(() => {});
    await this.server.kill9();
    delete this.server.env.POWERCUT_END_AT;
    await this.#life('first', async () => {
      await this.#small(12, 3);
    });
    await this.server.kill9();
    await this.#leave();
  }

  /** Three lives of a store: a beginning, one with much to keep that ends by a kill, and one after it. */
  async record() {
    await this.#life('first', async () => {
      for (const name of ['p-first', SHELF]) await this.#insist('POST', '/v1/namespaces', { name, auth: { mode: 'open' } }, 201);
      await Promise.all([this.#small(60, 4), this.#comeAndGo(2)]);
    });
    await this.#stop();
    await this.#life('much', async () => {
      await Promise.all([this.#small(240 * this.scale, 8), this.#batches(12 * this.scale), this.#large(), this.#guests(), this.#comeAndGo(8)]);
      await this.#insist('POST', '/v1/namespaces', { name: 'p-second', auth: { mode: 'open' } }, 201);
      // Until the tables have been written that this much fills.
      await this.#small(60 * this.scale, 2);
    });
    await this.server.kill9();
    await this.#leave();
    await this.#life('again', async () => {
      await Promise.all([this.#small(120 * this.scale, 6), this.#comeAndGo(3)]);
    });
    await this.#stop();
  }

  async #life(name, during) {
    this.mark(`starting ${name}`);
    this.server.port = 0;
    await this.server.start();
    this.mark(`ready ${name}`);
    const clients = await Promise.all(WITNESSES.filter((it) => !it.away || name === 'first').map((it) => this.#witness(it)));
    for (const client of clients.filter(({ witness }) => witness.away)) await client.close();
    await during();
    const problems = clients.flatMap((client) => client.problems);
    if (problems.length) throw new Error(JSON.stringify(problems));
    this.clients = clients.filter(({ witness }) => !witness.away);
  }

  async #stop() {
    this.mark('stopping');
    await this.server.stop();
    this.mark('stopped');
    await this.#leave();
  }

  async #leave() {
    await Promise.all(this.clients.map((client) => client.close()));
  }

  #witness(witness) {
    let count = 0;
    const onMessage = ({ id, topic, offset }, client) => {
      this.positions.set(id, `${topic}/${offset}`);
      count += 1;
      if (!witness.ackOf(count)) return;
      // Said before it is done: from here on it may be that the device is not owed the message any more.
      this.mark(`ack ${witness.device} ${id}`);
      client.ack([id]).catch(() => {});
    };
    const { device, user, rooms } = witness;
    return connected(undefined, this.server, 'ws', { device, user, rooms, ackBy: 'none', onMessage }).then((client) => Object.assign(client, { witness }));
  }

  async #insist(method, where, body, status) {
    const answer = await this.api.call(method, where, body, { signal: AbortSignal.timeout(60_000) });
    if (answer.status !== status) throw new Error(`${describe(answer)}\n${this.server.tail()}`);
    return answer.json;
  }

  #push({ topic, to, meant }, { bytes = 0, memory = false } = {}) {
    const n = (this.#n += 1);
    const id = `${memory ? 'm' : 'p'}-${n}`;
    this.pushes.set(id, { n, bytes, topic, meant: WITNESSES.filter(meant).map(({ device }) => device) });
    return { to, id, data: { n, pad: padding(n, bytes) }, ...(memory ? { durability: 'memory' } : {}) };
  }

  async #workers(count, of, work) {
    let left = of;
    const worker = async () => {
      while (left > 0) {
        left -= 1;
        await work(left);
      }
    };
    await Promise.all(Array.from({ length: count }, worker));
  }

  #small(count, workers) {
    return this.#workers(workers, count, (left) =>
      this.#insist('POST', 'messages', this.#push(TARGETS[left % TARGETS.length], { memory: left % 9 === 4, bytes: left % 5 === 0 ? 700 : 0 }), 202),
    );
  }

  #batches(count) {
    return this.#workers(2, count, async (left) => {
      const messages = Array.from({ length: 40 }, (_, index) => this.#push(index % 4 ? NOBODY : TARGETS[(left + index) % TARGETS.length]));
      const { results } = await this.#insist('POST', 'messages:batch', { messages }, 200);
      for (const result of results) if (result.error) throw new Error(JSON.stringify(result));
    });
  }

  #large() {
    let forZoe = LARGE_FOR_DEVICE;
    return this.#workers(4, Math.ceil(LARGE_TOTAL / LARGE_BYTES), (left) => {
      const target = left % 12 === 0 && forZoe-- > 0 ? ZOE : NOBODY;
      return this.#insist('POST', 'messages', this.#push(target, { bytes: LARGE_BYTES }), 202);
    });
  }

  /** What is cleared, and what is removed: said before it is asked for, and once it has been answered. */
  async #comeAndGo(rounds) {
    for (let left = rounds; left > 0; left -= 1) {
      const round = (this.#round += 1);
      for (let k = 0; k < SHELF_MESSAGES; k += 1) await this.#insist('POST', `/v1/namespaces/${SHELF}/messages`, { to: { users: ['sue'] }, id: `${round}-${k}`, data: k }, 202);
      this.mark(`full ${round}`);
      const name = `gone-${round}`;
      await this.#insist('POST', '/v1/namespaces', { name, auth: { mode: 'open' } }, 201);
      await this.#insist('POST', `/v1/namespaces/${name}/messages`, { to: { all: true }, data: round }, 202);
      this.mark(`clearing ${round}`);
      await this.#insist('POST', `/v1/namespaces/${SHELF}:clear`, undefined, 200);
      this.mark(`cleared ${round}`);
      const { status } = await this.api.call('DELETE', `/v1/namespaces/${name}`);
      if (status !== 204 && status !== 202) throw new Error(`DELETE ${name}: ${status}`);
      this.mark(`removed ${round}`);
    }
  }

  /** Devices that come once. */
  #guests() {
    return this.#workers(4, GUESTS, async (left) => {
      const long = `guest-${left}-`.padEnd(GUEST_NAME_BYTES, 'x');
      const client = await connected(undefined, this.server, 'ws', { device: long, user: long, ackBy: 'none' });
      await client.close();
    });
  }
}
