// Clients that others wrote, behind one interface, so that a scenario reads the same for all of them.
// Each reconnects by itself as its library does; for the plain WebSocket, which has no library, the loop is here.
//
//   connect() join(rooms) leave(rooms) ack(ids) waitFor(n) close()
//   received   what came, in order: {id, event, data, topic, epoch, offset, …, connection}
//   problems   what came and should not have; assert that it stays empty

import { EventSource } from 'eventsource';
import io2 from 'socket.io-client-2';
import { io as io3 } from 'socket.io-client-3';
import { io as io4 } from 'socket.io-client-4';
import WebSocket from 'ws';

import { until, within } from './until.mjs';

const ANSWER_MS = 5_000;
/** Most ids that the server takes in one call. */
const ACK_IDS_MAX = 1_000;
const RECONNECT_MS = { first: 20, most: 250 };

/** What an error says first: what follows may be the state of a client, and that has all problems in it. */
const lineOf = (error) => String(error).split('\n')[0];

class Client {
  received = [];
  problems = [];
  notices = [];
  /** How often a connection was made, and why each ended. */
  connects = 0;
  disconnects = [];
  /** What the server said about the newest connection: device, user, connection, node, recovered, positions. */
  ready = undefined;

  /**
   * `ackBy`: how messages are acknowledged as they come: `callback`, `command`, `post`, or `none` (the test
   * does it with `ack`). `events` are the events it listens to. `suspicious`: a connection on which a receipt is not
   * answered is taken for dead, and ended, where the library would not do so; else it is a problem.
   */
  constructor(server, kind, { namespace = 'demo', user, device, platform, token, rooms = [], ackBy, events = ['push'], suspicious = false, onMessage } = {}) {
    Object.assign(this, { server, kind, namespace, user, device, platform, token, events, suspicious, onMessage });
    this.rooms = [...rooms];
    this.ackBy = ackBy ?? this.defaultAck;
  }

  get name() {
    return `${this.kind} ${String(this.device).slice(0, 50)}`;
  }

  get identity() {
    const { device, user, platform, token } = this;
    return Object.fromEntries(Object.entries({ device, user, platform, token }).filter(([, value]) => value !== undefined));
  }

  get ids() {
    return this.received.map((message) => message.id);
  }

  /** The ids in the order in which they came first. */
  get uniqueIds() {
    return [...new Set(this.ids)];
  }

  take(event, message) {
    if (typeof message?.id !== 'string') {
      this.problems.push({ what: 'a message without id', event, message });
      return;
    }
    const record = { ...message, connection: this.connects };
    if (message.event !== undefined && message.event !== event) this.problems.push({ what: 'event differs from its envelope', event, message });
    record.event = event;
    this.received.push(record);
    this.onMessage?.(record, this);
  }

  /** What its library says of the connection. */
  get situation() {
    return '';
  }

  state() {
    return [
      `${this.name}: ${this.situation}, ${this.connects} connects, disconnects ${JSON.stringify(this.disconnects)}, problems ${JSON.stringify(this.problems)}`,
      `  received ${this.received.length}: ${JSON.stringify(this.received.slice(-20).map(({ id, topic, offset }) => `${id}@${topic}/${offset}`))}`,
      this.server.tail(),
    ].join('\n');
  }

  waitUntil(what, condition, { ms = 5_000 } = {}) {
    return until(() => `${what}\n${this.state()}`, condition, { ms });
  }

  /** Waits until `n` messages have come; with `unique`, `n` different ones. */
  async waitFor(n, { ms = 5_000, unique = false } = {}) {
    await this.waitUntil(
      `${this.name} has ${n} messages`,
      () => (unique ? this.uniqueIds : this.received).length >= n,
      { ms },
    );
    return this.received;
  }

  async waitForId(id, { ms = 5_000 } = {}) {
    await this.waitUntil(`${this.name} has message ${id}`, () => this.received.some((message) => message.id === id), { ms });
  }
}

class SocketIoClient extends Client {
  #callbacks = new Map();

  constructor(server, kind, { version, transports, lightPushQuery = false, ...options }) {
    super(server, kind, options);
    Object.assign(this, { version, transports, lightPushQuery });
  }

  get defaultAck() {
    return 'callback';
  }

  get finalTransport() {
    return this.transports.at(-1);
  }

  get situation() {
    const engine = this.socket?.io.engine;
    return `${this.socket?.connected ? 'connected' : 'not connected'}${this.ready ? ' and told so' : ''}, engine ${engine?.readyState} on ${engine?.transport?.name}${engine?.upgrading ? ', upgrading' : ''}`;
  }

  #options() {
    const options = {
      transports: this.transports,
      forceNew: true,
      reconnectionDelay: RECONNECT_MS.first,
      reconnectionDelayMax: RECONNECT_MS.most,
      timeout: ANSWER_MS,
    };
    if (this.version >= 3) return { ...options, auth: this.identity };
    const { device, user, ...rest } = this.identity;
    if (!this.lightPushQuery) return { ...options, query: this.identity };
    return { ...options, query: { ...(device ? { uuid: device } : {}), ...(user ? { userid: user } : {}), ...rest } };
  }

  async connect() {
    const io = { 2: io2, 3: io3, 4: io4 }[this.version];
    const socket = (this.socket = io(`${this.server.url}/${this.namespace}`, this.#options()));
    const refused = new Promise((_, reject) => {
      socket.on('connect_error', (error) => {
        // Told apart from a connection that could not be made: 4.x gives up on the namespace, 3.x has only the data.
        if (this.version === 4 ? !socket.active : this.version === 3 && 'data' in error) reject(Object.assign(new Error(`refused: ${error.message}`), { refusal: error }));
      });
      if (this.version === 2) socket.on('error', (error) => reject(Object.assign(new Error(`refused: ${JSON.stringify(error)}`), { refusal: error })));
    });
    refused.catch(() => {});
    socket.on('connect', () => (this.connects += 1));
    socket.on('disconnect', (reason) => {
      this.disconnects.push(reason);
      this.ready = undefined;
    });
    socket.on('ready', (ready, ...more) => {
      if (this.ready || more.length) this.problems.push({ what: 'ready came twice or with more than one argument', ready, more });
      this.ready = ready;
    });
    for (const event of this.events) socket.on(event, (...args) => this.#message(event, args));
    for (const notice of ['recall', 'presence', 'joined', 'left', 'room', 'goaway']) {
      socket.on(notice, (data) => this.notices.push({ notice, data }));
    }
    await Promise.race([this.waitConnected(), refused]);
    if (this.rooms.length) await this.join(this.rooms);
    return this;
  }

  /** Connected, told so, and on the transport that it ends on. */
  async waitConnected({ ms = 8_000 } = {}) {
    await this.waitUntil(
      `${this.name} is ready on ${this.finalTransport}`,
      () => this.socket.connected && this.ready && this.socket.io.engine?.transport?.name === this.finalTransport,
      { ms },
    );
  }

  #message(event, [message, callback, ...more]) {
    if (typeof callback !== 'function' || more.length) this.problems.push({ what: 'a push is one object and a callback', event, message, more });
    this.take(event, message);
    if (this.ackBy === 'callback') callback?.();
    else if (this.ackBy === 'command') this.ack([message.id]).catch((error) => this.disconnects.length || this.problems.push({ what: 'ack failed', error: lineOf(error) }));
    else this.#callbacks.set(message.id, callback);
  }

  /** Emits with a callback and answers what the server says. */
  command(event, ...args) {
    return within(
      () => `${event} of ${this.name} is answered\n${this.state()}`,
      new Promise((resolve) => this.socket.emit(event, ...args, resolve)),
      ANSWER_MS,
    );
  }

  async #insist(event, ...args) {
    const answer = await this.command(event, ...args);
    if (answer?.ok !== true) throw new Error(`${event} of ${this.name} was answered ${JSON.stringify(answer)}`);
    return answer;
  }

  join(rooms) {
    return this.#insist('join', rooms);
  }

  leave(rooms) {
    return this.#insist('leave', rooms);
  }

  /** By the callback that came with the message where it is still open, else by command. */
  async ack(ids) {
    const late = ids.filter((id) => {
      const callback = this.#callbacks.get(id);
      this.#callbacks.delete(id);
      callback?.();
      return !callback;
    });
    if (!late.length) return;
    const answer = await this.#insist('ack', late.length === 1 ? { id: late[0] } : late);
    if (answer.unknown?.length) this.problems.push({ what: 'received, and unknown when it is acknowledged', ids: answer.unknown });
  }

  async close() {
    const engine = this.socket?.io.engine;
    this.socket?.disconnect();
    this.ready = undefined;
    if (engine) await until(`${this.name} is closed`, () => engine.readyState === 'closed', { ms: ANSWER_MS });
  }
}

class WsClient extends Client {
  #next = 1;
  #open = new Map();
  #closed = false;

  get defaultAck() {
    return 'command';
  }

  async connect() {
    const first = this.#attempt();
    await Promise.race([first, this.waitConnected()]);
    if (this.rooms.length) await this.join(this.rooms);
    return this;
  }

  /** One connection; when it ends and the close code does not forbid it, the next one. */
  #attempt(delay = RECONNECT_MS.first) {
    const socket = (this.socket = new WebSocket(`${this.server.wsUrl}/v1/namespaces/${this.namespace}/connect`, 'tidings.v1'));
    socket.on('open', () => {
      const connectedNow = (ready) => {
        this.connects += 1;
        this.ready = ready;
        delay = RECONNECT_MS.first;
      };
      this.command({ cmd: 'connect', ...this.identity }, connectedNow).catch(
        (error) => this.#closed || socket.readyState !== WebSocket.OPEN || this.problems.push({ what: 'connect was refused', error: lineOf(error) }),
      );
    });
    socket.on('message', (bytes, binary) => this.#frame(bytes, binary));
    socket.on('error', () => {});
    return new Promise((_, reject) => {
      socket.on('close', (code, reason) => {
        this.ready = undefined;
        this.disconnects.push(`${code} ${reason}`);
        for (const { reject: abandon } of this.#open.values()) abandon(new Error(`the connection closed: ${code} ${reason}`));
        this.#open.clear();
        if (this.#closed) return;
        if (code >= 3500 && code <= 3999) {
          reject(Object.assign(new Error(`refused: ${code} ${reason}`), { code }));
          return;
        }
        setTimeout(() => this.#closed || this.#attempt(Math.min(delay * 2, RECONNECT_MS.most)).catch(() => {}), delay);
      });
    });
  }

  get situation() {
    return `${['connecting', 'open', 'closing', 'closed'][this.socket?.readyState]}${this.ready ? ' and ready' : ''}`;
  }

  async waitConnected({ ms = 8_000 } = {}) {
    await this.waitUntil(`${this.name} is ready`, () => this.socket.readyState === WebSocket.OPEN && this.ready, { ms });
  }

  #frame(bytes, binary) {
    if (binary) {
      this.problems.push({ what: 'a binary frame', bytes: bytes.toString('hex') });
      return;
    }
    const parsed = JSON.parse(bytes.toString());
    for (const item of Array.isArray(parsed) ? parsed : [parsed]) this.#item(item);
  }

  #item(item) {
    if (item.push) {
      const message = item.push;
      this.take(message.event ?? 'push', message);
      if (this.ackBy === 'command') this.#ackAsItComes(message.id, this.socket);
    } else if (item.id !== undefined && this.#open.has(item.id)) {
      const { resolve, reject, atOnce } = this.#open.get(item.id);
      this.#open.delete(item.id);
      if (item.ok) {
        atOnce?.(item.ok);
        resolve(item.ok);
      } else reject(Object.assign(new Error(`refused: ${JSON.stringify(item.error)}`), { refusal: item.error }));
    } else if (item.goaway || item.presence || item.recall || item.joined || item.left || item.room) {
      this.notices.push({ notice: Object.keys(item)[0], data: Object.values(item)[0] });
    } else {
      this.problems.push({ what: 'neither push nor answer nor notice', item });
    }
  }

  /** Sends a command and answers its `ok`; `atOnce` has it before anything that came behind it in the same frame. */
  command(command, atOnce) {
    const id = this.#next++;
    const answer = new Promise((resolve, reject) => this.#open.set(id, { resolve, reject, atOnce }));
    this.socket.send(JSON.stringify({ id, ...command }), (error) => error && this.#open.get(id)?.reject(error));
    return within(() => `${command.cmd} of ${this.name} is answered\n${this.state()}`, answer, ANSWER_MS);
  }

  join(rooms) {
    return this.command({ cmd: 'join', rooms });
  }

  leave(rooms) {
    return this.command({ cmd: 'leave', rooms });
  }

  async #ackAsItComes(id, socket) {
    try {
      await this.ack([id]);
    } catch (error) {
      if (this.suspicious) socket.terminate();
      else if (this.socket.readyState === WebSocket.OPEN) this.problems.push({ what: 'ack failed', error: lineOf(error) });
    }
  }

  async ack(ids) {
    const answer = await this.command({ cmd: 'ack', ids });
    if (answer.unknown?.length) this.problems.push({ what: 'received, and unknown when it is acknowledged', ids: answer.unknown });
    return answer;
  }

  async close() {
    this.#closed = true;
    this.socket?.close(1000);
    await until(`${this.name} is closed`, () => !this.socket || this.socket.readyState === WebSocket.CLOSED, { ms: ANSWER_MS });
  }
}

class SseClient extends Client {
  #closed = false;
  #toAck = new Set();
  #acking = undefined;
  /** How often the EventSource gave up for good and a new one had to be made. */
  remade = 0;
  lastEventId = undefined;

  get defaultAck() {
    return 'post';
  }

  #url() {
    const query = new URLSearchParams({
      ...this.identity,
      ...(this.rooms.length ? { rooms: this.rooms.join(',') } : {}),
      ...(this.lastEventId === undefined ? {} : { last_event_id: this.lastEventId }),
    });
    return `${this.server.url}/v1/namespaces/${this.namespace}/sse?${query}`;
  }

  async connect() {
    this.#closed = false;
    this.#attempt();
    await this.waitConnected();
    return this;
  }

  #attempt() {
    const source = (this.source = new EventSource(this.#url()));
    let open = false;
    source.addEventListener('open', () => {
      open = true;
      this.connects += 1;
    });
    source.addEventListener('ready', (event) => (this.ready = JSON.parse(event.data)));
    for (const event of this.events) source.addEventListener(event, (message) => this.#message(event, message));
    for (const notice of ['recall', 'presence', 'joined', 'left', 'room', 'goaway']) {
      source.addEventListener(notice, (event) => this.notices.push({ notice, data: JSON.parse(event.data) }));
    }
    source.addEventListener('error', (event) => {
      if (open) this.disconnects.push(event.message ?? 'the stream ended');
      open = false;
      if (source.readyState !== EventSource.CLOSED || this.#closed) return;
      this.remade += 1;
      this.disconnects.push(`given up: ${event.code ?? ''} ${event.message ?? ''}`);
      setTimeout(() => this.#closed || this.#attempt(), RECONNECT_MS.most);
    });
  }

  #message(event, { data, lastEventId }) {
    const message = JSON.parse(data);
    if (!lastEventId) this.problems.push({ what: 'an event without id', message });
    this.lastEventId = lastEventId;
    this.take(event, { ...message, sse: lastEventId });
    if (this.ackBy === 'post') this.ack([message.id]).catch(() => {});
  }

  get situation() {
    return ['connecting', 'open', 'closed'][this.source?.readyState];
  }

  async waitConnected({ ms = 8_000 } = {}) {
    await this.waitUntil(`${this.name} is open`, () => this.source.readyState === EventSource.OPEN, { ms });
  }

  /** A stream has no way back: the rooms go into the address of a new one, which resumes where this one is. */
  async join(rooms) {
    this.rooms = [...new Set([...this.rooms, ...rooms])];
    this.source.close();
    this.#attempt();
    await this.waitConnected();
  }

  /** Tells the server, and keeps at it while the server is away. Calls made meanwhile share one request. */
  ack(ids) {
    for (const id of ids) this.#toAck.add(id);
    this.#acking ??= this.#post().finally(() => (this.#acking = undefined));
    return this.#acking;
  }

  async #post() {
    const path = `/v1/namespaces/${this.namespace}/acks?${new URLSearchParams({ device: this.device, ...(this.token ? { token: this.token } : {}) })}`;
    while (this.#toAck.size && !this.#closed) {
      const ids = [...this.#toAck].slice(0, ACK_IDS_MAX);
      const answer = await fetch(this.server.url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ids }),
        signal: AbortSignal.timeout(ANSWER_MS),
      }).then(async (response) => ({ status: response.status, text: await response.text() }), () => undefined);
      if (answer?.status >= 200 && answer?.status < 300) {
        for (const id of ids) this.#toAck.delete(id);
        if (/"unknown":\["/.test(answer.text)) this.problems.push({ what: 'received, and unknown when it is acknowledged', ...answer });
      } else if (answer && answer.status < 500) {
        this.problems.push({ what: 'acks were refused', ...answer });
        return;
      } else await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS.first));
    }
  }

  async close() {
    // What was received is acknowledged before it goes, as a program would do.
    if (this.ackBy === 'post' && this.server.running) await this.#acking;
    this.#closed = true;
    this.source?.close();
  }
}

/** Every kind of client, by name. */
export const KINDS = {
  'sio4-ws': { make: SocketIoClient, version: 4, transports: ['websocket'] },
  'sio4-upgrade': { make: SocketIoClient, version: 4, transports: ['polling', 'websocket'] },
  'sio4-polling': { make: SocketIoClient, version: 4, transports: ['polling'] },
  'sio3-ws': { make: SocketIoClient, version: 3, transports: ['websocket'] },
  'sio3-upgrade': { make: SocketIoClient, version: 3, transports: ['polling', 'websocket'] },
  'sio2-ws': { make: SocketIoClient, version: 2, transports: ['websocket'] },
  'sio2-upgrade': { make: SocketIoClient, version: 2, transports: ['polling', 'websocket'], lightPushQuery: true },
  'sio2-polling': { make: SocketIoClient, version: 2, transports: ['polling'] },
  ws: { make: WsClient },
  sse: { make: SseClient },
};

/** A client that is not connected yet. */
export function client(server, kind, options = {}) {
  const { make, ...how } = KINDS[kind];
  return new make(server, kind, { ...how, ...options });
}

/** A connected client, closed after the test. */
export async function connected(t, server, kind, options = {}) {
  const made = client(server, kind, options);
  t?.after(() => made.close());
  return made.connect().catch(async (error) => {
    // It would try again for as long as the process lives.
    if (!t) await made.close().catch(() => {});
    throw error;
  });
}

/** Whether a client is let in: `let in` or `refused`. An EventSource says so by giving up; it would wait for another chance. */
export async function outcome(t, server, kind, options = {}) {
  const stranger = client(server, kind, options);
  t.after(() => stranger.close().catch(() => {}));
  const said = stranger.connect().then(() => 'let in', (error) => (/^refused/.test(error.message) ? 'refused' : `${error}`));
  const gaveUp = until(`${stranger.name} gives up`, () => stranger.disconnects.some((why) => /^given up: 4\d\d/.test(why)) && 'refused', { ms: ANSWER_MS });
  const first = await Promise.race([said, gaveUp.catch(() => new Promise(() => {}))]);
  await stranger.close().catch(() => {});
  return first;
}
