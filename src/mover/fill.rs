//! Fills an empty volume so that a mover that was killed in the middle can begin again.
//!
//! The data is restored into the folder [`STAGING`] of the volume and compared there; then its entries are moved up, which
//! copies nothing, and the folder goes last. A volume with that folder is one that this mover, or one before it, was
//! filling: nobody else uses it until it is full, so what lies in it is cleared.

use std::{
    ffi::OsStr,
    fs::{self, DirEntry, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::failure::Failure;
use crate::domain::mover_task::FailureReason;

/// Folder at a volume's root while it is being filled.
pub const STAGING: &str = ".tray-restore";
/// Made by the file system, unreadable to workloads, in no snapshot.
const LOST_AND_FOUND: &str = "lost+found";

/// Whether a volume was being filled and is not full: its data is no data to copy.
pub fn is_half_filled(volume: &Path) -> bool {
    volume.join(STAGING).symlink_metadata().is_ok()
}

/// Makes the staging folder in a volume that is empty, or that an earlier try began to fill.
pub fn begin(volume: &Path) -> Result<PathBuf, Failure> {
    let staging = volume.join(STAGING);
    let entries = entries(volume)?;
    if is_half_filled(volume) {
        tracing::info!("an earlier try was filling the volume: it is cleared");
        // The folder goes last: a try that is killed here is found again.
        for entry in entries.iter().filter(|entry| entry.file_name() != STAGING) {
            remove(&entry.path())?;
        }
        remove(&staging)?;
    } else if let Some(entry) = entries.first() {
        let (name, more) = (entry.path(), entries.len() - 1);
        return Err(Failure::permanent(
            FailureReason::TargetFailed,
            format!(
                "the volume to fill is not empty: {} and {more} more; delete the claim, so that the restore gets a new one",
                name.display()
            ),
        ));
    }
    fs::create_dir(&staging).map_err(|error| failed(&staging, &error))?;
    Ok(staging)
}

/// Moves what was restored and compared up to the volume's root.
pub fn finish(volume: &Path) -> Result<(), Failure> {
    let staging = volume.join(STAGING);
    let mode = |path: &Path| -> Result<Permissions, Failure> {
        Ok(fs::symlink_metadata(path)
            .map_err(|error| failed(path, &error))?
            .permissions())
    };
    let of_root = mode(&staging)?;
    // The folder itself may have come back without the right to take something out of it.
    set_mode(&staging, &Permissions::from_mode(of_root.mode() | 0o700))?;
    for entry in entries(&staging)? {
        let (from, to) = (entry.path(), volume.join(entry.file_name()));
        let is_folder = entry.file_type().map_err(|error| failed(&from, &error))?.is_dir();
        let before = mode(&from)?;
        let locked = is_folder && before.mode() & 0o200 == 0;
        // Moving a folder rewrites its `..`, which takes the right to write to it.
        if locked {
            set_mode(&from, &Permissions::from_mode(before.mode() | 0o200))?;
        }
        fs::rename(&from, &to).map_err(|error| failed(&from, &error))?;
        if locked {
            set_mode(&to, &before)?;
        }
    }
    if fs::set_permissions(volume, of_root).is_err() {
        // The root belongs to whoever provisioned the volume; its group is what gives the workload its access.
        tracing::info!("the mode of the volume's root was left as it was provisioned");
    }
    fs::remove_dir(&staging).map_err(|error| failed(&staging, &error))?;
    let synced = File::open(volume).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed(volume, &error))
}

/// What lies at the root, but for `lost+found`.
fn entries(folder: &Path) -> Result<Vec<DirEntry>, Failure> {
    let read = || -> io::Result<Vec<DirEntry>> { fs::read_dir(folder)?.collect() };
    let mut entries = read().map_err(|error| failed(folder, &error))?;
    entries.retain(|entry| entry.file_name() != OsStr::new(LOST_AND_FOUND));
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

/// Removes a file, or a folder with all that is in it, whatever their modes.
fn remove(path: &Path) -> Result<(), Failure> {
    let metadata = fs::symlink_metadata(path).map_err(|error| failed(path, &error))?;
    if !metadata.is_dir() {
        return fs::remove_file(path).map_err(|error| failed(path, &error));
    }
    set_mode(path, &Permissions::from_mode(0o700))?;
    let read = || -> io::Result<Vec<DirEntry>> { fs::read_dir(path)?.collect() };
    for entry in read().map_err(|error| failed(path, &error))? {
        remove(&entry.path())?;
    }
    fs::remove_dir(path).map_err(|error| failed(path, &error))
}

fn set_mode(path: &Path, mode: &Permissions) -> Result<(), Failure> {
    fs::set_permissions(path, mode.clone()).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let message = format!("failed to use {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StorageFull => {
            Failure::permanent(FailureReason::TargetFailed, message)
        }
        _ => Failure::passing(FailureReason::TargetFailed, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> tempfile::TempDir {
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir(volume.path().join(LOST_AND_FOUND)).unwrap();
        volume
    }
    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_staged_ends_at_the_root_with_its_modes() {
        let volume = volume();
        let staging = begin(volume.path()).unwrap();
        write(&staging.join("data/f"), "x");
        write(&staging.join(".hidden"), "y");
        fs::set_permissions(staging.join("data"), Permissions::from_mode(0o500)).unwrap();
        fs::set_permissions(&staging, Permissions::from_mode(0o550)).unwrap();
        finish(volume.path()).unwrap();
        assert_eq!(names(volume.path()), [".hidden", "data", LOST_AND_FOUND]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&volume.path().join("data")), 0o500);
        assert_eq!(mode(volume.path()), 0o550);
        fs::set_permissions(volume.path(), Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn a_volume_that_holds_something_is_refused_and_left_alone() {
        let volume = volume();
        write(&volume.path().join("precious"), "x");
        let failure = begin(volume.path()).unwrap_err();
        assert!(
            failure.permanent && failure.message.contains("precious"),
            "{failure}"
        );
        assert_eq!(names(volume.path()), [LOST_AND_FOUND, "precious"]);
    }

    #[test]
    fn a_try_that_was_killed_anywhere_is_begun_again() {
        let volume = volume();
        let staging = begin(volume.path()).unwrap();
        write(&staging.join("a/b"), "half");
        fs::set_permissions(staging.join("a"), Permissions::from_mode(0o000)).unwrap();
        // As if it was killed between two moves.
        write(&volume.path().join("moved"), "x");
        assert!(is_half_filled(volume.path()));
        let staging = begin(volume.path()).unwrap();
        assert_eq!(names(volume.path()), [STAGING, LOST_AND_FOUND]);
        assert!(names(&staging).is_empty());
    }

    #[test]
    fn links_are_cleared_not_followed() {
        let volume = volume();
        let elsewhere = tempfile::tempdir().unwrap();
        write(&elsewhere.path().join("kept"), "x");
        let staging = begin(volume.path()).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), staging.join("link")).unwrap();
        begin(volume.path()).unwrap();
        assert_eq!(names(elsewhere.path()), ["kept"]);
    }
}
