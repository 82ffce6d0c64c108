// gRPC with a client of another language: Python, generated from proto/ as a user would (grpc/). Plain and over TLS, on the
// port that everything else is on; and streams that nobody ends when the server stops.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Api } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { request } from './lib/request.mjs';
import { Server, temporaryDirectory } from './lib/server.mjs';
import { until, within } from './lib/until.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const PYTHON = path.join(HERE, '.venv/bin/python');
const missing = existsSync(path.join(HERE, '.venv/.installed-requirements'))
  ? false
  : 'SKIPPED: the Python packages are not installed; setup.sh does that, and needs python3 with venv, and PyPI';
if (missing) process.stderr.write(`grpc.test.mjs: ${missing}\n`);

/** A program in Python that calls the server. */
function python(t, server, args, env = {}) {
  const child = spawn(PYTHON, args, {
    cwd: path.join(HERE, 'grpc'),
    env: { ...process.env, GRPC_TARGET: `127.0.0.1:${server.port}`, GRPC_KEY: server.adminKey, PYTHONDONTWRITEBYTECODE: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const run = { child, output: '' };
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (run.output += text));
  run.done = new Promise((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)));
  t.after(() => child.kill('SIGKILL'));
  return run;
}

/** What does not depend on who is connected. */
const WITHOUT_CLIENTS = ['batch', 'stream', 'stream_as_a_conversation', 'who_does_not_read_is_not_read_from', 'errors', 'health', 'reflection'];

async function calls(t, server, { only = [], env } = {}) {
  const tests = only.length ? only.map((name) => `test_calls.Calls.test_${name}`) : ['test_calls'];
  const run = python(t, server, ['-m', 'unittest', '-v', ...tests], env);
  const code = await within(() => `the calls end\n${run.output}\n${server.tail()}`, run.done, 120_000);
  assert.equal(code, 0, `${run.output}\n${server.tail()}`);
}

describe('gRPC', { skip: missing }, () => {
  test('every kind of call, in plain text', async (t) => {
    const server = await Server.start(t);
    await connected(t, server, 'ws', { user: 'ann', device: 'phone' });
    await calls(t, server);
    // One port: REST sees what gRPC has done.
    const found = [];
    // A page looks at so many messages of those that the index has not yet, and may find none.
    for (let next = ''; next !== null;) {
      const page = await new Api(server).get(`messages?event=order${next && `&cursor=${next}`}`);
      found.push(...page.items);
      next = page.next_cursor;
    }
    assert.equal(found.length, 1);
    assert.match((await request(server, { path: '/metrics' })).text, /tidings_api_grpc_calls_total\{method="PushStream",code="0"\} \d+/);
  });

  test('calls and streams, over TLS', async (t) => {
    const directory = temporaryDirectory('grpc');
    const [cert, key] = ['cert.pem', 'key.pem'].map((file) => path.join(directory, file));
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=grpc']
        .concat(['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]),
      { stdio: 'ignore' },
    );
    const ca = readFileSync(cert);
    const probe = async (server) => (await request(server, { path: '/readyz', ca })).status === 200;
    const server = await Server.start(t, { env: { TIDINGS_SERVER__TLS__CERT: cert, TIDINGS_SERVER__TLS__KEY: key }, probe });
    await calls(t, server, { only: WITHOUT_CLIENTS, env: { GRPC_ROOTS: cert } });
  });

  test('streams that nobody ends do not keep a server from stopping', async (t) => {
    const server = await Server.start(t);
    const run = python(t, server, ['stays.py']);
    await until(() => `the streams are open\n${run.output}`, () => /pushes first/.test(run.output) && /health 1/.test(run.output), { ms: 30_000 });
    const began = performance.now();
    await server.stop({ ms: 10_000 });
    assert.ok(performance.now() - began < 8_000, 'it did not wait for them');
    await within('the client hears of it', run.done, 10_000);
    assert.match(run.output, /pushes UNAVAILABLE/);
    assert.match(run.output, /health 2\n/);
    assert.match(run.output, /health UNAVAILABLE/);
    assert.doesNotMatch(server.output, /calls were still running/);
  });
});
