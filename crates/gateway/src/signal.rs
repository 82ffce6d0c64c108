//! Signals on their way: from the node to the members of a room on this shard, encoded once for each format.
//!
//! A signal is never worth a connection: who has half of what may wait for it waiting is not given more.

use std::rc::Rc;

use tidings_hub::Frame;
use tidings_hub::broadcast;
use tidings_node::metrics::Unsent;
use tidings_node::presence::signal::{Signal, SignalKind};
use tidings_wire::push::{self, Codec, Format};
use tidings_wire::{socketio, sse};

use crate::local::Local;

impl Local {
    /// Gives a signal to the members of its room.
    pub(crate) fn signal(&self, signal: &Signal) {
        let mut frames: [Option<Rc<Frame>>; Format::COUNT] = Default::default();
        let listeners = self.hub.borrow().listeners(&signal.namespace, &signal.room, signal.about);
        let mut dropped = 0;
        for (member, peer) in listeners {
            let Some(connection) = self.get(peer) else { continue };
            let may_see = {
                let sessions = connection.sessions.borrow();
                let session = sessions.iter().find(|session| session.member == member);
                // Whoever is in a room may know that it is suspended, and light-push kept from nobody who is in it.
                session.is_some_and(|session| {
                    signal.kind == SignalKind::Room
                        || signal.kind.is_light_push()
                        || !session.hushed
                            && session.permit.as_ref().is_none_or(|permit| permit.may_see(&signal.room, true))
                })
            };
            if !may_see {
                continue;
            }
            let format = connection.format();
            let frame = match &frames[format.index()] {
                Some(frame) => Rc::clone(frame),
                None => {
                    let Some(text) = text(format.codec, signal) else { continue };
                    let plain = Frame::signal(push::control(format.codec, &text));
                    let frame = broadcast::compress(plain, format, self.hub.borrow_mut().deflater());
                    Rc::clone(frames[format.index()].insert(frame))
                }
            };
            if !self.hub.borrow_mut().offer(member, frame) {
                dropped += 1;
            }
        }
        if dropped > 0 {
            self.metrics().signals_dropped.get_or_create(&Unsent::SLOW_READER).inc_by(dropped);
        }
    }
}

/// What clients of a codec read; `None` where they have no words for it.
fn text(codec: Codec, signal: &Signal) -> Option<String> {
    let (event, data) = (signal.kind.as_str(), &signal.data);
    if signal.kind.is_light_push() != (codec == Codec::LightPush) {
        return None;
    }
    match codec {
        Codec::Json => Some(format!(r#"{{"{event}":{data}}}"#)),
        Codec::SocketIo | Codec::LightPush => {
            let path = format!("/{}", signal.namespace);
            Some(format!("4{}", socketio::event(&path, None, event, &[data])))
        }
        Codec::Sse => Some(sse::event(None, Some(event), data)),
        Codec::PushKoa | Codec::Gopusher | Codec::GoRedis | Codec::MessagePush => None,
    }
}
