//! What a client asks for, read out of its http request.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// POST.
    Create,
    /// GET of one object.
    Get,
    /// GET of all.
    List,
    /// GET that goes on.
    Watch,
    /// PUT.
    Update,
    /// PATCH of any form.
    Patch,
    /// DELETE of one object.
    Delete,
    /// Anything else: it is refused.
    Other,
}

impl Verb {
    /// As in the rules of a role.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Other => "other",
        }
    }

    /// Whether it changes anything.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Patch | Self::Delete)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks for what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// Who asks: the name that the connection was made with.
    pub user: String,
    /// What is to be done.
    pub verb: Verb,
    /// The kind: `<plural>` or `<plural>.<group>`. Empty for what is about no kind.
    pub resource: String,
    /// The part of the object, such as `status`; empty = the whole.
    pub subresource: String,
    /// The namespace; empty = all, or the kind has none.
    pub namespace: String,
    /// The object's name; empty = all.
    pub name: String,
    /// Path and query, as they were sent.
    pub path: String,
    /// A watch that reads on from a version that it knows.
    pub resumes: bool,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) call: Call,
    pub(super) version: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) content_type: String,
    /// What the answer is to be.
    pub(super) accept: String,
    pub(super) body: Bytes,
}

impl Request {
    /// Reads a request of `user`.
    pub(super) fn read(user: &str, method: &Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Self {
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let header = |name| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let place = Place::read(uri.path());
        let asked_for_watch = query
            .get("watch")
            .is_some_and(|watch| watch == "true" || watch == "1");
        let version = query.get("resourceVersion").map_or("", String::as_str);
        let verb = match (method, place.name.is_empty()) {
            (&Method::GET, true) if asked_for_watch => Verb::Watch,
            (&Method::GET, true) => Verb::List,
            (&Method::GET, false) => Verb::Get,
            (&Method::POST, true) => Verb::Create,
            (&Method::PUT, false) => Verb::Update,
            (&Method::PATCH, false) => Verb::Patch,
            (&Method::DELETE, false) => Verb::Delete,
            _ => Verb::Other,
        };
        let resumes = verb == Verb::Watch
            && !matches!(version, "" | "0")
            && query.get("sendInitialEvents").is_none_or(|send| send != "true");
        Self {
            call: Call {
                user: user.to_owned(),
                verb,
                resource: place.resource(),
                subresource: place.subresource,
                namespace: place.namespace,
                name: place.name,
                path: uri.path_and_query().map_or("", |path| path.as_str()).to_owned(),
                resumes,
            },
            version: place.version,
            query,
            content_type: header(header::CONTENT_TYPE),
            accept: header(header::ACCEPT),
            body,
        }
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    pub(super) fn is_about_metadata(&self) -> bool {
        self.accept.contains("as=PartialObjectMetadata")
    }
}

/// What a path is about.
#[derive(Debug, Default)]
struct Place {
    group: String,
    version: String,
    namespace: String,
    plural: String,
    name: String,
    subresource: String,
}

impl Place {
    fn read(path: &str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let mut place = Self::default();
        match next().as_str() {
            "api" => place.version = next(),
            "apis" => {
                place.group = next();
                place.version = next();
            }
            _ => return place,
        }
        place.plural = next();
        place.name = next();
        place.subresource = next();
        // `namespaces/<namespace>/<plural>`, unless it is a part of the namespace itself.
        if place.plural == "namespaces" && !matches!(place.subresource.as_str(), "" | "status" | "finalize") {
            place.namespace = place.name;
            place.plural = place.subresource;
            place.name = next();
            place.subresource = next();
        }
        place
    }

    fn resource(&self) -> String {
        match (self.plural.as_str(), self.group.as_str()) {
            ("", _) => String::new(),
            (plural, "") => plural.to_owned(),
            (plural, group) => format!("{plural}.{group}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_kind_place_and_part() {
        for (method, uri, verb, resource, namespace, name, subresource) in [
            (
                "GET",
                "/api/v1/nodes?watch=true",
                Verb::Watch,
                "nodes",
                "",
                "",
                "",
            ),
            (
                "GET",
                "/api/v1/namespaces/n",
                Verb::Get,
                "namespaces",
                "",
                "n",
                "",
            ),
            (
                "PATCH",
                "/api/v1/namespaces/n/status",
                Verb::Patch,
                "namespaces",
                "",
                "n",
                "status",
            ),
            (
                "GET",
                "/api/v1/namespaces/n/pods?",
                Verb::List,
                "pods",
                "n",
                "",
                "",
            ),
            (
                "DELETE",
                "/apis/batch/v1/namespaces/n/jobs/j?",
                Verb::Delete,
                "jobs.batch",
                "n",
                "j",
                "",
            ),
            (
                "PUT",
                "/apis/platform.tray.ai/v1alpha1/trayorgs/acme/status",
                Verb::Update,
                "trayorgs.platform.tray.ai",
                "",
                "acme",
                "status",
            ),
            (
                "POST",
                "/api/v1/namespaces/n/pods/p/exec",
                Verb::Other,
                "pods",
                "n",
                "p",
                "exec",
            ),
            ("GET", "/apis", Verb::List, "", "", "", ""),
        ] {
            let method: Method = method.parse().unwrap();
            let call = Request::read(
                "u",
                &method,
                &uri.parse().unwrap(),
                &HeaderMap::new(),
                Bytes::new(),
            )
            .call;
            let found = (
                call.verb,
                call.resource.as_str(),
                call.namespace.as_str(),
                call.name.as_str(),
            );
            assert_eq!(found, (verb, resource, namespace, name), "{uri}");
            assert_eq!(call.subresource, subresource, "{uri}");
        }
    }
}
