//! The archive of the Kubernetes objects of one run: one authenticated stream.
//!
//! ```text
//! {"format":"tray-objects","formatVersion":1,"orgId":…,"runId":…,"cipher":"AES-256-GCM-STREAM-BE32","nonce":…}\n
//! <frame> <frame> … <last frame>
//! ```
//! The first line is in clear and is the associated data of every frame, so an archive that is given another org, run
//! or version does not decrypt. A frame is 64 KiB of plain text and a tag of 16 bytes; the last one is shorter and
//! marked as last in its nonce, so a cut at a frame's end shows, too. The plain text is JSON lines: one preamble, one
//! line an object, one closing line with their number. The key belongs to one run (`keys`); the nonce is drawn
//! for each archive, because a part that is tried again archives other content under the same key.

mod reader;
mod writer;

use aead_stream::StreamBE32;
use aes_gcm::Aes256Gcm;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tray_domain::{
    ids::{OrgId, RunId},
    manifest::LeftOut,
};

pub use reader::{Summary, read};
pub use writer::ArchiveWriter;

/// Version of the format.
pub const FORMAT_VERSION: u32 = 1;
const FORMAT: &str = "tray-objects";
const CIPHER: &str = "AES-256-GCM-STREAM-BE32";
/// Plain bytes of a frame.
const FRAME: usize = 64 * 1024;
/// Bytes by which encryption lengthens a frame.
const TAG: usize = 16;
/// A header is far shorter; what has no line end up to here is no archive.
const LONGEST_HEADER: usize = 1024;
/// The largest archive: it is held in memory once while it is written and once while it is read back.
pub const LARGEST_ARCHIVE: usize = 64 * 1024 * 1024;

/// What is drawn at random for each archive.
type Nonce = aead_stream::Nonce<Aes256Gcm, StreamBE32<Aes256Gcm>>;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not an archive, or of a version that this one does not know.
    #[error("the archive has no header that this version reads: {0}")]
    Header(String),
    /// Of another org.
    #[error("the archive is of org {found}, not of {expected}")]
    OtherOrg {
        /// In its header.
        found: OrgId,
        /// Asked for.
        expected: OrgId,
    },
    /// Of another run.
    #[error("the archive is of run {found}, not of {expected}")]
    OtherRun {
        /// In its header.
        found: RunId,
        /// Asked for.
        expected: RunId,
    },
    /// A frame was changed, is missing, or was written with another key.
    #[error(
        "frame {frame} of the archive cannot be decrypted: it was changed, cut off, or written with another key"
    )]
    Frame {
        /// Counted from 0.
        frame: usize,
    },
    /// It decrypts, but what is in it is not an archive.
    #[error("line {line} of the archive is wrong: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// There is too much to archive.
    #[error(
        "the archive is larger than {} MiB: move large data out of ConfigMaps and Secrets into a volume",
        LARGEST_ARCHIVE / (1024 * 1024)
    )]
    TooLarge,
    /// The system has no random numbers, or a value has no JSON form.
    #[error("the archive cannot be written: {0}")]
    Unwritable(String),
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    format: String,
    format_version: u32,
    org_id: OrgId,
    run_id: RunId,
    cipher: String,
    nonce: String,
}

/// One line of the plain text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Line {
    /// The first.
    Preamble {
        /// When reading began: the consistency point of the part.
        started_at: Timestamp,
        /// Namespace that was read.
        namespace: String,
    },
    /// One object.
    Object {
        /// The operator makes it out of the TrayOrg: a restore leaves it to the operator.
        rendered: bool,
        /// As `domain::archived_objects::for_archive` leaves it.
        object: Value,
    },
    /// The last.
    Closing {
        /// Objects in the archive.
        objects: u64,
        /// Bytes of JSON that the API server gave for them.
        bytes_read: u64,
        /// What was left out and is worth knowing, by name.
        warnings: Vec<String>,
        /// The same, counted; empty in archives of earlier versions.
        #[serde(default)]
        left_out: Vec<LeftOut>,
    },
}

#[cfg(test)]
mod tests;
