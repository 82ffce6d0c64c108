// Who comes and goes: what the business system is told, once each, whatever is killed when; and what the members of a
// room are told of each other, on every protocol.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api, describe } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { Receiver } from './lib/receiver.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

/** A server whose hook wants these events, and which takes users for gone after `grace`. */
async function watched(t, { events, grace = '1s', presence, server: options }) {
  const receiver = await Receiver.start(t);
  const server = await Server.start(t, { restartable: true, ...options });
  const api = new Api(server);
  const changed = await api.call('PATCH', '/v1/namespaces/demo', {
    ...(events ? { hooks: [receiver.hook({ events })] } : {}),
    offline: { grace },
    ...(presence ? { presence } : {}),
  });
  assert.equal(changed.status, 200, describe(changed));
  assert.equal(changed.json.offline.grace, grace);
  return { receiver, server, api };
}

const STAYS = ['online', 'offline'];

/** What was told of a user, as `online 1`, with sessions counted from 1. */
function stays(receiver, user) {
  const all = receiver.heard.filter(({ data }) => data.user === user);
  const sessions = [...new Set(all.map(({ data }) => data.session))];
  assert.deepEqual(sessions, [...sessions].sort((a, b) => a - b), 'sessions grow');
  return all.map(({ type, data }) => `${type} ${sessions.indexOf(data.session) + 1}`);
}

async function tells(receiver, server, user, expected) {
  await until(() => `${user}: ${expected}, not ${stays(receiver, user)}\n${server.tail()}`, () => stays(receiver, user).length >= expected.length, { ms: 20_000 });
  assert.deepEqual(stays(receiver, user), expected);
}

/** Everything that happened to anybody else before is told by now: a visitor has come, gone, and been told. */
async function visited(t, receiver, server, kind = 'ws') {
  const user = `visitor-${Math.random()}`;
  const visitor = await connected(t, server, kind, { user, device: user });
  await visitor.close();
  await tells(receiver, server, user, ['online 1', 'offline 1']);
}

for (const kind of ['ws', 'sio4-ws', 'sse']) {
  test(`${kind}: a user is online once and offline once, with the last device`, async (t) => {
    const { receiver, server } = await watched(t, { events: STAYS });
    const phone = await connected(t, server, kind, { user: 'ann', device: 'phone' });
    await tells(receiver, server, 'ann', ['online 1']);
    const { data } = receiver.heard[0];
    assert.deepEqual([data.user, data.devices], ['ann', ['phone']]);
    assert.ok(Math.abs(Date.parse(data.since) - Date.now()) < 60_000, data.since);
    const web = await connected(t, server, kind, { user: 'ann', device: 'web' });
    await phone.close();
    await visited(t, receiver, server);
    assert.deepEqual(stays(receiver, 'ann'), ['online 1']);
    await web.close();
    await tells(receiver, server, 'ann', ['online 1', 'offline 1']);
    assert.deepEqual(receiver.heard.at(-1).data.devices, ['phone', 'web']);
    await connected(t, server, kind, { user: 'ann', device: 'web' });
    await tells(receiver, server, 'ann', ['online 1', 'offline 1', 'online 2']);
  });
}

test('a client that flaps, 200 times within the grace: nothing is told', async (t) => {
  const { receiver, server } = await watched(t, { events: STAYS, grace: '30s' });
  await (await connected(t, server, 'ws', { user: 'ann', device: 'd' })).close();
  for (let n = 0; n < 200; n += 1) {
    const client = await connected(t, server, 'ws', { user: 'ann', device: 'd' });
    await client.close();
  }
  await connected(t, server, 'ws', { user: 'bob', device: 'b' });
  await tells(receiver, server, 'bob', ['online 1']);
  assert.deepEqual(stays(receiver, 'ann'), ['online 1']);
});

test('kill -9 while users are online and while one is in the grace: offline comes once, after the restart', async (t) => {
  const { receiver, server, api } = await watched(t, { events: STAYS, grace: '2s' });
  const clients = {};
  for (const user of ['ann', 'bob', 'carl']) clients[user] = await connected(t, server, 'ws', { user, device: user });
  for (const user of ['ann', 'bob', 'carl']) await tells(receiver, server, user, ['online 1']);
  await clients.carl.close();
  // It is known that carl has gone: the grace runs.
  await until('carl is not online', async () => !(await api.get('users/carl')).online);
  await server.kill9();
  await clients.ann.close().catch(() => {});
  // Bob's client comes back by itself.
  await server.start();
  await clients.bob.waitConnected();
  await tells(receiver, server, 'ann', ['online 1', 'offline 1']);
  await tells(receiver, server, 'carl', ['online 1', 'offline 1']);
  assert.ok(Date.parse(receiver.heard.at(-1).data.since) <= Date.now());
  await visited(t, receiver, server);
  // Once more, with nobody coming back who was told to have gone.
  await server.kill9();
  await clients.bob.close().catch(() => {});
  await server.start();
  await tells(receiver, server, 'bob', ['online 1', 'offline 1']);
  await visited(t, receiver, server);
  for (const user of ['ann', 'bob', 'carl']) assert.deepEqual(stays(receiver, user), ['online 1', 'offline 1'], user);
  await connected(t, server, 'ws', { user: 'ann', device: 'ann' });
  await tells(receiver, server, 'ann', ['online 1', 'offline 1', 'online 2']);
});

test('an orderly stop and a start: who comes back in time was never away', async (t) => {
  const { receiver, server } = await watched(t, { events: STAYS, grace: '20s' });
  const ann = await connected(t, server, 'sio4-ws', { user: 'ann', device: 'a' });
  await tells(receiver, server, 'ann', ['online 1']);
  await server.stop();
  await server.start();
  await ann.waitConnected();
  await connected(t, server, 'ws', { user: 'bob', device: 'b' });
  await tells(receiver, server, 'bob', ['online 1']);
  assert.deepEqual(stays(receiver, 'ann'), ['online 1']);
});

test('two namespaces with the same user are two users', async (t) => {
  const { receiver, server, api } = await watched(t, { events: STAYS });
  const elsewhere = await Receiver.start(t);
  const created = await api.call('POST', '/v1/namespaces', { name: 'other', auth: { mode: 'open' }, hooks: [elsewhere.hook({ events: STAYS })], offline: { grace: '0s' } });
  assert.equal(created.status, 201, describe(created));
  await connected(t, server, 'ws', { user: 'ann', device: 'd' });
  await tells(receiver, server, 'ann', ['online 1']);
  const there = await connected(t, server, 'ws', { user: 'ann', device: 'd', namespace: 'other' });
  await there.close();
  await tells(elsewhere, server, 'ann', ['online 1', 'offline 1']);
  await visited(t, receiver, server);
  assert.deepEqual(stays(receiver, 'ann'), ['online 1']);
  assert.ok(elsewhere.heard.every(({ namespace }) => namespace === 'other'));
});

test('connections, rooms and receipts are told', async (t) => {
  const events = ['disconnected', 'joined', 'left', 'occupied', 'vacated', 'acked'];
  const { receiver, server, api } = await watched(t, { events });
  const ann = await connected(t, server, 'sio4-ws', { user: 'ann', device: 'a' });
  await ann.join(['lobby']);
  const { id } = await api.push({ to: { rooms: ['lobby'] }, data: 1 });
  await ann.waitForId(id);
  const told = () => receiver.heard.map(({ type, data }) => [type, data.room ?? data.message ?? data.reason, data.user, data.device].join(' '));
  await until(() => `the receipt is told: ${told()}`, () => told().some((each) => each.startsWith('acked')), { ms: 15_000 });
  await ann.leave(['lobby']);
  await until(() => `nobody is in the lobby: ${told()}`, () => told().includes('vacated lobby  '), { ms: 15_000 });
  await api.call('DELETE', 'users/ann/connections');
  await until(() => `the connection has ended: ${told()}`, () => told().some((each) => each.startsWith('disconnected')), { ms: 15_000 });
  assert.deepEqual(told().sort(), [
    `acked ${id} ann a`,
    'disconnected disconnected ann a',
    'joined lobby ann a',
    'left lobby ann a',
    'occupied lobby  ',
    'vacated lobby  ',
  ].sort());
  const ended = receiver.heard.find(({ type }) => type === 'disconnected').data;
  assert.deepEqual([ended.code, ended.connection], [3503, ann.lastConnection ?? ended.connection]);
});

for (const kind of ['ws', 'sio4-ws', 'sio4-polling', 'sio2-ws', 'sse']) {
  test(`${kind}: members of a room are told of each other`, async (t) => {
    const { server } = await watched(t, { presence: { notify: true } });
    const ann = await connected(t, server, kind, { user: 'ann', device: 'a', rooms: ['lobby'] });
    const heard = () => ann.notices.filter(({ notice }) => notice !== 'goaway').map(({ notice, data }) => ({ notice, ...data }));
    const bob = await connected(t, server, 'ws', { user: 'bob', device: 'b' });
    await bob.join(['lobby', 'elsewhere']);
    await ann.waitUntil('ann hears that bob has joined', () => heard().length === 1);
    await bob.close();
    await ann.waitUntil('ann hears that bob has gone', () => heard().length === 2);
    const again = await connected(t, server, 'ws', { user: 'bob', device: 'b' });
    await ann.waitUntil('ann hears that bob is back', () => heard().length === 3);
    await again.leave(['lobby']);
    await ann.waitUntil('ann hears that bob has left', () => heard().length === 4);
    const about = { room: 'lobby', user: 'bob', device: 'b' };
    assert.deepEqual(heard(), [
      { notice: 'joined', ...about },
      { notice: 'presence', ...about, online: false },
      { notice: 'presence', ...about, online: true },
      { notice: 'left', ...about },
    ]);
    assert.deepEqual(ann.problems, []);
    assert.equal(ann.received.length, 0);
  });
}
