//! `term`: which messages have a term, for the search in history; and up to which number that is known.
//!
//! Owner: the verb `index`, and for what the store knows by itself the verbs `append` and `record`. Lifetime: that
//! of the messages of a block.
//! Key: namespace, block (8), kind (1), and what the kind has: a word or an event (name), a topic. A block is a run of
//! [`BLOCK`] numbers; it stands in front of the term, so that what is new is written in one place, and what is
//! over can be removed by its prefix. Value: a mode (1); then the numbers within the block, ascending (2 each), or,
//! when there are many, a bit for each number of the block.
//! The key that is a namespace and nothing else has the newest number that is indexed (8).

use roaring::RoaringBitmap;
use tidings_model::{EventName, NamespaceName, Seq};

use super::codec::{self, Broken, Put, Reader};
use crate::port::Term;

const VERSION: u8 = 1;

/// How many numbers a block has.
pub const BLOCK: u64 = 1 << 14;

/// How many numbers are written one by one. More take as much room as a bit for each number.
const LISTED_MAX: u64 = BLOCK / 8 / 2;

/// The block that a number is in, and its place there.
#[must_use]
pub fn place(seq: Seq) -> (u64, u32) {
    (seq.0 / BLOCK, (seq.0 % BLOCK) as u32)
}

/// The beginning of all keys of a block.
#[must_use]
pub fn prefix(namespace: &NamespaceName, block: u64) -> Vec<u8> {
    let mut key = codec::namespace_prefix(namespace, 8 + 24);
    key.put_u64(block);
    key
}

/// The key of a term in a block.
#[must_use]
pub fn key(namespace: &NamespaceName, block: u64, term: &Term) -> Vec<u8> {
    let mut key = prefix(namespace, block);
    match term {
        Term::Word(word) => {
            key.put_u8(0);
            key.put_name(word);
        }
        Term::Event(event) => {
            key.put_u8(1);
            key.put_name(event.as_str());
        }
        Term::To(topic) => {
            key.put_u8(2);
            key.put_topic(topic);
        }
        Term::Scheduled => key.put_u8(3),
        Term::Recalled => key.put_u8(4),
    }
    key
}

/// Reads the key of a term.
///
/// # Errors
/// [`Broken`] when it is none.
pub fn decode_key(key: &[u8]) -> Result<(NamespaceName, u64, Term), Broken> {
    let mut reader = Reader(key);
    let (namespace, block) = (reader.namespace()?, reader.u64()?);
    let term = match reader.u8()? {
        0 => Term::Word(reader.name()?.into()),
        1 => Term::Event(EventName::stored(reader.name()?)?),
        2 => Term::To(reader.topic()?),
        3 => Term::Scheduled,
        4 => Term::Recalled,
        other => return Err(Broken::Choice(other)),
    };
    reader.end()?;
    Ok((namespace, block, term))
}

/// The value of a term: places in its block.
#[must_use]
pub fn value(key: &[u8], places: &RoaringBitmap) -> Vec<u8> {
    if places.len() <= LISTED_MAX {
        let mut value = codec::unsealed(1 + places.len() as usize * 2);
        value.put_u8(0);
        for place in places {
            value.extend_from_slice(&(place as u16).to_be_bytes());
        }
        return codec::seal(VERSION, key, value);
    }
    let mut value = codec::unsealed(1 + BLOCK as usize / 8);
    value.put_u8(1);
    let begin = value.len();
    value.resize(begin + BLOCK as usize / 8, 0);
    for place in places {
        value[begin + place as usize / 8] |= 1 << (place % 8);
    }
    codec::seal(VERSION, key, value)
}

/// Reads the value of a term.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode(key: &[u8], value: &[u8]) -> Result<RoaringBitmap, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let mode = reader.u8()?;
    let body = reader.0;
    match mode {
        0 => {
            let (places, rest) = body.as_chunks::<2>();
            if !rest.is_empty() {
                return Err(Broken::Long);
            }
            let places = places.iter().map(|place| u32::from(u16::from_be_bytes(*place)));
            RoaringBitmap::from_sorted_iter(places).map_err(|_| Broken::Bitmap)
        }
        1 if body.len() == BLOCK as usize / 8 => Ok(RoaringBitmap::from_lsb0_bytes(0, body)),
        1 => Err(Broken::Bitmap),
        other => Err(Broken::Choice(other)),
    }
}

/// The key of how far a namespace is indexed.
#[must_use]
pub fn indexed_key(namespace: &NamespaceName) -> Vec<u8> {
    codec::namespace_prefix(namespace, 0)
}

/// How far a namespace is indexed.
#[must_use]
pub fn indexed_value(key: &[u8], through: Seq) -> Vec<u8> {
    let mut value = codec::unsealed(8);
    value.put_u64(through.0);
    codec::seal(VERSION, key, value)
}

/// Reads how far a namespace is indexed.
///
/// # Errors
/// [`Broken`] when key or value are not what was written.
pub fn decode_indexed(key: &[u8], value: &[u8]) -> Result<Seq, Broken> {
    let mut reader = codec::open(VERSION, key, value)?;
    let through = Seq(reader.u64()?);
    reader.end()?;
    Ok(through)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::codec::arbitrary::{name, namespace, no_bit_may_flip, topic, unhex};
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    fn any_term() -> impl Strategy<Value = Term> {
        prop_oneof![
            "[a-z0-9用户]{1,60}".prop_map(|word| Term::Word(word.into())),
            name::<EventName>().prop_map(Term::Event),
            topic().prop_map(Term::To),
            Just(Term::Scheduled),
            Just(Term::Recalled),
        ]
    }

    proptest! {
        #[test]
        fn reads_back(
            namespace in namespace(), block: u64, term in any_term(),
            places in prop_oneof![btree_set(0..BLOCK as u32, 0..9), btree_set(0..BLOCK as u32, 1000..3000)],
        ) {
            let key = key(&namespace, block, &term);
            let places: RoaringBitmap = places.into_iter().collect();
            prop_assert_eq!(decode(&key, &value(&key, &places)), Ok(places));
            prop_assert_eq!(decode_key(&key), Ok((namespace, block, term)));
        }

        #[test]
        fn keys_sort_by_block(namespace in namespace(), one: u64, other: u64, a in any_term(), b in any_term()) {
            prop_assume!(one != other);
            let keys = (key(&namespace, one, &a), key(&namespace, other, &b));
            prop_assert_eq!(keys.0.cmp(&keys.1), one.cmp(&other));
            prop_assert!(indexed_key(&namespace) < keys.0);
        }

        #[test]
        fn garbage_never_panics(key in proptest::collection::vec(any::<u8>(), 0..40), body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_key(&key);
            let mut sealed = codec::unsealed(0);
            sealed.extend_from_slice(&body);
            let sealed = codec::seal(VERSION, &key, sealed);
            let _ = (decode(&key, &sealed), decode_indexed(&key, &sealed), decode(&key, &body));
        }
    }

    #[test]
    fn old_bytes_still_decode() {
        let key = unhex("0464656d6f 0000000000000002 00 06 e4bda0e5a5bd");
        let demo = "demo".parse().unwrap();
        assert_eq!(key, super::key(&demo, 2, &Term::Word("你好".into())));
        let (few, many) = ([7, 258].into_iter().collect(), (0..BLOCK as u32).step_by(2).collect());
        assert_eq!(decode(&key, &unhex(FEW)), Ok(few), "{}", codec::hex(&value(&key, &[7, 258].into())));
        let old = unhex(&format!("{MANY}{}", "55".repeat(2048)));
        assert_eq!(
            decode(&key, &old),
            Ok(many),
            "{}",
            codec::hex(&value(&key, &(0..BLOCK as u32).step_by(2).collect()))
        );
        let key = indexed_key(&demo);
        assert_eq!(
            decode_indexed(&key, &unhex(INDEXED)),
            Ok(Seq(258)),
            "{}",
            codec::hex(&indexed_value(&key, Seq(258)))
        );
    }

    const FEW: &str = "0110b9a94a0000070102";
    const MANY: &str = "01027f68b601";
    const INDEXED: &str = "01d60c0ef20000000000000102";

    #[test]
    fn a_flipped_bit_is_noticed() {
        no_bit_may_flip(&value(b"k", &[1, 5].into()), |value| decode(b"k", value));
        no_bit_may_flip(&indexed_value(b"k", Seq(7)), |value| decode_indexed(b"k", value));
    }
}
