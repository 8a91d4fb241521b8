//! Names for what every server makes up for itself: the same for two servers that answer alike.

use std::collections::BTreeMap;

use serde_json::Value;

/// What is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// UID of an object.
    Uid,
    /// Version of an object.
    Version,
    /// A time.
    Time,
}

impl Sort {
    const ALL: [Self; 3] = [Self::Uid, Self::Version, Self::Time];

    const fn word(self) -> &'static str {
        match self {
            Self::Uid => "uid",
            Self::Version => "version",
            Self::Time => "time",
        }
    }
}

/// What has been named so far: `<uid:1>`, `<version:1>` … in the order in which it was met.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_text: BTreeMap<(Sort, String), usize>,
    in_order: BTreeMap<Sort, Vec<String>>,
}

impl Names {
    /// The name of a text, which it has from now on.
    pub fn of(&mut self, sort: Sort, text: &str) -> String {
        if let Some(name) = self.known(sort, text) {
            return name;
        }
        let texts = self.in_order.entry(sort).or_default();
        texts.push(text.to_owned());
        self.by_text.insert((sort, text.to_owned()), texts.len());
        format!("<{}:{}>", sort.word(), texts.len())
    }

    /// The name of a text that has one.
    pub fn known(&self, sort: Sort, text: &str) -> Option<String> {
        let number = self.by_text.get(&(sort, text.to_owned()))?;
        Some(format!("<{}:{number}>", sort.word()))
    }

    /// A text with its names replaced by what they stand for; those of times stay, for nobody reads them.
    pub fn resolved(&self, text: &str) -> String {
        let mut resolved = text.to_owned();
        for sort in [Sort::Uid, Sort::Version] {
            let begin = format!("<{}:", sort.word());
            while let Some((before, rest)) = resolved.split_once(&begin)
                && let Some((number, after)) = rest.split_once('>')
            {
                let texts = self.in_order.get(&sort);
                let number: usize = number.parse().unwrap_or_default();
                let meant = texts.and_then(|texts| texts.get(number.checked_sub(1)?));
                resolved = format!("{before}{}{after}", meant.map_or("unknown", String::as_str));
            }
        }
        resolved
    }

    /// Puts names for the UIDs and times in a request's body, and for the versions where versions stand.
    pub fn put_into(&mut self, body: &mut Value) {
        match body {
            Value::Object(fields) => {
                for (field, value) in fields {
                    let version = value.as_str().filter(|_| field == "resourceVersion");
                    match version.and_then(|version| self.known(Sort::Version, version)) {
                        Some(name) => *value = name.into(),
                        None => self.put_into(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.put_into(item)),
            Value::String(text) => {
                if let Some(name) = self.known(Sort::Uid, text) {
                    *text = name;
                } else if is_time(text) {
                    *text = self.of(Sort::Time, text);
                }
            }
            _ => {}
        }
    }

    /// Whether a text is a name.
    pub fn is_name(text: &str) -> bool {
        Sort::ALL
            .iter()
            .any(|sort| text.starts_with(&format!("<{}:", sort.word())))
    }
}

/// Whether a text is a moment as Kubernetes writes it.
pub(super) fn is_time(text: &str) -> bool {
    text.len() >= "2026-01-01T00:00:00Z".len() && text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_count_what_is_new_and_lead_back() {
        let mut names = Names::default();
        assert_eq!(names.of(Sort::Uid, "u"), "<uid:1>");
        assert_eq!(names.of(Sort::Version, "17"), "<version:1>");
        assert_eq!(names.of(Sort::Uid, "v"), "<uid:2>");
        assert_eq!(names.of(Sort::Uid, "u"), "<uid:1>");
        let path = "/x?resourceVersion=<version:1>&uid=<uid:2>&other=<uid:3>";
        assert_eq!(names.resolved(path), "/x?resourceVersion=17&uid=v&other=unknown");
    }

    #[test]
    fn a_body_keeps_what_was_never_said_by_a_server() {
        let mut names = Names::default();
        names.of(Sort::Uid, "u");
        names.of(Sort::Version, "17");
        let mut body = json!({
            "metadata": {"uid": "u", "resourceVersion": "17"}, "spec": {"orgId": "o", "number": "17"},
            "status": [{"at": "2026-01-01T00:00:00Z"}],
        });
        names.put_into(&mut body);
        let wanted = json!({
            "metadata": {"uid": "<uid:1>", "resourceVersion": "<version:1>"}, "spec": {"orgId": "o", "number": "17"},
            "status": [{"at": "<time:1>"}],
        });
        assert_eq!(body, wanted);
    }
}
