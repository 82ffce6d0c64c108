// The page of metrics: what a server that has something to count says of its numbers is what stands there.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Api } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const PAGE = readFileSync(new URL('../docs/metrics.md', import.meta.url), 'utf8');

/** The rows of the page: by name, the type and the names of labels. */
function documented() {
  const rows = PAGE.matchAll(/^\| `(tidings_\w+)` \| (\w+) \| (.*?) \| /gm);
  return new Map(Array.from(rows, ([, name, type, labels]) => [name, { type, labels }]));
}

/** The numbers of a server: by name, the type and the labels that were seen. */
function served(text) {
  const families = new Map();
  for (const [, name, type] of text.matchAll(/^# TYPE (\w+) (\w+)$/gm)) {
    const shown = type === 'counter' ? `${name}_total` : name;
    const lines = text.matchAll(new RegExp(`^${shown}(?:_bucket|_sum|_count)?\\{.*$`, 'gm'));
    const labels = Array.from(lines).flatMap(([line]) => Array.from(line.matchAll(/[{,](\w+)="/g), ([, label]) => label));
    families.set(shown, { type, labels: new Set(labels.filter((label) => label !== 'le')) });
  }
  return families;
}

test('every number has a row on the page, with its type and its labels', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  const ann = await connected(t, server, 'ws', { device: 'd1', user: 'ann' });
  const { id } = await api.push({ to: { users: ['ann'] }, data: 1 });
  await ann.waitForId(id);
  await ann.close();
  assert.equal((await fetch(`${server.url}/v1/namespaces/nowhere/connect`)).status, 404);
  assert.equal((await api.call('GET', '/v1/nodes', undefined, { key: 'wrong-key-of-nobody' })).status, 401);
  const names = ['tidings_connections', 'tidings_connections_closed_total', 'tidings_keys_refused_total', 'tidings_clients_refused_total', 'tidings_api_calls_total', 'tidings_queued'];
  let families;
  await until(() => `there are ${names}: ${[...families.keys()]}`, async () => {
    families = served((await api.call('GET', '/metrics')).text);
    return names.every((name) => families.has(name));
  });
  const rows = documented();
  assert.ok(rows.size >= 50, `${rows.size} rows`);
  for (const [name, { type, labels }] of families) {
    assert.equal(rows.get(name)?.type, type, name);
    for (const label of labels) assert.ok(rows.get(name).labels.includes(`\`${label}\``), `${name} has the label ${label}`);
  }
});
