//! How bytes are put together and taken apart again: numbers, names, lists, bitmaps, and the seal around
//! every value. It knows no persistent thing in particular, and it believes nothing that it reads: a
//! length that leads past the end is an error, never an allocation.

use std::fmt;

use roaring::RoaringBitmap;
use tidings_model::{NameError, NamespaceName, Topic};

/// Bytes in front of the body of a sealed value: version and crc32.
pub const SEAL_BYTES: usize = 5;

/// Most devices that are written one by one: a bitmap of one has 18 bytes, and takes far longer to make.
const FEW: u8 = 8;

/// What stands in the place of their number where there are more.
const MANY: u8 = u8::MAX;

/// Why bytes do not read back as what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// They end too early.
    Short,
    /// They go on after the end.
    Long,
    /// They are not what was written.
    Checksum,
    /// They have a version that this program does not know.
    Version(u8),
    /// A name in them is not a name.
    Name,
    /// A choice in them is none of the choices.
    Choice(u8),
    /// A bitmap in them is not a bitmap.
    Bitmap,
    /// Something that they point at is not there.
    Dangling,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("ends too early"),
            Self::Long => f.write_str("goes on after its end"),
            Self::Checksum => f.write_str("checksum does not match"),
            Self::Version(found) => write!(f, "has the unknown version {found}"),
            Self::Name => f.write_str("holds a name that is none"),
            Self::Choice(found) => write!(f, "holds the unknown choice {found}"),
            Self::Bitmap => f.write_str("holds a bitmap that is none"),
            Self::Dangling => f.write_str("points at something that is not there"),
        }
    }
}

impl From<NameError> for Broken {
    fn from(_: NameError) -> Self {
        Self::Name
    }
}

/// Bytes as text, for messages to people.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Room for a sealed value of about `body` bytes: push the body, then call [`seal`].
#[must_use]
pub fn unsealed(body: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(SEAL_BYTES + body);
    value.resize(SEAL_BYTES, 0);
    value
}

/// Fills in the version and the checksum of a value that began as [`unsealed`].
#[must_use]
pub fn seal(version: u8, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = checksum(version, key, &value[SEAL_BYTES..]);
    value[0] = version;
    value[1..SEAL_BYTES].copy_from_slice(&crc.to_be_bytes());
    value
}

/// The body of a sealed value of this version.
///
/// # Errors
/// [`Broken`] when the version is another one or the checksum does not match.
pub fn open<'a>(version: u8, key: &[u8], value: &'a [u8]) -> Result<Reader<'a>, Broken> {
    let (head, body) = value.split_at_checked(SEAL_BYTES).ok_or(Broken::Short)?;
    if head[0] != version {
        return Err(Broken::Version(head[0]));
    }
    if head[1..] != checksum(version, key, body).to_be_bytes() {
        return Err(Broken::Checksum);
    }
    Ok(Reader(body))
}

fn checksum(version: u8, key: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[version]);
    crc.update(key);
    crc.update(body);
    crc.finalize()
}

/// How many bytes [`Put::put_devices`] takes for a set.
#[must_use]
pub fn devices_bytes(devices: &RoaringBitmap) -> usize {
    if devices.len() > u64::from(FEW) {
        5 + devices.serialized_size()
    } else {
        1 + 4 * devices.len() as usize
    }
}

/// What a body is put together with.
pub trait Put {
    /// One byte.
    fn put_u8(&mut self, value: u8);
    /// Four bytes, big endian.
    fn put_u32(&mut self, value: u32);
    /// Eight bytes, big endian.
    fn put_u64(&mut self, value: u64);
    /// A text of at most 255 bytes: length byte, text.
    fn put_name(&mut self, name: &str);
    /// Bytes of any length: four bytes of length, bytes.
    fn put_bytes(&mut self, bytes: &[u8]);
    /// A topic: kind byte, and the name if the kind has one.
    fn put_topic(&mut self, topic: &Topic);
    /// A bitmap in the portable format of roaring, with its length in front.
    fn put_bitmap(&mut self, bitmap: &RoaringBitmap);
    /// A set of devices: a few one by one, with their number in front, more as a bitmap.
    fn put_devices(&mut self, devices: &RoaringBitmap);
    /// Something that may be missing: a byte that says so, and what there is.
    fn put_maybe<T>(&mut self, value: Option<T>, put: impl Fn(&mut Self, T));
    /// A list: four bytes of length, the elements.
    fn put_list<T>(&mut self, list: &[T], put: impl Fn(&mut Self, &T));
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_name(&mut self, name: &str) {
        debug_assert!(u8::try_from(name.len()).is_ok(), "names have at most 255 bytes");
        self.push(name.len() as u8);
        self.extend_from_slice(name.as_bytes());
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        debug_assert!(u32::try_from(bytes.len()).is_ok(), "nothing stored has more than 4 GiB");
        self.put_u32(bytes.len() as u32);
        self.extend_from_slice(bytes);
    }

    fn put_topic(&mut self, topic: &Topic) {
        match topic {
            Topic::All => self.put_u8(0),
            Topic::User(id) => {
                self.put_u8(1);
                self.put_name(id.as_str());
            }
            Topic::Device(id) => {
                self.put_u8(2);
                self.put_name(id.as_str());
            }
            Topic::Room(name) => {
                self.put_u8(3);
                self.put_name(name.as_str());
            }
        }
    }

    fn put_bitmap(&mut self, bitmap: &RoaringBitmap) {
        let bytes = bitmap.serialized_size();
        self.put_u32(bytes as u32);
        let before = self.len();
        self.reserve(bytes);
        // A vector takes whatever is written to it.
        let written = bitmap.serialize_into(&mut *self);
        debug_assert!(written.is_ok() && self.len() == before + bytes);
    }

    fn put_devices(&mut self, devices: &RoaringBitmap) {
        if devices.len() > u64::from(FEW) {
            self.put_u8(MANY);
            return self.put_bitmap(devices);
        }
        self.put_u8(devices.len() as u8);
        devices.iter().for_each(|device| self.put_u32(device));
    }

    fn put_maybe<T>(&mut self, value: Option<T>, put: impl Fn(&mut Self, T)) {
        self.put_u8(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn put_list<T>(&mut self, list: &[T], put: impl Fn(&mut Self, &T)) {
        self.put_u32(list.len() as u32);
        for element in list {
            put(self, element);
        }
    }
}

/// What a body is taken apart with: the bytes that are left.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`Broken::Short`], here and below, when fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Broken::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Broken::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// See [`Reader::take`].
    pub fn u8(&mut self) -> Result<u8, Broken> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Four bytes, big endian.
    ///
    /// # Errors
    /// See [`Reader::take`].
    pub fn u32(&mut self) -> Result<u32, Broken> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight bytes, big endian.
    ///
    /// # Errors
    /// See [`Reader::take`].
    pub fn u64(&mut self) -> Result<u64, Broken> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Sixteen bytes.
    ///
    /// # Errors
    /// See [`Reader::take`].
    pub fn digest(&mut self) -> Result<[u8; 16], Broken> {
        self.array()
    }

    /// A byte that is 0 or 1.
    ///
    /// # Errors
    /// [`Broken::Choice`] for anything else; see [`Reader::take`].
    pub fn bool(&mut self) -> Result<bool, Broken> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Broken::Choice(other)),
        }
    }

    /// A text of at most 255 bytes.
    ///
    /// # Errors
    /// [`Broken::Name`] when it is not UTF-8; see [`Reader::take`].
    pub fn name(&mut self) -> Result<&'a str, Broken> {
        let bytes = usize::from(self.u8()?);
        std::str::from_utf8(self.take(bytes)?).map_err(|_| Broken::Name)
    }

    /// A namespace.
    ///
    /// # Errors
    /// [`Broken::Name`] when it is none; see [`Reader::take`].
    pub fn namespace(&mut self) -> Result<NamespaceName, Broken> {
        Ok(NamespaceName::new(self.name()?)?)
    }

    /// Bytes of any length.
    ///
    /// # Errors
    /// See [`Reader::take`].
    pub fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let bytes = self.u32()? as usize;
        self.take(bytes)
    }

    /// A set of devices.
    ///
    /// # Errors
    /// [`Broken::Choice`] for a number that nobody writes, [`Broken::Bitmap`] for a bad bitmap; see [`Reader::take`].
    pub fn devices(&mut self) -> Result<RoaringBitmap, Broken> {
        match self.u8()? {
            MANY => self.bitmap(),
            few @ 0..=FEW => (0..few).map(|_| self.u32()).collect(),
            other => Err(Broken::Choice(other)),
        }
    }

    /// A topic.
    ///
    /// # Errors
    /// [`Broken::Choice`] for an unknown kind, [`Broken::Name`] for a bad name; see [`Reader::take`].
    pub fn topic(&mut self) -> Result<Topic, Broken> {
        match self.u8()? {
            0 => Ok(Topic::All),
            1 => Ok(Topic::User(self.name()?.parse()?)),
            2 => Ok(Topic::Device(self.name()?.parse()?)),
            3 => Ok(Topic::Room(self.name()?.parse()?)),
            other => Err(Broken::Choice(other)),
        }
    }

    /// A bitmap.
    ///
    /// # Errors
    /// [`Broken::Bitmap`] when it is none; see [`Reader::take`].
    pub fn bitmap(&mut self) -> Result<RoaringBitmap, Broken> {
        RoaringBitmap::deserialize_from(self.bytes()?).map_err(|_| Broken::Bitmap)
    }

    /// Something that may be missing.
    ///
    /// # Errors
    /// [`Broken::Choice`] when it is neither there nor missing; those of `take`.
    pub fn maybe<T>(&mut self, take: impl Fn(&mut Self) -> Result<T, Broken>) -> Result<Option<T>, Broken> {
        if self.bool()? { take(self).map(Some) } else { Ok(None) }
    }

    /// A list, element by element.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn list<T>(&mut self, take: impl Fn(&mut Self) -> Result<T, Broken>) -> Result<Vec<T>, Broken> {
        let count = self.u32()? as usize;
        // Every element has at least one byte: a count beyond that is a lie, and not worth memory.
        if count > self.0.len() {
            return Err(Broken::Short);
        }
        (0..count).map(|_| take(self)).collect()
    }

    /// Nothing more may follow.
    ///
    /// # Errors
    /// [`Broken::Long`] when something does.
    pub fn end(self) -> Result<(), Broken> {
        if self.0.is_empty() { Ok(()) } else { Err(Broken::Long) }
    }
}

/// The beginning of every key of a namespace.
#[must_use]
pub fn namespace_prefix(namespace: &NamespaceName, more: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + namespace.as_str().len() + more);
    key.put_name(namespace.as_str());
    key
}

#[cfg(test)]
pub(crate) mod arbitrary {
    //! What the round trips are fed with.

    use super::*;
    use proptest::prelude::*;
    use tidings_model::{DeviceId, RoomName, UserId};

    pub(crate) fn namespace() -> impl Strategy<Value = NamespaceName> {
        "[a-z0-9][a-z0-9_-]{0,49}".prop_map(|text| NamespaceName::new(&text).unwrap())
    }

    pub(crate) fn name<T: std::str::FromStr<Err = NameError> + std::fmt::Debug>() -> impl Strategy<Value = T>
    {
        "[a-zA-Z0-9 é用]{1,80}".prop_map(|text| format!("x{text}").parse().unwrap())
    }

    pub(crate) fn topic() -> impl Strategy<Value = Topic> {
        prop_oneof![
            Just(Topic::All),
            name::<UserId>().prop_map(Topic::User),
            name::<DeviceId>().prop_map(Topic::Device),
            name::<RoomName>().prop_map(Topic::Room),
        ]
    }

    pub(crate) fn bitmap() -> impl Strategy<Value = RoaringBitmap> {
        proptest::collection::vec(any::<u32>(), 0..50).prop_map(|all| all.into_iter().collect())
    }

    /// Any flipped bit of a sealed value is noticed.
    pub(crate) fn no_bit_may_flip<T>(value: &[u8], decode: impl Fn(&[u8]) -> Result<T, Broken>) {
        assert!(decode(value).is_ok());
        for at in 0..value.len() * 8 {
            let mut bent = value.to_vec();
            bent[at / 8] ^= 1 << (at % 8);
            assert!(decode(&bent).is_err(), "bit {at} may flip");
        }
        for end in 0..value.len() {
            assert!(decode(&value[..end]).is_err(), "may end at {end}");
        }
    }

    /// The bytes that a line of hex digits says.
    pub(crate) fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }
}
