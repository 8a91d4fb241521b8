//! What the server answers, and how it comes to it.

use std::sync::{Arc, Mutex};

use kube::core::Status;
use serde_json::{Value, json};

use super::{
    deletion::Deleted,
    discovery, failure,
    faults::Fate,
    fields::Manager,
    kinds::{ServedKind, Trait},
    merge,
    object::{Name, Stored},
    request::{Request, Verb},
    selector::Filter,
    state::{Part, State, Writer},
    watch::{self, Watch},
};

/// What the server answers.
pub(super) enum Answer {
    /// With that code and JSON.
    Json(u16, String),
    /// With a text: there is nothing of the server's own at that path.
    NoSuchPath,
    /// With all that happens from now on.
    Watch(Box<Watch>),
}

/// A status as JSON.
pub(super) fn status(status: &Status) -> String {
    let mut object = serde_json::to_value(status).unwrap_or_default();
    object["kind"] = json!("Status");
    object["apiVersion"] = json!("v1");
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object.to_string()
}

/// Does what is asked.
pub(super) fn answer(
    shared: &Arc<Mutex<State>>,
    state: &mut State,
    request: &Request,
    fate: &Fate,
) -> Result<Answer, Box<Status>> {
    let call = &request.call;
    if call.resource.is_empty() {
        return Ok(discovery::answer(&state.store, request)
            .map_or(Answer::NoSuchPath, |found| Answer::Json(200, found.to_string())));
    }
    if request.query("dryRun").is_some() {
        return Err(failure::unsupported("a dry run"));
    }
    let Some(kind) = state
        .store
        .kind(&call.resource)
        .filter(|kind| is_path_of(kind, request))
    else {
        return no_such_path(state, request);
    };
    let name = Name::new(&call.namespace, &call.name);
    match call.verb {
        Verb::Watch => watch::begin(shared, state, kind, request, fate)
            .map(Box::new)
            .map(Answer::Watch),
        Verb::List => list(state, &kind, request),
        Verb::Get => {
            let found = state.store.get(&call.resource, &name);
            let found = found.ok_or_else(|| failure::not_found(&kind, &call.name))?;
            Ok(Answer::Json(200, shown(true, request, &found)))
        }
        Verb::Create => {
            let body = json_of(request)?;
            let made = state.create(&kind, &call.namespace, body, &writer(request), None)?;
            Ok(Answer::Json(201, shown(state.shows_owners, request, &made)))
        }
        Verb::Update => update(state, &kind, &name, request),
        Verb::Patch => patch(state, &kind, &name, request),
        Verb::Delete => delete(state, &kind, &name, request),
        Verb::Other => Err(failure::not_allowed("the method is not one of an object")),
    }
}

/// Whether the path is one of that kind.
fn is_path_of(kind: &ServedKind, request: &Request) -> bool {
    let call = &request.call;
    let is_of_all = matches!(call.verb, Verb::List | Verb::Watch);
    let is_place = if kind.is(Trait::Namespaced) {
        is_of_all || !call.namespace.is_empty()
    } else {
        call.namespace.is_empty()
    };
    let is_part = match call.subresource.as_str() {
        "" => true,
        "status" => kind.is(Trait::Status),
        _ => false,
    };
    kind.version == request.version && is_place && is_part
}

/// What is not there at all is said in three ways, by who serves what is around it.
fn no_such_path(state: &State, request: &Request) -> Result<Answer, Box<Status>> {
    let call = &request.call;
    let custom = state.store.kind(&call.resource);
    if let Some(kind) = custom.filter(|kind| kind.is(Trait::Custom) && kind.version == request.version) {
        return Err(failure::not_found(&kind, &call.name));
    }
    let group = call.resource.split_once('.').map_or("", |(_, group)| group);
    let mut around = state.store.kinds();
    if around.any(|kind| kind.group == group && kind.version == request.version && !kind.is(Trait::Custom)) {
        return Err(failure::no_such_resource());
    }
    Ok(Answer::NoSuchPath)
}

/// Who writes, by the request.
fn writer(request: &Request) -> Writer {
    let of_status = request.call.subresource == "status";
    Writer {
        user: request.call.user.clone(),
        manager: Manager {
            name: request.query("fieldManager").unwrap_or("unknown").to_owned(),
            applies: request.content_type == "application/apply-patch+yaml",
            of_status,
        },
        part: if of_status { Part::Status } else { Part::Main },
    }
}

fn json_of(request: &Request) -> Result<Value, Box<Status>> {
    serde_json::from_slice(&request.body)
        .map_err(|error| failure::bad_request(format!("the body is no JSON: {error}")))
}

fn shown(with_owners: bool, request: &Request, stored: &Stored) -> String {
    if request.is_about_metadata() {
        watch::about_metadata(stored).to_string()
    } else {
        stored.text(with_owners).to_owned()
    }
}

fn update(
    state: &mut State,
    kind: &ServedKind,
    name: &Name,
    request: &Request,
) -> Result<Answer, Box<Status>> {
    let wanted = json_of(request)?;
    let Some(old) = state.store.get(&kind.resource(), name) else {
        // One that was read and is gone meanwhile is not what the caller takes it for.
        if let Some(uid) = super::object::text(&wanted, "uid") {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
            return Err(failure::conflict(kind, &name.name, &why));
        }
        return Err(failure::not_found(kind, &name.name));
    };
    if kind.is(Trait::Custom) && super::object::text(&wanted, "resourceVersion").is_none() {
        let why = "must be specified for an update";
        let field = "metadata.resourceVersion";
        return Err(failure::invalid(
            kind,
            &name.name,
            "FieldValueInvalid",
            field,
            why,
        ));
    }
    let changed = state.change(kind, &old, wanted, &writer(request), None)?;
    Ok(Answer::Json(200, shown(state.shows_owners, request, &changed)))
}

fn patch(
    state: &mut State,
    kind: &ServedKind,
    name: &Name,
    request: &Request,
) -> Result<Answer, Box<Status>> {
    let patch = json_of(request)?;
    let writer = writer(request);
    match request.content_type.as_str() {
        "application/apply-patch+yaml" => {
            if request.query("fieldManager").is_none_or(str::is_empty) {
                return Err(failure::bad_request("fieldManager is required for apply patch"));
            }
            let force = request.query("force") == Some("true");
            let (applied, made) = state.apply(kind, name, patch, force, &writer)?;
            Ok(Answer::Json(
                if made { 201 } else { 200 },
                shown(state.shows_owners, request, &applied),
            ))
        }
        "application/merge-patch+json" => merged(state, kind, name, &patch, request, &writer),
        "application/strategic-merge-patch+json" => {
            // Lists are merged by keys that are known of the kinds of Kubernetes alone, and not here.
            if kind.is(Trait::Custom) || !merge::is_plain(&patch) {
                return Err(failure::unsupported(
                    "a strategic merge patch of lists or of a custom kind",
                ));
            }
            merged(state, kind, name, &patch, request, &writer)
        }
        other => Err(failure::unsupported(other)),
    }
}

fn merged(
    state: &mut State,
    kind: &ServedKind,
    name: &Name,
    patch: &Value,
    request: &Request,
    writer: &Writer,
) -> Result<Answer, Box<Status>> {
    let old = state.store.get(&kind.resource(), name);
    let old = old.ok_or_else(|| failure::not_found(kind, &name.name))?;
    let mut wanted = old.object.clone();
    merge::merge(&mut wanted, patch);
    let changed = state.change(kind, &old, wanted, writer, None)?;
    Ok(Answer::Json(200, shown(state.shows_owners, request, &changed)))
}

fn delete(
    state: &mut State,
    kind: &ServedKind,
    name: &Name,
    request: &Request,
) -> Result<Answer, Box<Status>> {
    if !request.call.subresource.is_empty() {
        return Err(failure::not_allowed("a part of an object is not deleted"));
    }
    let options = if request.body.is_empty() {
        json!({})
    } else {
        json_of(request)?
    };
    match state.delete(kind, name, &options, &writer(request))? {
        Deleted::Going(going) => Ok(Answer::Json(200, shown(state.shows_owners, request, &going))),
        Deleted::Gone(gone) if kind.is(Trait::Returned) => {
            Ok(Answer::Json(200, shown(state.shows_owners, request, &gone)))
        }
        Deleted::Gone(gone) => {
            let done = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {
                    "name": name.name, "group": kind.group, "kind": kind.plural,
                    "uid": gone.object["metadata"]["uid"],
                },
            });
            Ok(Answer::Json(200, done.to_string()))
        }
    }
}

/// All that is selected, or a page of it. Pages show what there was when the first was asked for.
fn list(state: &State, kind: &ServedKind, request: &Request) -> Result<Answer, Box<Status>> {
    let call = &request.call;
    let filter = Filter::of(
        Some(call.namespace.as_str()).filter(|namespace| !namespace.is_empty()),
        request.query("labelSelector"),
        request.query("fieldSelector"),
    )?;
    let (version, after) = match request.query("continue").filter(|token| !token.is_empty()) {
        Some(token) => page(token)?,
        None => (state.store.version(), Name::default()),
    };
    let found = state.store.all_at(&call.resource, version);
    let found = found.ok_or_else(|| failure::expired(version, state.store.version()))?;
    let selected = |stored: &&Arc<Stored>| filter.selects(&stored.object) && Name::of(&stored.object) > after;
    let mut items = found.iter().filter(selected);
    let limit = request.query("limit").and_then(|limit| limit.parse().ok());
    let limit = limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let shown: Vec<&Arc<Stored>> = items.by_ref().take(limit).collect();
    let mut metadata = json!({"resourceVersion": version.to_string()});
    let left = items.count();
    if let (Some(last), true) = (shown.last(), left > 0) {
        let last = Name::of(&last.object);
        metadata["continue"] = json!(format!("{version}/{}/{}", last.namespace, last.name));
        metadata["remainingItemCount"] = json!(left);
    }
    let item = |stored: &&Arc<Stored>| item(state.shows_owners, kind, request, stored);
    let items: Vec<Value> = shown.iter().map(item).collect();
    let (list, api_version) = if request.is_about_metadata() {
        (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
        )
    } else {
        (format!("{}List", kind.kind), kind.api_version())
    };
    let list = json!({"kind": list, "apiVersion": api_version, "metadata": metadata, "items": items});
    Ok(Answer::Json(200, list.to_string()))
}

fn page(token: &str) -> Result<(u64, Name), Box<Status>> {
    let mut parts = token.splitn(3, '/');
    let version = parts.next().and_then(|version| version.parse().ok());
    match (version, parts.next(), parts.next()) {
        (Some(version), Some(namespace), Some(name)) => Ok((version, Name::new(namespace, name))),
        _ => Err(failure::bad_request("continue key is not valid")),
    }
}

/// Items of a list say what they are where a CRD defines them, and do not where Kubernetes does.
fn item(with_owners: bool, kind: &ServedKind, request: &Request, stored: &Stored) -> Value {
    if request.is_about_metadata() {
        return watch::about_metadata(stored);
    }
    let mut item = if with_owners {
        stored.whole()
    } else {
        stored.object.clone()
    };
    if !kind.is(Trait::Custom)
        && let Some(fields) = item.as_object_mut()
    {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    item
}
