// Statistics of a namespace: what clients and backends do is counted, now and by interval, also over a restart.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

/** The numbers of today, as soon as they are these. */
function waitForToday(api, expected) {
  let day;
  return until(
    () => `today's numbers are ${JSON.stringify(expected)}, they are ${JSON.stringify(day)}`,
    async () => {
      ({ day } = await api.get('stats/current'));
      return Object.entries(expected).every(([name, value]) => day[name] === value) && day;
    },
  );
}

test('what happens is counted, and goes on being counted after a restart', async (t) => {
  const server = await Server.start(t, { restartable: true });
  const api = new Api(server);
  const ann = await connected(t, server, 'sio4-ws', { user: 'ann', device: 'ann-1', rooms: ['lobby'] });
  const silent = await connected(t, server, 'ws', { user: 'ann', device: 'ann-2', rooms: ['lobby'], ackBy: 'none' });
  const bob = await connected(t, server, 'sse', { user: 'bob', device: 'bob-1' });
  const { id } = await api.push({ to: { all: true }, data: 1 });
  for (const each of [ann, silent, bob]) await each.waitForId(id);
  const first = { pushes: 1, deliveries: 3, acked: 2, delivery_rate: 0.6667, connections: 3, users: 2, rooms: 1 };
  const day = await waitForToday(api, first);
  assert.ok(day.ack_ms.p50 >= 0 && day.ack_ms.p50 <= day.ack_ms.p99, JSON.stringify(day));

  await server.stop();
  await server.start();
  await api.push({ to: { users: ['nobody'] }, data: 2 });
  // Who has not acknowledged comes back and does.
  await silent.close();
  const again = await connected(t, server, 'ws', { user: 'ann', device: 'ann-2' });
  await again.waitForId(id);
  const today = await waitForToday(api, { ...first, pushes: 2, acked: 3, delivery_rate: 1 });

  const days = await api.get('stats?granularity=day');
  assert.deepEqual(days.items.map(({ at }) => at), [today.at]);
  const minutes = await api.get(`stats?granularity=minute&since=${today.at}`);
  const sum = (name) => minutes.items.reduce((total, row) => total + row[name], 0);
  assert.deepEqual([sum('pushes'), sum('acked'), sum('deliveries')], [2, 3, 3], JSON.stringify(minutes));
});
