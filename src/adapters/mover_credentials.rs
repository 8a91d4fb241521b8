//! The credentials of a mover: a file of its Secret that the operator renews while the mover runs.

use std::path::{Path, PathBuf};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future},
};
use tray_domain::mover_task::SessionCredentials;

/// Reads the file each time it is asked. The SDK asks at the start and from some minutes before the credentials end
/// (`AwsClients`), so that it takes up renewed ones while the old ones still serve.
#[derive(Clone, Debug)]
pub struct FileCredentials {
    path: PathBuf,
}

impl FileCredentials {
    /// The credentials in the file at `path`, [`SessionCredentials`] as JSON.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl ProvideCredentials for FileCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(read(&self.path))
    }
}

async fn read(path: &Path) -> Result<Credentials, CredentialsError> {
    let unusable = |why: &dyn std::fmt::Display| {
        CredentialsError::provider_error(format!(
            "the credentials file {} cannot be used: {why}; the operator writes it and renews it",
            path.display()
        ))
    };
    let bytes = tokio::fs::read(path).await.map_err(|error| unusable(&error))?;
    let session: SessionCredentials = serde_json::from_slice(&bytes).map_err(|error| unusable(&error))?;
    Ok(Credentials::new(
        &session.access_key_id,
        &session.secret_access_key,
        Some(session.session_token.clone()),
        Some(session.expires_at.into()),
        "tray-mover",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, id: &str) {
        let text = format!(
            r#"{{"accessKeyId":"{id}","secretAccessKey":"s","sessionToken":"t","expiresAt":"2026-11-24T12:00:00Z"}}"#
        );
        std::fs::write(path, text).unwrap();
    }

    #[tokio::test]
    async fn renewed_credentials_are_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        let provider = FileCredentials::new(&path);
        for id in ["first", "second"] {
            write(&path, id);
            let credentials = provider.provide_credentials().await.unwrap();
            assert_eq!(credentials.access_key_id(), id);
            assert_eq!(credentials.session_token(), Some("t"));
            let end: jiff::Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
            assert_eq!(credentials.expiry(), Some(end.into()));
        }
    }

    #[tokio::test]
    async fn a_file_that_is_missing_or_broken_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        let provider = FileCredentials::new(&path);
        for content in [None, Some("{"), Some("{}")] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = provider.provide_credentials().await.unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains(path.to_str().unwrap()), "{cause}");
            assert!(!cause.contains("secret"), "{cause}");
        }
    }
}
