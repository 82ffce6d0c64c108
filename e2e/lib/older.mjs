// A server that serves one of the five older systems on a listener of its own.

import { Api } from './api.mjs';
import { startCompat } from './compat.mjs';

/** Starts it; `settings` are those of its section, `namespace` the one that its clients are in. */
export async function older(t, system, { settings = {}, namespace, env = {} }) {
  const server = await startCompat(t, { [system]: { namespace, ...settings } }, { dev: false, env });
  const at = server.at[system];
  return { server, api: new Api(server, { namespace }), port: Number(at.split(':')[1]), url: `http://${at}`, ws: `ws://${at}` };
}

/** A key of the namespace. */
export async function keyOf(api, scopes) {
  return (await api.call('POST', 'keys', { name: 'test', scopes })).json.key;
}

/** A token for a client. */
export async function tokenOf(api, claims) {
  return (await api.call('POST', 'tokens', claims)).json.token;
}
