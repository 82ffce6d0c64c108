//! `message`: an accepted message, by its number.
//!
//! Owner: the verb `append`. Lifetime: from its acceptance until retention trims it.
//! Key: namespace, number (8). Value: epoch (4), the topics with the offset in each, the id, then what does not
//! depend on the order: event, target, exceptions, ordinals meant, times, priority, keep, data, and
//! (not in values of version 1) the collapse key, the time it was scheduled for, when it was sent, after how many
//! milliseconds without a receipt another way is tried, what that is to say, the message that it recalls, (since
//! version 3) the user and device that published it, and (since version 4) what an older system's call said besides.
//! A message whose time has not come has no topics.
//!
//! The last part, the [`tail`], is the long one. It is encoded by whoever appends, so that the writer,
//! of which there is only one, need only copy it.

use std::sync::Arc;

use std::time::Duration;

use bytes::Bytes;
use tidings_model::{
    Epoch, EventName, Except, Message, NamespaceName, Platform, Priority, Sender, Seq, Target, Timestamp,
};

use super::codec::{self, Broken, Put, Reader};

const VERSION: u8 = 4;

/// Values that end with who published it.
const VERSION_3: u8 = 3;

/// Values that end with the message that is recalled.
const VERSION_2: u8 = 2;

/// Values that end with the data.
const VERSION_1: u8 = 1;

/// The key of a message.
#[must_use]
pub fn key(namespace: &NamespaceName, seq: Seq) -> Vec<u8> {
    let mut key = codec::namespace_prefix(namespace, 8);
    key.put_u64(seq.0);
    key
}

/// Reads a key.
///
/// # Errors
/// [`Broken`] when it is none.
pub fn decode_key(key: &[u8]) -> Result<(NamespaceName, Seq), Broken> {
    let mut reader = Reader(key);
    let parts = (reader.namespace()?, Seq(reader.u64()?));
    reader.end()?;
    Ok(parts)
}

/// The part of a value that is known before the message has a number.
#[must_use]
pub fn tail(message: &Message) -> Vec<u8> {
    let mut tail = Vec::with_capacity(message.data.len() + message.meant.serialized_size() + 128);
    tail.put_name(message.event.as_str());
    put_target(&mut tail, &message.to);
    put_except(&mut tail, &message.except);
    tail.put_bitmap(&message.meant);
    tail.put_u64(message.accepted_at.0);
    tail.put_u64(message.expires_at.0);
    tail.put_u8(match message.priority {
        Priority::Normal => 0,
        Priority::High => 1,
    });
    tail.put_u8(u8::from(message.keep));
    tail.put_bytes(&message.data);
    tail.put_maybe(message.collapse_key.as_ref(), |tail, key| tail.put_name(key.as_str()));
    tail.put_maybe(message.deliver_at, |tail, at| tail.put_u64(at.0));
    tail.put_u64(message.sent_at.0);
    tail.put_maybe(message.escalate_after, |tail, after| tail.put_u64(after.as_millis() as u64));
    tail.put_bytes(&message.offline);
    tail.put_maybe(message.recalls.as_ref(), |tail, id| tail.put_name(id.as_str()));
    tail.put_maybe(message.from.as_ref(), |tail, from| {
        tail.put_maybe(from.user.as_ref(), |tail, user| tail.put_name(user.as_str()));
        tail.put_name(from.device.as_str());
    });
    tail.put_bytes(&message.aside);
    tail
}

/// The value of a message whose [`tail`] has been encoded.
#[must_use]
pub fn value(key: &[u8], message: &Message, tail: &[u8]) -> Vec<u8> {
    let mut value = codec::unsealed(tail.len() + message.id.as_str().len() + 64);
    value.put_u32(message.epoch.0);
    value.put_list(&message.topics, |value, (topic, offset)| {
        value.put_topic(topic);
        value.put_u64(*offset);
    });
    value.put_name(message.id.as_str());
    value.extend_from_slice(tail);
    codec::seal(VERSION, key, value)
}

/// Reads a message.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Message, Broken> {
    let (namespace, seq) = decode_key(key)?;
    let version = version(value);
    let mut reader = codec::open(version, key, value)?;
    let epoch = Epoch(reader.u32()?);
    let topics = reader.list(|reader| Ok((reader.topic()?, reader.u64()?)))?;
    let mut message = Message {
        namespace,
        seq,
        epoch,
        topics,
        id: reader.name()?.parse()?,
        event: EventName::stored(reader.name()?)?,
        to: target(&mut reader)?,
        except: except(&mut reader)?,
        meant: Arc::new(reader.bitmap()?),
        accepted_at: Timestamp(reader.u64()?),
        expires_at: Timestamp(reader.u64()?),
        priority: match reader.u8()? {
            0 => Priority::Normal,
            1 => Priority::High,
            other => return Err(Broken::Choice(other)),
        },
        keep: reader.bool()?,
        data: Bytes::copy_from_slice(reader.bytes()?),
        collapse_key: None,
        deliver_at: None,
        sent_at: Timestamp(0),
        escalate_after: None,
        offline: Bytes::new(),
        recalls: None,
        from: None,
        aside: Bytes::new(),
    };
    message.sent_at = message.accepted_at;
    if version >= VERSION_2 {
        message.collapse_key = reader.maybe(|reader| Ok(reader.name()?.parse()?))?;
        message.deliver_at = reader.maybe(|reader| reader.u64().map(Timestamp))?;
        message.sent_at = Timestamp(reader.u64()?);
        message.escalate_after = reader.maybe(|reader| reader.u64().map(Duration::from_millis))?;
        message.offline = Bytes::copy_from_slice(reader.bytes()?);
        message.recalls = reader.maybe(|reader| Ok(reader.name()?.parse()?))?;
    }
    if version >= VERSION_3 {
        message.from = reader.maybe(|reader| {
            let user = reader.maybe(|reader| Ok(reader.name()?.parse()?))?;
            Ok(Sender { user, device: reader.name()?.parse()? })
        })?;
    }
    if version >= VERSION {
        message.aside = Bytes::copy_from_slice(reader.bytes()?);
    }
    reader.end()?;
    Ok(message)
}

/// The version of a value; what is none is said by whoever opens it.
fn version(value: &[u8]) -> u8 {
    match value.first() {
        Some(old @ &(VERSION_1 | VERSION_2 | VERSION_3)) => *old,
        Some(_) | None => VERSION,
    }
}

/// The value of a message in another life of its store.
///
/// # Errors
/// [`Broken`] when it is not what was written.
pub fn relive(key: &[u8], value: &[u8], epoch: Epoch) -> Result<Vec<u8>, Broken> {
    let version = version(value);
    let mut body = codec::open(version, key, value)?;
    body.u32()?;
    let mut relived = codec::unsealed(value.len());
    relived.put_u32(epoch.0);
    relived.extend_from_slice(body.0);
    Ok(codec::seal(version, key, relived))
}

fn put_target(body: &mut Vec<u8>, to: &Target) {
    body.put_u8(u8::from(to.all));
    body.put_list(&to.users, |body, id| body.put_name(id.as_str()));
    body.put_list(&to.devices, |body, id| body.put_name(id.as_str()));
    body.put_list(&to.rooms, |body, name| body.put_name(name.as_str()));
    body.put_list(&to.platforms, |body, platform| body.put_u8(*platform as u8));
}

fn target(reader: &mut Reader<'_>) -> Result<Target, Broken> {
    Ok(Target {
        all: reader.bool()?,
        users: reader.list(|reader| Ok(reader.name()?.parse()?))?,
        devices: reader.list(|reader| Ok(reader.name()?.parse()?))?,
        rooms: reader.list(|reader| Ok(reader.name()?.parse()?))?,
        platforms: reader.list(platform)?,
    })
}

fn put_except(body: &mut Vec<u8>, except: &Except) {
    body.put_list(&except.users, |body, id| body.put_name(id.as_str()));
    body.put_list(&except.devices, |body, id| body.put_name(id.as_str()));
    body.put_list(&except.rooms, |body, name| body.put_name(name.as_str()));
    body.put_list(&except.connections, |body, id| body.put_bytes(id.as_bytes()));
}

fn except(reader: &mut Reader<'_>) -> Result<Except, Broken> {
    Ok(Except {
        users: reader.list(|reader| Ok(reader.name()?.parse()?))?,
        devices: reader.list(|reader| Ok(reader.name()?.parse()?))?,
        rooms: reader.list(|reader| Ok(reader.name()?.parse()?))?,
        connections: reader
            .list(|reader| String::from_utf8(reader.bytes()?.to_vec()).map_err(|_| Broken::Name))?,
    })
}

/// Reads a platform.
pub(super) fn platform(reader: &mut Reader<'_>) -> Result<Platform, Broken> {
    let index = reader.u8()?;
    Platform::ALL.get(usize::from(index)).copied().ok_or(Broken::Choice(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{bitmap, name, namespace, no_bit_may_flip, topic, unhex};
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use tidings_model::Topic;

    fn any_message() -> impl Strategy<Value = Message> {
        let order = (namespace(), any::<u64>(), any::<u32>(), vec((topic(), any::<u64>()), 0..4));
        let names = (name(), name(), vec(any::<u8>(), 0..200), bitmap());
        let whom = (any::<bool>(), vec(name(), 0..3), vec(name(), 0..3), vec(name(), 0..3), 0usize..5);
        let but = (vec(name(), 0..3), vec(name(), 0..3), vec(name(), 0..3), vec(".{0,20}", 0..3));
        let rest = (any::<u64>(), any::<u64>(), any::<bool>(), any::<bool>());
        let later = (
            option::of("[a-z]{1,30}".prop_map(|text| text.parse().unwrap())),
            option::of(any::<u64>()),
            any::<u64>(),
            option::of(any::<u32>()),
        );
        let from = option::of((option::of(name()), name()));
        let other = (vec(any::<u8>(), 0..40), option::of(name()), from, vec(any::<u8>(), 0..40));
        let parts = (order, names, whom, but, rest, later, other);
        parts.prop_map(|(order, names, whom, but, rest, later, other)| Message {
            namespace: order.0,
            seq: Seq(order.1),
            epoch: Epoch(order.2),
            topics: order.3,
            id: names.0,
            event: names.1,
            data: names.2.into(),
            meant: Arc::new(names.3),
            to: Target {
                all: whom.0,
                users: whom.1,
                devices: whom.2,
                rooms: whom.3,
                platforms: Platform::ALL[whom.4..].to_vec(),
            },
            except: Except { users: but.0, devices: but.1, rooms: but.2, connections: but.3 },
            accepted_at: Timestamp(rest.0),
            expires_at: Timestamp(rest.1),
            priority: if rest.2 { Priority::High } else { Priority::Normal },
            keep: rest.3,
            collapse_key: later.0,
            deliver_at: later.1.map(Timestamp),
            sent_at: Timestamp(later.2),
            escalate_after: later.3.map(|ms| Duration::from_millis(ms.into())),
            offline: other.0.into(),
            recalls: other.1,
            from: other.2.map(|(user, device)| Sender { user, device }),
            aside: other.3.into(),
        })
    }

    proptest! {
        #[test]
        fn reads_back(message in any_message()) {
            let key = key(&message.namespace, message.seq);
            let value = value(&key, &message, &tail(&message));
            prop_assert_eq!(decode(&key, &value), Ok(message));
        }

        #[test]
        fn another_life_changes_the_epoch_alone(message in any_message(), epoch: u32) {
            let key = key(&message.namespace, message.seq);
            let relived = relive(&key, &value(&key, &message, &tail(&message)), Epoch(epoch)).unwrap();
            prop_assert_eq!(decode(&key, &relived), Ok(Message { epoch: Epoch(epoch), ..message }));
        }

        #[test]
        fn keys_sort_like_numbers(namespace in namespace(), one: u64, other: u64) {
            prop_assert_eq!(key(&namespace, Seq(one)).cmp(&key(&namespace, Seq(other))), one.cmp(&other));
        }

        #[test]
        fn garbage_never_panics(key in vec(any::<u8>(), 0..40), value in vec(any::<u8>(), 0..200)) {
            let _ = decode(&key, &value);
        }
    }

    fn example() -> Message {
        Message {
            namespace: "demo".parse().unwrap(),
            seq: Seq(258),
            epoch: Epoch(7),
            topics: vec![(Topic::All, 3), (Topic::Room("lobby".parse().unwrap()), 2)],
            id: "m1".parse().unwrap(),
            event: "push".parse().unwrap(),
            data: Bytes::from_static(b"{}"),
            to: Target { all: true, ..Target::default() },
            except: Except { connections: vec!["c".into()], ..Except::default() },
            meant: Arc::new([1, 5].into_iter().collect()),
            accepted_at: Timestamp(1000),
            expires_at: Timestamp(2000),
            priority: Priority::High,
            keep: true,
            collapse_key: Some("score".parse().unwrap()),
            deliver_at: Some(Timestamp(1500)),
            sent_at: Timestamp(1501),
            escalate_after: Some(Duration::from_secs(5)),
            offline: Bytes::from_static(br#"{"apns":{}}"#),
            recalls: Some("m0".parse().unwrap()),
            from: Some(Sender { user: Some("ann".parse().unwrap()), device: "d1".parse().unwrap() }),
            aside: Bytes::from_static(br#"{"msgId":"m1"}"#),
        }
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 0000000000000102");
        let old = unhex(NOW);
        assert_eq!(
            decode(&key, &old),
            Ok(example()),
            "{}",
            codec::hex(&value(&key, &example(), &tail(&example())))
        );
        let third = Message { aside: Bytes::new(), ..example() };
        assert_eq!(decode(&key, &unhex(OLD)), Ok(third));
        let second = Message { from: None, aside: Bytes::new(), ..example() };
        assert_eq!(decode(&key, &unhex(OLDER)), Ok(second));
        let first = Message {
            collapse_key: None,
            deliver_at: None,
            sent_at: Timestamp(1000),
            escalate_after: None,
            offline: Bytes::new(),
            recalls: None,
            from: None,
            aside: Bytes::new(),
            ..example()
        };
        assert_eq!(decode(&key, &unhex(OLDEST)), Ok(first));
    }

    const NOW: &str = "04ec0f2e5a000000070000000200000000000000000303056c6f6262790000000000000002026d\
        310470757368010000000000000000000000000000000000000000000000000000000000000001\
        0000000163000000143a3000000100000000000100100000000100050000000000000003e80000\
        0000000007d00101000000027b7d010573636f72650100000000000005dc00000000000005dd01\
        00000000000013880000000b7b2261706e73223a7b7d7d01026d30010103616e6e026431000000\
        0e7b226d73674964223a226d31227d";

    const OLDEST: &str = "0110b3a3ac000000070000000200000000000000000303056c6f6262790000000000000002026d31\
        04707573680100000000000000000000000000000000000000000000000000000000000000010000\
        000163000000143a3000000100000000000100100000000100050000000000000003e80000000000\
        0007d00101000000027b7d";

    const OLD: &str = "03903a8c1a000000070000000200000000000000000303056c6f6262790000000000000002026d\
        310470757368010000000000000000000000000000000000000000000000000000000000000001\
        0000000163000000143a3000000100000000000100100000000100050000000000000003e80000\
        0000000007d00101000000027b7d010573636f72650100000000000005dc00000000000005dd01\
        00000000000013880000000b7b2261706e73223a7b7d7d01026d30010103616e6e026431";

    const OLDER: &str = "02df3f2674000000070000000200000000000000000303056c6f6262790000000000000002026d31\
        04707573680100000000000000000000000000000000000000000000000000000000000000010000\
        000163000000143a3000000100000000000100100000000100050000000000000003e80000000000\
        0007d00101000000027b7d010573636f72650100000000000005dc00000000000005dd0100000000\
        000013880000000b7b2261706e73223a7b7d7d01026d30";

    #[test]
    fn a_flipped_bit_is_noticed() {
        let message = example();
        let key = key(&message.namespace, message.seq);
        no_bit_may_flip(&value(&key, &message, &tail(&message)), |value| decode(&key, value));
    }
}
