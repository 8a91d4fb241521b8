//! Reads an archive, line by line; at most one line and one frame are held in clear.

use aead_stream::{DecryptorBE32, NewStream, StreamBE32, StreamPrimitive};
use aes_gcm::{Aes256Gcm, KeyInit};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tray_domain::{
    ids::{OrgId, RunId},
    manifest::LeftOut,
};
use zeroize::Zeroizing;

use super::{ArchiveError, CIPHER, FORMAT, FORMAT_VERSION, FRAME, Header, LONGEST_HEADER, Line, Nonce, TAG};
use crate::keys::ArchiveKey;

/// What an archive says of itself, after all of it was decrypted and its lines were counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// When reading began.
    pub started_at: Timestamp,
    /// Namespace that was read.
    pub namespace: String,
    /// Objects in the archive.
    pub objects: u64,
    /// Bytes of JSON that the API server gave for them.
    pub bytes_read: u64,
    /// What was left out and is worth knowing, by name.
    pub warnings: Vec<String>,
    /// The same, counted.
    pub left_out: Vec<LeftOut>,
    /// SHA-256 (hex) of the plain text.
    pub content_digest: String,
}

/// Decrypts and checks a whole archive and hands each object to `each` (rendered by the operator?, object). An object
/// is handed out before the frames after it are checked: who acts on them reads the archive once without acting.
pub fn read(
    key: &ArchiveKey,
    org: &OrgId,
    run: &RunId,
    archive: &[u8],
    mut each: impl FnMut(bool, Value),
) -> Result<Summary, ArchiveError> {
    let (header, nonce, body) = header(archive, org, run)?;
    let cipher = Aes256Gcm::new(key.as_bytes().into());
    let mut decryptor: DecryptorBE32<Aes256Gcm> = StreamBE32::from_aead(cipher, &nonce).decryptor();
    let mut lines = Lines::default();
    let mut frames = body.chunks(FRAME + TAG).enumerate().peekable();
    loop {
        // A body without any frame fails here as frame 0: an archive has a last one.
        let (frame, sealed) = frames.next().ok_or(ArchiveError::Frame { frame: 0 })?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let broken = |_| ArchiveError::Frame { frame };
        if frames.peek().is_some() {
            decryptor
                .decrypt_next_in_place(header, &mut *plain)
                .map_err(broken)?;
            lines.take(&plain, &mut each)?;
        } else {
            decryptor
                .decrypt_last_in_place(header, &mut *plain)
                .map_err(broken)?;
            lines.take(&plain, &mut each)?;
            return lines.summary();
        }
    }
}

/// Splits the header off and holds it to what is asked for.
fn header<'a>(
    archive: &'a [u8],
    org: &OrgId,
    run: &RunId,
) -> Result<(&'a [u8], Nonce, &'a [u8]), ArchiveError> {
    let wrong = |why: &str| ArchiveError::Header(why.to_owned());
    let start = &archive[..archive.len().min(LONGEST_HEADER)];
    let end = start
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(|| wrong("no first line"))?;
    let (bytes, body) = archive.split_at(end + 1);
    let header: Header = serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
    if header.format != FORMAT || header.format_version != FORMAT_VERSION || header.cipher != CIPHER {
        return Err(ArchiveError::Header(format!(
            "it is {} version {} with {}, this version reads {FORMAT} version {FORMAT_VERSION} with {CIPHER}",
            header.format, header.format_version, header.cipher
        )));
    }
    if header.org_id != *org {
        return Err(ArchiveError::OtherOrg {
            found: header.org_id,
            expected: org.clone(),
        });
    }
    if header.run_id != *run {
        return Err(ArchiveError::OtherRun {
            found: header.run_id,
            expected: run.clone(),
        });
    }
    let nonce = hex::decode(&header.nonce).map_err(|_| wrong("its nonce is not hexadecimal"))?;
    let nonce = Nonce::try_from(nonce.as_slice()).map_err(|_| wrong("its nonce has another length"))?;
    Ok((bytes, nonce, body))
}

/// Puts lines together out of frames, and holds them to their order.
#[derive(Default)]
struct Lines {
    pending: Zeroizing<Vec<u8>>,
    digest: Sha256,
    number: usize,
    objects: u64,
    preamble: Option<(Timestamp, String)>,
    closing: Option<(u64, Vec<String>, Vec<LeftOut>)>,
}

impl Lines {
    fn take(&mut self, plain: &[u8], each: &mut impl FnMut(bool, Value)) -> Result<(), ArchiveError> {
        self.digest.update(plain);
        let mut rest = plain;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, left) = rest.split_at(end);
            self.pending.extend_from_slice(line);
            rest = &left[1..];
            let whole = std::mem::take(&mut self.pending);
            self.number += 1;
            let line = serde_json::from_slice(&whole).map_err(|error| self.wrong(&error.to_string()))?;
            self.line(line, each)?;
        }
        self.pending.extend_from_slice(rest);
        Ok(())
    }

    fn line(&mut self, line: Line, each: &mut impl FnMut(bool, Value)) -> Result<(), ArchiveError> {
        let open = self.preamble.is_some() && self.closing.is_none();
        match line {
            Line::Preamble {
                started_at,
                namespace,
            } if self.number == 1 => {
                self.preamble = Some((started_at, namespace));
            }
            Line::Object { rendered, object } if open => {
                self.objects += 1;
                each(rendered, object);
            }
            Line::Closing {
                objects,
                bytes_read,
                warnings,
                left_out,
            } if open => {
                if objects != self.objects {
                    return Err(
                        self.wrong(&format!("{objects} objects are said, {} are there", self.objects))
                    );
                }
                self.closing = Some((bytes_read, warnings, left_out));
            }
            _ => return Err(self.wrong("it stands in the wrong place")),
        }
        Ok(())
    }

    fn wrong(&self, why: &str) -> ArchiveError {
        ArchiveError::Line {
            line: self.number,
            why: why.to_owned(),
        }
    }

    fn summary(self) -> Result<Summary, ArchiveError> {
        if !self.pending.is_empty() {
            return Err(self.wrong("the text ends within the next line"));
        }
        let unfinished = self.wrong("no closing line follows");
        let (Some((started_at, namespace)), Some((bytes_read, warnings, left_out))) =
            (self.preamble, self.closing)
        else {
            return Err(unfinished);
        };
        Ok(Summary {
            started_at,
            namespace,
            objects: self.objects,
            bytes_read,
            warnings,
            left_out,
            content_digest: hex::encode(self.digest.finalize()),
        })
    }
}
