//! The Secret that records an org's webhook tokens. It is the one place that decides what they are; the route is rendered
//! from it.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::api::ObjectMeta;
use tray_domain::{
    names,
    webhook_tokens::{Token, Tokens},
};

use super::Placement;

/// Entry of the token that is handed out.
const CURRENT: &str = "token";
/// Entry of the one before, while it is good.
const PREVIOUS: &str = "previous";

/// The Secret that records `tokens`.
pub fn secret(placement: &Placement, tokens: &Tokens) -> Secret {
    let text = |token: &Token| ByteString(token.as_str().as_bytes().to_vec());
    let mut data = BTreeMap::from([(CURRENT.to_owned(), text(&tokens.current))]);
    let mut annotations = BTreeMap::new();
    if let Some((token, until)) = &tokens.previous {
        data.insert(PREVIOUS.to_owned(), text(token));
        annotations.insert(names::ANNOTATION_PREVIOUS_UNTIL.to_owned(), until.to_string());
    }
    if let Some(rotation) = &tokens.rotation {
        annotations.insert(names::ANNOTATION_ROTATION.to_owned(), rotation.clone());
    }
    let labels = placement.labels().into_iter();
    let labels = labels.filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
    Secret {
        metadata: ObjectMeta {
            name: Some(names::WEBHOOK_TOKEN_SECRET.to_owned()),
            namespace: Some(placement.namespace.clone()),
            labels: Some(labels.collect()),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

/// The tokens that a Secret records; none where it holds no current one. A previous token without a date is not good.
pub fn tokens(secret: &Secret) -> Option<Tokens> {
    let annotation = |name: &str| secret.metadata.annotations.as_ref()?.get(name).cloned();
    let token = |entry: &str| {
        let bytes = &secret.data.as_ref()?.get(entry)?.0;
        Token::new(std::str::from_utf8(bytes).ok()?)
    };
    let until = || annotation(names::ANNOTATION_PREVIOUS_UNTIL)?.parse().ok();
    Some(Tokens {
        current: token(CURRENT)?,
        previous: token(PREVIOUS).zip(until()),
        rotation: annotation(names::ANNOTATION_ROTATION),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;
    use tray_domain::archived_objects::{Triage, triage};

    fn rotated() -> Tokens {
        let token = |letter: &str| Token::new(&letter.repeat(43)).unwrap();
        Tokens {
            current: token("b"),
            previous: Some((token("a"), jiff::Timestamp::from_second(1_800_000_000).unwrap())),
            rotation: Some("october".to_owned()),
        }
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let mut plain = rotated();
        (plain.previous, plain.rotation) = (None, None);
        for wanted in [rotated(), plain] {
            let secret = secret(&fixtures::placement(), &wanted);
            assert_eq!(tokens(&secret), Some(wanted));
        }
    }

    #[test]
    fn a_secret_without_a_token_records_none() {
        let mut secret = secret(&fixtures::placement(), &rotated());
        secret.metadata.annotations = None;
        assert_eq!(tokens(&secret).unwrap().previous, None, "until when is not known");
        secret.data = Some(BTreeMap::from([(
            "token".to_owned(),
            ByteString(b"short".to_vec()),
        )]));
        assert_eq!(tokens(&secret), None);
    }

    #[test]
    fn it_is_in_no_archive() {
        let secret = secret(&fixtures::placement(), &rotated());
        let object = serde_json::to_value(secret).unwrap();
        assert_eq!(triage(&object), Triage::Skip);
    }
}
