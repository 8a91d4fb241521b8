//! AES-256-CTR with Poly1305-AES: 16 bytes nonce, the text, 16 bytes tag.

use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce, aead::AeadInPlace};
use rand::Rng;

use crate::RepositoryKey;

const NONCE: usize = 16;
const TAG: usize = 16;

/// Seals and opens with one repository's key.
pub(crate) struct Cipher(Aes256CtrPoly1305Aes);

impl Cipher {
    /// What sealing adds to a text, in bytes.
    pub(crate) const OVERHEAD: usize = NONCE + TAG;

    pub(crate) fn new(key: &RepositoryKey) -> Self {
        Self(Aes256CtrPoly1305Aes::new(Key::from_slice(key.as_bytes())))
    }

    /// The text in `sealed`; `None` where the key is another or the bytes were changed.
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let text_length = sealed.len().checked_sub(Self::OVERHEAD)?;
        let (nonce, rest) = sealed.split_at(NONCE);
        let (text, tag) = rest.split_at(text_length);
        let mut text = text.to_vec();
        self.0
            .decrypt_in_place_detached(Nonce::from_slice(nonce), &[], &mut text, tag.into())
            .ok()?;
        Some(text)
    }

    /// Seals `text` under a random nonce; `None` where it is longer than the cipher takes (64 GiB).
    pub(crate) fn seal(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = Nonce::default();
        rand::rng().fill_bytes(&mut nonce);
        let mut sealed = Vec::with_capacity(text.len() + Self::OVERHEAD);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(text);
        let tag = self
            .0
            .encrypt_in_place_detached(&nonce, &[], &mut sealed[NONCE..])
            .ok()?;
        sealed.extend_from_slice(&tag);
        Some(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_opens_only_the_same_bytes() {
        let cipher = Cipher::new(&RepositoryKey::from_bytes([1; 64]));
        for text in [&b""[..], b"some text"] {
            let mut sealed = cipher.seal(text).unwrap();
            assert_eq!(sealed.len(), text.len() + Cipher::OVERHEAD);
            assert_eq!(cipher.open(&sealed).unwrap(), text);
            assert!(
                Cipher::new(&RepositoryKey::from_bytes([2; 64]))
                    .open(&sealed)
                    .is_none()
            );
            sealed[3] ^= 1;
            assert!(cipher.open(&sealed).is_none());
        }
        assert!(cipher.open(b"short").is_none());
    }
}
