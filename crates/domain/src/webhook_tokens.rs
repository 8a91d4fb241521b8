//! The tokens that a call of an org's webhook host must carry one of, and when they are replaced.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// Header that carries the token.
pub const HEADER: &str = "x-csrf-token";
/// How long a token that was replaced stays good, so that callers can change over.
pub const OVERLAP: SignedDuration = SignedDuration::from_hours(24);
/// Characters that a token has at least: 32 bytes in base64.
const LEAST_LENGTH: usize = 43;
/// And at most, as a header of every call.
const GREATEST_LENGTH: usize = 256;

/// A token. No message, log or status ever shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// From its text: base64url without padding, of 32 bytes or more. None where it is something else.
    pub fn new(text: &str) -> Option<Self> {
        let is_base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let valid = (LEAST_LENGTH..=GREATEST_LENGTH).contains(&text.len()) && text.bytes().all(is_base64url);
        valid.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// An org's tokens, as its Secret records them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The one that is handed out.
    pub current: Token,
    /// The one before, and until when it is good.
    pub previous: Option<(Token, Timestamp)>,
    /// The rotation that the current one was made for: what the person who asked for it wrote.
    pub rotation: Option<String>,
}

impl Tokens {
    /// Every token that is good, the current one first.
    pub fn good(&self) -> impl Iterator<Item = &Token> {
        [&self.current]
            .into_iter()
            .chain(self.previous.iter().map(|(token, _)| token))
    }

    /// When they change by themselves.
    pub fn changes_at(&self) -> Option<Timestamp> {
        self.previous.as_ref().map(|(_, until)| *until)
    }

    /// `text` without the tokens: what somebody else says of an object that holds them.
    pub fn hide(&self, text: &str) -> String {
        self.good().fold(text.to_owned(), |text, token| {
            text.replace(token.as_str(), "(token)")
        })
    }
}

/// What the tokens have to become at `now`; none where they are as they should be.
///
/// `asked` is the rotation that somebody asks for: any value that is not the recorded one. Without one nothing is
/// replaced. A second rotation within the overlap of the first ends that: whoever asks twice does not trust the older
/// tokens.
pub fn due(
    recorded: Option<&Tokens>,
    asked: Option<&str>,
    now: Timestamp,
    fresh: impl FnOnce() -> Token,
) -> Option<Tokens> {
    let Some(recorded) = recorded else {
        return Some(Tokens {
            current: fresh(),
            previous: None,
            rotation: asked.map(str::to_owned),
        });
    };
    if asked.is_some_and(|asked| recorded.rotation.as_deref() != Some(asked)) {
        return Some(Tokens {
            current: fresh(),
            previous: Some((recorded.current.clone(), end_of_overlap(now))),
            rotation: asked.map(str::to_owned),
        });
    }
    let over = recorded.changes_at().is_some_and(|until| until <= now);
    over.then(|| Tokens {
        previous: None,
        ..recorded.clone()
    })
}

/// In whole seconds, as it is recorded.
fn end_of_overlap(now: Timestamp) -> Timestamp {
    let end = now.saturating_add(OVERLAP).unwrap_or(now);
    Timestamp::from_second(end.as_second()).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
    fn token(letter: char) -> Token {
        Token::new(&letter.to_string().repeat(43)).unwrap()
    }
    fn tokens(current: char, previous: Option<(char, i64)>, rotation: Option<&str>) -> Tokens {
        Tokens {
            current: token(current),
            previous: previous.map(|(letter, until)| (token(letter), at(until))),
            rotation: rotation.map(str::to_owned),
        }
    }

    #[test]
    fn p21_a_token_is_made_once_replaced_when_asked_for_and_good_for_another_day() {
        const DAY: i64 = 86_400;
        let now = 1_000_000;
        let plain = tokens('a', None, None);
        let rotated = tokens('b', Some(('a', now + DAY)), Some("1"));
        for (recorded, asked, at_, want, why) in [
            (None, None, now, Some(tokens('x', None, None)), "the first"),
            (
                None,
                Some("1"),
                now,
                Some(tokens('x', None, Some("1"))),
                "asked for from the beginning: nothing to replace",
            ),
            (Some(&plain), None, now, None, "nobody asks"),
            (
                Some(&plain),
                Some("1"),
                now,
                Some(tokens('x', Some(('a', now + DAY)), Some("1"))),
                "asked for",
            ),
            (Some(&rotated), Some("1"), now, None, "done already"),
            (
                Some(&rotated),
                None,
                now,
                None,
                "the annotation was taken away: nothing asks",
            ),
            (Some(&rotated), Some("1"), now + DAY - 1, None, "the last second"),
            (
                Some(&rotated),
                Some("1"),
                now + DAY,
                Some(tokens('b', None, Some("1"))),
                "the overlap is over",
            ),
            (
                Some(&rotated),
                Some("2"),
                now + 60,
                Some(tokens('x', Some(('b', now + 60 + DAY)), Some("2"))),
                "a second one ends the overlap of the first",
            ),
        ] {
            assert_eq!(due(recorded, asked, at(at_), || token('x')), want, "{why}");
        }
    }

    #[test]
    fn during_the_overlap_both_are_good() {
        let good = |tokens: &Tokens| tokens.good().cloned().collect::<Vec<_>>();
        assert_eq!(good(&tokens('a', None, None)), [token('a')]);
        let rotated = tokens('b', Some(('a', 5)), None);
        assert_eq!(good(&rotated), [token('b'), token('a')]);
        assert_eq!(rotated.changes_at(), Some(at(5)));
    }

    #[test]
    fn a_token_is_long_enough_and_fits_a_header() {
        for (text, valid) in [
            ("a".repeat(43), true),
            ("a".repeat(42), false),
            ("a".repeat(257), false),
            ("a b".repeat(20), false),
            ("é".repeat(30), false),
            (format!("{}-_", "A".repeat(41)), true),
        ] {
            assert_eq!(Token::new(&text).is_some(), valid, "{text}");
        }
    }

    #[test]
    fn a_token_shows_itself_to_nobody() {
        let tokens = tokens('b', Some(('a', 5)), None);
        let shown = format!("{tokens:?}");
        assert!(!shown.contains("aaaa") && !shown.contains("bbbb"), "{shown}");
        let text = format!("value {} is bad, so is {}", "b".repeat(43), "a".repeat(43));
        assert_eq!(tokens.hide(&text), "value (token) is bad, so is (token)");
    }
}
