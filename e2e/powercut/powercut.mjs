// Power cuts: a real server works, everything that it does to its files is written down, and then, again and again, the disk
// is made that a power cut at some moment would have left, with all that no fsync covers gone, or half there. A
// server that starts on it must have every push that had been answered, and deliver it.
//
//   node powercut.mjs [--cuts 400] [--seed N] [--seconds S] [--keep DIR]     records, and makes that many cuts, or stops after S
//   node powercut.mjs --trace DIR [--cuts 400] [--seed N]                    cuts what an earlier run has kept
//   node powercut.mjs --trace DIR --seed N --cut M                           one of its cuts again, and leaves its disk in DIR/cut
//
// Needs gcc, and a kernel that lets a process filter its own system calls. Seed and trace decide about every cut. What the
// server does is written down anew by a run without `--trace`, so one that finds something keeps its trace and says
// how to see it again.

import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { Cuts } from './cuts.mjs';
import { Load, PROMISE, STORE } from './load.mjs';
import { Trace } from './trace.mjs';

const { values } = parseArgs({
  options: Object.fromEntries(['cuts', 'seed', 'seconds', 'keep', 'trace', 'cut'].map((name) => [name, { type: 'string' }])),
});
const CUTS = Number(values.cuts ?? 400);
const SECONDS = Number(values.seconds ?? Infinity);
const SEED = Number(values.seed ?? Math.floor(Math.random() * 2 ** 20));
if ([CUTS, SECONDS, SEED].some(Number.isNaN)) throw new Error('--cuts, --seconds and --seed are numbers');
const AT_ONCE = 2;
/** However slow the machine is: each fate twice. */
const CUTS_LEAST = 14;
/** What a trace must have in it to be worth anything. */
const LEAST = { 'namespaces cleared': 10, 'tables written': 20, 'tables merged away': 1, 'journals begun': 2, 'journals cleared away': 1 };

const began = performance.now();
const seconds = () => Math.round((performance.now() - began) / 1_000);
const work = mkdtempSync(path.join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tidings-powercut-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));

function build() {
  const source = path.join(path.dirname(fileURLToPath(import.meta.url)), 'shim.c');
  const shim = path.join(work, 'shim.so');
  execFileSync('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-pthread', '-o', shim, source], { stdio: 'inherit' });
  return shim;
}

async function record(shim) {
  const load = new Load(work, { shim });
  await load.record();
  writeFileSync(path.join(work, 'said.json'), JSON.stringify({ pushes: [...load.pushes], positions: [...load.positions] }));
  console.log(`power cuts: recorded in ${seconds()} s`);
  return work;
}

function insistOnContent(trace, said) {
  const count = (op, name) => trace.where((record) => record.op === op && name.test(record.name ?? '')).length;
  const content = {
    records: trace.records.length,
    'namespaces cleared': trace.where((record) => record.op === 'mark' && record.text.startsWith('cleared ')).length,
    promises: trace.promised.size,
    syncs: trace.where(({ op }) => op === 'synced').length,
    'tables written': count('create', /\/tables\//),
    'tables merged away': count('unlink', /\/tables\//),
    'journals begun': count('create', /\.jnl$/),
    'journals cleared away': count('unlink', /\.jnl$/),
  };
  console.log(`power cuts: ${Object.entries(content).map(([what, number]) => `${what} ${number}`).join(', ')}`);
  for (const [what, number] of Object.entries(LEAST)) if (content[what] < number) throw new Error(`${what}: ${content[what]}, expected ${number}: the load is too small`);
  const silent = [...said.pushes.keys()].filter((id) => id.startsWith('p-') && !trace.promised.has(id));
  if (silent.length) throw new Error(`${silent.length} pushes were answered and the log does not show it: ${silent.slice(0, 3)}`);
}

async function many(cuts) {
  console.log(`power cuts: ${CUTS}${Number.isFinite(SECONDS) ? `, no longer than ${SECONDS} s` : ''}, seed ${SEED}`);
  const bad = [];
  let next = 0;
  let done = 0;
  const worker = async () => {
    while (next < CUTS && (seconds() < SECONDS || next < CUTS_LEAST)) {
      const number = next++;
      const target = path.join(work, `cut-${number}`);
      const { what, wrong } = await cuts.make(number, target);
      rmSync(target, { recursive: true, force: true });
      done += 1;
      if (!wrong.length) continue;
      bad.push(number);
      console.log(`cut ${number}, ${what}: WRONG\n  ${wrong.slice(0, 4).join('\n  ')}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return { bad, done };
}

function keepTrace(from, directory) {
  if (from === directory) return;
  mkdirSync(directory, { recursive: true });
  for (const name of ['log', 'said.json']) cpSync(path.join(from, name), path.join(directory, name));
}

const shim = build();
const from = values.trace ? path.resolve(values.trace) : await record(shim);
const { pushes, positions } = JSON.parse(readFileSync(path.join(from, 'said.json'), 'utf8'));
const said = { pushes: new Map(pushes), positions: new Map(positions) };
const trace = new Trace(path.join(from, 'log'), { promise: PROMISE });
insistOnContent(trace, said);
const cuts = new Cuts({ trace, said, shim, seed: SEED, work });

if (values.cut !== undefined) {
  const target = path.join(from, 'cut');
  rmSync(target, { recursive: true, force: true });
  const { what, wrong } = await cuts.make(Number(values.cut), target);
  console.log(`cut ${values.cut}, ${what}, its store is in ${path.join(target, STORE)}: ${wrong.length ? `WRONG\n  ${wrong.join('\n  ')}` : 'all is well'}`);
  process.exit(wrong.length ? 1 : 0);
}
const { bad, done } = await many(cuts);
const keep = values.keep ?? (bad.length && from === work ? path.join(tmpdir(), `tidings-powercut-${SEED}`) : undefined);
if (keep) keepTrace(from, path.resolve(keep));
if (bad.length) console.log(`to see one again: node powercut/powercut.mjs --trace ${keep ?? from} --seed ${SEED} --cut ${bad[0]}`);
console.log(`power cuts: ${done} in ${seconds()} s, ${bad.length} lost something: ${bad.length ? 'FAILED' : 'passed'}`);
process.exit(bad.length ? 1 : 0);
