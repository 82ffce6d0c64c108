//! Messages that have just been read, decoded. When many devices come back at once, all of them ask for the same ones.
//!
//! It belongs to one open tree: a message that the tree has not kept is not here either. Only messages that have been
//! sent are: they are never changed, and go by a trim alone, which whoever reads asks about first.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tidings_model::Message;

use crate::StoreError;

/// About what a message takes besides its data, the devices that are meant, and whom it names, in bytes.
const MESSAGE_BYTES: usize = 640;

/// About what a name takes besides its letters.
const NAME_BYTES: usize = 64;

/// The messages, by their keys on disk.
pub(super) struct Decoded(Cache<Vec<u8>, Arc<Message>, Bytes>);

impl Decoded {
    /// Room for so many bytes of them.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Cache::with_weighter(bytes as usize / (2 * MESSAGE_BYTES), bytes, Bytes))
    }

    /// The message under a key, read by `read` if it is not here.
    pub(super) fn get_or(
        &self,
        key: &[u8],
        read: impl FnOnce() -> Result<Option<Arc<Message>>, StoreError>,
    ) -> Result<Option<Arc<Message>>, StoreError> {
        if let Some(message) = self.0.get(key) {
            return Ok(Some(message));
        }
        let message = read()?;
        if let Some(message) = message.as_ref().filter(|message| !message.topics.is_empty()) {
            self.0.insert(key.to_vec(), Arc::clone(message));
        }
        Ok(message)
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Vec<u8>, Arc<Message>> for Bytes {
    fn weight(&self, _key: &Vec<u8>, message: &Arc<Message>) -> u64 {
        let names =
            |bytes: &mut dyn Iterator<Item = usize>| bytes.map(|letters| NAME_BYTES + letters).sum::<usize>();
        let (to, except) = (&message.to, &message.except);
        let named = names(&mut to.users.iter().map(|id| id.as_str().len()))
            + names(&mut to.devices.iter().map(|id| id.as_str().len()))
            + names(&mut to.rooms.iter().map(|name| name.as_str().len()))
            + names(&mut except.users.iter().map(|id| id.as_str().len()))
            + names(&mut except.devices.iter().map(|id| id.as_str().len()))
            + names(&mut except.rooms.iter().map(|name| name.as_str().len()))
            + names(&mut except.connections.iter().map(String::len));
        // Topics have names of their own, as long as those in the target.
        let topics = message.topics.len() * NAME_BYTES + named;
        let rest = message.data.len() + message.offline.len() + message.meant.serialized_size();
        (MESSAGE_BYTES + named + topics + rest) as u64
    }
}
