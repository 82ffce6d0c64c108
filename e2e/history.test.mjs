// History: what was pushed is found again, at once and after a restart, indexed or not, in Chinese as in English.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api, assertProblem } from './lib/api.mjs';
import { connected } from './lib/clients.mjs';
import { Server } from './lib/server.mjs';
import { until } from './lib/until.mjs';

/** All ids that a question finds, following the cursors, at most `limit` a page. */
async function found(api, question, limit) {
  const ids = [];
  let cursor = null;
  do {
    const query = new URLSearchParams({ ...question, ...(limit ? { limit } : {}), ...(cursor ? { cursor } : {}) });
    const page = await api.get(`messages?${query}`);
    assert.ok(page.items.length <= (limit ?? 100));
    ids.push(...page.items.map((item) => item.id));
    cursor = page.next_cursor;
  } while (cursor);
  return ids;
}

async function unindexed(api) {
  const answer = await api.call('GET', '/metrics');
  return Number(/^tidings_history_behind (\d+)$/m.exec(answer.text)?.[1]);
}

test('what was pushed is found by what it is, before it is indexed, after, and after a crash', async (t) => {
  const server = await Server.start(t, { restartable: true });
  const api = new Api(server);
  const ann = await connected(t, server, 'ws', { user: 'ann', device: 'phone' });
  await ann.join(['lobby']);
  const pushes = [
    { id: 'order', to: { users: ['ann'] }, data: { text: 'Your order A-7781 was shipped' } },
    { id: 'score', to: { rooms: ['lobby'] }, event: 'score', data: ['比分更新：北京 2 : 1 上海'] },
    { id: 'welcome', to: { all: true }, data: { text: '欢迎来到北京大学' } },
    { id: 'other', to: { users: ['bob'] }, data: {}, offline: { notification: { body: 'Shipped, too' } } },
    { id: 'later', to: { users: ['ann'] }, data: '北京' },
  ];
  pushes.at(-1).deliver_at = new Date(Date.now() + 3_600_000).toISOString();
  for (const push of pushes) await api.push(push);
  const recalled = await api.call('DELETE', 'messages/welcome');
  assert.equal(recalled.status, 200, recalled.text);

  const table = [
    [{}, ['later', 'other', 'welcome', 'score', 'order']],
    [{ order: 'asc' }, ['order', 'score', 'welcome', 'other', 'later']],
    [{ q: 'shipped' }, ['other', 'order']],
    [{ q: 'SHIPPED order' }, ['order']],
    [{ q: 'a-7781' }, ['order']],
    [{ q: '北' }, ['later', 'welcome', 'score']],
    [{ q: '北京' }, ['later', 'welcome', 'score']],
    [{ q: '京大学' }, ['welcome']],
    [{ q: '北京 上海' }, ['score']],
    [{ q: '东京' }, []],
    [{ user: 'ann' }, ['later', 'welcome', 'score', 'order']],
    [{ device: 'phone', q: '北京' }, ['welcome', 'score']],
    [{ user: 'bob' }, ['other']],
    [{ room: 'lobby' }, ['score']],
    [{ event: 'score' }, ['score']],
    [{ status: 'scheduled' }, ['later']],
    [{ status: 'recalled' }, ['welcome']],
    [{ status: 'live' }, ['other', 'score', 'order']],
    [{ status: 'expired' }, []],
    [{ since: '2000-01-01T00:00:00Z', until: '2001-01-01T00:00:00Z' }, []],
    [{ since: '2000-01-01T00:00:00Z', q: 'order' }, ['order']],
  ];
  const check = async (when) => {
    for (const [question, expected] of table) {
      for (const limit of [undefined, 1, 2]) {
        assert.deepEqual(await found(api, question, limit), expected, `${when}: ${JSON.stringify(question)}, ${limit} a page`);
      }
    }
  };
  await check('at once');
  await server.kill9();
  await server.start();
  await check('after a crash');

  // Enough of something else that the index is needed, and made.
  for (let batch = 0; batch < 4; batch += 1) {
    const messages = Array.from({ length: 1_000 }, (_, n) => ({ to: { users: ['carl'] }, data: `filler ${batch} ${n}`, id: `f-${batch}-${n}` }));
    const answer = await api.call('POST', 'messages:batch', { messages });
    assert.equal(answer.status, 200, answer.text.slice(0, 300));
  }
  await until('nearly everything is indexed', async () => (await unindexed(api)) < 1_024, { ms: 60_000, every: 100 });
  const [everything, asc, ...rest] = table;
  table.splice(0, table.length, ...rest.filter(([question]) => question.status !== 'live'));
  await check('indexed');
  await server.kill9();
  await server.start();
  await check('indexed, after a crash');
  assert.deepEqual((await found(api, {}, 1_000)).slice(-5), everything[1]);
  assert.deepEqual((await found(api, { order: 'asc' }, 1_000)).slice(0, 5), asc[1]);
  assert.equal((await found(api, { q: 'filler 2' }, 300)).length, 1_000 + 3 * 1, 'those of the third batch, and number 2 of the others');
  assert.deepEqual(await found(api, { q: 'filler 3 999' }), ['f-3-999']);

  const one = (await api.get('messages?q=7781')).items[0];
  assert.deepEqual(one, await api.get('messages/order'));
});

test('a question that cannot be answered is told what is wrong with it', async (t) => {
  const server = await Server.start(t);
  const api = new Api(server);
  for (let n = 0; n < 3; n += 1) await api.push({ to: { users: ['ann'] }, data: `word ${n}` });
  const { next_cursor: cursor } = await api.get('messages?q=word&limit=1');
  for (const [query, field] of [
    ['since=yesterday', 'since'],
    ['until=2026-13-01T00:00:00Z', 'until'],
    ['since=2026-11-20T00:00:01Z&until=2026-11-20T00:00:00Z', 'since'],
    ['status=gone', 'status'],
    ['order=newest', 'order'],
    ['limit=0', 'limit'],
    ['limit=many', 'limit'],
    ['q=', 'q'],
    ['q=%21%3F', 'q'],
    [`q=${'x'.repeat(257)}`, 'q'],
    ['user=', 'user'],
    [`room=${'x'.repeat(256)}`, 'room'],
    ['cursor=zzz', 'cursor'],
    [`cursor=${cursor}`, 'cursor'],
    [`q=words&cursor=${cursor}`, 'cursor'],
    ['page=2', 'page'],
    ['user=ann&user=bob', 'user'],
  ]) {
    const answer = await api.call('GET', `messages?${query}`);
    assertProblem(answer, { status: 400, code: 'invalid_request', field });
  }
  assert.equal((await api.call('GET', '/v1/namespaces/none/messages')).status, 404);
  assert.equal((await api.call('GET', 'messages', undefined, { key: null })).status, 401);
});
