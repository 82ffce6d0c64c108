// The server dies at the worst moment, or stops in good order, and comes back on the same store:
// no accepted message is gone, and clients come back by themselves and catch up.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api } from './lib/api.mjs';
import { assertPositions, assertReceived } from './lib/check.mjs';
import { connected, KINDS } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';

const BACK_MS = 15_000;
/** Engine.IO clients that lose the server in the middle of an upgrade notice by the missing heartbeat only. */
const HEARTBEATS = ['--ping-interval', '2s', '--ping-timeout', '2s'];

/** One client of every kind, each a device of its own user, all in the lobby. */
function everyKind(t, server, options) {
  return Promise.all(
    Object.keys(KINDS).map((kind) => connected(t, server, kind, { user: `u-${kind}`, device: `d-${kind}`, rooms: ['lobby'], ...options })),
  );
}

/** Everything accepted came, in the order of its acceptance; what came more than once came under the same id. */
function assertCaughtUp(each, accepted) {
  assertPositions(each);
  const ids = new Set(accepted.map(({ id }) => id));
  const first = each.uniqueIds.filter((id) => ids.has(id));
  assert.deepEqual(first, accepted.map(({ id }) => id), each.state());
  const data = new Map(each.received.map((message) => [message.id, message.data]));
  for (const { id, data: sent } of accepted) assert.deepEqual(data.get(id), sent);
}

test('kill -9 after a burst of pushes, with every kind of client connected', async (t) => {
  const server = await Server.start(t, { restartable: true, args: HEARTBEATS });
  const api = new Api(server);
  const clients = await everyKind(t, server);
  const accepted = [];
  const push = async (to, data) => accepted.push({ id: (await api.push({ to, data })).id, data });

  for (let round = 0; round < 3; round += 1) {
    for (let n = 0; n < 20; n += 1) await push(n % 2 ? { rooms: ['lobby'] } : { all: true }, { round, n });
    // At once after the last answer: some clients have some of it, hardly any acknowledgement is on disk.
    await server.kill9();
    await server.start();
    for (const { id, data } of accepted.slice(-20)) assert.deepEqual((await api.message(id)).data, data);
    // Members are known before they are back.
    const meanwhile = await api.push({ to: { rooms: ['lobby'] }, data: { round, meanwhile: true } });
    assert.equal(meanwhile.meant.devices, clients.length);
    accepted.push({ id: meanwhile.id, data: { round, meanwhile: true } });
    for (const each of clients) await each.waitFor(accepted.length, { unique: true, ms: BACK_MS });
  }

  for (const each of clients) {
    assert.equal(each.connects, 4, `${each.name} came back by itself three times\n${each.state()}`);
    assertCaughtUp(each, accepted);
    assert.equal(each.remade ?? 0, 0, `the EventSource never gave up\n${each.state()}`);
  }
  // Acknowledgements that were lost with the process were asked for again: in the end the ledger is complete.
  for (const { id } of accepted) await api.waitForLedger(id, { meant: clients.length, acked: clients.length, waiting: 0 });
});

test('kill -9 while pushes are in flight: every answered one is kept, an unanswered one at most once', async (t) => {
  const server = await Server.start(t, { restartable: true, args: HEARTBEATS });
  const api = new Api(server);
  const topics = [{ users: ['ann'] }, { rooms: ['lobby'] }, { all: true }];
  const clients = await Promise.all(
    ['ws', 'sio4-ws', 'sse'].map((kind) => connected(t, server, kind, { user: 'ann', device: `d-${kind}`, rooms: ['lobby'] })),
  );
  for (let round = 0; round < 5; round += 1) {
    const answered = [];
    const asked = [];
    let goOn = true;
    // One pusher per topic, so that the order of acceptance within a topic is known.
    const pushers = topics.map(async (to, topic) => {
      for (let n = 0; goOn && n < 400; n += 1) {
        const push = { to, data: { round, topic, n }, id: `${round}-${topic}-${n}` };
        asked.push(push);
        const answer = await api.call('POST', 'messages', push).catch(() => undefined);
        if (!answer) return;
        assert.equal(answer.status, 202, answer.text);
        answered.push(push);
      }
    });
    const enough = 10 + Math.floor(Math.random() * 60);
    await clients[0].waitUntil(`${enough} pushes are answered`, () => answered.length >= enough, { ms: 20_000 });
    await server.kill9();
    goOn = false;
    await Promise.all(pushers);
    await server.start();

    for (const each of clients) {
      await each.waitUntil(
        `${each.name} has all ${answered.length} answered pushes of round ${round}`,
        () => {
          const have = new Set(each.ids);
          return answered.every(({ id }) => have.has(id));
        },
        { ms: BACK_MS },
      );
    }
    // A retry of what was not answered makes it certain, and never doubles it.
    for (const push of asked) {
      const again = await api.push(push);
      assert.equal(again.id, push.id);
      if (answered.includes(push)) assert.equal(again.duplicate, true, `${push.id} was accepted before the kill`);
    }
    for (const each of clients) {
      await each.waitUntil(
        `${each.name} has all ${asked.length} pushes of round ${round}`,
        () => {
          const have = new Set(each.ids);
          return asked.every(({ id }) => have.has(id));
        },
        { ms: BACK_MS },
      );
      each.received = each.received.filter(({ data }) => data.round === round);
      assert.deepEqual(each.uniqueIds.toSorted(), asked.map(({ id }) => id).toSorted(), each.state());
      for (const topic of topics.keys()) {
        const first = new Map(each.received.filter(({ data }) => data.topic === topic).toReversed().map((message) => [message.id, message]));
        const counters = [...first.values()].sort((a, b) => a.offset - b.offset).map(({ data }) => data.n);
        assert.deepEqual(counters, counters.map((_, index) => index), `${each.name}, topic ${topic}: order of offsets is order of acceptance`);
      }
      assertPositions(each);
      each.received = [];
    }
  }
});

for (const kind of Object.keys(KINDS)) {
  test(`away during kill -9: ${kind}`, async (t) => {
    const server = await Server.start(t, { restartable: true, args: HEARTBEATS });
    const api = new Api(server);
    const who = { user: 'ann', device: 'ann-1' };
    const before = await connected(t, server, kind, { ...who, rooms: ['lobby'] });
    await before.close();
    const accepted = [];
    for (const [index, to] of [{ users: ['ann'] }, { rooms: ['lobby'] }, { all: true }, { devices: ['ann-1'] }].entries()) {
      accepted.push({ id: (await api.push({ to, data: index })).id, data: index });
    }
    await server.restart();
    for (const { id } of accepted) await api.waitForLedger(id, { meant: 1, acked: 0, waiting: 1 });
    const after = await connected(t, server, kind, who);
    await after.waitFor(accepted.length);
    const last = await api.push({ to: { rooms: ['lobby'] }, data: 'last' });
    await after.waitForId(last.id);
    assertReceived(after, [...accepted, { id: last.id, data: 'last' }]);
    for (const { id } of [...accepted, last]) await api.waitForLedger(id, { meant: 1, written: 1, acked: 1, waiting: 0 });
    // What was acknowledged before an orderly stop does not come again.
    await after.close();
    await server.stop();
    await server.start();
    const again = await connected(t, server, kind, who);
    const new1 = await api.push({ to: { users: ['ann'] }, data: 'new' });
    await again.waitForId(new1.id);
    assertReceived(again, [{ id: new1.id, data: 'new' }]);
    for (const { id } of [...accepted, last]) assert.equal((await api.ledger(id)).acked, 1);
  });
}

test('positions go on after a restart: same epoch, next offset', async (t) => {
  const server = await Server.start(t, { restartable: true, args: HEARTBEATS });
  const api = new Api(server);
  const ann = await connected(t, server, 'ws', { user: 'ann', device: 'ann-1' });
  for (let n = 0; n < 5; n += 1) await api.push({ to: { users: ['ann'] }, data: n });
  await ann.waitFor(5);
  await server.restart();
  await ann.waitUntil('ann is back', () => ann.connects === 2 && ann.ready, { ms: BACK_MS });
  const { id } = await api.push({ to: { users: ['ann'] }, data: 5 });
  await ann.waitForId(id);
  const last = ann.received.at(-1);
  assert.deepEqual([last.offset, last.epoch], [ann.received[0].offset + 5, ann.received[0].epoch]);
});

test('an orderly stop says goodbye in every protocol, and ends with exit code 0', async (t) => {
  const server = await Server.start(t, { restartable: true, args: HEARTBEATS });
  const api = new Api(server);
  const clients = await everyKind(t, server);
  const accepted = [];
  for (let n = 0; n < 10; n += 1) accepted.push({ id: (await api.push({ to: { rooms: ['lobby'] }, data: n })).id, data: n });
  await server.stop();
  for (const each of clients) {
    await each.waitUntil(`${each.name} was told`, () => each.notices.some(({ notice }) => notice === 'goaway'));
    const { data } = each.notices.find(({ notice }) => notice === 'goaway');
    assert.deepEqual([data.code, data.reason, data.reconnect, typeof data.after_ms], [3001, 'shutdown', true, 'number'], each.name);
    await each.waitUntil(`${each.name} is disconnected`, () => each.disconnects.length >= 1);
    if (each.kind === 'ws') assert.equal(each.disconnects[0], '3001 shutdown');
  }
  await server.start();
  const after = await api.push({ to: { rooms: ['lobby'] }, data: 'after' });
  for (const each of clients) {
    await each.waitFor(accepted.length + 1, { unique: true, ms: BACK_MS });
    assertCaughtUp(each, [...accepted, { id: after.id, data: 'after' }]);
  }
});
