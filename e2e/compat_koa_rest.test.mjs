// The backend half of push (koa): six calls, whose answers wait for receipts, in JSON and in forms.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api, describe } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { startCompat } from './lib/compat.mjs';

/** A server with push on a port of its own, where nothing waits for who is away. */
async function served(t, { open = true, wait = '10s', env = {} } = {}) {
  const server = await startCompat(t, { push_koa: { open, ack_wait: wait, ttl: '0s' } }, { env });
  const port = Number(server.at.push_koa.split(':')[1]);
  const call = async (path, body, { form = false, headers = {}, raw } = {}) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: 'POST',
      headers: { ...(form ? {} : { 'content-type': 'application/json' }), ...headers },
      body: raw ?? (form ? new URLSearchParams(body) : JSON.stringify(body)),
    });
    return { status: answer.status, json: await answer.json() };
  };
  return { server, api: new Api(server, { namespace: 'heikuai' }), call, port };
}

const PUSHED = '推送成功';
const pushed = (body) => ({ status: 200, json: { code: 0, msg: PUSHED, body } });
const INCOMPLETE = { status: 200, json: { code: -1, msg: '参数不完整,推送失败' } };

test('an answer comes when everybody who is here has it, and names them', async (t) => {
  const { server, api, call } = await served(t);
  const here = (user, options) => connected(t, server, 'ws', { namespace: 'heikuai', user, device: `d-${user}`, ...options });
  const [ann, bob] = [await here('ann', { rooms: ['a'] }), await here('bob', { rooms: ['b'] })];
  await (await here('zoe')).close();
  const started = performance.now();
  assert.deepEqual(await call('/pushMsgToSingleDevice', { useraccount: 'ann', msgId: 'm1', message: 'text' }), pushed(['ann']));
  assert.deepEqual(await call('/pushMsgToSingleDevice', { useraccount: 'ann', msgId: 'm1', message: { a: [1] } }), pushed(['ann']));
  // A slash behind a path was nothing to the router then.
  assert.deepEqual(await call('/pushMsgToSingleDevice/', { useraccount: 'ann', msgId: 'm1', message: 'text' }), pushed(['ann']));
  assert.deepEqual(await call('/pushBatchUniMsg', { useraccounts: 'bob, ann,zoe', msgId: 7, message: 'x' }, { form: true }), pushed(['ann', 'bob']));
  assert.deepEqual(await call('/pushMsgToRoom', { tags: 'b,c', msgId: 'm', message: 'room' }), pushed(['bob']));
  assert.deepEqual(await call('/pushMsgToAll', { msgId: 'm', message: '{"j":1}' }, { form: true }), pushed(['ann', 'bob']));
  assert.deepEqual(await call('/pushMsgToSingleDevice', { useraccount: 'nobody', msgId: 'm', message: 'x' }), pushed([]));
  assert.deepEqual(await call('/pushMsgToSingleDevice', { useraccount: 'ann', msgId: 'm', message: 'x', ack: false }), pushed(true));
  assert.deepEqual(await call('/pushMsgToSingleDevice', { useraccount: 'ann', msgId: 'm', message: 'x', ack: '0' }, { form: true }), pushed(true));
  assert.ok(performance.now() - started < 8_000, 'nobody waited for ten seconds');
  await ann.waitFor(7);
  assert.deepEqual(ann.received.map(({ data }) => data), ['text', { a: [1] }, 'text', 'x', '{"j":1}', 'x', 'x']);
  assert.deepEqual(bob.received.map(({ data }) => data), ['x', 'room', '{"j":1}']);
  // The caller's id may come again: it is not that of the message.
  assert.equal(new Set(ann.ids).size, 7);
  // Nothing waits for who was away: its backend keeps that.
  const zoe = await here('zoe');
  await api.push({ to: { users: ['zoe'] }, data: 'first' });
  await zoe.waitFor(1);
  assert.equal(zoe.received[0].data, 'first');
});

test('the wait ends when it is over, and says who has it by then', async (t) => {
  const { server, call } = await served(t, { wait: '2s' });
  await connected(t, server, 'ws', { namespace: 'heikuai', user: 'ann', device: 'd1' });
  await connected(t, server, 'ws', { namespace: 'heikuai', user: 'deaf', device: 'd2', ackBy: 'none' });
  assert.deepEqual(await call('/pushMsgToAll', { msgId: 'm', message: 'x' }), pushed(['ann']));
  assert.deepEqual(await call('/pushMsgToSingleDevice', { useraccount: 'deaf', msgId: 'm', message: 'x' }), pushed([]));
  // Nobody who waits holds up another.
  const many = Array.from({ length: 200 }, () => call('/pushMsgToSingleDevice', { useraccount: 'deaf', msgId: 'm', message: 'x' }));
  const started = performance.now();
  for (const answer of await Promise.all(many)) assert.deepEqual(answer, pushed([]));
  assert.ok(performance.now() - started < 15_000);
});

test('what waited at the backend goes out one by one, as JSON text, and what was received is named', async (t) => {
  const { server, call } = await served(t);
  const ann = await connected(t, server, 'ws', { namespace: 'heikuai', user: 'ann', device: 'd1' });
  const list = [{ msgId: 'm1', message: 'hi' }, { msgId: 'm2', message: { a: 'b c' } }, { msgId: 3, message: 4 }];
  for (const form of [false, true]) {
    assert.deepEqual(await call('/pushOffLineMsg', { useraccount: 'ann', msglist: JSON.stringify(list, null, 1) }, { form }), pushed(['m1', 'm2', '3']));
  }
  await ann.waitFor(6);
  assert.deepEqual(ann.received.slice(0, 3).map(({ data }) => data), ['"hi"', '{"a":"b c"}', '4']);
  assert.deepEqual(await call('/pushOffLineMsg', { useraccount: 'gone', msglist: JSON.stringify(list) }), pushed([]));
  const wrong = await call('/pushOffLineMsg', { useraccount: 'ann', msglist: 'x' });
  assert.deepEqual([wrong.status, wrong.json.code], [200, -1]);
});

test('changeRoom moves the devices of users', async (t) => {
  const { server, api, call } = await served(t);
  await connected(t, server, 'ws', { namespace: 'heikuai', user: 'ann', device: 'd1', rooms: ['old', 'stay'] });
  assert.deepEqual(await call('/changeRoom', { useraccounts: 'ann,nobody', joins: 'new,newer', leaves: 'old' }), pushed(true));
  const rooms = async () => (await api.get('devices/d1')).rooms.toSorted();
  assert.deepEqual(await rooms(), ['new', 'newer', 'stay']);
  assert.deepEqual(await call('/changeRoom', { useraccounts: 'ann', leaves: 'new' }, { form: true }), pushed(true));
  assert.deepEqual(await rooms(), ['newer', 'stay']);
  assert.deepEqual(await call('/changeRoom', { joins: 'x' }), INCOMPLETE);
});

test('what is missing, wrong or not allowed is said in the words that backends know', async (t) => {
  const { call } = await served(t);
  for (const [path, body] of [
    ['/pushMsgToSingleDevice', { msgId: 'm', message: 'x' }],
    ['/pushMsgToSingleDevice', { useraccount: 'a', message: 'x' }],
    ['/pushMsgToSingleDevice', { useraccount: 'a', msgId: 'm' }],
    ['/pushMsgToSingleDevice', { useraccount: 'a', msgId: 'm', message: '' }],
    ['/pushBatchUniMsg', { useraccounts: ',', msgId: 'm', message: 'x' }],
    ['/pushMsgToRoom', { msgId: 'm', message: 'x' }],
    ['/pushMsgToAll', {}],
    ['/pushOffLineMsg', { useraccount: 'a' }],
  ]) {
    assert.deepEqual(await call(path, body), INCOMPLETE, path);
    assert.deepEqual(await call(path, body, { form: true }), INCOMPLETE, path);
  }
  const named = await call('/pushMsgToSingleDevice', { useraccount: 'a\n\u0000b', msgId: 'm', message: 'x' });
  assert.equal(named.json.code, -1);
  const broken = await call('/pushMsgToAll', undefined, { raw: '{"msgId":' });
  assert.equal(broken.status, 400);
  assert.equal(typeof broken.json.message, 'string');
  const large = await call('/pushMsgToAll', { msgId: 'm', message: 'x'.repeat(300_000) });
  assert.equal(large.status, 413);
  assert.equal(typeof large.json.message, 'string');
});

test('closed: a call needs a key that may push', async (t) => {
  const { api, call } = await served(t, { open: false, wait: '100ms' });
  const body = { msgId: 'm', message: 'x' };
  const none = await call('/pushMsgToAll', body);
  assert.equal(none.status, 401);
  assert.equal(typeof none.json.message, 'string');
  const made = async (scope) => {
    const answer = await api.call('POST', 'keys', { name: scope, scopes: [scope] });
    assert.equal(answer.status, 201, describe(answer));
    return { authorization: `Bearer ${answer.json.key}` };
  };
  const [push, read, manage] = [await made('push'), await made('read'), await made('manage')];
  assert.deepEqual(await call('/pushMsgToAll', body, { headers: push }), pushed([]));
  assert.equal((await call('/pushMsgToAll', body, { headers: read })).status, 403);
  const move = { useraccounts: 'a', joins: 'r' };
  assert.equal((await call('/changeRoom', move, { headers: push })).status, 403);
  assert.deepEqual(await call('/changeRoom', move, { headers: manage }), pushed(true));
});
