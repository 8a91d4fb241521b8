//! What is told of an answer of the API server.
//!
//! What it says in words may quote whatever an object holds, and so may the webhooks and policies that it asks; conditions, events
//! and logs are read by people of others. So its codes are told: the reason, the status, and which fields are wrong and how. Who may
//! see the object sees the words: he applies it by hand, with `--dry-run=server`.

use std::error::Error;

use kube::{core::Status, runtime::watcher};

use crate::adapters::error_chain::chain;

/// Most fields that are named.
const MOST_FIELDS: usize = 5;
/// The longest word, and the longest path of a field.
const LONGEST_WORD: usize = 64;
const LONGEST_FIELD: usize = 253;

/// An error of the client, without the words of others.
pub fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => refusal(status),
        // They quote what they could not read.
        kube::Error::SerdeError(_)
        | kube::Error::FromUtf8(_)
        | kube::Error::LinesCodecMaxLineLengthExceeded => {
            "an answer of the API server cannot be read".to_owned()
        }
        // Of the way there: nobody has answered.
        other => chain(other),
    }
}

/// An error of a library that uses the client.
pub(super) fn told_beneath(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    while let Some(deeper) = next {
        if let Some(error) = deeper.downcast_ref::<kube::Error>() {
            return told(error);
        }
        next = deeper.source();
    }
    chain(error)
}

/// An error of a watch.
pub(super) fn told_of_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => told(error),
        watcher::Error::WatchError(status) => refusal(status),
        watcher::Error::NoResourceVersion => "the API server gave no resourceVersion".to_owned(),
    }
}

/// What the API server refused by: `Invalid (HTTP 422): spec.replicas FieldValueInvalid`.
pub(super) fn refusal(status: &Status) -> String {
    let reason = word(&status.reason).unwrap_or("no reason given");
    let fields: Vec<String> = fields(status).take(MOST_FIELDS).collect();
    let named = if fields.is_empty() {
        String::new()
    } else {
        format!(": {}", fields.join(", "))
    };
    format!("{reason} (HTTP {}){named}", status.code)
}

/// Its one word, where it is one: a webhook may say anything.
pub(super) fn reason(status: &Status) -> String {
    word(&status.reason).map_or_else(|| status.code.to_string(), str::to_owned)
}

fn fields(status: &Status) -> impl Iterator<Item = String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.filter_map(|cause| {
        let is_path = |c: char| c.is_ascii_alphanumeric() || "._-/[]".contains(c);
        let field = Some(cause.field.as_str()).filter(|field| {
            !field.is_empty() && field.len() <= LONGEST_FIELD && field.chars().all(is_path)
        })?;
        Some(match word(&cause.reason) {
            Some(how) => format!("{field} {how}"),
            None => field.to_owned(),
        })
    })
}

fn word(text: &str) -> Option<&str> {
    let is_word = !text.is_empty() && text.len() <= LONGEST_WORD && text.chars().all(char::is_alphanumeric);
    is_word.then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(status: &Value) -> kube::Error {
        kube::Error::Api(serde_json::from_value(status.clone()).unwrap())
    }

    #[test]
    fn codes_and_fields_are_told_and_no_word_of_others() {
        let invalid = json!({"code": 422, "reason": "Invalid", "message": "is invalid: \"hunter2\" is too long",
        "details": {"causes": [
            {"reason": "FieldValueTooLong", "field": "data[password]", "message": "Too long: \"hunter2\""},
            {"reason": "hunter2 says", "field": "spec.a", "message": ""},
            {"reason": "FieldValueInvalid", "field": "hunter2 says", "message": ""},
            {"message": "hunter2"},
        ]}});
        let policy = json!({"code": 422, "reason": "Invalid", "message": "ValidatingAdmissionPolicy 'p' denied request: hunter2",
            "details": {"causes": [{"message": "hunter2"}]}});
        let webhook = json!({"code": 403, "reason": "hunter2 is not let in", "message": "admission webhook \"w\" denied: hunter2"});
        let failing = json!({"code": 500, "reason": "InternalError", "message": "failed calling webhook: hunter2",
            "details": {"causes": [{"message": "hunter2"}]}});
        let silent = json!({"code": 403, "reason": "", "message": "hunter2"});
        for (status, said) in [
            (
                invalid,
                "Invalid (HTTP 422): data[password] FieldValueTooLong, spec.a",
            ),
            (policy, "Invalid (HTTP 422)"),
            (webhook, "no reason given (HTTP 403)"),
            (failing, "InternalError (HTTP 500)"),
            (silent, "no reason given (HTTP 403)"),
        ] {
            assert_eq!(told(&answer(&status)), said);
        }
        let unread: serde_json::Error = serde_json::from_str::<u64>("\"hunter2\"").unwrap_err();
        assert!(!told(&kube::Error::SerdeError(unread)).contains("hunter2"));
    }

    #[test]
    fn where_nobody_answered_it_is_told_what_kept_it() {
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let said = told(&kube::Error::Service(Box::new(refused)));
        assert!(said.contains("connection refused"), "{said}");
    }

    #[test]
    fn very_many_fields_are_not_all_named() {
        let causes: Vec<Value> = (0..100)
            .map(|n| json!({"reason": "R", "field": format!("spec.f{n}")}))
            .collect();
        let said = told(&answer(
            &json!({"code": 422, "reason": "Invalid", "details": {"causes": causes}}),
        ));
        assert!(said.ends_with("spec.f4 R"), "{said}");
    }
}
