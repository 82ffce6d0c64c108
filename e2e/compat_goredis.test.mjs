// The push server of Go and Redis: its clients, its monitor, its calls, and backends that publish with plain PUBLISH to a Redis
// that comes and goes.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import WebSocket from 'ws';

import { Api, describe } from './lib/api.mjs';
import { Redis } from './lib/redis.mjs';
import { metric } from './lib/request.mjs';
import { Server, temporaryDirectory } from './lib/server.mjs';
import { until } from './lib/until.mjs';

/** A server with go+redis on a port of its own. */
async function served(t, redis, { open = true, channels = 'news, score.*', env = {} } = {}) {
  const section = { ENABLED: 'true', LISTEN: '127.0.0.1:0', OPEN: String(open), REDIS: redis.url, CHANNELS: channels };
  const set = Object.fromEntries(Object.entries(section).map(([key, value]) => [`TIDINGS_COMPAT__GO_REDIS__${key}`, value]));
  const server = await Server.start(t, { restartable: true, env: { ...set, ...env } });
  const port = async () => Number(await until('it says where', () => server.output.match(/go_redis listening on http:\/\/127\.0\.0\.1:(\d+)/g)?.at(-1).match(/(\d+)$/)[1]));
  const api = new Api(server, { namespace: 'channels' });
  return { server, api, port, url: `http://127.0.0.1:${await port()}`, ws: `ws://127.0.0.1:${await port()}` };
}

const heard = async (server) => until(() => `the Redis is heard\n${server.tail()}`, async () => (await metric(server, 'tidings_bridge_connected')) === 1, { ms: 20_000 });

/** A client as they were: it subscribes, and splits what comes by lines. */
class Subscriber {
  lines = [];
  static async connect(t, ws, channels = [], { path = '/ws', headers } = {}) {
    const client = new Subscriber();
    const socket = (client.socket = new WebSocket(`${ws}${path}`, { headers }));
    t.after(() => socket.terminate());
    socket.on('message', (bytes, binary) => client.lines.push(...(binary ? ['binary!'] : bytes.toString().split('\n'))));
    socket.on('close', (code, reason) => (client.closed = `${code} ${reason}`));
    socket.on('error', (error) => (client.failed = error.message));
    await until('it is connected', () => socket.readyState === WebSocket.OPEN || client.failed || client.closed);
    channels.forEach((channel) => client.say(channel, 'subscribe'));
    return client;
  }

  say(channel, type) {
    this.socket.send(JSON.stringify({ channel, type }));
  }

  async waitFor(lines, { ms = 10_000 } = {}) {
    await until(() => `has ${JSON.stringify(lines)}: ${JSON.stringify(this.lines.slice(-20))}`, () => this.lines.length >= lines.length, { ms });
    assert.deepEqual(this.lines, lines);
  }
}

const set = async (url, a, channel, { headers = {} } = {}) => {
  const body = new URLSearchParams({ channel });
  const answer = await fetch(`${url}/set?a=${a}`, { method: 'POST', body, headers });
  return (await answer.text()).trim();
};

const counts = async (url) => (await (await fetch(`${url}/set?a=getChannel`)).json()).channels;

/** Waits until as many are on each channel. */
const counted = (url, expected) => until(`there are ${JSON.stringify(expected)}`, async () => {
  const now = await counts(url);
  return Object.entries(expected).every(([name, count]) => now[name] === count);
}, { ms: 10_000 });

test('what is published with PUBLISH reaches whoever subscribed, as it was, in order', async (t) => {
  const redis = await Redis.start(t);
  const { server, api, url, ws } = await served(t, redis);
  await heard(server);
  const ann = await Subscriber.connect(t, ws, ['news', 'score.7']);
  const bob = await Subscriber.connect(t, ws, ['score.7', 'secret']);
  await counted(url, { news: 1, 'score.7': 2 });
  assert.equal(await redis.publish('news', '{"a": 1.50}'), '1');
  await redis.publish('score.7', 'two\nlines');
  await redis.publish('other', 'nobody');
  await redis.publish('news', 'é');
  await ann.waitFor(['{"a": 1.50}', 'two', 'lines', 'é']);
  await bob.waitFor(['two', 'lines']);
  // A pattern's channel that nobody may have as a name is none.
  assert.equal(await metric(server, 'tidings_subscriptions_refused_total{reason="not_found"}'), 1);
  // Bytes that are no text, nothing at all, and what only looks like a command.
  await redis.flood([['news', Buffer.from([0xff, 0x00, 0xfe])], ['news', ''], ['news', '{"channel":"x"}']]);
  await ann.waitFor(['{"a": 1.50}', 'two', 'lines', 'é', '\ufffd\0\ufffd', '', '{"channel":"x"}']);
  ann.say('news', 'unsubscribe');
  await counted(url, { news: 0 });
  await redis.publish('news', 'gone');
  await redis.publish('score.7', 'last');
  await bob.waitFor(['two', 'lines', 'last']);
  await ann.waitFor(['{"a": 1.50}', 'two', 'lines', 'é', '\ufffd\0\ufffd', '', '{"channel":"x"}', 'last']);
  // It is a message like any other: in the history, and for clients of any kind.
  const history = await api.get('messages?room=news');
  assert.equal(history.items.length, 6, JSON.stringify(history));
  // What a client says that is nothing does it no harm.
  for (const junk of ['', 'ping', '{"channel":1}', '{"channel":"news","type":"x"}', '[]', '{"channel":"","type":"subscribe"}']) bob.socket.send(junk);
  for (const topic of ['user:ann', 'device:x', 'all', 'room:news', 'user_ann']) bob.say(topic, 'subscribe');
  await until('all of it is refused', async () => (await metric(server, 'tidings_subscriptions_refused_total{reason="not_found"}')) === 6);
  await redis.publish('score.7', 'still');
  await bob.waitFor(['two', 'lines', 'last', 'still']);
  assert.equal(bob.closed, undefined);
  // Nothing is left of whoever goes.
  ann.socket.close();
  bob.socket.terminate();
  await until('no device is left', async () => (await api.get('devices')).items.length === 0, { ms: 10_000 });
});

test('a Redis that is killed and comes back is heard again, and the gap is told', async (t) => {
  const redis = await Redis.start(t);
  const { server, url, ws } = await served(t, redis, { channels: 'news' });
  await heard(server);
  const ann = await Subscriber.connect(t, ws, ['news']);
  await counted(url, { news: 1 });
  await redis.publish('news', '1');
  await ann.waitFor(['1']);
  for (const [round, text] of ['2', '3'].entries()) {
    await redis.kill9();
    await until('it is missed', async () => (await metric(server, 'tidings_bridge_connected')) === 0);
    assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
    await redis.start();
    await heard(server);
    assert.equal(await redis.publish('news', text), '1');
    await ann.waitFor(['1', '2', '3'].slice(0, round + 2));
  }
  assert.equal(await metric(server, 'tidings_bridge_gaps_total'), 2);
  assert.ok((await metric(server, 'tidings_bridge_away_seconds_total')) > 0);
  const lines = () => server.output.split('\n').filter((line) => /a Redis is (away|back)/.test(line));
  await until(() => `four lines: ${lines().join('\n')}`, () => lines().length >= 4);
  assert.equal(lines().length, 4, lines().join('\n'));
});

test('a Redis that hangs is left, and one that is not there at the start is waited for', async (t) => {
  const redis = await Redis.start(t, { started: false });
  const { server, api, url, ws } = await served(t, redis, { channels: 'news' });
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
  const ann = await Subscriber.connect(t, ws, ['news']);
  await counted(url, { news: 1 });
  assert.equal(await metric(server, 'tidings_bridge_connected'), 0);
  await redis.start();
  await heard(server);
  await redis.publish('news', '1');
  await ann.waitFor(['1']);
  redis.pause();
  t.after(() => redis.resume());
  await until('it is missed', async () => (await metric(server, 'tidings_bridge_connected')) === 0, { ms: 30_000 });
  await until('an alert says so', async () => (await api.get('/v1/alerts')).items.some(({ kind, until: over }) => kind === 'redis_away' && !over));
  redis.resume();
  await heard(server);
  await redis.publish('news', '2');
  await ann.waitFor(['1', '2']);
});

test('channels are added and removed while it runs, and after a restart they are as they were', async (t) => {
  const redis = await Redis.start(t);
  const world = await served(t, redis);
  const { server, api } = world;
  let { url, ws } = world;
  await heard(server);
  assert.deepEqual(await counts(url), { news: 0 });
  let ann = await Subscriber.connect(t, ws, ['news', 'new']);
  await counted(url, { news: 1 });
  assert.equal(await set(url, 'addChannel', 'new'), 'success');
  assert.equal(await set(url, 'addChannel', 'new'), 'success');
  assert.equal(await set(url, 'addChannel', ''), 'notChannel');
  assert.equal(await set(url, 'addChannel', 'a\u0000b'), 'notChannel');
  assert.equal(await set(url, 'removeChannel', 'nowhere'), 'notChannel');
  ann.say('new', 'subscribe');
  await counted(url, { news: 1, new: 1 });
  await until('it is heard', async () => (await redis.publish('new', 'here')) === '1');
  await ann.waitFor(['here']);
  // Removed: nobody is on it any more, nobody can be, and who was stays connected.
  assert.equal(await set(url, 'removeChannel', 'news'), 'success');
  assert.equal(await set(url, 'removeChannel', 'score.1'), 'success');
  await until('nobody is in it', async () => (await api.get('rooms')).items.every(({ room, name }) => (room ?? name) !== 'news'));
  assert.deepEqual(await counts(url), { new: 1 });
  let heardStill = 0;
  await until('it is not heard', async () => {
    const heard = Number(await redis.publish('news', 'nobody'));
    heardStill += heard;
    return heard === 0;
  });
  ann.say('news', 'subscribe');
  ann.say('score.1', 'subscribe');
  ann.say('score.2', 'subscribe');
  await counted(url, { new: 1, 'score.2': 1 });
  await redis.publish('score.1', 'nobody');
  await redis.publish('score.2', 'two');
  await ann.waitFor(['here', 'two']);
  assert.equal(await metric(server, 'tidings_bridge_dropped_total{reason="not_a_channel"}'), 1 + heardStill);
  await server.restart();
  ws = `ws://127.0.0.1:${await world.port()}`;
  url = ws.replace('ws:', 'http:');
  await heard(server);
  assert.deepEqual(await counts(url), { new: 0 });
  ann = await Subscriber.connect(t, ws, ['news', 'new', 'score.1']);
  await counted(url, { new: 1 });
  await redis.publish('new', 'again');
  await ann.waitFor(['again']);
  assert.equal(await set(url, 'addChannel', 'news'), 'success');
  ann.say('news', 'subscribe');
  await counted(url, { news: 1, new: 1 });
});

test('the monitor sees who is where, at once and when it changes', async (t) => {
  const redis = await Redis.start(t);
  const { url, ws } = await served(t, redis);
  const monitor = await Subscriber.connect(t, ws, [], { path: '/notify' });
  const last = () => JSON.parse(monitor.lines.filter((line) => line !== '').at(-1));
  await until('it sees', () => monitor.lines.length > 0);
  assert.deepEqual(last(), { channels: { news: 0 }, lconn: 0 });
  assert.equal(monitor.lines.at(-1), '', 'a line ends');
  const ann = await Subscriber.connect(t, ws, ['news', 'score.1']);
  await until(() => `it sees ann: ${monitor.lines}`, () => JSON.stringify(last()) === '{"channels":{"news":1,"score.1":1},"lconn":1}');
  ann.socket.close();
  await until('it sees her go', () => JSON.stringify(last()) === '{"channels":{"news":0},"lconn":0}');
  const preflight = await fetch(`${url}/set?a=getChannel`, { method: 'OPTIONS', headers: { origin: 'http://monitor.example', 'access-control-request-method': 'POST' } });
  assert.ok(preflight.ok);
  for (const answer of [preflight, await fetch(`${url}/set?a=getChannel`), await fetch(`${url}/set?a=what`)]) {
    assert.equal(answer.headers.get('access-control-allow-origin'), '*');
  }
});

test('closed: calls need a key, clients a token, and a channel must be one that it may join', async (t) => {
  const redis = await Redis.start(t);
  const { server, api, url, ws } = await served(t, redis, { open: false, channels: 'news, score.*, other' });
  await heard(server);
  assert.equal((await fetch(`${url}/set?a=getChannel`)).status, 401);
  assert.equal((await fetch(`${url}/set?a=addChannel`, { method: 'POST', body: new URLSearchParams({ channel: 'x' }) })).status, 401);
  const made = async (scopes) => {
    const answer = await api.call('POST', 'keys', { name: scopes.join(), scopes });
    assert.equal(answer.status, 201, describe(answer));
    return answer.json.key;
  };
  const [read, manage] = [await made(['read']), await made(['manage'])];
  const bearer = (key) => ({ authorization: `Bearer ${key}` });
  assert.equal((await fetch(`${url}/set?a=getChannel`, { headers: bearer(read) })).status, 200);
  assert.equal((await fetch(`${url}/set?a=addChannel`, { method: 'POST', body: 'channel=x', headers: bearer(read) })).status, 403);
  assert.equal(await set(url, 'addChannel', 'x', { headers: bearer(manage) }), 'success');
  for (const [path, failed] of [['/notify', /401/], [`/notify?key=${manage}`, /403/], ['/notify?key=wrong', /401/]]) {
    assert.match((await Subscriber.connect(t, ws, [], { path })).failed, failed);
  }
  const monitor = await Subscriber.connect(t, ws, [], { path: `/notify?key=${read}` });
  await until('it sees', () => monitor.lines.length > 0);

  for (const path of ['/ws', '/ws?token=wrong']) {
    const nobody = await Subscriber.connect(t, ws, ['news'], { path });
    await until('it is sent away', () => nobody.closed);
    assert.match(nobody.closed, /^3500 invalid_token/);
  }
  const token = async (claims) => {
    const answer = await api.call('POST', 'tokens', claims);
    assert.equal(answer.status, 201, describe(answer));
    return answer.json.token;
  };
  const mine = await token({ user: 'ann', join: ['news', 'score.*'] });
  const ann = await Subscriber.connect(t, ws, ['news', 'other', 'score.1'], { path: `/ws?token=${mine}` });
  const named = await token({ user: 'ann', device: 'd1', join: ['news'] });
  const again = await Subscriber.connect(t, ws, ['news'], { headers: bearer(named) });
  await until('both are there', async () => (await metric(server, 'tidings_subscriptions_refused_total{reason="forbidden"}')) === 1 && (await api.get('rooms/news/members')).items.length === 2);
  await redis.publish('other', 'not for her');
  await redis.publish('score.1', 'for her');
  await redis.publish('news', 'both');
  await ann.waitFor(['for her', 'both']);
  await again.waitFor(['both']);
  // A device that a token names is there for longer than a connection.
  again.socket.close();
  ann.socket.close();
  await until('only it is left', async () => JSON.stringify((await api.get('devices')).items.map(({ device }) => device)) === '["d1"]', { ms: 10_000 });
});

test('what was open is closed when `open` is left out, and nothing is opened by it', async (t) => {
  const redis = await Redis.start(t, { started: false });
  const { server, api, port } = await served(t, redis);
  const mode = async () => (await api.get('/v1/namespaces/channels')).auth.mode;
  const open = async (value) => {
    server.env.TIDINGS_COMPAT__GO_REDIS__OPEN = String(value);
    await server.stop();
    await server.start();
  };
  assert.equal(await mode(), 'open');
  const bob = await Subscriber.connect(t, `ws://127.0.0.1:${await port()}`, ['news']);
  assert.equal(bob.closed, undefined);
  await open(false);
  assert.equal(await mode(), 'token');
  await server.says(/WARN .*was open and now wants tokens.* namespace=channels/);
  const nobody = await Subscriber.connect(t, `ws://127.0.0.1:${await port()}`, ['news']);
  await until('it is sent away', () => nobody.closed);
  assert.match(nobody.closed, /^3500 invalid_token/);
  // What wants tokens stays so.
  await open(true);
  assert.equal(await mode(), 'token');
  await server.says(/WARN .*its clients need tokens: auth\.mode of the namespace is `token`.* namespace=channels/);

  // What is declared is as it is declared, and what another system keeps open stays open.
  const file = path.join(temporaryDirectory('declared'), 'tidings.toml');
  writeFileSync(file, '[namespaces.channels]\nauth.mode = "open"\n');
  server.args = ['--config', file];
  await open(false);
  assert.equal(await mode(), 'open');
  await server.says(/WARN .*whoever reaches the server can connect as anybody.* namespace=channels/);
  server.args = [];
  const gopusher = { ENABLED: 'true', LISTEN: '127.0.0.1:0', OPEN: 'true', NAMESPACE: 'channels' };
  for (const [key, value] of Object.entries(gopusher)) server.env[`TIDINGS_COMPAT__GOPUSHER__${key}`] = value;
  await open(false);
  assert.equal(await mode(), 'open');
  server.env.TIDINGS_COMPAT__GOPUSHER__OPEN = 'false';
  await open(false);
  assert.equal(await mode(), 'token');
});

test('thousands of channels and a flood: nothing is lost on the way, and each channel keeps its order', async (t) => {
  const redis = await Redis.start(t);
  const many = Array.from({ length: 3_000 }, (_, n) => `c${n}`);
  const { server, url, ws } = await served(t, redis, { channels: many.join(',') });
  await heard(server);
  assert.equal(await metric(server, 'tidings_bridge_channels'), 3_000);
  const clients = (await redis.cli('CLIENT', 'LIST', 'TYPE', 'pubsub')).split('\n');
  assert.equal(clients.length, 1, 'one connection');
  const ann = await Subscriber.connect(t, ws, many.slice(0, 20));
  await counted(url, { c0: 1, c19: 1 });
  const pairs = Array.from({ length: 20_000 }, (_, n) => [many[n % 3_000], `${n}`]);
  const forAnn = pairs.filter(([channel]) => many.indexOf(channel) < 20);
  await redis.flood(pairs);
  await until(() => `all of it has come\n${server.tail()}`, async () => (await metric(server, 'tidings_pushes_total')) === 20_000, { ms: 60_000, every: 50 });
  await ann.waitFor(forAnn.map(([, text]) => text), { ms: 30_000 });
  for (const reason of ['queue_full', 'overloaded', 'refused', 'too_large']) {
    assert.equal(await metric(server, `tidings_bridge_dropped_total{reason="${reason}"}`), 0, reason);
  }
  assert.equal(await metric(server, 'tidings_bridge_received_total'), 20_000);
  assert.equal(await metric(server, 'tidings_bridge_waiting'), 0);
});

test('who says much at once takes its time, and is not taken for silent meanwhile', async (t) => {
  const redis = await Redis.start(t, { started: false });
  const { api, url, ws } = await served(t, redis, { channels: 'c*', env: { TIDINGS_CLIENTS__PING_INTERVAL: '1s', TIDINGS_CLIENTS__PING_TIMEOUT: '3s' } });
  // What is too much takes twice as long as somebody may be silent.
  assert.equal((await api.call('PATCH', '/v1/namespaces/channels', { limits: { requests_per_second: 10 } })).status, 200);
  const ann = await Subscriber.connect(t, ws);
  // A thousand of them are for free.
  for (let n = 0; n < 1_080; n += 1) ann.say(`c${n % 10}`, n % 20 < 10 ? 'subscribe' : 'unsubscribe');
  ann.say('c-last', 'subscribe');
  await until(() => `the last one is there, closed: ${ann.closed}`, async () => ann.closed || (await counts(url))['c-last'] === 1, { ms: 30_000 });
  assert.equal(ann.closed, undefined);
});

test('more than may be is dropped and counted, and what is not dropped is in order', async (t) => {
  const redis = await Redis.start(t);
  const { server, api, url, ws } = await served(t, redis, { channels: 'news' });
  await heard(server);
  const ann = await Subscriber.connect(t, ws, ['news']);
  await counted(url, { news: 1 });
  const limits = (more) => api.call('PATCH', '/v1/namespaces/channels', { limits: more });
  assert.equal((await limits({ pushes_per_second: 100, message_size: '1KiB' })).status, 200);
  const total = 2_000;
  await redis.flood(Array.from({ length: total }, (_, n) => ['news', `${n}`]));
  const dropped = () => metric(server, 'tidings_bridge_dropped_total{reason="overloaded"}');
  const settled = async () => (await metric(server, 'tidings_pushes_total')) + (await dropped()) === total;
  await until(() => `all of it is accounted for\n${server.tail()}`, settled, { ms: 60_000, every: 50 });
  assert.ok((await dropped()) > 0);
  assert.equal((await limits({ pushes_per_second: 0 })).status, 200);
  await redis.publish('news', 'x'.repeat(1_100));
  await redis.publish('news', 'end');
  await until('the end has come', () => ann.lines.at(-1) === 'end', { ms: 20_000 });
  const numbers = ann.lines.slice(0, -1).map(Number);
  assert.equal(numbers.length, total - (await dropped()));
  assert.ok(numbers.every((number, index) => index === 0 || number > numbers[index - 1]), 'in order');
  assert.equal(await metric(server, 'tidings_bridge_dropped_total{reason="too_large"}'), 1);
});
