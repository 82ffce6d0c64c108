// Namespaces whose clients need a token: who gets in and as whom, what it may join, and what happens when it is over.

import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { Api } from './lib/api.mjs';
import { connected, outcome } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const SECRET = 'a secret of the shop, 32 bytes and some';
const KINDS = ['sio4-ws', 'sio4-polling', 'sio3-ws', 'sio2-ws', 'ws', 'sse'];
/** How long a token holds beyond its end, because clocks differ. */
const LEEWAY_MS = 5_000;

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const inSeconds = (seconds) => Math.floor(Date.now() / 1_000) + seconds;

/** A token, signed as any JWT library does it. */
function token(claims, { header = {}, secret = SECRET } = {}) {
  const head = `${part({ alg: 'HS256', typ: 'JWT', ...header })}.${part({ sub: 'ann', exp: inSeconds(60), ...claims })}`;
  return `${head}.${createHmac('sha256', secret).update(head).digest('base64url')}`;
}

async function shop(t) {
  const server = await Server.start(t);
  const admin = new Api(server);
  const auth = { mode: 'token', jwt: { algorithms: ['HS256'], secret: SECRET } };
  const made = await admin.call('POST', '/v1/namespaces', { name: 'shop', auth });
  assert.equal(made.status, 201, made.text);
  return { server, api: new Api(server, { namespace: 'shop' }) };
}

for (const kind of KINDS) {
  test(`a client is who its token says: ${kind}`, async (t) => {
    const { server, api } = await shop(t);
    const ann = await connected(t, server, kind, { namespace: 'shop', device: 'd1', token: token({ rooms: ['news'], join: ['score.*'] }), rooms: ['score.7'] });
    assert.equal(ann.ready?.user ?? 'ann', 'ann');
    for (const to of [{ users: ['ann'] }, { rooms: ['news'] }, { rooms: ['score.7'] }]) {
      const { id } = await api.push({ to, data: to });
      await ann.waitForId(id);
      await until('its receipt is there', async () => (await api.report(id)).acked === 1);
    }
    await assert.rejects(ann.join(['secret']), (error) => {
      assert.match(`${error.message}`, kind === 'sse' ? /is open|not:/ : /forbidden|token does not allow/);
      return true;
    });
    await ann.close();
  });

  test(`nobody gets in without a good one: ${kind}`, async (t) => {
    const { server } = await shop(t);
    for (const [what, options] of [
      ['none', {}],
      ['another secret', { token: token({}, { secret: 'another one of the same length, or so' }) }],
      ['no algorithm', { token: token({}, { header: { alg: 'none' } }) }],
      ['expired', { token: token({ exp: inSeconds(-60) }) }],
      ['somebody else', { token: token({}), user: 'bob' }],
    ]) {
      assert.equal(await outcome(t, server, kind, { namespace: 'shop', device: 'd1', ...options }), 'refused', what);
    }
  });
}

test('a permit that is over ends the connection, unless there is a newer one', async (t) => {
  const { server, api } = await shop(t);
  const short = () => token({ exp: inSeconds(1) });
  const [stays, goes, streams] = await Promise.all([
    connected(t, server, 'ws', { namespace: 'shop', device: 'stays', token: short() }),
    connected(t, server, 'sio4-ws', { namespace: 'shop', device: 'goes', token: short() }),
    connected(t, server, 'sse', { namespace: 'shop', device: 'streams', token: short() }),
  ]);
  await assert.rejects(stays.command({ cmd: 'refresh', token: token({ sub: 'bob' }) }), /user is not the one of the token/);
  const renewed = await stays.command({ cmd: 'refresh', token: token({ exp: inSeconds(60) }) });
  assert.ok(Date.parse(renewed.expires_at) > Date.now() + 30_000, renewed.expires_at);
  for (const over of [goes, streams]) {
    await until(`${over.name} is ended`, () => over.disconnects.length > 0, { ms: LEEWAY_MS + 5_000 });
    assert.ok(over.notices.some(({ notice, data }) => notice === 'goaway' && data.code === 3005), JSON.stringify(over.notices));
  }
  const { id } = await api.push({ to: { devices: ['stays'] }, data: 'still here' });
  await stays.waitForId(id);
  assert.equal(stays.connects, 1);
});

test('a token that was minted here is good, and its key is the namespace\'s own', async (t) => {
  const { server, api } = await shop(t);
  const made = await api.call('POST', 'tokens', { user: 'ann', device: 'd1', rooms: ['news'], expires_in: '10m' });
  assert.equal(made.status, 201, made.text);
  const ann = await connected(t, server, 'ws', { namespace: 'shop', token: made.json.token });
  assert.equal(ann.ready.device, 'd1');
  const { id } = await api.push({ to: { rooms: ['news'] }, data: 1 });
  await ann.waitForId(id);
});

for (const kind of KINDS) {
  test(`who is here by a token that is revoked is sent away, and does not come back: ${kind}`, async (t) => {
    const { server, api } = await shop(t);
    const here = (user, claims) => connected(t, server, kind, { namespace: 'shop', device: `d-${user}`, token: token({ sub: user, ...claims }) });
    const [ann, bob] = [await here('ann', { jti: 't1', iat: inSeconds(-10) }), await here('bob', { iat: inSeconds(-10) })];
    const revoked = await api.call('POST', 'tokens:revoke', { jti: 't1', for: '1h' });
    assert.equal(revoked.status, 200, revoked.text);
    await until(`${ann.name} is told`, () => ann.notices.some(({ notice, data }) => notice === 'goaway' && data.code === 3500 && data.reconnect === false));
    assert.equal(await outcome(t, server, kind, { namespace: 'shop', device: 'd-ann', token: token({ jti: 't1', iat: inSeconds(-10) }) }), 'refused');
    const { id } = await api.push({ to: { all: true }, data: 1 });
    await bob.waitForId(id);
    assert.equal(bob.connects, 1, 'nobody else is');
    assert.equal((await api.call('POST', 'tokens:revoke', { user: 'bob' })).status, 200);
    await until(`${bob.name} is told`, () => bob.notices.some(({ notice, data }) => notice === 'goaway' && data.code === 3500));
    const again = await connected(t, server, kind, { namespace: 'shop', device: 'd-bob', token: token({ sub: 'bob', iat: inSeconds(1) }) });
    await again.waitForId((await api.push({ to: { users: ['bob'] }, data: 2 })).id);
  });
}

test('tokens are verified with keys that are fetched, and with those that follow them', async (t) => {
  const asked = [];
  const keys = [];
  const issuer = createServer((request, response) => {
    asked.push(request.url);
    response.end(JSON.stringify({ keys: keys.map(({ jwk }) => jwk) }));
  });
  await new Promise((resolve) => issuer.listen(0, '127.0.0.1', resolve));
  t.after(() => issuer.close());
  const pair = (kid) => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return { kid, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'ES256' } };
  };
  const by = ({ kid, privateKey }, claims) => {
    const head = `${part({ alg: 'ES256', kid })}.${part({ sub: 'ann', exp: inSeconds(60), ...claims })}`;
    return `${head}.${sign('sha256', Buffer.from(head), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  };
  const [first, stranger] = [pair('2026-11'), pair('2026-12')];
  keys.push(first);
  const server = await Server.start(t);
  const admin = new Api(server);
  const jwt = { algorithms: ['ES256'], jwks_url: `http://127.0.0.1:${issuer.address().port}/keys`, allow_private: true };
  const made = await admin.call('POST', '/v1/namespaces', { name: 'shop', auth: { mode: 'token', jwt } });
  assert.equal(made.status, 201, made.text);
  for (const kind of KINDS) await connected(t, server, kind, { namespace: 'shop', device: `d-${kind}`, token: by(first, {}) });
  for (let n = 0; n < 10; n += 1) {
    assert.equal(await outcome(t, server, 'ws', { namespace: 'shop', token: by({ ...stranger, kid: `made up ${n}` }, {}) }), 'refused');
  }
  assert.ok(asked.length <= 2, `asked ${asked.length} times`);
  assert.deepEqual([...new Set(asked)], ['/keys']);
});
