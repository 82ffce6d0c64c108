// push (koa): its clients, byte by byte, and with the Socket.IO clients of its time.

import assert from 'node:assert/strict';
import net from 'node:net';
import { describe, test } from 'node:test';

import io1 from 'socket.io-client-1';
import io2 from 'socket.io-client-2';

import { Api } from './lib/api.mjs';
import { connectionsOf, startCompat } from './lib/compat.mjs';
import { RawSocket } from './lib/raw.mjs';
import { Redis } from './lib/redis.mjs';
import { until, within } from './lib/until.mjs';

async function start(t, settings = {}) {
  const server = await startCompat(t, { push_koa: { open: true, ...settings } });
  return { server, api: new Api(server, { namespace: settings.namespace ?? 'heikuai' }), at: server.at.push_koa };
}

async function entered(t, at, query = '') {
  const raw = await RawSocket.open(`ws://${at}/socket.io/?EIO=3&transport=websocket${query}`);
  t.after(() => raw.close());
  const open = await raw.nextLike(/^0\{/);
  assert.match(open, /"pingInterval":15000,"pingTimeout":20000/);
  assert.equal(await raw.next(), '40');
  raw.send('40/heikuai');
  assert.equal(await raw.next(), '40/heikuai,');
  return raw;
}

const online = (api, user, count = 1) =>
  until(`${user} has ${count} connections`, async () => (await connectionsOf(api, user)) === count);

async function loggedIn(t, at, api, uid) {
  const raw = await entered(t, at);
  raw.send(`42/heikuai,["login","${uid}"]`);
  await online(api, uid);
  return raw;
}

const acked = async (api, id) => {
  const { acked } = await api.get(`messages/${id}/report`);
  return typeof acked === 'number' ? acked : acked.total;
};

describe('push (koa): clients on the wire', () => {
  test('a message has two arguments and wants an acknowledgement', async (t) => {
    const { api, at } = await start(t);
    const ann = await loggedIn(t, at, api, 'ann');
    const { id } = await api.push({ to: { users: ['ann'] }, data: 'text' });
    const frame = await ann.nextLike(/^42/);
    const [, number] = /^42\/heikuai,(\d+)\["message","[^"]+","text"\]$/.exec(frame);
    assert.equal(frame, `42/heikuai,${number}["message","${id}","text"]`);
    ann.send(`43/heikuai,${number}[]`);
    await until('the receipt is in the books', async () => (await acked(api, id)) === 1);
    await api.push({ to: { users: ['ann'] }, data: { a: 1 } });
    assert.match(await ann.nextLike(/^42/), /"message","[^"]+",\{"a":1\}\]$/);
  });

  test('nobody gets anything before the login, and after the logout', async (t) => {
    const { api, at } = await start(t);
    const nobody = await entered(t, at);
    const ann = await loggedIn(t, at, api, 'ann');
    await api.push({ to: { all: true }, data: 1 });
    await ann.nextLike(/"message"/);
    ann.send('42/heikuai,["logout"]');
    await online(api, 'ann', 0);
    await api.push({ to: { all: true }, data: 2 });
    // What came while nobody was logged in waits for the next login; so does what was not acknowledged.
    ann.send('42/heikuai,["login","ann"]');
    assert.match(await ann.nextLike(/"message"/), /,1\]$/);
    assert.match(await ann.nextLike(/"message"/), /,2\]$/);
    nobody.send('2');
    assert.equal(await nobody.next(), '3');
  });

  test('a second login kicks the first, whose connection stays', async (t) => {
    const { api, at } = await start(t);
    const first = await loggedIn(t, at, api, 'ann');
    const second = await entered(t, at);
    second.send('42/heikuai,["login","ann"]');
    assert.equal(await first.nextLike(/"repeat"/), '42/heikuai,["repeat","-1","用户 ann 重复登录"]');
    await online(api, 'ann', 1);
    await api.push({ to: { users: ['ann'] }, data: 'one' });
    assert.match(await second.nextLike(/"message"/), /"one"\]$/);
    first.send('2');
    assert.equal(await first.next(), '3');
    // Its logout is not the newer one's.
    first.send('42/heikuai,["logout"]', '2');
    assert.equal(await first.next(), '3');
    await online(api, 'ann', 1);
    // And it may log in again.
    first.send('42/heikuai,["login","ann"]');
    await second.nextLike(/"repeat"/);
    await online(api, 'ann', 1);
  });

  test('another login on the same connection logs the first user out', async (t) => {
    const { api, at } = await start(t);
    const raw = await loggedIn(t, at, api, 'ann');
    raw.send('42/heikuai,["login",7]');
    await online(api, '7');
    await online(api, 'ann', 0);
  });

  for (const [ttl, waits] of [['24h', true], ['0s', false]]) {
    test(`with ttl = ${ttl}, a push ${waits ? 'waits' : 'does not wait'} for who is away`, async (t) => {
      const { api, at } = await start(t, { ttl });
      const first = await loggedIn(t, at, api, 'ann');
      first.send('42/heikuai,["logout"]');
      await online(api, 'ann', 0);
      const call = async (message, ack) => {
        const body = JSON.stringify({ useraccount: 'ann', msgId: 'm1', message, ack });
        const answer = await fetch(`http://${at}/pushMsgToSingleDevice`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
        assert.deepEqual(await answer.json(), { code: 0, msg: '推送成功', body: ack ? [] : true });
      };
      await call('while away', true);
      // Nobody could say that it has come, so it would come with every login.
      await call('without ack', false);
      const again = await loggedIn(t, at, api, 'ann');
      await call('while here', false);
      const got = [await again.nextLike(/"message"/)];
      if (waits) got.push(await again.nextLike(/"message"/));
      const texts = got.map((frame) => JSON.parse(frame.slice(frame.indexOf('[')))[2]);
      assert.deepEqual(texts, waits ? ['while away', 'while here'] : ['while here']);
      assert.ok(got.every((frame) => /^42\/heikuai,\d*\["message","m1",/.test(frame)), got.join());
    });
  }

  test('a backend hears of a login on its Redis, and says which rooms that leads to', async (t) => {
    const redis = await Redis.start(t);
    await redis.cli('SET', 'room@ann', 'a,b');
    const heard = redis.subscribe('login1@*');
    t.after(() => heard.stop());
    await heard.ready;
    const { api, at } = await start(t, { redis: redis.url });
    const ann = await loggedIn(t, at, api, 'ann');
    await until(() => `the login is told, ${heard.said}`, () => heard.said.includes('login1@*\nann\n'));
    for (const room of ['a', 'b']) {
      await api.push({ to: { rooms: [room] }, data: room });
      assert.match(await ann.nextLike(/"message"/), new RegExp(`,"${room}"\\]$`));
    }
    // Whoever logs in again is where the backend has them now, and nowhere else.
    await redis.cli('SET', 'room@ann', 'b,c');
    ann.send('42/heikuai,["logout"]');
    await online(api, 'ann', 0);
    const again = await loggedIn(t, at, api, 'ann');
    for (const room of ['a', 'b', 'c']) await api.push({ to: { rooms: [room] }, data: `2 ${room}` });
    const heardNow = [await again.nextLike(/"message".*"2 /), await again.nextLike(/"message".*"2 /)];
    assert.deepEqual(heardNow.map((frame) => frame.match(/"2 (.)"/)[1]), ['b', 'c']);
    // Nobody is kept out because it is away.
    await redis.kill9();
    await loggedIn(t, at, api, 'bob');
  });

  test('nonsense harms nobody', async (t) => {
    const { api, at } = await start(t);
    const ann = await loggedIn(t, at, api, 'ann');
    ann.send('42/heikuai,["login"]', '42/heikuai,["login",{}]', '42/heikuai,["login",""]', '42/heikuai,["nothing",1]', '43/heikuai,99999[]', '42["login","x"]', '2');
    assert.equal(await ann.next(), '3');
    await online(api, 'ann', 1);
    const stranger = await RawSocket.open(`ws://${at}/socket.io/?EIO=3&transport=websocket`);
    t.after(() => stranger.close());
    stranger.send('40/demo');
    assert.equal(await stranger.nextLike(/^44/), '44/demo,"Invalid namespace"');
    stranger.send('42/heikuai,["login","ann"]', '451-/heikuai,["login",{"_placeholder":true,"num":0}]', Buffer.from([4, 1]), '2');
    assert.equal(await stranger.nextLike(/^3/), '3');
    await online(api, 'ann', 1);
    assert.equal(ann.closed, undefined);
  });

  test('whoever hears of a login can send at once what was missed', async (t) => {
    const redis = await Redis.start(t);
    const { at } = await start(t, { ttl: '0s', redis: redis.url, servers: 1 });
    await redis.cli('SET', 'room@u1', 'vip,news');
    const backend = net.connect(redis.port, '127.0.0.1');
    t.after(() => backend.destroy());
    const call = async (path, body) => (await fetch(`http://${at}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })).json();
    const received = [];
    let said = '';
    backend.on('data', async (bytes) => {
      said += bytes;
      const heard = /login1@\*\r\n\$\d+\r\n(u\d+)\r\n/.exec(said);
      if (!heard) return;
      said = '';
      received.push(await call('/pushOffLineMsg', { useraccount: heard[1], msglist: JSON.stringify([{ msgId: 'm1', message: 'missed' }]) }));
    });
    backend.write('SUBSCRIBE login1@*\r\n');
    await until('the backend listens', () => said.includes('subscribe'));
    for (let i = 1; i <= 10; i += 1) {
      const raw = await entered(t, at);
      raw.send(`42/heikuai,["login","u${i}"]`);
      const frame = await raw.nextLike(/"missed/);
      raw.send(`43${frame.slice(2, frame.indexOf('['))}[]`);
      await until('it was received', () => received.length === i);
      assert.deepEqual(received.at(-1).body, ['m1']);
      if (i === 1) {
        const room = call('/pushMsgToRoom', { tags: 'news', msgId: 'm2', message: 'hello' });
        const ack = await raw.nextLike(/"m2"/);
        raw.send(`43${ack.slice(2, ack.indexOf('['))}[]`);
        assert.deepEqual((await room).body, ['u1']);
      }
    }
  });

  test('where calls are not open, clients need a token', async (t) => {
    const { api, at } = await start(t, { open: false });
    const forged = await entered(t, at);
    forged.send('42/heikuai,["login","ann"]', '2');
    assert.equal(await forged.nextLike(/^3/), '3');
    const minted = await api.call('POST', 'tokens', { user: 'ann', expires_in: '1h' });
    assert.equal(minted.status, 201, minted.text);
    const ann = await entered(t, at, `&token=${minted.json.token}`);
    ann.send('42/heikuai,["login","bob"]', '42/heikuai,["login","ann"]');
    await online(api, 'ann');
    await online(api, 'bob', 0);
  });
});

describe('push (koa): clients of its time', () => {
  for (const [version, io] of Object.entries({ '1.7': io1, '2.5': io2 })) {
    for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
      test(`socket.io-client ${version} by ${transports.join(' then ')}`, async (t) => {
        const { api, at } = await start(t);
        const socket = io(`http://${at}/heikuai`, { transports, forceNew: true, reconnection: false });
        t.after(() => socket.disconnect());
        await within('connected', new Promise((resolve) => socket.on('connect', resolve)));
        socket.emit('login', 'ann');
        await online(api, 'ann');
        const message = within('a message', new Promise((resolve) => socket.on('message', (...args) => resolve(args))));
        // By polling, 1.x encodes text twice, and expects to read it so.
        const { id } = await api.push({ to: { users: ['ann'] }, data: '用户 é 😀' });
        const [mid, text, callback] = await message;
        assert.deepEqual([mid, text], [id, '用户 é 😀']);
        callback();
        await until('the receipt is in the books', async () => (await acked(api, id)) === 1);
        socket.emit('login', '用户 é 😀');
        await online(api, '用户 é 😀');
      });
    }
  }
});
