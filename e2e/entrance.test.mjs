// The way in: where clients are, who is let in and how many, slow and silent handshakes.

import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net from 'node:net';
import { describe, test } from 'node:test';

import { io } from 'socket.io-client-4';

import { frame, Polling, RawSocket } from './lib/raw.mjs';
import { metric, request } from './lib/request.mjs';
import { Server } from './lib/server.mjs';
import { until, within } from './lib/until.mjs';

const WS = '/v1/namespaces/demo/connect';
const SSE = '/v1/namespaces/demo/sse';
const POLLING = '/socket.io/?EIO=4&transport=polling';

const start = (t, env, options) => Server.start(t, { env, ...options });

/** What a WebSocket handshake is answered: an open socket, or the refusal. */
async function handshake(t, server, { path = WS, headers = {} } = {}) {
  try {
    const socket = await RawSocket.open(server.wsUrl + path, { headers });
    t.after(() => socket.close());
    return { status: 101, socket };
  } catch (error) {
    if (!error.status) throw error;
    return { status: error.status, headers: error.headers, text: error.body };
  }
}

function assertRefused(answer, status, slug, { engineio = false, retry = true } = {}) {
  assert.equal(answer.status, status, answer.text);
  if (retry) assert.ok(Number(answer.headers['retry-after']) >= 1, 'Retry-After');
  const body = JSON.parse(answer.text);
  if (engineio) {
    assert.deepEqual(Object.keys(body), ['code', 'message'], answer.text);
  } else {
    assert.equal(answer.headers['content-type'], 'application/problem+json');
    assert.equal(body.code, slug, answer.text);
  }
}

/** Bytes on a plain connection, and all that comes back until the server ends it. */
function speak(t, server, bytes = '') {
  const socket = net.connect(server.port, '127.0.0.1');
  t.after(() => socket.destroy());
  const talk = { socket, said: '', ended: false };
  socket.on('data', (chunk) => (talk.said += chunk.toString('latin1')));
  socket.on('error', () => {});
  socket.on('close', () => (talk.ended = true));
  if (bytes.length) socket.write(bytes);
  return talk;
}

const UPGRADE = `GET ${WS} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
const v2 = (address, command = 0x21) => Buffer.concat([Buffer.from('\r\n\r\n\0\r\nQUIT\n'), Buffer.from([command, 0x11, 0, 12, ...address.split('.').map(Number), 127, 0, 0, 1, 1, 2, 3, 4])]);

describe('the address of a client', () => {
  test('PROXY headers of both versions say whose a connection is', async (t) => {
    const env = {
      TIDINGS_SERVER__PROXY_PROTOCOL: 'required',
      TIDINGS_SERVER__PROXY_PROTOCOL_FROM: '127.0.0.1',
      TIDINGS_LIMITS__CONNECTIONS_PER_ADDRESS: '1',
      TIDINGS_LIMITS__FIRST_REQUEST_TIMEOUT: '2s',
    };
    const probe = async (server) => {
      const talk = speak(t, server, 'PROXY UNKNOWN\r\nGET /readyz HTTP/1.0\r\n\r\n');
      await until('the probe is answered', () => talk.ended);
      return talk.said.startsWith('HTTP/1.0 200');
    };
    const server = await start(t, env, { probe });
    const open = async (header) => {
      const talk = speak(t, server, Buffer.concat([Buffer.from(header), Buffer.from(UPGRADE)]));
      await until('an answer', () => talk.said.includes('\r\n\r\n') || talk.ended);
      return talk;
    };
    const said = async (header) => (await open(header)).said.slice(9, 12);
    assert.equal(await said('PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n'), '101');
    assert.equal(await said('PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n'), '429', 'the same client');
    assert.equal(await said(v2('192.0.2.1')), '429', 'the same client, in the other version');
    assert.equal(await said(v2('192.0.2.2')), '101');
    assert.equal(await said('PROXY TCP6 2001:db8::1 ::1 1 2\r\n'), '101');
    assert.equal(await said('PROXY TCP6 2001:db8::2 ::1 1 2\r\n'), '429', 'the same network of 64 bits');
    assert.equal(await said('PROXY TCP6 ::ffff:192.0.2.2 ::1 1 2\r\n'), '429', 'an IPv4 address, written longer');
    for (const [what, header] of Object.entries({ 'no header': '', 'half a header': 'PROXY TCP4 1.2.3.4\r\n', 'another version': v2('192.0.2.3', 0x31) })) {
      const talk = await open(header);
      assert.equal(talk.said, '', what);
      assert.ok(talk.ended, what);
    }
    // A header that never ends.
    const endless = speak(t, server, 'PROXY UNKNOWN ');
    await until('who dawdles is cut off', () => endless.ended);
    const counters = { port: server.port };
    const scrape = speak(t, counters, `PROXY UNKNOWN\r\nGET /metrics HTTP/1.0\r\nAuthorization: Bearer ${server.adminKey}\r\n\r\n`);
    await until('the counters come', () => scrape.ended);
    assert.match(scrape.said, /tidings_listener_cut_total\{reason="proxy_header"\} 3/);
    assert.match(scrape.said, /tidings_listener_cut_total\{reason="silent"\} 1/);
  });

  test('who may not write PROXY headers is closed', async (t) => {
    const env = { TIDINGS_SERVER__PROXY_PROTOCOL: 'required', TIDINGS_SERVER__PROXY_PROTOCOL_FROM: '10.0.0.0/8' };
    const server = await start(t, env, { probe: async () => true });
    const talk = speak(t, server, `PROXY UNKNOWN\r\n${UPGRADE}`);
    await until('the connection is closed', () => talk.ended);
    assert.equal(talk.said, '');
  });

  test('X-Forwarded-For counts when a trusted proxy says it', async (t) => {
    const server = await start(t, { TIDINGS_SERVER__TRUSTED_PROXIES: '127.0.0.1, 10.0.0.0/8', TIDINGS_LIMITS__CONNECTIONS_PER_ADDRESS: '1' });
    const open = async (value) => (await handshake(t, server, { headers: { 'X-Forwarded-For': value } })).status;
    assert.equal(await open('192.0.2.1'), 101);
    assert.equal(await open('192.0.2.2'), 101);
    assert.equal(await open('192.0.2.2'), 429);
    assert.equal(await open('203.0.113.9, 192.0.2.2'), 429, 'what the client wrote itself means nothing');
    assert.equal(await open('192.0.2.3, 10.1.2.3'), 101, 'another proxy of ours');
    assert.equal(await open('192.0.2.3'), 429);
  });

  test('X-Forwarded-For means nothing when anybody else says it', async (t) => {
    const server = await start(t, { TIDINGS_SERVER__TRUSTED_PROXIES: '10.0.0.0/8', TIDINGS_LIMITS__CONNECTIONS_PER_ADDRESS: '1' });
    const open = async (value) => (await handshake(t, server, { headers: { 'X-Forwarded-For': value } })).status;
    assert.equal(await open('192.0.2.1'), 101);
    assert.equal(await open('192.0.2.2'), 429);
    await until('the log names the address', () => /client=127\.0\.0\.1 reason="address"/.test(server.output));
  });

  test('the standard header counts where it is chosen', async (t) => {
    const server = await start(t, {
      TIDINGS_SERVER__TRUSTED_PROXIES: '127.0.0.1',
      TIDINGS_SERVER__FORWARDED_HEADER: 'forwarded',
      TIDINGS_LIMITS__CONNECTIONS_PER_ADDRESS: '1',
    });
    const open = async (headers) => (await handshake(t, server, { headers })).status;
    assert.equal(await open({ Forwarded: 'for="[2001:db8::1]:4711";proto=https' }), 101);
    assert.equal(await open({ Forwarded: 'for=192.0.2.1' }), 101);
    assert.equal(await open({ 'X-Forwarded-For': '192.0.2.2' }), 101, 'the proxy itself');
    assert.equal(await open({ 'X-Forwarded-For': '192.0.2.3' }), 429);
  });
});

describe('limits', () => {
  test('connections of the process: 503 in every protocol, and the place is free again', async (t) => {
    const server = await start(t, { TIDINGS_LIMITS__CONNECTIONS: '3' });
    const ws = await handshake(t, server);
    const polling = await Polling.open(server);
    const sse = await request(server, { path: `${SSE}?device=s`, stream: true });
    t.after(() => sse.close());
    assert.deepEqual([ws.status, sse.status], [101, 200]);
    assertRefused(await handshake(t, server), 503, 'overloaded');
    assertRefused(await request(server, { path: `${SSE}?device=t` }), 503, 'overloaded');
    assertRefused(await request(server, { path: POLLING }), 503, '', { engineio: true });
    assertRefused(await handshake(t, server, { path: '/socket.io/?EIO=4&transport=websocket' }), 503, '', { engineio: true });
    // Those who are in go on: an upgrade takes no further place.
    const upgrade = await RawSocket.open(polling.wsUrl);
    t.after(() => upgrade.close());
    upgrade.send('2probe');
    assert.equal(await upgrade.next('the probe'), '3probe');
    await polling.get();
    upgrade.send('5');
    upgrade.send('40/demo,{"device":"p"}');
    await upgrade.nextLike(/^40\/demo,/);
    for (const [what, leave] of Object.entries({ socket: () => ws.socket.close(), stream: () => sse.close(), upgraded: () => upgrade.close() })) {
      leave();
      const again = await until(`the place of the ${what} is free`, async () => {
        const answer = await handshake(t, server);
        return answer.status === 101 && answer.socket;
      });
      assertRefused(await handshake(t, server), 503, 'overloaded');
      again.close();
      await until('and again', async () => {
        const answer = await handshake(t, server);
        return answer.status === 101 && answer;
      });
    }
    assert.ok((await metric(server, 'tidings_clients_refused_total{reason="full"}')) >= 7);
  });

  test('a place is given back whatever becomes of a handshake', async (t) => {
    const server = await start(t, { TIDINGS_LIMITS__CONNECTIONS: '1', TIDINGS_CLIENTS__CONNECT_TIMEOUT: '200ms' });
    const attempts = {
      'no such namespace': () => request(server, { path: '/v1/namespaces/nobody/sse' }),
      'no upgrade': () => request(server, { path: WS }),
      'a bad platform': () => request(server, { path: `${SSE}?platform=toaster` }),
      'a bad method': () => request(server, { method: 'POST', path: POLLING, body: 'x' }),
      'a bad transport': () => request(server, { path: '/socket.io/?EIO=4&transport=pigeon' }),
      'a bad key': () => request(server, { path: WS, headers: { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'x' } }),
      'gone at once': async () => speak(t, server, UPGRADE).socket.destroy(),
      'gone before the poll': async () => speak(t, server, `GET ${POLLING} HTTP/1.1\r\nHost: a\r\n\r\n`).socket.destroy(),
      'a session that says nothing': () => Polling.open(server),
      'a protocol error': async () => {
        const talk = await until('a handshake that is let in', async () => {
          const talk = speak(t, server, UPGRADE);
          await until('an answer', () => talk.said.includes('\r\n\r\n'));
          return talk.said.includes(' 101 ') && talk;
        });
        talk.socket.write(frame(3, 'x'));
      },
    };
    for (const [what, attempt] of Object.entries(attempts)) {
      await attempt();
      const opened = await until(`after ${what} there is room`, async () => {
        const answer = await handshake(t, server);
        return answer.status === 101 && answer.socket;
      });
      opened.close();
      await until('and after that', async () => {
        const answer = await handshake(t, server);
        answer.socket?.close();
        return answer.status === 101;
      });
      await until('nobody is left', async () => (await metric(server, 'tidings_connections{protocol="json"}')) === 0);
    }
  });

  test('an event stream is there for GET alone', async (t) => {
    const server = await start(t);
    for (const method of ['HEAD', 'POST']) {
      const answer = await request(server, { method, path: `${SSE}?device=a` });
      assert.deepEqual([answer.status, answer.headers.allow], [405, 'GET, OPTIONS'], method);
    }
    assert.equal(await metric(server, 'tidings_connections{protocol="sse"}'), 0);
  });

  test('handshakes in a second: 429 in both shapes', async (t) => {
    const server = await start(t, { TIDINGS_LIMITS__HANDSHAKES_PER_SECOND: '1', TIDINGS_LIMITS__HANDSHAKE_BURST: '2' });
    const answers = [];
    for (let attempt = 0; attempt < 20; attempt += 1) answers.push(await handshake(t, server));
    const refused = answers.filter(({ status }) => status !== 101);
    assert.ok(refused.length > 0 && answers.length - refused.length >= 2, `${refused.length} of ${answers.length} refused`);
    for (const answer of refused) assertRefused(answer, 429, 'rate_limited');
    const polls = [];
    for (let attempt = 0; attempt < 10; attempt += 1) polls.push(await request(server, { path: POLLING, headers: { Origin: 'https://a.example' } }));
    const late = polls.find(({ status }) => status !== 200);
    assertRefused(late, 429, '', { engineio: true });
    // Else a browser keeps it from the page.
    const readable = ['origin', 'credentials'].map((what) => late.headers[`access-control-allow-${what}`]);
    assert.deepEqual(readable, ['https://a.example', 'true']);
    assert.match(late.headers['access-control-expose-headers'], /retry-after/);
    assert.ok((await metric(server, 'tidings_clients_refused_total{reason="too_fast"}')) >= refused.length);
    // Calls of backends are something else.
    assert.equal((await request(server, { path: '/healthz' })).status, 200);
  });

  for (const [what, env, identity] of [
    ['device', { TIDINGS_LIMITS__CONNECTIONS_PER_DEVICE: '2' }, () => ({ device: 'd', user: 'ann' })],
    ['user', { TIDINGS_LIMITS__CONNECTIONS_PER_USER: '2' }, (n) => ({ device: `d${n}`, user: 'ann' })],
  ]) {
    test(`connections of a ${what}: the newest is refused with 3504, in every protocol`, async (t) => {
      const server = await start(t, env);
      const connect = async (n, who = identity(n)) => {
        const { socket } = await handshake(t, server);
        socket.send(JSON.stringify({ id: 1, cmd: 'connect', ...who }));
        return { socket, answer: JSON.parse(await socket.next('an answer to connect')) };
      };
      const [first, second, third] = [await connect(1), await connect(2), await connect(3)];
      assert.ok(first.answer.ok && second.answer.ok);
      assert.equal(third.answer.error?.code, 'too_many_connections', JSON.stringify(third.answer));
      assert.match(third.answer.error.message, /has 2 connections/);
      assert.deepEqual(JSON.parse(await third.socket.next('goaway')).goaway, { code: 3504, reason: 'too_many_connections', reconnect: false });
      assert.equal((await third.socket.waitClosed()).code, 3504);
      const sse = await request(server, { path: `${SSE}?${new URLSearchParams(identity(4))}` });
      assertRefused(sse, 429, 'too_many_connections');
      const socket = io(`${server.url}/demo`, { transports: ['websocket'], reconnection: false, auth: identity(5) });
      t.after(() => socket.close());
      const error = await within('connect_error', new Promise((resolve) => socket.on('connect_error', resolve)));
      assert.equal(error.data?.code, 3504, JSON.stringify(error.data));
      assert.equal(error.data.reconnect, false);
      assert.ok((await connect(6, { device: 'other', user: 'bob' })).answer.ok, 'somebody else');
      first.socket.close();
      await until('there is room again', async () => (await connect(7)).answer.ok);
      assert.ok((await metric(server, `tidings_clients_refused_total{reason="${what}"}`)) >= 3);
    });
  }
});

describe('origins', () => {
  const allowed = 'https://app.example.com, https://*.example.org';
  test('only listed pages may connect, and only they may read', async (t) => {
    const server = await start(t, { TIDINGS_CLIENTS__ALLOWED_ORIGINS: allowed });
    for (const origin of ['https://app.example.com', 'https://a.example.org', undefined]) {
      const headers = origin ? { Origin: origin } : {};
      assert.equal((await handshake(t, server, { headers })).status, 101, origin);
      const polling = await request(server, { path: POLLING, headers });
      assert.equal(polling.status, 200, origin);
      const sse = await request(server, { path: `${SSE}?device=${encodeURIComponent(origin)}`, headers, stream: true });
      sse.close();
      const preflight = await request(server, { method: 'OPTIONS', path: SSE, headers });
      assert.deepEqual([sse.status, preflight.status], [200, 204]);
      for (const answer of [polling, sse, preflight]) {
        assert.equal(answer.headers['access-control-allow-origin'], origin);
        assert.match(answer.headers.vary, /origin/i);
      }
    }
    for (const origin of ['https://evil.example', 'http://app.example.com', 'https://example.org', 'https://evil.net/.example.org', 'null']) {
      const headers = { Origin: origin };
      const refusals = [
        [await handshake(t, server, { headers }), {}],
        [await request(server, { path: SSE, headers }), {}],
        [await request(server, { path: POLLING, headers }), { engineio: true }],
        [await request(server, { method: 'OPTIONS', path: POLLING, headers }), { engineio: true }],
        [await handshake(t, server, { path: '/socket.io/?EIO=4&transport=websocket', headers }), { engineio: true }],
      ];
      for (const [answer, shape] of refusals) {
        assertRefused(answer, 403, 'forbidden', { ...shape, retry: false });
        assert.equal(answer.headers['access-control-allow-origin'], undefined);
      }
    }
    assert.equal(await metric(server, 'tidings_clients_refused_total{reason="origin"}'), 25);
  });

  test('scripts and other sites do not pass by the list', async (t) => {
    const server = await start(t, { TIDINGS_CLIENTS__ALLOWED_ORIGINS: allowed });
    const script = `${POLLING}&j=0`;
    for (const [path, headers, status] of [
      [script, {}, 403],
      [script, { Referer: 'https://evil.example/page' }, 403],
      [script, { Referer: 'https://app.example.com/page' }, 200],
      [script, { Origin: 'https://app.example.com' }, 200],
      [POLLING, { 'Sec-Fetch-Site': 'cross-site' }, 403],
      [POLLING, { 'Sec-Fetch-Site': 'same-origin' }, 200],
    ]) {
      assert.equal((await request(server, { path, headers })).status, status, JSON.stringify([path, headers]));
    }
    const open = await start(t);
    assert.equal((await request(open, { path: script, headers: { 'Sec-Fetch-Site': 'cross-site' } })).status, 200, 'without a list');
  });

  test('without a list every page may connect', async (t) => {
    const server = await start(t);
    const headers = { Origin: 'https://anywhere.example' };
    assert.equal((await handshake(t, server, { headers })).status, 101);
    const polling = await request(server, { path: POLLING, headers });
    assert.equal(polling.headers['access-control-allow-origin'], 'https://anywhere.example');
    const sse = await request(server, { path: `${SSE}?device=x`, headers, stream: true });
    sse.close();
    assert.equal(sse.headers['access-control-allow-origin'], '*');
  });
});

describe('handshakes that dawdle', () => {
  test('who is silent, and who is slow, is cut off', async (t) => {
    const server = await start(t, { TIDINGS_LIMITS__FIRST_REQUEST_TIMEOUT: '600ms', TIDINGS_LIMITS__HEAD_TIMEOUT: '300ms', TIDINGS_LIMITS__BODY_TIMEOUT: '300ms' });
    const silent = speak(t, server);
    const half = speak(t, server, 'GET / HTTP/1.1\r\nHost: a\r\n');
    const preface = speak(t, server, 'PRI * HTTP/2.0\r\n');
    const drip = speak(t, server, 'GET / HTTP/1.1\r\n');
    const dripping = setInterval(() => drip.socket.write('X-Slow: yes\r\n'), 20);
    t.after(() => clearInterval(dripping));
    await until('all of them are cut off', () => silent.ended && half.ended && preface.ended && drip.ended);
    assert.equal(silent.said, '');
    const { sid } = await Polling.open(server);
    const slow = speak(t, server, `POST ${POLLING}&sid=${sid} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n4`);
    await until('a slow body is answered', () => slow.said.includes('408'));
    assert.ok((await metric(server, 'tidings_listener_cut_total{reason="silent"}')) >= 2);
  });

  test('a kept connection may be silent for some time, and not dawdle with its next request', async (t) => {
    const server = await start(t, { TIDINGS_LIMITS__HEAD_TIMEOUT: '200ms', TIDINGS_LIMITS__IDLE_TIMEOUT: '2s' });
    const get = 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n';
    const post = 'POST /v1/namespaces/demo/acks?device=x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n';
    const [kept, dawdling, drip, silent, streaming] = [get, get, get, get, `GET ${SSE}?device=x HTTP/1.1\r\nHost: a\r\n\r\n`].map((asked) => speak(t, server, asked));
    const answers = ({ said }) => said.match(/HTTP\/1\.1 200/g)?.length ?? 0;
    await until('all are answered', () => [kept, dawdling, drip, silent, streaming].every((one) => answers(one) === 1));
    dawdling.socket.write('GET /healthz HT');
    drip.socket.write('GET /healthz HTTP/1.1\r\n');
    const dripping = setInterval(() => drip.socket.write('X-Slow: yes\r\n'), 20);
    t.after(() => clearInterval(dripping));
    await until('who dawdles is cut off', () => dawdling.ended && drip.ended);
    assert.equal(await metric(server, 'tidings_listener_cut_total{reason="head"}'), 2);
    // Longer ago than a head may take.
    assert.ok(!kept.ended && !silent.ended);
    kept.socket.write(get.repeat(2));
    await until('requests in a row are answered', () => answers(kept) === 3);
    kept.socket.write(post);
    kept.socket.write('{"ids":[');
    await until('who is silent for too long is let go', () => silent.ended);
    assert.equal(await metric(server, 'tidings_listener_cut_total{reason="idle"}'), 1);
    assert.ok(!streaming.ended, 'a stream is not silent');
    assert.ok(!kept.ended, 'nor is a body that is on its way: that has a time of its own');
    kept.socket.write(']}');
    await until('it is answered', () => kept.said.split('HTTP/1.1 ').length === 5);
    await until('who was kept is let go at last', () => kept.ended);
    assert.equal(await metric(server, 'tidings_listener_cut_total{reason="head"}'), 2);
  });

  test('an answer that a client takes its time to read is not cut off', async (t) => {
    const server = await start(t, { TIDINGS_LIMITS__HEAD_TIMEOUT: '100ms', TIDINGS_LIMITS__IDLE_TIMEOUT: '200ms' });
    // More than fits between the two: a page of some 12 MB.
    const body = JSON.stringify({ messages: Array.from({ length: 140 }, () => ({ to: { all: true }, data: 'x'.repeat(60_000) })) });
    const headers = { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json', connection: 'close' };
    for (let times = 0; times < 2; times += 1) {
      assert.equal((await request(server, { method: 'POST', path: '/v1/namespaces/demo/messages:batch', headers, body })).status, 200);
    }
    const get = 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n';
    const slow = speak(t, server);
    slow.socket.pause();
    slow.socket.write(`GET /v1/namespaces/demo/messages?limit=1000 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${server.adminKey}\r\n\r\n${get}`);
    for (let times = 0; times < 4; times += 1) {
      const silent = speak(t, server, get);
      await until('another one is let go because it is silent', () => silent.ended);
    }
    assert.equal(await metric(server, 'tidings_listener_cut_total{reason="idle"}'), 4);
    slow.socket.resume();
    await until('both answers are there', () => slow.said.lastIndexOf('HTTP/1.1 200') > 10_000_000);
    await until('it is let go in the end', () => slow.ended);
    assert.equal(await metric(server, 'tidings_listener_cut_total{reason="head"}'), 0);
  });

  test('who does not read an event stream finds the goodbye at its end', async (t) => {
    const server = await start(t);
    const slow = speak(t, server, 'GET /v1/namespaces/demo/sse?device=d1&user=ann HTTP/1.1\r\nHost: a\r\n\r\n');
    await until('it is let in', () => slow.said.includes('event: ready'));
    slow.socket.pause();
    // More than fits between the two.
    const body = JSON.stringify({ messages: Array.from({ length: 140 }, () => ({ to: { users: ['ann'] }, data: 'x'.repeat(60_000) })) });
    const headers = { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' };
    assert.equal((await request(server, { method: 'POST', path: '/v1/namespaces/demo/messages:batch', headers, body })).status, 200);
    assert.equal((await request(server, { method: 'DELETE', path: '/v1/namespaces/demo/users/ann/connections', headers })).status, 200);
    await until('it is sent away', async () => (await metric(server, 'tidings_connections{protocol="sse"}')) === 0);
    slow.socket.resume();
    await until('the stream ends', () => slow.said.endsWith('0\r\n\r\n'));
    assert.match(slow.said.slice(-400), /event: goaway\ndata: \{"code":3\d\d\d/);
  });

  test('who says nothing has to go when there are too many', async (t) => {
    const server = await start(t, { TIDINGS_LIMITS__WAITING: '16', TIDINGS_LIMITS__FIRST_REQUEST_TIMEOUT: '3s' });
    const silent = Array.from({ length: 40 }, () => speak(t, server));
    assert.equal((await handshake(t, server)).status, 101, 'others still come in');
    await until('16 have gone', async () => (await metric(server, 'tidings_listener_cut_total{reason="crowded"}')) >= 16 && silent.filter(({ ended }) => ended).length >= 16);
  });

  test('a crowd of one address does not keep others out', async (t) => {
    // Without a crowd, each 64 may be silent for 5 s.
    const server = await start(t, { TIDINGS_LIMITS__WAITING: '64', TIDINGS_LIMITS__FIRST_REQUEST_TIMEOUT: '15s' });
    const silent = Array.from({ length: 256 }, () => speak(t, server));
    await until('they are there', () => silent.every(({ socket }) => !socket.connecting));
    assert.equal((await handshake(t, server)).status, 101);
  });

  test('heads may not be too large or have too many headers', async (t) => {
    const server = await start(t, { TIDINGS_LIMITS__HEAD_SIZE: '8KiB', TIDINGS_LIMITS__HEADERS: '20' });
    const large = await request(server, { path: '/healthz', headers: { 'X-Large': 'x'.repeat(9_000) } });
    const many = await request(server, { path: '/healthz', headers: Object.fromEntries(Array.from({ length: 30 }, (_, n) => [`X-${n}`, 'x'])) });
    assert.deepEqual([large.status, many.status], [431, 431]);
    assert.equal((await request(server, { path: '/healthz', headers: { 'X-Large': 'x'.repeat(4_000) } })).status, 200);
  });
});

test('platforms have their own heartbeats', async (t) => {
  const server = await start(t, { TIDINGS_CLIENTS__PING_INTERVAL_ANDROID: '200ms', TIDINGS_CLIENTS__PING_TIMEOUT_IOS: '7s', TIDINGS_CLIENTS__PING_INTERVAL: '2m' });
  const announced = async (platform) => {
    const { pingInterval, pingTimeout } = (await Polling.open(server, { query: platform ? { platform } : {} })).handshake;
    return [pingInterval, pingTimeout];
  };
  assert.deepEqual(await announced('android'), [200, 20_000]);
  assert.deepEqual(await announced('ios'), [120_000, 7_000]);
  assert.deepEqual(await announced('toaster'), [120_000, 20_000]);
  assert.deepEqual(await announced(), [120_000, 20_000]);
  const android = await RawSocket.open(`${server.wsUrl}/socket.io/?EIO=4&transport=websocket&platform=android`);
  t.after(() => android.close());
  for (let beat = 0; beat < 3; beat += 1) {
    assert.equal(await android.nextLike(/^2$/), '2');
    android.send('3');
  }
});

describe('HTTP/2', () => {
  const open = (t, server) => {
    const session = http2.connect(server.url);
    session.on('error', () => {});
    t.after(() => session.destroy());
    return session;
  };
  const call = (session, headers, body) => {
    const stream = session.request(headers);
    const answer = { text: '' };
    stream.setEncoding('utf8');
    stream.on('response', (head) => (answer.head = head));
    stream.on('data', (chunk) => (answer.text += chunk));
    stream.on('error', (error) => (answer.error = error));
    stream.on('end', () => (answer.ended = true));
    stream.on('close', () => (answer.closed = true));
    stream.end(body);
    return Object.assign(answer, { stream });
  };

  test('calls and event streams share a connection', async (t) => {
    const server = await start(t);
    const session = open(t, server);
    const events = call(session, { ':path': `${SSE}?device=h2` });
    await until('the stream is ready', () => events.text.includes('event: ready'));
    const push = call(
      session,
      { ':path': '/v1/namespaces/demo/messages', ':method': 'POST', authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
      JSON.stringify({ to: { devices: ['h2'] }, data: { n: 1 } }),
    );
    await until('the push is answered', () => push.ended);
    assert.equal(push.head[':status'], 202, push.text);
    await until('the message comes', () => events.text.includes('"data":{"n":1}'));
    events.stream.close();
    await until('the stream is over', async () => (await metric(server, 'tidings_connections{protocol="sse"}')) === 0);
    const again = call(session, { ':path': '/healthz' });
    await until('the connection goes on', () => again.ended);
    assert.equal(again.head[':status'], 200);
  });

  test('a connection without requests is let go, one with a stream is not', async (t) => {
    const server = await start(t, { TIDINGS_LIMITS__IDLE_TIMEOUT: '300ms' });
    const [idle, busy] = [open(t, server), open(t, server)];
    const events = call(busy, { ':path': `${SSE}?device=h2` });
    await until('the stream is ready', () => events.text.includes('event: ready'));
    const once = call(idle, { ':path': '/healthz' });
    await until('the idle one is let go', () => once.ended && idle.closed);
    assert.equal(await metric(server, 'tidings_listener_cut_total{reason="idle"}'), 1);
    assert.ok(!events.closed && !busy.closed);
    events.stream.close();
    await until('the other one afterwards', () => busy.closed);
  });

  test('a head that never ends, and a client that opens no window, cost themselves only', async (t) => {
    const server = await start(t);
    const frame = (type, flags, stream, payload = Buffer.alloc(0)) => {
      const head = Buffer.alloc(9);
      head.writeUIntBE(payload.length, 0, 3);
      head.writeUInt8(type, 3);
      head.writeUInt8(flags, 4);
      head.writeUInt32BE(stream, 5);
      return Buffer.concat([head, payload]);
    };
    const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    const [HEADERS, SETTINGS, CONTINUATION] = [1, 4, 9];
    // ":method GET" from the static table, and no end of the head.
    const flood = speak(t, server, Buffer.concat([preface, frame(SETTINGS, 0, 0), frame(HEADERS, 1, 1, Buffer.from([0x82]))]));
    const pieces = Buffer.concat(Array.from({ length: 100 }, () => frame(CONTINUATION, 0, 1)));
    const flooding = setInterval(() => flood.socket.write(pieces), 5);
    t.after(() => clearInterval(flooding));
    await until('the flood is ended', () => flood.ended);

    const session = http2.connect(server.url, { settings: { initialWindowSize: 0 } });
    session.on('error', () => {});
    t.after(() => session.destroy());
    const stuck = Array.from({ length: 100 }, () => call(session, { ':path': '/openapi.json' }));
    await until('all are answered, as far as the head', () => stuck.every(({ head }) => head));
    assert.ok(stuck.every(({ text }) => text === ''));
    assert.equal((await request(server, { path: '/healthz' })).status, 200);
  });

  test('who resets streams as fast as it opens them is shut out', async (t) => {
    const server = await start(t);
    const session = open(t, server);
    await within('the session opens', new Promise((resolve) => session.once('connect', resolve)));
    const abuse = setInterval(() => {
      for (let n = 0; n < 200 && !session.destroyed && !session.closed; n += 1) session.request({ ':path': '/healthz' }).on('error', () => {}).close(http2.constants.NGHTTP2_CANCEL);
    }, 1);
    t.after(() => clearInterval(abuse));
    await until('the server ends the connection', () => session.destroyed || session.closed);
    assert.equal((await request(server, { path: '/healthz' })).status, 200);
  });
});
