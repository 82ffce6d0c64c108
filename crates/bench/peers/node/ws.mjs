// A server of bare `ws`: no rooms, no heartbeat, every client gets everything. What a Node server costs at least.
//
// `POST /publish` takes a JSON array and sends each entry to every client.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';
import { readArray } from './publish.mjs';

const server = createServer((request, response) => {
  if (request.method !== 'POST' || request.url !== '/publish') {
    response.writeHead(404).end();
    return;
  }
  readArray(request, response, (messages) => {
    for (const data of messages) {
      // A buffer, so that the text is not encoded once more for each client.
      const frame = Buffer.from(JSON.stringify(data));
      for (const client of sockets.clients) {
        client.send(frame, { binary: false });
      }
    }
  });
});
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
// Publishers keep their connections.
server.keepAliveTimeout = 0;
server.listen({ port: Number(process.env.PEER_PORT), host: '127.0.0.1', backlog: 4096 });
