//! What is said to one connection and is no message: replies, heartbeats, goodbyes. It goes ahead of messages.

use tidings_hub::{Frame, Lane, broadcast};
use tidings_model::Disconnect;
use tidings_wire::push;
use tidings_wire::websocket::{self, Opcode};

use crate::connection::Connection;
use crate::local::Local;

impl Local {
    /// Queues text for a connection, ahead of its messages.
    pub(crate) fn send(&self, connection: &Connection, text: &str) {
        let format = connection.format();
        let compressed = format
            .deflate
            .and_then(|window| self.hub.borrow_mut().deflater().frame(window, Opcode::Text, text.as_bytes()));
        let frame = match compressed {
            Some(bytes) => Frame::control(push::Encoded { bytes, payload_at: 0 }),
            None => Frame::control(push::control(format.codec, text)),
        };
        self.hub.borrow_mut().send(connection.key, Lane::Control, frame);
    }

    /// Queues text for a connection, behind the messages that wait for it.
    pub(crate) fn send_behind(&self, connection: &Connection, text: &str) {
        let format = connection.format();
        let plain = Frame::signal(push::control(format.codec, text));
        let frame = broadcast::compress(plain, format, self.hub.borrow_mut().deflater());
        self.hub.borrow_mut().send(connection.key, Lane::Normal, frame);
    }

    /// Queues a frame that is complete already.
    pub(crate) fn send_frame(&self, connection: &Connection, bytes: Vec<u8>) {
        let frame = Frame::control(push::Encoded { bytes, payload_at: 0 });
        self.hub.borrow_mut().send(connection.key, Lane::Control, frame);
    }

    /// Queues a close frame. A client that closes by itself gets its own code back (RFC 6455 section 5.5.1).
    pub(crate) fn send_close(&self, connection: &Connection, why: Disconnect) {
        let frame = match connection.close_code.get() {
            0 => websocket::close_frame(why.code, why.reason),
            code => websocket::close_frame(code, ""),
        };
        self.send_frame(connection, frame);
    }

    /// Queues a binary message for a connection.
    pub(crate) fn send_binary(&self, connection: &Connection, payload: &[u8]) {
        let window = connection.deflate.get();
        let compressed =
            window.and_then(|window| self.hub.borrow_mut().deflater().frame(window, Opcode::Binary, payload));
        let (bytes, payload_at) = match compressed {
            Some(bytes) => (bytes, 0),
            None => {
                let bytes = websocket::frame(Opcode::Binary, payload);
                let payload_at = (bytes.len() - payload.len()) as u8;
                (bytes, payload_at)
            }
        };
        let frame = Frame::control(push::Encoded { bytes, payload_at });
        self.hub.borrow_mut().send(connection.key, Lane::Control, frame);
    }
}
