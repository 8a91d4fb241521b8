//! The objects of one namespace as JSON, with the rights of the mover's service account.

use kube::{
    Client,
    api::{ListParams, PostParams},
    core::{Request, request::Error as RequestError},
    discovery::{Discovery, Scope, verbs},
};
use serde_json::Value;
use tray_domain::{archived_kinds::ObjectKind, names};
use tray_ledger::PutOutcome;
use tray_mover::ports::{NamespaceObjects, ObjectError, ObjectPage, ObjectRefusal, ServedKind};

use super::answer::{reason, told};

/// Objects of a page: an object may have 1 MiB and more, and a page is held in memory.
const PAGE: u32 = 50;

/// The objects of one namespace.
#[derive(Clone)]
pub struct KubeNamespaceObjects {
    client: Client,
    namespace: String,
}

impl KubeNamespaceObjects {
    /// Of that namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
        }
    }

    fn request(&self, kind: &ObjectKind) -> Request {
        let root = if kind.group.is_empty() { "/api" } else { "/apis" };
        Request::new(format!(
            "{root}/{}/namespaces/{}/{}",
            kind.api_version(),
            self.namespace,
            kind.plural
        ))
    }
}

#[async_trait::async_trait]
impl NamespaceObjects for KubeNamespaceObjects {
    async fn served_kinds(&self) -> Result<Vec<ServedKind>, ObjectError> {
        let discovery = Discovery::new(self.client.clone())
            .run_aggregated()
            .await
            .map_err(|error| said("the kinds that the server serves", error))?;
        let mut kinds = Vec::new();
        for group in discovery.groups() {
            for (resource, capabilities) in group.recommended_resources() {
                if capabilities.scope == Scope::Namespaced && capabilities.supports_operation(verbs::LIST) {
                    kinds.push(ServedKind {
                        group: resource.group,
                        plural: resource.plural,
                    });
                }
            }
        }
        Ok(kinds)
    }

    async fn list(&self, kind: &ObjectKind, after: Option<&str>) -> Result<ObjectPage, ObjectError> {
        let mut params = ListParams::default().limit(PAGE);
        params.continue_token = after.map(str::to_owned);
        let what = kind.to_string();
        let request = self
            .request(kind)
            .list(&params)
            .map_err(|error| unbuilt(&what, &error))?;
        let mut list: Value = self
            .client
            .request(request)
            .await
            .map_err(|error| said(&what, error))?;
        let next = list["metadata"]["continue"]
            .as_str()
            .filter(|token| !token.is_empty());
        let next = next.map(str::to_owned);
        let Value::Array(mut objects) = list["items"].take() else {
            return Err(ObjectError::Unavailable(format!("{what}: the answer is no list")));
        };
        // Items of a list do not say what they are.
        for object in &mut objects {
            object["apiVersion"] = Value::String(kind.api_version());
            object["kind"] = Value::String(kind.kind.to_string());
        }
        Ok(ObjectPage { objects, next })
    }

    async fn get(&self, kind: &ObjectKind, name: &str) -> Result<Option<Value>, ObjectError> {
        let what = format!("{kind}/{name}");
        let request = self
            .request(kind)
            .get(name, &kube::api::GetParams::default())
            .map_err(|error| unbuilt(&what, &error))?;
        match self.client.request(request).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(said(&what, error)),
        }
    }

    async fn create(&self, kind: &ObjectKind, object: &Value) -> Result<PutOutcome, ObjectError> {
        let what = named(kind, object);
        let request = self
            .request(kind)
            .create(&params(), body(&what, object)?)
            .map_err(|error| unbuilt(&what, &error))?;
        match self.client.request::<Value>(request).await {
            Ok(_) => Ok(PutOutcome::Created),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(PutOutcome::Exists),
            Err(error) => Err(said(&what, error)),
        }
    }

    async fn replace(&self, kind: &ObjectKind, object: &Value) -> Result<(), ObjectError> {
        let what = named(kind, object);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let request = self
            .request(kind)
            .replace(name, &params(), body(&what, object)?)
            .map_err(|error| unbuilt(&what, &error))?;
        let replaced = self.client.request::<Value>(request).await;
        replaced.map(|_| ()).map_err(|error| said(&what, error))
    }
}

fn named(kind: &ObjectKind, object: &Value) -> String {
    format!(
        "{kind}/{}",
        object["metadata"]["name"].as_str().unwrap_or_default()
    )
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(names::OPERATOR.to_owned()),
        ..PostParams::default()
    }
}

fn body(what: &str, object: &Value) -> Result<Vec<u8>, ObjectError> {
    serde_json::to_vec(object).map_err(|error| invalid(what, &error))
}

fn unbuilt(what: &str, error: &RequestError) -> ObjectError {
    invalid(what, error)
}

fn invalid(what: &str, error: &dyn std::fmt::Display) -> ObjectError {
    ObjectError::Refused(ObjectRefusal {
        reason: "Invalid".to_owned(),
        message: format!("{what}: {error}"),
    })
}

/// Sorts what the server said by what can be done about it. Its words, and those of webhooks, are told nowhere.
fn said(what: &str, error: kube::Error) -> ObjectError {
    let text = format!("{what}: {}", told(&error));
    let kube::Error::Api(status) = error else {
        return ObjectError::Unavailable(text);
    };
    let refusal = |message| ObjectRefusal {
        reason: reason(&status),
        message,
    };
    match status.code {
        404 => ObjectError::NotServed(text),
        409 if status.is_conflict() => ObjectError::Conflict(text),
        400 | 403 | 409 | 413 | 422 => ObjectError::Refused(refusal(text)),
        // A webhook that cannot be called is a 500, and one that answers may choose its code.
        429 | 500.. => ObjectError::Failed(refusal(text)),
        // 401, 410 (a listing took too long) pass.
        _ => ObjectError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16) -> kube::Error {
        let status =
            serde_json::json!({"status": "Failure", "code": code, "message": "hunter2", "reason": "Refused"});
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    #[test]
    fn an_answer_says_whether_to_try_again() {
        let say = |code| said("secrets/s", answer(code));
        assert!(matches!(say(403), ObjectError::Refused(said)
                if said.message == "secrets/s: Refused (HTTP 403)" && said.reason == "Refused"));
        let words_of_others = say(500).to_string();
        assert!(!words_of_others.contains("hunter2"), "{words_of_others}");
        assert!(matches!(say(404), ObjectError::NotServed(_)));
        assert!(matches!(say(422), ObjectError::Refused(_)));
        for unsure in [429, 500, 503, 504] {
            assert!(matches!(say(unsure), ObjectError::Failed(_)), "{unsure}");
        }
        for passing in [401, 410] {
            assert!(matches!(say(passing), ObjectError::Unavailable(_)), "{passing}");
        }
    }
}
