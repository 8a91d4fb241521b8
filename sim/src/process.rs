//! One process of the operator: the real controllers over the world's API server and AWS, until it is killed.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use jiff::{SignedDuration, Timestamp};
use kube::client::{Body, ClientBuilder};
use tokio::{sync::watch, task::JoinHandle};
use tower::{BoxError, Service};
use tray_operator::{
    adapters::kube::client::Connections,
    config::Settings,
    controllers::context::{Context, Parts},
    operator,
};
use tray_ports::{Clock, HookError, HookRunner, HookTarget};
use tray_testkit::{clock::RuntimeClock, cluster::Connection};

use crate::{
    aws::{Caller, Places},
    gate::Gate,
    lock::lock,
    random::Random,
    world::World,
};

/// Tries of a request that the API server was too busy for, as the client's own policy has them.
const TRIES: u32 = 15;
/// Pause before the first of them; doubled at each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The world's clock as a process sees it.
#[derive(Clone, Copy)]
pub struct SkewedClock {
    /// The right one.
    pub clock: RuntimeClock,
    /// How far the process is ahead.
    pub skew: SignedDuration,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        self.clock
            .now()
            .saturating_add(self.skew)
            .unwrap_or(Timestamp::MAX)
    }
}

/// A process of the operator.
pub struct Process {
    /// Its name.
    pub name: String,
    /// What its calls go through.
    pub gate: Arc<Gate>,
    /// What its controllers share.
    pub ctx: Arc<Context>,
    controllers: JoinHandle<()>,
    _end: watch::Sender<bool>,
}

impl Process {
    /// Starts one, whose clock is that far ahead.
    pub fn start(world: &Arc<World>, name: &str, skew: SignedDuration) -> Self {
        world
            .log
            .step(format!("{name} leads, its clock is {skew:#} ahead"));
        let gate = Arc::new(Gate::default());
        let caller = Caller {
            name: name.into(),
            gate: gate.clone(),
            doom: Some(world.doom.clone()),
        };
        let client = |what: &str| {
            let gated = Gated {
                connection: world.server.connection(name),
                caller: caller.clone(),
                random: Arc::new(Mutex::new(world.random.stream(name).stream(what))),
            };
            ClientBuilder::new(gated, "default")
        };
        let metrics = Arc::default();
        let mut ctx = Context::new(Parts {
            connections: Connections::over(client("calls"), client("watches"), &metrics),
            identity: name.to_owned(),
            regions: Arc::new(Places::new(&world.places, &caller)),
            clock: Arc::new(SkewedClock {
                clock: world.clock,
                skew,
            }),
            settings: settings(),
            cluster_uid: world.cluster_uid(),
            metrics,
        });
        ctx.hooks = Arc::new(Hooks {
            world: world.clone(),
            gate: gate.clone(),
        });
        let ctx = Arc::new(ctx);
        let (end, ends) = watch::channel(false);
        let controllers = operator::control(operator::drivers(), ctx.clone(), Arc::default(), ends);
        Self {
            name: name.to_owned(),
            gate,
            ctx,
            controllers: tokio::spawn(controllers),
            _end: end,
        }
    }

    /// Ends it at once: what it has in hand stays as it is, and nothing of it is answered any more.
    pub fn kill(&self) {
        self.gate.kill();
        self.controllers.abort();
    }
}

fn settings() -> Settings {
    Settings {
        concurrency: 16,
        api_server_ports: vec![443],
        support_groups: vec!["support".to_owned()],
        mover_image: "tray.example/operator:sim".to_owned(),
        mover_image_pull_policy: None,
        ca_bundle: None,
        webhooks: false,
    }
}

/// The API server as a process reaches it: through its gate, and tried again as the client's own policy does.
#[derive(Clone)]
struct Gated {
    connection: Connection,
    caller: Caller,
    random: Arc<Mutex<Random>>,
}

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

impl Gated {
    async fn answer(mut self, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let mut pause = FIRST_PAUSE;
        for _ in 0..TRIES {
            let again = Request::from_parts(parts.clone(), Body::from(body.clone()));
            let answer = self.once(again).await?;
            let Some(busy) = busy(&answer) else {
                return Ok(answer);
            };
            let jitter = {
                let mut random = lock(&self.random);
                random.between(pause / 2, pause)
            };
            tokio::time::sleep(busy.max(jitter)).await;
            pause = pause.saturating_mul(2);
        }
        self.once(Request::from_parts(parts, Body::from(body))).await
    }

    async fn once(&mut self, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        let gate = self.caller.gate.clone();
        gate.pass().await;
        let writes = request.method() != Method::GET;
        let answer = self.caller.act(writes, self.connection.call(request)).await;
        let (parts, body) = answer?.into_parts();
        // A whole answer is there at once; a watch goes on.
        if body.size_hint().exact().is_some() {
            return Ok(Response::from_parts(parts, body.boxed_unsync()));
        }
        let frames = futures::stream::unfold((body, gate), |(mut body, gate)| async move {
            let frame = body.frame().await?;
            gate.pass().await;
            Some((frame, (body, gate)))
        });
        Ok(Response::from_parts(
            parts,
            StreamBody::new(frames).boxed_unsync(),
        ))
    }
}

/// How long a server that is too busy asks to wait; none = it is not.
fn busy<B>(answer: &Response<B>) -> Option<Duration> {
    let is_busy = matches!(
        answer.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    );
    let after = answer.headers().get(header::RETRY_AFTER);
    let seconds = after.and_then(|after| after.to_str().ok()?.parse().ok());
    is_busy.then(|| Duration::from_secs(seconds.unwrap_or(0)))
}

impl Service<Request<Body>> for Gated {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

/// Runs hooks in the world's pods.
struct Hooks {
    world: Arc<World>,
    gate: Arc<Gate>,
}

#[async_trait::async_trait]
impl HookRunner for Hooks {
    async fn run(&self, target: &HookTarget, command: &[String], timeout: Duration) -> Result<(), HookError> {
        self.gate.pass().await;
        let result = self.world.run_hook(target, command, timeout).await;
        self.gate.pass().await;
        result
    }
}
