// The business system is asked: who may connect, what clients may publish, and what they call. And what clients publish
// says who they are, whatever they say themselves.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';

import WebSocket from 'ws';

import { Api, describe } from './lib/api.mjs';
import { Business } from './lib/business.mjs';
import { connected, outcome } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';

const SECRET = 'a secret that both sides know';
const KINDS = ['sio4-ws', 'sio4-polling', 'sio3-ws', 'sio2-ws', 'ws', 'sse'];
const TALKERS = ['sio4-ws', 'sio4-polling', 'sio2-ws', 'ws'];

/** A namespace `shop` whose clients are asked about, and a business system. */
async function shop(t, { mode = 'hook', timeout = '1s', env } = {}) {
  const business = await Business.start(t);
  const server = await Server.start(t, { env });
  const hook = { url: business.url, timeout, secret: SECRET, allow_private: true };
  const hooks = [{ name: 'crm', url: business.url, events: ['publish', 'rpc'], timeout, secret: SECRET, allow_private: true }];
  const made = await new Api(server).call('POST', '/v1/namespaces', { name: 'shop', auth: { mode, hook }, hooks });
  assert.equal(made.status, 201, describe(made));
  assert.deepEqual(made.json.auth.hook, { url: business.url, timeout, secret: '***', allow_private: true });
  return { business, server, api: new Api(server, { namespace: 'shop' }), demo: new Api(server) };
}

/** Connects to the shop, once: what the client is told, and what it is closed with. */
async function knock(server) {
  const socket = new WebSocket(`${server.wsUrl}/v1/namespaces/shop/connect`);
  const told = [];
  socket.on('open', () => socket.send(JSON.stringify({ id: 1, cmd: 'connect', device: 'd1', user: 'ann' })));
  socket.on('message', (text) => told.push(JSON.parse(text)));
  const [code] = await once(socket, 'close');
  return { error: told.find(({ id }) => id === 1)?.error?.code, code };
}

/** Sends a command in the words of the client's protocol; what is answered, or the error. */
async function say(client, cmd, fields) {
  if (client.kind === 'ws') return client.command({ cmd, ...fields }).catch((error) => ({ error: error.refusal ?? `${error}` }));
  const { ok, error, ...answer } = await client.command(cmd, fields);
  return ok ? answer : { error };
}

for (const kind of KINDS) {
  test(`a client is who the business system says: ${kind}`, async (t) => {
    const { business, server, api } = await shop(t);
    business.answer = ({ data }) => [200, data.token === 'cookie-of-ann' ? { allow: true, user: 'ann', rooms: ['news'] } : { allow: false, reason: 'who are you?' }];
    const ann = await connected(t, server, kind, { namespace: 'shop', device: 'd1', token: 'cookie-of-ann' });
    const { id } = await api.push({ to: { rooms: ['news'] }, data: 1 });
    await ann.waitForId(id);
    assert.deepEqual((await api.get('devices/d1')).user, 'ann');
    const asked = business.of('connect')[0];
    assert.deepEqual([asked.namespace, asked.data.device, asked.data.verified], ['shop', 'd1', false]);
    const [, at, signature] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(asked.headers['tidings-signature']);
    assert.equal(signature, createHmac('sha256', SECRET).update(`${at}.`).update(asked.raw).digest('hex'));
    assert.equal(await outcome(t, server, kind, { namespace: 'shop', device: 'd2', token: 'x' }), 'refused');
  });
}

test('no answer that is understood, no entry; and nobody else notices', async (t) => {
  const { business, server, demo } = await shop(t, { timeout: '300ms' });
  const bob = await connected(t, server, 'ws', { user: 'bob', device: 'b1' });
  for (const [what, answer] of [
    ['hangs', 'hang'],
    ['500', [500, { allow: true }]],
    ['10 MB', [200, Buffer.alloc(10 << 20, ' ')]],
    ['redirects', [302, {}]],
    ['no JSON', [200, Buffer.from('<html>welcome</html>')]],
    ['an unknown field', [200, { allow: true, user: 'ann', expire_in: '1h' }]],
    ['nothing said', [200, {}]],
  ]) {
    business.answer = () => answer;
    // Asked to come back later: it is not the client that is wrong. Once the hook has failed often enough, at once.
    assert.deepEqual(await knock(server), { error: 'dependency_unavailable', code: 3013 }, what);
    const { id } = await demo.push({ to: { users: ['bob'] }, data: what });
    await bob.waitForId(id);
  }
});

for (const kind of TALKERS) {
  test(`what clients publish says who they are: ${kind}`, async (t) => {
    const { business, server, api } = await shop(t);
    business.answer = ({ type, data }) => {
      if (type !== 'publish') return [200, { allow: true, join: ['chat'], publish: ['chat'], meta: { plan: 'free' } }];
      return [200, data.data === 'bad' ? { allow: false, reason: 'be nice' } : { allow: true }];
    };
    const options = (user) => ({ namespace: 'shop', user, device: `d-${user}`, rooms: ['chat'], events: ['push', 'typing'] });
    const [ann, bob] = await Promise.all([connected(t, server, kind, options('ann')), connected(t, server, 'ws', options('bob'))]);
    const { id, error } = await say(ann, 'publish', { room: 'chat', event: 'typing', data: { n: 1.5 } });
    assert.equal(error, undefined);
    await bob.waitForId(id);
    const [got] = bob.received;
    assert.deepEqual([got.from, got.data, got.room, got.event], [{ user: 'ann', device: 'd-ann' }, { n: 1.5 }, 'chat', 'typing']);
    assert.deepEqual((await api.get(`messages/${id}`)).from, { user: 'ann', device: 'd-ann' });
    const { data } = business.of('publish')[0];
    assert.deepEqual(data, { user: 'ann', device: 'd-ann', connection: ann.ready.connection, meta: { plan: 'free' }, room: 'chat', event: 'typing', data: { n: 1.5 } });

    for (const [what, fields, code] of [
      ['somebody else', { room: 'chat', data: 1, from: { user: 'bob' } }, 'invalid_request'],
      ['a room that is not allowed', { room: 'news', data: 1 }, 'forbidden'],
      ['what the business system refuses', { room: 'chat', data: 'bad' }, 'forbidden'],
      ['a name that is reserved', { room: 'chat', event: 'connect', data: 1 }, 'invalid_request'],
      ['too much', { room: 'chat', data: 'x'.repeat(70_000) }, 'payload_too_large'],
      ['nothing', {}, 'invalid_request'],
    ]) {
      const refused = await say(ann, 'publish', fields);
      assert.equal(refused.error?.code, code, `${what}: ${JSON.stringify(refused)}`);
    }
    // The sender hears itself only when it wants to; who is away gets what lives.
    const echoed = await say(ann, 'publish', { room: 'chat', data: 'echo', echo: true, ttl: '1m' });
    await ann.waitForId(echoed.id);
    await bob.waitForId(echoed.id);
    assert.equal(ann.received.length, 1);
    assert.equal(bob.received.length, 2);
  });

  test(`a call is answered by the business system, and holds up nothing: ${kind}`, async (t) => {
    const { business, server } = await shop(t);
    business.answer = ({ type, data }) => {
      if (type !== 'rpc') return [200, { allow: true, join: ['*'] }];
      if (data.method === 'hang') return 'hang';
      return [200, data.method === 'price' ? { data: { price: 3, asked: data.data } } : { error: { code: 'no_such_method', message: data.method } }];
    };
    const ann = await connected(t, server, kind, { namespace: 'shop', user: 'ann', device: 'd1' });
    const hangs = say(ann, 'rpc', { method: 'hang' });
    assert.deepEqual(await say(ann, 'rpc', { method: 'price', data: [1] }), { data: { price: 3, asked: [1] } });
    assert.deepEqual((await say(ann, 'rpc', { method: 'cost' })).error, { code: 'no_such_method', message: 'cost' });
    await ann.join(['lobby']);
    assert.equal((await hangs).error.code, 'dependency_unavailable');
    assert.equal((await say(ann, 'rpc', {})).error.code, 'invalid_request');
    // More at once than one client may.
    business.answer = () => 'hang';
    const many = await Promise.all(Array.from({ length: 12 }, () => say(ann, 'rpc', { method: 'hang' })));
    assert.ok(many.filter(({ error }) => error.code === 'rate_limited').length >= 4, JSON.stringify(many));
  });
}

for (const kind of ['sio4-ws', 'sio4-polling', 'ws']) {
  test(`who waits for a slow answer is not taken for gone: ${kind}`, async (t) => {
    // What a client sends behind its command is not read before that is answered, its signs of life included.
    const env = { TIDINGS_CLIENTS__PING_INTERVAL: '200ms', TIDINGS_CLIENTS__PING_TIMEOUT: '200ms' };
    const { business, server } = await shop(t, { timeout: '2s', env });
    business.answer = () => [200, { allow: true, join: ['*'] }];
    const ann = await connected(t, server, kind, { namespace: 'shop', user: 'ann', device: 'd1', token: 'first' });
    business.answer = () => 'hang';
    assert.equal((await say(ann, 'refresh', { token: 'second' })).error.code, 'dependency_unavailable');
    await ann.join(['lobby']);
    assert.deepEqual(ann.problems, []);
  });
}

test('a hook is asked one thing once, and an inward one by the operator alone', async (t) => {
  const { business, server, demo } = await shop(t);
  const { json: key } = await demo.call('POST', 'keys', { name: 'tenant', scopes: ['manage'] });
  const tenant = new Api(server, { key: key.key });
  const hook = (more) => ({ name: 'crm', url: business.url, events: ['rpc'], secret: SECRET, allow_private: true, ...more });
  for (const [api, patch, field, status] of [
    [tenant, { auth: { mode: 'hook', hook: { url: business.url, allow_private: true } } }, 'auth.hook.allow_private', 403],
    [demo, { auth: { mode: 'hook' } }, 'auth.hook', 400],
    [demo, { auth: { mode: 'hook', hook: { url: business.url } } }, 'auth.hook.url', 400],
    [demo, { auth: { mode: 'hook', hook: { url: business.url, allow_private: true, timeout: '1h' } } }, 'auth.hook.timeout', 400],
    [demo, { auth: { mode: 'hook', hook: { url: business.url, allow_private: true, secret: 'short' } } }, 'auth.hook.secret', 400],
    [demo, { auth: { mode: 'none' } }, 'auth.mode', 400],
    [demo, { hooks: [hook(), hook({ name: 'other' })] }, 'hooks[1].events', 400],
    [demo, { hooks: [hook({ events: ['connect'] })] }, 'hooks[0].events[0]', 400],
  ]) {
    const answer = await api.call('PATCH', '/v1/namespaces/demo', patch);
    assert.deepEqual([answer.status, answer.json.errors?.[0].field], [status, field], describe(answer));
  }
});
