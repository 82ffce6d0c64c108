// gopusher: clients and backends that were written for it, byte for byte where its bytes are known; and the holes it had, closed.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { keyOf, older, tokenOf } from './lib/older.mjs';
import { RawSocket } from './lib/raw.mjs';
import { Server } from './lib/server.mjs';
import { until, within } from './lib/until.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const OK = '{"type":1,"data":"ok"}\n';
const namespace = 'gopusher';
const said = (text) => `{"type":1,"data":${JSON.stringify(text)}}\n`;

const open = (t) => older(t, namespace, { namespace, settings: { open: 'true' } });
const closed = (t) => older(t, namespace, { namespace });

async function connect(t, { ws }, { query = '', ...options } = {}) {
  const client = await RawSocket.open(`${ws}/ws${query}`, options);
  t.after(() => client.close());
  return client;
}

const join = (app_id, card_id, more = {}) => JSON.stringify({ event: 'join', data: { app_id, card_id, ...more } });

async function joined(t, system, app, card, { more, ...options } = {}) {
  const client = await connect(t, system, options);
  client.send(join(app, card, more));
  assert.equal(await client.next('the answer to a join'), OK);
  return client;
}

async function call({ url }, method, target, body, headers = {}) {
  const response = await fetch(url + target, { method, body, headers, signal: AbortSignal.timeout(10_000) });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

async function push(system, body, headers) {
  const answer = await call(system, 'POST', '/push', JSON.stringify({ from: 'e2e', appID: '', ...body }), headers);
  assert.deepEqual([answer.status, answer.text], [200, '{"message":"ok"}']);
}

/** What is next on a connection is this, and nothing comes before it. */
const hears = async (client, text) => assert.equal(await client.next(text), said(text));

test('clients join groups, and a push reaches all of a group', async (t) => {
  const system = await open(t);
  const [a, b, other] = [await joined(t, system, 'alibaba', 'mayun'), await joined(t, system, 'tmall', 'mayun'), await joined(t, system, 'alibaba', 'else')];
  a.send('{"event":"read","data":{"id":1}}', '{"event":"ping"}');
  assert.equal(await a.next('an answer to a ping, and none to a read'), OK);
  // Its server never looked whether a message was binary.
  a.send(Buffer.from('{"event":"ping"}'));
  assert.equal(await a.next('an answer to a ping of bytes'), OK);
  await push(system, { to: ['mayun', 'nobody'], content: 'a "quoted"\nline é' });
  await hears(a, 'a "quoted"\nline é');
  await hears(b, 'a "quoted"\nline é');
  await push(system, { to: ['mayun', 'else'], appID: 'alibaba', content: 'one app' });
  await hears(a, 'one app');
  await hears(other, 'one app');
  await push(system, { to: ['mayun'], content: 'everybody again' });
  await hears(b, 'everybody again');
  assert.equal((await call(system, 'GET', '/isOnline?cardID=mayun')).text, '{"result":"yes"}');
  assert.equal((await call(system, 'GET', '/group?cardID=mayun')).text, '{"clientNum":"2"}');
  assert.equal((await call(system, 'GET', '/group?cardID=nobody')).text, '{"clientNum":"-1"}');
  assert.match((await call(system, 'GET', '/system')).text, /^\{"cpuNum":"\d+","goroutineNum":"\d+","clientNum":"3","groupNum":"2"\}$/);
  assert.equal((await call(system, 'GET', '/')).text, '{"msg":"welcome to socket server"}');
  for (const target of ['/', '/ws', '/push', '/system']) {
    const preflight = await call(system, 'OPTIONS', target, undefined, { origin: 'http://page.example' });
    assert.deepEqual([preflight.status, preflight.headers.get('access-control-allow-origin')], [204, '*'], target);
  }
});

test('who joins again moves, and leaves where it was', async (t) => {
  const system = await open(t);
  const client = await joined(t, system, 'a', 'one');
  client.send(join('a', 'two'));
  assert.equal(await client.next(), OK);
  await push(system, { to: ['one'], content: 'to who was one' });
  await push(system, { to: ['one'], appID: 'a', content: 'the same' });
  await push(system, { to: ['two'], content: 'to two' });
  await hears(client, 'to two');
  client.send(join('b', 'two'));
  assert.equal(await client.next(), OK);
  await push(system, { to: ['two'], appID: 'a', content: 'of another application' });
  await push(system, { to: ['two'], appID: 'b', content: 'of this one' });
  await hears(client, 'of this one');
  assert.equal((await call(system, 'GET', '/group?cardID=one')).text, '{"clientNum":"-1"}');
});

test('nonsense ends a connection with a close frame that is one', async (t) => {
  const system = await open(t);
  for (const [text, reason] of [
    ['{"event":"shout"}', /^E_INVALID_EVENT - unknown event$/],
    ['hello', /^expected value/],
    ['['.repeat(10_000), /./],
    [join(1, 'a'), /^app_id must be a string$/],
    [join('a', { x: 1 }), /^card_id must be a string$/],
    [join('a', ''), /^card_id must not be empty$/],
    [join('a', 'x'.repeat(256)), /^card_id has 256 bytes/],
    [join('a', 'x'.repeat(245)), /^app_id and card_id make a room whose name has 256 bytes/],
    ['{"event":"join"}', /^card_id must be a string$/],
    // It would be taken for one that is forgotten.
    [join('a', 'b', { device_id: 'passing-1' }), /^device_id must not begin with passing-$/],
  ]) {
    const client = await connect(t, system);
    client.send(text);
    const { code, reason: why } = await client.waitClosed();
    assert.equal(code, 1008, text.slice(0, 80));
    assert.match(why, reason, text.slice(0, 80));
  }
  // Every join may make a device, so they are not for free.
  const client = await connect(t, system);
  for (let n = 0; n < 15; n += 1) client.send(join('a', `card-${n}`));
  assert.deepEqual(await client.waitClosed(), { code: 1008, reason: 'this connection joins too often' });
});

test('with tokens, nobody is in the group of somebody else', async (t) => {
  const system = await closed(t);
  const token = await tokenOf(system.api, { user: 'mayun', join: ['gopusher/alibaba/*'] });
  const headers = { authorization: `Bearer ${await keyOf(system.api, ['push', 'read'])}` };
  const refused = async (options, app, card, reason) => {
    const client = await connect(t, system, options);
    client.send(join(app, card));
    const closed = await client.waitClosed();
    assert.equal(closed.code, 1008);
    assert.match(closed.reason, reason);
  };
  await refused({}, '', 'mayun', /token/);
  await refused({ query: '?token=nonsense' }, '', 'mayun', /token/);
  await refused({ query: `?token=${token}` }, 'alibaba', 'else', /^user is not the one of the token$/);
  // The same card of another tenant.
  await refused({ query: `?token=${token}` }, 'tencent', 'mayun', /does not allow to join/);
  await refused({ query: `?token=${token}` }, 'alibaba/mayun/..', 'mayun', /does not allow to join/);
  const [one, two] = [await joined(t, system, 'alibaba', 'mayun', { query: `?token=${token}` }), await joined(t, system, '', 'mayun', { headers: { authorization: `Bearer ${token}` } })];
  one.send(join('alibaba', 'else'));
  assert.match((await one.waitClosed()).reason, /not the one of the token/);
  await push(system, { to: ['mayun'], content: 'hi' }, headers);
  await hears(two, 'hi');
  for (const [method, target] of [['POST', '/push'], ['GET', '/system'], ['GET', '/isOnline?cardID=mayun'], ['GET', '/group?cardID=mayun']]) {
    const answer = await call(system, method, target, method === 'POST' ? '{"to":["mayun"],"content":"spoofed"}' : undefined);
    assert.equal(answer.status, 401, target);
    assert.deepEqual([Object.keys(JSON.parse(answer.text)), JSON.parse(answer.text).code], [['error', 'code', 'message'], 16]);
  }
  // A client that knows nothing of devices may have a token that does; what is for that device waits for it.
  const device = await joined(t, system, '', 'jack', { query: `?token=${await tokenOf(system.api, { user: 'jack', device: 'd1' })}` });
  device.ws.close();
  await device.waitClosed();
  assert.deepEqual((await system.api.get('devices?user=jack')).items.map((item) => item.device), ['d1']);
  // Nothing of what was not allowed has come.
  await push(system, { to: ['mayun'], content: 'the end', from: 'somebody else' }, headers);
  await hears(two, 'the end');
});

test('a device that says which it is has what it missed, once; others leave nothing behind', async (t) => {
  const system = await open(t);
  const { api } = system;
  const more = { device_id: 'phone' };
  const first = await joined(t, system, 'a', 'ann', { more });
  const passing = await joined(t, system, 'a', 'ann');
  await push(system, { to: ['ann'], content: 'one' });
  await hears(first, 'one');
  await hears(passing, 'one');
  const [{ id }] = (await api.get('messages')).items;
  // It has it as soon as it is seen to have read on.
  first.send('{"event":"ping"}');
  assert.equal(await first.next(), OK);
  await until(() => `a receipt\n${system.server.tail()}`, async () => (await api.report(id)).acked >= 1);
  first.ws.close();
  passing.ws.close();
  await first.waitClosed();
  await until('only the phone is left', async () => (await api.get('devices')).items.map((item) => item.device).join() === 'phone');
  await push(system, { to: ['ann'], content: 'two' });
  await push(system, { to: ['ann'], appID: 'a', content: 'three' });
  const back = await joined(t, system, 'b', 'ann', { more });
  await hears(back, 'two');
  await hears(back, 'three');
  await push(system, { to: ['ann'], appID: 'a', content: 'for who is of a' });
  await push(system, { to: ['ann'], appID: 'b', content: 'four' });
  await hears(back, 'four');
});

test('a long mailbox comes in order, and only once', async (t) => {
  const system = await open(t);
  const { api } = system;
  const more = { device_id: 'phone' };
  const first = await joined(t, system, '', 'ann', { more });
  first.ws.close();
  await until('it is away', async () => (await call(system, 'GET', '/isOnline?cardID=ann')).text === '{"result":"no"}');
  const count = 3_000;
  for (let n = 0; n < count; n += 1_000) {
    const messages = Array.from({ length: 1_000 }, (_, at) => ({ to: { users: ['ann'] }, data: `m${n + at}` }));
    assert.equal((await api.call('POST', 'messages:batch', { messages })).status, 200);
  }
  const back = await joined(t, system, '', 'ann', { more });
  for (let n = 0; n < count; n += 1) await hears(back, `m${n}`);
  const [{ id }] = (await api.get('messages?limit=1')).items;
  back.send('{"event":"ping"}');
  assert.equal(await back.next(), OK);
  await until(() => `the receipt of the last\n${system.server.tail()}`, async () => (await api.report(id)).acked === 1);
  back.ws.close();
  await push(system, { to: ['ann'], content: 'new' });
  await hears(await joined(t, system, '', 'ann', { more }), 'new');
});

test('gRPC with a client of another language, on the same port', async (t) => {
  const missing = !existsSync(path.join(HERE, '.venv/.installed-requirements'));
  if (missing) return t.skip('the Python packages of grpc/requirements.txt are not installed; setup.sh does that');
  const system = await closed(t);
  const python = async (key) => {
    const env = { ...process.env, GRPC_TARGET: `127.0.0.1:${system.port}`, GRPC_KEY: key, PYTHONDONTWRITEBYTECODE: '1' };
    const child = spawn(path.join(HERE, '.venv/bin/python'), ['gopusher_calls.py'], { cwd: path.join(HERE, 'grpc'), env, stdio: ['ignore', 'pipe', 'pipe'] });
    t.after(() => child.kill('SIGKILL'));
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
    await within(() => `the calls end\n${output}`, new Promise((resolve) => child.once('close', resolve)), 60_000);
    return output.trim().split('\n');
  };
  const token = await tokenOf(system.api, { user: 'ann', join: ['gopusher/app/ann'] });
  const client = await joined(t, system, 'app', 'ann', { query: `?token=${token}` });
  const lines = await python(await keyOf(system.api, ['push', 'read']));
  assert.deepEqual(lines, ['Push 0 ok', 'Push 0 ok', 'System True 1 1', 'IsOnline yes', 'IsOnline no', 'Group 1', 'Group -1', 'Push INVALID_ARGUMENT']);
  await hears(client, 'by gRPC');
  await hears(client, 'by gRPC, for one application');
  const refused = ['Push', 'Push', 'System', 'IsOnline', 'IsOnline', 'Group', 'Group', 'Push'].map((name) => `${name} UNAUTHENTICATED`);
  assert.deepEqual(await python('nobody'), refused);
  return undefined;
});

test('it is served beside everything else, too', async (t) => {
  const server = await Server.start(t, { env: { TIDINGS_COMPAT__GOPUSHER__ENABLED: 'true', TIDINGS_COMPAT__GOPUSHER__OPEN: 'true', TIDINGS_COMPAT__MESSAGE_PUSH__ENABLED: 'true' } });
  const system = { url: server.url, ws: server.wsUrl };
  const client = await joined(t, system, 'a', 'ann');
  await push(system, { to: ['ann'], content: 'hi' });
  await hears(client, 'hi');
  assert.doesNotMatch((await call(system, 'GET', '/')).text, /welcome to socket server/);
  assert.equal((await call(system, 'POST', '/message-push/v1/push', '{}')).status, 403);
  assert.equal((await call(system, 'POST', '/v1/push', '{}')).status, 404);
  // A key opens its own namespace, and that calls of one system are open is no matter of the others.
  assert.equal((await call(system, 'POST', '/v1/namespaces/gopusher/messages', '{"to":{"all":true}}')).status, 401);
});

test('a server that stops says so', async (t) => {
  const system = await open(t);
  const client = await joined(t, system, 'a', 'ann');
  const stopped = system.server.stop();
  assert.equal((await client.waitClosed({ ms: 15_000 })).code, 3001);
  await stopped;
});
