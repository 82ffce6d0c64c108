//! Who and what is registered: plain questions, answered from the store.

use tidings_model::{DeviceId, UserId};
use tidings_store::port::Which;
use tidings_store::{Device, StoreError};

use crate::{Namespace, Node};

impl Node {
    /// A device, if it is registered.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn device(&self, namespace: &Namespace, id: &DeviceId) -> Result<Option<Device>, StoreError> {
        let found = self.store.devices(&namespace.name, Which::Ids(vec![id.clone()])).await?;
        Ok(found.into_iter().flatten().next())
    }

    /// The devices of a user, by ordinal.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn devices_of_user(
        &self,
        namespace: &Namespace,
        user: &UserId,
    ) -> Result<Vec<Device>, StoreError> {
        let found = self.store.devices(&namespace.name, Which::OfUser(user.clone())).await?;
        Ok(found.into_iter().flatten().collect())
    }
}
