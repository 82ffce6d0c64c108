// HTTP as it comes over a connection: which host is meant, what becomes of a body that nobody reads or that does not
// arrive, and of a call whose caller hangs up.

import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { describe, test } from 'node:test';

import { RawSocket } from './lib/raw.mjs';
import { metric, request } from './lib/request.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const PUSHES = '/v1/namespaces/demo/messages';
const PUSH = JSON.stringify({ to: { users: ['ann'] }, data: 1 });

const key = (server) => `Authorization: Bearer ${server.adminKey}\r\n`;

/** A plain connection, and all that is said on it. */
function talk(t, server) {
  const socket = net.connect(server.port, '127.0.0.1').setNoDelay(true);
  t.after(() => socket.destroy());
  const heard = { socket, text: '', ended: false };
  socket.on('data', (chunk) => (heard.text += chunk.toString('latin1')));
  socket.on('error', () => {});
  socket.on('close', () => (heard.ended = true));
  return heard;
}

/** Says something, and waits until `answers` heads have come. */
async function say(t, server, text, answers = 1) {
  const heard = talk(t, server);
  heard.socket.write(text);
  await until(() => `${answers} answers to ${text.slice(0, 200)}: ${heard.text}`, () => heads(heard.text).length >= answers);
  return heard;
}

const heads = (text) => text.match(/HTTP\/1\.[01] [2-5]\d\d [^]*?\r\n\r\n/g) ?? [];
const status = (head) => Number(head.slice(9, 12));

function assertProblem(text, expected, detail) {
  const [head] = heads(text);
  assert.equal(status(head), expected, text);
  assert.match(head, /content-type: application\/problem\+json/i);
  const id = /x-request-id: (\S+)/i.exec(head)?.[1];
  const body = JSON.parse(/\{"type".*?\}/s.exec(text)[0]);
  assert.equal(body.request_id, id, text);
  assert.match(body.detail, detail);
  return body;
}

describe('headers that others may have read differently', () => {
  const get = (lines, version = '1.1') => `GET /version HTTP/${version}\r\n${lines}\r\n`;

  for (const [what, text, detail] of [
    ['no Host', get(''), /no header Host/],
    ['two Hosts', get('Host: a\r\nHost: b\r\n'), /more than one header Host/],
    ['two Hosts that are one', get('Host: a\r\nHost: a\r\n'), /more than one header Host/],
    ['a Host that is none', get('Host: a b\r\n'), /not the name of a host/],
    ['two keys of a handshake', get('Host: a\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Key: a\r\n'), /more than one header Sec-WebSocket-Key/],
  ]) {
    test(what, async (t) => {
      const server = await Server.start(t);
      const heard = await say(t, server, text);
      assert.equal(assertProblem(heard.text, 400, detail).code, 'invalid_request');
      heard.socket.write(get('Host: a\r\n'));
      await until('the next request is answered', () => heads(heard.text).length === 2);
      assert.equal(status(heads(heard.text)[1]), 200);
    });
  }

  test('what needs no Host, or has one', async (t) => {
    const server = await Server.start(t);
    for (const text of [get('', '1.0'), get('Host: \r\n'), get('Host: [::1]:80\r\n')]) {
      const { text: said } = await say(t, server, text);
      assert.equal(status(heads(said)[0]), 200, said);
    }
    const session = http2.connect(`http://127.0.0.1:${server.port}`);
    session.on('error', () => {});
    t.after(() => session.destroy());
    const stream = session.request({ ':path': '/version' });
    const found = await new Promise((resolve, reject) => stream.on('response', resolve).on('error', reject));
    assert.equal(found[':status'], 200);
  });

  test('beside chunks a length does not count, and the connection ends', async (t) => {
    const server = await Server.start(t);
    const chunks = `${PUSH.length.toString(16)}\r\n${PUSH}\r\n0\r\n\r\n`;
    for (const lines of ['Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', 'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n']) {
      const heard = await say(t, server, `POST ${PUSHES} HTTP/1.1\r\nHost: a\r\n${key(server)}${lines}\r\n${chunks}${get('Host: a\r\n')}`);
      await until('the connection ends', () => heard.ended);
      assert.deepEqual(heads(heard.text).map(status), [202], heard.text);
      assert.match(heard.text, /\r\nconnection: close\r\n/i);
    }
  });

  test('a percent sign that encodes nothing', async (t) => {
    const server = await Server.start(t);
    const headers = { authorization: `Bearer ${server.adminKey}` };
    for (const [name, detail] of [['a%zz', /%zz/], ['a%4', /%4/], ['50%', /\\?%/]]) {
      const answer = await request(server, { path: `/v1/namespaces/demo/rooms/${name}`, headers });
      assert.equal(answer.status, 400, answer.text);
      assert.match(JSON.parse(answer.text).detail, detail);
    }
    assert.equal((await request(server, { path: '/v1/namespaces/demo/rooms/50%25', headers })).status, 200);
  });
});

describe('an answer before the body', () => {
  const early = (server) => [
    ['a key that is none', 401, `POST ${PUSHES} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer nk_x\r\n`],
    ['a namespace that there is not', 404, `POST /v1/namespaces/nope/messages HTTP/1.1\r\nHost: a\r\n${key(server)}`],
    ['a path that there is not', 404, 'POST /nope HTTP/1.1\r\nHost: a\r\n'],
    ['a method that there is not', 405, 'POST /version HTTP/1.1\r\nHost: a\r\n'],
    ['an encoding that is not understood', 415, `POST ${PUSHES} HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n${key(server)}`],
    ['a session that there is not', 400, 'POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: a\r\n'],
    ['a GET with a body', 200, 'GET /version HTTP/1.1\r\nHost: a\r\n'],
    ['two Hosts', 400, `POST ${PUSHES} HTTP/1.1\r\nHost: a\r\nHost: b\r\n`],
  ];
  const next = 'GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n';

  test('a small one is read, and the next request is answered', async (t) => {
    const server = await Server.start(t);
    const chunked = `Transfer-Encoding: chunked\r\n\r\n`;
    for (const [what, expected, head] of early(server)) {
      for (const [announced, body] of [[`Content-Length: ${PUSH.length}\r\n\r\n`, PUSH], [chunked, `${PUSH.length.toString(16)}\r\n${PUSH}\r\n0\r\n\r\n`]]) {
        const heard = talk(t, server);
        heard.socket.write(head + announced);
        await new Promise((resolve) => setTimeout(resolve, 50));
        heard.socket.write(body + next);
        await until(() => `${what}: both are answered: ${heard.text}`, () => heads(heard.text).length === 2);
        assert.deepEqual(heads(heard.text).map(status), [expected, 200], what);
        assert.doesNotMatch(heard.text, /\r\nconnection: close/i, what);
      }
    }
  });

  test('of a large one, or one that does not come, the answer says that the connection ends', async (t) => {
    const server = await Server.start(t);
    for (const [what, expected, head] of early(server)) {
      for (const lines of ['Content-Length: 100000\r\n', 'Content-Length: 10\r\nExpect: 100-continue\r\n', 'Content-Length: 10\r\n']) {
        const heard = await say(t, server, `${head}${lines}\r\n`);
        const [answer] = heads(heard.text);
        assert.equal(status(answer), expected, what);
        assert.match(answer, /\r\nconnection: close\r\n/i, `${what} ${lines}`);
        assert.doesNotMatch(heard.text, / 100 Continue/);
        // What comes now is not taken for a request.
        heard.socket.write(next);
        await until('the connection ends', () => heard.ended);
        assert.equal(heads(heard.text).length, 1, heard.text);
      }
    }
  });

  test('a client that sends its head first loses nothing', async (t) => {
    const server = await Server.start(t);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    const call = () =>
      new Promise((resolve, reject) => {
        const headers = { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json', 'content-length': PUSH.length };
        const post = http.request({ host: '127.0.0.1', port: server.port, method: 'POST', path: '/v1/namespaces/nope/messages', headers, agent });
        post.on('response', (response) => response.resume().on('end', () => resolve(response.statusCode)));
        post.on('error', reject);
        post.flushHeaders();
        setImmediate(() => post.end(PUSH));
      });
    const found = [];
    for (let times = 0; times < 100; times += 1) found.push(await call());
    assert.deepEqual([...new Set(found)], [404]);
    assert.ok((await metric(server, 'tidings_listener_accepted_total')) < 50, 'over the same connection');
  });
});

describe('a body that does not arrive', () => {
  test('is answered with 408 after its time, whatever it is for', async (t) => {
    const server = await Server.start(t, { env: { TIDINGS_LIMITS__BODY_TIMEOUT: '300ms' } });
    const calls = [
      `POST /v1/namespaces/demo/acks?device=d HTTP/1.1\r\nHost: a\r\n`,
      `POST ${PUSHES} HTTP/1.1\r\nHost: a\r\n${key(server)}`,
      `POST ${PUSHES}:batch HTTP/1.1\r\nHost: a\r\n${key(server)}`,
      `PUT /v1/namespaces/demo/devices/d HTTP/1.1\r\nHost: a\r\n${key(server)}`,
      // Reads none, but looks whether there is one.
      `POST /v1/namespaces/demo:clear HTTP/1.1\r\nHost: a\r\n${key(server)}`,
    ];
    for (const head of calls) {
      for (const begun of ['Content-Length: 100\r\n\r\n{', 'Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n']) {
        const heard = await say(t, server, head + begun);
        assertProblem(heard.text, 408, /within 300ms \(limits\.body_timeout\)/);
        assert.match(heard.text, /\r\nconnection: close\r\n/i);
      }
    }
    const name = `tidings_api_calls_total{method="POST",route="/v1/namespaces/{ns}/acks",status="408"}`;
    assert.equal(await metric(server, name), 2);
  });

  test('is not waited for when it is announced to be far too large', async (t) => {
    const server = await Server.start(t);
    for (const path of [PUSHES, `${PUSHES}:batch`]) {
      const heard = await say(t, server, `POST ${path} HTTP/1.1\r\nHost: a\r\n${key(server)}Content-Length: 1000000000\r\n\r\n{`);
      assert.equal(assertProblem(heard.text, 413, /is the limit/).code, 'payload_too_large');
      assert.match(heard.text, /\r\nconnection: close\r\n/i);
    }
  });

  test('does not end what lasts on HTTP/2', async (t) => {
    const server = await Server.start(t, { env: { TIDINGS_LIMITS__BODY_TIMEOUT: '300ms' } });
    const session = http2.connect(`http://127.0.0.1:${server.port}`);
    session.on('error', () => {});
    t.after(() => session.destroy());
    const stream = session.request({
      ':method': 'POST',
      ':path': '/tidings.v1.PushService/PushStream',
      'content-type': 'application/grpc',
      te: 'trailers',
      authorization: `Bearer ${server.adminKey}`,
    });
    const end = {};
    stream.on('trailers', (trailers) => (end.trailers = trailers)).on('error', () => {});
    stream.on('response', (head) => (end.head = head)).resume();
    await new Promise((resolve) => setTimeout(resolve, 900));
    assert.equal(end.trailers, undefined, 'it lasts');
    stream.end();
    await until('it ends when its client ends it', () => (end.trailers ?? end.head)?.['grpc-status'] === '0');
  });
});

describe('a caller that hangs up', () => {
  test('is counted as 499', async (t) => {
    const server = await Server.start(t);
    const socket = await RawSocket.open(`${server.wsUrl}/v1/namespaces/demo/connect`, {});
    t.after(() => socket.close());
    socket.send(JSON.stringify({ id: 1, cmd: 'connect', device: 'd', user: 'ann' }));
    await socket.nextLike(/"ok"/);
    const body = JSON.stringify({ to: { users: ['ann'] }, data: 1, ack: { wait: '10s' } });
    const heard = talk(t, server);
    heard.socket.write(`POST ${PUSHES} HTTP/1.1\r\nHost: a\r\n${key(server)}Content-Length: ${body.length}\r\n\r\n${body}`);
    await until('it is accepted', async () => (await metric(server, 'tidings_pushes_total')) === 1);
    heard.socket.destroy();
    const route = 'route="/v1/namespaces/{ns}/messages"';
    await until('it is counted', async () => (await metric(server, `tidings_api_calls_total{method="POST",${route},status="499"}`)) === 1);
    assert.equal(await metric(server, `tidings_api_call_seconds_count{${route}}`), 1);
  });

  test('is counted as CANCELLED on gRPC', async (t) => {
    const server = await Server.start(t);
    for (const path of ['/grpc.health.v1.Health/Watch', '/tidings.v1.PushService/Push']) {
      const session = http2.connect(`http://127.0.0.1:${server.port}`);
      session.on('error', () => {});
      const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
      stream.on('error', () => {});
      await new Promise((resolve) => setTimeout(resolve, 50));
      session.destroy();
      const method = path.split('/').at(-1);
      await until(`${method} is counted`, async () => (await metric(server, `tidings_api_grpc_calls_total{method="${method}",code="1"}`)) === 1);
    }
  });
});
