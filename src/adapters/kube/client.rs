//! Connects to the API server.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, Config, ResourceExt, client::ClientBuilder};

use crate::telemetry::{metrics::Metrics, requests::CountRequests};

/// How long a connection may take to come about: an API server that is away is asked again soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a kubeconfig nor a service account.
    #[error("failed to find out how to reach the API server (KUBECONFIG, or the pod's service account): {0}")]
    Configuration(#[source] Box<kube::config::InferConfigError>),
    /// The client cannot be made, or its first request failed.
    #[error("failed to reach the API server: {0}")]
    Unreachable(#[source] Box<kube::Error>),
}

/// A client whose requests are counted: by KUBECONFIG, or as the pod's service account.
pub async fn connect(metrics: Arc<Metrics>) -> Result<Client, Error> {
    let mut config = Config::infer()
        .await
        .map_err(|error| Error::Configuration(Box::new(error)))?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let builder = ClientBuilder::try_from(config).map_err(|error| Error::Unreachable(Box::new(error)))?;
    Ok(builder.with_layer(&CountRequests(metrics)).build())
}

/// UID of the cluster: that of its namespace `kube-system`, which lives as long as the cluster.
pub async fn cluster_uid(client: &Client) -> Result<String, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = namespaces
        .get("kube-system")
        .await
        .map_err(|error| Error::Unreachable(Box::new(error)))?;
    Ok(namespace.uid().unwrap_or_default())
}
