//! What the operator asked of the API server, by its own count.

use tray_operator::telemetry::metrics::Metrics;

/// What begins a watch, and keeps it.
const OF_WATCHES: [&str; 2] = ["watch", "list"];

/// Requests of one sort that had one answer.
pub(crate) struct Asked {
    pub verb: String,
    /// Plural of the kind, with its subresource.
    pub resource: String,
    pub number: u64,
}

impl Asked {
    pub(crate) fn is_of_a_watch(&self) -> bool {
        OF_WATCHES.contains(&self.verb.as_str())
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.verb, self.resource, self.number)
    }
}

/// All requests so far.
pub(crate) fn asked(metrics: &Metrics) -> Vec<Asked> {
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let text = metrics.render().unwrap();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("tray_api_requests_total{"));
    lines
        .map(|line| Asked {
            verb: label(line, "verb"),
            resource: label(line, "resource"),
            number: line.rsplit(' ').next().unwrap().parse().unwrap(),
        })
        .collect()
}
