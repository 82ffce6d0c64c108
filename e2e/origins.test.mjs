// `origins` of a namespace: the pages whose scripts may connect to it on any protocol, and read what is answered of it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import io2 from 'socket.io-client-2';
import { io as io4 } from 'socket.io-client-4';

import { Api } from './lib/api.mjs';
import { RawSocket } from './lib/raw.mjs';
import { metric, request } from './lib/request.mjs';
import { Server } from './lib/server.mjs';
import { within } from './lib/until.mjs';

const OURS = 'https://app.example.com';
const OTHER = 'https://evil.example';
const REFUSED = 'tidings_clients_refused_total{reason="origin"}';

/** A server with a namespace `shop` for pages of ours, beside `demo` for every page. */
async function shop(t, env = {}, options = {}) {
  const server = await Server.start(t, { env, ...options });
  const admin = new Api(server);
  const made = await admin.call('POST', '/v1/namespaces', { name: 'shop', auth: { mode: 'open' }, origins: [OURS, 'https://*.example.org'] });
  assert.equal(made.status, 201, made.text);
  return { server, admin };
}

/** How a handshake of a plain WebSocket is answered. */
async function handshake(t, server, namespace, headers) {
  try {
    const socket = await RawSocket.open(`${server.wsUrl}/v1/namespaces/${namespace}/connect`, { headers });
    t.after(() => socket.close());
    return { status: 101 };
  } catch (error) {
    if (error.status === undefined) throw error;
    return error;
  }
}

/** What a Socket.IO client is told that connects: `let in`, or why not. */
function connecting(t, io, server, namespace, origin, { managers, ...options } = {}) {
  const extraHeaders = origin ? { origin } : {};
  const socket = io(`${server.url}/${namespace}`, { transports: ['websocket'], forceNew: true, reconnection: false, extraHeaders, ...options });
  managers?.add(socket.io);
  t.after(() => socket.disconnect());
  const outcome = new Promise((resolve) => {
    socket.on('ready', () => resolve('let in'));
    socket.on('connect_error', (error) => resolve(error.data ?? error));
    socket.on('error', resolve);
  });
  return within(`${namespace} answers ${origin}`, outcome, 5_000);
}

describe('origins of a namespace', () => {
  test('a WebSocket and an event stream', async (t) => {
    const { server } = await shop(t);
    const sse = (namespace, headers) => request(server, { path: `/v1/namespaces/${namespace}/sse?device=d${Math.random()}`, headers, stream: true });
    for (const origin of [OURS, 'https://a.example.org', undefined]) {
      const headers = origin ? { Origin: origin } : {};
      assert.equal((await handshake(t, server, 'shop', headers)).status, 101, origin);
      const stream = await sse('shop', headers);
      stream.close();
      assert.equal(stream.status, 200, origin);
      assert.equal(stream.headers['access-control-allow-origin'], origin);
      assert.match(stream.headers.vary, /origin/i);
    }
    for (const headers of [{ Origin: OTHER }, { Origin: 'null' }, { 'Sec-Fetch-Site': 'cross-site' }]) {
      // The name of a namespace can be written in other ways.
      for (const name of ['shop', '%73hop']) {
        const refusals = [
          await handshake(t, server, name, headers),
          await request(server, { path: `/v1/namespaces/${name}/sse?device=d`, headers }),
          await request(server, { method: 'OPTIONS', path: `/v1/namespaces/${name}/sse`, headers }),
        ];
        for (const { status, headers: told } of refusals) {
          assert.equal(status, 403, JSON.stringify([name, headers]));
          assert.equal(told['access-control-allow-origin'], undefined);
        }
      }
      assert.equal((await handshake(t, server, 'demo', headers)).status, 101);
      const stream = await sse('demo', headers);
      stream.close();
      assert.deepEqual([stream.status, stream.headers['access-control-allow-origin']], [200, '*']);
    }
    assert.equal(await metric(server, REFUSED), 18);
  });

  test('Socket.IO: by namespace, on one connection', async (t) => {
    const { server } = await shop(t);
    const polling = { transports: ['polling'] };
    for (const [io, options] of [[io4], [io4, polling], [io2], [io2, polling]]) {
      for (const origin of [OURS, undefined]) assert.equal(await connecting(t, io, server, 'shop', origin, options), 'let in', origin);
      const why = await connecting(t, io, server, 'shop', OTHER, options);
      if (io === io4) {
        assert.deepEqual([why.code, why.reconnect, why.error.code], [3507, false, 'forbidden'], JSON.stringify(why));
      } else {
        assert.match(`${why.message ?? why}`, /pages of this origin may not connect/);
      }
      assert.equal(await connecting(t, io, server, 'demo', OTHER, options), 'let in');
    }
    assert.equal(await metric(server, REFUSED), 4);

    // Who is in one namespace is asked for its page by the next one, too.
    const shared = { forceNew: false, managers: new Set() };
    assert.equal(await connecting(t, io4, server, 'demo', OTHER, shared), 'let in');
    assert.equal((await connecting(t, io4, server, 'shop', OTHER, shared)).code, 3507);
    assert.equal(shared.managers.size, 1);
    assert.equal(await metric(server, REFUSED), 5);
  });

  test('with a list of the server, both have to have the page', async (t) => {
    const { server } = await shop(t, { TIDINGS_CLIENTS__ALLOWED_ORIGINS: `${OURS}, https://other.example.net` });
    for (const [namespace, origin, status] of [
      ['shop', OURS, 101],
      ['shop', 'https://a.example.org', 403],
      ['shop', 'https://other.example.net', 403],
      ['demo', 'https://other.example.net', 101],
    ]) {
      const answer = await handshake(t, server, namespace, { Origin: origin });
      assert.equal(answer.status, status, `${namespace} ${origin}`);
      if (status === 403) assert.equal(answer.headers['access-control-allow-origin'], undefined);
    }
  });

  test('calls, and errors too; a list can be changed, and survives', async (t) => {
    const { server, admin } = await shop(t, {}, { restartable: true });
    const ask = async (path, origin, options = {}) => {
      const headers = { Authorization: `Bearer ${server.adminKey}`, ...(origin ? { Origin: origin } : {}) };
      const answer = await request(server, { path, headers, ...options });
      return [answer.status, answer.headers['access-control-allow-origin'], answer.headers.vary];
    };
    const rooms = '/v1/namespaces/shop/rooms';
    assert.deepEqual(await ask(rooms, OURS), [200, OURS, 'Origin']);
    assert.deepEqual(await ask(rooms, OTHER), [200, undefined, 'Origin']);
    assert.deepEqual(await ask('/v1/namespaces/shop/messages/none', OURS), [404, OURS, 'Origin']);
    assert.deepEqual(await ask(rooms, OURS, { method: 'OPTIONS' }), [204, OURS, 'Origin']);
    assert.deepEqual(await ask('/v1/namespaces/demo/rooms', OTHER), [200, '*', undefined]);

    const patched = await admin.call('PATCH', '/v1/namespaces/shop', { origins: [OTHER] });
    assert.deepEqual(patched.json.origins, [OTHER]);
    assert.equal((await handshake(t, server, 'shop', { Origin: OTHER })).status, 101);
    assert.equal((await handshake(t, server, 'shop', { Origin: OURS })).status, 403);
    await server.restart();
    assert.deepEqual(await ask(rooms, OTHER), [200, OTHER, 'Origin']);
    await admin.call('PATCH', '/v1/namespaces/shop', { origins: null });
    assert.deepEqual(await ask(rooms, OURS), [200, '*', undefined]);
    assert.equal((await handshake(t, server, 'shop', { Origin: OURS })).status, 101);
  });
});
