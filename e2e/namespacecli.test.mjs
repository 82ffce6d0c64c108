// `tidings namespace` and `tidings token`: what an operator does from a shell.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { connected } from './lib/clients.mjs';
import { runToExit as command, Server, temporaryDirectory } from './lib/server.mjs';

test('namespaces are made, listed, changed, suspended, cleared and deleted from the command line', async (t) => {
  const server = await Server.start(t);
  const env = { TIDINGS_ADMIN_KEY: server.adminKey };
  const namespace = (...args) => command(['namespace', '--url', server.url, ...args], { env });
  const json = async (...args) => {
    const done = await namespace(...args);
    assert.equal(done.code, 0, done.output);
    return JSON.parse(done.stdout);
  };
  const file = path.join(temporaryDirectory('rules'), 'shop.toml');
  writeFileSync(file, 'title = "Shop"\n[limits]\nconnections = 5\n');
  const made = await json('create', 'shop', '--auth', 'open', '--from', file);
  assert.deepEqual([made.name, made.title, made.limits.connections, made.auth.mode], ['shop', 'Shop', 5, 'open']);
  assert.match((await namespace('list')).stdout, /^demo .*\nshop +active +open +Shop\n$/);
  assert.equal((await json('change', 'shop', '--title', 'The shop')).title, 'The shop');
  assert.equal((await json('suspend', 'shop')).state, 'suspended');
  assert.equal((await json('resume', 'shop')).state, 'active');
  assert.equal((await json('clear', 'shop', '--yes')).name, 'shop');
  const refused = await namespace('delete', 'shop');
  assert.equal(refused.code, 2, 'nothing goes without --yes');
  assert.equal((await json('show', 'shop')).limits.connections, 5);
  const gone = await namespace('delete', 'shop', '--yes');
  assert.deepEqual([gone.code, gone.stdout], [0, 'shop is gone\n'], gone.output);
  const unknown = await namespace('show', 'shop');
  assert.deepEqual([unknown.code, unknown.stderr], [1, 'tidings: 404 not_found: there is no namespace "shop"\n']);
  const wrong = await namespace('create', 'Shop!');
  assert.match(wrong.stderr, /name .*\n +auth\.mode is required/);
  const nobody = await command(['namespace', '--url', server.url, 'list'], { env: { TIDINGS_ADMIN_KEY: 'wrong' } });
  assert.match(nobody.stderr, /^tidings: 401 unauthorized/);
});

test('a token that was minted from the command line opens what it says', async (t) => {
  const server = await Server.start(t);
  const env = { TIDINGS_ADMIN_KEY: server.adminKey };
  const run = (...args) => command([...args, '--url', server.url], { env });
  assert.equal((await run('namespace', 'create', 'shop', '--auth', 'token')).code, 0);
  const minted = await run('token', 'shop', '--user', 'ann', '--device', 'd1', '--rooms', 'r1', '--rooms', 'r2', '--expires-in', '5m');
  assert.deepEqual([minted.code, minted.stderr], [0, '']);
  const ann = await connected(t, server, 'ws', { namespace: 'shop', token: minted.stdout.trim() });
  assert.deepEqual([ann.ready.user, ann.ready.device], ['ann', 'd1']);
  const whole = JSON.parse((await run('token', 'shop', '--user', 'ann', '--json')).stdout);
  assert.deepEqual(Object.keys(whole).sort(), ['expires_at', 'jti', 'token']);
  const refused = await run('token', 'shop', '--user', 'ann', '--expires-in', '9y');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /^tidings: 400 invalid_request: expires_in /);
});
