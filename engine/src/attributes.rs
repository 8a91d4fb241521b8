//! What a snapshot records of a file besides its content, and how it is written in the format.

use std::{fs::Metadata, io, os::unix::fs::FileTypeExt, os::unix::fs::MetadataExt, path::Path};

use jiff::{Timestamp, tz::TimeZone};
use rustic_core::repofile::{Metadata as Recorded, Node, NodeType};
use rustix::fs::Timespec;

// Mode bits of Go's io/fs, in which the format is written.
const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_FIFO: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHAR_DEVICE: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;
/// Setuid, setgid and sticky, each with the bit of Unix.
const SPECIAL: [(u32, u32); 3] = [(GO_SETUID, 0o4000), (GO_SETGID, 0o2000), (GO_STICKY, 0o1000)];
/// Read, write and execute for owner, group and others.
pub(crate) const PERMISSIONS: u32 = 0o777;

/// Second at which the year 1 begins. Others who read the format, restic above all, hold no time before it.
const EARLIEST: i64 = -62_135_596_800;
const NANOSECONDS: i64 = 1_000_000_000;

/// The entry of a file whose attributes are `metadata`.
pub(crate) fn node_of(path: &Path, metadata: &Metadata) -> io::Result<Node> {
    let kind = metadata.file_type();
    let (node_type, go_kind) = if kind.is_dir() {
        (NodeType::Dir, GO_DIR)
    } else if kind.is_symlink() {
        (NodeType::from_link(&std::fs::read_link(path)?), GO_SYMLINK)
    } else if kind.is_block_device() {
        (
            NodeType::Dev {
                device: metadata.rdev(),
            },
            GO_DEVICE,
        )
    } else if kind.is_char_device() {
        (
            NodeType::Chardev {
                device: metadata.rdev(),
            },
            GO_DEVICE | GO_CHAR_DEVICE,
        )
    } else if kind.is_fifo() {
        (NodeType::Fifo, GO_FIFO)
    } else if kind.is_socket() {
        (NodeType::Socket, GO_SOCKET)
    } else {
        (NodeType::File, 0)
    };
    let is_dir = kind.is_dir();
    let special = SPECIAL
        .iter()
        .filter(|(_, unix)| metadata.mode() & unix != 0)
        .fold(0, |all, (go, _)| all | go);
    let mtime = recordable(metadata.mtime(), metadata.mtime_nsec());
    let recorded = Recorded {
        mode: Some(go_kind | special | (metadata.mode() & PERMISSIONS)),
        mtime,
        // Not the real one: copying changes it, and then no folder would ever be equal to the last copy's.
        atime: mtime,
        ctime: recordable(metadata.ctime(), metadata.ctime_nsec()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        // Names of users mean something else where the copy is restored.
        user: None,
        group: None,
        inode: metadata.ino(),
        // Of use only to tell which names are one file.
        device_id: if !is_dir && metadata.nlink() > 1 {
            metadata.dev()
        } else {
            0
        },
        size: if kind.is_file() { metadata.len() } else { 0 },
        links: if is_dir { 0 } else { metadata.nlink() },
        // The library does not export their type; it does read their JSON.
        extended_attributes: serde_json::from_value(xattrs::read(path)?)?,
    };
    Ok(Node::new_node(
        path.file_name().unwrap_or_default(),
        node_type,
        recorded,
    ))
}

/// A file's time as a snapshot holds it: the years 1 to 9999, to the nanosecond.
fn recordable(second: i64, nanosecond: i64) -> Option<Timestamp> {
    let time = Timestamp::new(second, i32::try_from(nanosecond).ok()?).ok()?;
    (second >= EARLIEST).then_some(time)
}

/// What of an entry's time of change will not come back, in words.
pub(crate) fn loss_of_time(node: &Node) -> Option<&'static str> {
    let Some(mtime) = node.meta.mtime else {
        return Some("time of change left out: it is not within the years 1 to 9999");
    };
    // The library writes times with the offset of this machine's zone, in which there is no place for seconds. Zones
    // had such offsets before 1972.
    let offset = TimeZone::system().to_offset(mtime).seconds();
    (offset % 60 != 0).then_some("time of change is wrong by some seconds: copy with the time zone UTC")
}

/// A time as file systems take it: the nanoseconds count up from the second below, before 1970 as well.
pub(crate) fn timespec_of(time: Timestamp) -> Timespec {
    let (second, nanosecond) = (time.as_second(), i64::from(time.subsec_nanosecond()));
    if nanosecond < 0 {
        Timespec {
            tv_sec: second - 1,
            tv_nsec: nanosecond + NANOSECONDS,
        }
    } else {
        Timespec {
            tv_sec: second,
            tv_nsec: nanosecond,
        }
    }
}

/// A file's time of change, in the file system's own form.
pub(crate) fn mtime_of(metadata: &Metadata) -> Timespec {
    Timespec {
        tv_sec: metadata.mtime(),
        tv_nsec: metadata.mtime_nsec(),
    }
}

/// The bits for `chmod` of an entry: permissions with setuid, setgid and sticky.
pub(crate) fn mode_of(node: &Node) -> Option<u32> {
    let go = node.meta.mode?;
    let special = SPECIAL
        .iter()
        .filter(|(bit, _)| go & bit != 0)
        .fold(0, |all, (_, unix)| all | unix);
    Some(special | (go & PERMISSIONS))
}

/// Extended attributes.
pub(crate) mod xattrs {
    use std::{ffi::OsStr, io, path::Path};

    use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
    use rustic_core::repofile::Metadata;
    use serde_json::json;

    /// Labels of the host's security modules: theirs to set, not ours to carry.
    fn is_carried(name: &OsStr) -> bool {
        let name = name.to_string_lossy();
        name == "security.capability" || !name.starts_with("security.")
    }

    /// Attributes of a file in the format's own form; none where the file system has no such thing.
    pub(super) fn read(path: &Path) -> io::Result<serde_json::Value> {
        let names = match xattr::list(path) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(json!([])),
            names => names?,
        };
        let mut attributes = Vec::new();
        for name in names.filter(|name| is_carried(name)) {
            let value = xattr::get(path, &name)?.unwrap_or_default();
            attributes.push(json!({ "name": name.to_string_lossy(), "value": STANDARD.encode(value) }));
        }
        Ok(attributes.into())
    }

    /// Sets the recorded attributes and names those that could not be set.
    pub(crate) fn write(path: &Path, recorded: &Metadata) -> Vec<String> {
        let set = |name: &str, value: &[u8]| {
            // Setting what is already so needs no permission.
            matches!(xattr::get(path, name), Ok(Some(held)) if held == value)
                || xattr::set(path, name, value).is_ok()
        };
        let refused = recorded.extended_attributes.iter().filter(|attribute| {
            let value = attribute.value.as_deref().unwrap_or_default();
            is_carried(OsStr::new(&attribute.name)) && !set(&attribute.name, value)
        });
        refused.map(|attribute| attribute.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_goes_to_the_snapshot_and_back_unchanged() {
        for (second, nanosecond) in [
            (0, 0),
            (0, 1),
            (-1, 0),
            (-1, 1),
            (-1, 999_999_999),
            // A second and a half before 1970.
            (-2, 500_000_000),
            (1_000_000_007, 123_456_789),
            (EARLIEST, 0),
            (EARLIEST, 999_999_999),
            (Timestamp::MAX.as_second(), 999_999_999),
        ] {
            let time = recordable(second, nanosecond).unwrap();
            let held = timespec_of(time);
            assert_eq!((held.tv_sec, held.tv_nsec), (second, nanosecond), "{time}");
        }
    }

    #[test]
    fn a_time_that_readers_of_the_format_do_not_hold_is_none() {
        for second in [EARLIEST - 1, Timestamp::MAX.as_second() + 1, i64::MIN, i64::MAX] {
            assert_eq!(recordable(second, 0), None, "{second}");
        }
        assert_eq!(
            EARLIEST,
            "0001-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second()
        );
    }
}
