// A trial: pushes to topics that overlap, devices of many kinds that watch what comes, and in the end the question
// whether every accepted push is with everybody it was meant for, in the order of its topic, and in the books.
// What goes wrong meanwhile (kills, a bad network) is the business of whoever runs it.

import { Api, ledgerOf } from './api.mjs';
import { connected } from './clients.mjs';
import { until } from './until.mjs';

/** How far the slowest device may be behind: well within a mailbox, which keeps the newest 1,000 messages. */
const BEHIND_MAX = 400;
const CATCH_UP_MS = 60_000;
const LEDGERS_CHECKED_MAX = 500;

/** What one device has, checked message by message as it comes. */
class Witness {
  constructor(client) {
    this.client = client;
    this.has = new Set();
    this.duplicates = 0;
    this.topics = new Map();
    this.expected = 0;
    /** Pushes that may have been accepted, and whose pusher does not want to know. */
    this.open = new Set();
    this.unanswered = 0;
  }

  see({ id, topic, epoch, offset, data }, violations) {
    const seen = this.topics.get(topic) ?? { newest: 0, newestCounter: -1, idAt: new Map(), epoch };
    this.topics.set(topic, seen);
    if (seen.epoch !== epoch) violations.order.push(`${this.client.name}: ${topic} changed its epoch from ${seen.epoch} to ${epoch} at ${id}`);
    if (this.has.has(id)) {
      this.duplicates += 1;
      if (seen.idAt.get(offset) !== id) violations.order.push(`${this.client.name}: ${id} came again at another position, ${topic}/${offset}`);
      return;
    }
    this.has.add(id);
    if (seen.idAt.has(offset)) violations.order.push(`${this.client.name}: ${topic}/${offset} is ${seen.idAt.get(offset)} and ${id}`);
    if (offset <= seen.newest || data.n <= seen.newestCounter) {
      violations.order.push(`${this.client.name}: ${id} (${topic}/${offset}, n ${data.n}) after ${topic}/${seen.newest}, n ${seen.newestCounter}`);
    }
    seen.idAt.set(offset, id);
    seen.newest = Math.max(seen.newest, offset);
    seen.newestCounter = Math.max(seen.newestCounter, data.n);
  }

  get behind() {
    return this.expected - (this.has.size - this.unanswered);
  }
}

export class Trial {
  violations = { order: [], meant: [], answers: [], lost: [], ledger: [] };
  accepted = [];
  witnesses = [];
  pushing = true;

  /** `devices`: {kind, user, rooms} each; `through`: where they connect, if not to the server itself. */
  static async start(server, devices, { through = server } = {}) {
    const trial = new Trial();
    trial.server = server;
    trial.api = new Api(server);
    trial.witnesses = await Promise.all(
      devices.map(async (how, index) => {
        let witness;
        const onMessage = (message, client) => {
          witness.see(message, trial.violations);
          client.received.length = 0;
        };
        const device = `${how.user}-${index}-${how.kind}`;
        const client = await connected(undefined, through, how.kind, { ...how, device, onMessage });
        return (witness = new Witness(client));
      }),
    );
    const values = (of) => [...new Set(devices.flatMap(of))];
    const meantBy = (test) => trial.witnesses.filter(({ client }) => test(client));
    trial.topics = [
      { name: 'all', to: { all: true }, meant: trial.witnesses },
      ...values(({ user }) => user).map((name) => ({ name: `user:${name}`, to: { users: [name] }, meant: meantBy(({ user }) => user === name) })),
      ...values(({ rooms }) => rooms).map((name) => ({ name: `room:${name}`, to: { rooms: [name] }, meant: meantBy(({ rooms }) => rooms.includes(name)) })),
    ];
    return trial;
  }

  /** How many accepted messages the device furthest behind still lacks. */
  get behind() {
    // What came although its push was never answered does not count as caught up.
    for (const witness of this.witnesses) witness.unanswered = [...witness.open].filter((id) => witness.has.has(id)).length;
    return Math.max(...this.witnesses.map((witness) => witness.behind));
  }

  get delivered() {
    return this.witnesses.reduce((sum, { has }) => sum + has.size, 0);
  }

  get duplicates() {
    return this.witnesses.reduce((sum, witness) => sum + witness.duplicates, 0);
  }

  state() {
    return this.witnesses
      .map(({ client, behind }) => `  ${client.name}: behind ${behind}, ${client.situation}, connections ${client.connects}, the last ended ${JSON.stringify(client.disconnects.slice(-3))}`)
      .join('\n');
  }

  /**
   * Pushes to one topic, one after the other. After a push without an answer, every second pusher asks again with
   * the same id until it knows; the others leave it open and go on. `life()` tells one life of the server from the
   * next, and is undefined while it is down; `pause()` is waited for between two pushes.
   */
  async #pusher(topic, index, life, pause) {
    const asksAgain = index % 2 === 0;
    const { violations } = this;
    for (let n = 0; this.pushing; n += 1) {
      await until('the slowest device catches up', () => !this.pushing || this.behind < BEHIND_MAX, { ms: CATCH_UP_MS });
      await pause?.();
      const push = { to: topic.to, data: { topic: topic.name, n }, id: `${topic.name}-${n}` };
      for (let again = false; this.pushing || again; again = true) {
        await until('the server is up', () => this.server.running && life() !== undefined, { ms: CATCH_UP_MS });
        const before = life();
        const answer = await this.api.call('POST', 'messages', push).catch(() => undefined);
        if (answer?.status === 202) {
          const { duplicate, meant, id } = answer.json;
          if (id !== push.id) violations.answers.push(`${push.id} was answered as ${id}`);
          if (duplicate && !again) violations.answers.push(`${push.id} is new and was answered as a duplicate`);
          if (meant.devices !== topic.meant.length) violations.meant.push(`${push.id} is meant for ${meant.devices} devices instead of ${topic.meant.length}`);
          this.accepted.push({ id, meant: topic.meant });
          for (const witness of topic.meant) witness.expected += 1;
          break;
        }
        if (!answer && before === life()) violations.answers.push(`${push.id} got no answer although the server lived`);
        if (answer && answer.status !== 503) violations.answers.push(`${push.id} was answered ${answer.status} ${answer.text.slice(0, 300)}`);
        if (!asksAgain) {
          // It may have been accepted or not; if it comes, it counts for nobody.
          for (const witness of topic.meant) witness.open.add(push.id);
          break;
        }
        if (!this.pushing && !this.server.running) break;
      }
    }
  }

  /** Pushes to all topics, while `meanwhile(failed)` goes on; `failed` is rejected when a pusher is. Answers what it failed with. */
  async push(meanwhile, { life = () => 0, pause } = {}) {
    const pushers = this.topics.map((topic, index) => this.#pusher(topic, index, life, pause));
    const failed = Promise.race(pushers.map((each) => each.then(() => new Promise(() => {}))));
    failed.catch(() => {});
    let failure;
    try {
      await meanwhile(failed);
    } catch (error) {
      failure = error;
    }
    this.pushing = false;
    await Promise.allSettled(pushers);
    return failure;
  }

  /** Accepted pushes that a meant device does not have. */
  #missing() {
    return this.accepted.flatMap(({ id, meant }) => meant.filter(({ has }) => !has.has(id)).map(({ client }) => `${client.name} has not got ${id}`));
  }

  /** Waits until everybody has everything, and looks into the books. */
  async settle() {
    const { violations, accepted } = this;
    await until('every device has everything', () => this.#missing().length === 0, { ms: CATCH_UP_MS, every: 100 }).catch(() => {});
    violations.lost = this.#missing();

    // The ledger, of a sample: it adds up always, and in the end all who were meant have acknowledged.
    const every = Math.max(1, Math.ceil(accepted.length / LEDGERS_CHECKED_MAX));
    for (const { id, meant } of accepted.filter((_, index) => index % every === 0)) {
      let ledger;
      await until(
        `the ledger of ${id} shows ${meant.length} of ${meant.length} acknowledged`,
        async () => {
          ledger = ledgerOf(await this.api.report(id));
          return ledger.meant === meant.length && ledger.acked === meant.length && ledger.waiting === 0;
        },
        { ms: violations.ledger.length > 3 ? 200 : 5_000, every: 20 },
      ).catch(async (error) => {
        const waiting = (await this.api.receipts(id, 'waiting')).map(({ device }) => device);
        violations.ledger.push(`${error.message}; waiting: ${waiting.join(', ')}; ${JSON.stringify(ledger)}`);
      });
    }
  }

  /** Says how it ended, ends everything, and answers whether something was wrong. */
  async end(head, failure) {
    const { violations } = this;
    for (const { client } of this.witnesses) violations.answers.push(...client.problems.map((problem) => `${client.name}: ${JSON.stringify(problem)}`));
    for (const [kind, texts] of Object.entries(violations)) {
      for (const text of texts.slice(0, 10)) console.error(`${kind}: ${text}`);
      if (texts.length > 10) console.error(`${kind}: and ${texts.length - 10} more`);
    }
    if (failure) console.error(failure);
    const bad = Boolean(failure) || Object.values(violations).some((texts) => texts.length > 0);
    if (bad) console.error(`${this.state()}\n${this.server.tail()}`);
    const delivered = this.accepted.reduce((sum, { id, meant }) => sum + meant.filter(({ has }) => has.has(id)).length, 0);
    console.log(
      `${head}, accepted ${this.accepted.length}, delivered ${delivered}, duplicates ${this.duplicates}, lost ${violations.lost.length}, ` +
        `out of order ${violations.order.length}, ledgers wrong ${violations.ledger.length}, other ${violations.meant.length + violations.answers.length}: ${bad ? 'FAILED' : 'passed'}`,
    );
    await Promise.allSettled(this.witnesses.map(({ client }) => client.close()));
    await this.server.dispose().catch((error) => {
      console.error(error);
      process.exitCode = 1;
    });
    return bad || Boolean(process.exitCode);
  }
}
