// A bad network between clients and the server: every connection through it is slow, sticks, is cut, or goes dead
// without a word. Bytes are never changed and never reordered; a connection that has lost some carries none after them.

import net from 'node:net';

/** How long a connection is left alone before something happens to it, in milliseconds. */
const GOOD_MS = { least: 200, most: 12_000 };
/** How long a dead connection stays dead before both ends hear of it: some clients have no heartbeat of their own. */
const DEAD_MS = { least: 1_000, most: 8_000 };
const STUCK_MS = { least: 50, most: 2_500 };
const DELAY_MS_MAX = 80;

export class BadNetwork {
  /** What has happened, counted. */
  fates = { connections: 0, cut: 0, dead: 0, 'half dead': 0, stuck: 0, closed: 0 };
  #server;
  #sockets = new Set();
  bad = true;

  constructor(port, random) {
    this.target = port;
    this.random = random;
  }

  /** In front of a port of this machine. */
  static async before(port, random) {
    const network = new BadNetwork(port, random);
    network.#server = net.createServer({ allowHalfOpen: true }, (client) => network.#carry(client));
    await new Promise((resolve) => network.#server.listen(0, '127.0.0.1', resolve));
    return network;
  }

  get port() {
    return this.#server.address().port;
  }

  #between({ least, most }) {
    // Short times are as likely as long ones.
    return least * (most / least) ** this.random();
  }

  #carry(client) {
    this.fates.connections += 1;
    const server = net.connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true });
    const ends = [client, server];
    const ways = [this.#way(client, server), this.#way(server, client)];
    let timer;
    const over = () => {
      clearTimeout(timer);
      for (const end of ends) {
        this.#sockets.delete(end);
        end.destroy();
      }
    };
    const cut = (fate) => {
      this.fates[fate] += 1;
      for (const end of ends) end.resetAndDestroy();
      over();
    };
    const next = () => {
      timer = setTimeout(() => {
        if (!this.bad) return;
        const chance = this.random();
        if (chance < 0.3) return cut('cut');
        if (chance < 0.6) {
          for (const way of ways) way.stick(this.#between(STUCK_MS));
          this.fates.stuck += 1;
          return next();
        }
        // From now on nothing arrives any more, in one direction or in both.
        const fate = chance < 0.8 ? 'dead' : 'half dead';
        for (const way of fate === 'dead' ? ways : [ways[Math.floor(this.random() * 2)]]) way.dead = true;
        timer = setTimeout(() => cut(fate), this.#between(DEAD_MS));
      }, this.#between(GOOD_MS));
    };
    for (const end of ends) {
      this.#sockets.add(end);
      end.setNoDelay(true);
      end.on('error', () => {});
    }
    // Who goes away is heard of at the other end behind everything that was said before, unless the way there is dead.
    for (const [index, end] of ends.entries()) {
      end.on('close', () =>
        ways[index].later(() => {
          if (this.#sockets.has(end)) this.fates.closed += 1;
          over();
        }),
      );
    }
    next();
  }

  /** One direction: what comes in is handed on in order, later. */
  #way(from, to) {
    const way = { dead: false, stuckUntil: 0, stick: (ms) => (way.stuckUntil = performance.now() + ms), later: (what) => later(what) };
    let chain = Promise.resolve();
    const delay = this.random() * DELAY_MS_MAX;
    const later = (what) => {
      const at = performance.now() + delay * this.random();
      chain = chain.then(async () => {
        const wait = Math.max(at, way.stuckUntil) - performance.now();
        if (this.bad && wait > 1) await new Promise((resolve) => setTimeout(resolve, wait));
        if (!way.dead) what();
      });
    };
    from.on('data', (bytes) => later(() => to.destroyed || to.write(bytes)));
    from.on('end', () => later(() => to.end()));
    return way;
  }

  /** From now on nothing bad happens any more; what is dead is cut. */
  heal() {
    this.bad = false;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close() {
    this.heal();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
