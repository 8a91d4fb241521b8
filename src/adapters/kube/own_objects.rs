//! Makes, reads and deletes objects of our own kinds. The answers to writes go into the index at once.

use std::fmt::Debug;

use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use tray_domain::names;

use super::{
    apply::Cluster,
    index::{OwnKind, key_of},
};

impl Cluster {
    /// Makes `object`. One of that name that is there already is left alone: names say what an object is of.
    pub async fn create_own<K>(&self, object: &K) -> Result<(), kube::Error>
    where
        K: OwnKind + Serialize + DeserializeOwned + Debug,
    {
        let params = PostParams {
            field_manager: Some(names::OPERATOR.to_owned()),
            ..PostParams::default()
        };
        match self.own(object).create(&params, object).await {
            Ok(created) => {
                K::objects(&self.index).answer(created);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The object of a cluster-scoped kind as the API server has it now: the index may be behind. Where nothing that
    /// cannot be undone hangs on it, the index is asked instead.
    pub async fn read<K: OwnKind>(&self, name: &str) -> Result<Option<K>, kube::Error> {
        K::api(self.client.clone(), None).get_opt(name).await
    }

    /// Deletes `object`, if it is still the one of that UID.
    pub async fn delete_own<K>(&self, object: &K) -> Result<(), kube::Error>
    where
        K: OwnKind + DeserializeOwned + Debug,
    {
        let uid = object.uid();
        let preconditions = Preconditions {
            uid: uid.clone(),
            resource_version: None,
        };
        let params = DeleteParams::default().preconditions(preconditions);
        match self.own(object).delete(&object.name_any(), &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(error),
        }
        K::objects(&self.index).remove(&key_of(object.meta()), uid.as_deref());
        Ok(())
    }
}
