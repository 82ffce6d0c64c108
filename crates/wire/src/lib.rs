//! Bytes to packets and back: WebSocket, Engine.IO, Socket.IO, SSE and the JSON protocol, without I/O.
