//! The responder as a process: answers the calls of webhook hosts that do not reach an org, each port with one status,
//! whatever is asked.

use std::{error::Error, net::SocketAddr};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use tokio::{net::TcpListener, sync::watch};
use tracing::info;

use crate::{
    config::RespondArgs,
    operator::told_to_stop,
    telemetry::{logs, server},
};

/// Answers until the process is told to stop.
pub fn run(args: RespondArgs) -> Result<(), Box<dyn Error>> {
    logs::start(&args.log)?;
    // It only ever writes a few bytes.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(respond(args))
}

async fn respond(args: RespondArgs) -> Result<(), Box<dyn Error>> {
    let stop = told_to_stop()?;
    let (end, ends) = watch::channel(false);
    let forbidden = "403 forbidden: the header x-csrf-token is missing or wrong\n";
    let suspended = "503 unavailable: suspended\n";
    let answering = [
        open(args.forbidden, StatusCode::FORBIDDEN, forbidden, ends.clone()).await?,
        open(args.suspended, StatusCode::SERVICE_UNAVAILABLE, suspended, ends).await?,
    ];
    stop.await;
    info!("told to stop");
    let _ = end.send(true);
    for ended in answering {
        ended.await??;
    }
    Ok(())
}

type Answering = tokio::task::JoinHandle<std::io::Result<()>>;

/// Answers every request at that address with `status`, until `ends` says so.
async fn open(
    address: SocketAddr,
    status: StatusCode,
    text: &'static str,
    ends: watch::Receiver<bool>,
) -> std::io::Result<Answering> {
    let listener = server::bind(address).await?;
    info!(%address, status = status.as_u16(), "answering");
    Ok(tokio::spawn(answer(listener, status, text, ends)))
}

async fn answer(
    listener: TcpListener,
    status: StatusCode,
    text: &'static str,
    mut ends: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let routes = Router::new().fallback(async move || {
        let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
        (status, headers, text).into_response()
    });
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move {
            // Nobody is left to say so: the process ends.
            let _ = ends.wait_for(|ends| *ends).await;
        })
        .await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn p21_every_request_is_answered_with_the_one_status_and_it_ends_when_told() {
        for (status, begins) in [
            (StatusCode::FORBIDDEN, "HTTP/1.1 403"),
            (StatusCode::SERVICE_UNAVAILABLE, "HTTP/1.1 503"),
        ] {
            let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (end, ends) = watch::channel(false);
            let answering = tokio::spawn(answer(listener, status, "why\n", ends));
            for request in [
                "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "POST /a/b?c HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
                "DELETE /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            ] {
                let said = ask(address, request).await;
                assert!(
                    said.starts_with(begins) && said.ends_with("why\n"),
                    "{request}{said}"
                );
            }
            end.send(true).unwrap();
            answering.await.unwrap().unwrap();
        }
    }
}
