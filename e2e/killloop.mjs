// kill -9 in a loop, during pushes, on one store. Every push that was answered with 2xx must reach every device
// that was meant, in the order of its topic, however often the server dies.
//
//   node killloop.mjs [--rounds 50] [--seconds N] [--seed N]
//
// With --seconds it goes on for that long, however many rounds these are (at most --rounds, when that is given too).

import { parseArgs } from 'node:util';

import { seeded } from './lib/seeded.mjs';
import { Server } from './lib/server.mjs';
import { Trial } from './lib/trial.mjs';
import { until } from './lib/until.mjs';

const { values } = parseArgs({ options: { rounds: { type: 'string' }, seconds: { type: 'string' }, seed: { type: 'string' } } });
const SECONDS = values.seconds === undefined ? undefined : Number(values.seconds);
const ROUNDS = values.rounds === undefined ? (SECONDS === undefined ? 50 : Infinity) : Number(values.rounds);
const SEED = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
if (![SECONDS ?? 0, SEED].every(Number.isFinite) || Number.isNaN(ROUNDS)) throw new Error('--rounds, --seconds and --seed are numbers');

/** The most pushes between two kills, and the longest wait for them. */
const PUSHES_PER_ROUND_MAX = 150;
const ROUND_MS = 30_000;
/** A server that was killed while it started is killed this long after its start at most. */
const EARLY_KILL_MS = 150;

const random = seeded(SEED);
const upTo = (n) => Math.floor(random() * n);

// Engine.IO clients that lose the server in the middle of an upgrade notice by the missing heartbeat only.
const server = await Server.start(undefined, { restartable: true, args: ['--ping-interval', '2s', '--ping-timeout', '2s'] });
const trial = await Trial.start(server, [
  { kind: 'ws', user: 'ann', rooms: ['red'] },
  { kind: 'sio4-ws', user: 'ann', rooms: ['red', 'blue'] },
  { kind: 'sse', user: 'ann', rooms: ['blue'] },
  { kind: 'ws', user: 'bob', rooms: ['blue'] },
  { kind: 'sio4-upgrade', user: 'bob', rooms: ['red'] },
  { kind: 'sio2-ws', user: 'bob', rooms: ['red', 'blue'] },
]);
const { accepted } = trial;
/** When the server became ready in its present life; undefined while it is down. */
let upSince = performance.now();

const began = performance.now();
const running = () => SECONDS === undefined || performance.now() - began < SECONDS * 1_000;
console.log(`kill loop: ${Number.isFinite(ROUNDS) ? `${ROUNDS} rounds` : `${SECONDS} s`}, ${trial.topics.length} topics, ${trial.witnesses.length} devices, seed ${SEED}`);

let rounds = 0;
async function kill(failed) {
  while (rounds < ROUNDS && running()) {
    const from = accepted.length;
    const enough = 1 + upTo(PUSHES_PER_ROUND_MAX);
    await Promise.race([
      failed,
      until(() => `${enough} pushes are accepted in round ${rounds + 1}\n${trial.state()}\n${server.tail()}`, () => accepted.length - from >= enough, { ms: ROUND_MS, every: 1 }),
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
    console.log(
      `round ${rounds}${Number.isFinite(ROUNDS) ? `/${ROUNDS}` : ''}: accepted ${accepted.length} (+${accepted.length - from}), delivered ${trial.delivered}, ` +
        `duplicates ${trial.duplicates}, behind ${trial.behind}, up again in ${Math.round(upSince - down)} ms${early ? ` after ${early} more kills during start` : ''}`,
    );
  }
}

const failure = await trial.push(kill, { life: () => upSince });
if (!failure) await trial.settle();
process.exit((await trial.end(`rounds ${rounds}`, failure)) ? 1 : 0);
