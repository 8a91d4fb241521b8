//! One request and what becomes of it.

use http::Method;
use serde_json::Value;

use super::world::{Answer, Ask, Who};

/// A request, who sends it, and whether it is refused with which words.
#[derive(Debug)]
pub(crate) struct Case {
    pub who: Who,
    pub ask: Ask,
    refusal: Option<&'static str>,
}

/// Creates an object (or calls a subresource that is created) at `path`.
pub(super) fn create(path: impl Into<String>, body: Value) -> Ask {
    ask(Method::POST, path, body)
}

/// Changes an object, by a JSON merge patch.
pub(super) fn change(path: impl Into<String>, patch: Value) -> Ask {
    ask(Method::PATCH, path, patch)
}

/// Puts another object in the place of one.
pub(super) fn replace(path: impl Into<String>, body: Value) -> Ask {
    ask(Method::PUT, path, body)
}

/// Deletes an object.
pub(super) fn delete(path: impl Into<String>) -> Ask {
    ask(Method::DELETE, path, Value::Null)
}

/// Connects to something. What is connected to is not there, so a request that is let through fails otherwise.
pub(super) fn connect(path: impl Into<String>) -> Ask {
    ask(Method::GET, path, Value::Null)
}

fn ask(method: Method, path: impl Into<String>, body: Value) -> Ask {
    Ask {
        method,
        path: path.into(),
        body,
    }
}

impl Ask {
    /// `who` may.
    pub(crate) fn passes_for(self, who: Who) -> Case {
        Case {
            who,
            ask: self,
            refusal: None,
        }
    }

    /// `who` is refused with these words.
    pub(crate) fn refused_to(self, who: Who, words: &'static str) -> Case {
        Case {
            who,
            ask: self,
            refusal: Some(words),
        }
    }
}

impl Case {
    /// Whether the request is to be let through.
    pub(crate) fn passes(&self) -> bool {
        self.refusal.is_none()
    }

    /// Whether `answer` is as it should be: with the refusal by the policy, if it is one. Else what is wrong.
    pub(crate) fn judge(&self, policy: &str, answer: &Answer) -> Result<Option<String>, String> {
        match (self.refusal, answer) {
            (None, Ok(_)) => Ok(None),
            (None, Err(status)) if self.ask.method == Method::GET && status.code != 403 => Ok(None),
            (Some(words), Err(status))
                if status.code == 403
                    && status.message.contains(&format!("'{policy}' with binding"))
                    && status.message.contains(words) =>
            {
                Ok(Some(status.message.clone()))
            }
            (wanted, answer) => {
                let said = match answer {
                    Ok(_) => "let through".to_owned(),
                    Err(status) => format!("{}: {}", status.code, status.message),
                };
                let Ask { method, path, body } = &self.ask;
                Err(format!(
                    "{:?} {method} {path} {body}: {said}, not {wanted:?}",
                    self.who
                ))
            }
        }
    }
}
