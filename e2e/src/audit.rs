//! Requests to the API server, counted from its audit log: per user, verb and resource.
//!
//! Leases and watches are left out: an idle controller renews both for as long as it lives.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// The audit log of one cluster: one JSON event a line, in the order in which requests ended.
#[derive(Debug, Clone)]
pub struct AuditLog(PathBuf);

/// A position in an [`AuditLog`]: everything that had ended when it was taken lies before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark(u64);

/// How often each user asked for what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests(BTreeMap<String, BTreeMap<Kind, u64>>);

/// One kind of request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// `get`, `list`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// `pods`, `pods/exec`; the path where a request is not for a resource (`/version`).
    pub resource: String,
}

impl AuditLog {
    /// The log at `path`, see [`crate::ClusterDir::audit_log`].
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The log's end as it is now.
    pub fn mark(&self) -> Result<Mark> {
        let end = self
            .read(Mark::default())?
            .try_fold(0, |end, line| line.map(|line| end + line.len() as u64));
        end.map(Mark)
    }

    /// All requests that ended after `mark`. [`Mark::default`] is the beginning.
    pub fn since(&self, mark: Mark) -> Result<Requests> {
        let mut requests = Requests::default();
        for line in self.read(mark)? {
            let event =
                serde_json::from_str(&line?).map_err(Error::unexpected(self.0.display().to_string()))?;
            requests.add(event);
        }
        Ok(requests)
    }

    /// The requests that ended after `mark`, up to the first by `user` that changes the status of that object.
    pub fn until_status(&self, mark: Mark, user: &str, resource: &str, name: &str) -> Result<Requests> {
        let mut requests = Requests::default();
        for line in self.read(mark)? {
            let event: Event =
                serde_json::from_str(&line?).map_err(Error::unexpected(self.0.display().to_string()))?;
            let is_it = event.user.username == user && event.changes_status(resource, name);
            requests.add(event);
            if is_it {
                break;
            }
        }
        Ok(requests)
    }

    /// The complete lines from `mark` on: the API server may be in the middle of the last one.
    fn read(&self, mark: Mark) -> Result<impl Iterator<Item = Result<String>> + use<'_>> {
        let path: &Path = &self.0;
        let mut file = File::open(path).map_err(Error::file("open", path))?;
        file.seek(SeekFrom::Start(mark.0))
            .map_err(Error::file("seek in", path))?;
        let mut reader = BufReader::new(file);
        Ok(std::iter::from_fn(move || {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(_) => line.ends_with('\n').then_some(Ok(line)),
                Err(source) => Some(Err(Error::file("read", path)(source))),
            }
        }))
    }
}

impl Requests {
    /// All users that asked for something.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Only what `user` asked for.
    #[must_use]
    pub fn only(mut self, user: &str) -> Self {
        self.0.retain(|name, _| name == user);
        self
    }

    /// How many requests `user` made.
    pub fn total(&self, user: &str) -> u64 {
        self.kinds(user).map(|(_, count)| count).sum()
    }

    /// How many requests `user` made with each verb.
    pub fn by_verb(&self, user: &str) -> BTreeMap<&str, u64> {
        let mut verbs = BTreeMap::new();
        for (kind, count) in self.kinds(user) {
            *verbs.entry(kind.verb.as_str()).or_default() += count;
        }
        verbs
    }

    /// What `user` asked for, and how often.
    pub fn kinds(&self, user: &str) -> impl Iterator<Item = (&Kind, u64)> {
        let kinds = self.0.get(user).into_iter().flatten();
        kinds.map(|(kind, count)| (kind, *count))
    }

    fn add(&mut self, event: Event) {
        let Event {
            stage,
            verb,
            request_uri,
            user,
            object_ref,
        } = event;
        let resource = object_ref.map_or_else(
            || request_uri.split('?').next().unwrap_or_default().to_owned(),
            |object| match object.subresource {
                Some(subresource) => format!("{}/{subresource}", object.resource),
                None => object.resource,
            },
        );
        // A request that lasts (exec, logs) has an event when its answer begins, too.
        if stage == "ResponseStarted" || verb == "watch" || resource == "leases" {
            return;
        }
        *self
            .0
            .entry(user.username)
            .or_default()
            .entry(Kind { verb, resource })
            .or_default() += 1;
    }
}

/// One line for each kind of request, the most frequent first, under each user's total.
impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for user in self.users() {
            writeln!(f, "{:>7}  {user}", self.total(user))?;
            let mut kinds: Vec<_> = self.kinds(user).collect();
            kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            for (Kind { verb, resource }, count) in kinds {
                writeln!(f, "{count:>15}  {verb} {resource}")?;
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    object_ref: Option<ObjectRef>,
}

impl Event {
    fn changes_status(&self, resource: &str, name: &str) -> bool {
        let status = self
            .object_ref
            .as_ref()
            .filter(|of| of.subresource.as_deref() == Some("status"));
        self.verb == "patch"
            && status.is_some_and(|of| of.resource == resource && of.name.as_deref() == Some(name))
    }
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    subresource: Option<String>,
    name: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const OPERATOR: &str = "system:serviceaccount:tray-system:tray-operator";

    fn event(user: &str, verb: &str, stage: &str, resource: &str, subresource: Option<&str>) -> String {
        let subresource = subresource.map_or_else(String::new, |name| format!(r#","subresource":"{name}""#));
        format!(
            r#"{{"kind":"Event","level":"Metadata","stage":"{stage}","requestURI":"/api/v1/{resource}?limit=5","verb":"{verb}","user":{{"username":"{user}","groups":["g"]}},"objectRef":{{"resource":"{resource}","namespace":"n"{subresource}}}}}"#
        ) + "\n"
    }

    fn log(text: &str) -> (tempfile::NamedTempFile, AuditLog) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let log = AuditLog::new(file.path());
        (file, log)
    }

    #[test]
    fn requests_are_counted_by_user_verb_and_resource() {
        let done = "ResponseComplete";
        let text = event(OPERATOR, "create", done, "pods", None)
            + &event(OPERATOR, "create", done, "services", None)
            + &event(OPERATOR, "create", done, "pods", None)
            + &event(OPERATOR, "patch", done, "trayorgs", Some("status"))
            + &event("alice", "list", "Panic", "pods", None);
        let requests = log(&text).1.since(Mark::default()).unwrap();
        assert_eq!(requests.users().collect::<Vec<_>>(), ["alice", OPERATOR]);
        assert_eq!(
            (
                requests.total(OPERATOR),
                requests.total("alice"),
                requests.total("bob")
            ),
            (4, 1, 0)
        );
        assert_eq!(
            requests.by_verb(OPERATOR),
            BTreeMap::from([("create", 3), ("patch", 1)])
        );
        let shown = requests.to_string();
        let lines: Vec<&str> = shown.lines().map(str::trim_start).collect();
        assert!(
            lines.contains(&"2  create pods") && lines.contains(&"1  patch trayorgs/status"),
            "{shown}"
        );
    }

    #[test]
    fn leases_and_watches_do_not_count_and_a_lasting_request_counts_once() {
        let text = event(OPERATOR, "update", "ResponseComplete", "leases", None)
            + &event(OPERATOR, "watch", "ResponseStarted", "pods", None)
            + &event(OPERATOR, "watch", "ResponseComplete", "pods", None)
            + &event(OPERATOR, "create", "ResponseStarted", "pods", Some("exec"))
            + &event(OPERATOR, "create", "ResponseComplete", "pods", Some("exec"));
        let requests = log(&text).1.since(Mark::default()).unwrap();
        assert_eq!(requests.total(OPERATOR), 1);
    }

    #[test]
    fn a_request_for_no_resource_counts_by_its_path() {
        let text = r#"{"stage":"ResponseComplete","requestURI":"/apis?timeout=32s","verb":"get","user":{"username":"a"}}"#;
        let requests = log(&format!("{text}\n")).1.since(Mark::default()).unwrap();
        let kinds: Vec<_> = requests
            .kinds("a")
            .map(|(kind, _)| kind.resource.as_str())
            .collect();
        assert_eq!(kinds, ["/apis"]);
    }

    #[test]
    fn a_mark_divides_before_and_after_and_half_a_line_is_not_there_yet() {
        let line = event(OPERATOR, "get", "ResponseComplete", "pods", None);
        let (first, second) = line.split_at(40);
        let (mut file, log) = log(&format!("{line}{first}"));
        let mark = log.mark().unwrap();
        assert_eq!(log.since(Mark::default()).unwrap().total(OPERATOR), 1);
        assert_eq!(log.since(mark).unwrap(), Requests::default());
        file.write_all(second.as_bytes()).unwrap();
        assert_eq!(log.since(mark).unwrap().total(OPERATOR), 1);
        assert_eq!(log.since(log.mark().unwrap()).unwrap().total(OPERATOR), 0);
    }

    #[test]
    fn a_line_that_is_no_event_names_the_log() {
        let (file, log) = log("nonsense\n");
        let error = log.since(Mark::default()).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}
