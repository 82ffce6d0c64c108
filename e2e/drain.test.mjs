// A server that is told to stop while it is busy: load balancers hear of it, clients are sent away and
// come back, nothing that was accepted is lost, and clients that do not read hold up nobody.

import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';

import { Api } from './lib/api.mjs';
import { assertPositions } from './lib/check.mjs';
import { connected, KINDS } from './lib/clients.mjs';
import { request } from './lib/request.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const BACK_MS = 20_000;
const EACH = 4;
const HEARTBEATS = ['--ping-interval', '2s', '--ping-timeout', '2s'];

const readiness = async (server) => (await request(server, { path: '/readyz' })).status;

/** A client that reads nothing while more waits for it than the kernel takes. */
async function stuckClient(t, server, api) {
  const stuck = net.connect(server.port, '127.0.0.1').on('error', () => {});
  t.after(() => stuck.destroy());
  stuck.write('GET /v1/namespaces/demo/sse?user=ann&device=stuck HTTP/1.1\r\nhost: x\r\n\r\n');
  await until('the stuck client is there', async () => (await api.push({ to: { users: ['ann'] }, data: 0 })).online.connections === 1);
  stuck.pause();
  for (let n = 0; n < 200; n += 1) await api.push({ to: { users: ['ann'] }, data: 'x'.repeat(60_000) });
}

test('a stop under load: everybody hears the goodbye, comes back, and has everything', async (t) => {
  // A pause is at most a quarter of what a stop may take.
  const env = { TIDINGS_SERVER__SHUTDOWN_TIMEOUT: '12s', TIDINGS_SERVER__DRAIN_PAUSE: '3s', TIDINGS_SERVER__DRAIN_WINDOW: '2s', TIDINGS_OUTBOX__SIZE: '64MiB' };
  const server = await Server.start(t, { restartable: true, args: HEARTBEATS, env });
  const api = new Api(server);
  const clients = [];
  for (const kind of Object.keys(KINDS)) {
    for (let n = 0; n < EACH; n += 1) clients.push(await connected(t, server, kind, { user: `u-${kind}-${n}`, device: `d-${kind}-${n}`, rooms: ['lobby'] }));
  }
  const accepted = [];
  const push = async () => {
    const data = accepted.length;
    accepted.push({ id: (await api.push({ to: { rooms: ['lobby'] }, data })).id, data });
  };
  await push();
  // It is waited for, so there is time to see what a server that drains does.
  await stuckClient(t, server, api);
  const stopped = server.stop({ ms: 20_000 });
  // At first only load balancers notice.
  await until('it is no longer ready', async () => (await readiness(server)) === 503);
  const late = await connected(t, server, 'ws', { user: 'late', device: 'late', rooms: ['lobby'] });
  clients.push(late);
  await push();
  // Pushes go on until nobody listens any more.
  let refused;
  for (;;) {
    try {
      await push();
      if (!refused) {
        const answer = await api.call('GET', '/socket.io/?EIO=4&transport=polling');
        if (answer.status === 503) refused = answer;
      }
    } catch (error) {
      assert.ok(error.cause?.code, `pushes are accepted or find nobody: ${error.stack}`);
      break;
    }
  }
  await stopped;
  assert.match(refused?.headers.get('retry-after') ?? '', /^\d+$/, 'new clients were asked to come back later');
  for (const each of clients) {
    await each.waitUntil(`${each.name} was told`, () => each.notices.some(({ notice }) => notice === 'goaway'));
    const { data } = each.notices.find(({ notice }) => notice === 'goaway');
    assert.deepEqual([data.code, data.reason, data.reconnect], [3001, 'shutdown', true], each.name);
    if (each.kind !== 'ws') continue;
    await each.waitUntil(`${each.name} is disconnected`, () => each.disconnects.length > 0);
    assert.equal(each.disconnects[0], '3001 shutdown');
  }
  const advice = new Set(clients.map((each) => each.notices.find(({ notice }) => notice === 'goaway').data.after_ms));
  assert.ok(advice.size > clients.length / 2, `not all of them are to come back at once: ${[...advice]}`);

  await server.start();
  await push();
  for (const each of clients) {
    // The late one was in nobody's room when the first was pushed.
    const ids = accepted.slice(each === late ? 1 : 0).map(({ id }) => id);
    const has = () => {
      const have = new Set(each.ids);
      return ids.every((id) => have.has(id));
    };
    await each.waitUntil(`${each.name} has everything`, has, { ms: BACK_MS });
    assertPositions(each);
    const wanted = new Set(ids);
    assert.deepEqual(each.uniqueIds.filter((id) => wanted.has(id)), ids, each.state());
  }
});

test('a client that does not read does not keep the server from stopping in time', async (t) => {
  const env = { TIDINGS_SERVER__SHUTDOWN_TIMEOUT: '4s', TIDINGS_OUTBOX__SIZE: '64MiB' };
  const server = await Server.start(t, { restartable: true, env });
  const api = new Api(server);
  await stuckClient(t, server, api);
  const ann = await connected(t, server, 'ws', { user: 'bob', device: 'bob' });
  await server.stop({ ms: 8_000 });
  await ann.waitUntil('the other one was told', () => ann.notices.some(({ notice }) => notice === 'goaway'));
});

test('a stop answers the calls that wait for receipts', async (t) => {
  const server = await Server.start(t, { restartable: true, env: { TIDINGS_SERVER__DRAIN_PAUSE: '200ms', TIDINGS_SERVER__DRAIN_WINDOW: '200ms' } });
  const api = new Api(server);
  // A client that reads and says nothing.
  const silent = net.connect(server.port, '127.0.0.1').on('error', () => {});
  t.after(() => silent.destroy());
  silent.resume();
  silent.write('GET /v1/namespaces/demo/sse?user=ann&device=silent HTTP/1.1\r\nhost: x\r\n\r\n');
  await until('the client is there', async () => (await api.push({ to: { users: ['ann'] }, data: 0 })).online.connections === 1);
  const waits = api.push({ id: 'waits', to: { users: ['ann'] }, data: 1, ack: { wait: '30s' } });
  await until('it is accepted', async () => (await api.call('GET', 'messages/waits')).status === 200);
  const stopped = server.stop({ ms: 15_000 });
  const { ack } = await waits;
  assert.deepEqual([ack.complete, ack.acked, ack.waiting], [false, 0, 1]);
  await stopped;
});
