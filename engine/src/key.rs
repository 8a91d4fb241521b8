//! The key of one repository.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// 64 bytes: an AES-256 key, then the two halves of a Poly1305-AES key, as the restic format takes them.
///
/// Wiped on drop and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RepositoryKey([u8; 64]);

impl RepositoryKey {
    /// Takes the bytes as they are; they have to be random or derived from what is.
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for RepositoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RepositoryKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(
            format!("{:?}", RepositoryKey::from_bytes([7; 64])),
            "RepositoryKey(…)"
        );
    }
}
