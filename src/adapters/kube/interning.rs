//! Texts in little room.

use std::{collections::HashSet, fmt, sync::Arc};

use uuid::Uuid;

/// Fewer texts than that are not worth looking through.
const FEW: usize = 1024;

/// Texts that many share, each stored once. What nobody uses any more is let go of as new ones come.
#[derive(Default)]
pub(super) struct Texts {
    all: HashSet<Arc<str>>,
    /// How many there were after unused ones were last let go of.
    used: usize,
}

impl Texts {
    /// The text, stored once however often it is asked for.
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(present) = self.all.get(text) {
            return present.clone();
        }
        if self.all.len() >= FEW.max(self.used.saturating_mul(2)) {
            self.all.retain(|text| Arc::strong_count(text) > 1);
            self.used = self.all.len();
        }
        let text: Arc<str> = text.into();
        self.all.insert(text.clone());
        text
    }
}

/// A UID. Those that Kubernetes makes are random UUIDs, half as long as their text; whatever else it may be is kept too.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Uid {
    /// As Kubernetes writes them.
    Random(Uuid),
    /// Any other text.
    Other(Box<str>),
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        // UUIDs may be written in other ways, which must read as they were written, too.
        let exact = |uuid: &Uuid| uuid.hyphenated().to_string() == text;
        let uuid = Uuid::try_parse(text).ok().filter(exact);
        uuid.map_or_else(|| Self::Other(text.into()), Self::Random)
    }
}

impl Uid {
    /// Whether it is that one.
    pub(super) fn is(&self, text: &str) -> bool {
        *self == Self::from(text)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(uuid) => uuid.hyphenated().fmt(formatter),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_reads_as_it_was_written() {
        let random = "5d85a4b1-ed18-4578-8c2f-040933a3a618";
        for text in [
            random,
            "5D85A4B1-ED18-4578-8C2F-040933A3A618",
            "5d85a4b1ed1845788c2f040933a3a618",
            "u1",
            "",
        ] {
            let uid = Uid::from(text);
            assert_eq!(uid.to_string(), text);
            assert!(uid.is(text) && !uid.is("another"), "{text}");
            assert_eq!(matches!(uid, Uid::Random(_)), text == random, "{text}");
        }
    }

    #[test]
    fn a_text_is_stored_once_and_let_go_of_when_nobody_uses_it() {
        let mut texts = Texts::default();
        let kept = texts.share("kept");
        assert!(Arc::ptr_eq(&kept, &texts.share("kept")));
        for number in 0..10 * FEW {
            texts.share(&number.to_string());
        }
        assert!(texts.all.len() <= FEW && Arc::ptr_eq(&kept, &texts.share("kept")));
    }
}
