//! Writes an archive, line by line; only cipher text is held.

use aead_stream::{EncryptorBE32, NewStream, StreamBE32, StreamPrimitive};
use aes_gcm::{Aes256Gcm, KeyInit, aead::Generate};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tray_domain::ids::{OrgId, RunId};
use zeroize::Zeroizing;

use super::{ArchiveError, CIPHER, FORMAT, FORMAT_VERSION, FRAME, Header, LARGEST_ARCHIVE, Line, Nonce, TAG};
use crate::keys::ArchiveKey;

/// An archive that is being written.
pub struct ArchiveWriter {
    header: Vec<u8>,
    encryptor: EncryptorBE32<Aes256Gcm>,
    pending: Zeroizing<Vec<u8>>,
    written: Vec<u8>,
    digest: Sha256,
    largest: usize,
}

impl ArchiveWriter {
    /// Of that run of that org.
    pub fn new(key: &ArchiveKey, org: &OrgId, run: &RunId) -> Result<Self, ArchiveError> {
        let unwritable = |error: String| ArchiveError::Unwritable(error);
        let nonce = Nonce::try_generate().map_err(|error| unwritable(error.to_string()))?;
        let header = Header {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            org_id: org.clone(),
            run_id: run.clone(),
            cipher: CIPHER.to_owned(),
            nonce: hex::encode(nonce),
        };
        let mut header = serde_json::to_vec(&header).map_err(|error| unwritable(error.to_string()))?;
        header.push(b'\n');
        let cipher = Aes256Gcm::new(key.as_bytes().into());
        Ok(Self {
            written: header.clone(),
            header,
            encryptor: StreamBE32::from_aead(cipher, &nonce).encryptor(),
            pending: Zeroizing::new(Vec::with_capacity(FRAME + TAG)),
            digest: Sha256::new(),
            largest: LARGEST_ARCHIVE,
        })
    }

    /// With another bound than [`LARGEST_ARCHIVE`].
    #[cfg(test)]
    #[must_use]
    pub fn with_largest(mut self, largest: usize) -> Self {
        self.largest = largest;
        self
    }

    /// Adds a line: how many bytes it has.
    pub fn write(&mut self, line: &Line) -> Result<usize, ArchiveError> {
        let mut text =
            serde_json::to_vec(line).map_err(|error| ArchiveError::Unwritable(error.to_string()))?;
        text.push(b'\n');
        let text = Zeroizing::new(text);
        self.digest.update(text.as_slice());
        // `pending` never holds more than a sealed frame, so it is never moved to a larger allocation, which would
        // leave plain text behind.
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let (taken, left) = rest.split_at(rest.len().min(FRAME - self.pending.len()));
            self.pending.extend_from_slice(taken);
            rest = left;
            // A full frame waits for more to come: the last frame is marked as last.
            if self.pending.len() == FRAME && !rest.is_empty() {
                self.flush()?;
            }
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> Result<(), ArchiveError> {
        self.encryptor
            .encrypt_next_in_place(&self.header, &mut *self.pending)
            .map_err(|_| ArchiveError::TooLarge)?;
        if self.written.len() + self.pending.len() > self.largest {
            return Err(ArchiveError::TooLarge);
        }
        self.written.extend_from_slice(&self.pending);
        self.pending.clear();
        Ok(())
    }

    /// The whole archive, and the SHA-256 (hex) of its plain text.
    pub fn finish(self) -> Result<(Bytes, String), ArchiveError> {
        let Self {
            header,
            encryptor,
            mut pending,
            mut written,
            digest,
            largest,
        } = self;
        encryptor
            .encrypt_last_in_place(&header, &mut *pending)
            .map_err(|_| ArchiveError::TooLarge)?;
        if written.len() + pending.len() > largest {
            return Err(ArchiveError::TooLarge);
        }
        written.extend_from_slice(&pending);
        Ok((Bytes::from(written), hex::encode(digest.finalize())))
    }
}
