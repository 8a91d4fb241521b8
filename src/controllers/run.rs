//! Works a controller's queue off.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{Instrument, debug, error, info_span, warn};
use tray_api::conditions::reasons;

use super::{Blocked, Driver, Requeue, blocked::Until, context::Context, queue::Queue};
use crate::telemetry::metrics::{Controller, ControllerError};

/// Subscribes a driver to changes; from now on nothing that happens is lost to it.
pub fn subscribe(driver: &Arc<dyn Driver>, ctx: &Context) -> Arc<Queue> {
    let queue = Arc::new(Queue::default());
    let subscriber = driver.clone();
    ctx.changes.subscribe(queue.clone(), move |change, index| {
        (
            subscriber.map_to_keys(change, index),
            subscriber.debounce(change, index),
        )
    });
    queue
}

/// Looks at every key once, then at those that come into the queue, until `ends` says so: then it ends when what is in
/// hand is done. At most `settings.concurrency` at once.
pub async fn run(
    driver: Arc<dyn Driver>,
    ctx: Arc<Context>,
    queue: Arc<Queue>,
    mut ends: watch::Receiver<bool>,
) {
    for key in driver.keys(&ctx.index) {
        queue.now(key);
    }
    let slots = Arc::new(Semaphore::new(ctx.settings.concurrency));
    let mut working = JoinSet::new();
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, queue.next().await)
        };
        let (slot, key) = tokio::select! {
            // In order, so that the same course of things is always taken the same way.
            biased;
            _ = ends.wait_for(|ends| *ends) => break,
            next = next => next,
        };
        while working.try_join_next().is_some() {}
        let (driver, ctx, queue) = (driver.clone(), ctx.clone(), queue.clone());
        working.spawn(async move {
            let (org, region) = (driver.org(&ctx.index, &key), driver.region(&ctx.index, &key));
            let span = info_span!("reconcile", controller = driver.name(), key, org, region);
            one(&*driver, &ctx, &queue, &key).instrument(span).await;
            drop(slot);
        });
    }
    while working.join_next().await.is_some() {}
}

/// One pass over one key.
async fn one(driver: &dyn Driver, ctx: &Arc<Context>, queue: &Queue, key: &str) {
    let controller = driver.name();
    let began = Instant::now();
    // A bug that shows with one object must not stop the others.
    let result = AssertUnwindSafe(driver.reconcile(ctx, key))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            Err(Blocked::service(
                reasons::RETRYING,
                "the reconcile panicked; the log has the place",
            ))
        });

    let labels = Controller { controller };
    ctx.metrics.reconciles.get_or_create(&labels).inc();
    let seconds = began.elapsed().as_secs_f64();
    ctx.metrics.duration.get_or_create(&labels).observe(seconds);
    match result {
        Ok(Requeue::OnChange) => {
            debug!(seconds, "done");
            queue.done(key, None);
        }
        Ok(Requeue::After(delay)) => {
            debug!(seconds, next = delay.as_secs(), "done");
            queue.done(key, Some(delay));
        }
        Err(blocked) => {
            let class = blocked.class();
            ctx.metrics
                .errors
                .get_or_create(&ControllerError { controller, class })
                .inc();
            let Blocked { reason, message, .. } = &blocked;
            match blocked.until {
                Until::Person => {
                    warn!(reason, message, "stalled: a person must act");
                    queue.done(key, blocked.again);
                }
                Until::Time => {
                    debug!(reason, message, "waits");
                    queue.done(key, blocked.again);
                }
                Until::Service => {
                    let pause = queue.failed(key);
                    let cause = blocked.cause();
                    error!(message, pause = pause.as_secs(), "failed; tried again");
                    debug!(cause, "what is underneath");
                }
            }
        }
    }
    ctx.metrics
        .queue
        .get_or_create(&labels)
        .set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
}
