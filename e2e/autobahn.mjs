// The Autobahn test suite against `tidings conformance`: its own fuzzing client, from PyPI, plays all of its cases
// (compression included), and this prints how many ended how. Knows no case by itself.
//
//   node autobahn.mjs ['1.*' '6.*' …]
//   PYTHON2   a Python 2.7 with pip, which the suite needs (default: python2.7, python2, or one that pyenv has)

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { launch } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const SUITE = 'autobahntestsuite==25.10.1';
const PLACE = fileURLToPath(new URL('../target/autobahn/', import.meta.url));
const PACKAGES = path.join(PLACE, 'packages');
const REPORTS = path.join(PLACE, 'reports');
/** What a case may end with: the last two are for the eye. */
const FINE = new Set(['OK', 'NON-STRICT', 'INFORMATIONAL']);

/** What a program prints; nothing when it cannot be run. */
function output(program, args) {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}

function python() {
  const pyenv = output('pyenv', ['root']);
  const versions = pyenv ? (output('pyenv', ['versions', '--bare']) ?? '').split(/\s+/).filter((version) => version.startsWith('2.7')) : [];
  const candidates = [process.env.PYTHON2, 'python2.7', 'python2', ...versions.map((version) => path.join(pyenv, 'versions', version, 'bin', 'python'))];
  const found = candidates.find((candidate) => candidate && output(candidate, ['-c', 'import pip, sys; print(sys.version_info[:2])']) === '(2, 7)');
  if (found) return found;
  console.error('autobahn: the suite needs Python 2.7 with pip, for example by `pyenv install 2.7.18`; or set PYTHON2');
  process.exit(1);
}

/** Installs the suite for us alone, once. */
function install(interpreter) {
  const stamp = path.join(PACKAGES, '.installed');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === SUITE) return;
  console.log(`autobahn: installing ${SUITE} from PyPI`);
  rmSync(PACKAGES, { recursive: true, force: true });
  execFileSync(interpreter, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--target', PACKAGES, SUITE], { stdio: 'inherit' });
  writeFileSync(stamp, SUITE);
}

/** Plays the cases; one line on the terminal shows which one it is at. */
async function play(interpreter, port, cases) {
  const spec = path.join(PLACE, 'spec.json');
  const servers = [{ agent: 'tidings', url: `ws://127.0.0.1:${port}/echo` }];
  writeFileSync(spec, JSON.stringify({ outdir: REPORTS, options: { failByDrop: false }, servers, cases, 'exclude-cases': [], 'exclude-agent-cases': {} }));
  const wstest = 'import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()';
  const client = spawn(interpreter, ['-u', '-c', wstest, PACKAGES, '-m', 'fuzzingclient', '-s', spec], { stdio: ['ignore', 'pipe', 'inherit'] });
  client.stdout.setEncoding('utf8').on('data', (text) => {
    const at = text.match(/test case ID [\d.]+/g)?.at(-1);
    if (at && process.stdout.isTTY) process.stdout.write(`\r\x1b[K${at}`);
  });
  const code = await new Promise((resolve) => client.once('close', resolve));
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K');
  if (code !== 0) throw new Error(`the fuzzing client ended with ${code}`);
}

/** Counts how the cases ended, by their first number. Answers whether all is well. */
function report() {
  const { tidings } = JSON.parse(readFileSync(path.join(REPORTS, 'index.json'), 'utf8'));
  const rows = new Map();
  const bad = [];
  for (const [id, { behavior, behaviorClose }] of Object.entries(tidings)) {
    const group = Number(id.split('.')[0]);
    const row = rows.get(group) ?? {};
    rows.set(group, { ...row, cases: (row.cases ?? 0) + 1, [behavior]: (row[behavior] ?? 0) + 1 });
    if (!FINE.has(behavior) || !FINE.has(behaviorClose)) bad.push(`${id}: ${behavior}, closing ${behaviorClose}`);
  }
  console.table(Object.fromEntries([...rows].sort(([a], [b]) => a - b)));
  console.log(`${Object.keys(tidings).length} cases; ${bad.length ? bad.join('\n') : 'none failed'}\n${path.join(REPORTS, 'index.html')}`);
  return bad.length === 0 && Object.keys(tidings).length > 0;
}

const interpreter = python();
mkdirSync(PLACE, { recursive: true });
install(interpreter);
rmSync(REPORTS, { recursive: true, force: true });
const cases = process.argv.slice(2);
const server = launch(['conformance', '--listen', '127.0.0.1:0']);
await until(() => `the server listens\n${server.stdout}${server.stderr}`, () => /listening on/.test(server.stdout) || server.exit);
const port = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(server.stdout)?.[1];
if (!port) throw new Error(`the server does not start\n${server.stdout}${server.stderr}`);
await play(interpreter, port, cases.length ? cases : ['*']);
server.child.kill('SIGTERM');
await server.done;
process.exit(report() ? 0 : 1);
