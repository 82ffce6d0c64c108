// Receipts of older systems' clients, which know none: the answer to a WebSocket ping counts as one. It must never count for a
// message that the client does not have: that would be a lie in the ledger, and a message that never comes.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { describe } from './lib/api.mjs';
import { older } from './lib/older.mjs';
import { frame, RawSocket, RawTcp } from './lib/raw.mjs';
import { until } from './lib/until.mjs';

const PING = 9;
const PONG = 10;
const OK = '{"type":1,"data":"ok"}\n';
const said = (text) => `{"type":1,"data":${JSON.stringify(text)}}\n`;
const join = (card, device_id) => JSON.stringify({ event: 'join', data: { card_id: card, device_id } });

/** One shard, so that the ledger hears of receipts in the order in which they came. */
const serve = (t) => older(t, 'gopusher', { namespace: 'gopusher', settings: { open: 'true' }, env: { TIDINGS_SHARDS: '1', TIDINGS_SIMULATIONS__ENABLED: 'true' } });

/** A client that answers no ping by itself. */
async function silent(t, system, card) {
  const client = await RawTcp.open(system, '/ws');
  t.after(() => client.close());
  await client.write(frame(1, join(card, 'phone')));
  assert.equal(await client.nextText('the answer to a join'), OK);
  return client;
}

async function joined(t, { ws }, card, device_id) {
  const client = await RawSocket.open(`${ws}/ws`);
  t.after(() => client.close());
  client.send(join(card, device_id));
  assert.equal(await client.next('the answer to a join'), OK);
  return client;
}

const push = async (api, user, data) => (await api.push({ to: { users: [user] }, data })).id;
const receipts = (api, id, count) => until(() => `${count} receipts of ${id}`, async () => (await api.report(id)).acked === count);

/** The ping that a client is sent when it is heard and has something to answer for. */
async function asked(client) {
  await client.write(frame(1, '{"event":"ping"}'));
  const { opcode, data } = await client.next('a ping');
  assert.equal(opcode, PING);
  assert.equal(await client.nextText('the answer'), OK);
  return data;
}

/** Somebody else has a receipt by now, so what came before is in the ledger as well. */
async function barrier(t, { api, ...system }) {
  const bob = await joined(t, system, 'bob');
  const id = await push(api, 'bob', 'for bob');
  assert.equal(await bob.next(), said('for bob'));
  bob.send('{"event":"ping"}');
  await receipts(api, id, 1);
}

test('only the answer to the newest ping is a receipt', async (t) => {
  const system = await serve(t);
  const { api } = system;
  const client = await silent(t, system, 'ann');
  const id = await push(api, 'ann', 'one');
  assert.equal(await client.nextText('a message'), said('one'));
  const first = await asked(client);
  // What nobody asked for: some libraries send it as a sign of life.
  for (const payload of ['', 'alive', Buffer.concat([first, first])]) await client.write(frame(PONG, payload));
  await barrier(t, system);
  assert.equal((await api.report(id)).acked, 0);
  const two = await push(api, 'ann', 'two');
  assert.equal(await client.nextText('a message'), said('two'));
  const second = await asked(client);
  assert.notDeepEqual(second, first);
  // It says nothing of what was written behind it.
  await client.write(frame(PONG, first));
  await barrier(t, system);
  assert.equal((await api.report(two)).acked, 0);
  await client.write(frame(PONG, second));
  await receipts(api, id, 1);
  await receipts(api, two, 1);
});

test('after more than is noted at once, receipts go on', async (t) => {
  const settings = { open: 'true', redis: 'redis://127.0.0.1:1', channels: 'news' };
  const system = await older(t, 'go_redis', { namespace: 'channels', settings, env: { TIDINGS_CLIENTS__PING_INTERVAL: '1s' } });
  const { api } = system;
  const client = await RawTcp.open(system, '/ws');
  t.after(() => client.close());
  await client.write(frame(1, '{"channel":"news","type":"subscribe"}'));
  await until('it is on the channel', async () => (await api.get('rooms/news/members')).items.length === 1);
  const count = 400;
  const answer = await api.call('POST', 'messages:batch', { messages: Array.from({ length: count }, (_, n) => ({ to: { rooms: ['news'] }, data: `${n}` })) });
  assert.equal(answer.status, 200, describe(answer));
  let texts = 0;
  const pings = [];
  const read = async () => {
    const { opcode, data } = await client.next('a frame');
    if (opcode === PING) pings.push(data);
    else texts += 1;
  };
  while (texts < count) await read();
  for (const ping of pings.splice(0)) await client.write(frame(PONG, ping));
  while (!pings.length) await read();
  const { id } = await api.push({ to: { rooms: ['news'] }, data: 'and one' });
  while (texts <= count) await read();
  await client.write(frame(PONG, pings.pop()));
  while (!pings.length) await read();
  await client.write(frame(PONG, pings.pop()));
  await receipts(api, id, 1);
});

test('what is lost or late on purpose is not received with what is written', async (t) => {
  const system = await serve(t);
  const { api } = system;
  const ann = await joined(t, system, 'ann', 'phone');
  const simulated = async (body) => {
    const answer = await api.call('POST', 'simulations', body);
    assert.equal(answer.status, 201, describe(answer));
    return () => api.call('DELETE', `simulations/${answer.json.id}`);
  };
  const end = await simulated({ on: { user: 'ann' }, effect: 'lose' });
  const lost = await push(api, 'ann', 'lost');
  await end();
  const ending = await simulated({ on: { message: 'late' }, effect: 'delay', delay: '1m' });
  await api.push({ to: { users: ['ann'] }, data: 'late', id: 'late' });
  const next = await push(api, 'ann', 'next');
  assert.equal(await ann.next(), said('next'));
  ann.send('{"event":"ping"}');
  assert.equal(await ann.next(), OK);
  await receipts(api, next, 1);
  for (const id of [lost, 'late']) assert.equal((await api.report(id)).acked, 0, id);
  await ending();
  ann.ws.close();
  await ann.waitClosed();
  // It comes again.
  const back = await joined(t, system, 'ann', 'phone');
  const heard = [await back.next(), await back.next()];
  assert.deepEqual(heard, [said('lost'), said('late')]);
  await receipts(api, lost, 1);
  await receipts(api, 'late', 1);
});
