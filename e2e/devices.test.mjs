// What is kept of devices, by the backend and by the devices themselves; who is left alone; rooms that are suspended.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api, describe } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { Receiver } from './lib/receiver.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const KINDS = ['ws', 'sio4-ws', 'sio4-polling', 'sio3-ws', 'sio2-ws'];

/** Asks the `device` of a client: its record, after `set` if there is one; or the error. */
async function own(client, set) {
  if (client.kind === 'ws') {
    try {
      return await client.command({ cmd: 'device', ...(set ? { set } : {}) });
    } catch (error) {
      return { error: error.refusal };
    }
  }
  const { ok, ...answer } = await client.command('device', set ? { set } : { get: true });
  assert.equal(ok, answer.error === undefined, JSON.stringify(answer));
  return answer;
}

for (const kind of KINDS) {
  test(`${kind}: a device sees and changes its own record`, async (t) => {
    const server = await Server.start(t);
    const api = new Api(server);
    const record = { user: 'ann', tags: ['vip'], metadata: { app: '3.1' }, tokens: { apns: 'secret' } };
    const made = await api.call('PUT', 'devices/d1', record);
    assert.equal(made.status, 201, describe(made));
    const { id } = await api.push({ to: { users: ['ann'] }, data: 1 });
    const client = await connected(t, server, kind, { user: 'ann', device: 'd1', platform: 'ios' });
    await client.waitForId(id);
    const shown = await own(client);
    assert.deepEqual([shown.device, shown.user, shown.platform, shown.tags, shown.tokens], ['d1', 'ann', 'ios', ['vip'], { apns: '***' }]);
    const changed = await own(client, { metadata: { app: '3.2', new: true }, tokens: { fcm: { token: 't' } }, muted_rooms: { lobby: {} }, do_not_disturb: { windows: [{ from: '22:00', to: '07:00', zone: 'Asia/Shanghai' }] } });
    assert.deepEqual([changed.metadata, changed.tokens, changed.muted_rooms], [{ app: '3.2', new: true }, { apns: '***', fcm: '***' }, { lobby: { until: null } }]);
    const { online, created_at, last_seen, rooms, ...seen } = await api.get('devices/d1');
    assert.deepEqual([online, rooms], [true, []]);
    assert.deepEqual(seen, changed, `${created_at} ${last_seen}`);
    for (const [set, code, message] of [
      [{ tags: ['admin'] }, 'forbidden', /tags/],
      [{ user: 'bob' }, 'forbidden', /user/],
      [{ metadata: 7 }, 'invalid_request', /metadata must be an object, not the number 7/],
      [{ muted_rooms: { lobby: { until: 'soon' } } }, 'invalid_request', /muted_rooms\["lobby"\]\.until is "soon"/],
      [{ metadata: { x: 'y'.repeat(5_000) } }, 'invalid_request', /bytes of JSON, at most 4096 are allowed/],
      [{ nonsense: 1 }, 'invalid_request', /nonsense is not a known field/],
    ]) {
      const { error } = await own(client, set);
      assert.equal(error?.code, code, JSON.stringify(error));
      assert.match(error.message, message);
    }
    assert.deepEqual(await own(client), changed, 'what was refused has changed nothing');
    assert.deepEqual(client.problems, []);
    await client.close();
  });
}

test('a device changes itself with a token, and nobody else', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server, { namespace: 'shop' });
  const made = await api.call('POST', '/v1/namespaces', { name: 'shop', auth: { mode: 'token' } });
  assert.equal(made.status, 201, describe(made));
  const minted = await api.call('POST', 'tokens', { user: 'ann', device: 'd1' });
  await api.call('PUT', 'devices/d2', { user: 'bob' });
  const ann = await connected(t, server, 'sio4-ws', { namespace: 'shop', token: minted.json.token });
  assert.deepEqual((await own(ann, { metadata: { mine: true } })).metadata, { mine: true });
  const { error } = await own(ann, { device: 'd2', metadata: { mine: false } });
  assert.equal(error.code, 'invalid_request', JSON.stringify(error));
  assert.deepEqual((await api.get('devices/d2')).metadata, {});
  await ann.close();
});

test('who is not to be disturbed is told of when that is over, also after a kill', async (t) => {
  const receiver = await Receiver.start(t);
  const server = await Server.start(t, { restartable: true });
  const api = new Api(server);
  const rules = { hooks: [receiver.hook({ events: ['undelivered'] })], offline: { escalate_after: '200ms' } };
  assert.equal((await api.call('PATCH', '/v1/namespaces/demo', rules)).status, 200);
  const soon = new Date(Date.now() + 6_000).toISOString();
  for (const [device, record] of [
    ['quiet', { do_not_disturb: { until: soon } }],
    ['muted', { muted_rooms: { lobby: {} } }],
    ['other', {}],
  ]) {
    assert.equal((await api.call('PUT', `devices/${device}`, { user: device, ...record })).status, 201);
    assert.equal((await api.call('POST', 'rooms/lobby/members', { devices: [device] })).status, 200);
  }
  const told = () => receiver.heard.map(({ data }) => `${data.device} ${data.message}`).sort();
  await api.push({ to: { rooms: ['lobby'] }, id: 'chat' });
  await until(() => `one is told: ${told()}\n${server.tail()}`, () => told().length === 1);
  assert.deepEqual(told(), ['other chat']);
  for (const [device, detail] of [['quiet', /do not disturb until/], ['muted', /the room lobby is muted/]]) {
    const trace = await api.get(`messages/chat/trace?device=${device}`);
    assert.deepEqual([trace.verdict, trace.because], ['waiting', 'muted'], JSON.stringify(trace));
    assert.match(trace.steps.at(-1).detail, detail);
  }
  await api.waitForLedger('chat', { meant: 3, waiting: 3 });
  await server.kill9();
  await server.restart();
  await until(() => `two are told: ${told()}\n${server.tail()}`, () => told().length === 2, { ms: 20_000 });
  assert.deepEqual(told(), ['other chat', 'quiet chat']);
  await api.push({ to: { rooms: ['lobby'] }, id: 'alarm', priority: 'high' });
  await until(() => `all are told: ${told()}`, () => told().length === 5);
  assert.deepEqual(told(), ['muted alarm', 'other alarm', 'other chat', 'quiet alarm', 'quiet chat']);
  // Whoever is muted reads it all the same.
  const muted = await connected(t, server, 'ws', { user: 'muted', device: 'muted' });
  await muted.waitFor(2);
  assert.deepEqual(muted.ids, ['chat', 'alarm']);
  await muted.close();
});

for (const kind of ['ws', 'sio4-ws']) {
  test(`${kind}: a suspended room is told to its members, and takes neither guests nor pushes`, async (t) => {
    const server = await Server.start(t, { restartable: true });
    const api = new Api(server);
    const member = await connected(t, server, kind, { user: 'ann', device: 'd1', rooms: ['lobby'] });
    const guest = await connected(t, server, kind, { user: 'bob', device: 'd2' });
    const suspended = await api.call('PATCH', 'rooms/lobby', { suspended: true });
    assert.deepEqual([suspended.status, suspended.json.suspended], [200, true], describe(suspended));
    await member.waitUntil('it is told', () => member.notices.length === 1);
    assert.deepEqual(member.notices, [{ notice: 'room', data: { room: 'lobby', suspended: true } }]);
    await assert.rejects(guest.join(['lobby']), /suspended/);
    const refused = await api.call('POST', 'messages', { to: { rooms: ['lobby'] } });
    assert.deepEqual([refused.status, refused.json.code, refused.json.errors[0].field], [403, 'suspended', 'to.rooms[0]']);
    await server.kill9();
    await server.restart();
    await guest.waitConnected();
    await assert.rejects(guest.join(['lobby']), /suspended/);
    assert.equal((await api.call('PATCH', 'rooms/lobby', { suspended: false })).json.suspended, false);
    await guest.join(['lobby']);
    await api.push({ to: { rooms: ['lobby'] }, id: 'm1' });
    await guest.waitForId('m1');
    assert.deepEqual(guest.problems, []);
    await guest.close();
    await member.close();
  });
}
