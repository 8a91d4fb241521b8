//! Which objects a list or a watch is about.

use kube::core::{Expression, Status};
use serde_json::Value;

use super::failure::bad_request;

/// Which objects a list or a watch is about: all where nothing is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    namespace: Option<String>,
    name: Option<String>,
    labels: Vec<Expression>,
}

impl Filter {
    /// Of a namespace (none = of all), by the two selectors of a request.
    pub(super) fn of(
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Self, Box<Status>> {
        let mut filter = Self {
            namespace: namespace.map(str::to_owned),
            name: None,
            labels: expressions(labels.unwrap_or_default())?,
        };
        for term in fields
            .unwrap_or_default()
            .split(',')
            .filter(|term| !term.is_empty())
        {
            match term.split_once('=') {
                Some(("metadata.name", name)) => filter.name = Some(name.trim_start_matches('=').to_owned()),
                Some(("metadata.namespace", namespace)) => {
                    filter.namespace = Some(namespace.trim_start_matches('=').to_owned());
                }
                _ => return Err(bad_request(format!("field label not supported: {term}"))),
            }
        }
        Ok(filter)
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let is = |wanted: &Option<String>, field: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| metadata[field].as_str() == Some(wanted))
        };
        is(&self.namespace, "namespace")
            && is(&self.name, "name")
            && self
                .labels
                .iter()
                .all(|expression| holds(expression, &metadata["labels"]))
    }
}

/// Whether labels are as an expression says.
fn holds(expression: &Expression, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).map(|value| value.as_str().unwrap_or_default());
    match expression {
        Expression::In(key, values) => label(key).is_some_and(|value| values.contains(value)),
        Expression::NotIn(key, values) => label(key).is_none_or(|value| !values.contains(value)),
        Expression::Equal(key, wanted) => label(key) == Some(wanted),
        Expression::NotEqual(key, unwanted) => label(key) != Some(unwanted),
        Expression::Exists(key) => label(key).is_some(),
        Expression::DoesNotExist(key) => label(key).is_none(),
    }
}

fn expressions(text: &str) -> Result<Vec<Expression>, Box<Status>> {
    terms(text).into_iter().map(expression).collect()
}

/// Parts between commas that are in no brackets.
fn terms(text: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if c == ',' && depth == 0 {
            found.push(&text[start..at]);
            start = at + 1;
        }
    }
    found.push(&text[start..]);
    found.retain(|term| !term.trim().is_empty());
    found
}

fn expression(term: &str) -> Result<Expression, Box<Status>> {
    let term = term.trim();
    let trimmed = |text: &str| text.trim().to_owned();
    if let Some((key, value)) = term.split_once("!=") {
        return Ok(Expression::NotEqual(trimmed(key), trimmed(value)));
    }
    if let Some((key, value)) = term.split_once('=') {
        return Ok(Expression::Equal(
            trimmed(key),
            trimmed(value.trim_start_matches('=')),
        ));
    }
    if let Some(key) = term.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(trimmed(key)));
    }
    if let Some((before, values)) = term.split_once('(') {
        let values = values.trim_end_matches(')').split(',').map(trimmed).collect();
        return match before.trim().split_once(char::is_whitespace) {
            Some((key, word)) if word.trim() == "in" => Ok(Expression::In(trimmed(key), values)),
            Some((key, word)) if word.trim() == "notin" => Ok(Expression::NotIn(trimmed(key), values)),
            _ => Err(bad_request(format!("unable to parse requirement: {term}"))),
        };
    }
    if term.contains(char::is_whitespace) {
        return Err(bad_request(format!("unable to parse requirement: {term}")));
    }
    Ok(Expression::Exists(term.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_select_by_every_form_of_requirement() {
        let object =
            json!({"metadata": {"name": "a", "namespace": "n", "labels": {"app": "web", "tier": "1"}}});
        for (labels, selected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=1", true),
            ("app=db", false),
            ("app!=db", true),
            ("app in (db, web)", true),
            ("app notin (db,web)", false),
            ("tier", true),
            ("!tier", false),
            ("other", false),
        ] {
            let filter = Filter::of(None, Some(labels), None).unwrap();
            assert_eq!(filter.selects(&object), selected, "{labels}");
        }
        assert_eq!(Filter::of(None, Some("app is web"), None).unwrap_err().code, 400);
    }

    #[test]
    fn fields_select_by_name_and_namespace_alone() {
        let object = json!({"metadata": {"name": "a", "namespace": "n"}});
        for (fields, selected) in [("metadata.name=a", true), ("metadata.name=b", false)] {
            let filter = Filter::of(Some("n"), None, Some(fields)).unwrap();
            assert_eq!(filter.selects(&object), selected, "{fields}");
        }
        assert!(!Filter::of(Some("m"), None, None).unwrap().selects(&object));
        let refused = Filter::of(None, None, Some("spec.nodeName=x")).unwrap_err();
        assert_eq!(refused.code, 400);
    }
}
