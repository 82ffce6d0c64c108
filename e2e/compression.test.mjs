// permessage-deflate (RFC 7692) with clients that others wrote: who asks for it gets compressed frames,
// whoever does not gets plain ones, and both get the same message.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { io } from 'socket.io-client-4';
import WebSocket from 'ws';

import { Api } from './lib/api.mjs';
import { frame, RawTcp } from './lib/raw.mjs';
import { Server } from './lib/server.mjs';
import { until, within } from './lib/until.mjs';

let server;
let api;
before(async () => {
  server = await Server.start();
  api = new Api(server);
});
after(() => server.dispose());

const LARGE = 'compressible '.repeat(2_000);

/** A JSON client, connected as `user`, that counts the bytes which reach it. */
async function connect(t, user, perMessageDeflate) {
  const ws = new WebSocket(`${server.wsUrl}/v1/namespaces/demo/connect`, { perMessageDeflate });
  t.after(() => ws.terminate());
  const frames = [];
  ws.on('message', (bytes) => frames.push(JSON.parse(bytes.toString())));
  await within('the socket opens', new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject)));
  ws.send(JSON.stringify({ id: 1, cmd: 'connect', user, device: `${user}-1` }));
  await until('connected', () => frames.some((one) => one.ok));
  const before = ws._socket.bytesRead;
  return {
    extensions: ws.extensions,
    async pushed() {
      await until('the push', () => frames.some((one) => one.push));
      return { data: frames.find((one) => one.push).push.data, bytes: ws._socket.bytesRead - before };
    },
  };
}

test('each client gets the message as it asked for it', async (t) => {
  const clients = {
    plain: await connect(t, 'ann', false),
    full: await connect(t, 'bob', { threshold: 0 }),
    small: await connect(t, 'cid', { threshold: 0, serverMaxWindowBits: 10 }),
    takeover: await connect(t, 'dan', { threshold: 0, clientMaxWindowBits: 9, clientNoContextTakeover: true }),
  };
  assert.equal(clients.plain.extensions, '');
  assert.match(clients.full.extensions, /permessage-deflate/);
  await api.push({ to: { users: ['ann', 'bob', 'cid', 'dan'] }, event: 'e', data: { text: LARGE } });
  for (const [name, client] of Object.entries(clients)) {
    const { data, bytes } = await client.pushed();
    assert.equal(data.text, LARGE, name);
    if (name === 'plain') assert.ok(bytes > LARGE.length, `${name}: ${bytes}`);
    else assert.ok(bytes < LARGE.length / 10, `${name}: ${bytes}`);
  }
});

test('Socket.IO, from polling on', async (t) => {
  const client = io(`${server.url}/demo`, { forceNew: true, auth: { user: 'eve', device: 'eve-1' }, perMessageDeflate: { threshold: 0 } });
  t.after(() => client.close());
  await within('upgraded', new Promise((resolve) => client.io.engine.once('upgrade', resolve)), 5_000);
  await until('connected', () => client.connected);
  // Answered on the new transport: the server has moved, too.
  await client.timeout(5_000).emitWithAck('join', ['somewhere']);
  const got = new Promise((resolve) => client.once('e', resolve));
  const before = client.io.engine.transport.ws._socket.bytesRead;
  await api.push({ to: { users: ['eve'] }, event: 'e', data: { text: LARGE } });
  assert.equal((await within('the push', got)).data.text, LARGE);
  const { ws } = client.io.engine.transport;
  assert.match(ws.extensions, /permessage-deflate/);
  const bytes = ws._socket.bytesRead - before;
  assert.ok(bytes < LARGE.length / 10, `${bytes} bytes`);
});

describe('the compressed bit where it must not be ends the connection', () => {
  for (const [what, bytes, path] of [
    ['nothing was agreed on', frame(1, 'x', { rsv: 4 })],
    ['another bit', frame(1, 'x', { rsv: 2 })],
    ['on a ping', frame(9, 'x', { rsv: 4 })],
  ]) {
    test(what, async () => {
      const socket = await RawTcp.open(server, path ?? '/v1/namespaces/demo/connect');
      await socket.write(bytes);
      assert.equal(await socket.closeCode(what), 1002);
    });
  }
});

test('a bomb ends at the limit', async (t) => {
  const ws = new WebSocket(`${server.wsUrl}/v1/namespaces/demo/connect`, { perMessageDeflate: { threshold: 0 } });
  t.after(() => ws.terminate());
  await within('the socket opens', new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject)));
  const closed = new Promise((resolve) => ws.once('close', resolve));
  ws.send('0'.repeat(20_000_000));
  assert.equal(await within('it is closed', closed), 1009);
});
