//! Manifests that nobody should write, from a seed: each is an object that is right with a few values changed to what
//! is wrong (types, bounds, unknown fields, lists and trees without end) or only just right (the longest text that a
//! pattern lets through, the largest number, dates and quantities at their edges).

use proptest::{
    prelude::{RngExt, Strategy},
    strategy::ValueTree,
    string::string_regex,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Map, Value, json};
use tray_api::crds;

use crate::valid;

/// Texts that others stumbled over.
const TEXTS: [&str; 24] = [
    "",
    " ",
    "-",
    ".",
    "..",
    "0",
    "null",
    "true",
    "1e9",
    " leading",
    "trailing ",
    "two\nlines",
    "\u{0}",
    "\u{7f}",
    "\u{202e}txt.exe",
    "Ünïcödé",
    "👩‍👩‍👧‍👦",
    "日本語のテキスト",
    "e\u{301}",
    "../../etc/passwd",
    "$(HOSTNAME)",
    "{{ .Values.x }}",
    "'; DROP TABLE orgs; --",
    "system:masters",
];
const QUANTITIES: [&str; 27] = [
    "1",
    "0.1",
    "1n",
    "999n",
    "1m",
    "1e3",
    "1E",
    "8Ei",
    "16Ei",
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999",
    "0.0000000001",
    "1e-9",
    "-1",
    "0",
    "banana",
    "",
    "+5",
    "5.",
    ".5",
    "1 Gi",
    "1gi",
    "１",
    "1e400",
    "NaN",
    "1000000000Gi",
];
const TIMES: [&str; 14] = [
    "2026-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "2016-12-31T23:59:60Z",
    "2026-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    "2026-02-30T00:00:00Z",
    "2026-01-01",
    "2026-01-01t00:00:00z",
    "2026-01-01 00:00:00Z",
    "2026-01-01T00:00:00.123456789Z",
    "2026-01-01T24:00:00Z",
    "yesterday",
];
const CRONS: [&str; 17] = [
    "* * * * *",
    "0 0 30 2 *",
    "0 0 31 4,6,9,11 *",
    "0 0 31 2-4/2 *",
    "0 0 29 2 *",
    "61 * * * *",
    "*/0 * * * *",
    "*/99999999999 * * * *",
    "59-0 * * * *",
    "0 0 * * 7",
    "0 0 L * *",
    "0 0 * * 1#9",
    "0 0 ? * ?",
    "A B C D E",
    "0-59/1 * * * *",
    "-1 * * * *",
    "0,0,0,0,0,0 * * * *",
];
const ZONES: [&str; 7] = [
    "Etc/UTC",
    "Nowhere/Land",
    "Pacific/Apia",
    "UTC+25",
    "Europe/Dublin",
    "europe/dublin",
    "-",
];
const NETWORKS: [&str; 9] = [
    "203.0.113.0/24",
    "203.0.113.77/24",
    "2001:db8::/32",
    "203.0.113.0/33",
    "8.8.8.8",
    "::ffff:8.8.8.8/128",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "008.8.8.0/24",
];

/// What other fields and other objects depend on: changed alone, it is refused at once or leads nowhere.
const BEARING: [&str; 10] = [
    "cloudRegion",
    "jurisdiction",
    "zones",
    "ledgerKeyArn",
    "regionRef",
    "orgRef",
    "retentionPolicyRef",
    "backupScheduleRef",
    "orgId",
    "storage",
];

/// A stream of manifests.
pub(crate) struct Generator {
    runner: TestRunner,
    kinds: Vec<(String, Value)>,
    /// Names of objects that manifests may name, by kind.
    known: Map<String, Value>,
    number: usize,
}

/// One change: where, and what is there instead.
type Change = (String, Value);

impl Generator {
    /// The same stream for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let kinds = crds::all_crds().into_iter().map(|crd| {
            let crd = serde_json::to_value(crd).unwrap();
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
            (
                kind,
                crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone(),
            )
        });
        Self {
            runner: TestRunner::new_with_rng(Config::default(), rng),
            kinds: kinds.collect(),
            known: Map::new(),
            number: 0,
        }
    }

    /// The next manifests may name this object.
    pub(crate) fn knows(&mut self, kind: &str, name: &str) {
        let names = self.known.entry(kind).or_insert_with(|| json!([]));
        names.as_array_mut().unwrap().push(name.into());
    }

    /// The next manifest of that kind.
    pub(crate) fn manifest(&mut self, kind: &str) -> Value {
        self.number += 1;
        let schemas = self.kinds.iter().find(|(found, _)| found == kind);
        let schema = schemas.unwrap().1["properties"]["spec"].clone();
        let all = valid::all().into_iter().filter(|object| object["kind"] == kind);
        let right = self.pick(&all.collect::<Vec<_>>());
        let mut manifest = self.named(right);
        // Most are only just right, as far as schemas go: those get through to the controllers.
        let wrong = self.chance(40);
        for _ in 0..=self.below(if wrong { 3 } else { 2 }) {
            let mut places = Vec::new();
            places_of("/spec", &schema, &manifest["spec"], &mut places);
            if !wrong {
                let is_borne = |pointer: &str| !pointer.split('/').any(|step| BEARING.contains(&step));
                places.retain(|(pointer, _)| pointer != "/spec" && is_borne(pointer));
            }
            let Some((pointer, schema)) = (!places.is_empty()).then(|| self.pick(&places)) else {
                break;
            };
            let (pointer, value) = if wrong {
                let present = manifest.pointer(&pointer).cloned().unwrap_or_default();
                self.wrong(&pointer, &schema, &present)
            } else {
                (pointer.clone(), self.edge(&pointer, &schema))
            };
            put(&mut manifest, &pointer, value);
        }
        if self.chance(15) {
            let (pointer, value) = self.metadata();
            put(&mut manifest, &pointer, value);
        }
        manifest
    }

    /// With a name, an id and references that make sense, mostly.
    fn named(&mut self, mut manifest: Value) -> Value {
        let kind = manifest["kind"].as_str().unwrap().to_owned();
        let name = format!("{}-{}", kind.to_lowercase(), self.number);
        manifest["metadata"]["name"] = name.into();
        let references: &[(&str, &str)] = match kind.as_str() {
            "TrayOrg" => &[
                ("Region", "/spec/regionRef"),
                ("RetentionPolicy", "/spec/retentionPolicyRef"),
                ("BackupSchedule", "/spec/backupScheduleRef"),
            ],
            "OrgSnapshot" | "OrgRestore" => &[("TrayOrg", "/spec/orgRef")],
            _ => &[],
        };
        for (kind, pointer) in references {
            let names = self
                .known
                .get(*kind)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let name = if names.is_empty() || self.chance(5) {
                json!("nowhere")
            } else {
                self.pick(&names)
            };
            put(&mut manifest, pointer, json!({"name": name}));
        }
        if kind == "TrayOrg" && self.chance(95) {
            // An id of its own, or all but one would be told that it is taken.
            let id = format!("{:08x}-0000-4000-8000-{:012x}", self.below(1 << 32), self.number);
            manifest["spec"]["orgId"] = id.into();
            // Regions run some of these names, and one of them the webhook.
            for workload in manifest["spec"]["workloads"].as_array_mut().into_iter().flatten() {
                workload["name"] = format!("own-{}", workload["name"].as_str().unwrap()).into();
                workload.as_object_mut().unwrap().remove("webhook");
            }
            let regional = if manifest["spec"]["regionRef"]["name"] == "eu" {
                "runtime"
            } else {
                "db"
            };
            for change in manifest["spec"]["overrides"].as_array_mut().into_iter().flatten() {
                change["name"] = regional.into();
                if regional == "runtime" {
                    change.as_object_mut().unwrap().remove("volume");
                }
            }
        }
        manifest
    }

    fn metadata(&mut self) -> Change {
        let text = self.text(80);
        let name = |length| json!("n".repeat(length));
        let all = [
            ("/metadata/name", json!("-")),
            ("/metadata/name", json!("Upper")),
            ("/metadata/name", json!("a.b")),
            ("/metadata/name", json!(text)),
            ("/metadata/name", json!(7)),
            ("/metadata/name", name(39 + self.below(3))),
            ("/metadata/name", name(62 + self.below(3))),
            ("/metadata/name", name(300)),
            (
                "/metadata/labels",
                json!({"platform.tray.ai/org": "another", "app.kubernetes.io/managed-by": "tray-operator"}),
            ),
            ("/metadata/labels", json!({text.clone(): "x"})),
            ("/metadata/labels", json!({"x": 7})),
            (
                "/metadata/annotations",
                json!({
                    "platform.tray.ai/accept-run": text, "platform.tray.ai/accept-data-loss": text,
                    "platform.tray.ai/accept-namespace-loss": text, "platform.tray.ai/rotate-webhook-token": text,
                }),
            ),
            ("/metadata/annotations", json!({"x": "y".repeat(300_000)})),
            ("/metadata/annotations", json!("text")),
            ("/metadata/finalizers", json!(["platform.tray.ai/org"])),
            ("/metadata/finalizers", json!([text])),
            (
                "/metadata/ownerReferences",
                json!([{"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "x"}]),
            ),
            ("/metadata/uid", json!("chosen")),
            ("/metadata/namespace", json!("kube-system")),
            ("/metadata", json!([])),
            (
                "/status",
                json!({"observedGeneration": 99, "orgId": "x", "conditions": "text"}),
            ),
            ("/kind", json!("Pod")),
            ("/apiVersion", json!("platform.tray.ai/v9")),
        ];
        let (pointer, value) = self.pick(&all);
        (pointer.to_owned(), value)
    }

    /// What the schema forbids, or the API server.
    fn wrong(&mut self, pointer: &str, schema: &Value, present: &Value) -> Change {
        let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
        let length = schema["maxLength"].as_u64().unwrap_or(50) as usize;
        let at = |value: Value| (pointer.to_owned(), value);
        let inside = |value: Value| (format!("{pointer}/unheardOf"), value);
        match self.below(15) {
            0 => at(Value::Null),
            1 => at(json!(self.text(length))),
            2 => at(json!(self.pick(&[i64::MIN, -1, 0, i64::MAX]))),
            3 => at(json!(self.pick(&[f64::MAX, -0.5, 1e-300, 1.5]))),
            4 => at(json!({})),
            5 => at(json!([[[]]])),
            6 => at(json!(true)),
            7 => at(tree(self.below(400) + 2)),
            8 => inside(tree(self.below(400) + 2)),
            9 => inside(json!(self.text(length))),
            // Not more that are wrong each: an API server compares every complaint with all before it, and is at that for
            // minutes where there are twenty thousand.
            10 => at(json!(vec![self.text(20); self.below(1_000)])),
            11 => at(json!(vec![
                present.get(0).cloned().unwrap_or_default();
                self.below(20_000)
            ])),
            12 => at(json!("a".repeat(length + 1))),
            13 => at(bound("maximum").map_or(json!("a"), |most| json!(most + 1))),
            _ => at(bound("minimum").map_or(json!(-1), |least| json!(least - 1))),
        }
    }

    /// What the schema lets through, as far as it is one value that it looks at.
    fn edge(&mut self, pointer: &str, schema: &Value) -> Value {
        let field = pointer.rsplit('/').next().unwrap_or_default();
        if schema["x-kubernetes-int-or-string"] == true {
            return match self.below(5) {
                0 => self.pick(&[
                    json!(1),
                    json!(i32::MAX),
                    json!(9_007_199_254_740_993_i64),
                    json!(0),
                    json!(1.5),
                ]),
                _ => json!(self.pick(&QUANTITIES)),
            };
        }
        // Nearly a zone is what people write.
        if let Some(values) = schema["enum"].as_array()
            && (field != "timeZone" || self.chance(50))
        {
            return self.pick(values);
        }
        match schema["type"].as_str() {
            Some("boolean") => json!(self.chance(50)),
            Some("integer") => {
                let bound =
                    |name: &str, otherwise| schema[name].as_f64().map_or(otherwise, |bound| bound as i64);
                // A hundred pods of twenty workloads are no test of the controllers but of this machine.
                let most = bound("maximum", i64::MAX).min(if field == "replicas" { 3 } else { i64::MAX });
                json!(self.pick(&[bound("minimum", i64::MIN), most]))
            }
            Some("array") => {
                let most = schema["maxItems"].as_u64().unwrap_or(20).min(6) as usize;
                let items = (0..self.below(most + 1)).map(|_| self.sample(pointer, &schema["items"]));
                items.collect::<Vec<_>>().into()
            }
            Some("object") => self.sample(pointer, schema),
            _ => json!(self.string(field, pointer, schema)),
        }
    }

    /// An object of that shape: the fields that it must have, and half of the others.
    fn sample(&mut self, pointer: &str, schema: &Value) -> Value {
        let Some(properties) = schema["properties"].as_object() else {
            return self.edge(pointer, schema);
        };
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut object = Map::new();
        for (name, property) in properties {
            if required.contains(&name.as_str()) || self.chance(50) {
                object.insert(name.clone(), self.sample(&format!("{pointer}/{name}"), property));
            }
        }
        object.into()
    }

    fn string(&mut self, field: &str, pointer: &str, schema: &Value) -> String {
        let most = schema["maxLength"].as_u64().unwrap_or(300) as usize;
        let of = |list: &[&str], this: &mut Self| this.pick(list).to_owned();
        match field {
            "schedule" => return of(&CRONS, self),
            "timeZone" => return of(&ZONES, self),
            _ if schema["format"] == "date-time" => return of(&TIMES, self),
            _ if pointer.contains("allowCidrs") => return of(&NETWORKS, self),
            _ => {}
        }
        let Some(pattern) = schema["pattern"].as_str() else {
            return self.text(most);
        };
        let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
        // `*` and `+` end early: the longest is asked for by hand.
        let long = pattern.replace("]*[", &format!("]{{{}}}[", most.saturating_sub(2).min(60)));
        let pattern = if self.chance(40) { &long } else { pattern };
        let text = string_regex(pattern)
            .unwrap()
            .new_tree(&mut self.runner)
            .unwrap()
            .current();
        text.chars().take(most).collect()
    }

    fn text(&mut self, most: usize) -> String {
        match self.below(4) {
            0 => self.pick(&["a", "ß", "👍", " "]).repeat(most),
            _ => self.pick(&TEXTS).chars().take(most).collect(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.runner.rng().random_range(0..end)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())].clone()
    }
}

/// Everything in `value` that the schema speaks of.
fn places_of(pointer: &str, schema: &Value, value: &Value, found: &mut Vec<(String, Value)>) {
    found.push((pointer.to_owned(), schema.clone()));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            places_of(&format!("{pointer}/{name}"), property, value, found);
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        places_of(&format!("{pointer}/{index}"), &schema["items"], item, found);
    }
}

/// That many objects, one in the other.
fn tree(depth: usize) -> Value {
    (0..depth).fold(json!(7), |inner, _| json!({"deeper": inner}))
}

/// Puts `value` where `pointer` leads; nothing where that is nowhere, since a change before this one took it away.
fn put(manifest: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match (manifest.pointer_mut(parent), last.parse::<usize>()) {
        (Some(Value::Object(fields)), _) => drop(fields.insert(last.to_owned(), value)),
        (Some(Value::Array(items)), Ok(index)) if index < items.len() => items[index] = value,
        _ => {}
    }
}
