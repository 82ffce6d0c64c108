//! What is kept of a device besides who it is, as a part of its record.
//!
//! Layout: tags (list of names), metadata (bytes), tokens (list: vendor (1), bytes), muted rooms (list: name, perhaps
//! until (8)), quiet until (perhaps 8), quiet hours (list: from (2), to (2), zone: 0 and minutes (2), or 1 and a name).

use std::sync::Arc;

use tidings_model::{Profile, Quiet, Timestamp, Vendor, VendorToken, Window, Zone};

use crate::kv::codec::{Broken, Put, Reader};

/// Adds a profile to a body.
pub(super) fn put(body: &mut Vec<u8>, profile: &Profile) {
    let Profile { tags, metadata, tokens, muted, quiet } = profile;
    let tags: Vec<_> = tags.iter().collect();
    body.put_list(&tags, |body, tag| body.put_name(tag.as_str()));
    body.put_bytes(metadata.as_bytes());
    let tokens: Vec<_> = tokens.iter().collect();
    body.put_list(&tokens, |body, (vendor, token)| {
        body.put_u8(**vendor as u8);
        body.put_bytes(token.0.as_bytes());
    });
    let muted: Vec<_> = muted.iter().collect();
    body.put_list(&muted, |body, (room, until)| {
        body.put_name(room.as_str());
        body.put_maybe(**until, |body, until| body.put_u64(until.0));
    });
    body.put_maybe(quiet.until, |body, until| body.put_u64(until.0));
    body.put_list(&quiet.windows, |body, window| {
        body.extend_from_slice(&window.from.to_be_bytes());
        body.extend_from_slice(&window.to.to_be_bytes());
        match &window.zone {
            Zone::Offset(minutes) => {
                body.put_u8(0);
                body.extend_from_slice(&minutes.to_be_bytes());
            }
            Zone::Named(name) => {
                body.put_u8(1);
                body.put_name(name);
            }
        }
    });
}

/// Takes a profile from a body.
pub(super) fn take(reader: &mut Reader<'_>) -> Result<Profile, Broken> {
    Ok(Profile {
        tags: reader.list(|reader| Ok(reader.name()?.parse()?))?.into_iter().collect(),
        metadata: text(reader)?,
        tokens: reader.list(token)?.into_iter().collect(),
        muted: reader
            .list(|reader| Ok((reader.name()?.parse()?, reader.maybe(timestamp)?)))?
            .into_iter()
            .collect(),
        quiet: Quiet { until: reader.maybe(timestamp)?, windows: reader.list(window)? },
    })
}

fn text(reader: &mut Reader<'_>) -> Result<String, Broken> {
    std::str::from_utf8(reader.bytes()?).map(str::to_owned).map_err(|_| Broken::Name)
}

fn timestamp(reader: &mut Reader<'_>) -> Result<Timestamp, Broken> {
    reader.u64().map(Timestamp)
}

fn token(reader: &mut Reader<'_>) -> Result<(Vendor, VendorToken), Broken> {
    let code = reader.u8()?;
    let vendor = Vendor::ALL.get(usize::from(code)).copied().ok_or(Broken::Choice(code))?;
    Ok((vendor, VendorToken(text(reader)?)))
}

fn window(reader: &mut Reader<'_>) -> Result<Window, Broken> {
    let (from, to) = (minutes(reader)?, minutes(reader)?);
    let zone = match reader.u8()? {
        0 => Zone::Offset(minutes(reader)?.cast_signed()),
        1 => Zone::Named(Arc::from(reader.name()?)),
        other => return Err(Broken::Choice(other)),
    };
    Ok(Window { from, to, zone })
}

fn minutes(reader: &mut Reader<'_>) -> Result<u16, Broken> {
    let bytes = reader.take(2)?;
    Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
pub(super) mod arbitrary {
    //! Profiles of any kind.

    use super::*;
    use crate::kv::codec::arbitrary::name;
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    pub(in crate::kv::device) fn profile() -> impl Strategy<Value = Profile> {
        let text = || "[a-z{}:,用]{0,40}";
        let vendor = (0usize..3).prop_map(|index| Vendor::ALL[index]);
        let until = || proptest::option::of(any::<u64>().prop_map(Timestamp));
        let zone = prop_oneof![
            any::<i16>().prop_map(Zone::Offset),
            "[A-Za-z/_]{1,20}".prop_map(|name| Zone::Named(name.into()))
        ];
        let window =
            (any::<u16>(), any::<u16>(), zone).prop_map(|(from, to, zone)| Window { from, to, zone });
        let quiet = (until(), vec(window, 0..3)).prop_map(|(until, windows)| Quiet { until, windows });
        let tag = "[a-z用]{1,20}".prop_map(|tag| tag.parse().unwrap());
        let tokens = btree_map(vendor, text().prop_map(VendorToken), 0..3);
        (btree_set(tag, 0..4), text(), tokens, btree_map(name(), until(), 0..4), quiet).prop_map(
            |(tags, metadata, tokens, muted, quiet)| Profile { tags, metadata, tokens, muted, quiet },
        )
    }
}
