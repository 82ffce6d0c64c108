// Assertions that several test files share: on what a client received, and on a client that must not notice anything.

import assert from 'node:assert/strict';

import { Api } from './api.mjs';
import { connected } from './clients.mjs';

/** Exactly these messages, each once, in this order, each with its event and data, and nothing odd besides. */
export function assertReceived(client, pushes) {
  assert.deepEqual(
    client.received.map(({ id, event, data }) => ({ id, event, data })),
    pushes.map(({ id, event = 'push', data }) => ({ id, event, data })),
    client.state(),
  );
  assertPositions(client);
}

/** Positions that make sense: one epoch, and offsets that only grow in each topic of a connection. */
export function assertPositions(client) {
  assert.deepEqual(client.problems, [], client.state());
  const newest = new Map();
  for (const { id, topic, epoch, offset, connection } of client.received) {
    assert.match(String(topic), /^(all|user:.+|device:.+|room:.+)$/, `topic of ${id}`);
    assert.ok(Number.isSafeInteger(offset) && offset >= 1, `offset of ${id} is ${offset}`);
    assert.ok(['number', 'string'].includes(typeof epoch), `epoch of ${id} is ${epoch}`);
    assert.equal(epoch, client.received[0].epoch, `epoch of ${id}`);
    const key = `${connection} ${topic}`;
    assert.ok(!(newest.get(key) >= offset), `${client.name}: ${topic} goes from offset ${newest.get(key)} to ${offset} at ${id}`);
    newest.set(key, offset);
  }
}

/** A client that is there during something unpleasant; `check` proves that it noticed nothing. */
export async function bystander(t, server, { kind = 'ws', namespace = 'demo' } = {}) {
  const device = `bystander-${Math.random().toString(36).slice(2, 10)}`;
  const client = await connected(t, server, kind, { namespace, device, user: device });
  const api = new Api(server, { namespace });
  const pushes = [];
  return {
    client,
    async check() {
      const data = { still: 'here', n: pushes.length };
      const { id } = await api.push({ to: { users: [device] }, data });
      pushes.push({ id, data });
      await client.waitFor(pushes.length);
      assertReceived(client, pushes);
      assert.equal(client.connects, 1, `the bystander lost its connection\n${client.state()}`);
      await api.waitForLedger(id, { meant: 1, written: 1, acked: 1, waiting: 0 });
    },
  };
}
