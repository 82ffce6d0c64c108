//! Clients of light-push that are about to be let in. Whether one of them is here already is looked at before and after the business
//! system is asked; between the second look and its connection, nobody else is the same client.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_model::DeviceId;

use crate::{Namespace, Node};

/// Those of a namespace.
#[derive(Debug, Default)]
pub(super) struct Door(Mutex<HashSet<DeviceId>>);

impl Door {
    fn lock(&self) -> MutexGuard<'_, HashSet<DeviceId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is about to be let in, until this is dropped.
#[derive(Debug)]
pub struct Entering {
    namespace: Arc<Namespace>,
    device: DeviceId,
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.namespace.light_push.door.lock().remove(&self.device);
    }
}

impl Node {
    /// A client is about to be let in. `None` when it is already, on another connection.
    #[must_use]
    pub fn light_push_enters(&self, namespace: &Arc<Namespace>, device: &DeviceId) -> Option<Entering> {
        let first = namespace.light_push.door.lock().insert(device.clone());
        first.then(|| Entering { namespace: Arc::clone(namespace), device: device.clone() })
    }
}
