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
  const { receiver, server, api } = await watched(t, { events: STAYS, grace: '4s' });
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
    const ann = await connected(t, server, kind, { user: 'ann', device: 'a', rooms: ['lobby', 'hall'] });
    const all = () => ann.notices.filter(({ notice }) => notice !== 'goaway').map(({ notice, data }) => ({ notice, ...data }));
    const heard = () => all().filter(({ room }) => room !== 'hall');
    const bob = await connected(t, server, 'ws', { user: 'bob', device: 'b' });
    // Who comes and goes is found out behind what happens: from here on it is known that bob is here.
    await bob.join(['hall']);
    await ann.waitUntil('ann hears of bob', () => all().some(({ notice }) => notice === 'joined'));
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

for (const [kind, ask] of [
  ['ws', (client, fields) => client.command({ cmd: 'presence', ...fields })],
  ['sio4-ws', (client, fields) => client.command('presence', fields)],
]) {
  test(`${kind}: a client asks who is in a room, and does not want to be told`, async (t) => {
    const { server, api } = await watched(t, { presence: { notify: true } });
    const ann = await connected(t, server, kind, { user: 'ann', device: 'a', rooms: ['lobby'] });
    const others = [];
    for (const name of ['bob', 'carl', 'dora']) others.push(await connected(t, server, 'ws', { user: name, device: name, rooms: ['lobby'] }));
    await others[2].close();
    await until('dora is away', async () => !(await api.get('users/dora')).online);
    const first = await ask(ann, { room: 'lobby', limit: 2 });
    assert.deepEqual([first.room, first.online, first.members], ['lobby', 3, [{ user: 'ann', device: 'a' }, { user: 'bob', device: 'bob' }]]);
    const second = await ask(ann, { room: 'lobby', limit: 2, cursor: first.next_cursor });
    assert.deepEqual([second.members, second.next_cursor], [[{ user: 'carl', device: 'carl' }], null]);
    assert.equal((await ask(ann, { notify: false })).notify, false);
    const before = ann.notices.length;
    await others[0].leave(['lobby']);
    await others[1].waitUntil('carl hears of bob', () => others[1].notices.some(({ notice, data }) => notice === 'left' && data.user === 'bob'));
    // It is told to all shards before anybody hears of it; a push comes behind it.
    const { id } = await api.push({ to: { users: ['ann'] }, data: 'behind' });
    await ann.waitForId(id);
    assert.equal((await ask(ann, { notify: true })).notify, true);
    await others[1].leave(['lobby']);
    await ann.waitUntil('ann hears of carl', () => ann.notices.length > before);
    assert.deepEqual(ann.notices.slice(before).map(({ notice, data }) => `${notice} ${data.user}`), ['left carl']);
  });
}

test('a token says whose presence is seen', async (t) => {
  const { server, api } = await watched(t, { presence: { notify: true } });
  const changed = await api.call('PATCH', '/v1/namespaces/demo', { auth: { mode: 'token' } });
  assert.equal(changed.status, 200, describe(changed));
  const token = async (fields) => {
    const minted = await api.call('POST', 'tokens', fields);
    assert.equal(minted.status, 201, describe(minted));
    return minted.json.token;
  };
  const client = async (name, fields) => connected(t, server, 'ws', { device: name, token: await token({ user: name, rooms: ['lobby'], ...fields }) });
  const insider = await client('insider', {});
  const warden = await client('warden', { presence: ['yard*'] });
  const names = async (who, room) => {
    try {
      return (await who.command({ cmd: 'presence', room })).members.map(({ user }) => user);
    } catch (error) {
      return error.refusal?.code ?? String(error);
    }
  };
  assert.deepEqual(await names(insider, 'lobby'), ['insider', 'warden']);
  assert.deepEqual(await names(insider, 'yard-1'), 'forbidden');
  assert.deepEqual(await names(warden, 'lobby'), 'forbidden');
  assert.deepEqual(await names(warden, 'yard-1'), []);
  await client('late', {});
  await insider.waitUntil('who is in the room hears', () => insider.notices.some(({ data }) => data.user === 'late'));
  await warden.command({ cmd: 'ping' });
  assert.deepEqual(warden.notices, []);
});

test('connections are listed page by page, and one is ended', async (t) => {
  const { server, api } = await watched(t, {});
  const clients = {};
  for (const [kind, device] of [['ws', 'd1'], ['sio4-ws', 'd2'], ['sio4-polling', 'd3'], ['sse', 'd4'], ['ws', 'd1']]) {
    (clients[device] ??= []).push(await connected(t, server, kind, { user: device === 'd4' ? 'bob' : 'ann', device }));
  }
  const pages = [];
  let cursor = null;
  do {
    const page = await api.get(`connections?limit=2${cursor === null ? '' : `&cursor=${cursor}`}`);
    assert.ok(page.items.length <= 2);
    pages.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null);
  assert.deepEqual(
    pages.map(({ device, user, protocol, transport }) => [device, user, protocol, transport].join(' ')).sort(),
    ['d1 ann json websocket', 'd1 ann json websocket', 'd2 ann engineio4 websocket', 'd3 ann engineio4 polling', 'd4 bob sse stream'],
  );
  for (const { address, since, outbox } of pages) {
    assert.equal(address, '127.0.0.1');
    assert.ok(Math.abs(Date.parse(since) - Date.now()) < 60_000, since);
    assert.ok(outbox.frames >= 0 && outbox.bytes >= 0);
  }
  assert.equal((await api.get('connections?user=bob')).items.length, 1);
  assert.equal((await api.get('connections?device=d1&user=bob')).items.length, 0);
  assert.equal((await api.get('connections?user=nobody')).items.length, 0);
  for (const [query, field] of [['limit=0', 'limit'], ['cursor=x', 'cursor'], ['user=', 'user']]) {
    const refused = await api.call('GET', `connections?${query}`);
    assert.deepEqual([refused.status, refused.json.errors?.[0].field], [400, field], describe(refused));
  }
  const [victim] = clients.d2;
  const id = pages.find(({ device }) => device === 'd2').connection;
  assert.equal(id, victim.ready.connection);
  assert.equal((await api.call('DELETE', `connections/${id}`)).status, 204);
  await victim.waitUntil('it is told to go', () => victim.notices.some(({ notice, data }) => notice === 'goaway' && data.code === 3503));
  await until('it is gone', async () => (await api.get('connections?device=d2')).items.length === 0);
  for (const gone of [id, 'c0', 'nonsense']) assert.equal((await api.call('DELETE', `connections/${gone}`)).status, 404);
  assert.equal((await api.get('connections')).items.length, 4, 'the others stay');
  // Another namespace sees none of them, and ends none.
  assert.equal((await api.call('POST', '/v1/namespaces', { name: 'other', auth: { mode: 'open' } })).status, 201);
  const other = new Api(server, { namespace: 'other' });
  assert.deepEqual((await other.get('connections')).items, []);
  const theirs = (await api.get('connections')).items[0].connection;
  assert.equal((await other.call('DELETE', `connections/${theirs}`)).status, 404);
});
