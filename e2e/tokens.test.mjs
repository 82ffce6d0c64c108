// Namespaces whose clients need a token: who gets in and as whom, what it may join, and what happens when it is over.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
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
