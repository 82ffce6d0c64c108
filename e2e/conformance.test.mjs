// `tidings conformance` as the public protocol suites use it (engine.io-protocol, socket.io-protocol,
// Autobahn): what each of them fixes, step by step, on the code that serves everybody.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';

import { io } from 'socket.io-client-4';
import WebSocket from 'ws';

import { frame, payload, RawSocket, RawTcp } from './lib/raw.mjs';
import { launch } from './lib/server.mjs';
import { until, within } from './lib/until.mjs';

const PING_INTERVAL = 300;
/** Longer than that of the suites: whoever answers here may be kept from the CPU. */
const PING_TIMEOUT = 2_000;

/** Starts the fixture; its timings are those of the suites unless told otherwise. */
async function start(...args) {
  const run = launch(['conformance', '--listen', '127.0.0.1:0', ...args]);
  await until(() => `the fixture listens\n${run.stdout}${run.stderr}`, () => /listening on/.test(run.stdout) || run.exit, { ms: 20_000 });
  const port = Number(/listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(run.stdout)[1]);
  return { port, url: `http://127.0.0.1:${port}`, wsUrl: `ws://127.0.0.1:${port}`, stop: () => run.child.kill('SIGTERM'), done: run.done };
}

/** Where no heartbeat comes in between, and nobody has to hurry. */
let server;
/** Where heartbeats are all that ends a session. */
let beating;
/** With the timings of the suites. */
let suites;
before(async () => {
  const patient = ['--ping-timeout', `${PING_TIMEOUT}`, '--connect-timeout', '60000'];
  [server, beating, suites] = await Promise.all([start(...patient, '--ping-interval', '60000'), start(...patient, '--ping-interval', `${PING_INTERVAL}`), start()]);
});
after(async () => {
  for (const fixture of [server, beating, suites]) {
    fixture.stop();
    const exit = await within('the fixture ends', fixture.done, 5_000);
    assert.equal(exit.code, 0);
  }
});

const poll = (path, sid, eio = 4, on = server) => fetch(`${on.url}${path}?EIO=${eio}&transport=polling&sid=${sid}`);
const post = (path, sid, body, eio = 4, on = server) => fetch(`${on.url}${path}?EIO=${eio}&transport=polling&sid=${sid}`, { method: 'POST', body });

async function openPolling(path, eio = 4, on = server) {
  const response = await fetch(`${on.url}${path}?EIO=${eio}&transport=polling`);
  assert.equal(response.status, 200);
  const [open] = payload[eio].decode(await response.text());
  return JSON.parse(open.slice(1));
}

async function openSocket(t, path, eio = 4, on = server) {
  const socket = await RawSocket.open(`${on.wsUrl}${path}?EIO=${eio}&transport=websocket`);
  t.after(() => socket.close());
  socket.handshake = JSON.parse((await socket.next('the handshake')).slice(1));
  return socket;
}

for (const path of ['/engine.io/', '/socket.io/']) {
  describe(`Engine.IO at ${path}`, () => {
    for (const eio of [4, 3]) {
      test(`EIO=${eio}: the handshake says everything, by polling and by WebSocket`, async (t) => {
        for (const [on, pingInterval, pingTimeout] of [[suites, 300, 200], [beating, PING_INTERVAL, PING_TIMEOUT]]) {
          const polled = await openPolling(path, eio, on);
          const { handshake } = await openSocket(t, path, eio, on);
          for (const [open, upgrades] of [[polled, ['websocket']], [handshake, []]]) {
            assert.deepEqual({ ...open, sid: typeof open.sid }, { sid: 'string', upgrades, pingInterval, pingTimeout, maxPayload: 1_000_000 });
          }
        }
      });
    }

    for (const [what, query, method = 'GET'] of [
      ['no EIO', 'transport=polling'],
      ['an EIO that is none', 'EIO=abc&transport=polling'],
      ['no transport', 'EIO=4'],
      ['an unknown transport', 'EIO=4&transport=abc'],
      ['a POST for a handshake', 'EIO=4&transport=polling', 'POST'],
      ['a PUT for a handshake', 'EIO=4&transport=polling', 'PUT'],
    ]) {
      test(`${what} is answered with 400`, async () => {
        assert.equal((await fetch(`${server.url}${path}?${query}`, { method })).status, 400);
      });
    }

    for (const query of ['transport=websocket', 'EIO=abc&transport=websocket', 'EIO=4', 'EIO=4&transport=abc']) {
      test(`no WebSocket for ${query}`, async () => {
        await assert.rejects(RawSocket.open(`${server.wsUrl}${path}?${query}`), { status: 400 });
      });
    }

    test('heartbeats by polling: the server asks, the client answers', async () => {
      const { sid } = await openPolling(path, 4, beating);
      for (let i = 0; i < 3; i += 1) {
        const polled = await poll(path, sid, 4, beating);
        assert.deepEqual([polled.status, await polled.text()], [200, '2']);
        assert.equal((await post(path, sid, '3', 4, beating)).status, 200);
      }
    });

    for (const eio of [4, 3]) {
      test(`EIO=${eio}: who owes a heartbeat by polling is unknown at the announced time`, async () => {
        const { sid } = await openPolling(path, eio, beating);
        await setTimeout(PING_INTERVAL + PING_TIMEOUT);
        assert.equal((await (eio === 4 ? poll(path, sid, 4, beating) : post(path, sid, '1:2', 3, beating))).status, 400);
      });
    }

    test('heartbeats by WebSocket, and the end of who owes one', async (t) => {
      const socket = await openSocket(t, path, 4, beating);
      assert.equal(await socket.next('a ping'), '2');
      socket.send('3');
      assert.equal(await socket.next('another ping'), '2');
      await socket.waitClosed();
    });

    test('version 3: the client asks, the server answers', async (t) => {
      const socket = await openSocket(t, path, 3);
      socket.send('2');
      await socket.nextLike(/^3$/);
    });

    test('a client closes: its poll ends with a noop, and the session is unknown', async () => {
      // Which of the two the server sees first is not ours to say.
      let sid;
      let ended;
      for (let tries = 0; tries < 5 && ended !== '200 6'; tries += 1) {
        ({ sid } = await openPolling(path));
        const [polled] = await Promise.all([poll(path, sid), post(path, sid, '1')]);
        ended = `${polled.status} ${await polled.text()}`;
      }
      assert.equal(ended, '200 6');
      assert.equal((await poll(path, sid)).status, 400);
    });

    test('a client closes its WebSocket', async (t) => {
      const socket = await openSocket(t, path);
      socket.send('1');
      await socket.waitClosed();
    });

    for (const eio of [4, 3]) {
      // The suites ask at once, from a machine that is busy now and then: whoever is first must not be luck.
      test(`EIO=${eio}: from its upgrade on a session belongs to its socket`, async (t) => {
        for (let round = 0; round < 20; round += 1) {
          const { sid } = await openPolling(path, eio);
          const upgrade = `${server.wsUrl}${path}?EIO=${eio}&transport=websocket&sid=${sid}`;
          const socket = await RawSocket.open(upgrade);
          t.after(() => socket.close());
          socket.send('2probe');
          assert.equal(await socket.next('the probe'), '3probe');
          socket.send('5');
          const [polled, second] = await Promise.all([poll(path, sid, eio), RawSocket.open(upgrade)]);
          assert.equal(polled.status, 400);
          assert.equal((await second.waitClosed()).code, 1002);
          assert.deepEqual(second.frames, []);
          assert.equal(socket.closed, undefined);
          assert.deepEqual(socket.frames.filter((frame) => !/^4/.test(frame)), []);
          socket.close();
        }
      });
    }

    test('a socket for a session that another one is moving to is closed', async (t) => {
      const { sid } = await openPolling(path);
      const upgrade = `${server.wsUrl}${path}?EIO=4&transport=websocket&sid=${sid}`;
      const socket = await RawSocket.open(upgrade);
      t.after(() => socket.close());
      assert.equal((await (await RawSocket.open(upgrade)).waitClosed()).code, 1002);
      socket.send('2probe');
      assert.equal(await socket.next('the probe'), '3probe');
    });

    test('polls wait as ever until the socket is probed, and are ended from then on', async (t) => {
      const { sid } = await openPolling(path, 3);
      const socket = await RawSocket.open(`${server.wsUrl}${path}?EIO=3&transport=websocket&sid=${sid}`);
      t.after(() => socket.close());
      // There, version 3 is in the main namespace without asking, and shown its auth.
      if (path === '/socket.io/') assert.equal(await (await poll(path, sid, 3)).text(), '13:42["auth",{}]');
      let ended = false;
      const polled = poll(path, sid, 3).finally(() => (ended = true));
      await setTimeout(PING_INTERVAL / 2);
      assert.equal(ended, false);
      socket.send('2probe');
      assert.equal(await socket.next('the probe'), '3probe');
      assert.equal(await (await polled).text(), '1:6');
      assert.equal(await (await poll(path, sid, 3)).text(), '1:6');
      socket.send('5', '2');
      assert.equal(await socket.next('the answer to a ping'), '3');
    });
  });
}

describe('Engine.IO echo', () => {
  for (const [what, body] of [
    ['one packet', '4hello'],
    ['several packets', '4test1\x1e4test2\x1e4test3'],
    ['text and bytes', '4hello\x1ebAQIDBA=='],
  ]) {
    test(`by polling: ${what}`, async () => {
      const { sid } = await openPolling('/engine.io/');
      const posted = await post('/engine.io/', sid, body);
      assert.deepEqual([posted.status, await posted.text()], [200, 'ok']);
      const polled = await poll('/engine.io/', sid);
      assert.deepEqual([polled.status, await polled.text()], [200, body]);
    });
  }

  test('by polling of version 3: text and bytes', async () => {
    const { sid } = await openPolling('/engine.io/', 3);
    await post('/engine.io/', sid, '6:4hello', 3);
    assert.equal(await (await poll('/engine.io/', sid, 3)).text(), '6:4hello');
  });

  test('what is no packet ends the session', async () => {
    const { sid } = await openPolling('/engine.io/');
    assert.equal((await post('/engine.io/', sid, 'abc')).status, 400);
    assert.equal((await poll('/engine.io/', sid)).status, 400);
  });

  test('two polls at once end the session', async () => {
    const { sid } = await openPolling('/engine.io/');
    // Which of the two the server sees first is not ours to say.
    const [one, two] = (await Promise.all([poll('/engine.io/', sid), poll('/engine.io/', sid)])).sort((a, b) => a.status - b.status);
    assert.deepEqual([one.status, await one.text(), two.status], [200, '1', 400]);
    assert.equal((await poll('/engine.io/', sid)).status, 400);
  });

  test('by WebSocket: text, bytes, and the end of what is no packet', async (t) => {
    const socket = await openSocket(t, '/engine.io/');
    socket.send('4hello', Buffer.from([1, 2, 3, 4]));
    assert.equal(await socket.next('text'), '4hello');
    assert.deepEqual(await socket.next('bytes'), Buffer.from([1, 2, 3, 4]));
    socket.send('abc');
    await socket.waitClosed();
  });

  test('through an upgrade', async (t) => {
    const { sid } = await openPolling('/engine.io/');
    const socket = await RawSocket.open(`${server.wsUrl}/engine.io/?EIO=4&transport=websocket&sid=${sid}`);
    t.after(() => socket.close());
    socket.send('2probe');
    assert.equal(await socket.next('the probe'), '3probe');
    assert.equal(await (await poll('/engine.io/', sid)).text(), '6');
    socket.send('5', '4hello');
    // What ended the poll is not for the socket.
    assert.equal(await socket.next('the echo'), '4hello');
  });
});

describe('Socket.IO', () => {
  /** Connected to the main namespace, its `auth` read. */
  async function connected(t, on = server) {
    const socket = await openSocket(t, '/socket.io/', 4, on);
    socket.send('40');
    await socket.nextLike(/^40/);
    await socket.nextLike(/^42/);
    return socket;
  }

  for (const [packet, namespace, auth] of [
    ['40', '', '{}'],
    ['40{"token":"123"}', '', '{"token":"123"}'],
    ['40/custom,', '/custom,', '{}'],
    ['40/custom,{"token":"abc"}', '/custom,', '{"token":"abc"}'],
  ]) {
    test(`${packet} is let in and shown its auth`, async (t) => {
      const socket = await openSocket(t, '/socket.io/');
      socket.send(packet);
      const granted = await socket.nextLike(/^4/);
      assert.ok(granted.startsWith(`40${namespace}{`), granted);
      assert.deepEqual(Object.keys(JSON.parse(granted.slice(2 + namespace.length))), ['sid']);
      assert.equal(await socket.nextLike(/^4/), `42${namespace}["auth",${auth}]`);
    });
  }

  test('an unknown namespace is refused', async (t) => {
    const socket = await openSocket(t, '/socket.io/');
    socket.send('40/random');
    assert.equal(await socket.nextLike(/^4/), '44/random,{"message":"Invalid namespace"}');
  });

  test('no namespace within the connect timeout', async (t) => {
    const strict = await start('--ping-timeout', `${PING_TIMEOUT}`);
    try {
      const before = performance.now();
      const socket = await openSocket(t, '/socket.io/', 4, strict);
      socket.ws.on('message', (bytes) => bytes.toString() === '2' && socket.send('3'));
      await socket.waitClosed();
      assert.ok(performance.now() - before >= 900, 'not before its time');
    } finally {
      strict.stop();
      await strict.done;
    }
  });

  for (const packet of ['4abc', '42{}', '42[]', '42["message"', '42["message","not joined"]']) {
    test(`${packet} instead of a handshake ends the connection`, async (t) => {
      const socket = await openSocket(t, '/socket.io/');
      socket.send(packet);
      await socket.waitClosed();
    });
  }

  test('leaving one namespace leaves the other', async (t) => {
    const socket = await connected(t);
    socket.send('40/custom');
    await socket.nextLike(/^40\/custom/);
    socket.send('41/custom', '42["message","message to main namespace"]');
    await socket.nextLike(/^42\["message-back","message to main namespace"\]$/);
  });

  test('who leaves the main namespace keeps the connection', async (t) => {
    const socket = await connected(t, beating);
    socket.send('41');
    for (let i = 0; i < 2; i += 1) {
      assert.equal(await socket.next('a ping'), '2');
      socket.send('3');
    }
    assert.equal(socket.closed, undefined);
  });

  for (const [what, sent, received] of [
    ['an event', ['42["message",1,"2",{"3":[true]}]'], ['42["message-back",1,"2",{"3":[true]}]']],
    [
      'an event with attachments',
      ['452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
      ['452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
    ],
    ['an event that wants an answer', ['42456["message-with-ack",1,"2",{"3":[false]}]'], ['43456[1,"2",{"3":[false]}]']],
    [
      'an event with attachments that wants an answer',
      ['452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
      ['462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
    ],
  ]) {
    test(`${what} comes back`, async (t) => {
      const socket = await connected(t);
      socket.send(...sent);
      for (const expected of received) assert.deepEqual(await socket.next('the answer'), expected);
    });
  }

  for (const packet of ['4abc', '42{}', '42[]', '42["message"', '4["x"]', '48["x"]']) {
    test(`${packet} ends a connection that was let in`, async (t) => {
      const socket = await connected(t);
      socket.send(packet);
      await socket.waitClosed();
    });
  }

  test('the client of the field, with bytes, by polling and upgrade', async (t) => {
    const client = io(`${server.url}/custom`, { forceNew: true, auth: { token: 'x' } });
    t.after(() => client.close());
    const auth = await within('auth', new Promise((resolve) => client.on('auth', resolve)), 5_000);
    assert.deepEqual(auth, { token: 'x' });
    const answer = await client.timeout(5_000).emitWithAck('message-with-ack', Buffer.from('abc'));
    assert.deepEqual(Buffer.from(answer), Buffer.from('abc'));
  });
});

describe('plain echo', () => {
  async function echo(t, on = server) {
    const socket = await RawSocket.open(`${on.wsUrl}/echo`);
    t.after(() => socket.close());
    return socket;
  }

  for (const size of [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 16 << 20]) {
    test(`${size} bytes, as text and as bytes`, async (t) => {
      const socket = await echo(t);
      const text = 'ä'.repeat(size / 2) + 'a'.repeat(size % 2);
      // A megabyte takes a debug build its time, where other tests run beside it.
      const patience = { ms: 5_000 + size / 500 };
      socket.send(text);
      assert.equal(await socket.next('text', patience), text);
      socket.send(Buffer.from(text));
      assert.deepEqual(await socket.next('bytes', patience), Buffer.from(text));
    });
  }

  test('it sends no frame that nobody asked for', async (t) => {
    const socket = await echo(t, beating);
    await setTimeout(2 * (PING_INTERVAL + PING_TIMEOUT));
    assert.deepEqual([socket.pings, socket.frames, socket.closed], [0, [], undefined]);
  });

  test('a close is answered with the same code', async () => {
    const socket = await RawTcp.open(server, '/echo');
    for (const code of [1000, 3000, 4999]) {
      const one = await RawTcp.open(server, '/echo');
      await one.write(frame(8, Buffer.from([code >> 8, code & 255])));
      assert.equal(await one.closeCode(`an answer to ${code}`), code);
    }
    await socket.write(frame(8));
    const { opcode, data } = await socket.next('an answer to an empty close');
    assert.ok(opcode === 8 && [0, 2].includes(Math.min(2, data.length)));
    socket.close();
  });
});

// The suites wait for one message after the other, and `ws` reports in one go what it reads in one go, unless it has
// to decompress it first.
test('without compression, too, a client is let in by one read and shown its auth by another', async () => {
  const plain = await start('--compression', 'false', '--ping-interval', '60000');
  const exchange = async () => {
    const socket = new WebSocket(`${plain.wsUrl}/socket.io/?EIO=4&transport=websocket`).on('error', () => {});
    try {
      const next = () => within('a message', new Promise((resolve) => socket.once('message', (bytes) => resolve(bytes.toString()))), 2_000);
      const open = await next();
      socket.send('40');
      return [open, await next(), await next()];
    } finally {
      socket.terminate();
    }
  };
  try {
    // Who is kept from the CPU for longer than the two are apart reads them together all the same.
    let seen;
    for (let tries = 0; tries < 5 && seen?.length !== 3; tries += 1) seen = await exchange().catch((error) => [error.message]);
    assert.match(seen[0], /^0/);
    assert.match(seen[1], /^40/);
    assert.equal(seen[2], '42["auth",{}]');
  } finally {
    plain.stop();
    await plain.done;
  }
});

test('version 3 is served only where it is wanted', async () => {
  const without = await start('--engineio3', 'false', '--ping-interval', '1000');
  try {
    const refused = await fetch(`${without.url}/engine.io/?EIO=3&transport=polling`);
    assert.equal(refused.status, 400);
    const served = await fetch(`${without.url}/engine.io/?EIO=4&transport=polling`);
    assert.equal(JSON.parse((await served.text()).slice(1)).pingInterval, 1000);
    await assert.rejects(RawSocket.open(`${without.wsUrl}/v1/namespaces/demo/connect`), { status: 404 });
  } finally {
    without.stop();
    await without.done;
  }
});

// `ws` answers to what the server's own client library does not send.
test('an unknown subprotocol is not taken up', async () => {
  const socket = new WebSocket(`${server.wsUrl}/echo`, ['chat']);
  const error = await within('the client refuses', new Promise((resolve) => socket.once('error', resolve)), 5_000);
  assert.match(error.message, /subprotocol/);
});
