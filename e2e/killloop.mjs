// kill -9 in a loop, during pushes, on one store. Every push that was answered with 2xx must reach every device
// that was meant, in the order of its topic, however often the server dies.
//
//   node killloop.mjs [--rounds 50] [--seconds N] [--seed N]
//
// With --seconds it goes on for that long, however many rounds these are (at most --rounds, when that is given too).

import { parseArgs } from 'node:util';

import { Api, ledgerOf } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const { values } = parseArgs({ options: { rounds: { type: 'string' }, seconds: { type: 'string' }, seed: { type: 'string' } } });
const SECONDS = values.seconds === undefined ? undefined : Number(values.seconds);
const ROUNDS = values.rounds === undefined ? (SECONDS === undefined ? 50 : Infinity) : Number(values.rounds);
const SEED = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
if (![SECONDS ?? 0, SEED].every(Number.isFinite) || Number.isNaN(ROUNDS)) throw new Error('--rounds, --seconds and --seed are numbers');

/** How far the slowest device may be behind: well within a mailbox, which keeps the newest 1,000 messages. */
const BEHIND_MAX = 400;
/** The most pushes between two kills, the longest wait for them, and the longest catch-up at the end. */
const PUSHES_PER_ROUND_MAX = 150;
const ROUND_MS = 30_000;
const CATCH_UP_MS = 60_000;
/** A server that was killed while it started is killed this long after its start at most. */
const EARLY_KILL_MS = 150;
const LEDGERS_CHECKED_MAX = 500;

function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
const random = mulberry32(SEED);
const upTo = (n) => Math.floor(random() * n);

/** What one device has, checked message by message as it comes. */
class Witness {
  constructor(client) {
    this.client = client;
    this.has = new Set();
    this.duplicates = 0;
    this.topics = new Map();
    this.expected = 0;
    this.matched = 0;
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
}

// Engine.IO clients that lose the server in the middle of an upgrade notice by the missing heartbeat only.
const server = await Server.start(undefined, { restartable: true, args: ['--ping-interval', '2s', '--ping-timeout', '2s'] });
const api = new Api(server);
const violations = { order: [], meant: [], answers: [], lost: [], ledger: [] };

const DEVICES = [
  { kind: 'ws', user: 'ann', rooms: ['red'] },
  { kind: 'sio4-ws', user: 'ann', rooms: ['red', 'blue'] },
  { kind: 'sse', user: 'ann', rooms: ['blue'] },
  { kind: 'ws', user: 'bob', rooms: ['blue'] },
  { kind: 'sio4-upgrade', user: 'bob', rooms: ['red'] },
  { kind: 'sio2-ws', user: 'bob', rooms: ['red', 'blue'] },
];
const witnesses = await Promise.all(
  DEVICES.map(async (how, index) => {
    let witness;
    const onMessage = (message, client) => {
      witness.see(message, violations);
      client.received.length = 0;
    };
    const client = await connected(undefined, server, how.kind, { ...how, device: `${how.user}-${index}-${how.kind}`, onMessage });
    return (witness = new Witness(client));
  }),
);
const meantBy = (test) => witnesses.filter(({ client }) => test(client));
const TOPICS = [
  { name: 'all', to: { all: true }, meant: witnesses },
  { name: 'user:ann', to: { users: ['ann'] }, meant: meantBy(({ user }) => user === 'ann') },
  { name: 'user:bob', to: { users: ['bob'] }, meant: meantBy(({ user }) => user === 'bob') },
  { name: 'room:red', to: { rooms: ['red'] }, meant: meantBy(({ rooms }) => rooms.includes('red')) },
  { name: 'room:blue', to: { rooms: ['blue'] }, meant: meantBy(({ rooms }) => rooms.includes('blue')) },
];

const accepted = [];
let pushing = true;
/** When the server became ready in its present life; undefined while it is down. */
let upSince = performance.now();

const behindOf = ({ expected, has, unanswered = 0 }) => expected - (has.size - unanswered);
/** How many accepted messages the device furthest behind still lacks. */
const behind = () => Math.max(...witnesses.map(behindOf));
const state = () =>
  witnesses
    .map((witness) => `  ${witness.client.name}: behind ${behindOf(witness)}, ${witness.client.situation}, connections ${witness.client.connects}, the last ended ${JSON.stringify(witness.client.disconnects.slice(-3))}`)
    .join('\n');
const stopped = () => !pushing;

/**
 * Pushes to one topic, one after the other. After a push without an answer, every second pusher asks again with
 * the same id until it knows; the others leave it open and go on.
 */
async function pusher(topic, index) {
  const asksAgain = index % 2 === 0;
  for (let n = 0; pushing; n += 1) {
    await until('the slowest device catches up', () => stopped() || behind() < BEHIND_MAX, { ms: CATCH_UP_MS });
    const push = { to: topic.to, data: { topic: topic.name, n }, id: `${topic.name}-${n}` };
    for (let again = false; pushing || again; again = true) {
      await until('the server is up', () => server.running && upSince !== undefined, { ms: CATCH_UP_MS });
      const life = upSince;
      const answer = await api.call('POST', 'messages', push).catch(() => undefined);
      if (answer?.status === 202) {
        const { duplicate, meant, id } = answer.json;
        if (id !== push.id) violations.answers.push(`${push.id} was answered as ${id}`);
        if (duplicate && !again) violations.answers.push(`${push.id} is new and was answered as a duplicate`);
        if (meant.devices !== topic.meant.length) violations.meant.push(`${push.id} is meant for ${meant.devices} devices instead of ${topic.meant.length}`);
        accepted.push({ id, meant: topic.meant });
        for (const witness of topic.meant) witness.expected += 1;
        break;
      }
      if (!answer && life === upSince) violations.answers.push(`${push.id} got no answer although the server lived`);
      if (answer && answer.status !== 503) violations.answers.push(`${push.id} was answered ${answer.status} ${answer.text.slice(0, 300)}`);
      if (!asksAgain) {
        // It may have been accepted or not; if it comes, it counts for nobody.
        for (const witness of topic.meant) witness.open = (witness.open ?? new Set()).add(push.id);
        break;
      }
      if (!pushing && !server.running) break;
    }
  }
}

/** What came although its push was never answered does not count as caught up. */
function recount() {
  for (const witness of witnesses) witness.unanswered = [...(witness.open ?? [])].filter((id) => witness.has.has(id)).length;
}

const began = performance.now();
const running = () => SECONDS === undefined || performance.now() - began < SECONDS * 1_000;
console.log(`kill loop: ${Number.isFinite(ROUNDS) ? `${ROUNDS} rounds` : `${SECONDS} s`}, ${TOPICS.length} topics, ${witnesses.length} devices, seed ${SEED}`);

const pushers = TOPICS.map(pusher);
const failed = Promise.race(pushers.map((each) => each.then(() => new Promise(() => {}))));
failed.catch(() => {});
let rounds = 0;
let failure;
try {
  while (rounds < ROUNDS && running()) {
    const from = accepted.length;
    const enough = 1 + upTo(PUSHES_PER_ROUND_MAX);
    await Promise.race([
      failed,
      until(() => `${enough} pushes are accepted in round ${rounds + 1}\n${state()}\n${server.tail()}`, () => (recount(), accepted.length - from >= enough), { ms: ROUND_MS, every: 1 }),
    ]);
    upSince = undefined;
    await server.kill9();
    let early = 0;
    // Now and then it dies again while it is still reading what the last life left.
    while (random() < 0.2) {
      server.spawn();
      await new Promise((resolve) => setTimeout(resolve, upTo(EARLY_KILL_MS)));
      await server.kill9();
      early += 1;
    }
    const down = performance.now();
    await server.start();
    upSince = performance.now();
    rounds += 1;
    recount();
    const delivered = witnesses.reduce((sum, { has }) => sum + has.size, 0);
    const duplicates = witnesses.reduce((sum, witness) => sum + witness.duplicates, 0);
    console.log(
      `round ${rounds}${Number.isFinite(ROUNDS) ? `/${ROUNDS}` : ''}: accepted ${accepted.length} (+${accepted.length - from}), delivered ${delivered}, ` +
        `duplicates ${duplicates}, behind ${behind()}, up again in ${Math.round(upSince - down)} ms${early ? ` after ${early} more kills during start` : ''}`,
    );
  }
} catch (error) {
  failure = error;
}
pushing = false;
await Promise.allSettled(pushers);

/** Accepted pushes that a meant device does not have. */
function missing() {
  return accepted.flatMap(({ id, meant }) => meant.filter(({ has }) => !has.has(id)).map(({ client }) => `${client.name} has not got ${id}`));
}
if (!failure) {
  await until('every device has everything', () => missing().length === 0, { ms: CATCH_UP_MS, every: 100 }).catch(() => {});
  violations.lost = missing();

  // The ledger, of a sample: it adds up always, and in the end all who were meant have acknowledged.
  const every = Math.max(1, Math.ceil(accepted.length / LEDGERS_CHECKED_MAX));
  for (const { id, meant } of accepted.filter((_, index) => index % every === 0)) {
    let ledger;
    await until(
      `the ledger of ${id} shows ${meant.length} of ${meant.length} acknowledged`,
      async () => {
        ledger = ledgerOf(await api.report(id));
        return ledger.meant === meant.length && ledger.acked === meant.length && ledger.waiting === 0;
      },
      { ms: violations.ledger.length > 3 ? 200 : 5_000, every: 20 },
    ).catch(async (error) => {
      const waiting = (await api.receipts(id, 'waiting')).map(({ device }) => device);
      violations.ledger.push(`${error.message}; waiting: ${waiting.join(', ')}; ${JSON.stringify(ledger)}`);
    });
  }
}
for (const { client } of witnesses) violations.answers.push(...client.problems.map((problem) => `${client.name}: ${JSON.stringify(problem)}`));

const delivered = accepted.reduce((sum, { id, meant }) => sum + meant.filter(({ has }) => has.has(id)).length, 0);
const duplicates = witnesses.reduce((sum, witness) => sum + witness.duplicates, 0);
for (const [kind, texts] of Object.entries(violations)) {
  for (const text of texts.slice(0, 10)) console.error(`${kind}: ${text}`);
  if (texts.length > 10) console.error(`${kind}: and ${texts.length - 10} more`);
}
if (failure) console.error(failure);
const bad = Boolean(failure) || Object.values(violations).some((texts) => texts.length > 0);
if (bad) console.error(server.tail());
console.log(
  `rounds ${rounds}, accepted ${accepted.length}, delivered ${delivered}, duplicates ${duplicates}, lost ${violations.lost.length}, ` +
    `out of order ${violations.order.length}, ledgers wrong ${violations.ledger.length}, other ${violations.meant.length + violations.answers.length}: ${bad ? 'FAILED' : 'passed'}`,
);
await Promise.allSettled(witnesses.map(({ client }) => client.close()));
await server.dispose().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
process.exit(bad ? 1 : process.exitCode ?? 0);
