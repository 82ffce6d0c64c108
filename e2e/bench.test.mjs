// The load tool against the server that it belongs to: every scenario in every client protocol, small. It ends with an
// error when a message is lost, doubled or out of order; figures are not looked at.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { launch } from './lib/server.mjs';
import { within } from './lib/until.mjs';

/** Runs `tidings bench` and answers its JSON. */
const bench = (...args) => benchWith({}, ...args);

/** The same, with this in its environment and in that of its servers. */
async function benchWith(env, ...args) {
  const folder = await mkdtemp(join(tmpdir(), 'tidings-bench-e2e-'));
  try {
    const json = join(folder, 'figures.json');
    const run = launch(['bench', ...args, '--quick', '--connections', '60', '--json', json], { env });
    const exit = await within(`bench ${args.join(' ')}`, run.done, 120_000);
    assert.equal(exit.code, 0, run.stderr);
    return JSON.parse(await readFile(json, 'utf8'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

for (const protocol of ['ws', 'socketio', 'polling', 'sse']) {
  test(`every connection gets every message, ${protocol}`, async () => {
    const { fanout } = await bench('fanout', '--rounds', '1', '--protocol', protocol);
    assert.equal(fanout.received, fanout.expected);
    assert.ok(fanout.accepted > 100);
  });
}

for (const protocol of ['ws', 'socketio', 'sse']) {
  test(`devices resume without a gap, ${protocol}`, async () => {
    const { resume } = await bench('resume', '--rounds', '2', '--protocol', protocol);
    assert.equal(resume.received, 60 * 100 * 2);
  });
}

for (const protocol of ['ws', 'socketio', 'polling']) {
  test(`every receipt is written down, ${protocol}`, async () => {
    const { acks } = await bench('acks', '--rounds', '2', '--protocol', protocol);
    assert.deepEqual([acks.received, acks.acked, acks.receipts], [2400, 2400, 2400]);
  });
}

test('single users, a storm, a private message beside a room, and a mix', async () => {
  const { targeted } = await bench('targeted');
  assert.equal(targeted.received, targeted.accepted);
  const { storm } = await bench('storm');
  assert.equal(storm.received, storm.accepted * 10);
  const { fairness } = await bench('fairness');
  assert.ok(fairness.loaded.count > 0);
  assert.ok(fairness.floor.count > 0);
  assert.ok(fairness.late_loaded.count > 0);
  const { soak } = await bench('soak');
  assert.equal(soak.intervals.length, 12);
});

test('connections that a server has closed meanwhile are opened again', async () => {
  const { fairness } = await benchWith({ TIDINGS_LIMITS__FIRST_REQUEST_TIMEOUT: '500ms' }, 'fairness');
  assert.ok(fairness.room.count > 0);
});

test('several servers share the connections', async () => {
  const { fanout } = await bench('fanout', '--servers', '2', '--rounds', '2', '--in-flight', '5');
  assert.deepEqual([fanout.servers, fanout.received], [2, 2 * 6 * 60]);
});
