// message-push: clients and backends that were written for it, byte for byte where its bytes are known; and the holes it had, closed.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import http from 'node:http';
import { test } from 'node:test';

import { keyOf, older, tokenOf } from './lib/older.mjs';
import { RawSocket } from './lib/raw.mjs';
import { request } from './lib/request.mjs';
import { until } from './lib/until.mjs';

const namespace = 'app';
const APP = 'aad55a6355c54a3c9bc1f1d2b3a4c5d6';
const PATH = '/message-push/v1/message';

/** What its server wrote: Jackson's pretty printer. */
const response = (type, data) => `{\n  "cmd" : "RESPONSE",\n  "data" : {\n${Object.entries(data).map(([name, value]) => `    "${name}" : ${JSON.stringify(value)}`).join(',\n')}\n  },\n  "type" : "${type}"\n}`;
const SUCCESS = response('LOGIN', { code: 1, msg: 'SUCCESS' });

const serve = (t, settings = {}) => older(t, 'message_push', { namespace, settings });
const shows = (token, platform = 'pc') => ({ headers: { authorization: `Bearer ${platform}:${token}`, 'auth-app-id': 'DIY48' } });
const login = (platform = 'H5', more = {}) => JSON.stringify({ cmd: 'LOGIN', data: { appKey: APP, platform, ...more } });

async function connect(t, { ws }, options, path = PATH) {
  const client = await RawSocket.open(ws + path, options);
  t.after(() => client.close());
  return client;
}

async function loggedIn(t, system, options, ...how) {
  const client = await connect(t, system, options);
  client.send(login(...how));
  assert.equal(await client.next('the answer to a login'), SUCCESS);
  return client;
}

/** What a handshake is answered instead of a WebSocket. */
async function refusal({ ws }, options, path = PATH) {
  const error = await RawSocket.open(ws + path, options).then(
    () => assert.fail('it was let in'),
    (error) => error,
  );
  assert.match(error.headers['content-type'], /^application\/json/);
  return [error.status, JSON.parse(error.body)];
}

const basic = (secret) => ({ authorization: `Basic ${Buffer.from(`${APP}:${secret}`).toString('base64')}` });

async function push({ url }, secret, { uids = ['ann'], ...more } = {}, path = '/message-push/v1/push') {
  const body = JSON.stringify({ push_method: 1, audience: { uids }, message: { content: 'hi' }, ...more });
  const answer = await fetch(url + path, { method: 'POST', headers: { 'content-type': 'application/json', ...basic(secret) }, body });
  return [answer.status, await answer.text()];
}
const ACCEPTED = [200, '{"code":1,"msg":"OK","data":null}'];
const INVALID = [403, '{"code":403,"msg":"invalid Authorization"}'];

const hears = async (client, data) => assert.equal(await client.next('a message'), response('MESSAGE', data));

/** The service that knows whose tokens are. */
async function passport(t, answer) {
  const asked = [];
  const server = http.createServer((incoming, outgoing) => {
    let body = '';
    incoming.setEncoding('utf8').on('data', (text) => (body += text));
    incoming.on('end', () => {
      asked.push({ method: incoming.method, type: incoming.headers['content-type'], body });
      const [status, said] = answer(JSON.parse(body));
      outgoing.writeHead(status, status === 302 ? { location: '/elsewhere' } : { 'content-type': 'application/json' });
      outgoing.end(typeof said === 'string' ? said : JSON.stringify(said));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { asked, url: `http://127.0.0.1:${server.address().port}/session` };
}

test('clients log in, live and get messages', async (t) => {
  const system = await serve(t);
  const [token, key] = [await tokenOf(system.api, { user: 'ann' }), await keyOf(system.api, ['push'])];
  const client = await connect(t, system, shows(token));
  client.send('{"cmd":"LOGIN","data":{"appKey":"","platform":"H5"}}');
  assert.equal(await client.next(), response('LOGIN', { code: 0, msg: '登录接口参数错误,请检查输入参数,必填参数项不能为空' }));
  client.send('{"CMD":"heartbeat"}');
  assert.match(await client.next(), /^\{\n {2}"cmd" : "RESPONSE",\n {2}"data" : \{\n {4}"t" : \d{13}\n {2}\},\n {2}"type" : "HEARTBEAT"\n\}$/);
  client.send(login());
  assert.equal(await client.next(), SUCCESS);
  client.send(login());
  assert.equal(await client.next(), response('LOGIN', { code: 0, msg: '当前连接已登录,请勿多次登录' }));
  for (const text of ['hello', '[]', '{"cmd":"SHOUT"}', '['.repeat(5_000)]) {
    client.send(text);
    assert.equal(await client.next(), response('ERROR', { code: 0, msg: '消息格式错误,请确认JSON格式是否正确,并检查参数内容和参数值。' }));
  }
  client.send('{}');
  assert.equal(await client.next(), response('ERROR', { code: 0, msg: '消息格式错误,cmd字段不能为空' }));
  const message = { title: 'T', content: 'C "é"\n', content_type: 'text', extras: '{"a":1}' };
  assert.deepEqual(await push(system, key, { message }), ACCEPTED);
  await hears(client, message);
  assert.deepEqual(await push(system, key, { uids: ['ann', 'nobody'], message: { content: 7, extras: null } }), ACCEPTED);
  await hears(client, { content: '7' });
  assert.deepEqual(await push(system, key, {}, '/v1/push'), ACCEPTED);
  await hears(client, { content: 'hi' });
});

test('a filter of platforms finds them however they are written', async (t) => {
  const system = await serve(t);
  const [token, key] = [await tokenOf(system.api, { user: 'ann' }), await keyOf(system.api, ['push'])];
  const clients = {};
  for (const platform of ['H5', 'Android', 'iOS']) clients[platform] = await loggedIn(t, system, shows(token, 'mobile'), platform);
  for (const [filter, name] of [['h5', 'H5'], ['Android', 'Android'], ['IOS', 'iOS']]) {
    assert.deepEqual(await push(system, key, { platform: filter, message: { content: filter } }), ACCEPTED);
    await hears(clients[name], { content: filter });
  }
  assert.deepEqual(await push(system, key, { platform: 'all', message: { content: 'all' } }), ACCEPTED);
  for (const client of Object.values(clients)) await hears(client, { content: 'all' });
});

test('a handshake is refused in the words of the gateway', async (t) => {
  const system = await serve(t);
  const none = [400, { code: 400, msg: '错误的请求参数,要求为:Authorization Bearer, auth-app-id,实际为:null' }];
  assert.deepEqual(await refusal(system, {}), none);
  assert.deepEqual(await refusal(system, { headers: { authorization: 'Bearer pc:x' } }), none);
  // The hook of a load test that was left in.
  assert.deepEqual(await refusal(system, { headers: { 'x-mock-uid': 'ann' } }), none);
  assert.deepEqual(await refusal(system, { headers: { 'x-mock-uid': 'ann', uid: 'ann', 'auth-app-id': 'DIY48' } }), none);
  assert.deepEqual(await refusal(system, {}, `${PATH}?x-mock-uid=ann&uid=ann`), none);
  const [status, malformed] = await refusal(system, { headers: { authorization: 'Bearer xyz', 'auth-app-id': 'DIY48', 'x-mock-uid': 'ann' } });
  assert.deepEqual([status, malformed.msg], [400, 'token格式错误,应该为[platform:accessToken]格式,token:Bearer xyz']);
  const [denied, nobody] = await refusal(system, shows('nonsense'));
  assert.deepEqual([denied, nobody.code], [401, 401]);
  assert.match(nobody.msg, /^获取PassportSession信息不存在,/);
  const plain = await request({ port: system.port }, { path: PATH, headers: shows('x').headers });
  assert.deepEqual([plain.status, JSON.parse(plain.text)], [400, { code: 400, msg: '错误的请求协议,要求协议为:[ws, wss],实际为:http' }]);
});

test('a token comes in either pair, and Firefox gets in', async (t) => {
  const system = await serve(t);
  const token = await tokenOf(system.api, { user: 'ann' });
  const query = new URLSearchParams({ Authorization: `Bearer 0123abcd|mobile:${token}`, 'auth-app-id': 'DIY48' });
  for (const path of [`${PATH}?${query}`, `/v1/message?${query}`]) {
    const client = await connect(t, system, {}, path);
    client.send(login());
    assert.equal(await client.next(), SUCCESS);
  }
  const headers = { ...shows(token).headers, connection: 'keep-alive, Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' };
  const status = await new Promise((resolve, reject) => {
    const call = http.request({ port: system.port, path: PATH, headers });
    call.on('upgrade', (answer, socket) => resolve(answer.statusCode, socket.destroy()));
    call.on('response', (answer) => resolve(answer.statusCode));
    call.on('error', reject);
    call.end();
  });
  assert.equal(status, 101);
});

test('who does not log in is sent away after ten seconds', async (t) => {
  const system = await serve(t);
  const client = await connect(t, system, shows(await tokenOf(system.api, { user: 'ann' })));
  assert.equal(await client.next('the end of the patience', { ms: 15_000 }), response('ERROR', { code: 0, msg: 'login timeout!' }));
  assert.deepEqual(await client.waitClosed(), { code: 1008, reason: 'login timeout!' });
});

test('nobody logs in as somebody else, or with the device of somebody else', async (t) => {
  const system = await serve(t);
  const [ann, eve, key] = [await tokenOf(system.api, { user: 'ann' }), await tokenOf(system.api, { user: 'eve' }), await keyOf(system.api, ['push'])];
  const mine = await loggedIn(t, system, shows(ann), 'iOS', { deviceId: 'phone' });
  const other = await loggedIn(t, system, shows(eve), 'H5', { uid: 'ann', user: 'ann', userId: 'ann' });
  const thief = await connect(t, system, shows(eve));
  thief.send(login('iOS', { deviceId: 'phone' }));
  assert.match(await thief.next(), /"code" : 0/);
  assert.equal((await thief.waitClosed()).code, 1008);
  assert.deepEqual(await push(system, key), ACCEPTED);
  assert.deepEqual(await push(system, key, { uids: ['eve'], message: { content: 'for eve' } }), ACCEPTED);
  await hears(mine, { content: 'hi' });
  await hears(other, { content: 'for eve' });
});

test('a device that says which it is has what it missed, once; others leave nothing behind', async (t) => {
  const system = await serve(t);
  const { api } = system;
  const [token, key] = [await tokenOf(api, { user: 'ann' }), await keyOf(api, ['push'])];
  const phone = await loggedIn(t, system, shows(token), 'iOS', { deviceId: 'phone' });
  const passing = await loggedIn(t, system, shows(token));
  await push(system, key, { message: { content: 'one' } });
  await hears(phone, { content: 'one' });
  phone.send('{"cmd":"HEARTBEAT"}');
  await phone.nextLike(/HEARTBEAT/);
  const [{ id }] = (await api.get('messages')).items;
  await until(() => `a receipt\n${system.server.tail()}`, async () => (await api.report(id)).acked >= 1);
  phone.ws.close();
  passing.ws.close();
  await until('only the phone is left', async () => (await api.get('devices')).items.map((item) => item.device).join() === 'phone');
  await push(system, key, { message: { content: 'two' } });
  const back = await loggedIn(t, system, shows(token), 'iOS', { deviceId: 'phone' });
  await hears(back, { content: 'two' });
});

test('only in an open namespace is a token believed to be the uid', async (t) => {
  const system = await serve(t);
  const key = await keyOf(system.api, ['push']);
  assert.equal((await refusal(system, shows('ann')))[0], 401);
  assert.equal((await system.api.call('PATCH', '/v1/namespaces/app', { auth: { mode: 'open' } })).status, 200);
  const client = await loggedIn(t, system, shows('ann'));
  // Pushing needs a key all the same.
  assert.deepEqual(await push(system, 'nobody'), INVALID);
  assert.deepEqual(await push(system, key), ACCEPTED);
  await hears(client, { content: 'hi' });
});

test('the passport service says who a client is', async (t) => {
  const sessions = { t1: [200, { code: 1, msg: 'OK', data: { uid: 42, nickname: 'n' } }], t2: [200, { code: 0, msg: 'no' }], t3: [500, 'x'], t4: [302, ''], t5: [200, 'x'.repeat(100_000)], t6: [200, '<html>'] };
  const service = await passport(t, ({ accessToken }) => sessions[accessToken] ?? [401, {}]);
  const system = await serve(t, { passport_url: service.url, passport_private: 'true' });
  const key = await keyOf(system.api, ['push']);
  const client = await loggedIn(t, system, shows('t1', 'mobile'), 'Android');
  assert.deepEqual(service.asked, [{ method: 'POST', type: 'application/json', body: '{"accessToken":"t1","platForm":"mobile","appId":"DIY48"}' }]);
  await push(system, key, { uids: [42] });
  await hears(client, { content: 'hi' });
  for (const [token, code, msg] of [['t2', 401, /信息不存在,/], ['t9', 401, /信息不存在,/], ['t3', 500, /请求失败,/], ['t4', 500, /请求失败,/], ['t5', 500, /请求失败,/], ['t6', 500, /请求失败,/]]) {
    const [status, said] = await refusal(system, shows(token));
    assert.deepEqual([status, said.code], [code, code], token);
    assert.match(said.msg, msg, token);
  }
  // What the namespace itself would take is nothing here.
  assert.equal((await refusal(system, shows(await tokenOf(system.api, { user: 'ann' }))))[0], 401);
});

test('a passport service that is down is left alone', async (t) => {
  const service = await passport(t, () => [503, {}]);
  const system = await serve(t, { passport_url: service.url, passport_private: 'true' });
  for (let n = 0; n < 10; n += 1) assert.equal((await refusal(system, shows(`t${n}`)))[0], 500);
  assert.ok(service.asked.length < 10, `it was asked ${service.asked.length} times`);
  await system.server.says(/the passport service does not answer/);
});

test('a passport service at a private address is not asked unless that is allowed', async (t) => {
  const service = await passport(t, () => [200, { code: 1, data: { uid: 'ann' } }]);
  const system = await serve(t, { passport_url: service.url });
  assert.equal((await refusal(system, shows('t1')))[0], 500);
  assert.deepEqual(service.asked, []);
});

test('a secret that anybody can compute opens nothing, unless the operator says so', async (t) => {
  const derived = createHash('md5').update(`messagepush${APP}`).digest('hex').slice(8, 24);
  const system = await serve(t);
  assert.deepEqual(await push(system, derived), INVALID);
  assert.deepEqual(await push(system, await keyOf(system.api, ['read'])), INVALID);
  assert.deepEqual(await push(system, await keyOf(system.api, ['push'])), ACCEPTED);
  const lax = await serve(t, { derived_secrets: 'true' });
  assert.deepEqual(await push(lax, derived), ACCEPTED);
  assert.deepEqual(await push(lax, `${derived.slice(0, 15)}x`), INVALID);
});

test('a server that stops sends its clients elsewhere', async (t) => {
  const system = await serve(t);
  const client = await loggedIn(t, system, shows(await tokenOf(system.api, { user: 'ann' })));
  const stopped = system.server.stop();
  assert.deepEqual(await client.waitClosed({ ms: 15_000 }), { code: 1012, reason: '新服务上线,服务重平衡!' });
  await stopped;
});
