// The protocols without a client library: frames, packets and bytes as they are on the wire.

import { randomBytes } from 'node:crypto';
import net from 'node:net';

import WebSocket from 'ws';

import { until, within } from './until.mjs';

/** A WebSocket that keeps what comes, in order, as text or as a Buffer. */
export class RawSocket {
  frames = [];
  history = [];
  pings = 0;
  closed = undefined;

  /** Opens it; when the server answers with HTTP instead, throws an error with that `status`, `headers` and `body`. */
  static open(url, { protocols, ...options } = {}) {
    const raw = new RawSocket();
    raw.url = url;
    raw.ws = new WebSocket(url, protocols ?? [], options);
    raw.ws.on('message', (bytes, binary) => raw.frames.push(binary ? bytes : bytes.toString()));
    raw.ws.on('ping', () => (raw.pings += 1));
    raw.ws.on('close', (code, reason) => (raw.closed = { code, reason: reason.toString() }));
    return within(
      `${url} opens`,
      new Promise((resolve, reject) => {
        raw.ws.on('open', () => resolve(raw));
        raw.ws.on('error', (error) => reject(error));
        raw.ws.on('unexpected-response', async (_, response) => {
          let body = '';
          for await (const chunk of response) body += chunk;
          reject(Object.assign(new Error(`${url} answered ${response.statusCode} ${body}`), { status: response.statusCode, headers: response.headers, body }));
        });
      }),
    );
  }

  send(...frames) {
    for (const frame of frames) this.ws.send(frame);
  }

  /** The next frame, taken from the queue. */
  async next(what = 'a frame', { ms = 5_000 } = {}) {
    await until(() => `${what} on ${this.url}\n  closed: ${JSON.stringify(this.closed)}\n  before: ${this.log()}`, () => this.frames.length > 0 || this.closed, { ms });
    if (!this.frames.length) throw new Error(`closed ${JSON.stringify(this.closed)} instead of ${what}\n  before: ${this.log()}`);
    const frame = this.frames.shift();
    this.history.push(frame);
    return frame;
  }

  /** The next text frame that matches; what comes before it is passed over. */
  async nextLike(pattern, options) {
    for (;;) {
      const frame = await this.next(String(pattern), options);
      if (typeof frame === 'string' && pattern.test(frame)) return frame;
    }
  }

  log() {
    return JSON.stringify([...this.history, ...this.frames].slice(-20));
  }

  async waitClosed({ ms = 5_000, what = 'is closed' } = {}) {
    await until(() => `${this.url} ${what}\n  before: ${this.log()}`, () => this.closed, { ms });
    return this.closed;
  }

  close() {
    this.ws.terminate();
  }
}

/** Records of Engine.IO 4 (split by RS) and 3 (each with its length in UTF-16 units). */
export const payload = {
  4: {
    decode: (text) => text.split('\x1e'),
    encode: (packets) => packets.join('\x1e'),
  },
  3: {
    decode(text) {
      const packets = [];
      for (let at = 0; at < text.length; ) {
        const colon = text.indexOf(':', at);
        const length = Number(text.slice(at, colon));
        if (colon < 0 || !Number.isInteger(length) || colon + 1 + length > text.length) throw new Error(`not a payload of Engine.IO 3: ${JSON.stringify(text)}`);
        packets.push(text.slice(colon + 1, colon + 1 + length));
        at = colon + 1 + length;
      }
      return packets;
    },
    encode: (packets) => packets.map((packet) => `${packet.length}:${packet}`).join(''),
  },
};

/** A long-polling session of Engine.IO. */
export class Polling {
  queue = [];

  static async open(server, { eio = 4, query = {} } = {}) {
    const polling = new Polling();
    polling.eio = eio;
    polling.server = server;
    polling.base = `/socket.io/?${new URLSearchParams({ ...query, EIO: eio, transport: 'polling' })}`;
    const answer = await polling.get();
    if (answer.status !== 200) throw new Error(`the handshake was answered ${answer.status} ${answer.text}`);
    polling.queue = answer.packets;
    polling.handshake = JSON.parse(polling.queue.shift().slice(1));
    polling.sid = polling.handshake.sid;
    polling.base += `&sid=${encodeURIComponent(polling.sid)}`;
    return polling;
  }

  get url() {
    return this.server.url + this.base;
  }

  get wsUrl() {
    return this.server.wsUrl + this.base.replace('transport=polling', 'transport=websocket');
  }

  /** One poll. */
  async get({ signal } = {}) {
    const response = await fetch(this.url, { signal: signal ?? AbortSignal.timeout(10_000) });
    const text = await response.text();
    const packets = response.status === 200 ? payload[this.eio].decode(text) : [];
    return { status: response.status, headers: response.headers, text, packets };
  }

  async post(packets, { headers = {}, body = payload[this.eio].encode(packets) } = {}) {
    const response = await fetch(this.url, {
      method: 'POST',
      headers: { 'content-type': 'text/plain;charset=UTF-8', ...headers },
      body,
      ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
      signal: AbortSignal.timeout(10_000),
    });
    return { status: response.status, text: await response.text() };
  }

  /** The next packet that matches, polling as often as it takes. */
  async nextLike(pattern) {
    const passed = [];
    for (;;) {
      while (this.queue.length) {
        const packet = this.queue.shift();
        if (pattern.test(packet)) return packet;
        passed.push(packet);
      }
      const answer = await this.get();
      if (answer.status !== 200) throw new Error(`the poll for ${pattern} was answered ${answer.status} ${answer.text}, after ${JSON.stringify(passed)}`);
      this.queue.push(...answer.packets);
    }
  }

  /** Waits until the session is unknown; a poll on a living session could hang, a packet that means nothing cannot. */
  waitGone(what) {
    return until(`${what}: the polling session is gone`, async () => (await this.post([this.eio === 4 ? '3' : '2'])).status === 400);
  }
}

/** One client frame as bytes, masked, of any shape. */
export function frame(opcode, data = '', { fin = true, rsv = 0, masked = true, announce } = {}) {
  const body = Buffer.from(data);
  const length = announce ?? body.length;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  const mask = masked ? 0x80 : 0;
  if (length < 126) head.push(mask | length);
  else if (length < 65_536) head.push(mask | 126, length >> 8, length & 255);
  else {
    const long = Buffer.alloc(8);
    long.writeBigUInt64BE(BigInt(length));
    head.push(mask | 127, ...long);
  }
  if (!masked) return Buffer.concat([Buffer.from(head), body]);
  const key = randomBytes(4);
  return Buffer.concat([Buffer.from(head), key, Buffer.from(body.map((byte, index) => byte ^ key[index & 3]))]);
}

/** A TCP connection that has become a WebSocket by hand: bytes out as given, server frames in. */
export class RawTcp {
  frames = [];
  #bytes = Buffer.alloc(0);
  ended = false;

  static async open(server, path) {
    const raw = new RawTcp();
    raw.socket = net.connect(server.port, '127.0.0.1');
    raw.socket.setNoDelay(true);
    raw.socket.on('error', () => {});
    raw.socket.on('close', () => (raw.ended = true));
    raw.socket.on('data', (bytes) => raw.#read(bytes));
    raw.socket.write(
      `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
    );
    await until(`${path} upgrades`, () => raw.head !== undefined);
    if (!raw.head.startsWith('HTTP/1.1 101')) throw new Error(`${path} answered ${raw.head}`);
    return raw;
  }

  #read(bytes) {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    if (this.head === undefined) {
      const end = this.#bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.head = this.#bytes.subarray(0, end).toString();
      this.#bytes = this.#bytes.subarray(end + 4);
    }
    while (this.#bytes.length >= 2) {
      let length = this.#bytes[1] & 127;
      let at = 2;
      if (length === 126) (length = this.#bytes.length >= 4 ? this.#bytes.readUInt16BE(2) : Infinity), (at = 4);
      else if (length === 127) (length = this.#bytes.length >= 10 ? Number(this.#bytes.readBigUInt64BE(2)) : Infinity), (at = 10);
      if (this.#bytes.length < at + length) return;
      this.frames.push({ opcode: this.#bytes[0] & 15, fin: (this.#bytes[0] & 0x80) !== 0, data: Buffer.from(this.#bytes.subarray(at, at + length)) });
      this.#bytes = this.#bytes.subarray(at + length);
    }
  }

  /** Writes, waiting until the bytes are with the kernel (so that two writes are two segments) or the connection is gone. */
  write(bytes) {
    return new Promise((resolve) => {
      if (this.ended) resolve();
      this.socket.once('close', resolve);
      this.socket.write(bytes, () => {
        this.socket.off('close', resolve);
        resolve();
      });
    });
  }

  async next(what, { ms = 5_000 } = {}) {
    await until(() => `${what}; ${this.ended ? 'the connection ended' : 'nothing came'}`, () => this.frames.length > 0 || this.ended, { ms });
    if (!this.frames.length) throw new Error(`the connection ended instead of ${what}`);
    return this.frames.shift();
  }

  async nextText(what) {
    const { opcode, data } = await this.next(what);
    if (opcode !== 1) throw new Error(`opcode ${opcode} (${data.toString('hex')}) instead of ${what}`);
    return data.toString();
  }

  /** The code of the close frame that comes next, and then the end of the connection. */
  async closeCode(what) {
    for (;;) {
      const { opcode, data } = await this.next(`a close frame: ${what}`);
      if (opcode !== 8) continue;
      await this.write(frame(8, data.subarray(0, 2)));
      await until(`the connection ends after the close frame: ${what}`, () => this.ended);
      return data.length >= 2 ? data.readUInt16BE(0) : 1005;
    }
  }

  close() {
    this.socket.destroy();
  }
}
