// Who is kept out: users, devices and networks; and how much a device may ask for, and a key may push.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api, assertProblem } from './lib/api.mjs';
import { connected, outcome } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const KINDS = ['sio4-ws', 'sio4-polling', 'sio2-ws', 'ws', 'sse'];

const saidGoodbye = (one) => one.notices.some(({ notice, data }) => notice === 'goaway' && data.code === 3503 && data.reconnect === false);

async function block(api, body) {
  const answer = await api.call('POST', 'blocks', body);
  assert.equal(answer.status, 201, answer.text);
  return answer.json;
}

test('a device that is blocked is sent away and stays out, through kill -9, until the block is lifted', async (t) => {
  const server = await Server.start(t, { restartable: true });
  const api = new Api(server);
  const anns = await Promise.all(KINDS.map((kind) => connected(t, server, kind, { user: 'ann', device: `ann-${kind}` })));
  const laptop = await connected(t, server, 'ws', { user: 'ann', device: 'laptop' });
  const ids = [];
  for (const kind of KINDS) ids.push((await block(api, { on: { device: `ann-${kind}` }, reason: 'stolen' })).id);
  for (const ann of anns) {
    await until(`${ann.name} is sent away`, () => saidGoodbye(ann));
    await ann.close();
  }
  const refused = async (when) => {
    for (const kind of KINDS) assert.equal(await outcome(t, server, kind, { user: 'ann', device: `ann-${kind}` }), 'refused', `${kind} ${when}`);
  };
  await refused('at once');
  const { id } = await api.push({ to: { users: ['ann'] }, data: 1 });
  await laptop.waitForId(id);
  assert.equal(laptop.connects, 1, 'the others of the user stay');
  await server.kill9();
  await server.start();
  await refused('after kill -9');
  assert.deepEqual((await api.get('blocks')).items.map(({ on }) => on.device), KINDS.map((kind) => `ann-${kind}`));
  for (const each of ids) assert.equal((await api.call('DELETE', `blocks/${each}`)).status, 204);
  for (const kind of KINDS) {
    const again = await connected(t, server, kind, { user: 'ann', device: `ann-${kind}` });
    await again.waitForId(id);
  }
});

test('a network that is blocked is sent away from one namespace, and from no other', async (t) => {
  const server = await Server.start(t);
  const [api, other] = [new Api(server), new Api(server, { namespace: 'other' })];
  assert.equal((await api.call('POST', '/v1/namespaces', { name: 'other', auth: { mode: 'open' } })).status, 201);
  const anns = await Promise.all(KINDS.map((kind) => connected(t, server, kind, { user: 'ann', device: `ann-${kind}` })));
  const bystander = await connected(t, server, 'ws', { namespace: 'other', user: 'ann', device: 'x' });
  const elsewhere = await block(api, { on: { address: '192.0.2.0/24' } });
  const { id: before } = await api.push({ to: { all: true }, data: 1 });
  for (const ann of anns) await ann.waitForId(before);
  const { id, on } = await block(api, { on: { address: '127.0.0.77/8' }, for: '1h' });
  assert.deepEqual(on, { address: '127.0.0.0/8' });
  for (const ann of anns) {
    await until(`${ann.name} is sent away`, () => saidGoodbye(ann));
    await ann.close();
  }
  for (const kind of KINDS) assert.equal(await outcome(t, server, kind, { user: 'bob', device: `bob-${kind}` }), 'refused', kind);
  const { id: there } = await other.push({ to: { all: true }, data: 2 });
  await bystander.waitForId(there);
  assert.equal(bystander.connects, 1);
  // Another tenant neither sees the block nor lifts it.
  assert.deepEqual((await other.get('blocks')).items, []);
  assertProblem(await other.call('DELETE', `blocks/${id}`), { status: 404, code: 'not_found' });
  for (const each of [id, elsewhere.id]) assert.equal((await api.call('DELETE', `blocks/${each}`)).status, 204);
  await connected(t, server, 'ws', { user: 'bob', device: 'bob-ws' });
});

test('a client that asks for too much is told when to ask again, and still gets and acknowledges everything', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  assert.equal((await api.call('PATCH', '/v1/namespaces/demo', { limits: { requests_per_second: 1 } })).status, 200);
  for (const kind of ['sio4-ws', 'sio2-ws', 'ws']) {
    const [ann, bob] = await Promise.all(['ann', 'bob'].map((user) => connected(t, server, kind, { user, device: `${user}-${kind}` })));
    await ann.join(Array.from({ length: 990 }, (_, n) => `room-${n}`));
    const refusals = [];
    await Promise.all(Array.from({ length: 20 }, (_, n) => ann.leave([`room-${n}`]).catch((error) => refusals.push(error))));
    assert.ok(refusals.length >= 5, `${kind}: ${refusals.length} refused`);
    for (const { message } of refusals) assert.match(message, /rate_limited|too much at once/, kind);
    await bob.join(['lobby']);
    const { id } = await api.push({ to: { devices: [`ann-${kind}`] }, data: 1 });
    await ann.waitForId(id);
    await api.waitForLedger(id, { acked: 1 });
    await ann.close();
    await bob.close();
  }
});

test('a key pushes as often as it may, and no other key waits for it', async (t) => {
  const server = await Server.start(t);
  const admin = new Api(server);
  const made = await admin.call('POST', 'keys', { name: 'nightly', scopes: ['push'], pushes_per_second: 5 });
  assert.equal(made.status, 201, made.text);
  const limited = new Api(server, { key: made.json.key });
  const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => limited.call('POST', 'messages', { to: { all: true }, data: n })));
  const refused = answers.filter(({ status }) => status === 429);
  assert.ok(refused.length >= 5, `${refused.length} of 20 refused`);
  for (const answer of refused) {
    assertProblem(answer, { status: 429, code: 'rate_limited' });
    assert.equal(answer.headers.get('retry-after'), '1');
  }
  await admin.push({ to: { all: true }, data: 'the admin key' });
});
