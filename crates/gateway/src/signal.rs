//! Signals on their way: from the node to the members of a room on this shard, encoded once for each format.
//!
//! A signal is never worth a connection: who has half of what may wait for it waiting is not given more.

use std::rc::Rc;

use tidings_hub::Frame;
use tidings_hub::broadcast;
use tidings_model::{NamespaceName, Ordinal};
use tidings_node::metrics::Unsent;
use tidings_node::presence::signal::{Notice, Signal, SignalKind};
use tidings_wire::push::{self, Codec, Format};
use tidings_wire::{socketio, sse};

use crate::local::Local;
use crate::session::Session;

impl Local {
    /// Gives a signal to the members of its room.
    pub(crate) fn signal(&self, signal: &Signal) {
        let mut frames = Frames::default();
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
            let Some(frame) = self.encoded(&mut frames, connection.format(), signal.into()) else { continue };
            if !self.hub.borrow_mut().offer(member, frame) {
                dropped += 1;
            }
        }
        self.dropped(dropped);
    }

    /// Gives a notice to those devices that are here.
    pub(crate) fn notice(&self, notice: &Notice) {
        let (mut frames, mut dropped) = (Frames::default(), 0);
        for device in notice.devices.iter().map(Ordinal) {
            let peers = self.hub.borrow().peers_of_device(&notice.namespace, device);
            for connection in peers.into_iter().filter_map(|peer| self.get(peer)) {
                let Some(frame) = self.encoded(&mut frames, connection.format(), notice.into()) else {
                    continue;
                };
                let sessions = connection.sessions.borrow();
                let is_it = |session: &&Session| {
                    session.ordinal == device && session.namespace.name == notice.namespace
                };
                if let Some(session) = sessions.iter().find(is_it)
                    && !self.hub.borrow_mut().offer(session.member, frame)
                {
                    dropped += 1;
                }
            }
        }
        self.dropped(dropped);
    }

    fn encoded(&self, frames: &mut Frames, format: Format, said: Said<'_>) -> Option<Rc<Frame>> {
        if let Some(frame) = &frames[format.index()] {
            return Some(Rc::clone(frame));
        }
        let plain = Frame::signal(push::control(format.codec, &text(format.codec, said)?));
        let frame = broadcast::compress(plain, format, self.hub.borrow_mut().deflater());
        Some(Rc::clone(frames[format.index()].insert(frame)))
    }

    fn dropped(&self, dropped: u64) {
        if dropped > 0 {
            self.metrics().signals_dropped.get_or_create(&Unsent::SLOW_READER).inc_by(dropped);
        }
    }
}

/// A signal or a notice, encoded once for each format.
type Frames = [Option<Rc<Frame>>; Format::COUNT];

/// What is said, and to which namespace.
#[derive(Clone, Copy)]
struct Said<'a> {
    namespace: &'a NamespaceName,
    kind: SignalKind,
    data: &'a str,
}

impl<'a> From<&'a Signal> for Said<'a> {
    fn from(Signal { namespace, kind, data, .. }: &'a Signal) -> Self {
        Self { namespace, kind: *kind, data }
    }
}

impl<'a> From<&'a Notice> for Said<'a> {
    fn from(Notice { namespace, kind, data, .. }: &'a Notice) -> Self {
        Self { namespace, kind: *kind, data }
    }
}

/// What clients of a codec read; `None` where they have no words for it.
fn text(codec: Codec, said: Said<'_>) -> Option<String> {
    let (event, data) = (said.kind.as_str(), said.data);
    if said.kind.is_light_push() != (codec == Codec::LightPush) {
        return None;
    }
    match codec {
        Codec::Json => Some(format!(r#"{{"{event}":{data}}}"#)),
        Codec::SocketIo | Codec::LightPush => {
            let path = format!("/{}", said.namespace);
            Some(format!("4{}", socketio::event(&path, None, event, &[data])))
        }
        Codec::Sse => Some(sse::event(None, Some(event), data)),
        Codec::PushKoa | Codec::Gopusher | Codec::GoRedis | Codec::MessagePush => None,
    }
}
