//! Connects to the API server.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config, ResourceExt,
    client::{Body, ClientBuilder},
};
use tower::{BoxError, Service, limit::ConcurrencyLimitLayer};

use crate::telemetry::{metrics::Metrics, requests::CountRequests};

/// How long a connection may take to come about: an API server that is away is asked again soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests that are under way at once. More of them are answered no sooner: an API server on two cores does as many a
/// second at 16 as at 64, where each takes four times as long.
const AT_ONCE: usize = 24;

/// How long a watch may say nothing before its connection is taken for dead: the API server sends a bookmark a minute.
const SILENCE: Duration = Duration::from_secs(300);

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

/// The ways to the API server. Requests are counted.
#[derive(Clone)]
pub struct Connections {
    /// For everything but watches: at most [`AT_ONCE`] requests at once, of all orgs together.
    pub calls: Client,
    /// For watches, and for what must not wait behind an org's requests.
    pub watches: Client,
}

impl Connections {
    /// By KUBECONFIG, or as the pod's service account.
    pub async fn infer(metrics: &Arc<Metrics>) -> Result<Self, Error> {
        let config = Config::infer()
            .await
            .map_err(|error| Error::Configuration(Box::new(error)))?;
        Self::with(config, metrics)
    }

    /// As `config` says.
    pub fn with(mut config: Config, metrics: &Arc<Metrics>) -> Result<Self, Error> {
        let unreachable = |error| Error::Unreachable(Box::new(error));
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let calls = ClientBuilder::try_from(config.clone()).map_err(unreachable)?;
        config.read_timeout = Some(SILENCE);
        let watches = ClientBuilder::try_from(config).map_err(unreachable)?;
        Ok(Self::over(calls, watches, metrics))
    }

    /// Over these services, which may be those of an API server that a simulation plays.
    pub fn over<S, B>(calls: ClientBuilder<S>, watches: ClientBuilder<S>, metrics: &Arc<Metrics>) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let counted = CountRequests(metrics.clone());
        Self {
            calls: calls
                .with_layer(&ConcurrencyLimitLayer::new(AT_ONCE))
                .with_layer(&counted)
                .build(),
            watches: watches.with_layer(&counted).build(),
        }
    }
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
