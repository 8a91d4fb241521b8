//! Counts the requests to the API server: a layer of the Kubernetes client.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, Response, Uri};
use tower::{Layer, Service};

use super::metrics::{ApiRequest, Metrics};

/// Counts what goes through it.
#[derive(Clone)]
pub struct CountRequests(pub Arc<Metrics>);

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;
    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            metrics: self.0.clone(),
        }
    }
}

/// A service whose requests are counted.
pub struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B, A> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (verb, resource) = classify(request.method(), request.uri());
        let answer = self.inner.call(request);
        let metrics = self.metrics.clone();
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            metrics
                .api_requests
                .get_or_create(&ApiRequest { verb, resource, code })
                .inc();
            answer
        })
    }
}

/// The verb of Kubernetes, and the plural of the kind with its subresource.
fn classify(method: &Method, uri: &Uri) -> (&'static str, String) {
    let mut parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let prefix = match parts.first() {
        Some(&"api") => 2,
        Some(&"apis") => 3,
        _ => return ("get", "other".to_owned()),
    };
    parts.drain(..prefix.min(parts.len()));
    // `namespaces/<ns>/<resource>`: the namespace is no name of a resource.
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        parts.drain(..2);
    }
    let (resource, name, subresource) = (parts.first(), parts.get(1), parts.get(2));
    let Some(resource) = resource else {
        return ("get", "discovery".to_owned());
    };
    let watches = uri
        .query()
        .is_some_and(|query| query.split('&').any(|part| part.starts_with("watch=")));
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ if watches => "watch",
        _ if name.is_some() => "get",
        _ => "list",
    };
    let resource = match subresource {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => (*resource).to_owned(),
    };
    (verb, resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_verb_and_kind_and_never_by_name() {
        for (method, uri, verb, resource) in [
            (Method::GET, "/api/v1/nodes?watch=true", "watch", "nodes"),
            (Method::GET, "/api/v1/nodes?limit=500", "list", "nodes"),
            (Method::GET, "/api/v1/namespaces/kube-system", "get", "namespaces"),
            (
                Method::POST,
                "/api/v1/namespaces/org-a/services?fieldManager=x",
                "create",
                "services",
            ),
            (
                Method::PATCH,
                "/apis/platform.tray.ai/v1alpha1/trayorgs/acme/status",
                "patch",
                "trayorgs/status",
            ),
            (
                Method::POST,
                "/api/v1/namespaces/org-a/pods/p/exec?command=x",
                "create",
                "pods/exec",
            ),
            (Method::GET, "/version", "get", "other"),
            (Method::GET, "/apis/apps/v1", "get", "discovery"),
        ] {
            let found = classify(&method, &uri.parse().unwrap());
            assert_eq!(found, (verb, resource.to_owned()), "{uri}");
        }
    }
}
