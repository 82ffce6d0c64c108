// light-push: its clients, byte by byte as recorded, and with the Socket.IO clients of its time.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import io1 from 'socket.io-client-1';
import io2 from 'socket.io-client-2';
import io20 from 'socket.io-client-20';

import { Api } from './lib/api.mjs';
import { connectionsOf, startCompat } from './lib/compat.mjs';
import { Polling, RawSocket } from './lib/raw.mjs';
import { until, within } from './lib/until.mjs';

async function start(t, settings = {}, options = {}) {
  const server = await startCompat(t, { light_push: settings }, options);
  return { server, api: new Api(server), at: server.at.light_push };
}

/** A client on a bare WebSocket, let into a namespace. */
async function client(t, at, query, { namespace = 'demo', path = '/socket.io/' } = {}) {
  const raw = await RawSocket.open(`ws://${at}${path}?${query}&EIO=3&transport=websocket`);
  t.after(() => raw.close());
  await raw.nextLike(/^0\{/);
  assert.equal(await raw.next('the root namespace'), '40');
  raw.send(`40/${namespace}?${query}`);
  return raw;
}

async function entered(t, at, query, options) {
  const raw = await client(t, at, query, options);
  const name = options?.namespace ?? 'demo';
  assert.equal(await raw.next('the namespace'), `40/${name},`);
  raw.ok = JSON.parse((await raw.nextLike(/\["ok",/)).slice(`42/${name},`.length))[1];
  return raw;
}

let acks = 0;
/** Emits an event and answers the argument of its callback. */
async function emit(raw, name, ...args) {
  acks += 1;
  raw.send(`42/demo,${acks}${JSON.stringify([name, ...args])}`);
  const frame = await raw.nextLike(new RegExp(`^43/demo,${acks}\\[`));
  return JSON.parse(frame.slice(`43/demo,${acks}`.length))[0];
}

const pushOf = (frame) => JSON.parse(frame.slice(frame.indexOf('[')))[1];

describe('light-push: clients on the wire', () => {
  test('the recorded trace on a WebSocket', async (t) => {
    const { at } = await start(t);
    const query = 'uuid=d1&userid=u1&platform=ios';
    const raw = await RawSocket.open(`ws://${at}/socket.io/?${query}&EIO=3&transport=websocket`);
    t.after(() => raw.close());
    const open = await raw.next();
    const { sid, ...rest } = JSON.parse(open.slice(1));
    assert.match(sid, /^\w+$/);
    assert.deepEqual(rest, { upgrades: [], pingInterval: 20_000, pingTimeout: 10_000 });
    assert.equal(open, `0{"sid":"${sid}","upgrades":[],"pingInterval":20000,"pingTimeout":10000}`);
    assert.equal(await raw.next(), '40');
    raw.send(`40/demo?${query}`);
    assert.equal(await raw.next(), '40/demo,');
    const ok = await raw.next();
    assert.match(ok, /^42\/demo,\["ok",\{"system":"[^"]+","port":\d+,"clientId":"\/demo#u1#ios-d1"\}\]$/);
    assert.equal(JSON.parse(ok.slice(8))[1].port, Number(at.split(':')[1]));
    raw.send('2');
    assert.equal(await raw.next(), '3');
  });

  test('the recorded trace of polling', async (t) => {
    const { at } = await start(t);
    const response = await fetch(`http://${at}/socket.io/?uuid=d1&EIO=3&transport=polling`);
    const body = await response.text();
    assert.match(body, /^\d+:0\{"sid":"\w+","upgrades":\["websocket"\],"pingInterval":20000,"pingTimeout":10000\}2:40$/);
    const sid = /"sid":"(\w+)"/.exec(body)[1];
    assert.equal(response.headers.get('set-cookie'), `io=${sid}; Path=/; HttpOnly; SameSite=Strict`);
    assert.equal(response.headers.get('access-control-allow-origin'), '*');
    const post = await fetch(`http://${at}/socket.io/?uuid=d1&EIO=3&transport=polling&sid=${sid}`, { method: 'POST', body: '17:40/demo?uuid=d1&x' });
    assert.equal(await post.text(), 'ok');
    for (const [query, text] of [
      ['EIO=3&transport=polling&sid=nobody', /^\{"code":1,"message":"Session ID unknown \[hostname:[^"\]]+\]"\}$/],
      ['transport=polling&sid=nobody', /^\{"code":1,"message":"Session ID unknown \[hostname:[^"\]]+\]"\}$/],
      ['EIO=3&transport=pigeon', /^\{"code":0,"message":"Transport unknown"\}$/],
    ]) {
      const unknown = await fetch(`http://${at}/socket.io/?${query}`);
      assert.equal(unknown.status, 400);
      assert.match(await unknown.text(), text);
    }
  });

  test('pages load the client from their server', async (t) => {
    const { at } = await start(t);
    for (const path of ['/socket.io/', '/push/socket.io/']) {
      const script = await fetch(`http://${at}${path}socket.io.js`);
      assert.equal(script.status, 200);
      assert.equal(script.headers.get('content-type'), 'application/javascript');
      assert.equal(script.headers.get('etag'), '"2.5.0"');
      assert.match(await script.text(), /Socket\.IO v2\.5\.0/);
      const again = await fetch(`http://${at}${path}socket.io.js`, { headers: { 'if-none-match': '"2.5.0"' } });
      assert.equal(again.status, 304);
    }
  });

  test('its clients come where the main listener takes only newer ones', async (t) => {
    const { at } = await start(t, {}, { env: { TIDINGS_CLIENTS__ENGINEIO3: 'false' } });
    await entered(t, at, 'uuid=d1');
  });

  test('who a client is may stand in its packet, where there is room for no more than a handshake has', async (t) => {
    const { at } = await start(t);
    const open = async () => {
      const raw = await RawSocket.open(`ws://${at}/socket.io/?EIO=3&transport=websocket`);
      t.after(() => raw.close());
      assert.match(await raw.next(), /^0\{/);
      assert.equal(await raw.next(), '40');
      return raw;
    };
    const padding = 'x'.repeat(10_000);
    const raw = await open();
    // Neither what says nothing of it nor what is too long is kept, however often it comes.
    for (const query of [`pad=${padding}`, `pad=${padding}`, `pad=${padding}&uuid=d1`]) {
      raw.send(`40/demo?${query}`);
      assert.equal(await raw.nextLike(/^44/), '44/demo,"uuid invalid"');
    }
    raw.send('40/demo?uuid=d1&userid=ann');
    assert.equal(pushOf(await raw.nextLike(/\["ok",/)).clientId, '/demo#ann#web-d1');
  });

  test('the configured path beside the usual one', async (t) => {
    const { at } = await start(t, { socket_path: '/push/socket.io/' });
    await entered(t, at, 'uuid=d1', { path: '/push/socket.io/' });
    await entered(t, at, 'uuid=d2');
  });

  test('who is refused is told in the old words', async (t) => {
    const { server, api, at } = await start(t);
    const made = await api.call('POST', '/v1/namespaces', { name: 'shut', auth: { mode: 'open' } });
    assert.equal(made.status, 201, made.text);
    assert.equal((await api.call('POST', '/v1/namespaces/shut:suspend')).status, 200);
    for (const [namespace, query, message] of [
      ['nowhere', 'uuid=d1', 'this namespace not found'],
      ['shut', 'uuid=d1', 'this namespace offline'],
      ['demo', 'userid=u1', 'uuid invalid'],
      ['demo', 'uuid=a%20b', 'uuid invalid'],
      ['demo', `uuid=${'x'.repeat(101)}`, 'uuid invalid'],
      ['demo', 'uuid=d1&userid=%00', 'userid invalid'],
      ['demo', 'uuid=d1&platform=windows', 'platform invalid'],
    ]) {
      const raw = await client(t, at, query, { namespace });
      assert.equal(await raw.next(), `41/${namespace},`, query);
      assert.equal(await raw.next(), `44/${namespace},${JSON.stringify(message)}`);
      // The connection stays, as it did.
      raw.send('2');
      assert.equal(await raw.next(), '3');
    }
    const first = await entered(t, at, 'uuid=d1&userid=u1');
    const second = await client(t, at, 'uuid=d1&userid=u1');
    assert.equal(await second.next(), '44/demo,"socket.id conflict"');
    // By the same connection, too, which stays.
    first.send('40/demo');
    assert.equal(await first.next(), '44/demo,"socket.id conflict"');
    first.send('2');
    assert.equal(await first.next(), '3');
    // Another user or platform with the same uuid is another client.
    await entered(t, at, 'uuid=d1&userid=u2');
    await entered(t, at, 'uuid=d1&userid=u1&platform=ios');
    first.close();
    await until('the first client is gone', async () => (await connectionsOf(api, 'u1')) === 1);
    await entered(t, at, 'uuid=d1&userid=u1');
    void server;
  });

  test('a push is what it was, and its receipt counts', async (t) => {
    const { api, at } = await start(t);
    const ann = await entered(t, at, 'uuid=d1&userid=ann&platform=ios');
    assert.deepEqual(await emit(ann, 'joinRoom', ['r1', 'room_x']), { status: 200, msg: 'ok' });
    const { id } = await api.push({ to: { rooms: ['r1'] }, data: { text: 'hi', n: 1.5 } });
    const frame = await ann.nextLike(/\["push",/);
    const push = pushOf(frame);
    assert.match(frame, /^42\/demo,\["push",\{"room":"r1","pushData":\{"text":"hi","n":1.5\},"namespace":"\/demo","id":\d+,"sendDate":\d{13}\}\]$/);
    ann.send(`42/demo,["ackPush",{"id":${push.id}}]`);
    await until('the receipt is in the books', async () => (await api.get(`messages/${id}/report`)).acked.total === 1 || (await api.get(`messages/${id}/report`)).acked === 1);
    // To the user, and to the room by its other name.
    await api.push({ to: { users: ['ann'] }, data: 7 });
    assert.equal(pushOf(await ann.nextLike(/\["push",/)).room, 'user_ann');
    await api.push({ to: { rooms: ['x'] }, data: 'text' });
    assert.deepEqual(pushOf(await ann.nextLike(/\["push",/)).pushData, 'text');
    // A receipt for what is not there, or not meant for it, leaves nothing.
    const stranger = await entered(t, at, 'uuid=d2&userid=bob');
    stranger.send(`42/demo,["ackPush",{"id":${push.id}}]`, '42/demo,["ackPush",{"id":987654}]', '42/demo,["ackPush",{"id":-1}]', '42/demo,["ackPush"]', '42/demo,["ackPush",7]');
    assert.deepEqual(await emit(stranger, 'joinRoom', 'r1'), { status: 200, msg: 'ok' });
    const { acked } = await api.get(`messages/${id}/report`);
    assert.equal(typeof acked === 'number' ? acked : acked.total, 1);
  });

  test('rooms: what is answered, and which cannot be joined', async (t) => {
    const { api, at } = await start(t);
    const ann = await entered(t, at, 'uuid=d1&userid=ann');
    const ok = { status: 200, msg: 'ok' };
    const invalid = { status: 500, msg: 'joinOrleaveRoom error: Error: room invalid' };
    for (const [event, rooms, answer] of [
      ['joinRoom', 'r1', ok],
      ['joinRoom', ['r2', 'r.3-$#/\\'], ok],
      ['joinRoom', ['user_ann'], ok],
      ['joinRoom', ['a b'], invalid],
      ['joinRoom', ['user_bob'], invalid],
      ['joinRoom', ['room_user_bob'], invalid],
      ['joinRoom', [], invalid],
      ['joinRoom', { a: 1 }, invalid],
      ['leaveRoom', ['r1'], ok],
      ['leaveRoom', ['r2', 'r.3-$#/\\'], ok],
      ['leaveRoom', ['never-joined'], ok],
    ]) {
      assert.deepEqual(await emit(ann, event, rooms), answer, `${event} ${JSON.stringify(rooms)}`);
    }
    assert.deepEqual((await api.get('users/ann')).rooms ?? [], []);
    // Nobody but Bob gets what is for Bob.
    await api.push({ to: { users: ['bob'] }, data: 'private' });
    await api.push({ to: { users: ['ann'] }, data: 'mine' });
    assert.deepEqual(pushOf(await ann.nextLike(/\["push",/)).pushData, 'mine');
  });

  test('events sent at once after the namespace are not lost', async (t) => {
    const { at } = await start(t);
    const raw = await RawSocket.open(`ws://${at}/socket.io/?uuid=d9&EIO=3&transport=websocket`);
    t.after(() => raw.close());
    raw.send('40/demo?uuid=d9', '42/demo,1["joinRoom","r1"]');
    assert.equal(await raw.nextLike(/^43/), '43/demo,1[{"status":200,"msg":"ok"}]');
  });

  test('who comes and goes is told to the others, also on another shard', async (t) => {
    const { at } = await start(t);
    const watchers = [];
    for (let index = 0; index < 4; index += 1) {
      const watcher = await entered(t, at, `uuid=w${index}&userid=w${index}`);
      await emit(watcher, 'joinRoom', ['lobby']);
      watchers.push(watcher);
    }
    const ann = await entered(t, at, 'uuid=d1&userid=ann&activityBroadcast=true');
    const quiet = await entered(t, at, 'uuid=d2&userid=bob');
    await emit(quiet, 'joinRoom', ['lobby']);
    await emit(ann, 'joinRoom', ['lobby']);
    const who = '"sid":"/demo#ann#web-d1","uuid":"d1","userid":"ann","room":"lobby"';
    const sorted = (frame) => JSON.stringify(Object.entries(pushOf(frame)).sort());
    const expected = (more) => JSON.stringify(Object.entries(JSON.parse(`{${who}${more}}`)).sort());
    for (const watcher of watchers) assert.equal(sorted(await watcher.nextLike(/\["peopleJoin",/)), expected(''));
    await emit(ann, 'leaveRoom', ['lobby']);
    for (const watcher of watchers) assert.equal(sorted(await watcher.nextLike(/\["peopleLeave",/)), expected(',"clientOffline":false'));
    await emit(ann, 'joinRoom', ['lobby']);
    ann.close();
    for (const watcher of watchers) assert.equal(sorted(await watcher.nextLike(/\["peopleLeave",/)), expected(',"clientOffline":true'));
    // Bob did not want it known, and nobody heard of him.
    assert.ok(watchers.every((watcher) => !watcher.log().includes('bob')));
  });

  test('a client pushes, as itself', async (t) => {
    const { api, at } = await start(t);
    assert.equal((await api.call('PATCH', '/v1/namespaces/demo', { limits: { publish_per_second: 0 } })).status, 200);
    const ann = await entered(t, at, 'uuid=d1&userid=ann');
    const bob = await entered(t, at, 'uuid=d2&userid=bob');
    await emit(ann, 'joinRoom', 'r1');
    await emit(bob, 'joinRoom', 'r1');
    const answer = await emit(ann, 'push', { room: 'r1', pushData: { text: 'hi', apsData: { aps: {} } }, from: 'forged', namespace: '/other', except: '/demo#bob#web-d2' });
    assert.equal(answer.status, 200);
    assert.equal(answer.msg, 'ok');
    assert.equal(typeof answer.id, 'number');
    const got = pushOf(await bob.nextLike(/\["push",/));
    assert.deepEqual(got.pushData, { text: 'hi' });
    assert.equal(got.id, answer.id);
    assert.equal(got.namespace, '/demo');
    // What its backends are told is what the server knows, too; and an id that was only acknowledged is none.
    const { key } = (await api.call('POST', 'keys', { name: 'backend', scopes: ['read'] })).json;
    const report = async (id) => {
      const authorization = `Basic ${Buffer.from(`/demo:${key}`).toString('base64')}`;
      const response = await fetch(`http://${at}/api/auth/report/push/${id}`, { headers: { authorization } });
      return response.text();
    };
    const told = JSON.parse(await report(answer.id));
    assert.deepEqual([told.from, told.except, told.namespace], ['/demo#ann#web-d1', '/demo#ann#web-d1', '/demo']);
    bob.send('42/demo,["ackPush",{"id":987654}]');
    assert.equal(await report(987654), '{"code": 9999,"msg": "this id not exists"}');
    // To one user, who gets it though the pusher cannot be in that room.
    await emit(ann, 'push', { room: 'user_bob', pushData: { private: true } });
    assert.equal(pushOf(await bob.nextLike(/\["push",/)).room, 'user_bob');
    for (const [body, text] of [
      [{}, 'room can not be empty'],
      [{ room: 'a b' }, 'room invalid'],
      [{ room: 'r1' }, 'pushData can not be empty and must be an Object'],
      [{ room: 'r1', pushData: {}, expire: 11 }, 'expire invalid'],
    ]) {
      assert.deepEqual(await emit(ann, 'push', body), { status: 400, msg: `{"code": 9999,"msg": "${text}"}` });
    }
    assert.equal((await api.call('PATCH', '/v1/namespaces/demo', { limits: { publish_per_second: 1 } })).status, 200);
    // One in a second, and none of them saved up.
    const limited = { status: 500, msg: 'limited access in 1s' };
    const answers = await until('a second has passed', async () => {
      const three = Array.from({ length: 3 }, () => (acks += 1));
      ann.send(...three.map((number) => `42/demo,${number}${JSON.stringify(['push', { room: 'r1', pushData: {} }])}`));
      const answered = [];
      for (const number of three) answered.push(JSON.parse((await ann.nextLike(new RegExp(`^43/demo,${number}\\[`))).replace(/^[^[]*/, ''))[0]);
      return answered[0].status === 200 && answered;
    });
    assert.deepEqual(answers.slice(1), [limited, limited]);
  });

  test('Android gets what it missed as one list, before it is in', async (t) => {
    const { api, at } = await start(t);
    const query = 'uuid=d1&userid=ann&platform=android';
    const first = await entered(t, at, query);
    await emit(first, 'joinRoom', 'r1');
    first.close();
    await until('she is away', async () => (await connectionsOf(api, 'ann')) === 0);
    for (const n of [1, 2, 3]) await api.push({ to: { rooms: ['r1'] }, data: { n } });
    const again = await client(t, at, query);
    assert.equal(await again.next(), '40/demo,');
    const frames = [];
    while (!frames.at(-1)?.includes('"ok"')) frames.push(await again.next());
    const lists = frames.filter((frame) => frame.includes('offlineMessage'));
    assert.equal(lists.length, 1, frames.join('\n'));
    const list = pushOf(lists[0]);
    assert.deepEqual(list.map((one) => one.pushData.n), [1, 2, 3]);
    for (const one of list) {
      assert.equal(one.room, 'r1');
      assert.equal(one.namespace, '/demo');
      for (const name of ['id', 'sendDate']) assert.match(one[name], /^\d+$/);
    }
    assert.ok(frames.every((frame) => frame === '6' || /offlineMessage|"ok"/.test(frame)), frames.join('\n'));
    // What is not acknowledged comes again; what is does not.
    again.send(`42/demo,["ackPush",{"id":${list[0].id}}]`);
    await emit(again, 'joinRoom', 'r1');
    again.close();
    await until('she is away', async () => (await connectionsOf(api, 'ann')) === 0);
    const third = await client(t, at, query);
    assert.deepEqual(pushOf(await third.nextLike(/offlineMessage/)).map((one) => one.pushData.n), [2, 3]);
  });

  test('Android is told that it is in behind all that it missed, also where a poll takes a part of it', async (t) => {
    const { api, at } = await start(t);
    const query = 'uuid=a1&userid=ann&platform=android';
    (await entered(t, at, query)).close();
    await until('she is away', async () => (await connectionsOf(api, 'ann')) === 0);
    const ids = [];
    for (let i = 0; i < 300; i += 1) ids.push((await api.push({ to: { users: ['ann'] }, data: { i, filler: 'x'.repeat(10_000) } })).id);
    const polling = await Polling.open({ url: `http://${at}`, wsUrl: `ws://${at}` }, { eio: 3, query: Object.fromEntries(new URLSearchParams(query)) });
    await polling.post([`40/demo?${query}`]);
    const packets = [];
    while (!packets.some((packet) => packet.includes('"ok"'))) packets.push(...polling.queue.splice(0), ...(await polling.get()).packets);
    assert.match(packets.at(-1), /"ok"/);
    const missed = packets.filter((packet) => packet.includes('"offlineMessage"')).flatMap(pushOf);
    assert.deepEqual(missed.map(({ pushData }) => pushData.i), ids.map((_, i) => i));
  });

  test('packets that mean nothing leave a client where it is', async (t) => {
    const { at } = await start(t);
    const ann = await entered(t, at, 'uuid=d1&userid=ann');
    ann.send('40/nowhere', '42/nowhere,1["joinRoom","a"]', '43/nowhere,1[]', '451-/nowhere,["x",{"_placeholder":true,"num":0}]', Buffer.from([4, 1]));
    assert.equal(await ann.next(), '41/nowhere,');
    assert.equal(await ann.next(), '44/nowhere,"this namespace not found"');
    ann.send('451-/demo,9["push",{"_placeholder":true,"num":0}]', Buffer.from([4, 1]));
    assert.equal(await ann.next(), '43/demo,9[{"status":500,"msg":"this event takes no binary arguments"}]');
    assert.deepEqual(await emit(ann, 'joinRoom', 'r1'), { status: 200, msg: 'ok' });
  });

  test('a client tells of itself, finds others near, and is left alone in a room', async (t) => {
    const { at } = await start(t);
    const ann = await entered(t, at, 'uuid=d1&userid=ann&platform=ios');
    const bob = await entered(t, at, 'uuid=d2&userid=bob');
    const ok = { status: 200, msg: 'ok' };
    assert.equal((await emit(ann, 'discover', { radius: 10 })).status, 500);
    assert.deepEqual(await emit(ann, 'info', { mobile: 'iPhone', system: 'iOS', longitude: 116.4, latitude: 39.9 }), ok);
    assert.deepEqual(await emit(bob, 'info', { longitude: '116.41', latitude: '39.91' }), ok);
    const own = await emit(ann, 'info', {});
    assert.equal(own.status, 200);
    assert.equal(own.mobile, 'iPhone');
    assert.equal(own.longitude, '116.4');
    const near = await emit(ann, 'discover', { radius: 10, count: 10 });
    assert.equal(near.status, 200);
    const found = near.list.find((one) => one.userId === 'bob');
    assert.equal(found.id, '/demo#bob#web-d2');
    assert.ok(Number(found.distance) > 1 && Number(found.distance) < 2, found.distance);
    // Not as somebody else.
    assert.equal((await emit(bob, 'info', { clientId: '/demo#ann#ios-d1', mobile: 'stolen' })).status, 403);
    assert.equal((await emit(bob, 'info', { clientId: '/demo#ann#ios-d1' })).status, 403);
    assert.equal((await emit(bob, 'discover', { clientId: '/demo#ann#ios-d1' })).status, 403);
    assert.equal((await emit(ann, 'info', {})).mobile, 'iPhone');
    assert.deepEqual(await emit(ann, 'apns', { add: ['r1', 'r2'] }), ok);
    assert.deepEqual(await emit(ann, 'apns', { remove: ['r2'] }), ok);
    assert.deepEqual(await emit(ann, 'apns', {}), ['r1']);
    assert.deepEqual(await emit(bob, 'apns', {}), { status: 403, msg: 'Forbidden' });
  });

  test('lost on purpose: counted, in the mailbox, and on nobody\'s connection', async (t) => {
    const { api, at } = await start(t);
    assert.equal((await api.call('PATCH', '/v1/namespaces/demo', { limits: { publish_per_second: 0 } })).status, 200);
    const ann = await entered(t, at, 'uuid=d1&userid=ann');
    const bob = await entered(t, at, 'uuid=d2&userid=bob');
    const lost = await emit(bob, 'push', { room: 'user_ann', pushData: { n: 1 }, extra: 'lost' });
    await emit(bob, 'push', { room: 'user_ann', pushData: { n: 2 } });
    assert.deepEqual(pushOf(await ann.nextLike(/\["push",/)).pushData, { n: 2 });
    ann.close();
    await until('she is away', async () => (await connectionsOf(api, 'ann')) === 0);
    const again = await entered(t, at, 'uuid=d1&userid=ann');
    assert.equal(pushOf(await again.nextLike(/\["push",/)).id, lost.id);
  });
});

describe('light-push: the business system is asked', () => {
  /** A business system, and a namespace `shop` that asks it. */
  async function asking(t, answer) {
    const asked = [];
    const business = http.createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      asked.push({ method: request.method, url: new URL(request.url, 'http://business'), headers: request.headers, body });
      const { status = 200, json } = request.method === 'GET' ? await answer(new URL(request.url, 'http://business')) : {};
      response.writeHead(status, { 'content-type': 'application/json' }).end(json === undefined ? '' : JSON.stringify(json));
    });
    await new Promise((resolve) => business.listen(0, '127.0.0.1', resolve));
    t.after(() => business.close());
    const url = `http://127.0.0.1:${business.address().port}`;
    const { server, at } = await start(t, { callback_private: true });
    const save = (fields) =>
      fetch(`http://${at}/api/admin/namespace/save`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Basic ${Buffer.from(`admin:${server.adminKey}`).toString('base64')}` },
        body: JSON.stringify({ key: '/shop', auth_passwd: 'secret', ...fields }),
      });
    const saved = await save({ connect_callback: `${url}/in`, disconnect_callback: `${url}/out`, callback_auth: 'raw secret' });
    assert.equal(saved.status, 200, await saved.text());
    return { server, at, asked, api: new Api(server, { namespace: 'shop' }), save, business };
  }

  test('it is shown the handshake, and says who a client is and where it belongs', async (t) => {
    const { at, asked, api } = await asking(t, () => ({ json: { userid: 'ann-of-the-shop', rooms: ['vip', 'room_news'] } }));
    const ann = await RawSocket.open(`ws://${at}/socket.io/?uuid=d1&userid=ann&extra=7&EIO=3&transport=websocket`, { headers: { cookie: 'session=1' } });
    t.after(() => ann.close());
    ann.send('40/shop');
    const ok = pushOf(await ann.nextLike(/"ok"/));
    assert.equal(ok.clientId, '/shop#ann#web-d1', 'the id keeps the original');
    const [{ method, url, headers }] = asked;
    assert.deepEqual([method, url.pathname], ['GET', '/in']);
    assert.deepEqual(
      ['uuid', 'userid', 'platform', 'extra', 'EIO', 'transport'].map((name) => url.searchParams.get(name)),
      ['d1', 'ann', 'web', '7', '3', 'websocket'],
    );
    assert.deepEqual([headers.cookie, headers.authorization, headers.namespace, headers.accept], ['session=1', 'raw secret', '/shop', 'application/json']);
    for (const to of [{ users: ['ann-of-the-shop'] }, { rooms: ['vip'] }, { rooms: ['news'] }]) {
      await api.push({ to, data: to });
      assert.deepEqual(pushOf(await ann.nextLike(/"push"/)).pushData, to);
    }
    ann.close();
    await until('the disconnect is told', () => asked.length === 2);
    const out = asked[1];
    assert.deepEqual([out.method, out.url.pathname, out.headers.authorization, out.headers.namespace], ['POST', '/out', 'raw secret', '/shop']);
    const { query } = JSON.parse(out.body);
    assert.deepEqual([query.uuid, query.userid, query.platform, query.extra], ['d1', 'ann', 'web', '7']);
  });

  test('of those who are the same client, one is let in, however close together they come', async (t) => {
    const waiting = [];
    const { at } = await asking(t, () => new Promise((resolve) => waiting.push(() => resolve({ json: {} }))));
    const all = await Promise.all([1, 2, 3, 4, 5].map(() => client(t, at, 'uuid=d1&userid=ann', { namespace: 'shop' })));
    await until('everybody was asked for', () => waiting.length === all.length);
    waiting.forEach((answer) => answer());
    const first = await Promise.all(all.map((raw) => raw.next()));
    assert.deepEqual(first.sort(), ['40/shop,', ...Array(4).fill('44/shop,"socket.id conflict"')]);
  });

  test('a client without a name is whom it says, and starts anew when that is somebody else', async (t) => {
    let userid;
    const { at, api } = await asking(t, () => ({ json: { userid } }));
    const come = async (query) => {
      const raw = await client(t, at, query, { namespace: 'shop' });
      const frame = await raw.next();
      return { raw, frame };
    };
    const away = async (raw, user) => {
      raw.close();
      await until(`${user} is away`, async () => (await connectionsOf(api, user)) === 0);
    };
    const nobody = await come('uuid=d1');
    assert.equal(nobody.frame, '40/shop,');
    await away(nobody.raw, 'd1');
    userid = 'ann';
    const ann = await come('uuid=d1');
    assert.equal(ann.frame, '40/shop,');
    await away(ann.raw, 'ann');
    await api.push({ to: { users: ['ann'] }, data: 'for ann only' });
    userid = 'bob';
    const bob = await come('uuid=d1');
    assert.equal(bob.frame, '40/shop,');
    await api.push({ to: { users: ['bob'] }, data: 'for bob' });
    assert.equal(pushOf(await bob.raw.nextLike(/"push"/)).pushData, 'for bob');
    // Whoever says a name does not take the device of somebody else by it.
    userid = undefined;
    const eve = await come('uuid=d2&userid=eve');
    await away(eve.raw, 'eve');
    userid = 'mallory';
    assert.equal((await come('uuid=d2&userid=eve')).frame, '41/shop,');
  });

  test('whoever a backend moves is told once, as it was said', async (t) => {
    const { at } = await asking(t, () => ({ json: { rooms: ['r1', 'r2'] } }));
    const ann = await entered(t, at, 'uuid=d1&userid=ann', { namespace: 'shop' });
    const bob = await entered(t, at, 'uuid=d2&userid=bob', { namespace: 'shop' });
    const headers = { authorization: Buffer.from('/shop:secret').toString('base64'), 'content-type': 'application/x-www-form-urlencoded' };
    const call = async (path, fields) => {
      const answer = await fetch(`http://${at}${path}`, { method: 'POST', headers, body: new URLSearchParams(fields) });
      assert.equal(answer.status, 200, await answer.text());
    };
    const transfer = (type, targetRoom, ...rooms) => call('/api/auth/transfer', [['type', type], ['targetRoom', targetRoom], ...rooms.map((room) => ['sourceRooms[]', room])]);
    const told = (type, targetRoom, ...sourceRooms) => `42/shop,["${type}Room",${JSON.stringify({ targetRoom, sourceRooms, type, namespace: '/shop' })}]`;
    await transfer('join', 'room_r3', 'user_ann');
    assert.equal(await ann.next(), told('join', 'room_r3', 'user_ann'));
    await transfer('join', 'r4', 'r1', 'room_r2');
    for (const raw of [ann, bob]) assert.equal(await raw.next(), told('join', 'r4', 'r1', 'room_r2'));
    // Out of the room itself, and only those who were in it.
    await transfer('leave', 'r3', 'r3');
    assert.equal(await ann.next(), told('leave', 'r3', 'r3'));
    await call('/api/auth/push', { room: 'r3', 'pushData[n]': 1 });
    await call('/api/auth/push', { room: 'r4', 'pushData[n]': 2 });
    for (const raw of [ann, bob]) assert.deepEqual(pushOf(await raw.next()).pushData, { n: '2' });
  });

  test('the others hear of who is put into their room, and a room that is named like a user is none', async (t) => {
    const { at, api } = await asking(t, () => ({ json: { rooms: ['news', 'user_ann', 'room_user_ann'] } }));
    const watch = await entered(t, at, 'uuid=d1&userid=ann', { namespace: 'shop' });
    const bob = await entered(t, at, 'uuid=d2&userid=bob&activityBroadcast=1', { namespace: 'shop' });
    assert.equal(await watch.nextLike(/"news"/), '42/shop,["peopleJoin",{"sid":"/shop#bob#web-d2","uuid":"d2","userid":"bob","room":"news"}]');
    const key = { authorization: `Basic ${Buffer.from('/shop:secret').toString('base64')}`, 'content-type': 'application/json' };
    for (const room of ['user_ann', 'room_user_ann', 'news']) {
      const answer = await fetch(`http://${at}/api/auth/push`, { method: 'POST', headers: key, body: JSON.stringify({ room, pushData: { room } }) });
      assert.equal(answer.status, 200);
    }
    assert.equal(pushOf(await bob.nextLike(/"push"/)).room, 'news');
    assert.equal(pushOf(await watch.nextLike(/"push"/)).room, 'user_ann');
    void api;
  });

  test('whom it does not want, or when it cannot be asked, nobody is let in', async (t) => {
    const { at, save, business, asked } = await asking(t, () => ({ status: 403 }));
    const raw = await client(t, at, 'uuid=d1', { namespace: 'shop' });
    assert.equal(await raw.next(), '41/shop,');
    assert.equal(await raw.next(), '44/shop,"handshake fail statusCode: 403"');
    const port = business.address().port;
    business.close();
    business.closeAllConnections();
    const other = await client(t, at, 'uuid=d2', { namespace: 'shop' });
    assert.match(await other.next(), new RegExp(`^44/shop,"connect ECONNREFUSED 127\\.0\\.0\\.1:${port}"$`));
    // Whoever was refused is not told of as gone.
    raw.close();
    // Without a callback its own rules hold again.
    const saved = await save({ connect_callback: '' });
    assert.equal(saved.status, 200, await saved.text());
    await entered(t, at, 'uuid=d3', { namespace: 'shop' });
    assert.ok(asked.every((one) => one.method === 'GET'));
  });
});

describe('light-push: clients of its time', () => {
  for (const [version, io] of Object.entries({ '1.7': io1, '2.0': io20, '2.5': io2 })) {
    for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
      test(`socket.io-client ${version} by ${transports.join(' then ')}`, async (t) => {
        const { api, at } = await start(t);
        const query = 'uuid=d1&userid=ann&platform=web';
        // Version 1 knows no `query` but in the address.
        const socket = io(`http://${at}/demo?${query}`, { transports, forceNew: true, reconnection: false, query });
        t.after(() => socket.disconnect());
        const ok = within('ok', new Promise((resolve) => socket.on('ok', resolve)));
        assert.equal((await ok).clientId, '/demo#ann#web-d1');
        const joined = await within('joined', new Promise((resolve) => socket.emit('joinRoom', ['r1'], resolve)));
        assert.deepEqual(joined, { status: 200, msg: 'ok' });
        const pushed = within('a push', new Promise((resolve) => socket.on('push', resolve)));
        const { id } = await api.push({ to: { rooms: ['r1'] }, data: { text: 'hi' } });
        const push = await pushed;
        assert.deepEqual(push.pushData, { text: 'hi' });
        socket.emit('ackPush', { id: push.id });
        await until('the receipt is in the books', async () => {
          const { acked } = await api.get(`messages/${id}/report`);
          return (typeof acked === 'number' ? acked : acked.total) === 1;
        });
      });
    }
  }

  const HERE = fileURLToPath(new URL('.', import.meta.url));
  const skip = existsSync(path.join(HERE, '.venv/.installed-requirements'))
    ? false
    : 'SKIPPED: the Python packages are not installed; setup.sh does that, and needs python3 with venv, and PyPI';
  for (const transports of ['websocket', 'polling', 'polling,websocket']) {
    test(`python-socketio 4 by ${transports}`, { skip }, async (t) => {
      const { api, at } = await start(t);
      const child = spawn(path.join(HERE, '.venv/bin/python'), ['light_push.py'], {
        cwd: path.join(HERE, 'socketio'),
        env: { ...process.env, NAMESPACE: '/demo', URL: `http://${at}?uuid=d1&userid=ann`, TRANSPORTS: transports, PYTHONDONTWRITEBYTECODE: '1' },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      t.after(() => child.kill('SIGKILL'));
      let said = '';
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
      const lines = () => said.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
      const told = (event) => until(() => `${event} in ${said}`, () => lines().find((line) => line.event === event), { ms: 15_000 });
      assert.equal((await told('ok')).data.clientId, '/demo#ann#web-d1');
      assert.deepEqual((await told('joined')).data, { status: 200, msg: 'ok' });
      const { id } = await api.push({ to: { rooms: ['r1'] }, data: { text: 'hi' } });
      assert.deepEqual((await told('push')).data.pushData, { text: 'hi' });
      await until('the receipt is in the books', async () => {
        const { acked } = await api.get(`messages/${id}/report`);
        return (typeof acked === 'number' ? acked : acked.total) === 1;
      });
    });
  }
});
