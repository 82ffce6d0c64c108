// A business system: an HTTP server that notes what hooks tell it.

import http from 'node:http';

import { restartablePort } from './server.mjs';

export const SECRET = 'a secret that both sides know';

/** A business system: what it was told, whatever it answered. */
export class Receiver {
  constructor() {
    this.told = [];
    this.answer = () => 204;
    this.server = http.createServer((request, response) => {
      const chunks = [];
      request.on('data', (chunk) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        const status = this.answer(this.told.length);
        this.told.push({ path: request.url, method: request.method, headers: request.headers, body, status });
        if (status === 'hang') return;
        response.writeHead(status, status >= 300 && status < 400 ? { location: `http://127.0.0.1:${this.port}/inward` } : {});
        response.end();
      });
    });
  }

  static async start(t) {
    const receiver = new Receiver();
    receiver.port = await restartablePort();
    t.after(() => receiver.stop());
    await receiver.start();
    return receiver;
  }

  start() {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(this.port, '127.0.0.1', resolve);
    });
  }

  /** Nobody is there any more: connections are refused. */
  stop() {
    return new Promise((resolve) => {
      this.server.close(resolve);
      this.server.closeAllConnections();
    });
  }

  hook(more = {}) {
    return { name: 'crm', url: `http://127.0.0.1:${this.port}/tidings`, events: ['undelivered'], secret: SECRET, allow_private: true, ...more };
  }

  /** What it has heard: the bodies of what it has answered 2xx to, once each, in order. */
  get heard() {
    const bodies = this.told.filter(({ status }) => status < 300).flatMap(({ body }) => JSON.parse(body));
    return bodies.filter(({ id }, index) => bodies.findIndex((other) => other.id === id) === index);
  }

  get messages() {
    return this.heard.map(({ data }) => data.message);
  }
}
