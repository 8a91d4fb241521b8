//! Sequences of calls, out of a seed: those that the operator makes, in any order, with conditions that hold and others that
//! do not. What only a server can say stands as a word in them, which each side replaces by what it heard: `$uid` and
//! `$version` of the object as it was last, `$old-uid` and `$old-version` as it was first.

use serde_json::{Value, json};
use tray_testkit::likeness::Asked;

use super::{
    random::Random,
    samples::{CONFIG_MAP, NAMESPACE, OTHERS, Sample, TRAY_ORG},
};

/// The operator's own name as a manager of fields.
const MANAGER: &str = "tray-operator";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";

/// One step of a sequence.
pub(super) struct Step {
    /// What finds the object that it is about: kind and name, with the namespace. Empty = none.
    pub about: String,
    pub does: Does,
}

pub(super) enum Does {
    /// Asks, and hears the answer.
    Call(Asked),
    /// Begins a watch, which tells until the end of the sequence.
    Watch(Asked),
    /// Plays the controller of namespaces, to which nothing is left in this one.
    LetGo(String),
}

/// A sequence.
pub(super) struct Sequence {
    pub steps: Vec<Step>,
    /// What every watch tells last: an object of each kind that is watched.
    pub last: Vec<Step>,
}

/// How the last objects are called.
pub(super) const LAST: &str = "zz-last";

/// Makes up a sequence. All its names begin with `prefix`, so that others see nothing of it.
pub(super) fn sequence(seed: u64, prefix: &str, length: usize) -> Sequence {
    let mut random = Random(seed);
    let mut kinds: Vec<&'static Sample> = vec![&CONFIG_MAP, &TRAY_ORG, &NAMESPACE];
    // Each kind is in some sequence, whatever the seed.
    let first = seed as usize * 2;
    kinds.extend((first..first + 2).map(|at| &OTHERS[at % OTHERS.len()]));
    let mut maker = Maker {
        random: &mut random,
        prefix,
        kinds,
        watched: Vec::new(),
        steps: Vec::new(),
    };
    for namespace in maker.namespaces() {
        maker.create_namespace(&namespace);
    }
    while maker.steps.len() < length {
        maker.step();
    }
    let last = std::mem::take(&mut maker.watched);
    let steps = std::mem::take(&mut maker.steps);
    let last = last.into_iter().map(|kind| maker.last(kind)).collect();
    Sequence { steps, last }
}

struct Maker<'a> {
    random: &'a mut Random,
    prefix: &'a str,
    kinds: Vec<&'static Sample>,
    watched: Vec<&'static Sample>,
    steps: Vec<Step>,
}

/// An object.
#[derive(Clone)]
struct Target {
    kind: &'static Sample,
    namespace: Option<String>,
    name: String,
}

impl Target {
    fn path(&self) -> String {
        format!("{}/{}", self.all(), self.name)
    }

    fn all(&self) -> String {
        self.kind.path(self.namespace.as_deref())
    }

    /// As [`Step::about`].
    fn about(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind.kind, self.name),
            None => format!("{} {}", self.kind.kind, self.name),
        }
    }
}

impl Maker<'_> {
    /// The first stays; one is a beginning of the other's name.
    fn namespaces(&self) -> [String; 3] {
        let name = |end: &str| format!("{}{end}", self.prefix);
        [name("-stays"), name("-goes"), name("-goes-too")]
    }

    fn create_namespace(&mut self, name: &str) {
        let target = Target {
            kind: &NAMESPACE,
            namespace: None,
            name: name.to_owned(),
        };
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"seq": self.prefix}}});
        self.call(&target, "POST", &target.all(), JSON, &body);
    }

    fn last(&mut self, kind: &'static Sample) -> Step {
        let target = Target {
            kind,
            namespace: kind.is_namespaced.then(|| self.namespaces()[0].clone()),
            name: if kind.is_namespaced {
                LAST.to_owned()
            } else {
                format!("{}-{LAST}", self.prefix)
            },
        };
        let mut body = Self::body(&target, 0);
        body["metadata"] = json!({"name": target.name, "labels": {"seq": self.prefix, "colour": "red"}});
        Step {
            about: target.about(),
            does: Does::Call(asked("POST", target.all(), JSON, &body)),
        }
    }

    fn target(&mut self) -> Target {
        let kind = self.random.of(&self.kinds.clone());
        self.target_of(kind)
    }

    fn target_of(&mut self, kind: &'static Sample) -> Target {
        let namespaces = self.namespaces();
        let name = self.random.of(&["a", "b", "c"]);
        // That which stays takes most.
        let namespace = &namespaces[[0, 0, 1, 2][self.random.below(4) as usize]];
        let name = if kind.kind == "Namespace" {
            namespaces[1 + self.random.below(2) as usize].clone()
        } else if kind.is_namespaced {
            name.to_owned()
        } else {
            format!("{}-{name}", self.prefix)
        };
        Target {
            kind,
            namespace: kind.is_namespaced.then(|| namespace.clone()),
            name,
        }
    }

    fn call(&mut self, target: &Target, method: &str, path: &str, form: &str, body: &Value) {
        self.steps.push(Step {
            about: target.about(),
            does: Does::Call(asked(method, path.to_owned(), form, body)),
        });
    }

    fn body(target: &Target, number: u64) -> Value {
        let short = target.name.rsplit('-').next().unwrap_or_default();
        let mut body = (target.kind.body)(number, short);
        body["apiVersion"] = target.kind.api_version().into();
        body["kind"] = target.kind.kind.into();
        body
    }

    fn step(&mut self) {
        let target = self.target();
        match self.random.below(100) {
            0..16 => self.create(&target),
            16..32 => self.apply(&target),
            32..54 => self.merge(&target),
            54..62 => self.status(&target),
            62..69 => self.replace(&target),
            69..82 => self.delete(&target),
            82..85 => self.read(&target),
            85..90 => self.list(&target),
            90..93 => self.watch(&target),
            93..96 => self.let_go(),
            _ => self.wrong(&target),
        }
    }

    fn labels(&mut self) -> Value {
        let mut labels = json!({"seq": self.prefix});
        if let Some(colour) = self.random.of(&[None, Some("red"), Some("red"), Some("blue")]) {
            labels["colour"] = colour.into();
        }
        if self.random.one_in(4) {
            labels["shade"] = "dark".into();
        }
        labels
    }

    fn metadata(&mut self, target: &Target) -> Value {
        let mut metadata = json!({"name": target.name, "labels": self.labels()});
        if self.random.one_in(4) {
            metadata["annotations"] = json!({"example.com/note": self.random.of(&["one", "two"])});
        }
        if self.random.one_in(6) {
            metadata["finalizers"] = json!([self.random.of(&["example.com/one", "example.com/two"])]);
        }
        if self.random.one_in(8) {
            let uid = "11111111-1111-4111-8111-111111111111";
            metadata["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
        }
        metadata
    }

    fn create(&mut self, target: &Target) {
        let number = self.random.below(64);
        let mut body = Self::body(target, number);
        body["metadata"] = self.metadata(target);
        if let (Some(status), true) = (target.kind.status, self.random.one_in(4)) {
            // It is not for whoever makes the object to say.
            body["status"] = status(number);
        }
        let path = format!("{}?fieldManager={MANAGER}", target.all());
        self.call(target, "POST", &path, JSON, &body);
    }

    fn apply(&mut self, target: &Target) {
        let number = self.random.below(64);
        let mut body = Self::body(target, number);
        body["metadata"] = json!({"name": target.name, "labels": self.labels()});
        if self.random.one_in(4) {
            body["metadata"]["uid"] = self.random.of(&["$uid", "$uid", "$old-uid"]).into();
        }
        if self.random.one_in(8) {
            // All that it applied before, but metadata, is its no more.
            let less =
                json!({"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": body["metadata"]});
            if target.kind.kind == "ConfigMap" {
                body = less;
            }
        }
        let manager = self.random.of(&[MANAGER, MANAGER, "somebody-else"]);
        let force = self.random.of(&["&force=true", "&force=true", ""]);
        let path = format!("{}?fieldManager={manager}{force}", target.path());
        self.call(target, "PATCH", &path, APPLY, &body);
    }

    fn merge(&mut self, target: &Target) {
        let number = self.random.below(64);
        let mut body = match self.random.below(8) {
            0..3 => (target.kind.body)(number, target.name.rsplit('-').next().unwrap_or_default()),
            3 => (target.kind.less)(),
            4 => json!({"metadata": {"labels": {"colour": self.random.of(&["red", "blue"])}}}),
            5 => {
                json!({"metadata": {"labels": {"colour": null, "shade": self.random.of(&[None, Some("dark")])}}})
            }
            6 => {
                json!({"metadata": {"finalizers": self.random.of(&[&[][..], &["example.com/one"], &["example.com/two", "example.com/one"]])}})
            }
            _ => {
                json!({"metadata": {"annotations": {"example.com/note": self.random.of(&[None, Some("one")])}}})
            }
        };
        if self.random.one_in(3) {
            body["metadata"]["uid"] = self.random.of(&["$uid", "$uid", "$old-uid"]).into();
        }
        if self.random.one_in(4) {
            body["metadata"]["resourceVersion"] =
                self.random.of(&["$version", "$version", "$old-version"]).into();
        }
        if let (Some(status), true) = (target.kind.status, self.random.one_in(8)) {
            body["status"] = status(number);
        }
        let manager = self.random.of(&[MANAGER, MANAGER, "somebody-else"]);
        let path = format!("{}?fieldManager={manager}", target.path());
        self.call(target, "PATCH", &path, MERGE, &body);
    }

    fn status(&mut self, target: &Target) {
        let number = self.random.below(64);
        let Some(status) = target.kind.status else {
            return self.merge(target);
        };
        let mut body = json!({"status": status(number)});
        if self.random.one_in(3) {
            body["metadata"] = json!({"uid": self.random.of(&["$uid", "$uid", "$old-uid"])});
        }
        if self.random.one_in(6) {
            // Not by this path.
            body["metadata"]["labels"] = json!({"shade": "dark"});
            body["spec"] = (target.kind.body)(number, "a")["spec"].clone();
        }
        let path = format!("{}/status?fieldManager={MANAGER}", target.path());
        self.call(target, "PATCH", &path, MERGE, &body);
    }

    fn replace(&mut self, target: &Target) {
        if !target.kind.is_replaced {
            return self.delete(target);
        }
        let number = self.random.below(64);
        let mut body = Self::body(target, number);
        body["metadata"] = self.metadata(target);
        if let Some(version) =
            self.random
                .of(&[Some("$version"), Some("$version"), Some("$old-version"), None])
        {
            body["metadata"]["resourceVersion"] = version.into();
        }
        if self.random.one_in(4) {
            body["metadata"]["uid"] = self.random.of(&["$uid", "$old-uid"]).into();
        }
        let path = format!("{}?fieldManager={MANAGER}", target.path());
        self.call(target, "PUT", &path, JSON, &body);
    }

    fn delete(&mut self, target: &Target) {
        let mut options = json!({});
        if let Some(policy) = self.random.of(&[
            None,
            Some("Background"),
            Some("Background"),
            Some("Foreground"),
            Some("Orphan"),
        ]) {
            options["propagationPolicy"] = policy.into();
        }
        if self.random.one_in(2) {
            options["preconditions"]["uid"] = self.random.of(&["$uid", "$uid", "$old-uid"]).into();
        }
        if self.random.one_in(5) {
            options["preconditions"]["resourceVersion"] =
                self.random.of(&["$version", "$old-version"]).into();
        }
        if target.kind.kind == "Pod"
            && let Some(grace) = self.random.of(&[None, Some(0), Some(10), Some(120)])
        {
            options["gracePeriodSeconds"] = grace.into();
        }
        self.call(target, "DELETE", &target.path(), JSON, &options);
    }

    fn read(&mut self, target: &Target) {
        let of_metadata = self.random.one_in(2);
        let asked = Asked {
            of_metadata,
            ..Asked::get(target.path())
        };
        self.steps.push(Step {
            about: target.about(),
            does: Does::Call(asked),
        });
    }

    /// What selects objects of this sequence.
    fn selector(&mut self) -> String {
        let more = self.random.of(&[
            "",
            ",colour=red",
            ",colour%20in%20(red,blue)",
            ",!shade",
            ",colour!=blue",
        ]);
        format!("labelSelector=seq={}{more}", self.prefix)
    }

    fn list(&mut self, target: &Target) {
        let selector = self.selector();
        let limit = self.random.of(&["", "", "&limit=2"]);
        let namespace = target.namespace.as_deref().filter(|_| self.random.one_in(2));
        let path = format!("{}?{selector}{limit}", target.kind.path(namespace));
        self.steps.push(Step {
            about: target.about(),
            does: Does::Call(Asked::get(path)),
        });
    }

    fn watch(&mut self, target: &Target) {
        let kind = target.kind;
        let stays = self.namespaces()[0].clone();
        let namespace = Some(stays.as_str()).filter(|_| kind.is_namespaced && self.random.one_in(2));
        let selector = self.selector();
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&{selector}",
            kind.path(namespace)
        );
        let all = format!("{}?{selector}", kind.path(namespace));
        let path = match self.random.below(3) {
            0 => format!("{path}&resourceVersion=$version"),
            1 => format!("{path}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
            _ => {
                // What a server has in its cache is as new as the list that it has given just before.
                self.steps.push(Step {
                    about: target.about(),
                    does: Does::Call(Asked::get(all)),
                });
                format!("{path}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0")
            }
        };
        if !self.watched.iter().any(|watched| watched.kind == kind.kind) {
            self.watched.push(kind);
        }
        self.steps.push(Step {
            about: target.about(),
            does: Does::Watch(Asked::get(path)),
        });
    }

    fn let_go(&mut self) {
        let namespace = self.namespaces()[1 + self.random.below(2) as usize].clone();
        self.steps.push(Step {
            about: format!("Namespace {namespace}"),
            does: Does::LetGo(namespace.clone()),
        });
        if self.random.one_in(2) {
            self.create_namespace(&namespace);
        }
    }

    /// What no server takes.
    fn wrong(&mut self, target: &Target) {
        let mut body = Self::body(target, 0);
        body["metadata"] = json!({"name": target.name, "labels": {"seq": self.prefix}});
        let (all, path) = (target.all(), target.path());
        match self.random.below(12) {
            0 => {
                body["kind"] = "Other".into();
                self.call(target, "POST", &all, JSON, &body);
            }
            1 => {
                body["metadata"] = json!({});
                self.call(target, "POST", &all, JSON, &body);
            }
            2 => {
                body["metadata"]["namespace"] = "elsewhere".into();
                self.call(target, "POST", &all, JSON, &body);
            }
            3 => {
                body["metadata"]["name"] = "other".into();
                self.call(target, "PATCH", &path, MERGE, &body);
            }
            4 => self.call(target, "PATCH", &path, APPLY, &body),
            5 => self.call(target, "PATCH", &path, JSON, &body),
            6 => self.call(target, "PATCH", &format!("{path}/nothing"), MERGE, &body),
            7 => self.call(target, "GET", "/api/v1/nothings", "", &Value::Null),
            8 => self.call(
                target,
                "GET",
                "/apis/nobody.example.com/v1/things",
                "",
                &Value::Null,
            ),
            9 => self.call(
                target,
                "GET",
                &format!("{all}?labelSelector=is%20a"),
                "",
                &Value::Null,
            ),
            10 => self.call(target, "POST", &path, JSON, &body),
            _ => {
                body["metadata"]["name"] = "other".into();
                self.call(target, "PUT", &path, JSON, &body);
            }
        }
    }
}

fn asked(method: &str, path: String, form: &str, body: &Value) -> Asked {
    Asked {
        method: method.to_owned(),
        path,
        content_type: form.to_owned(),
        of_metadata: false,
        body: if body.is_null() {
            String::new()
        } else {
            body.to_string()
        },
    }
}
