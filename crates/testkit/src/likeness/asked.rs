//! A request, as it is written down and sent to one server and another.

use http::{Request, header};
use kube::{Client, client::Body};

/// Has the answer show the metadata alone.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Form of the body; empty = none is said.
    pub content_type: String,
    /// The answer is to show metadata alone.
    pub of_metadata: bool,
    /// The body; empty = none.
    pub body: String,
}

impl Asked {
    /// A request that reads.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.into(),
            ..Self::default()
        }
    }

    /// Whether it is about what goes on.
    pub fn is_watch(&self) -> bool {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let mut terms = query.split('&');
        self.method == "GET" && terms.any(|term| term == "watch=true" || term == "watch=1")
    }

    /// The path without its query.
    pub fn place(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Sends it: code and text of the answer.
    pub async fn send(&self, client: &Client) -> kube::Result<(u16, String)> {
        let answer = client.send(self.request()?).await?;
        let code = answer.status().as_u16();
        let mut lines = Lines::of(answer.into_body());
        let text = lines.rest().await?;
        Ok((code, text))
    }

    /// Sends it, and gives the lines of its answer as they come.
    pub async fn begin(&self, client: &Client) -> kube::Result<(u16, Lines)> {
        let answer = client.send(self.request()?).await?;
        Ok((answer.status().as_u16(), Lines::of(answer.into_body())))
    }

    fn request(&self) -> kube::Result<Request<Body>> {
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(self.path.as_str());
        if !self.content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, self.content_type.as_str());
        }
        if self.of_metadata {
            request = request.header(header::ACCEPT, METADATA);
        }
        let body = Body::from(self.body.clone().into_bytes());
        request.body(body).map_err(kube::Error::HttpError)
    }
}

/// An answer that comes in lines.
pub struct Lines {
    body: Body,
    read: Vec<u8>,
}

impl Lines {
    fn of(body: Body) -> Self {
        Self {
            body,
            read: Vec::new(),
        }
    }

    /// The next line; none = it was the last.
    pub async fn next(&mut self) -> kube::Result<Option<String>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return text(line).map(Some);
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// All that is left.
    async fn rest(&mut self) -> kube::Result<String> {
        while self.more().await? {}
        text(std::mem::take(&mut self.read))
    }

    async fn more(&mut self) -> kube::Result<bool> {
        use http_body_util::BodyExt;
        let Some(frame) = self.body.frame().await else {
            return Ok(false);
        };
        if let Ok(data) = frame?.into_data() {
            self.read.extend_from_slice(&data);
        }
        Ok(true)
    }
}

fn text(bytes: Vec<u8>) -> kube::Result<String> {
    String::from_utf8(bytes).map_err(kube::Error::FromUtf8)
}
