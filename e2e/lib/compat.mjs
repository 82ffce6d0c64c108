// A server that speaks to the older systems' clients and backends, each on a listener of its own.

import { Server } from './server.mjs';

const LISTENING = /^(\w+) listening on http:\/\/127\.0\.0\.1:(\d+)$/gm;

/**
 * Starts a server with `[compat.*]` sections: `{ light_push: { socket_path: '/x/socket.io/' } }`. Each system is enabled and has a
 * free port, unless its section says otherwise. `server.at.light_push` is where it is: `127.0.0.1:1234`.
 */
export async function startCompat(t, systems, { env = {}, ...options } = {}) {
  const compat = {};
  for (const [system, settings] of Object.entries(systems)) {
    for (const [key, value] of Object.entries({ enabled: true, listen: '127.0.0.1:0', ...settings })) {
      if (value === undefined) continue;
      compat[`TIDINGS_COMPAT__${system.toUpperCase()}__${key.toUpperCase()}`] = String(value);
    }
  }
  const server = await Server.start(t, { env: { ...compat, ...env }, ...options });
  server.at = {};
  locate(server);
  return server;
}

/** Finds out again where everything is, after a restart. */
export function locate(server) {
  for (const [, system, port] of server.output.matchAll(LISTENING)) server.at[system] = `127.0.0.1:${port}`;
}

/** How many connections a user has. */
export async function connectionsOf(api, user) {
  const answer = await api.call('POST', 'users:status', { users: [user] });
  return answer.json.users?.[0]?.connections ?? answer.json.items?.[0]?.connections ?? 0;
}
