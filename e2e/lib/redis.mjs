// A Redis of the test's own, on a port of its own, which is killed and comes back; and plain PUBLISH to it, as a backend in any
// language does it.

import { spawn } from 'node:child_process';
import net from 'node:net';

import { restartablePort } from './server.mjs';
import { until } from './until.mjs';

const redises = new Set();
process.on('exit', () => redises.forEach((child) => child.kill('SIGKILL')));

export class Redis {
  static async start(t, { started = true } = {}) {
    const redis = new Redis();
    redis.port = await restartablePort();
    t.after(() => redis.kill9());
    if (started) await redis.start();
    return redis;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  async start() {
    const args = ['--port', this.port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', '/tmp'];
    const child = (this.child = spawn('redis-server', args.map(String), { stdio: 'ignore' }));
    redises.add(child);
    this.gone = new Promise((resolve) => child.once('close', resolve));
    this.gone.then(() => redises.delete(child));
    await until('redis answers', async () => (await this.cli('PING')) === 'PONG', { ms: 10_000, every: 20 });
  }

  async kill9() {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGKILL');
    await this.gone;
  }

  /** It neither answers nor hangs up. */
  pause() {
    this.child.kill('SIGSTOP');
  }

  resume() {
    this.child.kill('SIGCONT');
  }

  /** What `redis-cli` says to a command. */
  cli(...args) {
    return new Promise((resolve, reject) => {
      const child = spawn('redis-cli', ['-p', String(this.port), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      child.stdout.on('data', (bytes) => (said += bytes));
      child.stderr.on('data', (bytes) => (said += bytes));
      child.once('error', reject);
      child.once('close', () => resolve(said.trim()));
    });
  }

  /** What `redis-cli` hears on a channel. */
  subscribe(channel) {
    const child = spawn('redis-cli', ['-p', String(this.port), 'SUBSCRIBE', channel], { stdio: ['ignore', 'pipe', 'ignore'] });
    const heard = { said: '', stop: () => child.kill('SIGKILL') };
    child.stdout.setEncoding('utf8').on('data', (text) => (heard.said += text));
    heard.ready = until(`redis-cli hears ${channel}`, () => heard.said.includes('subscribe'));
    return heard;
  }

  publish(channel, text) {
    return this.cli('PUBLISH', channel, text);
  }

  /** Many at once over one connection, and any bytes: `[channel, payload]`. */
  async flood(pairs) {
    const socket = net.connect(this.port, '127.0.0.1');
    const parts = [];
    for (const [channel, payload] of pairs) {
      const words = ['PUBLISH', channel, payload].map((word) => Buffer.from(word));
      parts.push(Buffer.from('*3\r\n'), ...words.flatMap((word) => [Buffer.from(`$${word.length}\r\n`), word, Buffer.from('\r\n')]));
    }
    let answers = 0;
    socket.on('data', (bytes) => (answers += bytes.toString().split('\n').length - 1));
    socket.on('error', () => {});
    socket.write(Buffer.concat(parts));
    await until(() => `${pairs.length} are published, ${answers} are`, () => answers === pairs.length, { ms: 30_000 });
    socket.destroy();
  }
}
