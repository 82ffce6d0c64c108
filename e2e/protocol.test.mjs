// What the protocol documents fix (Engine.IO 4 and 3, Socket.IO 5 and 4, RFC 6455, SSE) and what API.md
// section 5 adds, spoken by hand: no client library that would smooth things over.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';

import { Api } from './lib/api.mjs';
import { bystander } from './lib/check.mjs';
import { Polling, RawSocket } from './lib/raw.mjs';
import { Server } from './lib/server.mjs';
import { until, within } from './lib/until.mjs';

const RFC3339_UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const BOTH = [4, 3];

let server;
let api;
before(async () => {
  server = await Server.start();
  api = new Api(server);
});
after(() => server.dispose());

let counter = 0;
/** Names that no other test uses. */
const someone = () => {
  counter += 1;
  return { user: `user-${counter}`, device: `device-${counter}` };
};

const wsPath = (eio, query = {}) => `/socket.io/?${new URLSearchParams({ ...query, EIO: eio, transport: 'websocket' })}`;

/** The packet that connects to a namespace, by protocol version. */
const connectPacket = (eio, namespace, who) =>
  eio === 4 ? `40/${namespace},${JSON.stringify(who)}` : `40/${namespace}?${new URLSearchParams(who)}`;

/** A Socket.IO connection over WebSocket that has been accepted in `demo` and was told so. */
async function sio(t, eio, who = someone(), { on = server, namespace = 'demo' } = {}) {
  const socket = await RawSocket.open(on.wsUrl + wsPath(eio, eio === 3 ? who : {}));
  t.after(() => socket.close());
  socket.open = JSON.parse((await socket.nextLike(/^0\{/)).slice(1));
  if (eio === 3) assert.equal(await socket.next('the root namespace'), '40');
  socket.send(connectPacket(eio, namespace, who));
  socket.accepted = await socket.nextLike(new RegExp(`^40/${namespace},`));
  socket.ready = JSON.parse((await socket.nextLike(new RegExp(`^42/${namespace},\\["ready",`))).slice(`42/${namespace},`.length))[1];
  return Object.assign(socket, who);
}

/** Emits with an acknowledgement id and answers what the callback gets. */
async function emit(socket, id, ...args) {
  socket.send(`42/demo,${id}${JSON.stringify(args)}`);
  return answerTo(await socket.nextLike(new RegExp(`^43/demo,${id}\\[`)));
}

function answerTo(packet) {
  const args = JSON.parse(packet.slice(packet.indexOf('[')));
  assert.equal(args.length, 1, packet);
  return args[0];
}

function assertRefusal(answer) {
  assert.equal(answer.ok, false, JSON.stringify(answer));
  assert.equal(typeof answer.error?.code, 'string', JSON.stringify(answer));
  assert.equal(typeof answer.error?.message, 'string', JSON.stringify(answer));
}

async function assertError(response, code, message) {
  assert.equal(response.status, 400);
  assert.deepEqual(await response.json(), { code, message });
}

describe('Engine.IO: handshake', () => {
  for (const eio of BOTH) {
    test(`WebSocket, version ${eio}`, async (t) => {
      const socket = await sio(t, eio);
      const { sid, upgrades, pingInterval, pingTimeout, maxPayload } = socket.open;
      assert.match(sid, /^[\w-]{10,}$/);
      assert.deepEqual(upgrades, []);
      assert.ok(pingInterval > 0 && pingTimeout > 0, JSON.stringify(socket.open));
      if (eio === 4) assert.ok(Number.isInteger(maxPayload) && maxPayload >= 65_536, JSON.stringify(socket.open));
      if (eio === 4) {
        const accepted = JSON.parse(socket.accepted.slice('40/demo,'.length));
        assert.equal(typeof accepted.sid, 'string', socket.accepted);
        assert.notEqual(accepted.sid, sid, 'the Socket.IO sid must not give away the Engine.IO session');
      } else assert.equal(socket.accepted, '40/demo,');
      assert.deepEqual([socket.ready.device, socket.ready.user], [socket.device, socket.user]);
      for (const name of ['connection', 'node']) assert.equal(typeof socket.ready[name], 'string', JSON.stringify(socket.ready));
      assert.equal(typeof socket.ready.recovered, 'boolean', JSON.stringify(socket.ready));
      assert.equal(typeof socket.ready.positions, 'object', JSON.stringify(socket.ready));
    });

    test(`long polling, version ${eio}`, async () => {
      const who = someone();
      const polling = await Polling.open(server, { eio, query: eio === 3 ? who : {} });
      assert.match(polling.sid, /^[\w-]{10,}$/);
      assert.deepEqual(polling.handshake.upgrades, ['websocket']);
      if (eio === 3) await polling.nextLike(/^40$/);
      assert.deepEqual(await polling.post([connectPacket(eio, 'demo', who)]), { status: 200, text: 'ok' });
      await polling.nextLike(/^40\/demo,/);
      const ready = await polling.nextLike(/^42\/demo,\["ready",/);
      assert.equal(JSON.parse(ready.slice('42/demo,'.length))[1].device, who.device);
      const data = { text: '日本語 🎉 é' };
      const { id } = await api.push({ to: { users: [who.user] }, data });
      const packet = await polling.nextLike(/^42\/demo,\d+\["push",/);
      assert.deepEqual(JSON.parse(packet.slice(packet.indexOf('[')))[1].data, data);
      // Two packets in one payload, one of them the acknowledgement.
      assert.equal((await polling.post([`42/demo,8["join",["${who.user}-room"]]`, `43/demo,${/^42\/demo,(\d+)/.exec(packet)[1]}[]`])).status, 200);
      assert.equal(answerTo(await polling.nextLike(/^43\/demo,8\[/)).ok, true);
      await api.waitForLedger(id, { meant: 1, written: 1, acked: 1 });
    });
  }

  test('an answer to a poll is not stored by anybody', async () => {
    const response = await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`);
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /^text\/plain\b/);
    assert.match(response.headers.get('cache-control') ?? '', /no-store/);
    await response.text();
  });

  const errors = [
    ['unknown transport', 'GET', 'EIO=4&transport=carrier-pigeon', 0, 'Transport unknown'],
    ['no transport', 'GET', 'EIO=4', 0, 'Transport unknown'],
    ['transport named like a property of objects', 'GET', 'EIO=4&transport=constructor', 0, 'Transport unknown'],
    ['unknown session, GET', 'GET', 'EIO=4&transport=polling&sid=nobody', 1, 'Session ID unknown'],
    ['unknown session, POST', 'POST', 'EIO=4&transport=polling&sid=nobody', 1, 'Session ID unknown'],
    ['unknown session, version 3', 'POST', 'EIO=3&transport=polling&sid=nobody', 1, 'Session ID unknown'],
    ['hostile session id', 'GET', `EIO=4&transport=polling&sid=${encodeURIComponent('__proto__')}`, 1, 'Session ID unknown'],
    ['session id of 10 kB with control characters', 'GET', `EIO=4&transport=polling&sid=${'%00%0a..%2f'.repeat(900)}`, 1, 'Session ID unknown'],
    ['handshake by POST', 'POST', 'EIO=4&transport=polling', 2, 'Bad handshake method'],
    ['handshake by PUT', 'PUT', 'EIO=4&transport=polling', 2, 'Bad handshake method'],
    ['version 5', 'GET', 'EIO=5&transport=polling', 5, 'Unsupported protocol version'],
    ['version 2', 'GET', 'EIO=2&transport=polling', 5, 'Unsupported protocol version'],
    ['version abc', 'GET', 'EIO=abc&transport=polling', 5, 'Unsupported protocol version'],
    ['no version', 'GET', 'transport=polling', 5, 'Unsupported protocol version'],
  ];
  for (const [name, method, query, code, message] of errors) {
    test(`refused: ${name}`, async () => {
      await assertError(await fetch(`${server.url}/socket.io/?${query}`, { method, ...(method === 'GET' ? {} : { body: '3' }) }), code, message);
    });
  }

  test('refused over WebSocket: unknown session, unsupported version', async () => {
    for (const [query, code, message] of [
      ['EIO=4&transport=websocket&sid=nobody', 1, 'Session ID unknown'],
      ['EIO=5&transport=websocket', 5, 'Unsupported protocol version'],
    ]) {
      const refused = await RawSocket.open(`${server.wsUrl}/socket.io/?${query}`).then(() => assert.fail(`${query} was accepted`), (error) => error);
      assert.equal(refused.status, 400, refused.stack);
      assert.deepEqual(JSON.parse(refused.body), { code, message });
    }
  });
});

describe('Engine.IO: from polling to WebSocket', () => {
  for (const eio of BOTH) {
    test(`probe, the pending poll answered, nothing lost or doubled, version ${eio}`, async (t) => {
      const who = someone();
      const polling = await Polling.open(server, { eio, query: eio === 3 ? who : {} });
      await polling.post([connectPacket(eio, 'demo', who)]);
      await polling.nextLike(/^42\/demo,\["ready",/);
      assert.deepEqual(polling.queue, []);

      const pending = polling.get();
      const socket = await RawSocket.open(polling.wsUrl);
      t.after(() => socket.close());
      socket.send('2probe');
      assert.equal(await socket.next('the answer to the probe'), '3probe');
      const answer = await within('the pending poll is answered after the probe', pending);
      assert.deepEqual(answer.packets, ['6']);
      // Accepted between probe and upgrade: it has to come on one of the two, once.
      const between = await api.push({ to: { users: [who.user] }, data: 'between' });
      socket.send('5');
      const after = await api.push({ to: { users: [who.user] }, data: 'after' });
      const ids = [];
      while (ids.length < 2) ids.push(JSON.parse((await socket.nextLike(/^42\/demo,\d+\["push",/)).replace(/^[^[]*/, ''))[1].id);
      assert.deepEqual(ids, [between.id, after.id]);
      const answerToJoin = await emit(socket, 1, 'join', [`${who.user}-room`]);
      assert.equal(answerToJoin.ok, true);
      assert.deepEqual(socket.frames, []);
      // The session now belongs to the WebSocket.
      assert.equal((await polling.get()).status, 400);
      assert.equal((await emit(socket, 2, 'leave', [`${who.user}-room`])).ok, true);
    });

    test(`a second WebSocket on an upgraded session is refused, the first lives, version ${eio}`, async (t) => {
      const who = someone();
      const polling = await Polling.open(server, { eio, query: eio === 3 ? who : {} });
      await polling.post([connectPacket(eio, 'demo', who)]);
      await polling.nextLike(/^42\/demo,\["ready",/);
      const first = await RawSocket.open(polling.wsUrl);
      t.after(() => first.close());
      first.send('2probe');
      assert.equal(await first.next(), '3probe');
      first.send('5');
      assert.equal((await emit(first, 1, 'join', ['x'])).ok, true);
      const second = await RawSocket.open(polling.wsUrl).catch((error) => error);
      if (second instanceof RawSocket) {
        t.after(() => second.close());
        second.send('2probe');
        await second.waitClosed({ what: 'is closed, its session has a WebSocket already' });
        assert.deepEqual(second.frames, []);
      } else assert.equal(second.status, 400, second.stack);
      assert.equal((await emit(first, 2, 'leave', ['x'])).ok, true);
    });
  }

  test('a probe that is never finished leaves polling as it was', async () => {
    const who = someone();
    const polling = await Polling.open(server);
    await polling.post([connectPacket(4, 'demo', who)]);
    await polling.nextLike(/^42\/demo,\["ready",/);
    const socket = await RawSocket.open(polling.wsUrl);
    socket.send('2probe');
    assert.equal(await socket.next(), '3probe');
    socket.close();
    const { id } = await api.push({ to: { users: [who.user] }, data: 1 });
    const packet = await polling.nextLike(/^42\/demo,\d+\["push",/);
    assert.equal(JSON.parse(packet.replace(/^[^[]*/, ''))[1].id, id);
  });
});

describe('Engine.IO: long polling, misuse', () => {
  for (const eio of BOTH) {
    test(`two polls at once end the session, version ${eio}`, async () => {
      const who = someone();
      const polling = await Polling.open(server, { eio, query: eio === 3 ? who : {} });
      await polling.post([connectPacket(eio, 'demo', who)]);
      await polling.nextLike(/^42\/demo,\["ready",/);
      // Which of the two the server sees first is not ours to say.
      const [one, two] = (await Promise.all([polling.get(), polling.get()])).sort((a, b) => a.status - b.status);
      assert.deepEqual([one.status, one.packets, two.status], [200, ['1'], 400]);
      assert.equal((await polling.get()).status, 400);
    });

    test(`a packet that is none ends the session, version ${eio}`, async () => {
      const polling = await Polling.open(server, { eio });
      const answer = await polling.post([], { body: eio === 4 ? 'abc' : '3:abc' });
      // The body had arrived in order; whether the answer already says what was in it is left open.
      assert.ok([200, 400].includes(answer.status), `${answer.status} ${answer.text}`);
      await polling.waitGone('after a bad packet');
    });

    test(`more than maxPayload is refused with 413, declared or not, version ${eio}`, async (t) => {
      const witness = await bystander(t, server);
      const limit = (await Polling.open(server)).handshake.maxPayload;
      const polling = await Polling.open(server, { eio });
      assert.equal((await polling.post([], { body: `4${'x'.repeat(limit)}` })).status, 413);
      const other = await Polling.open(server, { eio });
      const chunk = new TextEncoder().encode('x'.repeat(65_536));
      let sent = 0;
      const endless = new ReadableStream({
        pull(controller) {
          if (sent >= limit * 64) controller.close();
          else controller.enqueue(chunk);
          sent += chunk.length;
        },
      });
      // The server may answer while the client still sends; some clients then only see the connection go.
      const status = await other.post([], { body: endless }).then((answer) => answer.status, () => 'reset');
      assert.ok([413, 'reset'].includes(status), `${status}`);
      assert.ok(sent < limit * 64, `the server took ${sent} bytes where ${limit} are allowed`);
      await witness.check();
    });
  }

  test('a poll that the client gives up ends the session', async () => {
    const polling = await Polling.open(server);
    await polling.post([connectPacket(4, 'demo', someone())]);
    await polling.nextLike(/^42\/demo,\["ready",/);
    const abort = new AbortController();
    const given = polling.get({ signal: abort.signal });
    // The request is on its way when the server has answered one that was sent after it.
    assert.equal((await polling.post(['42/demo,["join",["x"]]'])).status, 200);
    abort.abort();
    await given.catch(() => {});
    await polling.waitGone('after a poll was given up');
  });

  test('a binary body is refused in version 4', async () => {
    const polling = await Polling.open(server);
    const answer = await polling.post([], { headers: { 'content-type': 'application/octet-stream' }, body: new Uint8Array([4, 1, 2, 3]) });
    assert.equal(answer.status, 400, answer.text);
  });

  for (const method of ['PUT', 'DELETE', 'PATCH']) {
    test(`${method} on a session is refused`, async () => {
      const polling = await Polling.open(server);
      const response = await fetch(polling.url, { method });
      assert.ok([400, 405].includes(response.status), `${response.status}`);
      await response.text();
    });
  }
});

describe('heartbeats', () => {
  const INTERVAL = 300;
  /** So long that whoever answers may be kept from the CPU for a while. */
  const TIMEOUT = 1_500;
  /** What a busy machine may add. */
  const SLACK = 1_500;
  let quick;
  before(async () => {
    quick = await Server.start(undefined, { args: ['--ping-interval', `${INTERVAL}ms`, '--ping-timeout', `${TIMEOUT}ms`] });
  });
  after(() => quick.dispose());

  test('version 4: the server pings, and keeps who answers', async (t) => {
    const socket = await sio(t, 4, someone(), { on: quick });
    assert.deepEqual([socket.open.pingInterval, socket.open.pingTimeout], [INTERVAL, TIMEOUT]);
    for (let n = 0; n < 5; n += 1) {
      assert.equal(await socket.next('a ping'), '2');
      socket.send('3');
    }
    assert.equal((await emit(socket, 1, 'join', ['x'])).ok, true);
  });

  test('version 4: who does not answer is closed after interval and timeout', async (t) => {
    const from = performance.now();
    const socket = await sio(t, 4, someone(), { on: quick });
    assert.equal(await socket.next('a ping'), '2');
    await socket.waitClosed({ ms: TIMEOUT + SLACK, what: 'is closed without a pong' });
    const took = performance.now() - from;
    assert.ok(took >= (INTERVAL + TIMEOUT) * 0.8, `closed after ${took} ms`);
  });

  test('version 4, polling: the ping comes with a poll; silence ends the session', async () => {
    const polling = await Polling.open(quick);
    for (let n = 0; n < 3; n += 1) {
      assert.equal(await polling.nextLike(/^2$/), '2');
      assert.equal((await polling.post(['3'])).status, 200);
    }
    await polling.nextLike(/^2$/);
    // Not answered: the next poll tells, by a close packet or by an unknown session.
    const answer = await polling.get();
    if (answer.status === 200) assert.ok(answer.packets.includes('1'), answer.text);
    else assert.equal(answer.status, 400);
    assert.equal((await polling.get()).status, 400);
  });

  test('version 3: the client pings, the server only answers', async (t) => {
    const socket = await sio(t, 3, someone(), { on: quick });
    assert.deepEqual([socket.open.pingInterval, socket.open.pingTimeout], [INTERVAL, TIMEOUT]);
    for (let n = 0; n < 5; n += 1) {
      await setTimeout(INTERVAL / 2);
      socket.send('2');
      assert.equal(await socket.next('the pong'), '3');
    }
    assert.deepEqual(socket.frames, [], 'no ping comes from the server');
  });

  test('version 3: who does not ping is closed after interval and timeout', async (t) => {
    const from = performance.now();
    const socket = await sio(t, 3, someone(), { on: quick });
    await socket.waitClosed({ ms: INTERVAL + TIMEOUT + SLACK, what: 'is closed without a ping' });
    const took = performance.now() - from;
    assert.ok(took >= (INTERVAL + TIMEOUT) * 0.8, `closed after ${took} ms`);
    assert.ok(!socket.frames.includes('2') && !socket.history.includes('2'), 'no ping came from the server');
  });

  test('plain WebSocket: the server pings, and closes with 3012 who does not answer', async (t) => {
    const lively = await plain(t, someone(), { on: quick });
    const silent = await plain(t, someone(), { on: quick, autoPong: false });
    assert.equal(lively.ready.ping_ms, INTERVAL);
    const { code } = await silent.waitClosed({ ms: INTERVAL + TIMEOUT + SLACK, what: 'is closed without a pong' });
    assert.equal(code, 3012);
    await until('the other has seen four pings', () => lively.pings >= 4);
    assert.equal(lively.closed, undefined);
  });

  test('SSE: a stream without messages is kept alive by comments', async () => {
    const who = someone();
    const stream = await sse(who, { on: quick });
    await until('two comments', () => stream.text.split(/\r?\n/).filter((line) => line.startsWith(':')).length >= 2);
    stream.close();
  });
});

describe('Socket.IO: namespaces', () => {
  test('an unknown namespace is refused, the connection goes on, version 5', async (t) => {
    const socket = await sio(t, 4);
    socket.send('40/nowhere,{}');
    const refusal = JSON.parse((await socket.nextLike(/^44\/nowhere,/)).slice('44/nowhere,'.length));
    assert.equal(refusal.message, 'Invalid namespace');
    assert.equal(typeof refusal.data?.code, 'number', `why, as a close code: ${JSON.stringify(refusal)}`);
    assert.equal(refusal.data.reconnect, false, JSON.stringify(refusal));
    assert.equal((await emit(socket, 7, 'join', ['x'])).ok, true);
  });

  test('an unknown namespace is refused, the connection goes on, version 4', async (t) => {
    const socket = await sio(t, 3);
    socket.send('40/nowhere?a=b');
    assert.equal(await socket.next(), '44/nowhere,"Invalid namespace"');
    assert.equal((await emit(socket, 7, 'join', ['x'])).ok, true);
  });

  test('a namespace whose name cannot be one is refused in the same way', async (t) => {
    const socket = await sio(t, 4);
    for (const name of ['UPPER', 'a b', '-x', 'x'.repeat(51)]) {
      socket.send(`40/${name},{}`);
      const refusal = await socket.next();
      assert.ok(refusal.startsWith(`44/${name},`), refusal);
      assert.equal(JSON.parse(refusal.slice(`44/${name},`.length)).message, 'Invalid namespace');
    }
    assert.equal((await emit(socket, 7, 'join', ['x'])).ok, true);
  });

  test('two namespaces on one connection do not see each other', async (t) => {
    const made = await api.call('POST', '/v1/namespaces', { name: 'second', title: 'Second', auth: { mode: 'open' } });
    if ([404, 405, 501].includes(made.status)) {
      t.skip('this server has no call yet that creates a namespace');
      return;
    }
    assert.ok([200, 201].includes(made.status), made.text);
    for (const eio of BOTH) {
      const who = someone();
      const socket = await sio(t, eio, who);
      socket.send(connectPacket(eio, 'second', who));
      await socket.nextLike(/^40\/second,/);
      await socket.nextLike(/^42\/second,\["ready",/);
      const other = new Api(server, { namespace: 'second' });
      const one = await api.push({ to: { users: [who.user] }, data: 'demo' });
      const two = await other.push({ to: { users: [who.user] }, data: 'second' });
      assert.deepEqual([one.meant.devices, two.meant.devices], [1, 1]);
      const got = [await socket.next(), await socket.next()].sort();
      assert.match(got[0], new RegExp(`^42/demo,\\d+\\["push",\\{.*${one.id}`));
      assert.match(got[1], new RegExp(`^42/second,\\d+\\["push",\\{.*${two.id}`));
      // Leaving one keeps the other.
      socket.send('41/second,');
      await until('the device has left the second namespace', async () => (await other.push({ to: { users: [who.user] }, ttl: '0s', data: 0 })).online.connections === 0);
      assert.equal((await emit(socket, 3, 'join', ['x'])).ok, true);
    }
  });

  test('after leaving a namespace one can come back on the same connection', async (t) => {
    for (const eio of BOTH) {
      const who = someone();
      const socket = await sio(t, eio, who);
      socket.send('41/demo,');
      await until('nobody is online', async () => (await api.push({ to: { users: [who.user] }, ttl: '0s', data: 0 })).online.connections === 0);
      const { id } = await api.push({ to: { users: [who.user] }, data: 'missed' });
      socket.frames.length = 0;
      socket.send(connectPacket(eio, 'demo', who));
      await socket.nextLike(/^40\/demo,/);
      assert.match(await socket.nextLike(/^42\/demo,\d+\["push"/), new RegExp(id));
    }
  });
});

describe('Socket.IO: events and acknowledgements', () => {
  for (const eio of BOTH) {
    test(`a push is one object with an acknowledgement id, version ${eio}`, async (t) => {
      const socket = await sio(t, eio);
      const room = `${socket.user}-room`;
      await emit(socket, 0, 'join', room);
      const { id } = await api.push({ to: { rooms: [room] }, event: 'news', data: { a: [1, null] } });
      const packet = await socket.nextLike(/^42\/demo,\d+\["news",/);
      const [, ackId, json] = /^42\/demo,(\d+)(\[.*)$/s.exec(packet);
      assert.ok(Number(ackId) <= 0x7fff_ffff, packet);
      const [event, message, ...more] = JSON.parse(json);
      assert.deepEqual([event, more], ['news', []]);
      const { epoch, offset, sent_at, ...rest } = message;
      assert.deepEqual(rest, { id, event: 'news', data: { a: [1, null] }, room, topic: `room:${room}` });
      assert.match(sent_at, RFC3339_UTC);
      assert.ok(epoch !== undefined && offset >= 1, packet);
      await api.waitForLedger(id, { acked: 0, waiting: 1 });
      socket.send(`43/demo,${ackId}[]`);
      await api.waitForLedger(id, { acked: 1, waiting: 0 });
      // Again, and for what was never sent: no harm.
      socket.send(`43/demo,${ackId}[]`, '43/demo,2147483647[]', '43/demo,99999999999999[{}]');
      assert.equal((await emit(socket, 1, 'leave', room)).ok, true);
      assert.deepEqual((await api.ledger(id)).acked, 1);
    });

    test(`an acknowledgement may carry anything, binary too, version ${eio}`, async (t) => {
      const socket = await sio(t, eio);
      const one = await api.push({ to: { users: [socket.user] }, data: 1 });
      const first = /^42\/demo,(\d+)/.exec(await socket.nextLike(/\["push"/))[1];
      socket.send(`43/demo,${first}[{"status":"ok"},null,[1]]`);
      await api.waitForLedger(one.id, { acked: 1 });
      const two = await api.push({ to: { users: [socket.user] }, data: 2 });
      const second = /^42\/demo,(\d+)/.exec(await socket.nextLike(/\["push"/))[1];
      socket.send(`461-/demo,${second}[{"_placeholder":true,"num":0}]`, Buffer.from(eio === 4 ? [1, 2] : [4, 1, 2]));
      await api.waitForLedger(two.id, { acked: 1 });
      assert.equal((await emit(socket, 1, 'join', ['x'])).ok, true);
    });

    test(`commands are answered through their callback, version ${eio}`, async (t) => {
      const socket = await sio(t, eio);
      assert.equal((await emit(socket, 0, 'join', 'one')).ok, true);
      assert.equal((await emit(socket, 1, 'join', ['two', 'three'])).ok, true);
      assert.equal((await emit(socket, 2_147_483_647, 'leave', ['two'])).ok, true);
      assertRefusal(await emit(socket, 3, 'join', ['bad\nname']));
      assertRefusal(await emit(socket, 4, 'join', ['x'.repeat(256)]));
      assertRefusal(await emit(socket, 5, 'join', { room: 1 }));
      assertRefusal(await emit(socket, 6, 'join'));
      assertRefusal(await emit(socket, 7, 'no-such-event', 1, 2));
      assert.equal((await emit(socket, 8, 'join', ['x'.repeat(255)])).ok, true);
      // Without a callback nobody is answered, and the connection goes on.
      socket.send('42/demo,["no-such-event"]', '42/demo,["leave",["three"]]');
      assert.equal((await emit(socket, 9, 'leave', ['one'])).ok, true);
      assert.deepEqual(socket.frames, []);
      const one = await api.push({ to: { users: [socket.user] }, data: 1 });
      const two = await api.push({ to: { users: [socket.user] }, data: 2 });
      assert.equal((await emit(socket, 10, 'ack', { id: one.id })).ok, true);
      assert.equal((await emit(socket, 11, 'ack', [one.id, two.id])).ok, true);
      for (const { id } of [one, two]) await api.waitForLedger(id, { acked: 1 });
    });

    test(`rooms by name are no way into private topics, version ${eio}`, async (t) => {
      const socket = await sio(t, eio);
      const victim = await sio(t, eio);
      for (const [index, room] of [`user:${victim.user}`, `device:${victim.device}`, 'all', `user_${victim.user}`].entries()) {
        await emit(socket, index, 'join', [room]);
      }
      const { id, meant } = await api.push({ to: { users: [victim.user] }, data: 'secret' });
      assert.equal(meant.devices, 1);
      await victim.nextLike(new RegExp(id));
      const { id: own } = await api.push({ to: { users: [socket.user] }, data: 'own' });
      assert.match(await socket.nextLike(/\["push"/), new RegExp(own));
    });

    test(`events sent at once after connect are not lost, version ${eio}`, async (t) => {
      const who = someone();
      const socket = await RawSocket.open(server.wsUrl + wsPath(eio, eio === 3 ? who : {}));
      t.after(() => socket.close());
      socket.send(connectPacket(eio, 'demo', who));
      await socket.nextLike(/^40\/demo,/);
      socket.send('42/demo,0["join",["early"]]', '42/demo,1["join",["bird"]]');
      assert.equal(answerTo(await socket.nextLike(/^43\/demo,0\[/)).ok, true);
      assert.equal(answerTo(await socket.nextLike(/^43\/demo,1\[/)).ok, true);
      assert.equal((await api.push({ to: { rooms: ['early'] }, data: 1 })).meant.devices, BOTH.indexOf(eio) + 1);
    });

    test(`a binary event is refused through its callback, over WebSocket, version ${eio}`, async (t) => {
      const socket = await sio(t, eio);
      const binary = (...bytes) => Buffer.from(eio === 4 ? bytes : [4, ...bytes]);
      socket.send('451-/demo,5["publish",{"room":"x","event":"typing","data":{"_placeholder":true,"num":0}}]', binary(1, 2, 3));
      assertRefusal(answerTo(await socket.nextLike(/^43\/demo,5\[/)));
      socket.send('452-/demo,6["join",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]', binary(), binary(255));
      assertRefusal(answerTo(await socket.nextLike(/^43\/demo,6\[/)));
      socket.send('451-/demo,["no-such-event",{"_placeholder":true,"num":0}]', binary(9));
      assert.equal((await emit(socket, 7, 'join', ['x'])).ok, true);
      assert.deepEqual(socket.frames, []);
    });

    test(`a binary event is refused through its callback, over polling, version ${eio}`, async () => {
      const who = someone();
      const polling = await Polling.open(server, { eio, query: eio === 3 ? who : {} });
      await polling.post([connectPacket(eio, 'demo', who)]);
      await polling.nextLike(/^42\/demo,\["ready",/);
      const attachment = (eio === 4 ? 'b' : 'b4') + Buffer.from([1, 2, 3]).toString('base64');
      assert.equal((await polling.post(['451-/demo,5["publish",{"_placeholder":true,"num":0}]', attachment])).status, 200);
      assertRefusal(answerTo(await polling.nextLike(/^43\/demo,5\[/)));
      await polling.post(['42/demo,6["join",["x"]]']);
      assert.equal(answerTo(await polling.nextLike(/^43\/demo,6\[/)).ok, true);
    });
  }

  test('light-push query names identify a client of version 2', async (t) => {
    const who = someone();
    const socket = await RawSocket.open(`${server.wsUrl}${wsPath(3, { uuid: who.device, userid: who.user, platform: 'ios' })}`);
    t.after(() => socket.close());
    socket.send(`40/demo?uuid=${who.device}&userid=${who.user}&platform=ios`);
    const ready = JSON.parse((await socket.nextLike(/^42\/demo,\["ready"/)).slice('42/demo,'.length))[1];
    assert.deepEqual([ready.device, ready.user], [who.device, who.user]);
    const { meant } = await api.push({ to: { users: [who.user], platforms: ['ios'] }, data: 1 });
    assert.equal(meant.devices, 1);
  });

  test('a client without a device gets one', async (t) => {
    const socket = await sio(t, 4, { user: 'somebody-new' });
    assert.match(socket.ready.device, /^.{8,255}$/);
    assert.equal((await api.push({ to: { devices: [socket.ready.device] }, data: 1 })).meant.devices, 1);
  });
});

describe('malformed packets close that connection and nothing else', () => {
  const nested = (depth) => `42/demo,["join",${'['.repeat(depth)}${']'.repeat(depth)}]`;
  const attachment = Buffer.from([4, 1]);
  const packets = {
    'an Engine.IO packet of unknown type': ['9'],
    'an Engine.IO packet of no type': ['abc'],
    'an empty frame': [''],
    'a Socket.IO packet of unknown type': ['4abc'],
    'a Socket.IO packet without type': ['4'],
    'a type past the last': ['47/demo,["x"]'],
    'an event that is not JSON': ['42/demo,["join"'],
    'an event that is no array': ['42/demo,{}'],
    'an event without name': ['42/demo,[]'],
    'an event whose name is an object': ['42/demo,[{"toString":"x"}]'],
    'an event whose name is null': ['42/demo,[null]'],
    'an event without payload': ['42/demo,'],
    'an acknowledgement id that is no number': ['42/demo,1x["join",["x"]]'],
    'an acknowledgement without array': ['43/demo,1{}'],
    'an acknowledgement that is not JSON': ['43/demo,1[}'],
    'a binary event without a number of attachments': ['45/demo,["join",{"_placeholder":true,"num":0}]'],
    'a binary event whose number of attachments has no end': ['4599999999'],
    'more attachments announced than anybody may keep': ['4599999999999-/demo,["join"]'],
    'text instead of the attachment that was announced': ['451-/demo,["join",{"_placeholder":true,"num":0}]', '42/demo,["join",["x"]]'],
    'a placeholder for an attachment that is none of those announced': ['451-/demo,["join",{"_placeholder":true,"num":7}]', attachment],
    'a placeholder with a number below zero': ['451-/demo,["join",{"_placeholder":true,"num":-1}]', attachment],
    'a placeholder whose number is text': ['451-/demo,["join",{"_placeholder":true,"num":"splice"}]', attachment],
    'an attachment that was not announced': [attachment],
    'arguments nested a hundred thousand deep': [nested(100_000)],
    'a packet for a namespace that one is not connected to': ['42/elsewhere,["join",["x"]]'],
  };
  /** Servers of the older version pass over this one. */
  const onlyInVersion4 = 'a packet for a namespace that one is not connected to';
  for (const eio of BOTH) {
    for (const [name, frames] of Object.entries(packets)) {
      if (eio === 3 && name === onlyInVersion4) continue;
      test(`${name}, version ${eio}`, async (t) => {
        const witness = await bystander(t, server, { kind: 'sio4-ws' });
        const bad = await sio(t, eio);
        bad.send(...frames);
        await bad.waitClosed({ what: `is closed after ${name}` });
        await witness.check();
      });
    }
    test(`a connect payload that is not JSON, version ${eio}`, async (t) => {
      const witness = await bystander(t, server, { kind: 'sio4-ws' });
      const bad = await RawSocket.open(server.wsUrl + wsPath(eio));
      t.after(() => bad.close());
      bad.send('40/demo,{"device":');
      await bad.waitClosed({ what: 'is closed after a bad connect' });
      await witness.check();
    });
  }
});

/** A plain WebSocket (API.md 5.2), connected. */
async function plain(t, who = someone(), { on = server, ...options } = {}) {
  const socket = await RawSocket.open(`${on.wsUrl}/v1/namespaces/demo/connect`, { protocols: ['tidings.v1'], ...options });
  t.after(() => socket.close());
  socket.send(JSON.stringify({ id: 1, cmd: 'connect', ...who }));
  const answer = JSON.parse(await socket.next('the answer to connect'));
  assert.equal(answer.id, 1, JSON.stringify(answer));
  assert.ok(answer.ok, JSON.stringify(answer));
  return Object.assign(socket, who, { ready: answer.ok });
}

/** Single objects out of frames that hold one or several. */
async function items(socket, n) {
  const list = [];
  while (list.length < n) list.push(...[JSON.parse(await socket.next())].flat());
  return list;
}

describe('plain WebSocket', () => {
  test('connect, join, push, ack, leave, ping', async (t) => {
    const socket = await plain(t);
    assert.equal(socket.ws.protocol, 'tidings.v1');
    const { device, user, connection, node, ping_ms, recovered, positions } = socket.ready;
    assert.deepEqual([device, user], [socket.device, socket.user]);
    assert.deepEqual([typeof connection, typeof node, typeof ping_ms, typeof recovered, typeof positions], ['string', 'string', 'number', 'boolean', 'object']);
    const room = `${user}-room`;
    socket.send(JSON.stringify({ id: 2, cmd: 'join', rooms: [room] }));
    const [joined] = await items(socket, 1);
    assert.deepEqual([joined.id, typeof joined.ok], [2, 'object'], JSON.stringify(joined));
    const { id } = await api.push({ to: { rooms: [room] }, event: 'news', data: { a: 1 } });
    const [{ push }] = await items(socket, 1);
    const { epoch, offset, sent_at, ...rest } = push;
    assert.deepEqual(rest, { id, event: 'news', data: { a: 1 }, room, topic: `room:${room}` });
    assert.match(sent_at, RFC3339_UTC);
    assert.ok(epoch !== undefined && offset === 1, JSON.stringify(push));
    // Several commands in one frame, answered in their order.
    socket.send(JSON.stringify([{ id: 3, cmd: 'ack', ids: [id] }, { id: 4, cmd: 'leave', rooms: [room] }, { id: 5, cmd: 'ping' }]));
    assert.deepEqual((await items(socket, 3)).map((item) => [item.id, typeof item.ok]), [[3, 'object'], [4, 'object'], [5, 'object']]);
    await api.waitForLedger(id, { meant: 1, acked: 1, waiting: 0 });
    assert.equal((await api.push({ to: { rooms: [room] }, data: 2 })).meant.devices, 0);
  });

  test('the subprotocol is optional, and only ours is agreed to', async (t) => {
    const without = await RawSocket.open(`${server.wsUrl}/v1/namespaces/demo/connect`);
    t.after(() => without.close());
    assert.equal(without.ws.protocol, '');
    const both = await RawSocket.open(`${server.wsUrl}/v1/namespaces/demo/connect`, { protocols: ['other', 'tidings.v1'] });
    t.after(() => both.close());
    assert.equal(both.ws.protocol, 'tidings.v1');
  });

  test('numbers in data are passed through as written', async (t) => {
    const socket = await plain(t);
    const data = '{"big":12345678901234567890123,"one":1.0,"e":1e3,"small":0.1000,"minus":-0}';
    const answer = await api.call('POST', 'messages', `{"to":{"users":["${socket.user}"]},"data":${data}}`);
    assert.equal(answer.status, 202, answer.text);
    assert.ok((await socket.next()).includes(`"data":${data}`), socket.log());
    const fetched = await api.call('GET', `messages/${answer.json.id}`);
    assert.ok(fetched.text.includes(`"data":${data}`), fetched.text);
  });

  test('a client that knows its positions resumes from there', async (t) => {
    const who = someone();
    const first = await plain(t, who);
    const ids = [];
    for (let n = 0; n < 4; n += 1) ids.push((await api.push({ to: { users: [who.user] }, data: n })).id);
    const pushes = (await items(first, 4)).map((item) => item.push);
    assert.deepEqual(pushes.map(({ id }) => id), ids);
    first.close();
    const { topic, epoch, offset } = pushes[1];
    const second = await plain(t, { ...who, positions: { [topic]: { epoch, offset } } });
    assert.equal(second.ready.recovered, true, JSON.stringify(second.ready));
    assert.deepEqual((await items(second, 2)).map((item) => item.push.id), ids.slice(2));
    second.close();
    // A position of another life of the store, and one that was never reached: told so, not guessed.
    for (const position of [{ epoch: typeof epoch === 'number' ? epoch + 1 : `${epoch}x`, offset }, { epoch, offset: offset + 1_000 }]) {
      const lost = await plain(t, { ...who, positions: { [topic]: position } });
      assert.equal(lost.ready.recovered, false, JSON.stringify(lost.ready));
      lost.close();
    }
  });

  test('who does not connect within 10 s is closed with 3502', async (t) => {
    const socket = await RawSocket.open(`${server.wsUrl}/v1/namespaces/demo/connect`);
    t.after(() => socket.close());
    const from = performance.now();
    const { code } = await socket.waitClosed({ ms: 14_000 });
    assert.equal(code, 3502);
    assert.ok(performance.now() - from > 8_000);
  });

  for (const [name, frames, code] of [
    ['text that is not JSON', ['hello'], 3501],
    ['half of a JSON document', ['{"id":2,"cmd":"join"'], 3501],
    ['JSON that is no command', ['17'], 3501],
    ['JSON nested a hundred thousand deep', [`${'['.repeat(100_000)}${']'.repeat(100_000)}`], 3501],
    ['a binary frame', [Buffer.from('{"id":2,"cmd":"ping"}')], 1003],
  ]) {
    test(`${name} closes the connection with ${code} and nothing else`, async (t) => {
      const witness = await bystander(t, server);
      const socket = await plain(t);
      socket.send(...frames);
      assert.equal((await socket.waitClosed()).code, code);
      await witness.check();
    });
  }

  for (const [name, command, says] of [
    ['an unknown command', { cmd: 'jump' }, /cmd|jump/],
    ['an unknown field', { cmd: 'join', rooms: ['x'], roms: 1 }, /roms/],
    ['a missing field', { cmd: 'join' }, /rooms/],
    ['a field of the wrong kind', { cmd: 'ack', ids: 7 }, /ids/],
    ['a room with a control character', { cmd: 'join', rooms: ['a\u0000b'] }, /control character/],
    ['a second connect', { cmd: 'connect', device: 'other' }, /./],
  ]) {
    test(`${name} is refused in the answer, the connection lives`, async (t) => {
      const socket = await plain(t);
      socket.send(JSON.stringify({ id: 2, ...command }));
      const [answer] = await items(socket, 1);
      assert.equal(answer.id, 2, JSON.stringify(answer));
      assert.equal(typeof answer.error?.code, 'string', JSON.stringify(answer));
      assert.match(answer.error.message, says);
      socket.send('{"id":3,"cmd":"ping"}');
      assert.equal((await items(socket, 1))[0].id, 3);
    });
  }
});

/** An SSE stream as text and as parsed events. */
async function sse(who, { on = server, query = {}, headers = {} } = {}) {
  const abort = new AbortController();
  const response = await fetch(`${on.url}/v1/namespaces/demo/sse?${new URLSearchParams({ ...who, ...query })}`, { signal: abort.signal, headers });
  const stream = {
    response,
    text: '',
    ended: false,
    close: () => abort.abort(),
    get events() {
      return stream.text
        .replaceAll('\r\n', '\n')
        .split('\n\n')
        .slice(0, -1)
        .map((block) => {
          const event = { data: [] };
          for (const line of block.split('\n')) {
            const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
            if (field === 'data') event.data.push(value);
            else if (field) event[field] = value;
          }
          return { ...event, data: event.data.join('\n') };
        });
    },
    get pushes() {
      return stream.events.filter(({ event }) => event === 'push').map(({ id, data }) => ({ sse: id, ...JSON.parse(data) }));
    },
  };
  (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body) stream.text += decoder.decode(chunk, { stream: true });
  })()
    .catch(() => {})
    .finally(() => (stream.ended = true));
  return stream;
}

describe('SSE', () => {
  test('the stream: headers, retry, an id on every event, data with line breaks', async (t) => {
    const who = someone();
    const stream = await sse(who, { query: { rooms: `${who.user}-a,${who.user}-b` } });
    t.after(() => stream.close());
    assert.equal(stream.response.status, 200);
    assert.match(stream.response.headers.get('content-type'), /^text\/event-stream\b/);
    assert.match(stream.response.headers.get('cache-control'), /no-(cache|store)/);
    assert.equal(stream.response.headers.get('x-accel-buffering'), 'no');
    await until('a retry field', () => /^retry: ?\d+$/m.test(stream.text));
    const data = { text: 'two\nlines\r\nand \u2028 more', 'ключ': 'é' };
    const pushes = [];
    for (const room of ['a', 'b']) pushes.push(await api.push({ to: { rooms: [`${who.user}-${room}`] }, data }));
    await until(() => `two pushes in ${stream.text}`, () => stream.pushes.length === 2);
    assert.deepEqual(stream.pushes.map(({ id }) => id), pushes.map(({ id }) => id));
    for (const push of stream.pushes) {
      assert.deepEqual(push.data, data);
      assert.ok(push.sse, 'an event without id');
    }
  });

  test('Last-Event-ID resumes, as header and as query', async (t) => {
    const who = someone();
    const first = await sse(who);
    const ids = [];
    for (let n = 0; n < 4; n += 1) ids.push((await api.push({ to: { users: [who.user] }, data: n })).id);
    await until('four pushes', () => first.pushes.length === 4);
    first.close();
    const at = first.pushes[1].sse;
    for (const how of [{ headers: { 'last-event-id': at } }, { query: { last_event_id: at } }]) {
      const again = await sse(who, how);
      t.after(() => again.close());
      const { id } = await api.push({ to: { users: [who.user] }, data: 'last' });
      ids.push(id);
      await until(() => `the last push in ${again.text}`, () => again.pushes.some((push) => push.id === id));
      assert.deepEqual(again.pushes.map((push) => push.id), ids.slice(2));
      again.close();
    }
  });

  test('acks: a message of another device is not acknowledged by it', async (t) => {
    const [ann, bob] = [someone(), someone()];
    const streams = [await sse(ann), await sse(bob)];
    t.after(() => streams.forEach((stream) => stream.close()));
    const { id } = await api.push({ to: { users: [ann.user] }, data: 1 });
    await until('the push', () => streams[0].pushes.length === 1);
    const ack = (device, body) => api.call('POST', `acks?device=${device}`, body, { key: null });
    const foreign = await ack(bob.device, { ids: [id] });
    assert.ok(foreign.status < 500, foreign.text);
    assert.equal((await api.ledger(id)).acked, 0);
    const own = await ack(ann.device, { ids: [id] });
    assert.ok(own.status >= 200 && own.status < 300, own.text);
    await api.waitForLedger(id, { meant: 1, acked: 1 });
  });
});
