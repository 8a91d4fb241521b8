//! What a person accepts by an annotation of the TrayOrg, such as the loss of a volume.
//!
//! The annotation may lie in Git, so the operator leaves it alone and remembers which values it has looked at: the same one is
//! never carried out twice, nor later where it meant nothing at first. A person who accepts the same thing once more says so by
//! another value: what is accepted, a slash, and anything.

/// Whether `value` accepts `what`.
pub fn accepts(value: &str, what: &str) -> bool {
    value == what || of_accepted(value, what).is_some()
}

/// What follows `what` and a slash in a value that accepts it.
pub fn of_accepted<'a>(value: &'a str, what: &str) -> Option<&'a str> {
    value.strip_prefix(what)?.strip_prefix('/')
}

/// A value that accepts `what` and is not among those that were looked at: `what`, then `what/2` and so on.
pub fn next_value<'a>(what: &str, looked_at: impl Iterator<Item = &'a str> + Clone) -> String {
    let is_new = |value: &String| looked_at.clone().all(|known| known != value);
    let later = (2_u64..).map(|number| format!("{what}/{number}"));
    let mut values = std::iter::once(what.to_owned()).chain(later);
    values.find(is_new).unwrap_or_else(|| what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_accepts_what_it_names_with_or_without_more() {
        for (value, what, accepted) in [
            ("bucket", "bucket", true),
            ("bucket/2", "bucket", true),
            ("bucket/", "bucket", true),
            ("bucket-2", "bucket", false),
            ("buck", "bucket", false),
            ("", "bucket", false),
        ] {
            assert_eq!(accepts(value, what), accepted, "{value}");
        }
        assert_eq!(of_accepted("data-db-0/1f3c", "data-db-0"), Some("1f3c"));
        assert_eq!(of_accepted("data-db-0", "data-db-0"), None);
    }

    #[test]
    fn the_next_value_is_one_that_was_not_looked_at() {
        for (looked_at, next) in [
            (vec![], "b"),
            (vec!["a"], "b"),
            (vec!["b"], "b/2"),
            (vec!["b/2", "b"], "b/3"),
            (vec!["b/2"], "b"),
        ] {
            assert_eq!(next_value("b", looked_at.iter().copied()), next, "{looked_at:?}");
        }
    }
}
