// One HTTP request with every header as given, over TCP, TLS or a Unix socket; and a server's counters.

import http from 'node:http';
import https from 'node:https';

import { within } from './until.mjs';

/** The answer to a request; for an event stream its head and the first chunk. `options` go to `http.request`. */
export function request(target, { method = 'GET', path = '/', headers = {}, body, stream = false, ...options } = {}) {
  const where = typeof target === 'string' ? { socketPath: target } : { host: '127.0.0.1', port: target.port };
  const { request } = options.ca || options.rejectUnauthorized === false ? https : http;
  const answered = new Promise((resolve, reject) => {
    const call = request({ ...where, method, path, headers, agent: false, ...options });
    call.on('error', reject);
    call.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      const answer = () => ({ status: response.statusCode, headers: response.headers, text, close: () => call.destroy() });
      response.on('data', (chunk) => {
        text += chunk;
        if (stream) resolve(answer());
      });
      response.on('end', () => resolve(answer()));
      response.on('error', reject);
    });
    call.end(body);
  });
  return within(`${method} ${path} is answered`, answered, 10_000);
}

/** The value of a counter or gauge, labels included in the name; 0 when it is not there yet. */
export async function metric(server, name, options) {
  const { text } = await request(server, { path: '/metrics', headers: { authorization: `Bearer ${server.adminKey}` }, ...options });
  const line = text.split('\n').find((one) => one.startsWith(`${name} `));
  return line ? Number(line.split(' ').at(-1)) : 0;
}
