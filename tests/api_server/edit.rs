//! Changes of JSON in tables of cases.

use serde_json::Value;

/// `object` with the value at `pointer` (whose fields are made) replaced, or removed where `value` is null.
pub(crate) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let mut place = &mut object;
    for step in parent.split('/').skip(1) {
        let step = step.replace("~1", "/");
        place = match step.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[step],
        };
    }
    let last = last.replace("~1", "/");
    match (value, last.parse::<usize>()) {
        (Value::Null, _) => drop(place.as_object_mut().unwrap().remove(&last)),
        (value, Ok(index)) => place[index] = value,
        (value, Err(_)) => place[last] = value,
    }
    object
}
