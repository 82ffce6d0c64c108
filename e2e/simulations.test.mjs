// Faults on purpose, and clients that recover from them: what is lost comes again after a reconnect, what is late, doubled
// or out of order is all there, and a connection that is ended comes back.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api, assertProblem, describe } from './lib/api.mjs';
import { assertReceived } from './lib/check.mjs';
import { client, connected, KINDS } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';

async function simulate(api, body) {
  const answer = await api.call('POST', 'simulations', body);
  assert.equal(answer.status, 201, describe(answer));
  return answer.json;
}

async function end(api, { id }) {
  const answer = await api.call('DELETE', `simulations/${id}`);
  assert.equal(answer.status, 204, describe(answer));
}

/** Pushes to a user, and answers what `assertReceived` expects. */
const push = async (api, data) => ({ id: (await api.push({ to: { users: ['ann'] }, data })).id, data });

/** Pushes to a user, with no time in between, and answers the ids. */
async function pushTogether(api, messages) {
  const answer = await api.call('POST', 'messages:batch', { messages: messages.map((message) => ({ to: { users: ['ann'] }, ...message })) });
  assert.equal(answer.status, 200, describe(answer));
  return answer.json.results.map(({ id }) => id);
}

for (const kind of Object.keys(KINDS)) {
  test(`what is lost is not acknowledged, and comes after a reconnect: ${kind}`, async (t) => {
    const server = await Server.start(t);
    const api = new Api(server);
    const who = { user: 'ann', device: 'ann-1' };
    const first = await connected(t, server, kind, who);
    const bystander = await connected(t, server, 'ws', { user: 'ann', device: 'ann-2' });
    const losing = await simulate(api, { on: { device: 'ann-1' }, effect: 'lose' });
    const lost = await push(api, 'lost');
    await bystander.waitForId(lost.id);
    await end(api, losing);
    const next = await push(api, 'next');
    await first.waitForId(next.id);
    assertReceived(first, [next]);
    // The server takes both for written, and has a receipt for one of them.
    await api.waitForLedger(lost.id, { meant: 2, written: 2, acked: 1, waiting: 1 });
    await api.waitForLedger(next.id, { meant: 2, written: 2, acked: 2, waiting: 0 });
    const trace = await api.get(`messages/${lost.id}/trace?device=ann-1`);
    assert.deepEqual([trace.verdict, trace.because], ['waiting', 'simulated_loss'], JSON.stringify(trace));
    await first.close();

    const second = client(server, kind, who);
    t.after(() => second.close());
    await second.connect();
    await second.waitForId(lost.id);
    assertReceived(second, [lost]);
    await api.waitForLedger(lost.id, { meant: 2, written: 2, acked: 2, waiting: 0 });
    assertReceived(bystander, [lost, next]);
  });
}

test('what is late, doubled or out of order is all there', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const ann = await connected(t, server, 'ws', { user: 'ann', device: 'ann-1' });
  const ids = () => ann.received.map(({ data }) => data);
  const on = { user: 'ann' };

  const doubling = await simulate(api, { on, effect: 'duplicate' });
  await push(api, 'doubled');
  await ann.waitFor(2);
  await end(api, doubling);
  assert.deepEqual(ids(), ['doubled', 'doubled']);

  await simulate(api, { on: { message: 'late' }, effect: 'delay', delay: '300ms' });
  const pushed = performance.now();
  const [, prompt] = await pushTogether(api, [{ data: 'late', id: 'late' }, { data: 'prompt' }]);
  await ann.waitForId('late');
  const took = performance.now() - pushed;
  assert.ok(took >= 295, `it came after ${took} ms`);
  await ann.waitForId(prompt);
  assert.deepEqual(ids().slice(2), ['prompt', 'late']);

  const mixing = await simulate(api, { on, effect: 'reorder', probability: 1, for: '1m' });
  await pushTogether(api, [{ data: 1 }, { data: 2 }, { data: 3 }]);
  // The third one waits for another, and then goes without.
  await ann.waitFor(7);
  assert.deepEqual(ids().slice(4), [2, 1, 3]);
  await end(api, mixing);
  for (const { id } of ann.received) await api.waitForLedger(id, { meant: 1, acked: 1, waiting: 0 });
});

for (const kind of ['sio4-ws', 'sio4-polling', 'sio3-ws', 'sio2-ws', 'sse']) {
  test(`a connection that is ended on purpose comes back by itself: ${kind}`, async (t) => {
    const server = await Server.start(t);
    const api = new Api(server);
    const ann = await connected(t, server, kind, { user: 'ann', device: 'ann-1' });
    const ending = await simulate(api, { on: { user: 'ann' }, effect: 'disconnect' });
    const last = await push(api, 'last');
    await ann.waitUntil('the connection ended', () => ann.disconnects.length > 0);
    await end(api, ending);
    const meanwhile = await push(api, 'meanwhile');
    await ann.waitForId(meanwhile.id, { ms: 15_000 });
    assert.deepEqual(ann.uniqueIds, [last.id, meanwhile.id], ann.state());
    for (const { id } of [last, meanwhile]) await api.waitForLedger(id, { meant: 1, acked: 1, waiting: 0 });
  });
}

test('a plain WebSocket is told 3011, after the message', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const ann = await connected(t, server, 'ws', { user: 'ann', device: 'ann-1', ackBy: 'none' });
  await simulate(api, { on: { message: 'the-end' }, effect: 'disconnect' });
  await api.push({ to: { users: ['ann'] }, data: 0, id: 'the-end' });
  await ann.waitUntil('the connection ended', () => ann.disconnects.length > 0);
  assert.deepEqual(ann.ids, ['the-end'], ann.state());
  assert.match(JSON.stringify(ann.disconnects), /3011/);
});

test('without --dev nothing is simulated unless the setting says so', async (t) => {
  const server = await Server.start(t, { dev: false });
  const api = new Api(server);
  const created = await api.call('POST', '/v1/namespaces', { name: 'demo', auth: { mode: 'open' } });
  assert.equal(created.status, 201, describe(created));
  const refused = await api.call('POST', 'simulations', { on: { user: 'ann' }, effect: 'lose' });
  assertProblem(refused, { status: 403, code: 'forbidden', says: /simulations\.enabled/ });
  await server.stop();

  const willing = await Server.start(t, { dev: false, store: server.store, adminKey: server.adminKey, env: { TIDINGS_SIMULATIONS__ENABLED: 'true' } });
  const again = new Api(willing);
  const begun = await simulate(again, { on: { user: 'ann' }, effect: 'lose', for: '1m' });
  assert.deepEqual((await again.get('simulations')).items, [begun]);
});
