// The backend side of light-push: twenty calls, byte by byte as its backends know them, and without its holes.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { request } from './lib/request.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

const ENABLED = { TIDINGS_COMPAT__LIGHT_PUSH__ENABLED: 'true' };
const PASSWORD = 'pass:word';
const basic = (key, password) => `Basic ${Buffer.from(`${key}:${password}`).toString('base64')}`;
/** A business error as light-push writes it. */
const coded = (why) => `{"code": 9999,"msg": ${JSON.stringify(why)}}`;

/** A backend of light-push: a name, a password, and what it calls. */
class Backend {
  constructor(server, key, password, { target } = {}) {
    this.target = target ?? server;
    this.authorization = basic(key, password);
  }

  async call(method, path, body, { authorization = this.authorization, headers = {} } = {}) {
    const raw = typeof body === 'string';
    const answer = await request(this.target, {
      method,
      path,
      headers: {
        ...(authorization ? { authorization } : {}),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined || raw ? body : JSON.stringify(body),
    });
    const name = `${method} ${path} answered ${answer.status} ${answer.text}`;
    assert.equal(answer.headers.from, 'light-push', name);
    return { ...answer, name, json: /json/.test(answer.headers['content-type'] ?? '') ? JSON.parse(answer.text) : undefined };
  }

  /** A call that is answered with JSON. */
  async ok(method, path, body) {
    const answer = await this.call(method, path, body);
    assert.equal(answer.status, 200, answer.name);
    assert.match(answer.headers['content-type'], /^application\/json/, answer.name);
    assert.match(answer.headers['x-response-time'], /^\d+ms$/);
    return answer.json;
  }

  /** A call that is refused, in these bytes. */
  async refused(status, text, method, path, body, options) {
    const answer = await this.call(method, path, body, options);
    assert.deepEqual([answer.status, answer.text], [status, text], answer.name);
    assert.match(answer.headers['content-type'] ?? 'text/plain', /^text\/plain/, answer.name);
  }
}

/** A server with a namespace made by light-push's administrator, and a backend of it. */
async function demo(t, { key = '/shop', ...options } = {}) {
  const server = await Server.start(t, { env: ENABLED, ...options });
  const admin = new Backend(server, 'admin', server.adminKey);
  assert.deepEqual(await admin.ok('POST', '/api/admin/namespace/save', { key, name: 'Shop', auth_passwd: PASSWORD }), {});
  return { server, admin, backend: new Backend(server, key, PASSWORD) };
}

/** A client with the device that one of light-push is. */
const client = (t, server, userid, platform, uuid, more = {}) =>
  connected(t, server, 'ws', { namespace: 'shop', user: userid, device: `${userid}#${platform}-${uuid}`, platform, ...more });

test('who calls is said by name and password, with and without the word in front', async (t) => {
  const { server, admin, backend } = await demo(t);
  assert.deepEqual(await backend.ok('POST', '/api/auth/login'), {});
  assert.deepEqual(await admin.ok('POST', '/api/admin/login'), {});
  const bare = await backend.call('POST', '/api/auth/login', {}, { authorization: backend.authorization.slice('Basic '.length) });
  assert.deepEqual([bare.status, bare.text], [200, '{}']);
  for (const [path, authorization, status, text] of [
    ['/api/auth/login', null, 400, 'need authorization'],
    ['/api/auth/login', '!!!', 400, 'need authorization'],
    ['/api/auth/login', basic('/nowhere', PASSWORD), 400, 'namespace not found'],
    ['/api/auth/login', basic('shop', PASSWORD), 400, 'namespace not found'],
    ['/api/auth/login', basic('/shop', 'pass'), 401, 'passwd error'],
    ['/api/auth/login', basic('/demo', PASSWORD), 401, 'passwd error'],
    ['/api/admin/login', null, 400, 'need authorization'],
    ['/api/admin/login', basic('admin', 'wrong'), 401, 'auth error'],
    ['/api/admin/login', basic('root', server.adminKey), 401, 'auth error'],
    ['/api/admin/login', backend.authorization, 401, 'auth error'],
  ]) {
    await backend.refused(status, text, 'POST', path, {}, { authorization });
  }

  // A key of the namespace is as good, for what it is for; one of another namespace is none.
  const api = new Api(server, { namespace: 'shop' });
  const { key } = (await api.call('POST', 'keys', { name: 'reads', scopes: ['read'] })).json;
  const reader = new Backend(server, '/shop', key);
  assert.equal((await reader.ok('GET', '/api/auth/namespace')).key, '/shop');
  await reader.refused(403, 'the key has not the scope "push" that this needs', 'POST', '/api/auth/push', { room: 'r', pushData: {} });
  await new Backend(server, '/demo', key).refused(401, 'passwd error', 'POST', '/api/auth/login');

  // The password is listed among the keys, opens nothing elsewhere, and is revoked as any other.
  const listed = (await api.get('keys')).items.map(({ id }) => id);
  assert.ok(listed.includes('light-push'), `${listed}`);
  assert.equal((await api.call('GET', '/v1/namespaces/shop', undefined, { key: PASSWORD })).status, 401);
  assert.equal((await api.call('GET', '/v1/namespaces/shop', undefined, { key: null, headers: { authorization: basic('x', `shop\0${PASSWORD}`) } })).status, 401);
  assert.equal((await api.call('DELETE', 'keys/light-push')).status, 204);
  await backend.refused(401, 'passwd error', 'POST', '/api/auth/login');
});

test('wrong passwords are counted, and right ones have to wait then, too', async (t) => {
  const { server, backend } = await demo(t);
  const wrong = new Backend(server, '/shop', 'guess');
  let last;
  for (let n = 0; n < 2_000 && last !== 429; n += 1) last = (await wrong.call('POST', '/api/auth/login')).status;
  assert.equal(last, 429);
  await until('the right one is heard again', async () => (await backend.call('POST', '/api/auth/login')).status === 200, { ms: 10_000 });
});

test('a push is stored, delivered and reported as it was', async (t) => {
  const { server, backend } = await demo(t);
  const u1 = await client(t, server, 'u1', 'ios', 'd1', { rooms: ['r1'] });
  const u2 = await client(t, server, 'u2', 'web', 'd2', { rooms: ['r1'] });
  const pushData = { title: 'x', n: 1.5, apsData: { aps: { alert: 'hi' } } };
  const first = await backend.ok('POST', '/api/auth/push', { room: 'room_r1', pushData, except: '/shop#u2#web-d2', from: 'me', expire: 2, leaveMessage: true, name: 'odd' });
  assert.deepEqual(Object.keys(first), ['id']);
  assert.equal(typeof first.id, 'number');
  await u1.waitFor(1);
  assert.deepEqual(u1.received[0].data, { title: 'x', n: 1.5 });
  const second = await backend.ok('POST', '/api/auth/push', { room: 'user_u2', pushData: { a: 1 } });
  assert.ok(second.id > first.id);
  await u2.waitFor(1);
  assert.deepEqual(u2.received.map(({ data }) => data), [{ a: 1 }], 'it was left out of the first one');

  const acked = async () => (await backend.ok('GET', `/api/auth/report/push/${first.id}`)).ackCount === '1';
  await until('the receipt is there', acked);
  const { sendDate, ...shown } = await backend.ok('GET', `/api/auth/report/push/${first.id}?ackDetail=1`);
  assert.ok(Math.abs(Number(sendDate) - Date.now()) < 60_000, sendDate);
  assert.deepEqual(shown, {
    room: 'room_r1',
    pushData: JSON.stringify(pushData),
    expire: '2',
    id: String(first.id),
    namespace: '/shop',
    ackCount: '1',
    ackIOSCount: '1',
    ackAndroidCount: '0',
    onlineClientCount: '1',
    except: '/shop#u2#web-d2',
    from: 'me',
    leaveMessage: 'true',
    ackIOSDetail: ['/shop#u1#ios-d1'],
    ackAndroidDetail: [],
    ackWebDetail: [],
  });
  const list = await backend.ok('GET', '/api/auth/report/push');
  assert.deepEqual(list.map(({ id, room, expire }) => [id, room, expire]), [[String(second.id), 'user_u2', '1'], [String(first.id), 'room_r1', '2']]);
  assert.ok(list.every((one) => Object.values(one).every((value) => typeof value === 'string')));
  const pages = [await backend.ok('GET', '/api/auth/report/push?page=2&size=1'), await backend.ok('GET', '/api/auth/report/push?page=3&size=1')];
  assert.deepEqual(pages.map((page) => page.map(({ id }) => id)), [[String(first.id)], []]);
  const counters = await backend.ok('GET', '/api/auth/namespace/current-message-stat');
  assert.deepEqual(Object.keys(counters).sort(), ['currDateMessageCount', 'currHourMessageCount', 'currMinuteMessageCount']);
  // An hour may have begun in between, and a minute.
  for (const count of Object.values(counters)) assert.ok([0, '1', '2'].includes(count), JSON.stringify(counters));

  const path = '/api/auth/push';
  const data = { a: 1 };
  for (const [body, why] of [
    [{ pushData: data }, 'room can not be empty'],
    [{ room: '', pushData: data }, 'room can not be empty'],
    [{ room: 'a b', pushData: data }, 'room invalid'],
    [{ room: 'x'.repeat(101), pushData: data }, 'room invalid'],
    [{ room: 'r' }, 'pushData can not be empty and must be an Object'],
    [{ room: 'r', pushData: 'text' }, 'pushData can not be empty and must be an Object'],
    [{ room: 'r', pushData: [1] }, 'pushData can not be empty and must be an Object'],
    [{ room: 'r', pushData: data, except: 7 }, 'except must be string'],
    [{ room: 'r', pushData: data, expire: 11 }, 'expire invalid'],
    [{ room: 'r', pushData: data, expire: 0 }, 'expire invalid'],
    [{ room: 'r', pushData: data, expire: 'soon' }, 'expire invalid'],
    [{ room: 'r', pushData: { apsData: 'x'.repeat(4_000) }, leaveMessage: true }, 'pushData.apsData size must be less then 4000 bytes'],
    [{ room: 'r', pushData: { a: 'x'.repeat(70_000) } }, 'pushData size must be less then 65536 bytes'],
  ]) {
    await backend.refused(400, coded(why), 'POST', path, body);
  }
  await backend.refused(400, 'Bad Request', 'POST', path, '{');
  await backend.refused(413, 'Payload Too Large', 'POST', path, JSON.stringify({ room: 'r', pushData: { a: 'x'.repeat(1 << 20) } }));
  const form = { headers: { 'content-type': 'application/x-www-form-urlencoded' } };
  await backend.refused(413, 'Payload Too Large', 'POST', path, `room=${'x'.repeat(57 << 10)}`, form);
  await backend.refused(400, coded('room invalid'), 'POST', path, 'room=a+b', form);
  for (const id of ['0', '99', 'x', '-1', '1.5', '99999999999999999999']) {
    await backend.refused(400, coded('this id not exists'), 'GET', `/api/auth/report/push/${id}`);
  }
});

test('nobody sees or changes what is of another namespace', async (t) => {
  const { server, admin, backend } = await demo(t);
  await admin.ok('POST', '/api/admin/namespace/save', { key: '/other', auth_passwd: PASSWORD });
  const other = new Backend(server, '/other', PASSWORD);
  await client(t, server, 'u1', 'ios', 'd1');
  const { id } = await backend.ok('POST', '/api/auth/push', { room: 'user_u1', pushData: { secret: true } });
  await other.refused(400, coded('this id not exists'), 'GET', `/api/auth/report/push/${id}`);
  await other.refused(400, coded('this id not exists'), 'POST', '/api/auth/client', { id: '/shop#u1#ios-d1' });
  await other.refused(400, coded('this id not exists'), 'POST', '/api/auth/client', { id: '/shop#u1#ios-d1', mobile: 'mine' });
  await other.refused(400, coded('this id not exists'), 'POST', '/api/auth/client', { id: '/other#u1#ios-d1' });
  // What a call says of a namespace changes nothing.
  const { id: own } = await other.ok('POST', '/api/auth/push', { room: 'user_u1', pushData: {}, namespace: '/shop' });
  assert.equal((await other.ok('GET', `/api/auth/report/push/${own}`)).namespace, '/other');
  assert.deepEqual(await other.ok('POST', '/api/auth/namespace/save', { key: '/shop', name: 'Mine' }), {});
  assert.deepEqual([(await backend.ok('GET', '/api/auth/namespace')).name, (await other.ok('GET', '/api/auth/namespace')).name], ['Shop', 'Mine']);
  assert.equal((await backend.ok('POST', '/api/auth/client', { id: '/shop#u1#ios-d1' })).mobile, undefined);
});

test('clients are shown, set, muted and moved', async (t) => {
  const { server, backend } = await demo(t);
  const u1 = await client(t, server, 'u1', 'ios', 'd1', { rooms: ['r1'] });
  const u2 = await client(t, server, 'u2', 'android', 'd2', { rooms: ['r1'] });
  const id = '/shop#u1#ios-d1';
  const fields = { device_token: 't1', mobile: 'iPhone', system: 13, leaveMessage: true, longitude: 121.5, latitude: 31.25 };
  const set = await backend.call('POST', '/api/auth/client', { id, ...fields, userId: 'x', nspName: '/y' });
  assert.deepEqual([set.status, set.text], [204, '']);
  const record = await backend.ok('POST', '/api/auth/client', { id });
  for (const time of ['first_connect_time', 'last_connect_time', 'update_date']) {
    assert.ok(Math.abs(Number(record[time]) - Date.now()) < 60_000, `${time}: ${record[time]}`);
    delete record[time];
  }
  const strings = { device_token: 't1', mobile: 'iPhone', system: '13', leaveMessage: 'true', longitude: '121.5', latitude: '31.25' };
  assert.deepEqual(record, { userid: 'u1', userId: 'u1', nspName: '/shop', ...strings });
  await backend.refused(400, coded('id can not be empty'), 'POST', '/api/auth/client', {});
  await backend.refused(400, coded('this id not exists'), 'POST', '/api/auth/client', { id: '/shop#nobody#web-x' });
  await backend.refused(400, coded('latitude invalid'), 'POST', '/api/auth/client', { id, latitude: 91 });
  const api = new Api(server, { namespace: 'shop' });
  const { key } = (await api.call('POST', 'keys', { name: 'reads', scopes: ['read'] })).json;
  const reader = new Backend(server, '/shop', key);
  assert.equal((await reader.ok('POST', '/api/auth/client', { id })).device_token, '***');
  await reader.refused(403, 'the key has not the scope "manage" that this needs', 'POST', '/api/auth/client', { id, mobile: 'x' });

  assert.deepEqual(await backend.ok('POST', '/api/auth/room-apns', { room: 'r1', add: ['r1', 'room_r2'], remove: [] }), {});
  assert.deepEqual(await backend.ok('POST', '/api/auth/room-apns', { room: 'user_u1', remove: 'r2' }), {});
  const muted = async (client) => (await backend.ok('POST', '/api/auth/client', { id: client })).no_send_apns;
  assert.deepEqual([await muted(id), await muted('/shop#u2#android-d2')], ['r1', 'r1,r2']);
  await backend.refused(400, coded('room can not be empty'), 'POST', '/api/auth/room-apns', { add: ['r1'] });
  await backend.refused(400, coded('room invalid'), 'POST', '/api/auth/room-apns', { room: 'r1', add: ['a b'] });
  assert.deepEqual(await backend.ok('POST', '/api/auth/room-leave-message', { room: 'r1', leaveMessage: false }), {});
  assert.equal((await backend.ok('POST', '/api/auth/client', { id })).leaveMessage, 'false');
  await backend.refused(400, coded('room can not be empty'), 'POST', '/api/auth/room-leave-message', { leaveMessage: true });

  // Who is away is moved, too.
  await u2.close();
  const empty = 'targetRoom and sourceRooms and type and namespace can not be empty';
  const transfer = (body) => ['POST', '/api/auth/transfer', body];
  assert.deepEqual(await backend.ok(...transfer({ targetRoom: 'r3', sourceRooms: ['room_r1'], type: 'join' })), {});
  const members = async (room) => (await backend.ok('GET', `/api/auth/report/online?room=${room}`))[0].totalClientCount;
  assert.equal(await members('r3'), 2);
  assert.deepEqual(await backend.ok(...transfer({ targetRoom: 'r3', sourceRooms: ['user_u2'], type: 'leave' })), {});
  assert.equal(await members('r3'), 1);
  for (const [body, why] of [
    [{ sourceRooms: ['r1'], type: 'join' }, empty],
    [{ targetRoom: 'r3', type: 'join' }, empty],
    [{ targetRoom: 'r3', sourceRooms: ['r1'] }, empty],
    [{ targetRoom: 'a b', sourceRooms: ['r1'], type: 'join' }, 'targetRoom invalid'],
    [{ targetRoom: 'user_u1', sourceRooms: ['r1'], type: 'join' }, 'targetRoom invalid'],
    [{ targetRoom: 'r3', sourceRooms: ['a b'], type: 'join' }, 'sourceRoom invalid'],
  ]) {
    await backend.refused(400, coded(why), ...transfer(body));
  }
  const { id: pushed } = await backend.ok('POST', '/api/auth/push', { room: 'r3', pushData: { a: 1 } });
  await u1.waitFor(1);
  assert.ok(pushed > 0);
});

test('who is here is reported, by namespace and by room', async (t) => {
  const { server, admin, backend } = await demo(t);
  await client(t, server, 'u1', 'ios', 'd1', { rooms: ['r1'] });
  await client(t, server, 'u1', 'web', 'd1', { rooms: ['r1'] });
  const u2 = await client(t, server, 'u2', 'android', 'd2', { rooms: ['r1', 'r2'] });
  await u2.close();
  const report = (query = '') => backend.ok('GET', `/api/auth/report/online${query}`);
  const counts = { roomCount: 2, userCount: 1, clientCount: 2, totalClientCount: 3 };
  await until('u2 is gone', async () => (await report()).clientCount === 2);
  assert.deepEqual(await report(), counts);
  const clients = ['/shop#u1#ios-d1', '/shop#u1#web-d1'];
  assert.deepEqual(await report('?detail=1'), { ...counts, room: ['r1', 'user_u1'], client: clients, user: ['u1'] });
  const room = (name, ...numbers) => {
    const [userCount, clientCount, totalClientCount, iosClientCount, totalIOSClientCount, androidClientCount, totalAndroidClientCount] = numbers;
    return { name, userCount, clientCount, totalClientCount, iosClientCount, totalIOSClientCount, androidClientCount, totalAndroidClientCount };
  };
  assert.deepEqual(await report('?room=room_r1&room=r2&room=user_u1&room=nowhere'), [
    room('room_r1', 1, 2, 3, 1, 1, 0, 1),
    room('r2', 0, 0, 1, 0, 0, 0, 1),
    room('user_u1', 1, 2, 2, 1, 1, 0, 0),
    room('nowhere', 0, 0, 0, 0, 0, 0, 0),
  ]);
  assert.deepEqual(await report('?room=r1&detail=true'), [{ ...room('r1', 1, 2, 3, 1, 1, 0, 1), client: clients, user: ['u1'] }]);
  await backend.refused(400, coded('room invalid'), 'GET', '/api/auth/report/online?room=a+b');
  const all = (query = '') => admin.ok('GET', `/api/admin/report/online${query}`);
  assert.deepEqual(await all(), { userCount: 1, roomCount: 2, clientCount: 2 });
  assert.deepEqual(await all('?namespace=/shop'), counts);
  assert.deepEqual(await all('?namespace=/shop&room=r2'), [room('r2', 0, 0, 1, 0, 0, 0, 1)]);
  await admin.refused(400, coded('this namespace lose'), 'GET', '/api/admin/report/online?namespace=/nowhere');
});

test('a namespace is set, listed, cleared and deleted, and its secrets stay secret', async (t) => {
  const { server, admin, backend } = await demo(t, { restartable: true });
  const save = (body) => admin.ok('POST', '/api/admin/namespace/save', body);
  const own = () => backend.ok('GET', '/api/auth/namespace');
  const { update_date, ...fresh } = await own();
  assert.ok(Math.abs(Number(update_date) - Date.now()) < 60_000);
  assert.deepEqual(fresh, {
    key: '/shop',
    name: 'Shop',
    connect_callback: null,
    disconnect_callback: null,
    auth_passwd: '***',
    apns_list: null,
    client_ip: '127.0.0.1',
    callback_auth: null,
    offline: 'off',
  });
  const apns = { name: 'a', apns_env: 'dev', apns_expiration: 60, apns_topic: 'com.x', token_key: 'PRIVATE' };
  await save({ key: '/shop', connect_callback: 'https://example.com/in', disconnect_callback: 'https://example.com/out', callback_auth: 'Basic eA==', apns_list: [apns, { name: 'b' }] });
  await server.restart();
  const kept = await own();
  const shown = { ...apns, token_key: '***' };
  assert.deepEqual([kept.connect_callback, kept.disconnect_callback, kept.callback_auth], ['https://example.com/in', 'https://example.com/out', '***']);
  assert.deepEqual(kept.apns_list, [shown, { name: 'b' }]);
  // What is read can be written back, and changes nothing.
  assert.deepEqual(await backend.ok('POST', '/api/auth/namespace/save', kept), {});
  const { update_date: later, ...again } = await own();
  const { update_date: before, ...same } = kept;
  assert.ok(Number(later) >= Number(before));
  assert.deepEqual(again, same);
  await backend.ok('POST', '/api/auth/namespace/save', { apns_list: [{ name: 'b', del: true }], connect_callback: '' });
  assert.deepEqual([(await own()).apns_list, (await own()).connect_callback], [[shown], null]);

  for (const [body, why] of [
    [{}, 'key is null'],
    [{ key: 'shop' }, 'namespace invalid'],
    [{ key: '/Shop' }, 'namespace invalid'],
    [{ key: '/' }, 'namespace invalid'],
    [{ key: '/shop', connect_callback: 'ftp://x' }, 'connect_callback invalid'],
    [{ key: '/shop', callback_auth: 'a\nb' }, 'callback_auth invalid'],
    [{ key: '/shop', offline: 'perhaps' }, 'offline invalid'],
    [{ key: '/shop', apns_list: 7 }, 'apns_list invalid'],
  ]) {
    await admin.refused(400, coded(why), 'POST', '/api/admin/namespace/save', body);
  }
  await backend.refused(400, coded('offline needs the admin password'), 'POST', '/api/auth/namespace/save', { offline: 'on' });

  // A new password takes the place of the old one.
  await backend.ok('POST', '/api/auth/namespace/save', { auth_passwd: 'new' });
  await backend.refused(401, 'passwd error', 'GET', '/api/auth/namespace');
  backend.authorization = basic('/shop', 'new');
  assert.equal((await own()).auth_passwd, '***');

  await save({ key: '/shop2', name: 'Two' });
  const list = async (query) => (await admin.ok('GET', `/api/admin/namespace/list?${query}`)).list.map(({ key }) => key);
  assert.deepEqual(await list('key=shop'), ['/shop', '/shop2']);
  assert.deepEqual([await list('key=shop&page=2&pageSize=1'), await list('name=Tw'), await list('key=shop&offline=on')], [['/shop2'], ['/shop2'], []]);
  const page = await admin.ok('GET', '/api/admin/namespace/list?key=shop&pageSize=1&online=true');
  assert.deepEqual([page.total, page.list.length, page.list[0].clientCount, page.list[0].auth_passwd], [2, 1, 0, '***']);

  // While it is offline, and only then, it is cleared and deleted.
  const u1 = await client(t, server, 'u1', 'ios', 'd1');
  const { id } = await backend.ok('POST', '/api/auth/push', { room: 'user_u1', pushData: { a: 1 } });
  const online = coded('namespace must be set offline on');
  await admin.refused(400, online, 'GET', '/api/admin/namespace/clear/shop');
  await admin.refused(400, online, 'GET', '/api/admin/namespace/flush/%2Fshop');
  await admin.refused(400, online, 'POST', '/api/admin/namespace/clear-realtime-data', { namespace: '/shop' });
  await admin.refused(400, online, 'POST', '/api/admin/clear-legacy-client', { namespace: '/shop' });
  await admin.refused(400, coded('this namespace lose'), 'POST', '/api/admin/clear-legacy-client', {});
  await save({ key: '/shop', offline: 'on' });
  await u1.waitUntil('u1 is sent away', () => u1.notices.some(({ notice }) => notice === 'goaway'));
  assert.deepEqual([(await own()).offline, await list('offline=on')], ['on', ['/shop']]);
  await backend.refused(400, coded('this namespace offline'), 'POST', '/api/auth/push', { room: 'r', pushData: {} });
  assert.equal((await backend.ok('GET', `/api/auth/report/push/${id}`)).id, String(id));
  assert.deepEqual(await admin.ok('POST', '/api/admin/namespace/clear-realtime-data', { namespace: '/shop' }), {});
  assert.deepEqual(await admin.ok('POST', '/api/admin/clear-legacy-client', { namespace: '/shop' }), []);
  assert.deepEqual(await admin.ok('GET', '/api/admin/namespace/clear/%2Fshop'), {});
  await backend.refused(400, coded('this id not exists'), 'GET', `/api/auth/report/push/${id}`);
  assert.deepEqual(await admin.ok('GET', '/api/admin/namespace/flush/shop'), {});
  await backend.refused(400, 'namespace not found', 'POST', '/api/auth/login');
  assert.deepEqual(await list('key=shop'), ['/shop2']);
  // A new one of the same name knows nothing of it.
  await until('its name is free', async () => (await admin.call('POST', '/api/admin/namespace/save', { key: '/shop' })).status === 200);
  const made = (await admin.ok('GET', '/api/admin/namespace/list?name=&key=shop')).list[0];
  assert.deepEqual([made.auth_passwd, made.disconnect_callback, made.apns_list], [null, null, null]);
});

test('pages of other origins may call, and every path says what it may be called with', async (t) => {
  const { server, backend } = await demo(t);
  const origin = 'https://admin.example';
  for (const path of ['/api/auth/push', '/api/admin/namespace/clear/x', '/health']) {
    const { status, headers } = await backend.call('OPTIONS', path, undefined, { authorization: null, headers: { origin } });
    assert.equal(status, 204, path);
    assert.equal(headers['access-control-allow-methods'], 'GET, POST');
    assert.equal(headers['access-control-allow-headers'], 'Content-Type, AdminKey, Nonce, Timestamp, Signature, AppKey, Token, AppId, RefKey, Authorization');
    assert.equal(headers['access-control-max-age'], '2592000');
  }
  for (const authorization of [backend.authorization, null]) {
    const { headers } = await backend.call('POST', '/api/auth/login', {}, { authorization, headers: { origin } });
    assert.equal(headers['access-control-allow-origin'], origin);
    assert.equal(headers['access-control-allow-credentials'], 'true');
  }
  const health = await backend.call('GET', '/health', undefined, { authorization: null });
  assert.deepEqual([health.status, health.text], [200, 'hello']);
  await backend.refused(404, 'Not Found', 'GET', '/api/auth/push');
  // Everything else on the main listener is Tidings as ever.
  assert.equal((await new Api(server).call('GET', '/api/auth/nowhere')).json.code, 'not_found');
  assert.equal((await request(server, { path: '/healthz' })).status, 200);
});

test('on a listener of its own there is light-push and nothing else', async (t) => {
  const env = { ...ENABLED, TIDINGS_COMPAT__LIGHT_PUSH__LISTEN: '127.0.0.1:0' };
  const server = await Server.start(t, { env });
  const at = await until('it says where', () => /light_push[^\n]*?127\.0\.0\.1:(\d+)/.exec(server.output.replace(/127\.0\.0\.1:0\b/g, '')));
  const target = { port: Number(at[1]) };
  const admin = new Backend(server, 'admin', server.adminKey, { target });
  assert.deepEqual(await admin.ok('POST', '/api/admin/login'), {});
  await admin.refused(404, 'Not Found', 'GET', '/v1/namespaces');
  await admin.refused(404, 'Not Found', 'GET', '/');
  assert.equal((await admin.call('GET', '/health')).text, 'hello');
  const main = await request(server, { method: 'POST', path: '/api/admin/login', headers: { authorization: admin.authorization } });
  assert.equal(main.status, 404);
});
