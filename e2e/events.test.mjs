// Consoles and people at night: what happens to a user, as it happens; which nodes there are, and that one goes when it is
// told to; what is wrong with a server.

import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';

import { EventSource } from 'eventsource';

import { Api, assertProblem, describe } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { Receiver } from './lib/receiver.mjs';
import { metric } from './lib/request.mjs';
import { runToExit, Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

/** Somebody who looks on. */
class Console {
  stats = [];
  /** What happened, as `step or what`, with the names that there are. */
  seen = [];
  ends = [];
  lost = 0;
  errors = [];

  constructor(t, server, { key = server.adminKey, namespace = 'demo', trace } = {}) {
    const query = trace ? `?${new URLSearchParams({ trace })}` : '';
    this.source = new EventSource(`${server.url}/v1/namespaces/${namespace}/events${query}`, {
      fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, authorization: `Bearer ${key}` } }),
    });
    t.after(() => this.close());
    this.source.addEventListener('stats', ({ data }) => this.stats.push(JSON.parse(data)));
    this.source.addEventListener('trace', ({ data }) => this.seen.push(JSON.parse(data)));
    this.source.addEventListener('lost', ({ data }) => (this.lost += JSON.parse(data).count));
    this.source.addEventListener('end', ({ data }) => this.ends.push(JSON.parse(data).reason));
    this.source.addEventListener('error', (error) => this.errors.push(error.code));
  }

  static async open(t, server, options) {
    const console = new Console(t, server, options);
    await until('there are numbers', () => console.stats.length > 0);
    return console;
  }

  get words() {
    return this.seen.map(({ step, what }) => step ?? what);
  }

  async sees(words) {
    await until(() => `${words}, not ${this.words}`, () => words.length <= this.seen.length);
    assert.deepEqual(this.words, words);
  }

  close() {
    this.source.close();
  }
}

test('numbers come at once and every second', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const console = await Console.open(t, server);
  await connected(t, server, 'ws', { user: 'ann', device: 'd1', rooms: ['lobby'] });
  const { id } = await api.push({ to: { users: ['ann'] }, data: 1 });
  await api.waitForLedger(id, { acked: 1 });
  const now = await until('it is counted', () => console.stats.find(({ minute, hour }) => Math.max(minute.acked, hour.acked) === 1));
  assert.deepEqual([now.connections, now.users, now.rooms, now.day.pushes], [1, 1, 1, 1]);
  assert.deepEqual(Object.keys(now.hour), Object.keys((await api.get('stats/current')).hour));
  assert.deepEqual(console.seen, []);
});

for (const kind of ['ws', 'sio4-ws', 'sse']) {
  test(`${kind}: a user is seen to come, to get a message and to go, in order, and nobody else is`, async (t) => {
    const server = await Server.start(t);
    const api = new Api(server);
    const made = await api.call('POST', '/v1/namespaces', { name: 'other', auth: { mode: 'open' } });
    assert.equal(made.status, 201, describe(made));
    const console = await Console.open(t, server, { trace: 'user:ann' });
    // The same names elsewhere, and others here.
    await connected(t, server, kind, { namespace: 'other', user: 'ann', device: 'd1', rooms: ['lobby'] });
    await new Api(server, { namespace: 'other' }).push({ to: { users: ['ann'] }, data: 0 });
    await connected(t, server, kind, { user: 'bob', device: 'd2', rooms: ['lobby'] });
    const ann = await connected(t, server, kind, { user: 'ann', device: 'd1', rooms: ['lobby'] });
    await console.sees(['connected', 'online', 'joined']);
    await api.push({ to: { users: ['bob'] }, data: 1 });
    const { id } = await api.push({ to: { rooms: ['lobby'] }, data: 2 });
    await console.sees(['connected', 'online', 'joined', 'accepted', 'queued', 'written', 'acked']);
    await ann.close();
    await console.sees(['connected', 'online', 'joined', 'accepted', 'queued', 'written', 'acked', 'disconnected', 'offline']);
    for (const seen of console.seen) {
      assert.ok([undefined, 'ann'].includes(seen.user) && [undefined, 'd1'].includes(seen.device), JSON.stringify(seen));
      assert.ok(Math.abs(Date.parse(seen.at) - Date.now()) < 60_000, seen.at);
      if (seen.step) assert.equal(seen.message, id);
    }
    assert.equal(console.seen[0].connection, console.seen.at(-2).connection);
  });
}

test('a device and a room, in one stream', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const ann = await connected(t, server, 'ws', { user: 'ann', device: 'd1' });
  const bob = await connected(t, server, 'ws', { user: 'bob', device: 'd2' });
  const console = await Console.open(t, server, { trace: 'device:d1,room:lobby' });
  await bob.join(['lobby']);
  await bob.join(['elsewhere']);
  await ann.join(['elsewhere']);
  const { id } = await api.push({ to: { rooms: ['lobby'] }, data: 1 });
  await api.waitForLedger(id, { acked: 1 });
  await console.sees(['joined', 'joined', 'accepted', 'queued', 'written', 'acked']);
  assert.deepEqual(console.seen.map(({ device, room }) => `${device} ${room}`), ['d2 lobby', 'd1 elsewhere', 'undefined lobby', 'd2 lobby', 'd2 lobby', 'd2 lobby']);
});

test('who does not read loses events, is told how many, and holds up nobody', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const socket = net.connect(server.port, '127.0.0.1').on('error', () => {});
  t.after(() => socket.destroy());
  socket.write(`GET /v1/namespaces/demo/events?trace=user:ann HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${server.adminKey}\r\n\r\n`);
  await new Promise((resolve) => socket.once('data', resolve));
  socket.pause();
  const ann = await connected(t, server, 'ws', { user: 'ann', device: 'd1' });
  // More than the kernel and the queue take.
  const name = 'n'.repeat(200);
  let pushed = 0;
  for (let round = 0; round < 5; round += 1) {
    const messages = Array.from({ length: 500 }, () => ({ to: { users: ['ann'] }, data: 1, id: `${name}${(pushed += 1)}` }));
    const answer = await api.call('POST', 'messages:batch', { messages });
    assert.equal(answer.status, 200, describe(answer));
    await ann.waitFor(pushed);
  }
  await api.waitForLedger(`${name}${pushed}`, { acked: 1 }, { ms: 30_000 });
  let text = '';
  socket.on('data', (chunk) => (text += chunk));
  socket.resume();
  const lost = await until('it is told that it lost some', () => /event: lost\ndata: \{"count":(\d+)\}/.exec(text), { ms: 20_000 });
  assert.ok(Number(lost[1]) > 0);
});

test('a stream ends with its key; 32 may look, and no more', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const made = await api.call('POST', 'keys', { name: 'console', scopes: ['read'] });
  assert.equal(made.status, 201, describe(made));
  const console = await Console.open(t, server, { key: made.json.key, trace: 'user:ann' });
  const others = [];
  for (let n = 1; n < 32; n += 1) others.push(await Console.open(t, server, { trace: `room:r${n}` }));
  const refused = await api.call('GET', 'events');
  assertProblem(refused, { status: 429, code: 'too_many_connections', says: /32 look/ });
  assert.match(refused.headers.get('retry-after'), /^\d+$/);
  assertProblem(await api.call('GET', 'events?trace=ann'), { status: 400, code: 'invalid_request', field: 'trace', says: /\\"ann\\".*user:<id>/ });
  const revoked = await api.call('DELETE', `keys/${made.json.id}`);
  assert.equal(revoked.status, 204, describe(revoked));
  await until('the stream has ended', () => console.ends.length > 0);
  assert.deepEqual(console.ends, ['key']);
  await until('and is not begun again', () => console.errors.includes(401), { ms: 10_000 });
  others[0].close();
  await until('there is room', async () => {
    const [first] = [await Console.open(t, server)];
    return first;
  });
});

test('the node is listed, and goes when the API has it go: clients hear the goodbye, and the process ends with 0', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const ann = await connected(t, server, 'ws', { user: 'ann', device: 'd1' });
  const console = await Console.open(t, server);
  const { items, next_cursor } = await api.get('/v1/nodes');
  const [{ node, state, connections, memory_bytes, shards, lag_ms }] = items;
  assert.deepEqual([items.length, next_cursor, state, connections], [1, null, 'ready', 1]);
  assert.ok(memory_bytes > 1e6 && shards >= 1 && lag_ms >= 0, JSON.stringify(items));
  assert.equal(node, ann.ready.node);
  assertProblem(await api.call('POST', '/v1/nodes/nobody:drain'), { status: 404, code: 'not_found' });
  const exit = server.exit();
  const answer = await api.call('POST', `/v1/nodes/${node}:drain`);
  assert.equal(answer.status, 202, describe(answer));
  assert.equal(answer.json.state, 'draining');
  await ann.waitUntil('the goodbye', () => ann.notices.some(({ notice }) => notice === 'goaway'));
  assert.deepEqual(await exit, { code: 0, signal: null });
  await until('the stream has ended', () => console.ends.length > 0);
  assert.deepEqual(console.ends, ['shutdown']);
});

test('tidings drain has the server of a store go', async (t) => {
  const server = await Server.start(t);
  const nobody = await runToExit(['drain', '--store', `${server.store}-not`]);
  assert.equal(nobody.code, 1);
  assert.match(nobody.stderr, /there is no store/);
  const exit = server.exit();
  const drained = await runToExit(['drain', '--store', server.store]);
  assert.equal(drained.code, 0, drained.output);
  assert.match(drained.stdout, /sends its clients away/);
  assert.deepEqual(await exit, { code: 0, signal: null });
  const again = await runToExit(['drain', '--store', server.store]);
  assert.equal(again.code, 1);
});

test('a hook that is down is an alert until it hears again', async (t) => {
  const receiver = await Receiver.start(t);
  const server = await Server.start(t);
  const api = new Api(server);
  const changed = await api.call('PATCH', '/v1/namespaces/demo', { hooks: [receiver.hook({ events: ['disconnected'] })] });
  assert.equal(changed.status, 200, describe(changed));
  const alerts = async () => (await api.get('/v1/alerts')).items.filter(({ kind }) => kind === 'hook_failing');
  assert.deepEqual(await alerts(), []);
  await receiver.stop();
  await (await connected(t, server, 'ws', { user: 'ann', device: 'd1' })).close();
  const [alert] = await until('there is an alert', async () => {
    const items = await alerts();
    return items.length > 0 && items;
  }, { ms: 15_000, every: 100 });
  assert.deepEqual([alert.kind, alert.severity, alert.namespace, alert.hook, alert.until], ['hook_failing', 'warning', 'demo', 'crm', null]);
  assert.equal(await metric(server, 'tidings_alerts{kind="hook_failing"}'), 1);
  await receiver.start();
  const over = await until('it is over', async () => (await alerts()).find(({ until: end }) => end !== null), { ms: 30_000, every: 100 });
  assert.ok(Date.parse(over.until) >= Date.parse(over.since));
  assert.equal(await metric(server, 'tidings_alerts{kind="hook_failing"}'), 0);
});
