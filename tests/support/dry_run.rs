//! What the API server would say to a new object: how tests learn that a policy is in force, which takes it a moment.

use kube::api::{Api, DynamicObject, PostParams};
use serde_json::Value;

/// The answer to `object`'s creation, which is not made.
pub async fn create(api: &Api<DynamicObject>, object: &Value) -> kube::Result<DynamicObject> {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let object = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
    api.create(&params, &object).await
}
