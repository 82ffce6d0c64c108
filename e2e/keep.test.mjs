// A store is copied while its server works, and carried elsewhere as text; whoever comes to the copy finds what was
// accepted before. What a namespace has too much of goes, and who still waits for it is told.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { Api } from './lib/api.mjs';
import { assertPositions } from './lib/check.mjs';
import { connected } from './lib/clients.mjs';
import { BINARY, runToExit, Server, temporaryDirectory } from './lib/server.mjs';
import { until, within } from './lib/until.mjs';

const COMMAND_MS = 60_000;

async function tidings(...args) {
  const run = await runToExit(args, { ms: COMMAND_MS });
  assert.equal(run.code, 0, run.output);
  return run;
}

async function refused(pattern, ...args) {
  const run = await runToExit(args, { ms: COMMAND_MS });
  assert.equal(run.code, 1, run.output);
  assert.match(run.stderr, pattern);
  return run;
}

/** Runs commands as a shell pipeline does, and answers what comes out at the end. */
async function pipeline(input, ...commands) {
  const children = commands.map((args) => spawn(BINARY, args, { stdio: ['pipe', 'pipe', 'pipe'] }));
  const output = [];
  let errors = '';
  children.forEach((child, index) => {
    child.stderr.on('data', (text) => (errors += text));
    const next = children[index + 1];
    if (next) child.stdout.pipe(next.stdin);
    else child.stdout.on('data', (bytes) => output.push(bytes));
  });
  children[0].stdin.end(input);
  const ends = children.map((child) => new Promise((resolve) => child.once('close', resolve)));
  const codes = await within(() => `${commands.join(' | ')} end\n${errors}`, Promise.all(ends), COMMAND_MS);
  assert.deepEqual(codes, commands.map(() => 0), errors);
  return Buffer.concat(output).toString();
}

/** Pushes until it is told to stop; `answered` grows with the answers. */
function pushing(api, to) {
  const load = { answered: [], stop: false };
  const pusher = async (lane) => {
    for (let n = 0; !load.stop; n += 1) {
      const { id } = await api.push({ to, data: { lane, n }, id: `${lane}-${n}` });
      load.answered.push(id);
    }
  };
  load.done = Promise.all([0, 1, 2, 3].map(pusher));
  return load;
}

async function away(t, server, options) {
  const client = await connected(t, server, 'ws', options);
  await client.close();
  return client;
}

test('a backup of a server at work has everything that was answered before, and opens', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  await away(t, server, { user: 'ann', device: 'd1', rooms: ['lobby'] });
  const load = pushing(api, { rooms: ['lobby'] });
  const copies = [];
  for (let round = 0; round < 3; round += 1) {
    await until('some pushes are answered', () => load.answered.length >= (round + 1) * 50);
    const before = [...load.answered];
    const out = path.join(temporaryDirectory('backup'), 'copy');
    const run = await tidings('backup', '--store', server.store, '--out', out);
    assert.match(run.stderr, /^backup: done in .* entries, .* in /m);
    copies.push({ out, before });
  }
  load.stop = true;
  await load.done;
  assert.equal(statSync(path.join(server.store, 'control.sock')).mode & 0o777, 0o600);
  await refused(/is not empty/, 'backup', '--store', server.store, '--out', copies[0].out);
  await server.stop();
  for (const { out, before } of copies) {
    const copy = await Server.start(t, { store: out, adminKey: server.adminKey });
    const there = new Api(copy);
    for (const id of before.slice(-5)) await there.message(id);
    // The device that was away comes to the copy, and has all of it, in order.
    const client = await connected(t, copy, 'ws', { user: 'ann', device: 'd1', rooms: ['lobby'] });
    const missing = () => {
      const have = new Set(client.ids);
      return before.filter((id) => !have.has(id));
    };
    await until(() => `all that was answered before has come, but for ${missing()}\n${client.state()}`, () => missing().length === 0, { ms: 15_000 });
    assertPositions(client);
    const next = await there.push({ to: { rooms: ['lobby'] }, data: 'next' });
    await client.waitForId(next.id);
    await copy.dispose();
  }
});

test('a device that is ahead of the copy is told, and served', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const client = await connected(t, server, 'ws', { user: 'ann', device: 'd1' });
  await api.push({ to: { users: ['ann'] }, data: 1 });
  await client.waitFor(1);
  const out = path.join(temporaryDirectory('backup'), 'copy');
  await tidings('backup', '--store', server.store, '--out', out);
  const lost = await api.push({ to: { users: ['ann'] }, data: 2 });
  await client.waitForId(lost.id);
  const { port } = server;
  await server.kill9();
  const copy = await Server.start(t, { store: out, port, adminKey: server.adminKey });
  await client.waitUntil('it has come back', () => client.connects >= 2, { ms: 15_000 });
  const next = await new Api(copy).push({ to: { users: ['ann'] }, data: 3 });
  await client.waitForId(next.id);
});

test('export and import, of a stopped store and of one at work, through files and pipes', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  await away(t, server, { user: 'ann', device: 'd1', rooms: ['lobby'] });
  const data = { text: 'Zeilen\nund 中文', number: 1.5 };
  const first = await api.push({ to: { rooms: ['lobby'] }, data, id: 'm1' });
  const live = await pipeline('', ['export', '--store', server.store, '--out', '-']);
  const lines = live.trimEnd().split('\n').map((line) => JSON.parse(line));
  assert.equal(lines[0].format, 'tidings-export');
  assert.equal(lines.at(-1).lines, lines.length);
  assert.deepEqual(lines.find(({ type }) => type === 'message').data, data);
  await server.stop();

  const place = temporaryDirectory('export');
  const file = path.join(place, 'all.ndjson');
  await tidings('export', '--store', server.store, '--out', file);
  assert.equal(statSync(file).mode & 0o077, 0);
  const body = (text) => text.slice(text.indexOf('\n'));
  const [one, two] = ['one', 'two'].map((name) => path.join(place, name));
  await tidings('import', '--in', file, '--store', one);
  // And on, through a pipe: it is the same text again.
  await pipeline('', ['export', '--store', one, '--out', '-'], ['import', '--store', two, '--in', '-']);
  const again = await pipeline('', ['export', '--store', two, '--out', '-']);
  assert.equal(body(again), body(readFileSync(file, 'utf8')));

  const copy = await Server.start(t, { store: two, adminKey: server.adminKey });
  const client = await connected(t, copy, 'ws', { user: 'ann', device: 'd1', rooms: ['lobby'] });
  await client.waitForId(first.id);
  assert.deepEqual(client.received[0].data, data);
  assert.equal((await new Api(copy).push({ to: { rooms: ['lobby'] }, data, id: 'm1' })).duplicate, true);
});

test('what cannot be done is said in one line, and leaves nothing', async (t) => {
  const place = temporaryDirectory('refused');
  const at = (name) => path.join(place, name);
  await refused(/there is no store in .*--store/, 'backup', '--store', at('nothing'), '--out', at('copy'));
  await refused(/there is no store in/, 'export', '--store', at('nothing'), '--out', '-');
  assert.deepEqual(readdirSync(place), []);
  const header = { type: 'header', format: 'tidings-export', version: 1, exported_at: 1, messages: 0 };
  for (const [text, pattern] of [
    ['', /cut off after line 0/],
    [`${JSON.stringify(header)}\n`, /cut off after line 1/],
    [`${JSON.stringify({ ...header, version: 9 })}\n`, /format version 9, and this program reads version 2/],
    [`${JSON.stringify(header)}\n{"type":"namespace","name":"Demo"}\n`, /line 2: missing field `newest`/],
  ]) {
    writeFileSync(at('text'), text);
    await refused(pattern, 'import', '--in', at('text'), '--store', at('store'));
    assert.ok(!existsSync(at('store')), text);
  }
  const server = await Server.start(t);
  writeFileSync(at('text'), '');
  await refused(/is not empty/, 'import', '--in', at('text'), '--store', server.store);
  mkdirSync(at('full'));
  writeFileSync(at('full/file'), '');
  await refused(/is not empty/, 'backup', '--store', server.store, '--out', at('full'));
  assert.deepEqual(readdirSync(at('full')), ['file']);
});

test('a namespace that keeps too much lets go of the oldest, and who waited is told', async (t) => {
  const server = await Server.start(t, { restartable: true });
  const api = new Api(server);
  const answer = await api.call('PATCH', '/v1/namespaces/demo', { history: { keep: '1d', size: '64MiB' } });
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(answer.json.history, { keep: '1d', size: '64MiB' });
  await away(t, server, { user: 'ann', device: 'd1' });
  const data = 'x'.repeat(60 * 1024);
  const batch = Array.from({ length: 100 }, (_, n) => ({ to: { users: ['ann'] }, data: data + n }));
  let newest;
  for (let round = 0; round < 16; round += 1) {
    const answers = await api.call('POST', 'messages:batch', { messages: batch });
    assert.equal(answers.status, 200, answers.text.slice(0, 500));
    newest = answers.json.results.at(-1).id;
  }
  // It looks at once when it starts.
  await server.restart();
  await until(() => `something is trimmed\n${server.tail()}`, async () => {
    const metrics = await fetch(`${server.url}/metrics`).then((it) => it.text());
    const lost = Number(/^tidings_history_lost_total (\d+)/m.exec(metrics)?.[1]);
    const trimmed = Number(/^tidings_history_trimmed_total\{reason="size"\} (\d+)/m.exec(metrics)?.[1]);
    const bytes = Number(/^tidings_history_bytes (\d+)/m.exec(metrics)?.[1]);
    return trimmed > 100 && lost === trimmed && bytes <= 64 << 20;
  }, { ms: 20_000 });
  const client = await connected(t, server, 'ws', { user: 'ann', device: 'd1' });
  assert.equal(client.ready.recovered, false);
  await client.waitForId(newest, { ms: 20_000 });
  assertPositions(client);
});
