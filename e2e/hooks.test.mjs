// Hooks: what becomes of a message that nobody acknowledges is told to the business system, signed, in order and at
// least once, whoever of the two is down meanwhile.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';

import { Api, describe } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { Receiver, SECRET } from './lib/receiver.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const SIGNATURE = /^t=(\d+),v1=([0-9a-f]{64})$/;

/** A server whose namespace has these hooks, and a device of ann that is away. */
async function away(t, hooks) {
  const server = await Server.start(t, { restartable: true });
  const api = new Api(server);
  const changed = await api.call('PATCH', '/v1/namespaces/demo', { hooks, offline: { escalate_after: '0s' } });
  assert.equal(changed.status, 200, describe(changed));
  const client = await connected(t, server, 'ws', { user: 'ann', device: 'd-ann' });
  await client.close();
  return { server, api };
}

async function push(api, count, prefix) {
  const ids = [];
  for (let n = 0; n < count; n += 1) {
    // One after the other: the order of the notices is that of their deadlines.
    ids.push((await api.push({ to: { users: ['ann'] }, data: { n }, id: `${prefix}-${n}` })).id);
  }
  return ids;
}

/** A number from the metrics, by the beginning of its line. */
const metric = async (api, name) => {
  const text = (await api.call('GET', '/metrics', undefined, { key: null })).text;
  const line = text.split('\n').find((each) => each.startsWith(name));
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
};

test('a device that is away: its business system hears, signed, that a message was not delivered', async (t) => {
  const receiver = await Receiver.start(t);
  const { server, api } = await away(t, [receiver.hook()]);
  const [id] = await push(api, 1, 'm');
  await until(() => `the receiver hears\n${server.tail()}`, () => receiver.told.length > 0, { ms: 15_000 });
  const { path, method, headers, body } = receiver.told[0];
  assert.deepEqual([method, path, headers['content-type']], ['POST', '/tidings', 'application/json']);
  assert.match(headers['user-agent'], /^tidings\/\d/);
  const [, at, signature] = SIGNATURE.exec(headers['tidings-signature']);
  assert.ok(Math.abs(Number(at) - Date.now() / 1_000) < 60, at);
  assert.equal(signature, createHmac('sha256', SECRET).update(`${at}.`).update(body).digest('hex'));
  const told = JSON.parse(body);
  assert.deepEqual(Object.keys(told), ['id', 'type', 'namespace', 'time', 'data']);
  assert.deepEqual([told.id, told.type, told.namespace], [headers['tidings-event-id'], 'undelivered', 'demo']);
  assert.match(told.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.deepEqual([told.data.message, told.data.user, told.data.device, told.data.reason], [id, 'ann', 'd-ann', 'away']);

  // Secrets are not shown, and stay when they are sent back.
  const shown = (await api.get('/v1/namespaces/demo')).hooks;
  assert.deepEqual(shown, [receiver.hook({ secret: '***', batch: 1, timeout: '3s' })]);
  const changed = await api.call('PATCH', '/v1/namespaces/demo', { hooks: shown });
  assert.equal(changed.status, 200, describe(changed));
  await push(api, 1, 'again');
  await until('the receiver hears again', () => receiver.told.length > 1, { ms: 15_000 });
  const again = receiver.told[1];
  const [, then, second] = SIGNATURE.exec(again.headers['tidings-signature']);
  assert.equal(second, createHmac('sha256', SECRET).update(`${then}.`).update(again.body).digest('hex'));
});

test('a receiver that fails, hangs, redirects and goes away hears everything later, in order', async (t) => {
  const receiver = await Receiver.start(t);
  const steps = [500, 302, 'hang', 500];
  receiver.answer = (told) => steps[told] ?? 204;
  const { server, api } = await away(t, [receiver.hook()]);
  const ids = await push(api, 5, 'first');
  await until(() => `four attempts have failed\n${server.tail()}`, () => receiver.told.length === 4, { ms: 40_000 });
  assert.equal(new Set(receiver.told.map(({ headers }) => headers['tidings-event-id'])).size, 1, 'always the same one');
  assert.ok(receiver.told.every(({ path }) => path === '/tidings'), 'redirects are not followed');
  await receiver.stop();
  ids.push(...(await push(api, 5, 'second')));
  await receiver.start();
  // Whoever has mended something does not wait for the next attempt.
  const changed = await api.call('PATCH', '/v1/namespaces/demo', { hooks: [receiver.hook({ url: `http://127.0.0.1:${receiver.port}/mended` })] });
  assert.equal(changed.status, 200, describe(changed));
  await until(() => `all are heard: ${receiver.messages}\n${server.tail()}`, () => receiver.messages.length === 10, { ms: 30_000 });
  assert.deepEqual(receiver.messages, ids);
  await until('nothing waits', async () => (await metric(api, 'tidings_queued{queue="notices"')) === 0, { ms: 10_000 });
  for (const [outcome, least] of [['refused', 2], ['redirect', 1], ['timeout', 1], ['accepted', 10]]) {
    const count = await metric(api, `tidings_hook_attempts_total{outcome="${outcome}"}`);
    assert.ok(count >= least, `${outcome}: ${count}`);
  }
});

test('kill -9 with notices in the queue: they are told after the restart, at least once and in order', async (t) => {
  const receiver = await Receiver.start(t);
  const { server, api } = await away(t, [receiver.hook(), receiver.hook({ name: 'other', url: `http://127.0.0.1:${receiver.port}/other` })]);
  await receiver.stop();
  const ids = await push(api, 20, 'm');
  await until('all of them wait', async () => (await metric(api, 'tidings_queued{queue="notices"')) === 40, { ms: 15_000 });
  await server.kill9();
  await receiver.start();
  // And once more in the middle of it.
  receiver.answer = () => {
    if (receiver.told.length === 15) server.kill9();
    return 204;
  };
  // It may be gone before it has said that it is there.
  await server.start().catch((error) => assert.match(error.message, /SIGKILL/));
  await until('the server is gone', () => !server.running, { ms: 30_000 });
  receiver.answer = () => 204;
  await server.start();
  const heard = (path) => receiver.told.filter((told) => told.path === path).map(({ body }) => JSON.parse(body).data.message);
  const complete = () => ['/tidings', '/other'].every((path) => new Set(heard(path)).size === ids.length);
  await until(() => `everything is heard\n${server.tail()}`, complete, { ms: 30_000 });
  for (const path of ['/tidings', '/other']) {
    const all = heard(path);
    assert.deepEqual(all.filter((id, index) => all.indexOf(id) === index), ids, path);
    assert.ok(all.length <= ids.length + 2, `${path} heard ${all.length}: only what was under way comes twice`);
  }
});

test('a namespace whose hook hangs harms no other, and a stop is orderly all the same', async (t) => {
  const receiver = await Receiver.start(t);
  receiver.answer = () => 'hang';
  const { server, api } = await away(t, [receiver.hook()]);
  const healthy = await Receiver.start(t);
  const created = await api.call('POST', '/v1/namespaces', { name: 'other', auth: { mode: 'open' }, hooks: [healthy.hook()], offline: { escalate_after: '0s' } });
  assert.equal(created.status, 201, describe(created));
  const other = new Api(server, { namespace: 'other' });
  await (await connected(t, server, 'ws', { namespace: 'other', user: 'ann', device: 'd-other' })).close();
  await push(api, 1, 'm');
  await until('the one hangs', () => receiver.told.length === 1, { ms: 15_000 });
  const ids = await push(other, 10, 'o');
  await until('the other hears', () => healthy.messages.length === 10, { ms: 15_000 });
  assert.deepEqual(healthy.messages, ids);
  await push(api, 1, 'n');
  // With exit code 0, or it complains.
  await server.stop();
});

test('a hook is tried out, its attempts are on record, and what was given up is shown', async (t) => {
  const receiver = await Receiver.start(t);
  const { api } = await away(t, [receiver.hook()]);
  const tried = await api.call('POST', 'hooks/crm/test');
  assert.equal(tried.status, 200, describe(tried));
  const { outcome, status, failure, type, id, ms } = tried.json;
  assert.deepEqual([outcome, status, failure, type], ['accepted', 204, null, 'test']);
  assert.ok(ms >= 0);
  const { body, headers } = receiver.told[0];
  const [, at, signature] = SIGNATURE.exec(headers['tidings-signature']);
  assert.equal(signature, createHmac('sha256', SECRET).update(`${at}.`).update(body).digest('hex'));
  assert.deepEqual([JSON.parse(body).type, JSON.parse(body).data, JSON.parse(body).id], ['test', {}, id]);
  receiver.answer = (told) => (told < 3 ? 503 : 204);
  assert.deepEqual([(await api.call('POST', 'hooks/crm/test')).json.outcome, receiver.told.length], ['refused', 2]);
  await push(api, 1, 'm');
  await until('it is heard', () => receiver.messages.includes('m-0'), { ms: 20_000 });
  await until('the attempts are on record', async () => (await api.get('hooks/crm/log')).items.length === 2, { ms: 10_000 });
  const log = (await api.get('hooks/crm/log')).items;
  assert.deepEqual(log.map((each) => [each.type, each.outcome, each.status]), [['undelivered', 'accepted', 204], ['undelivered', 'refused', 503]]);
  await until('nothing waits', async () => (await api.get('hooks')).items.every(({ waiting }) => waiting === 0), { ms: 10_000 });
  const listed = (await api.get('hooks')).items;
  assert.deepEqual([listed.length, listed[0].name, listed[0].last.outcome, listed[0].waiting], [1, 'crm', 'accepted', 0]);
  assert.ok(!JSON.stringify(listed).includes(SECRET));
  assert.deepEqual(await api.get('hooks/crm/dead'), { items: [], next_cursor: null });
  await receiver.stop();
  assert.equal((await api.call('POST', 'hooks/crm/test')).json.outcome, 'unreachable');
  assert.equal((await api.call('POST', 'hooks/nobody/test')).status, 404);
});

test('a hook that takes many in one call is told each in order, at least once, through failures and kill -9', async (t) => {
  const receiver = await Receiver.start(t);
  const { server, api } = await away(t, [receiver.hook({ batch: 50 })]);
  await receiver.stop();
  const ids = await push(api, 120, 'm');
  await server.kill9();
  await server.start();
  // Every third call is refused.
  receiver.answer = (n) => (n % 3 === 1 ? 503 : 204);
  await receiver.start();
  await until(() => `all is told\n${server.tail()}`, () => receiver.heard.length >= ids.length, { ms: 60_000 });
  assert.deepEqual(receiver.messages, ids);
  const calls = receiver.told.map(({ body }) => JSON.parse(body));
  assert.ok(calls.every((call) => Array.isArray(call) && call.length <= 50), 'a list of at most 50');
  assert.ok(calls.some((call) => call.length === 50), JSON.stringify(calls.map((call) => call.length)));
  for (const { headers, body } of receiver.told) {
    const [, at, signature] = SIGNATURE.exec(headers['tidings-signature']);
    assert.equal(signature, createHmac('sha256', SECRET).update(`${at}.`).update(body).digest('hex'));
    assert.equal(headers['tidings-event-id'], JSON.parse(body)[0].id);
  }
  receiver.answer = () => 204;
  const tried = await api.call('POST', 'hooks/crm/test');
  assert.equal(tried.json.outcome, 'accepted', tried.text);
  assert.deepEqual(JSON.parse(receiver.told.at(-1).body).map(({ type }) => type), ['test']);
  assert.ok((await api.get('hooks/crm/log')).items.some(({ notices }) => notices === 50));
});
