// The REST API for backends (API.md section 2), and the shape of its errors.

import assert from 'node:assert/strict';

import { until } from './until.mjs';

const LEDGER = ['meant', 'written', 'acked', 'waiting', 'escalated', 'expired', 'dropped', 'recalled'];
const RFC3339_UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

/** A number, or numbers by reason that are added up; what is left out is zero. */
function total(value) {
  if (value === undefined || value === null) return 0;
  if (typeof value === 'number') return value;
  return Object.values(value).reduce((sum, each) => sum + total(each), 0);
}

export class Api {
  constructor(server, { namespace = 'demo', key } = {}) {
    this.server = server;
    this.namespace = namespace;
    this.key = key;
  }

  /** One request. `body` is sent as JSON unless it is text or bytes; `key: null` sends no credentials. */
  async call(method, path, body, { headers = {}, key = this.key ?? this.server.adminKey, signal } = {}) {
    const url = this.server.url + (path.startsWith('/') ? path : `/v1/namespaces/${this.namespace}/${path}`);
    const raw = typeof body === 'string' || body instanceof Uint8Array || body instanceof ReadableStream;
    const response = await fetch(url, {
      method,
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined || raw ? body : JSON.stringify(body),
      ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
      signal: signal ?? AbortSignal.timeout(10_000),
    });
    const text = await response.text();
    const type = response.headers.get('content-type') ?? '';
    const json = /[/+]json\b/.test(type) && text !== '' ? JSON.parse(text) : undefined;
    return { status: response.status, headers: response.headers, text, json, type, request: `${method} ${url}` };
  }

  async get(path) {
    const answer = await this.call('GET', path);
    assert.equal(answer.status, 200, describe(answer));
    assert.ok(answer.headers.get('x-request-id'), `${answer.request} has no X-Request-Id`);
    return answer.json;
  }

  /** Pushes and insists on being accepted. */
  async push(body, options) {
    const answer = await this.call('POST', 'messages', body, options);
    assert.equal(answer.status, 202, describe(answer));
    const accepted = answer.json;
    assert.equal(typeof accepted.id, 'string', describe(answer));
    assert.match(accepted.accepted_at, RFC3339_UTC, describe(answer));
    assert.equal(typeof accepted.duplicate, 'boolean', describe(answer));
    assert.equal(typeof accepted.meant?.devices, 'number', describe(answer));
    assert.equal(typeof accepted.online?.connections, 'number', describe(answer));
    return accepted;
  }

  message(id) {
    return this.get(`messages/${encodeURIComponent(id)}`);
  }

  /** The ledger as numbers; it must add up whenever one looks. */
  async ledger(id) {
    return ledgerOf(await this.report(id));
  }

  report(id) {
    return this.get(`messages/${encodeURIComponent(id)}/report`);
  }

  /** All receipts of a message in a state, over all pages, as a map from device to its row. */
  async receipts(id, state, { limit } = {}) {
    const rows = [];
    let cursor;
    do {
      const query = new URLSearchParams({ ...(state ? { state } : {}), ...(limit ? { limit } : {}), ...(cursor ? { cursor } : {}) });
      const page = await this.get(`messages/${encodeURIComponent(id)}/receipts?${query}`);
      assert.ok(Array.isArray(page.items), JSON.stringify(page));
      if (limit) assert.ok(page.items.length <= limit, `a page of at most ${limit} has ${page.items.length}`);
      rows.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor);
    return rows;
  }

  /** Waits until the ledger has exactly these numbers, whatever else it has. */
  async waitForLedger(id, expected, { ms = 5_000 } = {}) {
    let seen;
    return until(
      () => `the ledger of ${id} has ${JSON.stringify(expected)}, it has ${JSON.stringify(seen)}\n${this.server.tail()}`,
      async () => {
        seen = await this.ledger(id);
        return Object.entries(expected).every(([name, value]) => seen[name] === value) && seen;
      },
      { ms },
    );
  }
}

/** Normalises a report (or its part for one platform) to plain numbers, and checks that it adds up. */
export function ledgerOf(report) {
  for (const name of ['meant', 'written', 'acked', 'waiting']) {
    assert.equal(typeof report[name], 'number', `${name} of the report is a number: ${JSON.stringify(report)}`);
  }
  const ledger = Object.fromEntries(LEDGER.map((name) => [name, total(report[name])]));
  const { meant, acked, waiting, escalated, expired, dropped, recalled } = ledger;
  assert.equal(acked + waiting + escalated + expired + dropped + recalled, meant, `the ledger does not add up: ${JSON.stringify(report)}`);
  return { ...ledger, delivery_rate: report.delivery_rate };
}

/** The report's part for one platform. */
export function platformOf(report, platform) {
  const part = report.platforms?.[platform];
  assert.ok(part, `the report has a part for ${platform}: ${JSON.stringify(report)}`);
  return part;
}

/** Insists that an answer is the error it should be: RFC 9457, with code, request id and field. */
export function assertProblem(answer, { status, code, field, says }) {
  assert.equal(answer.status, status, describe(answer));
  assert.match(answer.type, /^application\/problem\+json\b/, describe(answer));
  const problem = answer.json;
  for (const name of ['type', 'title', 'detail', 'code', 'request_id']) {
    assert.equal(typeof problem[name], 'string', `${name} is missing: ${describe(answer)}`);
  }
  assert.equal(problem.status, status, describe(answer));
  assert.equal(problem.code, code, describe(answer));
  assert.equal(problem.request_id, answer.headers.get('x-request-id'), describe(answer));
  if (field) {
    const fields = (problem.errors ?? []).map((each) => each.field);
    assert.ok(fields.some((each) => (field instanceof RegExp ? field.test(each) : each === field)), `names the field ${field}: ${describe(answer)}`);
    for (const each of problem.errors) assert.equal(typeof each.message, 'string', describe(answer));
  }
  if (says) assert.match(JSON.stringify(problem), says, `says ${says}: ${describe(answer)}`);
}

export function describe(answer) {
  return `${answer.request.slice(0, 300)} answered ${answer.status} ${answer.type}: ${answer.text.slice(0, 2_000)}`;
}
