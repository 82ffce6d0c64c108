// The main job, with every kind of client: five devices get what is meant for them, each message once and in
// order, and acknowledge it; the ledger knows; whoever was away gets what it missed before anything newer.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api, ledgerOf, platformOf } from './lib/api.mjs';
import { assertReceived } from './lib/check.mjs';
import { client, connected, KINDS } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

/** Five devices of one user, on five kinds of client, with different ways to acknowledge. */
const FIVE = {
  'the five of the tour': [
    { kind: 'sio4-ws', platform: 'web' },
    { kind: 'sio4-upgrade', platform: 'ios', ackBy: 'command' },
    { kind: 'sio2-ws', platform: 'android' },
    { kind: 'ws', platform: 'desktop' },
    { kind: 'sse', platform: 'web' },
  ],
  'the other transports and versions': [
    { kind: 'sio4-polling', platform: 'web' },
    { kind: 'sio3-ws', platform: 'ios' },
    { kind: 'sio3-upgrade', platform: 'android', ackBy: 'command' },
    { kind: 'sio2-upgrade', platform: 'web' },
    { kind: 'sio2-polling', platform: 'other', ackBy: 'command' },
  ],
};

for (const [title, five] of Object.entries(FIVE)) {
  test(`pushes to user, room, all, device and platform, with except: ${title}`, async (t) => {
    const server = await Server.start(t);
    const api = new Api(server);
    const events = ['push', 'note'];
    const ann = await Promise.all(
      five.map((how, index) => connected(t, server, how.kind, { ...how, user: 'ann', device: `ann-${index + 1}`, events })),
    );
    const bob = await connected(t, server, 'sio4-ws', { user: 'bob', device: 'bob-1', platform: 'web', events });
    const eve = await connected(t, server, 'ws', { user: 'eve', device: 'eve-1', platform: 'ios', events });
    const everybody = [...ann, bob, eve];
    for (const member of [...ann, bob]) await member.join(['lobby']);
    const on = (platform) => ann.filter((each) => each.platform === platform);
    const without = (...gone) => everybody.filter((each) => !gone.includes(each));
    const connection = ann[1].ready.connection;
    assert.ok(connection, `ready names the connection: ${JSON.stringify(ann[1].ready)}`);
    // A stream joins by coming again, and the old one goes when its client is seen to be gone.
    const online = async () => (await api.call('POST', 'messages', { to: { all: true }, dry_run: true })).json.online.connections;
    await until('everybody has one connection', async () => (await online()) === everybody.length);

    // Each push with exactly those who are to get it, and the topic where only one can be meant.
    const plan = [
      [{ to: { users: ['ann'] } }, ann, 'user:ann'],
      [{ to: { rooms: ['lobby'] } }, without(eve), 'room:lobby'],
      [{ to: { all: true } }, everybody, 'all'],
      [{ to: { devices: ['ann-3'] } }, [ann[2]], 'device:ann-3'],
      [{ to: { all: true }, except: { users: ['bob'] } }, without(bob)],
      [{ to: { rooms: ['lobby'] }, except: { devices: ['ann-1'] } }, without(eve, ann[0])],
      [{ to: { all: true }, except: { rooms: ['lobby'] } }, [eve]],
      [{ to: { rooms: ['lobby'] }, except: { connections: [connection] } }, without(eve, ann[1])],
      [{ to: { users: ['ann', 'bob'], rooms: ['lobby'], devices: ['ann-1', 'eve-1'] } }, everybody],
      [{ to: { users: ['ann'], platforms: ['web'] } }, on('web')],
      [{ to: { all: true, platforms: ['ios'] }, except: { users: ['eve'] } }, on('ios')],
      [{ to: { users: ['ann'], rooms: ['nobody-is-here'] }, event: 'note', data: ['text', 1, null, { 'ключ': '日本語 🎉 \u2028 "quoted" \\ /' }] }, ann],
      [{ to: { all: true }, data: 'the last one' }, everybody, 'all'],
    ];
    const expected = new Map(everybody.map((each) => [each, []]));
    const pushes = [];
    for (const [index, [push, meant, topic]] of plan.entries()) {
      const data = push.data ?? { step: index, text: 'hello' };
      const accepted = await api.push({ ...push, data });
      assert.equal(accepted.duplicate, false);
      assert.equal(accepted.meant.devices, meant.length, `meant by ${JSON.stringify(push)}`);
      assert.equal(accepted.online.connections, meant.length, `online for ${JSON.stringify(push)}`);
      const sent = { id: accepted.id, event: push.event, data };
      pushes.push({ ...sent, push, meant, accepted_at: accepted.accepted_at });
      for (const each of meant) expected.get(each).push({ ...sent, topic });
    }
    assert.equal(new Set(pushes.map(({ id }) => id)).size, plan.length, 'ids are unique');

    // The last push reaches everybody, after everything else: what has not come by then, or came twice, shows.
    for (const each of everybody) await each.waitForId(pushes.at(-1).id);
    for (const each of everybody) {
      assertReceived(each, expected.get(each));
      for (const [index, { topic }] of expected.get(each).entries()) {
        if (topic) assert.equal(each.received[index].topic, topic, `${each.name}, ${JSON.stringify(each.received[index])}`);
      }
    }

    // The ledger of every message: all who were meant were written to and acknowledged, nobody else.
    for (const { id, meant, push, data, accepted_at, event = 'push' } of pushes) {
      const all = meant.length;
      await api.waitForLedger(id, { meant: all, written: all, acked: all, waiting: 0, escalated: 0, expired: 0, dropped: 0, recalled: 0 });
      const report = await api.report(id);
      assert.equal(report.delivery_rate, 1, JSON.stringify(report));
      for (const platform of new Set(meant.map((each) => each.platform))) {
        const devices = meant.filter((each) => each.platform === platform).length;
        assert.equal(ledgerOf(platformOf(report, platform)).acked, devices, `${platform} of ${JSON.stringify(report)}`);
      }
      const acked = await api.receipts(id, 'acked');
      assert.deepEqual(acked.map((row) => row.device).sort(), meant.map((each) => each.device).sort());
      assert.deepEqual(await api.receipts(id, 'waiting'), []);

      const message = await api.message(id);
      const { to, except } = message;
      assert.deepEqual({ id: message.id, event: message.event, data: message.data, state: message.state, accepted_at: message.accepted_at }, { id, event, data, state: 'live', accepted_at });
      for (const [name, value] of Object.entries(push.to)) assert.deepEqual(to[name], value, `to.${name} of ${JSON.stringify(message)}`);
      for (const [name, value] of Object.entries(push.except ?? {})) assert.deepEqual(except[name], value, `except.${name}`);
      assert.equal(Date.parse(message.expires_at) - Date.parse(message.accepted_at), 24 * 60 * 60 * 1000, 'ttl is 24 h by default');
      assert.deepEqual(ledgerOf(message.report), ledgerOf(report));
    }
  });
}

test('the ledger while some have acknowledged and some have not', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const five = await Promise.all(
    FIVE['the five of the tour'].map((how, index) =>
      connected(t, server, how.kind, { platform: how.platform, user: 'ann', device: `ann-${index + 1}`, rooms: ['lobby'], ackBy: 'none' })),
  );
  const { id } = await api.push({ to: { rooms: ['lobby'] }, data: { question: 'who has it?' } });
  for (const each of five) await each.waitFor(1);
  let ledger = await api.waitForLedger(id, { meant: 5, written: 5, acked: 0, waiting: 5 });
  assert.equal(ledger.delivery_rate, 0);

  // One by one: each acknowledgement is one more, a second one from the same device is none.
  const done = [];
  for (const each of five) {
    await each.ack([id]);
    done.push(each.device);
    ledger = await api.waitForLedger(id, { meant: 5, written: 5, acked: done.length, waiting: 5 - done.length });
    assert.ok(Math.abs(ledger.delivery_rate - done.length / 5) < 1e-6, JSON.stringify(ledger));
    assert.deepEqual((await api.receipts(id, 'acked')).map((row) => row.device).sort(), [...done].sort());
    assert.deepEqual(
      (await api.receipts(id, 'waiting')).map((row) => row.device).sort(),
      five.map(({ device }) => device).filter((device) => !done.includes(device)),
    );
  }
  for (const each of five) await each.ack([id]);
  ledger = await api.ledger(id);
  assert.deepEqual([ledger.acked, ledger.waiting, ledger.delivery_rate], [5, 0, 1]);

  // Receipts come in pages, and the pages together are all of them, once.
  const paged = await api.receipts(id, 'acked', { limit: 2 });
  assert.deepEqual(paged.map((row) => row.device).sort(), five.map(({ device }) => device));
  const rows = await api.receipts(id);
  assert.deepEqual(rows.map(({ device, state }) => [device, state]).sort(), five.map(({ device }) => [device, 'acked']));

  const report = await api.report(id);
  const { p50, p95, p99 } = report.ack_ms;
  for (const value of [p50, p95, p99]) assert.equal(typeof value, 'number', JSON.stringify(report));
  assert.ok(p50 >= 0 && p50 <= p95 && p95 <= p99, JSON.stringify(report.ack_ms));
});

test('who leaves a room gets nothing more of it', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const members = await Promise.all(
    ['sio4-ws', 'sio3-ws', 'sio2-polling', 'ws'].map((kind) => connected(t, server, kind, { user: `u-${kind}`, device: `d-${kind}`, rooms: ['lobby', 'hall'] })),
  );
  const before = await api.push({ to: { rooms: ['lobby'] }, data: 1 });
  assert.equal(before.meant.devices, 4);
  for (const each of members) await each.leave(['lobby']);
  const nobody = await api.push({ to: { rooms: ['lobby'] }, data: 2 });
  assert.deepEqual([nobody.meant.devices, nobody.online.connections], [0, 0]);
  const hall = await api.push({ to: { rooms: ['hall'] }, data: 3 });
  assert.equal(hall.meant.devices, 4);
  for (const each of members) {
    await each.waitForId(hall.id);
    assertReceived(each, [{ id: before.id, data: 1 }, { id: hall.id, data: 3 }]);
  }
});

test('a retry with the same id is the same message, another body under it is a conflict', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const ann = await connected(t, server, 'ws', { user: 'ann', device: 'ann-1' });
  const push = { to: { users: ['ann'] }, data: { order: 7781 }, id: 'order-7781-shipped' };
  const first = await api.push(push);
  assert.deepEqual([first.id, first.duplicate], ['order-7781-shipped', false]);
  const again = await api.push(push);
  assert.deepEqual({ ...again, online: first.online }, { ...first, duplicate: true });
  const other = await api.call('POST', 'messages', { ...push, data: { order: 1 } });
  assert.deepEqual([other.status, other.json?.code], [409, 'conflict']);
  const { id, ...bare } = push;
  const header = await api.push({ ...bare, data: 'by header' }, { headers: { 'idempotency-key': 'k-1' } });
  const headerAgain = await api.push({ ...bare, data: 'by header' }, { headers: { 'idempotency-key': 'k-1' } });
  assert.deepEqual([header.id, header.duplicate, headerAgain.id, headerAgain.duplicate], ['k-1', false, 'k-1', true]);
  await ann.waitForId('k-1');
  const last = await api.push({ to: { users: ['ann'] }, data: 'last' });
  await ann.waitForId(last.id);
  assertReceived(ann, [push, { id: 'k-1', data: 'by header' }, { id: last.id, data: 'last' }]);
});

for (const kind of Object.keys(KINDS)) {
  test(`away and back: ${kind}`, async (t) => {
    const server = await Server.start(t);
    const api = new Api(server);
    const who = { user: 'ann', device: 'ann-1', platform: 'web', rooms: ['lobby'] };
    const away = await connected(t, server, kind, who);
    // Somebody who stays: what is pushed meanwhile must be ordinary for others.
    const stays = await connected(t, server, 'ws', { user: 'bob', device: 'bob-1', rooms: ['lobby'] });
    const push = async (to, data) => ({ id: (await api.push({ to, data })).id, data });

    const zero = await push({ users: ['ann'] }, 'before');
    await away.waitFor(1);
    await api.waitForLedger(zero.id, { acked: 1, waiting: 0 });
    await away.close();

    const missed = [
      await push({ users: ['ann'] }, { missed: 1 }),
      await push({ rooms: ['lobby'] }, { missed: 2 }),
      await push({ all: true }, { missed: 3 }),
    ];
    const meant = [1, 2, 2];
    await stays.waitFor(2);
    for (const [index, { id }] of missed.entries()) {
      const ledger = await api.waitForLedger(id, { meant: meant[index], acked: meant[index] - 1, waiting: 1 });
      assert.equal(ledger.delivery_rate, (meant[index] - 1) / meant[index]);
      assert.deepEqual((await api.receipts(id, 'waiting')).map((row) => row.device), ['ann-1']);
    }

    // Back, as a program that was started anew, while pushes go on: nothing newer before what was missed.
    const { rooms, ...same } = who;
    const back = client(server, kind, same);
    t.after(() => back.close());
    const newer = [];
    let connecting = true;
    const connect = back.connect().finally(() => (connecting = false));
    do newer.push(await push([{ users: ['ann'] }, { rooms: ['lobby'] }, { all: true }][newer.length % 3], { newer: newer.length }));
    while (connecting || newer.length < 6);
    await connect;
    await back.waitForId(newer.at(-1).id);
    assertReceived(back, [...missed, ...newer]);
    for (const [index, { id }] of missed.entries()) {
      const ledger = await api.waitForLedger(id, { meant: meant[index], written: meant[index], acked: meant[index], waiting: 0 });
      assert.equal(ledger.delivery_rate, 1);
    }
    // The room is remembered for the device, and nobody else noticed.
    const forBoth = [...missed.slice(1), ...newer.filter((_, index) => index % 3 !== 0)];
    await stays.waitFor(forBoth.length);
    assertReceived(stays, forBoth);
  });
}

for (const kind of Object.keys(KINDS)) {
  test(`what was received and not acknowledged comes again, under the same id: ${kind}`, async (t) => {
    const server = await Server.start(t);
    const api = new Api(server);
    const who = { user: 'ann', device: 'ann-1' };
    const first = await connected(t, server, kind, { ...who, ackBy: 'none' });
    const pushes = [];
    for (let n = 0; n < 3; n += 1) pushes.push({ id: (await api.push({ to: { users: ['ann'] }, data: n })).id, data: n });
    await first.waitFor(3);
    await first.ack([pushes[0].id]);
    await api.waitForLedger(pushes[0].id, { acked: 1 });
    await first.close();

    const second = await connected(t, server, kind, who);
    const last = { id: (await api.push({ to: { users: ['ann'] }, data: 'last' })).id, data: 'last' };
    await second.waitForId(last.id);
    assertReceived(first, pushes);
    assertReceived(second, [...pushes.slice(1), last]);
    assert.deepEqual(
      second.received.slice(0, 2).map(({ topic, epoch, offset }) => ({ topic, epoch, offset })),
      first.received.slice(1).map(({ topic, epoch, offset }) => ({ topic, epoch, offset })),
      'a position stays what it was',
    );
    for (const { id } of [...pushes, last]) await api.waitForLedger(id, { meant: 1, acked: 1, waiting: 0 });
  });
}

for (const kind of ['sio4-ws', 'sio4-upgrade', 'sio4-polling']) {
  test(`a connection that breaks is recovered by the client itself: ${kind}`, async (t) => {
    const server = await Server.start(t);
    const api = new Api(server);
    const ann = await connected(t, server, kind, { user: 'ann', device: 'ann-1', rooms: ['lobby'] });
    const push = async (data) => ({ id: (await api.push({ to: { rooms: ['lobby'] }, data })).id, data });
    const pushes = [await push('before')];
    await api.waitForLedger(pushes[0].id, { acked: 1 });
    ann.socket.io.reconnection(false);
    ann.socket.io.engine.close();
    await ann.waitUntil('the connection is gone', () => ann.disconnects.length === 1);
    for (const data of [1, 2, 3]) pushes.push(await push(data));
    ann.socket.io.reconnection(true);
    ann.socket.connect();
    await ann.waitConnected();
    assert.equal(ann.ready.recovered, true, JSON.stringify(ann.ready));
    pushes.push(await push('after'));
    await ann.waitForId(pushes.at(-1).id);
    assertReceived(ann, pushes);
    for (const { id } of pushes) await api.waitForLedger(id, { meant: 1, acked: 1, waiting: 0 });
  });
}

test('two connections of one device, and a device that changes its client', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const who = { user: 'ann', device: 'ann-1' };
  const one = await connected(t, server, 'sio4-ws', who);
  const two = await connected(t, server, 'ws', who);
  const both = await api.push({ to: { users: ['ann'] }, data: 'both' });
  assert.deepEqual([both.meant.devices, both.online.connections], [1, 2]);
  for (const each of [one, two]) await each.waitFor(1);
  await api.waitForLedger(both.id, { meant: 1, written: 1, acked: 1, waiting: 0 });
  await one.close();
  await two.close();
  const missed = await api.push({ to: { users: ['ann'] }, data: 'missed' });
  await until('nobody is online', async () => (await api.push({ to: { users: ['ann'] }, data: 'probe', ttl: '0s' })).online.connections === 0);
  const three = await connected(t, server, 'sse', who);
  await three.waitForId(missed.id);
  assertReceived(three, [{ id: missed.id, data: 'missed' }]);
});
