// All five older systems on one server, in one namespace: a message that comes in through any of them reaches the clients of all,
// and one of Socket.IO 4, once each, and its report counts them.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import io1 from 'socket.io-client-1';
import io2 from 'socket.io-client-2';
import { io as io4 } from 'socket.io-client-4';

import { Api } from './lib/api.mjs';
import { startCompat } from './lib/compat.mjs';
import { RawSocket } from './lib/raw.mjs';
import { Redis } from './lib/redis.mjs';
import { until, within } from './lib/until.mjs';

const SYSTEMS = ['light_push', 'push_koa', 'gopusher', 'go_redis', 'message_push', 'socket.io 4'];

/** The text in a message, whichever way it came. */
const textOf = (data) => (typeof data === 'string' ? data : (data?.content ?? data?.text));

async function everybody(t) {
  const redis = await Redis.start(t);
  const namespace = 'demo';
  const server = await startCompat(t, {
    light_push: {},
    push_koa: { namespace, open: true, ack_wait: '100ms' },
    gopusher: { namespace, open: true },
    go_redis: { namespace, open: true, redis: redis.url, channels: 'lobby' },
    message_push: { namespace },
  });
  const api = new Api(server);
  const got = Object.fromEntries(SYSTEMS.map((system) => [system, []]));
  const at = server.at;

  const light = io2(`http://${at.light_push}/demo?uuid=d1&userid=ann`, { transports: ['websocket'], forceNew: true, query: { uuid: 'd1', userid: 'ann' } });
  t.after(() => light.disconnect());
  light.on('push', (push) => {
    got.light_push.push(textOf(push.pushData));
    light.emit('ackPush', { id: push.id });
  });
  await within('light-push lets in', new Promise((resolve) => light.on('ok', resolve)));

  const koa = io1(`http://${at.push_koa}/demo`, { transports: ['websocket'], forceNew: true });
  t.after(() => koa.disconnect());
  koa.on('message', (mid, message, ack) => {
    got.push_koa.push(textOf(message));
    ack?.();
  });
  await within('push lets in', new Promise((resolve) => koa.on('connect', resolve)));
  koa.emit('login', 'ann');

  const gopusher = await RawSocket.open(`ws://${at.gopusher}/ws`);
  t.after(() => gopusher.close());
  gopusher.send('{"event":"join","data":{"app_id":"app","card_id":"ann"}}');
  assert.equal(await gopusher.next(), '{"type":1,"data":"ok"}\n');
  const plain = (text) => {
    try {
      return textOf(JSON.parse(text)) ?? text;
    } catch {
      return text;
    }
  };
  gopusher.ws.on('message', (bytes) => got.gopusher.push(plain(JSON.parse(bytes.toString()).data)));

  const channels = await RawSocket.open(`ws://${at.go_redis}/ws?user=ann`);
  t.after(() => channels.close());
  channels.send('{"channel":"lobby","type":"subscribe"}');
  channels.ws.on('message', (bytes) => bytes.toString().split('\n').forEach((text) => got.go_redis.push(plain(text))));

  const mp = await RawSocket.open(`ws://${at.message_push}/message-push/v1/message`, {
    headers: { authorization: 'Bearer pc:ann', 'auth-app-id': 'DIY48' },
  });
  t.after(() => mp.close());
  mp.send(JSON.stringify({ cmd: 'LOGIN', data: { appKey: 'a'.repeat(32), platform: 'H5' } }));
  assert.equal(JSON.parse(await mp.next()).data.code, 1);
  mp.ws.on('message', (bytes) => {
    const { type, data } = JSON.parse(bytes.toString());
    if (type === 'MESSAGE') got.message_push.push(plain(data.content));
  });

  const modern = io4(`${server.url}/demo`, { transports: ['websocket'], forceNew: true, auth: { user: 'ann', device: 'modern' } });
  t.after(() => modern.disconnect());
  modern.on('push', (push, ack) => {
    got['socket.io 4'].push(textOf(push.data));
    ack();
  });
  await within('Socket.IO 4 lets in', new Promise((resolve) => modern.on('ready', resolve)));

  await until('all six are Ann', async () => {
    const answer = await api.call('POST', 'users:status', { users: ['ann'] });
    return JSON.stringify(answer.json).includes('"connections":6');
  });
  // Whoever has no rooms of their own is put into one.
  const moved = await api.call('POST', 'rooms/lobby/members', { users: ['ann'] });
  assert.equal(moved.status, 200, moved.text);
  return { server, api, got, at, redis };
}

describe('all older systems at once', () => {
  test('a message of each reaches the clients of all, once, and its report counts them', async (t) => {
    const { api, got, at, redis, server } = await everybody(t);
    const post = async (url, body, headers = {}) => {
      const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) });
      const text = await response.text();
      assert.equal(response.status, 200, `${url}: ${text}`);
      return text;
    };
    const basic = (user, key) => ({ authorization: `Basic ${Buffer.from(`${user}:${key}`).toString('base64')}` });
    const key = (await api.call('POST', 'keys', { name: 'old', scopes: ['push', 'read', 'manage'] })).json.key;
    const pushes = {
      'light-push, the user': (text) => post(`http://${at.light_push}/api/auth/push`, { room: 'user_ann', pushData: { text } }, basic('/demo', key)),
      'light-push, a room': (text) => post(`http://${at.light_push}/api/auth/push`, { room: 'lobby', pushData: { text } }, basic('/demo', key)),
      'push, the user': (text) => post(`http://${at.push_koa}/pushMsgToSingleDevice`, { useraccount: 'ann', msgId: 'm1', message: text }),
      'push, a room': (text) => post(`http://${at.push_koa}/pushMsgToRoom`, { tags: 'lobby', msgId: 'm1', message: { text }, ack: false }),
      'push, all': (text) => post(`http://${at.push_koa}/pushMsgToAll`, { msgId: 'm1', message: text, ack: false }),
      'gopusher, the user': (text) => post(`http://${at.gopusher}/push`, { from: 'x', to: ['ann'], appID: '', content: text }),
      'Go and Redis, a channel': (text) => redis.publish('lobby', text),
      'message-push, the user': (text) =>
        post(
          `http://${at.message_push}/message-push/v1/push`,
          { push_method: 1, platform: 'all', audience: { uids: ['ann'] }, message: { title: 'T', content: text, content_type: 'text' } },
          basic('a'.repeat(32), key),
        ),
      'Tidings, the user': (text) => api.push({ to: { users: ['ann'] }, data: { text } }),
      'Tidings, a room': (text) => api.push({ to: { rooms: ['lobby'] }, data: { text } }),
    };
    let count = 0;
    for (const [how, push] of Object.entries(pushes)) {
      count += 1;
      const text = `message ${count}: ${how}`;
      await push(text);
      await until(
        () => `everybody has "${text}"\n${JSON.stringify(got, null, 1)}`,
        () => SYSTEMS.every((system) => got[system].includes(text)),
      );
      const { items } = await api.get('messages?limit=1');
      const { id } = items[0];
      await until(
        async () => `the report counts all: ${JSON.stringify(await api.get(`messages/${id}/report`))}`,
        async () => {
          const report = await api.get(`messages/${id}/report`);
          const of = (value) => (typeof value === 'number' ? value : value.total);
          // Three say at once that they have it, unless push's caller wants no receipts; the others with their next heartbeat.
          const receipts = how.startsWith('push, a') ? 2 : 3;
          return of(report.meant) === 6 && of(report.written) === 6 && of(report.acked) >= receipts;
        },
      );
    }
    for (const system of SYSTEMS) assert.equal(got[system].length, count, `${system} got ${got[system].join(' | ')}`);
    assert.ok(server.running);
  });
});
