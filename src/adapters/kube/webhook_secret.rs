//! Reads and writes the Secret of an org's webhook token. It is in no index and no watch: the operator may read Secrets in
//! the namespaces of orgs alone, one by one.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, ResourceExt,
    api::{Api, PostParams},
};
use tray_domain::{
    names,
    webhook_tokens::{Token, Tokens},
};

use crate::resources::org::{Placement, webhook_secret};

/// Bytes of a token.
const RANDOM_BYTES: usize = 32;

/// Tokens at the version that they were read or written in.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What the Secret records; none where it records no token that can be read.
    pub tokens: Option<Tokens>,
    version: String,
}

/// What became of a write.
#[derive(Clone, Debug)]
pub enum Written {
    /// It is recorded.
    Done(Recorded),
    /// Somebody was there first: read it again.
    Conflict,
}

/// The Secrets of webhook tokens, one an org.
#[derive(Clone)]
pub struct WebhookSecrets {
    client: Client,
}

impl WebhookSecrets {
    /// By that client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(&self, placement: &Placement) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &placement.namespace)
    }

    /// What is recorded; none where there is no Secret.
    pub async fn read(&self, placement: &Placement) -> Result<Option<Recorded>, kube::Error> {
        let found = self.api(placement).get_opt(names::WEBHOOK_TOKEN_SECRET).await?;
        Ok(found.as_ref().map(recorded))
    }

    /// Records `tokens`: in a new Secret, or instead of what was recorded `before`.
    pub async fn write(
        &self,
        placement: &Placement,
        tokens: &Tokens,
        before: Option<&Recorded>,
    ) -> Result<Written, kube::Error> {
        let params = PostParams {
            field_manager: Some(names::OPERATOR.to_owned()),
            ..PostParams::default()
        };
        let mut secret = webhook_secret::secret(placement, tokens);
        let written = if let Some(before) = before {
            secret.metadata.resource_version = Some(before.version.clone());
            self.api(placement)
                .replace(names::WEBHOOK_TOKEN_SECRET, &params, &secret)
                .await
        } else {
            self.api(placement).create(&params, &secret).await
        };
        match written {
            Ok(secret) => Ok(Written::Done(recorded(&secret))),
            // There already, changed meanwhile, or gone.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) && !is_namespace(&status) => {
                Ok(Written::Conflict)
            }
            Err(error) => Err(error),
        }
    }
}

fn recorded(secret: &Secret) -> Recorded {
    Recorded {
        tokens: webhook_secret::tokens(secret),
        version: secret.resource_version().unwrap_or_default(),
    }
}

/// Whether it is the namespace that is missing.
fn is_namespace(status: &kube::core::Status) -> bool {
    status
        .details
        .as_ref()
        .is_some_and(|details| details.kind == "namespaces")
}

/// A token that nobody can guess.
pub fn random_token() -> Option<Token> {
    let mut bytes = [0_u8; RANDOM_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Token::new(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p21_a_token_is_random() {
        let (one, other) = (random_token().unwrap(), random_token().unwrap());
        assert_eq!(one.as_str().len(), 43);
        assert_ne!(one, other);
    }
}
