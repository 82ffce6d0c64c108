// The server under test: started as a process on a store of its own, killed, restarted, stopped.
// Knows nothing of the protocols it speaks.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { until, within } from './until.mjs';

export const BINARY = process.env.TIDINGS_BIN
  ? path.resolve(process.env.TIDINGS_BIN)
  : fileURLToPath(new URL('../../target/debug/tidings', import.meta.url));

const LISTENING = /listening on\s+(?:https?:\/\/)?(?:[^\s:]+|\[[^\]]+\]):(\d+)/i;
/** How the key of a first start is shown. */
export const ADMIN_KEY = /admin key:?\s+(\S+)/i;
const OUTPUT_MAX = 256 * 1024;
/** However busy the machine is, a server lets clients in unless a test has it do otherwise. */
const PATIENT = { TIDINGS_OVERLOAD__LAG: '1m' };

const processes = new Set();
const directories = new Set();

function cleanUp() {
  for (const child of processes) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
}
process.on('exit', cleanUp);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

const MEMORY = '/dev/shm';
const ROOM_IN_MEMORY = 4 * 1024 ** 3;

/** In memory, where there is room: each start of a server makes files that it waits for the disk to have. */
function place() {
  try {
    const { bavail, bsize } = statfsSync(MEMORY);
    return bavail * bsize >= ROOM_IN_MEMORY ? MEMORY : tmpdir();
  } catch {
    return tmpdir();
  }
}

/** A directory that is gone when the test process ends. */
export function temporaryDirectory(name) {
  const directory = mkdtempSync(path.join(place(), `tidings-e2e-${name}-`));
  directories.add(directory);
  return directory;
}

function ephemeralPorts() {
  try {
    return readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim().split(/\s+/).map(Number);
  } catch {
    return [32_768, 65_535];
  }
}

/** `fetch` asks nobody there, as browsers do not (WHATWG Fetch, bad ports). */
const NO_PORT_OF_FETCH = 10_080;

/**
 * A free port outside the range that outgoing connections take theirs from. A server that goes away and
 * comes back on a port of that range may find it taken by a client, even by one that tries to reach it.
 */
export async function restartablePort() {
  const [first, last] = ephemeralPorts();
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if ((port >= first && port <= last) || port === NO_PORT_OF_FETCH) continue;
    const free = await new Promise((resolve) => {
      const probe = net.createServer();
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
  return 0;
}

/** Starts the program and collects what it says. */
export function launch(args, { env = {} } = {}) {
  // Nothing that configures a server is inherited.
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('TIDINGS_'));
  const child = spawn(BINARY, args, {
    env: { ...Object.fromEntries(inherited), NO_COLOR: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  processes.add(child);
  const run = { child, stdout: '', stderr: '', exit: undefined };
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8');
    child[name].on('data', (text) => {
      // eslint-disable-next-line no-control-regex
      run[name] = (run[name] + text.replace(/\x1b\[[0-9;]*m/g, '')).slice(-OUTPUT_MAX);
      if (process.env.E2E_SERVER_OUTPUT) process.stderr.write(text);
    });
  }
  run.done = new Promise((resolve) => {
    const finish = (exit) => {
      processes.delete(child);
      run.exit ??= exit;
      resolve(run.exit);
    };
    child.once('error', (error) => finish({ code: null, signal: null, error }));
    child.once('close', (code, signal) => finish({ code, signal }));
  });
  return run;
}

/** Runs the program to its end, for commands and for starts that must fail. */
export async function runToExit(args, { ms = 10_000, env } = {}) {
  const run = launch(args, { env });
  try {
    const exit = await within(() => `${BINARY} ${args.join(' ')} ends\n${run.stdout}${run.stderr}`, run.done, ms);
    if (exit.error) throw exit.error;
    return { ...exit, stdout: run.stdout, stderr: run.stderr, output: run.stdout + run.stderr };
  } finally {
    run.child.kill('SIGKILL');
  }
}

export class Server {
  #run;
  #expectedToRun = false;
  #past = '';

  constructor({ store, port = 0, dev = true, adminKey, args = [], env = {}, listen, probe } = {}) {
    this.dev = dev;
    this.store = store ?? path.join(temporaryDirectory('store'), 'data');
    this.port = port;
    // Where to listen, if not on a port of this machine.
    this.listen = listen;
    this.args = args;
    // How to see that it is ready where a plain request to the port is not answered.
    this.probe = probe;
    this.env = env;
    // Printed by the first start on a store only.
    this.adminKey = adminKey;
  }

  /** A running server on a fresh store; a test passes itself and it is cleaned up after it. */
  static async start(t, { restartable = false, ...options } = {}) {
    const server = new Server({ ...options, port: options.port ?? (restartable ? await restartablePort() : 0) });
    t?.after(() => server.dispose());
    await server.start();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get wsUrl() {
    return `ws://127.0.0.1:${this.port}`;
  }

  get pid() {
    return this.#run?.child.pid;
  }

  get running() {
    return this.#run !== undefined && this.#run.exit === undefined;
  }

  /** Everything the server has said in all of its lives. */
  get output() {
    return this.#past + (this.#run ? this.#run.stdout + this.#run.stderr : '');
  }

  /** Waits until it has said this. A thread writes the log, so that lines may come behind an answer that they are about. */
  async says(pattern) {
    await until(() => `the server says ${pattern}\n${this.tail()}`, () => pattern.test(this.output));
  }

  /** The end of what it said, for failure texts; calls are many and say little. */
  tail(bytes = 3_000) {
    const lines = this.output.split('\n').filter((line) => !/ INFO call /.test(line));
    return `--- server says (end of it) ---\n${lines.join('\n').slice(-bytes)}\n---`;
  }

  async start({ ms = 20_000 } = {}) {
    const deadline = performance.now() + ms;
    for (;;) {
      this.spawn();
      try {
        await this.ready({ ms: Math.max(1, deadline - performance.now()) });
        return this;
      } catch (error) {
        // Somebody's outgoing connection may sit on the port for a moment.
        const taken = this.#run.exit !== undefined && this.port !== 0 && /in use|EADDRINUSE/i.test(this.#run.stderr + this.#run.stdout);
        await this.kill9();
        if (!taken || performance.now() >= deadline) throw error;
      }
    }
  }

  /** Starts the process without waiting for it. */
  spawn() {
    if (this.running) throw new Error('the server is running already');
    if (this.#run) this.#past = this.output.slice(-OUTPUT_MAX);
    this.#run = launch(['serve', ...(this.dev ? ['--dev'] : []), '--listen', this.listen ?? `127.0.0.1:${this.port}`, '--store', this.store, ...this.args], { env: { ...PATIENT, ...this.env } });
    this.#expectedToRun = true;
  }

  /** Waits until the server says where it listens and that it may take traffic. */
  async ready({ ms = 20_000 } = {}) {
    const run = this.#run;
    await until(
      () => `the server (${BINARY}) is ready${this.adminKey ? '' : ', its admin key was not shown'}${run.exit ? `; it ended with ${JSON.stringify(run.exit)}` : ''}\n${this.tail()}`,
      async () => {
        if (run.exit) return true;
        const said = run.stdout + run.stderr;
        const key = ADMIN_KEY.exec(said);
        if (key) this.adminKey = key[1];
        const listening = LISTENING.exec(said);
        if (!listening && !(this.probe && /listening on /.test(said))) return false;
        if (listening) this.port = Number(listening[1]);
        if (this.probe) return this.adminKey !== undefined && (await this.probe(this));
        // A connection that is kept would be seen by who counts them.
        const answer = await fetch(`${this.url}/readyz`, { headers: { connection: 'close' }, signal: AbortSignal.timeout(1_000) });
        await answer.arrayBuffer();
        return answer.status === 200 && this.adminKey !== undefined;
      },
      { ms, every: 10 },
    );
    if (run.exit) throw new Error(`the server (${BINARY}) ended with ${run.exit.error ?? JSON.stringify(run.exit)}\n${this.tail()}`);
  }

  async kill9() {
    this.#expectedToRun = false;
    if (!this.running) return;
    this.#run.child.kill('SIGKILL');
    await this.#run.done;
  }

  /** The same port and the same store again. */
  async restart(options) {
    await this.kill9();
    await this.start(options);
  }

  /** Asks it to end, as an operator does, and insists on a clean end in time. */
  async stop({ ms = 10_000 } = {}) {
    this.#expectedToRun = false;
    this.#run.child.kill('SIGTERM');
    const exit = await within(() => `the server stops after SIGTERM\n${this.tail()}`, this.#run.done, ms);
    if (exit.code !== 0) throw new Error(`after SIGTERM the server ended with ${JSON.stringify(exit)}, expected exit code 0\n${this.tail()}`);
  }

  /** It is to end by itself, because something else tells it to: how it does. */
  exit({ ms = 15_000 } = {}) {
    this.#expectedToRun = false;
    return within(() => `the server ends by itself\n${this.tail()}`, this.#run.done, ms);
  }

  /** Ends it, and complains when it had ended by itself or panicked. */
  async dispose() {
    const died = this.#expectedToRun && !this.running ? this.#run.exit : undefined;
    await this.kill9();
    rmSync(this.store, { recursive: true, force: true });
    if (died) throw new Error(`the server ended by itself: ${JSON.stringify(died)}\n${this.tail()}`);
    if (/panicked at/.test(this.output)) throw new Error(`the server panicked\n${this.tail(10_000)}`);
  }
}
