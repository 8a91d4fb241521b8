//! What of the answers of two API servers has to be alike: what clients decide by. The one in memory is held to a real one
//! by this, in requests that were recorded (`sim/tests/recorded`) and in made-up ones (`tests/api_server/bare/alike`).
//!
//! Of a refusal that is code, reason, details and causes; of an object its metadata, who owns what of it, and the fields
//! that clients have said anything of; of a list which objects at which versions; of a watch its events in order. UIDs and
//! versions have names in the order in which they appear. Messages, times and what a server fills in by itself are nobody's
//! business.

mod alike;
mod asked;
mod names;
mod recording;
mod said;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::said::Said;
pub use self::{
    alike::difference,
    asked::{Asked, Lines},
    names::{Names, Sort},
    recording::{Exchange, Recording},
};

/// How much is read off an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All of it.
    Full,
    /// What a person can read: which fields a manager owns, and what an object was at a version that was shown before, is
    /// left out.
    Brief,
}

/// Reads the answers of one server.
pub struct Reader {
    /// What it gave names to.
    pub names: Names,
    detail: Detail,
    said: BTreeMap<String, Said>,
}

impl Reader {
    /// One that has read nothing yet.
    pub fn new(detail: Detail) -> Self {
        Self {
            names: Names::default(),
            detail,
            said: BTreeMap::new(),
        }
    }

    /// What of an answer has to be alike.
    pub fn answer(&mut self, asked: &Asked, code: u16, text: &str) -> Value {
        let Ok(answer) = serde_json::from_str::<Value>(text) else {
            return json!({"code": code, "text": true});
        };
        if answer["kind"] == "Status" {
            return self.status(code, &answer);
        }
        if answer["items"].is_array() {
            return self.list(code, &answer);
        }
        let place = place(&answer);
        if asked.method != "GET" && asked.method != "DELETE" {
            self.hear(&place, code, asked);
        }
        let metadata = self.metadata(&answer);
        if asked.method == "GET" && self.detail == Detail::Brief {
            return json!({"code": code, "version": metadata["version"]});
        }
        let mut said = self.fields(&place, &answer);
        self.names.put_into(&mut said);
        let mut read = json!({"code": code, "metadata": metadata, "said": said});
        read["metadata"]["owners"] = self.owners(&place, &answer);
        read
    }

    /// What of an event has to be alike; none = it tells of no change.
    pub fn event(&mut self, line: &str) -> Option<Value> {
        let event: Value = serde_json::from_str(line).ok()?;
        let (sort, object) = (&event["type"], &event["object"]);
        if sort == "BOOKMARK" {
            let ends_all = !object["metadata"]["annotations"]["k8s.io/initial-events-end"].is_null();
            return (ends_all && self.detail == Detail::Full).then(|| json!(["BOOKMARK"]));
        }
        if sort == "ERROR" {
            return Some(json!(["ERROR", self.status(0, object)]));
        }
        let metadata = self.metadata(object);
        Some(match self.detail {
            Detail::Full => json!([sort, object["kind"], metadata]),
            Detail::Brief => json!([sort, name(object), metadata["version"]]),
        })
    }

    fn hear(&mut self, place: &str, code: u16, asked: &Asked) {
        let Ok(mut body) = serde_json::from_str::<Value>(&asked.body) else {
            return;
        };
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|field, _| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata"));
        }
        let said = self.said.entry(place.to_owned()).or_default();
        if code == 201 {
            *said = Said::default();
        }
        said.hear(&body);
    }

    fn fields(&self, place: &str, object: &Value) -> Value {
        self.said
            .get(place)
            .map_or_else(|| json!({}), |said| said.of(object))
    }

    fn metadata(&mut self, object: &Value) -> Value {
        let metadata = &object["metadata"];
        let mut read = json!({"name": metadata["name"]});
        for field in ["namespace", "generation", "labels", "annotations", "finalizers"] {
            if !metadata[field].is_null() {
                read[field] = metadata[field].clone();
            }
        }
        if let Some(uid) = metadata["uid"].as_str() {
            read["uid"] = self.names.of(Sort::Uid, uid).into();
        }
        if let Some(version) = metadata["resourceVersion"].as_str() {
            read["version"] = self.names.of(Sort::Version, version).into();
        }
        if let Some(owners) = metadata["ownerReferences"].as_array() {
            let mut owners = owners.clone();
            for owner in &mut owners {
                owner["uid"] = self
                    .names
                    .of(Sort::Uid, owner["uid"].as_str().unwrap_or_default())
                    .into();
            }
            read["ownerReferences"] = owners.into();
        }
        if !metadata["deletionTimestamp"].is_null() {
            read["goes"] = true.into();
            read["grace"] = metadata["deletionGracePeriodSeconds"].clone();
        }
        read
    }

    /// Who has written what of an object.
    fn owners(&self, place: &str, object: &Value) -> Value {
        let entries = object["metadata"]["managedFields"]
            .as_array()
            .into_iter()
            .flatten();
        let nothing = Said::default();
        let said = self.said.get(place).unwrap_or(&nothing);
        let mut owners = Vec::new();
        for entry in entries {
            let text = |field: &str| entry[field].as_str().unwrap_or_default();
            let mut owner = format!("{} {}", text("manager"), text("operation"));
            if !text("subresource").is_empty() {
                owner = format!("{owner} {}", text("subresource"));
            }
            if self.detail == Detail::Full {
                let mut fields = Vec::new();
                said.owned(&entry["fieldsV1"], "", &mut fields);
                fields.sort();
                owner = format!("{owner}: {}", fields.join(" "));
            }
            owners.push(owner);
        }
        owners.sort();
        json!(owners)
    }

    fn status(&mut self, code: u16, status: &Value) -> Value {
        let details = &status["details"];
        let mut read = json!({"code": code, "status": status["status"], "reason": status["reason"]});
        for field in ["kind", "group", "name"] {
            read["details"][field] = details[field].clone();
        }
        if let Some(uid) = details["uid"].as_str() {
            read["details"]["uid"] = self.names.of(Sort::Uid, uid).into();
        }
        let causes = details["causes"].as_array().into_iter().flatten();
        let mut causes: Vec<Value> = causes
            .map(|cause| json!([cause["reason"], cause["field"]]))
            .collect();
        causes.sort_by_key(Value::to_string);
        read["details"]["causes"] = causes.into();
        read
    }

    fn list(&mut self, code: u16, list: &Value) -> Value {
        let items = list["items"].as_array().into_iter().flatten();
        let items: Vec<Value> = items
            .map(|item| {
                let version = item["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                json!([name(item), self.names.of(Sort::Version, version), item["kind"]])
            })
            .collect();
        let more = list["metadata"]["continue"]
            .as_str()
            .is_some_and(|token| !token.is_empty());
        json!({"code": code, "kind": list["kind"], "items": items, "more": more})
    }
}

/// What finds an object.
fn place(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap_or_default(), name(object))
}

fn name(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    match text("namespace") {
        "" => text("name").to_owned(),
        namespace => format!("{namespace}/{}", text("name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str, more: Value) -> String {
        let mut object = json!({
            "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": version,
                "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [
                    {"manager": "m", "operation": "Update", "fieldsV1": {"f:data": {".": {}, "f:k": {}, "f:l": {}}}}]},
        });
        for (field, value) in more.as_object().unwrap() {
            object[field] = value.clone();
        }
        object.to_string()
    }

    #[test]
    fn an_answer_is_what_was_said_and_what_clients_go_by() {
        let mut reader = Reader::new(Detail::Full);
        let asked = Asked {
            method: "POST".to_owned(),
            body: json!({"metadata": {"name": "a"}, "data": {"k": "v"}}).to_string(),
            ..Asked::default()
        };
        let answer = object("7", json!({"data": {"k": "v", "l": "filled in"}}));
        let read = reader.answer(&asked, 201, &answer);
        let wanted = json!({
            "code": 201, "said": {"data": {"k": "v"}},
            "metadata": {"name": "a", "namespace": "n", "uid": "<uid:1>", "version": "<version:1>",
                "owners": ["m Update: data.k"]},
        });
        assert_eq!(difference(&read, &wanted), None);
        let later = reader.answer(&Asked::get("/x"), 200, &object("8", json!({"data": {"k": "w"}})));
        assert_eq!(later["metadata"]["version"], "<version:2>");
        assert_eq!(later["said"], json!({"data": {"k": "w"}}));
    }

    #[test]
    fn a_refusal_is_its_code_reason_details_and_causes() {
        let mut reader = Reader::new(Detail::Brief);
        let refusal = json!({
            "kind": "Status", "status": "Failure", "reason": "Conflict", "message": "anything", "code": 409,
            "details": {"name": "a", "kind": "configmaps", "causes": [
                {"reason": "FieldManagerConflict", "field": ".data.k", "message": "anything"}]},
        });
        let read = reader.answer(&Asked::get("/x"), 409, &refusal.to_string());
        let wanted = json!({
            "code": 409, "status": "Failure", "reason": "Conflict",
            "details": {"name": "a", "kind": "configmaps", "causes": [["FieldManagerConflict", ".data.k"]]},
        });
        assert_eq!(difference(&read, &wanted), None);
    }

    #[test]
    fn an_event_says_which_object_at_which_version() {
        let mut reader = Reader::new(Detail::Brief);
        let event = |sort: &str, object: &str| format!("{{\"type\":\"{sort}\",\"object\":{object}}}");
        let told = reader.event(&event("ADDED", &object("7", json!({}))));
        assert_eq!(told, Some(json!(["ADDED", "n/a", "<version:1>"])));
        assert_eq!(reader.event(&event("BOOKMARK", &object("9", json!({})))), None);
    }
}
