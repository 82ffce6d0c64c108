// Namespaces: what they may have, how they are cleared, and how they go whole, whatever happens meanwhile.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api } from './lib/api.mjs';
import { bystander } from './lib/check.mjs';
import { connected, outcome } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const KINDS = ['sio4-ws', 'sio4-polling', 'sio2-ws', 'ws', 'sse'];
const saidGoodbye = (one) => one.notices.some(({ notice, data }) => notice === 'goaway' && data.code === 3503 && data.reconnect === false);

async function shop(t, options = {}) {
  const server = await Server.start(t, options);
  const admin = new Api(server);
  const made = await admin.call('POST', '/v1/namespaces', { name: 'shop', auth: { mode: 'open' } });
  assert.equal(made.status, 201, made.text);
  return { server, admin, api: new Api(server, { namespace: 'shop' }) };
}

test('who is in a namespace that is deleted is sent away, and a new one of the same name sees nothing of it', async (t) => {
  const { server, admin, api } = await shop(t);
  const other = await bystander(t, server);
  const clients = await Promise.all(KINDS.map((kind) => connected(t, server, kind, { namespace: 'shop', device: `d-${kind}`, user: 'ann', rooms: ['lobby'] })));
  const { id } = await api.push({ to: { all: true }, data: 1 });
  for (const each of clients) await each.waitForId(id);
  const positions = clients.find((each) => each.kind === 'ws').received[0];
  const key = (await api.call('POST', 'keys', { name: 'k', scopes: ['push', 'read'] })).json.key;

  const gone = await admin.call('DELETE', '/v1/namespaces/shop');
  assert.ok([202, 204].includes(gone.status), gone.text);
  for (const each of clients) {
    await each.waitUntil(`${each.name} is told`, () => saidGoodbye(each));
    // One that tries again would be let into the new one.
    await each.close();
  }
  await until('all of it is gone', async () => (await admin.call('DELETE', '/v1/namespaces/shop')).status === 404);
  assert.equal((await admin.call('GET', '/v1/namespaces/shop')).status, 404);
  assert.equal((await api.call('GET', 'messages', undefined, { key })).status, 401);

  const again = await admin.call('POST', '/v1/namespaces', { name: 'shop', auth: { mode: 'open' } });
  assert.equal(again.status, 201, again.text);
  assert.deepEqual((await api.get('messages')).items, []);
  assert.deepEqual((await api.get('devices')).items, []);
  assert.deepEqual((await api.get('rooms')).items, []);
  assert.equal((await api.call('GET', 'messages', undefined, { key })).status, 401);
  // A message of the new one has a position that the old one never gave out.
  const ann = await connected(t, server, 'ws', { namespace: 'shop', device: 'd-ws', user: 'ann' });
  const next = await api.push({ to: { all: true }, data: 2 });
  await ann.waitForId(next.id);
  assert.deepEqual(ann.ids, [next.id]);
  assert.ok(ann.received[0].offset > positions.offset, `${ann.received[0].offset} after ${positions.offset}`);
  await other.check();
});

test('a deletion that kill -9 interrupts goes on after the start', async (t) => {
  const { server, admin, api } = await shop(t, { restartable: true });
  const clients = await Promise.all(Array.from({ length: 40 }, (_, n) => connected(t, server, 'ws', { namespace: 'shop', device: `d${n}`, user: 'ann' })));
  for (let n = 0; n < 50; n += 1) await api.push({ to: { users: ['ann'] }, data: n });
  // The answer is not waited for, as far as it goes: the process ends in the middle.
  const deleting = admin.call('DELETE', '/v1/namespaces/shop').catch(() => undefined);
  await until('it has begun', () => / a namespace goes/.test(server.output));
  await server.kill9();
  await deleting;
  await Promise.all(clients.map((each) => each.close()));
  await server.start();
  await until('all of it is gone', async () => (await admin.call('DELETE', '/v1/namespaces/shop')).status === 404);
  const again = await admin.call('POST', '/v1/namespaces', { name: 'shop', auth: { mode: 'open' } });
  assert.equal(again.status, 201, again.text);
  assert.deepEqual((await api.get('devices')).items, []);
  assert.deepEqual((await api.get('messages')).items, []);
});

test('what was cleared is gone, and who missed it is told', async (t) => {
  const { server, admin, api } = await shop(t);
  const ann = await connected(t, server, 'ws', { namespace: 'shop', device: 'd1', user: 'ann', rooms: ['lobby'] });
  await ann.close();
  const missed = await api.push({ to: { users: ['ann'] }, data: 1 });
  const cleared = await admin.call('POST', '/v1/namespaces/shop:clear');
  assert.equal(cleared.status, 200, cleared.text);
  assert.equal((await api.call('GET', `messages/${missed.id}`)).status, 404);
  const again = await connected(t, server, 'ws', { namespace: 'shop', device: 'd1', user: 'ann' });
  assert.equal(again.ready.recovered, false, again.state());
  const { id } = await api.push({ to: { rooms: ['lobby'] }, data: 2 });
  await again.waitForId(id);
  assert.deepEqual(again.ids, [id], 'it is still in its room, and gets what comes from now on');
});

for (const kind of KINDS) {
  test(`a namespace has as many connections as it may have: ${kind}`, async (t) => {
    const { server, admin } = await shop(t);
    const limits = { connections: 2, connections_per_user: 1 };
    assert.equal((await admin.call('PATCH', '/v1/namespaces/shop', { limits })).status, 200);
    await connected(t, server, kind, { namespace: 'shop', device: 'd1', user: 'ann' });
    const second = await outcome(t, server, kind, { namespace: 'shop', device: 'd2', user: 'ann' });
    assert.equal(second, 'refused');
    await connected(t, server, kind, { namespace: 'shop', device: 'd3', user: 'bob' });
    const third = await outcome(t, server, kind, { namespace: 'shop', device: 'd4', user: 'cid' });
    assert.equal(third, 'refused');
    const { text } = await admin.call('GET', '/metrics');
    for (const reason of ['user', 'namespace']) assert.match(text, new RegExp(`tidings_clients_refused_total\\{reason="${reason}"\\} \\d`));
  });
}
