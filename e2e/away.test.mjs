// What the operator does with clients: sends those of a user away, perhaps for a while, and everybody in a namespace that is
// suspended; moves devices into rooms and out of them.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Manager } from 'socket.io-client-4';

import { Api } from './lib/api.mjs';
import { connected, outcome } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const KINDS = ['sio4-ws', 'sio4-polling', 'sio2-ws', 'ws', 'sse'];

const saidGoodbye = (one) => one.notices.some(({ notice, data }) => notice === 'goaway' && data.code === 3503 && data.reconnect === false);

test('a user is sent away and kept away, nobody else is, and a restart changes nothing', async (t) => {
  const server = await Server.start(t, { restartable: true });
  const api = new Api(server);
  const anns = await Promise.all(KINDS.map((kind) => connected(t, server, kind, { user: 'ann', device: `ann-${kind}` })));
  const bob = await connected(t, server, 'ws', { user: 'bob', device: 'bob-1' });
  const away = await api.call('DELETE', 'users/ann/connections?block=1h');
  assert.deepEqual([away.status, away.json], [200, { connections: KINDS.length }]);
  for (const ann of anns) {
    await until(`${ann.name} is sent away`, () => saidGoodbye(ann));
    await ann.close();
  }
  for (const kind of KINDS) assert.equal(await outcome(t, server, kind, { user: 'ann', device: `ann-${kind}` }), 'refused', kind);
  const { id } = await api.push({ to: { all: true }, data: 1 });
  await bob.waitForId(id);
  assert.equal(bob.connects, 1);
  await server.restart();
  assert.equal(await outcome(t, server, 'ws', { user: 'ann', device: 'ann-ws' }), 'refused', 'after a restart');
  await api.call('DELETE', 'users/ann/connections?block=0s');
  const again = await connected(t, server, 'ws', { user: 'ann', device: 'ann-ws' });
  await again.waitForId(id);
});

test('a namespace that is suspended sends everybody away, and has kept everything when it goes on', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const other = new Api(server, { namespace: 'other' });
  assert.equal((await api.call('POST', '/v1/namespaces', { name: 'other', auth: { mode: 'open' } })).status, 201);
  const clients = await Promise.all(KINDS.map((kind) => connected(t, server, kind, { user: 'ann', device: `ann-${kind}`, ackBy: 'none' })));
  const bystander = await connected(t, server, 'ws', { namespace: 'other', user: 'ann', device: 'x' });
  const { id } = await api.push({ to: { users: ['ann'] }, data: 'before' });
  for (const one of clients) await one.waitForId(id);
  const suspended = await api.call('POST', '/v1/namespaces/demo:suspend');
  assert.equal(suspended.json.state, 'suspended');
  for (const one of clients) {
    await until(`${one.name} is sent away`, () => saidGoodbye(one));
    await one.close();
  }
  for (const kind of KINDS) assert.equal(await outcome(t, server, kind, { user: 'ann', device: `ann-${kind}` }), 'refused', kind);
  assert.deepEqual([(await api.call('POST', 'messages', { to: { all: true } })).json.code], ['suspended']);
  const elsewhere = await other.push({ to: { all: true }, data: 2 });
  await bystander.waitForId(elsewhere.id);
  assert.equal(bystander.connects, 1);
  await api.call('POST', '/v1/namespaces/demo:resume');
  for (const kind of KINDS) {
    const back = await connected(t, server, kind, { user: 'ann', device: `ann-${kind}` });
    await back.waitForId(id);
  }
});

test('devices are moved into a room and out of it, connected or not, with every kind of client', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const clients = await Promise.all(KINDS.map((kind) => connected(t, server, kind, { user: 'ann', device: `ann-${kind}` })));
  const away = await connected(t, server, 'ws', { user: 'bob', device: 'bob-1', rooms: ['waiting'] });
  await away.close();
  const move = async (method, body) => {
    const answer = await api.call(method, 'rooms/lobby/members', body);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  };
  assert.deepEqual(await move('POST', { users: ['ann', 'nobody'], from_rooms: ['waiting'] }), { added: KINDS.length + 1, already: 0, unknown: ['nobody'], full: [] });
  const { id, meant } = await api.push({ to: { rooms: ['lobby'] }, data: 1 });
  assert.equal(meant.devices, KINDS.length + 1);
  for (const one of clients) await one.waitForId(id);
  const back = await connected(t, server, 'ws', { user: 'bob', device: 'bob-1' });
  await back.waitForId(id);
  assert.deepEqual(await move('DELETE', { users: ['ann'] }), { removed: KINDS.length, absent: 0, unknown: [] });
  const second = await api.push({ to: { rooms: ['lobby'] }, data: 2 });
  assert.equal(second.meant.devices, 1);
  await back.waitForId(second.id);
  for (const one of clients) assert.ok(!one.ids.includes(second.id), one.name);
  const members = await api.get('rooms/lobby/members');
  assert.deepEqual(members.items, [{ device: 'bob-1', user: 'bob', platform: 'other', online: true }]);
});

test('who is sent away from one namespace stays in another, on the same connection', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  assert.equal((await api.call('POST', '/v1/namespaces', { name: 'other', auth: { mode: 'open' } })).status, 201);
  const manager = new Manager(server.url, { transports: ['websocket'] });
  const [here, there] = ['/demo', '/other'].map((name) => manager.socket(name, { auth: { user: 'ann', device: 'd1' } }));
  t.after(() => manager._close());
  const goodbyes = [];
  for (const socket of [here, there]) socket.on('goaway', (why) => goodbyes.push([socket.nsp, why.code]));
  await until('both are connected', () => here.connected && there.connected);
  const received = [];
  there.on('push', (message, acknowledge) => (received.push(message.id), acknowledge()));
  await api.call('DELETE', 'users/ann/connections');
  await until('one is sent away', () => !here.connected);
  assert.deepEqual(goodbyes, [['/demo', 3503]]);
  const { id } = await new Api(server, { namespace: 'other' }).push({ to: { users: ['ann'] }, data: 1 });
  await until('the other goes on', () => received.includes(id));
  assert.ok(there.connected);
});
