//! An error of a library of ours, with what it comes from.

use std::error::Error;

/// What it says and what it comes from say, each once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(deeper) = next {
        let text = deeper.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        next = deeper.source();
    }
    said
}
