// What disks do: they fill up and get room again, they give back other bits than they were given, they end in the
// middle of a write. A full one refuses clearly and service returns; damage is named by its file and never served.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, cpSync, existsSync, openSync, readFileSync, readSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Api, describe as describeAnswer } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { Server, runToExit, temporaryDirectory } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const MIB = 1 << 20;
/** Only root may, and not in every container. */
const mayMount = (() => {
  const place = temporaryDirectory('mount');
  try {
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', place], { stdio: 'ignore' });
    execFileSync('umount', [place]);
    return true;
  } catch {
    return false;
  }
})();
const bodyOf = (n) => String(n).padEnd(60_000, `abcdefghij${n}`);
const pushOf = (n) => ({ to: { rooms: ['lobby'] }, id: `push-${n}`, data: { n, text: bodyOf(n) } });
const ANN = { user: 'ann', device: 'ann-1', rooms: ['lobby'], ackBy: 'none' };

/** A file system of a few MiB. */
class Small {
  constructor(t, mib) {
    this.path = temporaryDirectory('small');
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', this.path]);
    t.after(() => execFileSync('umount', ['-l', this.path]));
  }

  grow(mib) {
    execFileSync('mount', ['-o', `remount,size=${mib}m`, this.path]);
  }
}

/** Pushes until `refusals` have been refused, each clearly; answers who was accepted and who was not. */
async function fill(api, refusals, from = 0) {
  const accepted = [];
  const refused = [];
  for (let n = from; refused.length < refusals; n += 1) {
    assert.ok(n < from + 10_000, 'the disk gets full');
    const answer = await api.call('POST', 'messages', pushOf(n));
    if (answer.status === 202) accepted.push(n);
    else {
      assert.ok([503, 507].includes(answer.status), describeAnswer(answer));
      assert.ok(['storage_full', 'dependency_unavailable', 'overloaded'].includes(answer.json.code), describeAnswer(answer));
      refused.push(n);
    }
  }
  return { accepted, refused };
}

/** The accepted ones are there, as they were, and the refused ones are not. All of them would take long. */
async function assertKept(api, { accepted, refused }) {
  for (const n of accepted.filter((_, index) => index % 11 === 0 || index > accepted.length - 20)) assert.deepEqual((await api.message(`push-${n}`)).data, pushOf(n).data);
  for (const n of refused) assert.equal((await api.call('GET', `messages/push-${n}`)).status, 404, `push-${n} was refused`);
}

describe('a full disk', { skip: mayMount ? false : 'a small file system cannot be mounted here' }, () => {
  test('pushes are refused, nothing else stops, and service returns with the space', async (t) => {
    const small = new Small(t, 36);
    const ballast = path.join(small.path, 'ballast');
    writeFileSync(ballast, Buffer.alloc(20 * MIB, 1));
    const server = await Server.start(t, { store: path.join(small.path, 'data'), restartable: true });
    const api = new Api(server);
    const ann = await connected(t, server, 'ws', ANN);
    const full = await fill(api, 5);
    assert.ok(full.accepted.length > 20, `${full.accepted.length} were accepted`);
    // Who reads, who listens and who asks how it is does not notice.
    await assertKept(api, full);
    await ann.waitFor(full.accepted.length);
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
    assert.equal(ann.connects, 1);
    const alerts = async () => (await api.get('/v1/alerts')).items.filter(({ kind }) => kind.startsWith('store_'));
    await until('it is an alert', async () => (await alerts()).some(({ severity, until: end }) => severity === 'critical' && end === null));

    rmSync(ballast);
    await until('pushes are accepted again', async () => (await api.call('POST', 'messages', pushOf(20_000))).status === 202);
    full.accepted.push(20_000);
    await until('the alert is over', async () => (await alerts()).every(({ until: end }) => end !== null));
    await ann.waitFor(full.accepted.length);
    assert.deepEqual(ann.ids, full.accepted.map((n) => `push-${n}`), ann.state());

    await server.restart();
    await assertKept(api, full);
    await ann.close();
    const again = await connected(t, server, 'ws', ANN);
    await again.waitFor(full.accepted.length);
    assert.deepEqual(again.uniqueIds, full.accepted.map((n) => `push-${n}`));
  });

  test('a backup and an import that find no room say so and leave nothing, and the server goes on', async (t) => {
    const server = await Server.start(t);
    const api = new Api(server);
    for (let n = 0; n < 200; n += 1) await api.push(pushOf(n));
    const small = new Small(t, 4);
    const out = path.join(small.path, 'copy');
    const copied = await runToExit(['backup', '--store', server.store, '--out', out], { ms: 60_000 });
    assert.equal(copied.code, 1, copied.output);
    assert.match(copied.stderr, /No space left on device/);
    const leftBehind = () => (existsSync(out) ? readdirSync(out) : []);
    assert.deepEqual(leftBehind(), [], 'what could not be finished is gone');
    await api.push(pushOf(200));

    const text = path.join(temporaryDirectory('export'), 'all.ndjson');
    const exported = await runToExit(['export', '--store', server.store, '--out', text], { ms: 60_000 });
    assert.equal(exported.code, 0, exported.output);
    const imported = await runToExit(['import', '--in', text, '--store', out], { ms: 60_000 });
    assert.equal(imported.code, 1, imported.output);
    assert.match(imported.stderr, /No space left on device/);
    assert.deepEqual(leftBehind(), []);

    // With room for it, the same command does it.
    small.grow(128);
    const again = await runToExit(['backup', '--store', server.store, '--out', out], { ms: 60_000 });
    assert.equal(again.code, 0, again.output);
    await server.stop();
    const copy = await Server.start(t, { store: out, adminKey: server.adminKey });
    for (let n = 0; n <= 200; n += 50) await new Api(copy).message(`push-${n}`);
  });

  test('a disk that fills up while tables are written: as much is kept, over kills and restarts', async (t) => {
    const small = new Small(t, 40);
    const server = await Server.start(t, { store: path.join(small.path, 'data'), restartable: true });
    const api = new Api(server);
    const full = await fill(api, 3);
    // On a full disk it starts, or says why not.
    await server.kill9();
    const started = await server.start({ ms: 15_000 }).then(() => true, () => false);
    if (started) {
      const more = await fill(api, 3, 10_000);
      full.accepted.push(...more.accepted);
      full.refused.push(...more.refused);
      await assertKept(api, full);
      await server.kill9();
    } else {
      assert.match(server.output, /the disk with the data directory .* is full/, server.tail());
    }
    small.grow(400);
    await server.start();
    await assertKept(api, full);
    await api.push(pushOf(20_000));
    await server.stop();
    await server.start();
    await assertKept(api, { accepted: [...full.accepted, 20_000], refused: full.refused });
  });
});

function flip(file, at) {
  const fd = openSync(file, 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  byte[0] ^= 0x10;
  writeSync(fd, byte, 0, 1, at);
  closeSync(fd);
}

/** Where the bytes of a file end that had its space taken in advance. */
function endOf(file) {
  const bytes = readFileSync(file);
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return end;
}

describe('a damaged disk', () => {
  /** Enough for a table of messages. */
  const PUSHES = 300;
  let whole;
  let filesToDamage;

  before(async () => {
    const server = await Server.start(undefined);
    const api = new Api(server);
    const ann = await connected(undefined, server, 'ws', ANN);
    await ann.close();
    for (let n = 0; n < PUSHES; n += 1) await api.push(pushOf(n));
    await server.stop();
    whole = server;
    const files = readdirSync(server.store, { recursive: true }).filter((name) => /\/1\/tables\/\d+$|\.jnl$|\/1\/v\d+$|\/1\/current$/.test(name));
    // The newest manifest is the one that counts.
    const manifest = `db/keyspaces/1/v${Math.max(...files.flatMap((name) => /\/v(\d+)$/.exec(name)?.[1] ?? []))}`;
    filesToDamage = files.filter((name) => !/\/v\d+$/.test(name) || name === manifest);
    assert.ok(files.some((name) => /tables/.test(name)), `there is a table of messages: ${files}`);
  });

  after(() => whole?.dispose());

  async function look(t, name, damage) {
    const copy = path.join(temporaryDirectory('damaged'), 'data');
    cpSync(whole.store, copy, { recursive: true });
    damage(path.join(copy, name));
    const server = new Server({ store: copy, adminKey: whole.adminKey });
    t.after(() => server.kill9());
    const refusal = await server.start({ ms: 15_000 }).then(() => undefined, (error) => error);
    return { copy, server, refusal };
  }

  const PLACES = { table: [0.2, 0.8, 0.99], manifest: [0.1], journal: [0.3, 0.7] };
  const kindOf = (name) => (name.endsWith('.jnl') ? 'journal' : /tables/.test(name) ? 'table' : 'manifest');

  test('a flipped bit is named by its file, and never served', async (t) => {
    const outcomes = [];
    for (const name of filesToDamage) {
      const size = endOf(path.join(whole.store, name));
      for (const place of PLACES[kindOf(name)]) {
        const at = Math.floor(size * place);
        const { copy, server, refusal } = await look(t, name, (file) => flip(file, at));
        const what = `${name}, a bit at ${at} of ${size}`;
        // What points to a manifest and the manifest have each other's checksum: either may be wrong.
        const named = () => server.output.includes(path.join(copy, kindOf(name) === 'manifest' ? path.dirname(name) : name));
        if (refusal) {
          assert.match(server.output, /is damaged/, `${what}\n${server.tail()}`);
          assert.ok(named(), `${what}: the refusal names the file\n${server.tail()}`);
          outcomes.push(`${what}: refused`);
        } else {
          const errors = await served(server, what, kindOf(name) === 'table' ? 1 : 20);
          if (errors > 0) await until(() => `${what}: ${errors} reads failed and the log names the file\n${server.tail()}`, named);
          outcomes.push(`${what}: starts, ${errors} reads of ${PUSHES} failed`);
        }
        assert.doesNotMatch(server.output, /panicked at/, what);
        await server.kill9();
      }
    }
    t.diagnostic(outcomes.join('\n'));
    assert.ok(outcomes.some((outcome) => /starts, [1-9]/.test(outcome)), outcomes.join('\n'));
  });

  /** Every read, of one message in `every`, is right or an error; answers how many were errors. A device gets the right things in order, or is sent away. */
  async function served(server, what, every) {
    const api = new Api(server);
    let errors = 0;
    for (let n = 0; n < PUSHES; n += every) {
      const answer = await api.call('GET', `messages/push-${n}`);
      if (answer.status === 200) assert.deepEqual(answer.json.data, pushOf(n).data, what);
      else {
        assert.equal(answer.status, 500, `${what}: ${describeAnswer(answer)}`);
        errors += 1;
      }
    }
    const ann = await connected(undefined, server, 'ws', ANN).catch((error) => ({ error }));
    if (!ann.error) {
      if (errors === 0) await ann.waitFor(PUSHES, { unique: true, ms: 20_000 });
      assert.deepEqual(ann.uniqueIds, ann.uniqueIds.map((_, n) => `push-${n}`), `${what}: nothing is passed over`);
      for (const { data } of ann.received) assert.deepEqual(data, pushOf(data.n).data, what);
      await ann.close();
    }
    return errors;
  }

  test('a journal that ends in the middle of a write is cut off there', async (t) => {
    const first = await Server.start(t);
    const api = new Api(first);
    const push = (n, durability) => api.push({ to: { rooms: ['lobby'] }, id: `push-${n}`, data: n, durability });
    for (let n = 0; n < 10; n += 1) await push(n, 'durable');
    const journal = 'db/0.jnl';
    const durable = endOf(path.join(first.store, journal));
    for (let n = 10; n < 20; n += 1) await push(n, 'memory');
    await first.kill9();
    const end = endOf(path.join(first.store, journal));
    const cuts = {
      'cut off': (file, at) => truncateSync(file, at),
      'zeros': (file, at) => (truncateSync(file, at), truncateSync(file, 64 * MIB)),
      'other bytes': (file, at) => {
        const fd = openSync(file, 'r+');
        writeSync(fd, Buffer.alloc(end - at, 0xa5), 0, end - at, at);
        closeSync(fd);
      },
    };
    for (const [how, damage] of Object.entries(cuts)) {
      for (const at of [durable, Math.floor((durable + end) / 2), end - 1]) {
        const copy = path.join(temporaryDirectory('torn'), 'data');
        // The socket that a killed server leaves behind is no file to copy.
        cpSync(first.store, copy, { recursive: true, filter: (from) => path.basename(from) !== 'control.sock' });
        damage(path.join(copy, journal), at);
        const server = new Server({ store: copy, adminKey: first.adminKey });
        t.after(() => server.kill9());
        await server.start();
        const torn = new Api(server);
        for (let n = 0; n < 10; n += 1) assert.equal((await torn.message(`push-${n}`)).data, n, `${how} at ${at}`);
        await torn.push({ to: { all: true }, data: 'works' });
        await server.restart();
        for (let n = 0; n < 10; n += 1) assert.equal((await torn.message(`push-${n}`)).data, n, `${how} at ${at}`);
        await server.kill9();
      }
    }
  });
});
