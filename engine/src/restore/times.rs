//! Times of change, and what the target's file system makes of them.

use std::{fs::File, io, path::Path};

use jiff::Timestamp;
use rustix::{
    fs::{Mode, OFlags, Timespec, Timestamps},
    io::Errno,
};

use super::MARKER;
use crate::attributes::{mtime_of, timespec_of};

/// Both times of a restored entry: that of its last access is not recorded.
pub(super) fn times_of(mtime: Timestamp) -> Timestamps {
    let time = timespec_of(mtime);
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Whether a file system says that it has no such time. Most change it silently into one that they have.
pub(super) fn is_refused(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::RANGE | Errno::OVERFLOW)
}

/// Whether two times are one.
pub(super) fn are_equal(a: Timespec, b: Timespec) -> bool {
    (a.tv_sec, a.tv_nsec) == (b.tv_sec, b.tv_nsec)
}

/// Asks the target's file system what it makes of a time, by a file that nobody sees.
///
/// Ranges and steps of file systems differ (ext4 ends in 2038 or 2446, XFS in 2038 or 2486, NFS 3 begins in 1970, small
/// inodes hold whole seconds), and nothing tells them but trying.
pub(super) struct Probe<'a> {
    target: &'a Path,
    file: Option<File>,
}

impl<'a> Probe<'a> {
    /// Of the folder `target`. Nothing is touched before the first question.
    pub(super) fn of(target: &'a Path) -> Self {
        Self { target, file: None }
    }

    /// Whether `found` is what this file system makes of `wanted`.
    pub(super) fn makes(&mut self, wanted: Timestamp, found: Timespec) -> io::Result<bool> {
        let file = match self.file.take() {
            Some(file) => file,
            None => scratch(self.target)?,
        };
        let file = self.file.insert(file);
        match rustix::fs::futimens(&*file, &times_of(wanted)) {
            Err(error) if is_refused(error) => return Ok(true),
            set => set?,
        }
        Ok(are_equal(mtime_of(&file.metadata()?), found))
    }
}

/// A file without a name, or where the file system has no such thing, the mark of the restore that is under way.
fn scratch(target: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(target, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        Err(_) => File::options().write(true).open(target.join(MARKER)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_file_system_makes_of_a_time_is_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut probe = Probe::of(folder.path());
        let wanted = Timestamp::new(1_000_000_007, 0).unwrap();
        assert!(probe.makes(wanted, timespec_of(wanted)).unwrap());
        let other = Timestamp::new(1_000_000_008, 0).unwrap();
        assert!(!probe.makes(wanted, timespec_of(other)).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
