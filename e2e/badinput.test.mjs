// Bad input: each piece gets a clear error (status, code, field, limit, or close code), and everything else
// goes on as if nothing had happened: a bystander keeps its connection and gets its pushes.

import assert from 'node:assert/strict';
import { cpSync, readdirSync, statSync, truncateSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Api, assertProblem, describe as describeAnswer } from './lib/api.mjs';
import { bystander } from './lib/check.mjs';
import { client, connected } from './lib/clients.mjs';
import { frame, Polling, RawSocket, RawTcp } from './lib/raw.mjs';
import { request } from './lib/request.mjs';
import { ADMIN_KEY, launch, runToExit, Server, temporaryDirectory } from './lib/server.mjs';
import { until, within } from './lib/until.mjs';

const LONG = 'd'.repeat(10_240);

let server;
let api;
before(async () => {
  server = await Server.start();
  api = new Api(server);
});
after(() => server.dispose());

describe('REST', () => {
  const push = (body, options) => api.call('POST', 'messages', body, options);
  const to = { users: ['ann'] };
  const nested = (depth) => `{"to":{"users":["ann"]},"data":${'['.repeat(depth)}${']'.repeat(depth)}}`;

  /** name → the call, and the error it must be answered with. */
  const table = {
    'an unknown field': [() => push({ to, dta: 1 }), { status: 400, code: 'invalid_request', field: 'dta' }],
    'an unknown field, nested': [() => push({ to: { user: ['ann'] }, data: 1 }), { status: 400, code: 'invalid_request', field: /(^|\.)user$/ }],
    'a field of the wrong kind': [() => push({ to: { users: 'ann' }, data: 1 }), { status: 400, code: 'invalid_request', field: /(^|\.)users$/ }],
    'no target': [() => push({ data: 1 }), { status: 400, code: 'invalid_request', field: 'to' }],
    'a target that names nobody': [() => push({ to: {}, data: 1 }), { status: 400, code: 'invalid_request', field: 'to' }],
    'a target with empty lists': [() => push({ to: { all: false, users: [], rooms: [] }, data: 1 }), { status: 400, code: 'invalid_request', field: 'to' }],
    'a platform that is none': [() => push({ to: { all: true, platforms: ['toaster'] }, data: 1 }), { status: 400, code: 'invalid_request', field: /platforms/, says: /toaster/ }],
    'no body': [() => push(undefined), { status: 400, code: 'invalid_request' }],
    'an empty body': [() => push(''), { status: 400, code: 'invalid_request' }],
    'a body that is no JSON': [() => push('{"to":'), { status: 400, code: 'invalid_request' }],
    'a body that is no object': [() => push('[]'), { status: 400, code: 'invalid_request' }],
    'text after the JSON': [() => push(`${JSON.stringify({ to, data: 1 })} x`), { status: 400, code: 'invalid_request' }],
    'a body that is not UTF-8': [
      () => push(Buffer.concat([Buffer.from('{"to":{"users":["ann"]},"data":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')])),
      { status: 400, code: 'invalid_request', says: /utf-?8/i },
    ],
    'half a surrogate pair as bytes': [
      () => push(Buffer.concat([Buffer.from('{"to":{"users":["ann"]},"data":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"}')])),
      { status: 400, code: 'invalid_request', says: /utf-?8/i },
    ],
    'data over 64 KiB': [() => push({ to, data: 'x'.repeat(65_536) }), { status: 413, code: 'payload_too_large', says: /64 ?KiB|65[ _,]?536/ }],
    'a body of 20 MB': [() => push({ to, data: 'x'.repeat(20_000_000) }), { status: 413, code: 'payload_too_large' }],
    'data nested ten thousand deep': [() => push(nested(10_000)), { status: 400, code: 'invalid_request', field: 'data' }],
    'a device id of 10 kB': [() => push({ to: { devices: [LONG] }, data: 1 }), { status: 400, code: 'invalid_request', field: /devices/, says: /255/ }],
    'a user with a control character': [() => push({ to: { users: ['a\nb'] }, data: 1 }), { status: 400, code: 'invalid_request', field: /users/ }],
    'an empty room': [() => push({ to: { rooms: [''] }, data: 1 }), { status: 400, code: 'invalid_request', field: /rooms/ }],
    'an id of 256 bytes': [() => push({ to, data: 1, id: 'x'.repeat(256) }), { status: 400, code: 'invalid_request', field: 'id', says: /255/ }],
    'a duration that is none': [() => push({ to, data: 1, ttl: 'soon' }), { status: 400, code: 'invalid_request', field: 'ttl', says: /soon/ }],
    'a negative duration': [() => push({ to, data: 1, ttl: '-5s' }), { status: 400, code: 'invalid_request', field: 'ttl' }],
    'a priority that is none': [() => push({ to, data: 1, priority: 'urgent' }), { status: 400, code: 'invalid_request', field: 'priority' }],
    'a namespace that does not exist': [() => api.call('POST', '/v1/namespaces/nowhere/messages', { to, data: 1 }), { status: 404, code: 'not_found', says: /nowhere/ }],
    'a report in a namespace that does not exist': [() => api.call('GET', '/v1/namespaces/nowhere/messages/x/report'), { status: 404, code: 'not_found' }],
    'a message that does not exist': [() => api.call('GET', 'messages/no-such-message'), { status: 404, code: 'not_found' }],
    'the report of a message that does not exist': [() => api.call('GET', 'messages/no-such-message/report'), { status: 404, code: 'not_found' }],
    'receipts in a state that is none': [
      async () => api.call('GET', `messages/${(await api.push({ to, data: 1 })).id}/receipts?state=lost`),
      { status: 400, code: 'invalid_request', field: 'state' },
    ],
    'a page of minus one': [
      async () => api.call('GET', `messages/${(await api.push({ to, data: 1 })).id}/receipts?limit=-1`),
      { status: 400, code: 'invalid_request', field: 'limit' },
    ],
    'a path that does not exist': [() => api.call('GET', '/v1/no-such-thing'), { status: 404, code: 'not_found' }],
    'no key': [() => push({ to, data: 1 }, { key: null }), { status: 401, code: 'unauthorized' }],
    'a wrong key': [() => push({ to, data: 1 }, { key: 'wrong' }), { status: 401, code: 'unauthorized' }],
    'a key with bytes that are no text': [() => push({ to, data: 1 }, { key: null, headers: { authorization: 'Bearer \u00ff\u00fe' } }), { status: 401, code: 'unauthorized' }],
    'Basic credentials that are no base64': [() => push({ to, data: 1 }, { key: null, headers: { authorization: 'Basic %%%' } }), { status: 401, code: 'unauthorized' }],
    'acks with an unknown field': [() => api.call('POST', 'acks?device=d-1', { idz: ['x'] }, { key: null }), { status: 400, code: 'invalid_request', field: 'idz' }],
    'acks of a device id of 10 kB': [() => api.call('POST', `acks?device=${LONG}`, { ids: ['x'] }, { key: null }), { status: 400, code: 'invalid_request', field: 'device', says: /255/ }],
    'a stream for a device id of 10 kB': [() => api.call('GET', `sse?device=${LONG}`, undefined, { key: null }), { status: 400, code: 'invalid_request', field: 'device', says: /255/ }],
    'a stream in a namespace that does not exist': [() => api.call('GET', '/v1/namespaces/nowhere/sse?device=d', undefined, { key: null }), { status: 404, code: 'not_found' }],
  };
  for (const event of ['connect', 'connect_error', 'disconnect', 'disconnecting', 'error', 'reconnect_attempt', 'ping', 'pong', 'newListener', 'removeListener']) {
    table[`the reserved event ${event}`] = [() => push({ to, data: 1, event }), { status: 400, code: 'invalid_request', field: 'event' }];
  }
  for (const [name, [call, expected]] of Object.entries(table)) {
    test(name, async (t) => {
      const witness = await bystander(t, server);
      assertProblem(await call(), expected);
      await witness.check();
    });
  }

  test('a method that a path does not have', async () => {
    assertProblem(await api.call('PUT', 'messages', {}), { status: 405, code: 'method_not_allowed' });
  });

  test('data of exactly 64 KiB, and data nested ninety deep, is no bad input', async (t) => {
    const ann = await connected(t, server, 'sio4-ws', { user: 'large', device: 'large-1' });
    const data = 'x'.repeat(65_534);
    await api.push({ to: { users: ['large'] }, data });
    await api.push(nested(90).replace('ann', 'large'));
    await ann.waitFor(2);
    assert.equal(ann.received[0].data, data);
  });

  test('a body that never ends is cut off', async (t) => {
    const witness = await bystander(t, server);
    let sent = 0;
    const chunk = new Uint8Array(65_536).fill(120);
    const endless = new ReadableStream({
      pull(controller) {
        if (sent >= 1_000_000_000) controller.close();
        else controller.enqueue(chunk);
        sent += chunk.length;
      },
    });
    const answer = await push(endless).catch(() => undefined);
    if (answer) assertProblem(answer, { status: 413, code: 'payload_too_large' });
    assert.ok(sent < 1_000_000_000, `the server read ${sent} bytes`);
    await witness.check();
  });
});

describe('clients', () => {
  test('a device id of 10 kB is refused, with its name and the limit', async (t) => {
    const witness = await bystander(t, server, { kind: 'sio4-ws' });
    for (const kind of ['sio4-ws', 'sio4-polling', 'sio3-ws', 'sio2-ws']) {
      const each = client(server, kind, { user: 'ann', device: LONG });
      t.after(() => each.close());
      const error = await each.connect().then(() => assert.fail(`${kind} was accepted`), (refused) => refused);
      assert.ok(error.refusal, `${kind}: ${error.stack}`);
      const text = JSON.stringify([error.message, error.refusal?.data, error.refusal]);
      assert.match(text, /device/, kind);
      assert.match(text, /255/, kind);
    }
    const socket = await RawSocket.open(`${server.wsUrl}/v1/namespaces/demo/connect`);
    t.after(() => socket.close());
    socket.send(JSON.stringify({ id: 1, cmd: 'connect', device: LONG }));
    const answer = JSON.parse(await socket.next());
    assert.equal(answer.id, 1);
    assert.match(answer.error.message, /device/);
    assert.match(answer.error.message, /255/);
    assert.equal((await socket.waitClosed()).code, 3501);
    await witness.check();
  });

  test('a namespace that does not exist: 404 before the upgrade', async () => {
    for (const name of ['nowhere', 'NOT-ONE', '%00', '..%2f..']) {
      const refused = await RawSocket.open(`${server.wsUrl}/v1/namespaces/${name}/connect`).then(() => assert.fail(`${name} was accepted`), (error) => error);
      assert.equal(refused.status, 404, refused.stack);
      assert.match(refused.headers['content-type'], /^application\/problem\+json/);
      assert.equal(JSON.parse(refused.body).code, 'not_found');
    }
  });

  test('a handshake of a version that nobody speaks any more: 426, in the body too', async () => {
    const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '8', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' };
    const answer = await request(server, { path: '/v1/namespaces/demo/connect', headers });
    assert.equal(answer.status, 426);
    assert.deepEqual([answer.headers.upgrade, answer.headers['sec-websocket-version']], ['websocket', '13']);
    assert.equal(JSON.parse(answer.text).status, 426);
  });

  test('a handshake with a body is none, and names of protocols are compared as they are', async () => {
    const path = '/v1/namespaces/demo/connect';
    const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' };
    for (const more of [{ 'Content-Length': '5' }, { 'Transfer-Encoding': 'chunked' }]) {
      const answer = await request(server, { path, headers: { ...headers, ...more }, body: 'hello' });
      assert.equal(answer.status, 400, answer.text);
      assert.equal(JSON.parse(answer.text).detail, 'a WebSocket handshake has no body');
    }
    for (const [offer, agreed] of [['tidings.v1', 'tidings.v1'], ['other, tidings.v1', 'tidings.v1'], ['TIDINGS.V1', undefined]]) {
      const call = http.request({ host: '127.0.0.1', port: server.port, path, agent: false, headers: { ...headers, 'Sec-WebSocket-Protocol': offer } });
      const [answer, socket] = await within('101', new Promise((resolve, reject) => call.on('error', reject).on('upgrade', (...args) => resolve(args)).end()));
      assert.equal(answer.headers['sec-websocket-protocol'], agreed, offer);
      socket.destroy();
    }
    const posted = await request(server, { method: 'POST', path });
    assert.deepEqual([posted.status, posted.headers.allow, JSON.parse(posted.text).code], [405, 'GET', 'method_not_allowed']);
  });

  test('a plain request where an upgrade belongs', async () => {
    const answer = await api.call('GET', 'connect', undefined, { key: null });
    assert.ok([400, 426].includes(answer.status), describeAnswer(answer));
    assert.match(answer.type, /^application\/problem\+json/, describeAnswer(answer));
  });
});

/** Both protocols over WebSocket, as raw bytes: where it lives, what to say first, a command and its answer. */
const SOCKETS = {
  'plain WebSocket': {
    path: '/v1/namespaces/demo/connect',
    hello: (device) => [`{"id":1,"cmd":"connect","device":"${device}","user":"${device}"}`],
    welcome: /^\{"id":1,"ok":/,
    command: '{"id":2,"cmd":"join","rooms":["räum"]}',
    answer: /^\{"id":2,"ok":/,
  },
  'Socket.IO 5': {
    path: '/socket.io/?EIO=4&transport=websocket',
    hello: (device) => [`40/demo,{"device":"${device}","user":"${device}"}`],
    welcome: /^42\/demo,\["ready"/,
    command: '42/demo,2["join",["räum"]]',
    answer: /^43\/demo,2\[\{"ok":true/,
  },
  'Socket.IO 4': {
    path: '/socket.io/?EIO=3&transport=websocket&device=raw-4&user=raw-4',
    hello: (device) => [`40/demo?device=${device}&user=${device}`],
    welcome: /^42\/demo,\["ready"/,
    command: '42/demo,2["join",["räum"]]',
    answer: /^43\/demo,2\[\{"ok":true/,
  },
};

for (const [protocol, { path: where, hello, welcome, command, answer }] of Object.entries(SOCKETS)) {
  describe(`frames: ${protocol}`, () => {
    async function open(t) {
      const raw = await RawTcp.open(server, where);
      t.after(() => raw.close());
      for (const text of hello(`raw-${Math.random().toString(36).slice(2)}`)) await raw.write(frame(1, text));
      await nextLike(raw, welcome);
      return raw;
    }
    async function nextLike(raw, pattern) {
      for (;;) {
        const text = await raw.nextText(String(pattern));
        if (pattern.test(text)) return text;
      }
    }

    test('split byte by byte works', async (t) => {
      const raw = await open(t);
      for (const byte of frame(1, command)) await raw.write(Buffer.from([byte]));
      await nextLike(raw, answer);
    });

    test('two frames in one segment work', async (t) => {
      const raw = await open(t);
      await raw.write(Buffer.concat([frame(9, 'are you there?'), frame(1, command)]));
      const pong = await raw.next('a pong');
      assert.deepEqual([pong.opcode, pong.data.toString()], [10, 'are you there?']);
      await nextLike(raw, answer);
    });

    test('a message in fragments works, with a ping between them, and UTF-8 cut in the middle of a character', async (t) => {
      const raw = await open(t);
      const bytes = Buffer.from(command);
      const cut = bytes.indexOf(0xc3) + 1;
      await raw.write(frame(1, bytes.subarray(0, 3), { fin: false }));
      await raw.write(frame(0, bytes.subarray(3, cut), { fin: false }));
      await raw.write(frame(9, 'hm'));
      const pong = await raw.next('a pong');
      assert.deepEqual([pong.opcode, pong.data.toString()], [10, 'hm']);
      await raw.write(frame(0, '', { fin: false }));
      await raw.write(frame(0, bytes.subarray(cut)));
      await nextLike(raw, answer);
    });

    const pieces = {
      'text that is not UTF-8': [1007, () => [frame(1, Buffer.from([0x34, 0xff, 0xfe]))]],
      'text that ends inside a character': [1007, () => [frame(1, Buffer.from([0x34, 0xe2, 0x82]))]],
      'a surrogate as UTF-8': [1007, () => [frame(1, Buffer.from([0x34, 0xed, 0xa0, 0x80]))]],
      'fragments that are no UTF-8 together': [1007, () => [frame(1, Buffer.from([0x34, 0xe2]), { fin: false }), frame(0, Buffer.from([0x28, 0xa1]))]],
      'a frame that announces more than is allowed': [1009, () => [frame(1, 'x', { announce: 64 * 1024 * 1024 })]],
      'a frame that announces 2^63': [/^(1002|1009)$/, () => [frame(1, 'x', { announce: 2 ** 63 })]],
      'fragments that together are more than is allowed': [1009, function* () {
        yield frame(1, 'x'.repeat(60_000), { fin: false });
        for (let n = 0; n < 200; n += 1) yield frame(0, 'x'.repeat(60_000), { fin: false });
      }],
      'a frame that is not masked': [1002, () => [frame(1, command, { masked: false })]],
      'a reserved bit': [1002, () => [frame(1, command, { rsv: 4 })]],
      'an opcode that does not exist': [1002, () => [frame(3, command)]],
      'a continuation of nothing': [1002, () => [frame(0, command)]],
      'a new message inside another': [1002, () => [frame(1, 'a', { fin: false }), frame(1, 'b')]],
      'a ping in fragments': [1002, () => [frame(9, 'a', { fin: false })]],
      'a ping of 126 bytes': [1002, () => [frame(9, 'x'.repeat(126))]],
      'a close frame of one byte': [1002, () => [frame(8, 'x')]],
      'a close code that nobody may send': [1002, () => [frame(8, Buffer.from([0x03, 0xed]))]],
      'a close reason that is not UTF-8': [1007, () => [frame(8, Buffer.from([0x03, 0xe8, 0xff]))]],
    };
    for (const [name, [code, frames]] of Object.entries(pieces)) {
      test(`${name} closes with ${code} and nothing else`, async (t) => {
        const witness = await bystander(t, server);
        const raw = await open(t);
        for (const bytes of frames()) {
          if (raw.ended) break;
          await raw.write(bytes);
        }
        const closed = await raw.closeCode(name);
        if (code instanceof RegExp) assert.match(String(closed), code);
        else assert.equal(closed, code);
        await witness.check();
      });
    }

    test('a close is answered with its code', async (t) => {
      const raw = await open(t);
      await raw.write(frame(8, Buffer.from([0x03, 0xe8])));
      assert.equal(await raw.closeCode('the answer to a close'), 1000);
    });

    test('a connection that is cut in the middle of a frame is simply gone', async (t) => {
      const witness = await bystander(t, server);
      const raw = await open(t);
      await raw.write(frame(1, command).subarray(0, 9));
      raw.socket.resetAndDestroy();
      await witness.check();
    });
  });
}

describe('starting', () => {
  test('a data directory in use: a clear refusal, and the first server goes on', async (t) => {
    const witness = await bystander(t, server);
    const second = await runToExit(['serve', '--dev', '--listen', '127.0.0.1:0', '--store', server.store]);
    assert.ok(second.code > 0, `ended with ${second.code} ${second.signal}\n${second.output}`);
    assert.match(second.output, /in use/i);
    assert.ok(second.output.includes(server.store), `names the directory: ${second.output}`);
    assert.doesNotMatch(second.output, /panicked|RUST_BACKTRACE/);
    await witness.check();
  });

  test('a port in use: a clear refusal, and the first server goes on', async (t) => {
    const witness = await bystander(t, server);
    const store = path.join(temporaryDirectory('port'), 'data');
    const second = await runToExit(['serve', '--dev', '--listen', `127.0.0.1:${server.port}`, '--store', store]);
    assert.ok(second.code > 0, `ended with ${second.code} ${second.signal}\n${second.output}`);
    assert.match(second.output, /in use/i);
    assert.ok(second.output.includes(`127.0.0.1:${server.port}`), `names the address: ${second.output}`);
    assert.doesNotMatch(second.output, /panicked|RUST_BACKTRACE/);
    await witness.check();
  });

  for (const [name, args, says] of [
    ['a flag that does not exist', ['--colour', 'red'], /--colour/],
    ['an address that is none', ['--listen', 'here'], /here/],
    ['a duration that is none', ['--ping-interval', 'often'], /often/],
    ['a store that is a file', ['--store', '/dev/null/x'], /\/dev\/null\/x/],
  ]) {
    test(`${name} is refused by name`, async () => {
      const store = path.join(temporaryDirectory('flags'), 'data');
      const base = ['serve', '--dev', ...(args.includes('--listen') ? [] : ['--listen', '127.0.0.1:0']), ...(args.includes('--store') ? [] : ['--store', store])];
      const run = await runToExit([...base, ...args]);
      assert.ok(run.code > 0, `ended with ${run.code} ${run.signal}\n${run.output}`);
      assert.match(run.output, says);
      assert.doesNotMatch(run.output, /panicked|RUST_BACKTRACE/);
    });
  }

  test('an unknown key in the environment is refused by name', async () => {
    const store = path.join(temporaryDirectory('env'), 'data');
    const run = await runToExit(['serve', '--dev', '--listen', '127.0.0.1:0', '--store', store], { env: { TIDINGS_SERVER__LISTNE: 'x' } });
    assert.ok(run.code > 0, `ended with ${run.code} ${run.signal}\n${run.output}`);
    assert.match(run.output, /listne/i);
  });
});

function filesOf(directory) {
  return readdirSync(directory, { recursive: true })
    .map((name) => path.join(directory, name))
    .filter((file) => statSync(file).isFile() && statSync(file).size > 0);
}

test('a truncated store file: told so or whole, never a panic, a hang or a silent loss', async (t) => {
  const first = await Server.start(t);
  const pushes = [];
  {
    const filled = new Api(first);
    const ann = await connected(t, first, 'ws', { user: 'ann', device: 'ann-1', rooms: ['lobby'] });
    for (let n = 0; n < 200; n += 1) pushes.push((await filled.push({ to: { rooms: ['lobby'] }, data: { n, text: 'x'.repeat(500) } })).id);
    await ann.waitFor(pushes.length);
    await ann.close();
  }
  await first.stop();
  const files = filesOf(first.store).sort((a, b) => statSync(b).size - statSync(a).size).slice(0, 12);
  assert.ok(files.length > 0, `the store in ${first.store} has files`);

  const outcomes = [];
  for (const file of files) {
    const name = path.relative(first.store, file);
    for (const keep of [Math.floor(statSync(file).size / 2), 7].filter((bytes) => bytes < statSync(file).size)) {
      const copy = path.join(temporaryDirectory('truncated'), 'data');
      cpSync(first.store, copy, { recursive: true });
      truncateSync(path.join(copy, name), keep);
      const server = new Server({ store: copy, adminKey: first.adminKey });
      t.after(() => server.kill9());
      const refusal = await server.start({ ms: 15_000 }).then(() => undefined, (error) => error);
      assert.doesNotMatch(server.output, /panicked|RUST_BACKTRACE/, `${name} cut to ${keep} bytes\n${server.tail()}`);
      const told = /damag|corrupt|truncat|torn|incomplete|checksum|recover|repair/i;
      if (refusal) {
        assert.doesNotMatch(refusal.message, /still not/, `${name} cut to ${keep} bytes: neither ready nor ended\n${refusal.message}`);
        assert.match(server.output, told, `${name} cut to ${keep} bytes: says what is wrong`);
        assert.ok(server.output.includes(copy), `${name} cut to ${keep} bytes: names the directory\n${server.tail()}`);
        outcomes.push(`${name} cut to ${keep}: refused`);
      } else {
        const damaged = new Api(server);
        let missing = 0;
        for (const id of pushes) if ((await damaged.call('GET', `messages/${id}`)).status !== 200) missing += 1;
        if (missing) await until(() => `${name} cut to ${keep} bytes: ${missing} of ${pushes.length} messages are gone and somebody is told\n${server.tail()}`, () => told.test(server.output));
        const { id } = await damaged.push({ to: { all: true }, data: 'works' });
        assert.equal((await damaged.message(id)).data, 'works');
        outcomes.push(`${name} cut to ${keep}: starts, ${missing} messages missing`);
      }
      await server.kill9();
    }
  }
  t.diagnostic(outcomes.join('\n'));

  // The original is as it was.
  await first.start();
  const whole = new Api(first);
  for (const id of pushes) await whole.message(id);
});

test('a server that is killed while it starts leaves a store that starts', async (t) => {
  const store = path.join(temporaryDirectory('start'), 'data');
  let adminKey;
  for (let n = 0; n < 10; n += 1) {
    const run = launch(['serve', '--dev', '--listen', '127.0.0.1:0', '--store', store]);
    t.after(() => run.child.kill('SIGKILL'));
    if (n) await until('the first file is there', () => filesOf(store).length > 0 || run.exit, { every: 1 });
    run.child.kill('SIGKILL');
    await run.done;
    adminKey ??= ADMIN_KEY.exec(run.stdout)?.[1];
  }
  // A key that is kept has been shown: by one of those that were killed, or by this one.
  const last = await Server.start(t, { store, adminKey });
  await new Api(last).push({ to: { all: true }, data: 'works' });
});

describe('bodies of one polling session', () => {
  /** Begins a POST of `length` bytes and sends all but the last. */
  function begin(polling, length) {
    const socket = net.connect(server.port, '127.0.0.1');
    const answer = { text: '' };
    socket.setEncoding('utf8').on('data', (text) => (answer.text += text)).on('error', () => {});
    socket.write(`POST ${polling.base} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: ${length}\r\n\r\n${'3'.padEnd(length - 1)}`);
    return Object.assign(answer, { socket });
  }

  test('a second one is refused before its body is read, and ends the session', async (t) => {
    const polling = await Polling.open(server);
    const first = begin(polling, 900_000);
    t.after(() => first.socket.destroy());
    // Whichever of two requests comes first, the shard sees both before either body is there.
    const second = begin(polling, 900_000);
    t.after(() => second.socket.destroy());
    await until('one of them is refused', () => [first, second].some((one) => /^HTTP\/1\.1 400 /.test(one.text)));
    assert.equal((await polling.get()).status, 400);
  });
});
