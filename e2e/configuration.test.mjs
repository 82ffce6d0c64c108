// The configuration: namespaces that a file declares, and what a server takes up of a file that has changed.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { Api, assertProblem } from './lib/api.mjs';
import { connected, outcome } from './lib/clients.mjs';
import { runToExit, Server, temporaryDirectory } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const SECRET = '0123456789abcdef0123456789abcdef';

const SHOP = `
[namespaces.shop]
title = "The shop"
auth.mode = "open"
limits.connections = 5
`;

/** A server with a configuration of its own, and what writes that anew. */
async function configured(t, text, { env, ...options } = {}) {
  const directory = temporaryDirectory('configuration');
  const file = path.join(directory, 'tidings.toml');
  const write = (content) => writeFileSync(file, content);
  write(text);
  const server = await Server.start(t, { dev: false, args: ['--config', file], env, ...options });
  const admin = new Api(server);
  const reload = () => admin.call('POST', '/v1/reload');
  const show = async (name) => (await admin.call('GET', `/v1/namespaces/${name}`)).json;
  return { server, admin, directory, file, write, reload, show };
}

const reloaded = (applied, needs_restart = []) => ({ applied, needs_restart });

describe('namespaces by file', () => {
  test('are there from the first moment, and after kill -9', async (t) => {
    const { server, admin, show, write } = await configured(t, SHOP, { restartable: true });
    const api = new Api(server, { namespace: 'shop' });
    const ann = await connected(t, server, 'ws', { namespace: 'shop', device: 'd1', user: 'ann' });
    const { id } = await api.push({ to: { users: ['ann'] }, data: 1 });
    await ann.waitForId(id);
    await ann.close();

    // What the file does not name is the API's, what it names holds again.
    const patch = { title: 'Other', limits: { connections: 6, pushes_per_second: 7 } };
    assert.equal((await admin.call('PATCH', '/v1/namespaces/shop', patch)).status, 200);
    const missed = await api.push({ to: { users: ['ann'] }, data: 2 });
    await server.restart();
    const { title, limits } = await show('shop');
    assert.deepEqual([title, limits.connections, limits.pushes_per_second], ['The shop', 5, 7]);
    const again = await connected(t, server, 'ws', { namespace: 'shop', device: 'd1', user: 'ann' });
    await again.waitForId(missed.id);

    // Rules that send everybody away hold for those who come.
    write(SHOP.replace('"open"', '"token"'));
    await server.restart();
    assert.equal(await outcome(t, server, 'ws', { namespace: 'shop', device: 'd1', user: 'ann' }), 'refused');

    // Nothing is deleted by a file.
    write('');
    await server.restart();
    assert.equal((await show('shop')).title, 'The shop');
    await server.says(/declares it no more; it stays as it is namespace=shop/);
  });

  test('verify tokens with a secret from a file, and stay suspended', async (t) => {
    const { admin, directory, reload, show, write } = await configured(t, '');
    const key = path.join(directory, 'jwt');
    writeFileSync(key, `${SECRET}\n`);
    const rules = (more = '') => `[namespaces.shop]\nauth = { mode = "token", jwt = { algorithms = ["HS256"], secret_file = "${key}" } }\n${more}`;
    write(rules());
    const first = await reload();
    assert.deepEqual(first.json, reloaded(['namespaces.shop']), first.text);
    assert.deepEqual((await show('shop')).auth, { mode: 'token', jwt: { algorithms: ['HS256'], secret: '***' } });
    assert.deepEqual((await reload()).json, reloaded([]));
    assert.equal((await admin.call('POST', '/v1/namespaces/shop:suspend')).status, 200);
    write(rules('title = "Closed"\n'));
    assert.deepEqual((await reload()).json, reloaded(['namespaces.shop']));
    const { state, title } = await show('shop');
    assert.deepEqual([state, title], ['suspended', 'Closed']);
  });

  test('whose hook leads to a place of our own end a start, in one line', async () => {
    const directory = temporaryDirectory('configuration');
    const file = path.join(directory, 'hook.toml');
    writeFileSync(file, `[namespaces.shop]\nauth.mode = "open"\n[[namespaces.shop.hooks]]\nname = "crm"\nurl = "https://localhost/"\nevents = ["acked"]\nsecret = "${SECRET}"\n`);
    const args = ['--config', file, '--listen', '127.0.0.1:0', '--store', path.join(directory, 'data')];
    const { code, stderr } = await runToExit(['serve', ...args]);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /tidings: the namespaces of the configuration cannot be brought about: namespaces\.shop\.hooks\[0\]\.url must not be called/);
    assert.equal((await runToExit(['check-config', '--config', file])).code, 0, 'what only the network can tell');
  });

  test('a certificate that cannot be shown is noticed before a start', async () => {
    const file = path.join(temporaryDirectory('configuration'), 'tls.toml');
    writeFileSync(file, '[server.tls]\ncert = "/nowhere/at/all"\nkey = "/nowhere/at/all"\n');
    const { code, stderr } = await runToExit(['check-config', '--config', file]);
    assert.deepEqual([code, stderr], [1, 'configuration: server.tls: /nowhere/at/all cannot be read: No such file or directory (os error 2)\n']);
  });

  test('a start says what is wrong, and so does check-config', async () => {
    const directory = temporaryDirectory('configuration');
    const file = path.join(directory, 'bad.toml');
    writeFileSync(file, '[namespaces.shop]\nauth.mode = "closed"\n[namespaces.B]\nauth.mode = "open"\n[log]\nlevel = "loud"\n');
    for (const command of ['check-config', 'serve']) {
      const { code, stderr } = await runToExit([command, '--config', file, '--store', path.join(directory, 'data')]);
      assert.equal(code, 1);
      assert.match(stderr, /namespaces\.shop\.auth\.mode \(.*bad\.toml:2\): is "closed", must be one of open, token/);
      assert.match(stderr, /namespaces\."B" \(.*bad\.toml:3\)/);
      assert.match(stderr, /log\.level = "loud"/);
    }
  });
});

describe('reload', () => {
  test('takes up what can change, and names what cannot', async (t) => {
    const { server, admin, reload, show, write } = await configured(t, SHOP);
    // At `info` only calls that fail have a line.
    assert.equal((await show('shop')).state, 'active');
    assert.equal((await admin.call('GET', '/v1/namespaces/nobody')).status, 404);
    await until('the call that failed is logged', () => / INFO call .*status=404/.test(server.output));
    assert.doesNotMatch(server.output, / call .*status=2/);
    write(`admin_key = "another-key-0123456789"\n[log]\nlevel = "debug"\n[server]\nbacklog = 100\ndrain_window = "1s"\n${SHOP}history.keep = "1d"\n[namespaces.new]\nauth.mode = "open"\n`);
    const answer = await reload();
    assert.equal(answer.status, 200, answer.text);
    const applied = ['admin_key', 'namespaces.new', 'namespaces.shop', 'log.level', 'server.drain_window'];
    assert.deepEqual(answer.json, reloaded(applied, ['server.backlog']));
    assert.equal((await reload()).status, 401, 'the key of before opens nothing');
    server.adminKey = 'another-key-0123456789';
    assert.equal((await show('shop')).history.keep, '1d');
    assert.equal((await show('new')).state, 'active');
    await admin.call('GET', '/healthz');
    await until('what is logged has changed', () => / DEBUG call /.test(server.output));
    // It waits for a restart until it is as it was.
    assert.deepEqual((await reload()).json, reloaded([], ['server.backlog']));
    write(`${SHOP}title = "Twice"\n`);
    assertProblem(await reload(), { status: 400, code: 'invalid_request', field: 'configuration' });
    write(SHOP);
    assert.deepEqual((await reload()).json, reloaded(['log.level', 'server.drain_window']));
    await server.says(/declares it no more; it stays as it is namespace=new/);
    assert.equal((await show('new')).state, 'active');
  });

  test('with an error in the file nothing changes', async (t) => {
    const { server, reload, show, write } = await configured(t, SHOP);
    write(`[server]\nbacklog = "many"\n[clients]\nallowed_origins = "app.example.com"\n${SHOP.replace('The shop', 'Other')}limits.rooms_per_device = 20000\n[namespaces.new]\nauth.mode = "open"\ncolour = "\${NOBODY}"\n`);
    const answer = await reload();
    for (const field of ['server.backlog', 'clients.allowed_origins', 'namespaces.shop.limits.rooms_per_device', 'namespaces.new.colour']) {
      assertProblem(answer, { status: 400, code: 'invalid_request', field });
    }
    assert.match(answer.text, /is \\"many\\" \(.*tidings\.toml:2\): must be a whole number/);
    process.kill(server.pid, 'SIGHUP');
    await until('the log says it', () => /by="SIGHUP" .*what was before holds|what was before holds by="SIGHUP"/.test(server.output));
    await server.says(/key="?server\.backlog/);
    assert.equal((await show('shop')).title, 'The shop');
    assert.equal((await show('new')).code, 'not_found');
    write(`[namespaces.shop]\nauth.mode = "open"\n[[namespaces.shop.hooks]]\nname = "crm"\nurl = "https://localhost/"\nevents = ["acked"]\nsecret = "${SECRET}"\n`);
    assertProblem(await reload(), { status: 400, code: 'invalid_request', field: 'namespaces.shop.hooks[0].url' });
    assert.deepEqual((await show('shop')).hooks, []);
  });

  test('on SIGHUP as well', async (t) => {
    const { server, show, write } = await configured(t, SHOP);
    const ann = await connected(t, server, 'ws', { namespace: 'shop', device: 'd1', user: 'ann' });
    write(`${SHOP}[namespaces.new]\nauth.mode = "open"\n`);
    process.kill(server.pid, 'SIGHUP');
    await until('it is there', async () => (await show('new')).state === 'active');
    const { id } = await new Api(server, { namespace: 'shop' }).push({ to: { users: ['ann'] }, data: 1 });
    await ann.waitForId(id);
  });

  test('without a file there is nothing to take up', async (t) => {
    const server = await Server.start(t);
    assert.deepEqual((await new Api(server).call('POST', '/v1/reload')).json, reloaded([]));
  });
});
