// Clients that others wrote, behind a bad network: connections are delayed, stick, are cut, go dead in one direction or
// in both. Every push that was accepted must reach every device that was meant, in the order of its topic.
//
//   node badnetwork.mjs [--seconds 30] [--rate 40] [--seed N]
//
// --rate: pushes a second, over all topics.

import { parseArgs } from 'node:util';

import { BadNetwork } from './lib/badnetwork.mjs';
import { KINDS } from './lib/clients.mjs';
import { seeded } from './lib/seeded.mjs';
import { Server } from './lib/server.mjs';
import { Trial } from './lib/trial.mjs';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '30' }, rate: { type: 'string', default: '40' }, seed: { type: 'string' } } });
const [SECONDS, RATE, SEED] = [values.seconds, values.rate, values.seed ?? Math.floor(Math.random() * 2 ** 31)].map(Number);
if (![SECONDS, RATE, SEED].every(Number.isFinite)) throw new Error('--seconds, --rate and --seed are numbers');
const SAY_EVERY_MS = 10_000;

const server = await Server.start(undefined, { args: ['--ping-interval', '1s', '--ping-timeout', '1s'] });
// The network has random numbers of its own: what happens on it does not hang on who pushes when.
const network = await BadNetwork.before(server.port, seeded(SEED));
const through = {
  url: `http://127.0.0.1:${network.port}`,
  wsUrl: `ws://127.0.0.1:${network.port}`,
  tail: () => server.tail(),
  get running() {
    return server.running;
  },
};
// They come through it while it is still good.
network.bad = false;
const rooms = [['red'], ['red', 'blue'], ['blue']];
const devices = Object.keys(KINDS).map((kind, index) => ({ kind, user: ['ann', 'bob', 'eve'][index % 3], rooms: rooms[index % 3], suspicious: true }));
const trial = await Trial.start(server, devices, { through });
network.heal();
network.bad = true;
console.log(`bad network: ${SECONDS} s, ${RATE} pushes/s, ${trial.topics.length} topics, ${trial.witnesses.length} devices, seed ${SEED}`);

const fates = () => Object.entries(network.fates).map(([fate, count]) => `${fate} ${count}`).join(', ');
const began = performance.now();
const elapsed = () => Math.round((performance.now() - began) / 1_000);
async function goOn(failed) {
  while (performance.now() - began < SECONDS * 1_000) {
    const left = SECONDS * 1_000 - (performance.now() - began);
    await Promise.race([failed, new Promise((resolve) => setTimeout(resolve, Math.min(SAY_EVERY_MS, left)))]);
    console.log(`${elapsed()} s: accepted ${trial.accepted.length}, delivered ${trial.delivered}, duplicates ${trial.duplicates}, behind ${trial.behind}; ${fates()}`);
  }
}
const random = seeded(SEED + 1);
const pause = () => new Promise((resolve) => setTimeout(resolve, (2_000 * random() * trial.topics.length) / RATE));

const failure = await trial.push(goOn, { pause });
network.heal();
if (!failure) await trial.settle();
const bad = await trial.end(`seconds ${elapsed()}, ${fates()}`, failure);
await network.close();
process.exit(bad ? 1 : 0);
