// A server that serves one of the five older systems on a listener of its own.

import { Api } from './api.mjs';
import { Server } from './server.mjs';
import { until } from './until.mjs';

/** Starts it; `settings` are those of its section, `namespace` the one that its clients are in. */
export async function older(t, system, { settings = {}, namespace, env = {} }) {
  const section = { enabled: 'true', listen: '127.0.0.1:0', namespace, ...settings };
  const own = Object.entries(section).map(([key, value]) => [`TIDINGS_COMPAT__${system.toUpperCase()}__${key.toUpperCase()}`, value]);
  const server = await Server.start(t, { dev: false, env: { ...Object.fromEntries(own), ...env } });
  const said = new RegExp(`^${system} listening on http://127\\.0\\.0\\.1:(\\d+)$`, 'm');
  const [, port] = await until(() => `${system} listens\n${server.tail()}`, () => said.exec(server.output));
  return { server, api: new Api(server, { namespace }), port: Number(port), url: `http://127.0.0.1:${port}`, ws: `ws://127.0.0.1:${port}` };
}

/** A key of the namespace. */
export async function keyOf(api, scopes) {
  return (await api.call('POST', 'keys', { name: 'test', scopes })).json.key;
}

/** A token for a client. */
export async function tokenOf(api, claims) {
  return (await api.call('POST', 'tokens', claims)).json.token;
}
