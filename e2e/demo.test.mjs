// The demo page in a real browser: connect, join, see messages arrive, push, watch the acknowledgements come in.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { Api } from './lib/api.mjs';
import { assertReceived } from './lib/check.mjs';
import { connected } from './lib/clients.mjs';
import { Server, temporaryDirectory } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const BROWSER = '/usr/bin/chromium';
const missing = existsSync(BROWSER) ? false : `NO BROWSER: ${BROWSER} is missing, so the demo page was NOT tested; run setup.sh as root, or install chromium`;
if (missing) console.error(`\n*** ${missing} ***\n`);

async function open(t, server) {
  const context = await chromium.launchPersistentContext(temporaryDirectory('chromium'), {
    executablePath: BROWSER,
    headless: true,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    viewport: { width: 1280, height: 900 },
  });
  t.after(() => context.close());
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(10_000);
  const seen = { errors: [], hosts: new Set() };
  page.on('pageerror', (error) => seen.errors.push(error.stack ?? String(error)));
  page.on('request', (request) => /^(https?|wss?):/.test(request.url()) && seen.hosts.add(new URL(request.url()).host));
  page.on('websocket', (socket) => seen.hosts.add(new URL(socket.url()).host));
  const response = await page.goto(`${server.url}/demo`);
  assert.equal(response.status(), 200);
  return { page, seen, text: (selector) => page.locator(selector).innerText() };
}

test('the demo page', { skip: missing }, async (t) => {
  const server = await Server.start(t, { restartable: true });
  const api = new Api(server);
  const { page, seen, text } = await open(t, server);

  // Not by mouse or key: Debian's Chromium now and then loses input that follows a choice in a list.
  const press = (selector) => page.locator(`${selector}:enabled`).evaluate((button) => button.click());

  await page.fill('#user', 'ann');
  await page.fill('#device', 'browser-1');
  await press('#connect');
  let status;
  const isConnected = async () => /^connected\b/i.test((status = await text('#status')));
  await until(() => `the page is connected; it says ${status}`, isConnected);
  await page.fill('#room', 'lobby');
  await press('#join');
  await until('the page is in the room', async () => {
    const { json } = await api.call('POST', 'messages', { to: { rooms: ['lobby'] }, data: 0, dry_run: true });
    return json.meant.devices === 1;
  });
  const bob = await connected(t, server, 'sio4-ws', { user: 'bob', device: 'bob-1', rooms: ['lobby'] });

  // Messages arrive, and the page acknowledges them.
  const pushes = [];
  for (const [index, to] of [{ users: ['ann'] }, { rooms: ['lobby'] }, { all: true }].entries()) {
    const data = { text: `message number ${index} <b>&amp;` };
    pushes.push({ id: (await api.push({ to, data })).id, data });
  }
  await until('three messages are shown', async () => (await page.locator('#messages .message').count()) === 3);
  const shown = await page.locator('#messages .message').allInnerTexts();
  const inOrder = shown.findIndex((each) => each.includes('number 0')) === 0 ? shown : shown.toReversed();
  for (const [index, each] of inOrder.entries()) assert.ok(each.includes(`message number ${index} <b>&amp;`), `shown as it is, in order: ${JSON.stringify(shown)}`);
  for (const [index, { id }] of pushes.entries()) await api.waitForLedger(id, { meant: index ? 2 : 1, acked: index ? 2 : 1, waiting: 0 });

  // The page pushes, others get it, and the acknowledgements are shown as they come in.
  await page.selectOption('#push-kind', 'rooms');
  await page.fill('#push-to', 'lobby');
  await page.fill('#push-data', '{"hello":"from the page"}');
  await press('#push');
  await bob.waitFor(3);
  assert.deepEqual(bob.received.at(-1).data, { hello: 'from the page' });
  await until('the page shows its own push', async () => (await page.locator('#messages .message').count()) === 4);
  await until('the report shows both acknowledgements', async () => /\b2\s+meant\s+2\s+written\s+2\s+acked\s+0\s+waiting\b/.test(await text('#report')));
  assertReceived(bob, [...pushes.slice(1), { id: bob.received.at(-1).id, data: { hello: 'from the page' } }]);

  // The server dies and comes back: so does the page, with what it missed.
  await server.kill9();
  await until('the page notices', async () => !(await isConnected()));
  await server.start();
  const { id } = await api.push({ to: { users: ['ann'] }, data: { text: 'after the crash' } });
  await until('the page is back and shows it', async () => (await page.locator('#messages').innerText()).includes('after the crash'), { ms: 15_000 });
  await api.waitForLedger(id, { meant: 1, acked: 1, waiting: 0 });

  // The same over an event stream.
  await press('#disconnect');
  await page.selectOption('#transport', 'sse');
  const missed = await api.push({ to: { rooms: ['lobby'] }, data: { text: 'while away' } });
  await press('#connect');
  await until(() => `the page is connected by an event stream; it says ${status}\n${server.tail()}`, isConnected);
  const streamed = await api.push({ to: { users: ['ann'] }, data: { text: 'over a stream' } });
  await until('the page shows both', async () => {
    const all = await page.locator('#messages').innerText();
    return all.includes('while away') && all.includes('over a stream');
  });
  await api.waitForLedger(missed.id, { meant: 2, acked: 2, waiting: 0 });
  await api.waitForLedger(streamed.id, { meant: 1, acked: 1, waiting: 0 });

  // Last: this Chromium may lose clicks that follow a picture.
  mkdirSync(new URL('out/', import.meta.url), { recursive: true });
  await page.screenshot({ path: fileURLToPath(new URL('out/demo.png', import.meta.url)) });
  assert.deepEqual(seen.errors, [], 'no errors in the page');
  assert.deepEqual([...seen.hosts], [new URL(server.url).host], 'the page needs nobody else');
});

test('the demo page exists only with --dev', async (t) => {
  const server = await Server.start(t);
  const response = await fetch(`${server.url}/demo`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^text\/html\b/);
  const html = await response.text();
  for (const id of ['user', 'device', 'transport', 'connect', 'disconnect', 'status', 'room', 'join', 'messages', 'push-kind', 'push-to', 'push-data', 'push', 'report']) {
    assert.match(html, new RegExp(`id=["']?${id}["'\\s>]`), `the page has #${id}`);
  }
  const closed = await Server.start(t, { dev: false });
  const none = await fetch(`${closed.url}/demo`);
  assert.equal(none.status, 404);
  await none.text();
  // Nor is there a namespace that lets anybody in.
  const sse = await fetch(`${closed.url}/v1/namespaces/demo/sse?device=d`);
  assert.equal(sse.status, 404);
  await sse.text();
});
