// What must be true of a store after a power cut, asked of a real server that is started on what the disk kept: it
// starts, everything that had been promised is there, those who come back get it in order, and service goes on.

import path from 'node:path';

import { Api, describe, ledgerOf } from '../lib/api.mjs';
import { connected } from '../lib/clients.mjs';
import { Server } from '../lib/server.mjs';
import { until, within } from '../lib/until.mjs';
import { ADMIN_KEY, SHELF, SHELF_MESSAGES, STORE, WITNESSES, padding } from './load.mjs';

const START_MS = 60_000;
const CATCH_UP_MS = 30_000;
/** Messages that are looked at one by one, after each cut: the newest, and others. */
const NEWEST = 25;
const OTHERS = 25;

/** What is owed after the first `until` records: promises made, and acknowledgements that may have been taken. */
export function owedAfter(trace, until, said) {
  const promised = [...trace.promised].filter(([, at]) => at < until).sort(([, a], [, b]) => a - b).map(([name]) => name);
  const acked = new Set();
  // Rounds of the shelf, and of the namespaces that are removed: the newest that each was said of.
  const rounds = { full: 0, clearing: 0, cleared: 0, removed: 0 };
  for (let at = 0; at < until; at += 1) {
    const record = trace.records[at];
    if (record.op !== 'mark') continue;
    if (record.text.startsWith('ack ')) acked.add(record.text.slice(4));
    const [what, round] = record.text.split(' ');
    if (what in rounds) rounds[what] = Number(round);
  }
  const messages = promised.filter((name) => said.pushes.has(name));
  const owed = (device) => messages.filter((id) => said.pushes.get(id).meant.includes(device) && !acked.has(`${device} ${id}`));
  return {
    messages,
    rounds,
    namespaces: promised.filter((name) => !said.pushes.has(name)),
    devices: new Map(WITNESSES.map(({ device }) => [device, owed(device)])),
  };
}

/** Starts a server on what is in `disk`, and answers what is wrong with it: nothing, if all is well. */
export async function check(disk, owed, said, { random, env = {}, orderly = false }) {
  const server = new Server({ store: path.join(disk, STORE), adminKey: ADMIN_KEY, env: { TIDINGS_ADMIN_KEY: ADMIN_KEY, ...env } });
  const wrong = [];
  try {
    await server.start({ ms: START_MS });
    const api = new Api(server);
    await namespaces(api, owed, wrong);
    await messages(api, owed, said, random, wrong);
    await rounds(api, owed.rounds, wrong);
    await devices(server, api, owed, said, wrong);
    if (orderly) await server.stop();
  } catch (error) {
    wrong.push(`${error.message}\n${server.tail()}`);
  }
  await server.kill9();
  if (/panicked at/.test(server.output)) wrong.push(`a panic\n${server.tail(10_000)}`);
  return wrong;
}

async function namespaces(api, owed, wrong) {
  for (const name of owed.namespaces) {
    const answer = await api.call('GET', `/v1/namespaces/${name}`);
    if (answer.status !== 200) wrong.push(`namespace ${name} is lost: ${describe(answer)}`);
  }
}

/** What was cleared or removed stays so; what was about to be cleared is all there, or all gone; the rest is there. */
async function rounds(api, { full, clearing, cleared, removed }, wrong) {
  for (const round of new Set([cleared, full]).values()) {
    if (round === 0) continue;
    const statuses = new Set();
    for (let k = 0; k < SHELF_MESSAGES; k += 1) statuses.add((await api.call('GET', `/v1/namespaces/${SHELF}/messages/${round}-${k}`)).status);
    const expected = round <= cleared ? [404] : round <= clearing ? [200, 404] : [200];
    const seen = [...statuses];
    if (seen.length !== 1 || !expected.includes(seen[0])) wrong.push(`round ${round} of the shelf (full ${full}, clearing ${clearing}, cleared ${cleared}): ${seen}, expected one of ${expected}`);
  }
  for (let round = 1; round <= removed; round += 1) {
    const { status } = await api.call('GET', `/v1/namespaces/gone-${round}`);
    if (status !== 404) wrong.push(`gone-${round} was removed, and is answered ${status}`);
  }
  if (full > 0) {
    const { status, text } = await api.call('POST', `/v1/namespaces/${SHELF}/messages`, { to: { all: true }, data: 'again' });
    if (status !== 202) wrong.push(`the shelf takes nothing any more: ${status} ${text}`);
  }
}

async function messages(api, owed, said, random, wrong) {
  const lost = [];
  const older = owed.messages.slice(0, -NEWEST);
  const sample = [...owed.messages.slice(-NEWEST), ...Array.from({ length: Math.min(OTHERS, older.length) }, () => older[Math.floor(random() * older.length)])];
  for (const [index, id] of sample.entries()) {
    const answer = await api.call('GET', `messages/${id}`);
    const { n, bytes, meant } = said.pushes.get(id);
    if (answer.status !== 200) {
      lost.push(`${id} (${describe(answer)})`);
      continue;
    }
    if (answer.json.data.n !== n || answer.json.data.pad !== padding(n, bytes)) wrong.push(`${id} has other data: ${answer.text.slice(0, 200)}`);
    if (index % 5) continue;
    try {
      const ledger = ledgerOf(await api.report(id));
      const least = meant.length;
      if (ledger.meant < least) wrong.push(`${id} was meant for ${least} witnesses, its report says ${ledger.meant}`);
    } catch (error) {
      wrong.push(`the report of ${id}: ${error.message}`);
    }
  }
  if (lost.length) wrong.push(`${lost.length} of ${sample.length} messages are lost, the first is ${lost[0]}`);
}

/** Those who were there come back: what they are owed, then something new, in the order of each topic. */
async function devices(server, api, owed, said, wrong) {
  const coming = WITNESSES.filter(({ device }) => owed.devices.get(device).length > 0);
  const clients = await Promise.all(coming.map(({ device, user }) => connected(undefined, server, 'ws', { device, user, ackBy: 'none' })));
  const after = await api.push({ to: { all: true }, id: 'after', data: { n: 'after' } });
  let lost = false;
  for (const client of clients) {
    const list = owed.devices.get(client.device);
    const has = () => new Set(client.ids);
    await until(`${client.device} has what it is owed`, () => ((ids) => ids.has(after.id) && list.every((id) => ids.has(id)))(has()), { ms: lost ? 500 : CATCH_UP_MS }).catch(() => {});
    const ids = has();
    const missing = list.filter((id) => !ids.has(id));
    lost ||= missing.length > 0;
    if (missing.length) wrong.push(`${client.device} has not got ${missing.length} of ${list.length}: ${missing.slice(0, 5)}; it was told ${JSON.stringify(client.ready)}`);
    if (!ids.has(after.id)) wrong.push(`${client.device} has not got what was pushed after the cut`);
    wrong.push(...order(client, said));
    // An answer that took long on a busy machine is none of ours.
    const problems = client.problems.filter(({ error = '' }) => !/still not/.test(error));
    wrong.push(...problems.map((problem) => `${client.device}: ${JSON.stringify(problem)}`));
  }
  await within('the clients close', Promise.all(clients.map((client) => client.close())));
}

/** Each topic in order, each message once, and where others have seen it before. */
function order(client, said) {
  const wrong = [];
  const newest = new Map();
  for (const { id, topic, offset } of client.received) {
    if (newest.get(topic) >= offset) wrong.push(`${client.device}: ${id} is at ${topic}/${offset}, after ${topic}/${newest.get(topic)}`);
    newest.set(topic, offset);
    const seen = said.positions.get(id);
    if (seen?.startsWith(`${topic}/`) && seen !== `${topic}/${offset}`) wrong.push(`${client.device}: ${id} was seen at ${seen} and is now at ${topic}/${offset}`);
  }
  return wrong.slice(0, 5);
}
