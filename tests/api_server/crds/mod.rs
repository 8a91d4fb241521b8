//! The schemas of our kinds: what an API server takes and what it refuses, and with which words.

mod bounds;
mod rules;
mod schedules;
mod valid;

use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
    core::response::StatusCause,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tray_api::crds;

use crate::support::{
    api_server::{self, api_of, eventually},
    installed,
    objects::dry_run,
};

/// An API server that knows our kinds, once in this process.
async fn client() -> Client {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let server = api_server::shared().await;
    let client = server.client().await;
    let install = async || {
        for crd in crds::all_crds() {
            api_server::apply(&client, &serde_json::to_value(crd).unwrap()).await;
        }
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": valid::NAMESPACE, "labels": {"platform.tray.ai/org": "valid"},
            "annotations": {"platform.tray.ai/admins": "User/admin"}}});
        api_server::apply(&operator().await, &namespace).await;
        for object in valid::all() {
            // Known is not yet served.
            let list = ListParams::default().limit(1);
            let served = async || api_of(&client, &object).await?.list(&list).await.ok();
            let served = eventually(served).await;
            assert!(served.is_some(), "{} is not served", object["kind"]);
        }
    };
    INSTALLED.get_or_init(install).await;
    client
}

/// The operator, whom the policies, which may be at work, let do what they keep from others.
async fn operator() -> Client {
    let server = api_server::shared().await;
    server
        .client_as(Some(installed::OPERATOR), &["system:masters"])
        .await
}

/// What the API server says to the creation of objects of one kind. Nothing is kept.
struct Creation {
    api: Api<DynamicObject>,
}

impl Creation {
    async fn of(kind: &str) -> Self {
        let admin = client().await;
        let client = match kind {
            "SupportAccess" => admin,
            _ => operator().await,
        };
        let api = api_of(&client, &valid::fullest(kind)).await.unwrap();
        Self { api }
    }

    /// None where the object is taken; else each field that is wrong, and why.
    async fn refusal(&self, object: &Value) -> Option<Vec<StatusCause>> {
        match dry_run(&self.api, object).await {
            Ok(_) => None,
            Err(kube::Error::Api(status)) if status.code == 422 => {
                Some(status.details.map(|details| details.causes).unwrap_or_default())
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_sets_every_field_and_what_sets_the_fewest_is_taken() {
    for object in valid::all() {
        let kind = object["kind"].as_str().unwrap();
        let refused = Creation::of(kind).await.refusal(&object).await;
        assert!(refused.is_none(), "{object:#}\nis refused: {refused:#?}");
    }
}
