//! What a mover finds when it starts: its task, its credentials, a volume.

use std::path::{Path, PathBuf};

use tray_domain::mover_task::{
    CA_BUNDLE_FILE, CREDENTIALS_FILE, FailureReason, MoverTask, SessionCredentials, TASK_DIR, TASK_FILE,
    TERMINATION_LOG, VOLUME_DIR,
};

use super::failure::Failure;

/// Where the Job mounts an empty folder for the engine's cache: cipher text only.
const CACHE_DIR: &str = "/cache";

/// Where a mover finds and leaves things.
#[derive(Clone, Debug)]
pub struct Places {
    /// Its Secret.
    pub task: PathBuf,
    /// The volume, in a volume part.
    pub volume: PathBuf,
    /// Room for the engine's cache.
    pub cache: PathBuf,
    /// Where its last words go.
    pub termination_log: PathBuf,
    /// UID of its pod: names its part record.
    pub pod_uid: String,
}

impl Places {
    /// As `resources::mover_job` mounts them.
    pub fn of_pod(pod_uid: String) -> Self {
        Self {
            task: TASK_DIR.into(),
            volume: VOLUME_DIR.into(),
            cache: CACHE_DIR.into(),
            termination_log: TERMINATION_LOG.into(),
            pod_uid,
        }
    }

    /// File of the credentials: the kubelet replaces it when the operator renews them.
    pub fn credentials(&self) -> PathBuf {
        self.task.join(CREDENTIALS_FILE)
    }
}

/// Reads the task, and the credentials once, so that a Secret that is wrong is said to be wrong.
pub fn load(places: &Places) -> Result<MoverTask, Failure> {
    if places.pod_uid.is_empty() || places.pod_uid.contains('/') {
        return Err(Failure::permanent(
            FailureReason::TaskInvalid,
            format!(
                "{:?} is not the UID of a pod: POD_UID is to be set from metadata.uid",
                places.pod_uid
            ),
        ));
    }
    let task = read_json(&places.task.join(TASK_FILE))?;
    let _: SessionCredentials = read_json(&places.credentials())?;
    Ok(task)
}

/// PEM bundle to trust besides the system's roots.
pub fn ca_bundle(places: &Places) -> Result<Option<Vec<u8>>, Failure> {
    let path = places.task.join(CA_BUNDLE_FILE);
    match std::fs::read(&path) {
        Ok(pem) => Ok(Some(pem)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(path, &error))
}

/// Permanent: the Secret is whole when the Job is resumed, and a pod that starts again finds the same.
fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::permanent(
        FailureReason::TaskInvalid,
        format!("{} cannot be read: {why}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(folder: &Path) -> Places {
        Places {
            task: folder.to_owned(),
            ..Places::of_pod("uid".into())
        }
    }

    #[test]
    fn a_file_that_is_missing_or_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let failure = load(&places(folder.path())).unwrap_err();
        assert!(failure.message.contains(TASK_FILE), "{failure}");
        assert!(failure.permanent && failure.reason == FailureReason::TaskInvalid);

        std::fs::write(folder.path().join(TASK_FILE), r#"{"orgId": "acme"}"#).unwrap();
        let failure = load(&places(folder.path())).unwrap_err();
        assert!(failure.message.contains("a lower-case UUID"), "{failure}");
    }

    #[test]
    fn a_pod_without_a_uid_would_overwrite_nothing_but_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for uid in ["", "../x"] {
            let places = Places {
                pod_uid: uid.into(),
                ..places(folder.path())
            };
            assert!(load(&places).unwrap_err().message.contains("POD_UID"));
        }
    }

    #[test]
    fn no_bundle_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ca_bundle(&places(folder.path())).unwrap(), None);
        std::fs::write(folder.path().join(CA_BUNDLE_FILE), "pem").unwrap();
        assert_eq!(ca_bundle(&places(folder.path())).unwrap().unwrap(), b"pem");
    }
}
