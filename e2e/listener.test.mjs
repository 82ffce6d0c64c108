// What the server listens on: TLS and Unix sockets.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import path from 'node:path';
import { describe, test } from 'node:test';
import tls from 'node:tls';

import { io } from 'socket.io-client-4';

import { RawSocket } from './lib/raw.mjs';
import { metric, request } from './lib/request.mjs';
import { runToExit, Server, temporaryDirectory } from './lib/server.mjs';
import { until, within } from './lib/until.mjs';

/** A certificate of its own for 127.0.0.1, with its key. */
function certificate(name = 'one') {
  const directory = temporaryDirectory(`tls-${name}`);
  const [cert, key] = ['cert.pem', 'key.pem'].map((file) => path.join(directory, file));
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', `/CN=${name}`]
      .concat(['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]),
    { stdio: 'ignore' },
  );
  return { cert, key };
}

const environment = ({ cert, key }, more = {}) => ({ TIDINGS_SERVER__TLS__CERT: cert, TIDINGS_SERVER__TLS__KEY: key, ...more });

async function startTls(t, files, more) {
  const ca = readFileSync(files.cert);
  const probe = async (server) => (await request(server, { path: '/readyz', ca })).status === 200;
  const server = await Server.start(t, { env: environment(files, more), probe });
  return Object.assign(server, { ca });
}

/** Who answers a handshake, and what was agreed on. */
function shake(server, options = {}) {
  const socket = tls.connect({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false, ...options });
  return within(
    'the TLS handshake',
    new Promise((resolve, reject) => {
      socket.on('error', reject);
      socket.on('secureConnect', () => {
        resolve({ name: socket.getPeerCertificate().subject?.CN, protocol: socket.alpnProtocol, version: socket.getProtocol() });
        socket.destroy();
      });
    }),
  );
}

async function pushTo(target, server, device, options) {
  const answer = await request(target, {
    method: 'POST',
    path: '/v1/namespaces/demo/messages',
    headers: { authorization: `Bearer ${server.adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ to: { devices: [device] }, data: { hello: device } }),
    ...options,
  });
  assert.equal(answer.status, 202, answer.text);
}

describe('TLS', () => {
  test('every protocol works behind it', async (t) => {
    const server = await startTls(t, certificate());
    assert.match(server.output, /listening on https:\/\//);
    const { ca } = server;
    const base = `127.0.0.1:${server.port}`;
    const ws = await RawSocket.open(`wss://${base}/v1/namespaces/demo/connect`, { ca });
    t.after(() => ws.close());
    ws.send(JSON.stringify({ id: 1, cmd: 'connect', device: 'ws' }));
    assert.ok(JSON.parse(await ws.next('an answer to connect')).ok);
    await pushTo(server, server, 'ws', { ca });
    assert.deepEqual(JSON.parse(await ws.next('a push')).push.data, { hello: 'ws' });

    for (const transports of [['websocket'], ['polling', 'websocket'], ['polling']]) {
      const device = `sio-${transports.join('-')}`;
      const socket = io(`https://${base}/demo`, { transports, ca, auth: { device }, reconnection: false, forceNew: true });
      t.after(() => socket.close());
      await within(`${device} is ready`, new Promise((resolve, reject) => socket.on('ready', resolve).on('connect_error', reject)));
      const pushed = new Promise((resolve) => socket.on('push', (message, ack) => (ack(), resolve(message))));
      await pushTo(server, server, device, { ca });
      assert.deepEqual((await within(`a push for ${device}`, pushed)).data, { hello: device });
    }

    const session = http2.connect(`https://${base}`, { ca });
    t.after(() => session.destroy());
    const stream = session.request({ ':path': '/v1/namespaces/demo/sse?device=h2' });
    let text = '';
    stream.setEncoding('utf8').on('data', (chunk) => (text += chunk));
    await until('the stream is ready', () => text.includes('event: ready'));
    await pushTo(server, server, 'h2', { ca });
    await until('the message comes', () => text.includes('"data":{"hello":"h2"}'));
    assert.equal(session.alpnProtocol, 'h2');
  });

  test('versions and protocols are agreed on', async (t) => {
    const server = await startTls(t, certificate());
    assert.deepEqual(await shake(server, { ALPNProtocols: ['h2', 'http/1.1'] }), { name: 'one', protocol: 'h2', version: 'TLSv1.3' });
    assert.deepEqual(await shake(server, { ALPNProtocols: ['http/1.1'], maxVersion: 'TLSv1.2' }), { name: 'one', protocol: 'http/1.1', version: 'TLSv1.2' });
    await assert.rejects(shake(server, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
    assert.ok((await metric(server, 'tidings_listener_cut_total{reason="tls"}', { ca: server.ca })) >= 1);
  });

  test('who does not speak it is told so, and who is slow is cut off', async (t) => {
    const server = await startTls(t, certificate(), { TIDINGS_LIMITS__FIRST_REQUEST_TIMEOUT: '500ms' });
    const plain = await request(server, { path: '/healthz' });
    assert.deepEqual([plain.status, plain.text], [400, 'This port speaks TLS: use https:// or wss:// here']);
    for (const bytes of ['', '\x16\x03\x01']) {
      const socket = net.connect(server.port, '127.0.0.1');
      t.after(() => socket.destroy());
      let ended = false;
      socket.on('error', () => {}).on('close', () => (ended = true)).resume();
      socket.write(bytes);
      await until(`${JSON.stringify(bytes)} is cut off`, () => ended);
    }
    const { ca } = server;
    assert.equal(await metric(server, 'tidings_listener_cut_total{reason="no_tls"}', { ca }), 1);
    assert.equal(await metric(server, 'tidings_listener_cut_total{reason="silent"}', { ca }), 2);
  });

  test('a PROXY header comes before it', async (t) => {
    const files = certificate();
    const ca = readFileSync(files.cert);
    const more = { TIDINGS_SERVER__PROXY_PROTOCOL: 'required', TIDINGS_SERVER__PROXY_PROTOCOL_FROM: '127.0.0.1', TIDINGS_LIMITS__CONNECTIONS_PER_ADDRESS: '1' };
    const server = await Server.start(t, { env: environment(files, more), probe: async () => true });
    const ask = async (client) => {
      const plain = net.connect(server.port, '127.0.0.1');
      t.after(() => plain.destroy());
      plain.write(`PROXY TCP4 ${client} 127.0.0.1 1 2\r\n`);
      const socket = tls.connect({ socket: plain, ca, host: '127.0.0.1', checkServerIdentity: () => undefined });
      let said = '';
      socket.on('data', (chunk) => (said += chunk)).on('error', () => {});
      socket.write('GET /v1/namespaces/demo/connect HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
      await until('an answer', () => said.includes('\r\n\r\n'));
      return said.slice(9, 12);
    };
    assert.deepEqual([await ask('192.0.2.1'), await ask('192.0.2.1'), await ask('192.0.2.2')], ['101', '429', '101']);
  });

  test('a new certificate is shown after SIGHUP or by itself, a bad one never', async (t) => {
    const files = certificate();
    const server = await startTls(t, files);
    const old = await RawSocket.open(`wss://127.0.0.1:${server.port}/v1/namespaces/demo/connect`, { ca: server.ca });
    t.after(() => old.close());
    writeFileSync(files.key, 'rubbish');
    process.kill(server.pid, 'SIGHUP');
    await until('the log says what is wrong', () => /key\.pem has no key/.test(server.output));
    assert.equal((await shake(server)).name, 'one');
    const two = certificate('two');
    copyFileSync(two.key, files.key);
    copyFileSync(two.cert, files.cert);
    process.kill(server.pid, 'SIGHUP');
    await until('the new one is shown', async () => (await shake(server)).name === 'two');
    old.send(JSON.stringify({ id: 1, cmd: 'connect', device: 'old' }));
    assert.ok(JSON.parse(await old.next('connections stay')).ok);

    const watched = certificate('watched');
    const watching = await startTls(t, watched, { TIDINGS_SERVER__TLS__CHECK_INTERVAL: '100ms' });
    const three = certificate('three');
    copyFileSync(three.key, watched.key);
    copyFileSync(three.cert, watched.cert);
    await until('the files are looked after', async () => (await shake(watching)).name === 'three');
  });

  test('wrong files are an error at the start', async () => {
    const [one, two] = [certificate(), certificate('two')];
    for (const [files, says] of [
      [{ cert: one.cert, key: two.key }, /no TLS: .*key\.pem is not the key of the certificate in .*cert\.pem/],
      [{ cert: '/nowhere/cert.pem', key: one.key }, /no TLS: \/nowhere\/cert\.pem cannot be read/],
      [{ cert: one.key, key: one.key }, /key\.pem has no certificate/],
      [{ cert: one.cert, key: '' }, /server\.tls\.cert .*needs server\.tls\.key/],
    ]) {
      const store = path.join(temporaryDirectory('store'), 'data');
      const { code, output } = await runToExit(['serve', '--listen', '127.0.0.1:0', '--store', store], { env: environment(files) });
      assert.equal(code, 1, output);
      assert.match(output, says);
    }
  });
});

describe('a Unix socket', () => {
  const probe = async (server) => (await request(server.listen.slice(5), { path: '/readyz' })).status === 200;

  test('serves every protocol, is taken over from the dead, and goes with the server', async (t) => {
    const file = path.join(temporaryDirectory('unix'), 't.sock');
    const env = { TIDINGS_SERVER__UNIX_MODE: '0600', TIDINGS_SERVER__TRUSTED_PROXIES: 'unix', TIDINGS_LIMITS__CONNECTIONS_PER_ADDRESS: '1' };
    const server = await Server.start(t, { listen: `unix:${file}`, probe, env });
    await server.says(new RegExp(`listening on unix:${file}`));
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const open = (address) => RawSocket.open(`ws+unix:${file}:/v1/namespaces/demo/connect`, address ? { headers: { 'X-Forwarded-For': address } } : {});
    const ws = await open('192.0.2.1');
    t.after(() => ws.close());
    ws.send(JSON.stringify({ id: 1, cmd: 'connect', device: 'ws' }));
    assert.ok(JSON.parse(await ws.next('an answer to connect')).ok);
    await pushTo(file, server, 'ws');
    assert.deepEqual(JSON.parse(await ws.next('a push')).push.data, { hello: 'ws' });
    await assert.rejects(open('192.0.2.1'), { status: 429 }, 'the proxy says who it is');
    for (const address of ['192.0.2.2', undefined, undefined]) {
      const other = await open(address);
      t.after(() => other.close());
    }
    const sse = await request(file, { path: '/v1/namespaces/demo/sse?device=s', stream: true, headers: { 'X-Forwarded-For': '192.0.2.3' } });
    sse.close();
    assert.equal(sse.status, 200);

    const store = path.join(temporaryDirectory('store'), 'data');
    const second = await runToExit(['serve', '--listen', `unix:${file}`, '--store', store]);
    assert.equal(second.code, 1);
    assert.match(second.output, /is taken by another process/);
    await server.kill9();
    assert.ok(existsSync(file), 'nobody was there to remove it');
    await server.start();
    await pushTo(file, server, 'ws');
    await server.stop();
    assert.ok(!existsSync(file));
  });

  test('carries PROXY headers', async (t) => {
    const file = path.join(temporaryDirectory('unix'), 't.sock');
    const env = { TIDINGS_SERVER__PROXY_PROTOCOL: 'required', TIDINGS_SERVER__PROXY_PROTOCOL_FROM: 'unix' };
    const ask = (bytes) =>
      within(
        'an answer',
        new Promise((resolve) => {
          let said = '';
          // Whoever is refused is reset: nobody has read what it sent.
          const socket = net.connect(file).on('error', () => {}).on('close', () => resolve(said)).on('data', (chunk) => (said += chunk));
          socket.write(bytes);
        }),
      );
    const request = 'GET /healthz HTTP/1.0\r\n\r\n';
    await Server.start(t, { listen: `unix:${file}`, env, probe: async () => true });
    assert.match(await ask(`PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n${request}`), /^HTTP\/1\.0 200/);
    assert.equal(await ask(request), '');
  });
});

test('processes share a port where they are told to', async (t) => {
  const env = { TIDINGS_SERVER__REUSE_PORT: 'true' };
  const one = await Server.start(t, { env });
  const two = new Server({ env, port: one.port });
  t.after(() => two.dispose());
  two.spawn();
  await until(() => `the second one starts\n${two.tail()}`, () => /listening on /.test(two.output));
  const nodes = new Set();
  await until('both are asked', async () => {
    const { status, text } = await request(one, { path: '/v1/namespaces', headers: { authorization: `Bearer ${one.adminKey}` } });
    assert.ok(status === 200 || status === 401, text);
    nodes.add(status);
    return nodes.size === 2;
  });
});

test('the doctor says what it found, and ends with how bad it is', async () => {
  const store = path.join(temporaryDirectory('doctor'), 'data');
  const doctor = (args, env) => runToExit(['doctor', '--store', store, ...args], { env });
  const { code, stdout } = await doctor(['--json', '--listen', '127.0.0.1:0', '--connections', '10']);
  const report = JSON.parse(stdout);
  assert.equal(report.connections, 10);
  assert.equal(code, { ok: 0, warn: 1, fail: 2 }[report.worst], stdout);
  const checks = new Map(report.findings.map((finding) => [finding.check, finding]));
  for (const check of ['configuration', 'open files', 'address', 'disk space', 'disk sync', 'clock']) assert.ok(checks.has(check), check);
  for (const finding of report.findings) assert.equal(finding.verdict !== 'ok', 'change' in finding, JSON.stringify(finding));
  assert.ok(!existsSync(store), 'it makes nothing');

  const many = await doctor(['--listen', '127.0.0.1:0', '--connections', '100000000']);
  assert.equal(many.code, 2);
  assert.match(many.stdout, /^fail {2}open files: .*; change it: .*LimitNOFILE=100001024/m);

  const wrong = await doctor(['--listen', 'here'], { TIDINGS_SERVER__BACKLOG: '0' });
  assert.equal(wrong.code, 2);
  assert.match(wrong.stdout, /^fail {2}configuration: server\.backlog/m);
  assert.match(wrong.stdout, /^fail {2}configuration: server\.listen/m);

  const busy = net.createServer().listen(0, '127.0.0.1');
  await until('a port is taken', () => busy.listening);
  const taken = await doctor(['--listen', `127.0.0.1:${busy.address().port}`]);
  busy.close();
  assert.match(taken.stdout, /^warn {2}address: .* a process listens there/m);
});

/** Where an older system listens, and where it does not. */
const older = (listen) => ({ TIDINGS_COMPAT__GOPUSHER__ENABLED: 'true', TIDINGS_COMPAT__GOPUSHER__LISTEN: listen });

test('the address of an older system is looked at like any other, and named by its key', async (t) => {
  const store = path.join(temporaryDirectory('older'), 'data');
  const busy = net.createServer().listen(0, '127.0.0.1');
  t.after(() => busy.close());
  await until('a port is taken', () => busy.listening);
  const at = `127.0.0.1:${busy.address().port}`;
  const doctor = await runToExit(['doctor', '--store', store, '--listen', '127.0.0.1:0'], { env: older(at) });
  assert.match(doctor.stdout, /^ok {4}address: 127\.0\.0\.1:0 /m);
  assert.match(doctor.stdout, new RegExp(`^warn {2}compat\\.gopusher\\.listen: ${at} .*; change it: stop that process, or set compat\\.gopusher\\.listen$`, 'm'));
  const start = await runToExit(['serve', '--store', store, '--listen', '127.0.0.1:0'], { env: older(at) });
  assert.equal(start.code, 1);
  assert.match(start.stderr, new RegExp(`^tidings: port in use: ${at} is taken .*choose another address with compat\\.gopusher\\.listen$`, 'm'));
  const twice = await runToExit(['check-config', '--listen', at], { env: older(at) });
  assert.equal(twice.code, 1);
  assert.match(twice.stderr, /^configuration: compat\.gopusher\.listen = .*: is the address of server\.listen$/m);
});

test('a certificate that has ended, or ends soon, is noticed', async () => {
  const files = certificate('soon');
  const ask = (command, ...args) => runToExit([command, '--listen', '127.0.0.1:0', ...args], { env: environment(files) });
  const date = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z`;
  assert.equal((await ask('check-config')).code, 0);
  assert.match((await ask('doctor')).stdout, new RegExp(`^warn {2}certificate: .*it ends at ${date}.*; change it: renew it`, 'm'));
  execFileSync('openssl', ['x509', '-in', files.cert, '-signkey', files.key, '-days', '-1', '-out', `${files.cert}.ended`], { stdio: 'ignore' });
  copyFileSync(`${files.cert}.ended`, files.cert);
  const doctor = await ask('doctor');
  assert.equal(doctor.code, 2);
  assert.match(doctor.stdout, new RegExp(`^fail {2}certificate: .*it ended at ${date}.*; change it: renew it`, 'm'));
  const checked = await ask('check-config');
  assert.equal(checked.code, 1);
  assert.match(checked.stderr, new RegExp(`^configuration: server\\.tls: the certificate in ${files.cert} ended at ${date}`));
});

test('what a server says that is no problem is shown as it is', async (t) => {
  const server = await startTls(t, certificate());
  const asked = await runToExit(['namespace', '--url', server.url, 'list'], { env: { TIDINGS_ADMIN_KEY: 'a-key-of-somebody' } });
  assert.equal(asked.code, 1);
  assert.match(asked.stderr, /^tidings: 400: This port speaks TLS/);
});
