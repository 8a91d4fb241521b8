//! A client's way to the server: the service below `kube::Client`.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::StreamExt;
use http::{Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::{client::Body, core::Status};
use tower::{BoxError, Service};

use super::{
    ApiServer,
    answer::{self, Answer},
    faults::{Fate, Outcome},
    request::Request,
    trace::Traced,
};

/// What an answer consists of.
type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// A client's way to the server, under the name of a user.
#[derive(Clone)]
pub struct Connection {
    server: ApiServer,
    user: String,
}

impl Connection {
    pub(super) fn new(server: ApiServer, user: &str) -> Self {
        Self {
            server,
            user: user.to_owned(),
        }
    }

    async fn answer(self, request: http::Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let request = Request::read(&self.user, &parts.method, &parts.uri, &parts.headers, body);
        let fate = self.fate(&request);
        pass(fate.before).await;
        let answer = match &fate.outcome {
            Outcome::Dropped => {
                self.trace(&request, 0, false);
                return Err(broken());
            }
            Outcome::Unanswered => {
                self.trace(&request, 0, true);
                return std::future::pending().await;
            }
            Outcome::Refused(status) => Err(status.clone()),
            Outcome::Done | Outcome::AnswerLost | Outcome::Expired => {
                let mut state = self.server.state();
                answer::answer(&self.server.0, &mut state, &request, &fate)
            }
        };
        let is_lost = matches!(fate.outcome, Outcome::AnswerLost);
        self.trace(&request, code_of(&answer), is_lost);
        pass(fate.after).await;
        if is_lost {
            return Err(broken());
        }
        Ok(response(answer)?)
    }

    fn fate(&self, request: &Request) -> Fate {
        let mut state = self.server.state();
        let now = state.now();
        state.faults.fate(&request.call, now)
    }

    fn trace(&self, request: &Request, code: u16, lost: bool) {
        let mut state = self.server.state();
        let at = state.now();
        state.trace.note(Traced {
            at,
            user: request.call.user.clone(),
            verb: request.call.verb,
            path: request.call.path.clone(),
            code,
            lost,
        });
    }
}

impl Service<http::Request<Body>> for Connection {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

/// No time at all is no pause: others would run meanwhile.
async fn pass(time: std::time::Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn broken() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}

fn code_of(answer: &Result<Answer, Box<Status>>) -> u16 {
    match answer {
        Ok(Answer::Json(code, _)) => *code,
        Ok(Answer::NoSuchPath) => 404,
        Ok(Answer::Watch(_)) => 200,
        Err(status) => status.code,
    }
}

fn response(answer: Result<Answer, Box<Status>>) -> http::Result<Response<AnswerBody>> {
    let code = code_of(&answer);
    let response = Response::builder().status(code);
    let whole = |text: String| Full::new(Bytes::from(text)).map_err(never).boxed_unsync();
    let json = "application/json";
    match answer {
        Ok(Answer::Json(_, text)) => response.header(header::CONTENT_TYPE, json).body(whole(text)),
        Ok(Answer::NoSuchPath) => response
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(whole("404 page not found\n".to_owned())),
        Ok(Answer::Watch(watch)) => {
            let lines = watch.into_stream();
            let frames = lines.map(|line| line.map(Frame::data).map_err(BoxError::from));
            response
                .header(header::CONTENT_TYPE, json)
                .body(StreamBody::new(frames).boxed_unsync())
        }
        Err(status) => {
            let after = status.details.as_ref().map(|details| details.retry_after_seconds);
            let response = match after.filter(|after| *after > 0) {
                Some(after) => response.header(header::RETRY_AFTER, after),
                None => response,
            };
            response
                .header(header::CONTENT_TYPE, json)
                .body(whole(answer::status(&status)))
        }
    }
}

fn never(never: Infallible) -> BoxError {
    match never {}
}
