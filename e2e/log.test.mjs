// The log, when nobody reads it: a server goes on without it, and ends as it should.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { launch, temporaryDirectory } from './lib/server.mjs';
import { until, within } from './lib/until.mjs';

/** A server whose log goes where the test wants it, not into a Server's buffer. */
async function start(t) {
  const run = launch(['serve', '--dev', '--listen', '127.0.0.1:0', '--store', `${temporaryDirectory('log')}/data`]);
  t.after(() => run.child.kill('SIGKILL'));
  const port = await until('listening', () => /listening on\s+http:\/\/[^\s:]+:(\d+)/i.exec(run.stdout)?.[1]);
  const url = `http://127.0.0.1:${port}`;
  const refused = async () => {
    const answer = await fetch(`${url}/v1/namespaces`, { headers: { authorization: 'Bearer wrong' } });
    await answer.arrayBuffer();
    return answer.status;
  };
  const stop = async () => {
    const ended = once(run.child, 'exit');
    run.child.kill('SIGTERM');
    return (await within('the server ends', ended, 10_000))[0];
  };
  return { ...run, refused, stop };
}

test('who reads the log has gone: calls that would be logged are answered, and the server ends with 0', async (t) => {
  const { child, refused, stop } = await start(t);
  child.stderr.destroy();
  for (let call = 0; call < 20; call += 1) assert.equal(await refused(), 401);
  assert.equal(await stop(), 0);
});

test('who reads the log has stopped: nothing waits for it', async (t) => {
  const { child, refused, stop } = await start(t);
  child.stderr.pause();
  // Some 300 bytes for each: more than a pipe and what reads it hold.
  for (let call = 0; call < 4_000; call += 40) {
    const answers = await within('answers', Promise.all(Array.from({ length: 40 }, refused)), 10_000);
    assert.ok(answers.every((status) => status === 401 || status === 429), answers.join());
  }
  assert.equal(await stop(), 0);
});
