//! Stands between the API server and everybody who asks it, and writes down what was asked and answered: `make record` makes
//! files of `sim/tests/recorded` of it.
//!
//! One request at a time gets through, so that they are written down in the order in which they were done. Watches are
//! written down as they go on.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use axum::{
    Router,
    body::{self, Body},
    extract::{Request, State},
    http::header,
    response::Response,
};
use bytes::Bytes;
use futures::StreamExt;
use kube::{Client, Config};
use serde_json::{Value, json};

use super::tools;

/// What names the recording that is to be made.
const NAME: &str = "TRAY_RECORD";

/// One who writes down.
struct Recorder {
    server: Client,
    file: Mutex<File>,
    watches: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
}

/// Begins to record if that is asked for. Returns the port at which requests to the server of `config` are taken.
///
/// # Panics
/// When a recording of that name is there: two API servers of one process would write into one file.
pub(crate) fn begin(mut config: Config) -> Option<u16> {
    let name = tools::variable(NAME)?;
    let folder: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "recordings"].iter().collect();
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name).with_extension("jsonl");
    let file = File::create_new(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    // Whoever asks says himself who he is.
    config.auth_info = kube::config::AuthInfo::default();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    // On a runtime of its own: that of a test ends with the test.
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let recorder = Recorder {
                server: Client::try_from(config).unwrap(),
                file: Mutex::new(file),
                watches: AtomicUsize::default(),
                turn: tokio::sync::Mutex::default(),
            };
            let routes = Router::new().fallback(pass).with_state(Arc::new(recorder));
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, routes).await.unwrap();
        });
    };
    thread::spawn(work);
    Some(port)
}

impl Recorder {
    fn write(&self, line: &Value) {
        let mut file = self.file.lock().unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

async fn pass(State(recorder): State<Arc<Recorder>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body::to_bytes(body, usize::MAX).await.unwrap();
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let said = |name| {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let path = parts.uri.path_and_query().unwrap().as_str();
    let mut line = json!({
        "method": parts.method.as_str(), "path": path, "type": said(header::CONTENT_TYPE),
        "accept": said(header::ACCEPT), "body": text(&body),
    });
    let mut asked = http::Request::builder().method(&parts.method).uri(path);
    for (name, value) in &parts.headers {
        if !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::CONNECTION) {
            asked = asked.header(name, value);
        }
    }
    let asked = asked.body(kube::client::Body::from(body.to_vec())).unwrap();
    let turn = recorder.turn.lock().await;
    let answer = recorder.server.send(asked).await.unwrap();
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::TRANSFER_ENCODING);
    line["code"] = parts.status.as_u16().into();
    let body = Body::new(body);
    if path.contains("watch=true") {
        let number = recorder.watches.fetch_add(1, Ordering::Relaxed);
        line["watch"] = number.into();
        recorder.write(&line);
        drop(turn);
        return Response::from_parts(parts, followed(recorder, number, body));
    }
    let body = body::to_bytes(body, usize::MAX).await.unwrap();
    line["answer"] = text(&body).into();
    recorder.write(&line);
    drop(turn);
    Response::from_parts(parts, body.into())
}

/// A watch, of which every whole line is written down.
fn followed(recorder: Arc<Recorder>, number: usize, body: Body) -> Body {
    let mut read = Vec::new();
    let chunks = body.into_data_stream().map(move |chunk| {
        read.extend_from_slice(chunk.as_deref().unwrap_or_default());
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let event: Vec<u8> = read.drain(..=end).collect();
            let event = String::from_utf8_lossy(&event);
            recorder.write(&json!({"of": number, "event": event.trim()}));
        }
        chunk
    });
    Body::from_stream(chunks)
}
