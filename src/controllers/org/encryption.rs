//! Condition EncryptionEnforced: whether the org's volumes are encrypted at rest. Snapshots always are. Pure.

use tray_api::conditions::reasons;

use crate::{
    adapters::kube::facts::StorageClassFact,
    controllers::conditions::{ConditionFact, Truth},
};

/// What the Region's StorageClass says of volumes; `name` is that class.
pub(super) fn condition(name: &str, class: Option<&StorageClassFact>) -> ConditionFact {
    match class.map(|class| (class.encrypts, &class.provisioner)) {
        Some((Some(true), _)) => ConditionFact::new(
            true,
            reasons::ENCRYPTED,
            format!("StorageClass {name} encrypts volumes; snapshots are encrypted under the org's own key"),
        ),
        Some((Some(false), _)) => ConditionFact::new(
            false,
            reasons::NOT_ENCRYPTED,
            format!(
                "StorageClass {name} does not encrypt volumes: have spec.storage.storageClassName of the Region name one \
                 that does, and restore the org with an OrgRestore, which fills volumes of it"
            ),
        ),
        Some((None, provisioner)) => ConditionFact::new(
            Truth::Unknown,
            reasons::NOT_SAID,
            format!(
                "the parameters of StorageClass {name} do not say whether {provisioner} encrypts volumes"
            ),
        ),
        None => ConditionFact::new(
            Truth::Unknown,
            reasons::STORAGE_CLASS_MISSING,
            format!("there is no StorageClass {name}"),
        ),
    }
}
