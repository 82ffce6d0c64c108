// What becomes of messages besides being delivered at once: they wait for their time, take each other's place, are
// withdrawn, are too many, are tried another way. With clients that others wrote, and a server that is killed.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { Api, assertProblem } from './lib/api.mjs';
import { connected, KINDS } from './lib/clients.mjs';
import { Polling } from './lib/raw.mjs';
import { Server, temporaryDirectory } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const BACK_MS = 15_000;

/** Registers a device that is away afterwards. */
async function away(t, server, options) {
  const client = await connected(t, server, 'ws', { ackBy: 'none', ...options });
  await client.close();
  return client;
}

async function patch(api, body) {
  const answer = await api.call('PATCH', `/v1/namespaces/${api.namespace}`, body);
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

const steps = (trace) => trace.steps.map(({ step }) => step);

test('a scheduled push survives kill -9 and is sent when its time comes, once', async (t) => {
  const server = await Server.start(t, { restartable: true });
  const api = new Api(server);
  const ann = await connected(t, server, 'sio4-ws', { user: 'ann', device: 'd1' });
  const soon = new Date(Date.now() + 5_000).toISOString();
  await api.push({ to: { users: ['ann'] }, data: 'later', id: 'later', deliver_at: soon });
  await api.push({ to: { users: ['ann'] }, data: 'recalled', id: 'never', deliver_at: soon });
  await api.push({ to: { users: ['ann'] }, data: 'now', id: 'now' });
  assert.equal((await api.message('later')).state, 'scheduled');
  const recalled = await api.call('DELETE', 'messages/never');
  assert.equal(recalled.status, 200, recalled.text);
  await ann.waitForId('now');
  await server.kill9();
  await server.start();
  await ann.waitForId('later', { ms: BACK_MS });
  assert.deepEqual(ann.uniqueIds, ['now', 'later'], ann.state());
  assert.ok(Date.now() >= Date.parse(soon), 'not before its time');
  const message = await api.message('later');
  assert.equal(message.state, 'live');
  assert.equal(message.deliver_at, soon);
  assert.equal((await api.message('never')).state, 'recalled');
  await api.waitForLedger('later', { meant: 1, acked: 1 });
});

test('a device that has a message hears of its recall, though another connection of it had not got it yet', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const ann = await connected(t, server, 'ws', { user: 'ann', device: 'd1', ackBy: 'none' });
  // Of the same device, and not polling at the moment.
  const other = await Polling.open(server, { query: { user: 'ann', device: 'd1' } });
  await other.post(['40/demo,']);
  while (!other.queue.some((packet) => packet.includes('"ready"'))) other.queue.push(...(await other.get()).packets);
  await api.push({ to: { users: ['ann'] }, data: 1, id: 'oops' });
  await ann.waitForId('oops');
  await api.waitForLedger('oops', { written: 1 });
  assert.deepEqual((await api.call('DELETE', 'messages/oops')).json, { id: 'oops', state: 'recalled', withdrawn: 1, announced: 1 });
  await ann.waitUntil('it hears of the recall', () => ann.notices.some(({ notice, data }) => notice === 'recall' && data.id === 'oops'));
});

test('a data directory that is removed under a server is noticed by whoever pushes', async (t) => {
  const store = path.join(temporaryDirectory('removed'), 'data');
  const server = await Server.start(t, { store });
  const api = new Api(server);
  await api.push({ to: { all: true }, data: 1 });
  rmSync(store, { recursive: true });
  for (const durability of ['durable', 'memory']) {
    assertProblem(await api.call('POST', 'messages', { to: { all: true }, data: 2, durability }), { status: 503, code: 'dependency_unavailable' });
  }
  const alerts = async () => (await api.get('/v1/alerts')).items;
  await until('it is an alert', async () => (await alerts()).some(({ kind, until: end }) => kind.startsWith('store_') && end === null));
});

test('the answer to a push waits for receipts of every kind of client, and no longer than it is told', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const clients = await Promise.all(Object.keys(KINDS).map((kind) => connected(t, server, kind, { user: 'ann', device: `ann-${kind}` })));
  const all = await api.push({ to: { users: ['ann'] }, data: 1, ack: { wait: '20s' } });
  assert.deepEqual({ ...all.ack, devices: all.ack.devices.length }, { complete: true, acked: clients.length, waiting: 0, devices: clients.length });
  await connected(t, server, 'ws', { user: 'ann', device: 'silent', ackBy: 'none' });
  const some = await api.push({ to: { users: ['ann'] }, data: 2, ack: { wait: '4s' } });
  assert.deepEqual([some.ack.complete, some.ack.waiting], [false, 1]);
  assert.deepEqual(some.ack.devices.filter(({ acked }) => !acked), [{ device: 'silent', user: 'ann', acked: false }]);
});

test('of messages with a collapse key only the newest waits', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const client = await away(t, server, { user: 'ann', device: 'd1' });
  for (let n = 1; n <= 5; n += 1) await api.push({ to: { users: ['ann'] }, data: n, id: `s${n}`, collapse_key: 'score' });
  await api.push({ to: { users: ['ann'] }, data: 'other', id: 'other' });
  await client.connect();
  await client.waitFor(2);
  assert.deepEqual(client.ids, ['s5', 'other'], client.state());
  await api.waitForLedger('s1', { meant: 1, dropped: 1 });
  assert.deepEqual((await api.report('s1')).dropped, { collapsed: 1 });
  const trace = await api.get('messages/s1/trace?device=d1');
  assert.equal(trace.verdict, 'dropped');
  assert.equal(trace.because, 'collapsed');
});

test('a recall reaches whoever has the message, here or away, with every kind of client, and nobody else', async (t) => {
  const server = await Server.start(t, { restartable: true });
  const api = new Api(server);
  const kinds = Object.keys(KINDS);
  const clients = await Promise.all(
    kinds.map((kind) => connected(t, server, kind, { user: `u-${kind}`, device: `d-${kind}`, rooms: ['lobby'] })),
  );
  const has = await connected(t, server, 'ws', { user: 'has', device: 'd-has', rooms: ['lobby'] });
  const missed = await connected(t, server, 'ws', { user: 'missed', device: 'd-missed', rooms: ['lobby'] });
  await missed.close();
  await api.push({ to: { rooms: ['lobby'] }, data: 'oops', id: 'oops' });
  for (const each of [...clients, has]) await each.waitForId('oops');
  await api.waitForLedger('oops', { acked: clients.length + 1 });
  await has.close();
  const answer = await api.call('DELETE', 'messages/oops');
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(answer.json, { id: 'oops', state: 'recalled', withdrawn: 1, announced: clients.length + 1 });
  const told = (client) => client.notices.filter(({ notice, data }) => notice === 'recall' && data.id === 'oops').length;
  for (const each of clients) await each.waitUntil(`${each.name} hears of the recall`, () => told(each) === 1);
  await server.kill9();
  await server.start();
  await has.connect();
  await has.waitUntil('who was away hears of the recall', () => told(has) === 1);
  await missed.connect();
  await api.push({ to: { rooms: ['lobby'] }, data: 'next', id: 'next' });
  await missed.waitForId('next');
  assert.deepEqual(missed.ids, ['next'], missed.state());
  assert.equal(told(missed), 0);
  const report = await api.ledger('oops');
  assert.deepEqual([report.acked, report.recalled], [clients.length + 1, 1]);
  assert.equal((await api.get('messages/oops/trace?device=d-missed')).because, 'recalled');
  const again = await api.call('DELETE', 'messages/oops');
  assert.equal(again.json.announced, clients.length + 1);
  assertProblem(await api.call('DELETE', 'messages/nobody-knows'), { status: 404, code: 'not_found' });
});

test('a full mailbox keeps the newest, says so, and accounts for the rest', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const shown = await patch(api, { mailbox: { messages: 3, keep: '1h' } });
  assert.deepEqual(shown.mailbox, { messages: 3, keep: '1h' });
  const client = await away(t, server, { user: 'ann', device: 'd1' });
  for (let n = 1; n <= 5; n += 1) await api.push({ to: { users: ['ann'] }, data: n, id: `m${n}` });
  await client.connect();
  await client.waitFor(3);
  assert.deepEqual(client.ids, ['m3', 'm4', 'm5'], client.state());
  assert.equal(client.ready.recovered, false, 'it is told that something is missing');
  for (const id of ['m1', 'm2']) await api.waitForLedger(id, { dropped: 1, waiting: 0 });
  assert.deepEqual((await api.report('m1')).dropped, { trimmed: 1 });
  assert.equal((await api.get('messages/m1/trace?user=ann')).because, 'trimmed');
  const message = await api.message('m5');
  assert.equal(Date.parse(message.expires_at) - Date.parse(message.accepted_at), 3_600_000, 'no message lives longer');
  await patch(api, { mailbox: null });
  assert.equal((await api.get('/v1/namespaces/demo')).mailbox.messages, 10_000);
});

test('who gives no receipt is tried another way, once, whatever happens to the server', async (t) => {
  const record = path.join(temporaryDirectory('escalation'), 'woken.ndjson');
  const server = await Server.start(t, { restartable: true, env: { TIDINGS_ESCALATION__RECORD_TO: record } });
  const api = new Api(server);
  const phone = await away(t, server, { user: 'ann', device: 'phone', platform: 'ios' });
  await away(t, server, { user: 'bob', device: 'bobs', platform: 'android' });
  const laptop = await connected(t, server, 'sio4-ws', { user: 'bob', device: 'laptop' });
  const woken = () => (existsSync(record) ? readFileSync(record, 'utf8').trim().split('\n').map((line) => JSON.parse(line)) : []);
  const offline = { escalate_after: '4s', notification: { title: 'hello' } };
  await api.push({ to: { users: ['ann', 'bob'] }, data: 1, id: 'm1', offline });
  await laptop.waitForId('m1');
  await api.waitForLedger('m1', { acked: 1 });
  // Answered once the receipt is written down: it survives as well as the deadline.
  await laptop.ack(['m1']);
  await server.kill9();
  await server.start();
  await until('the phone is woken', () => woken().length > 0, { ms: BACK_MS });
  assert.deepEqual(woken().map(({ message, device }) => `${message} ${device}`), ['m1 phone'], 'bob has it on his laptop');
  assert.deepEqual(JSON.parse(woken()[0].offline), { notification: { title: 'hello' } });
  await api.waitForLedger('m1', { acked: 1, escalated: 1, waiting: 1 });
  assert.deepEqual(steps(await api.get('messages/m1/trace?device=phone')), ['accepted', 'queued', 'escalated', 'provider_accepted']);
  await server.kill9();
  await server.start();
  // A second message whose deadline passes shows that the first one's does not come again.
  await api.push({ to: { users: ['ann'] }, data: 2, id: 'm2', offline: { escalate_after: '0s' } });
  await until('the second one is tried', () => woken().some(({ message }) => message === 'm2'), { ms: BACK_MS });
  assert.equal(woken().filter(({ message }) => message === 'm1').length, 1);
  await phone.connect();
  await phone.waitFor(2, { unique: true });
  await phone.ack(['m1', 'm2']);
  await api.waitForLedger('m1', { acked: 2, escalated: 0 });
});

test('a trace tells why somebody has a message or has it not', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const ann = await connected(t, server, 'sio4-ws', { user: 'ann', device: 'd1', platform: 'web' });
  await api.push({ to: { users: ['ann'] }, data: 1, id: 'has' });
  await api.waitForLedger('has', { acked: 1 });
  await api.push({ to: { users: ['ann'], platforms: ['ios'] }, data: 1, id: 'filtered' });
  await api.push({ to: { users: ['ann'] }, except: { devices: ['d1'] }, data: 1, id: 'excepted' });
  await api.push({ to: { rooms: ['lobby'] }, data: 1, id: 'before' });
  await ann.join(['lobby']);
  for (const [id, verdict, because] of [
    ['has', 'delivered', 'acked'],
    ['filtered', 'not_meant', 'platform_filtered'],
    ['excepted', 'not_meant', 'excluded'],
    ['before', 'not_meant', 'not_meant'],
  ]) {
    for (const subject of ['user=ann', 'device=d1']) {
      const trace = await api.get(`messages/${id}/trace?${subject}`);
      assert.deepEqual([trace.message, trace.verdict, trace.because], [id, verdict, because], JSON.stringify(trace));
      assert.equal(trace.steps[0].step, 'accepted');
    }
  }
  assert.deepEqual(steps(await api.get('messages/has/trace?device=d1')), ['accepted', 'queued', 'written', 'acked']);
  assertProblem(await api.call('GET', 'messages/has/trace'), { status: 400, code: 'invalid_request', field: 'user' });
  assertProblem(await api.call('GET', 'messages/has/trace?user=a&device=b'), { status: 400, code: 'invalid_request', field: 'device' });
  assertProblem(await api.call('GET', 'messages/none/trace?user=a'), { status: 404, code: 'not_found' });
});

test('wishes about delivery that cannot be granted are refused by field', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const past = new Date(Date.now() - 120_000).toISOString();
  const years = new Date(Date.now() + 2 * 366 * 86_400_000).toISOString();
  for (const [body, field] of [
    [{ ttl: '365d' }, 'ttl'],
    [{ collapse_key: 'x'.repeat(10_000) }, 'collapse_key'],
    [{ collapse_key: '' }, 'collapse_key'],
    [{ deliver_at: past }, 'deliver_at'],
    [{ deliver_at: years }, 'deliver_at'],
    [{ deliver_at: 'tomorrow' }, 'deliver_at'],
    [{ offline: { escalate_after: '8d' } }, 'offline.escalate_after'],
    [{ offline: { escalate_after: 'soon' } }, 'offline.escalate_after'],
  ]) {
    const answer = await api.call('POST', 'messages', { to: { all: true }, ...body });
    assertProblem(answer, { status: 400, code: 'invalid_request', field });
  }
  for (const [body, field] of [
    [{ mailbox: { messages: 0 } }, 'mailbox.messages'],
    [{ mailbox: { messages: 1e9 } }, 'mailbox.messages'],
    [{ mailbox: { keep: '0s' } }, 'mailbox.keep'],
    [{ mailbox: { keep: '31d' } }, 'mailbox.keep'],
    [{ offline: { escalate_after: '30d' } }, 'offline.escalate_after'],
    [{ name: 'other' }, 'name'],
    [{ nonsense: 1 }, 'nonsense'],
  ]) {
    assertProblem(await api.call('PATCH', '/v1/namespaces/demo', body), { status: 400, code: 'invalid_request', field });
  }
  // A moment ago means now.
  await api.push({ to: { all: true }, data: 1, id: 'now', deliver_at: new Date(Date.now() - 1_000).toISOString() });
  assert.equal((await api.message('now')).state, 'live');
});
