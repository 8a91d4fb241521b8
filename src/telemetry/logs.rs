//! Logs: one JSON object per line. Fields of the spans around an event (`controller`, `key`, `org`, `region`) are on it.

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, prelude::*};

/// Starts logging, by `directives`: a level, or `tray_operator=debug,kube=warn`. A second start changes nothing.
pub fn start(directives: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(directives)?;
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stderr);
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(())
}
