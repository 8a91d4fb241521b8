//! Writes to our own objects: their status and finalizers. The answers go into the index at once.

use kube::{
    ResourceExt,
    api::{Api, DynamicObject, ObjectMeta, Patch, PatchParams},
};
use serde::Serialize;
use serde_json::{Value, json};
use tray_domain::names;

use super::{
    apply::Cluster,
    compare::merge_diff,
    index::{Malformed, OwnKind, key_of},
    leadership,
};

impl Cluster {
    /// What `object` is written by.
    pub(super) fn own<K: OwnKind>(&self, object: &K) -> Api<K> {
        K::api(self.client.clone(), object.namespace().as_deref())
    }

    /// Makes the status of `object` be `new` where it is `old`; no request where they are equal. Returns whether it was
    /// written. Somebody else's edit is not overwritten blindly: it comes back by the watch and is corrected then, unless it is
    /// another process's that leads now.
    pub async fn write_status<K, S>(&self, object: &K, old: Option<&S>, new: &S) -> Result<bool, kube::Error>
    where
        K: OwnKind,
        S: Serialize + PartialEq,
    {
        if old == Some(new) {
            return Ok(false);
        }
        let before = serde_json::to_value(old).map_err(kube::Error::SerdeError)?;
        let after = serde_json::to_value(new).map_err(kube::Error::SerdeError)?;
        let before = if before.is_null() { json!({}) } else { before };
        let Some(status) = merge_diff(&before, &after) else {
            return Ok(false);
        };
        let uid = object.uid().unwrap_or_default();
        if let Some(leadership) = &self.leadership
            && self.written.is_by_another(&uid, &before)
        {
            leadership::check(&**leadership).await?;
        }
        let patch = json!({"metadata": {"uid": object.uid()}, "status": status});
        let written = self
            .own(object)
            .patch_status(&object.name_any(), &params(), &Patch::Merge(patch))
            .await?;
        self.written.note(&uid, &after);
        K::objects(&self.index).answer(written);
        Ok(true)
    }

    /// Puts a finalizer on `object` or takes it off; no request where it is so already. Fails with a conflict where
    /// somebody changed the object meanwhile, whose finalizers would be lost.
    pub async fn set_finalizer<K: OwnKind>(
        &self,
        object: &K,
        finalizer: &str,
        wanted: bool,
    ) -> Result<bool, kube::Error> {
        let mut finalizers = object.finalizers().to_vec();
        if finalizers.iter().any(|present| present == finalizer) == wanted {
            return Ok(false);
        }
        finalizers.retain(|present| present != finalizer);
        if wanted {
            finalizers.push(finalizer.to_owned());
        }
        self.patch_metadata(
            object,
            &json!({"finalizers": finalizers, "resourceVersion": object.resource_version()}),
        )
        .await?;
        Ok(true)
    }

    async fn patch_metadata<K: OwnKind>(&self, object: &K, metadata: &Value) -> Result<(), kube::Error> {
        let mut metadata = metadata.clone();
        metadata["uid"] = object.uid().into();
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let going = object.meta().deletion_timestamp.is_some();
        let written = self
            .own(object)
            .patch(&object.name_any(), &params(), &patch)
            .await?;
        // The last finalizer of an object that is being deleted: the answer shows it as it was.
        if going && written.finalizers().is_empty() {
            K::objects(&self.index).remove(&key_of(object.meta()), object.uid().as_deref());
        } else {
            K::objects(&self.index).answer(written);
        }
        Ok(())
    }

    /// The status of an object that this version cannot read; null where it has none, or is gone.
    pub async fn status_of_malformed(&self, malformed: &Malformed) -> Result<Value, kube::Error> {
        let name = malformed.metadata.name.clone().unwrap_or_default();
        let found = self.raw(malformed).get_opt(&name).await?;
        Ok(found.map_or(Value::Null, |object| object.data["status"].clone()))
    }

    /// Merges `status` into the status of an object that this version cannot read.
    pub async fn write_status_of_malformed(
        &self,
        malformed: &Malformed,
        status: &Value,
    ) -> Result<(), kube::Error> {
        let name = malformed.metadata.name.clone().unwrap_or_default();
        let patch = json!({"metadata": {"uid": malformed.metadata.uid}, "status": status});
        self.raw(malformed)
            .patch_status(&name, &params(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Takes a finalizer off an object that this version cannot read. Fails with a conflict where somebody changed the
    /// object meanwhile.
    pub async fn take_finalizer_off_malformed(
        &self,
        malformed: &Malformed,
        finalizer: &str,
    ) -> Result<(), kube::Error> {
        let ObjectMeta {
            name,
            uid,
            resource_version,
            finalizers,
            ..
        } = malformed.metadata.clone();
        let mut finalizers = finalizers.unwrap_or_default();
        finalizers.retain(|present| present != finalizer);
        let metadata = json!({"uid": uid, "resourceVersion": resource_version, "finalizers": finalizers});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let name = name.unwrap_or_default();
        match self.raw(malformed).patch(&name, &params(), &patch).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    fn raw(&self, malformed: &Malformed) -> Api<DynamicObject> {
        let resource = malformed.kind.resource();
        let client = self.client.clone();
        match &malformed.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        }
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(names::OPERATOR.to_owned()),
        ..PatchParams::default()
    }
}
