// The Socket.IO server of the bench, set up for throughput: WebSocket only, no compression, production mode.
//
// A client joins with the event `join`; `POST /publish` takes a JSON array and emits each entry to the room.
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { readArray } from './publish.mjs';

const server = createServer((request, response) => {
  if (request.method !== 'POST' || request.url !== '/publish') {
    response.writeHead(404).end();
    return;
  }
  readArray(request, response, (messages) => {
    for (const data of messages) {
      io.to('bench').emit('push', data);
    }
  });
});
const io = new Server(server, {
  transports: ['websocket'],
  serveClient: false,
  perMessageDeflate: false,
  httpCompression: false,
});
// As Socket.IO's page on performance advises: the first request would stay in memory with each connection.
io.engine.on('connection', (connection) => {
  connection.request = null;
});
io.on('connection', (socket) => {
  socket.on('join', (room, acknowledge) => {
    socket.join(room);
    acknowledge();
  });
});
// Publishers keep their connections.
server.keepAliveTimeout = 0;
server.listen({ port: Number(process.env.PEER_PORT), host: '127.0.0.1', backlog: 4096 });
