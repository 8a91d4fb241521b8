"""Starts the stand-in: `python -m standin --dir FOLDER` (see `--help`). Ready when `FOLDER/facts.json` is there.

State is in memory only and ends with the process (SIGTERM or SIGINT).
"""
import argparse
import asyncio
import importlib.metadata
import os
import pathlib
import signal
import socket
import sys
import threading

MINISTACK = "1.5.33"
ACCOUNT = "111122223333"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="standin", description="S3, KMS, IAM and STS over TLS, in memory.")
    parser.add_argument("--dir", type=pathlib.Path, required=True,
                        help="where facts.json, ca.crt and requests.jsonl go")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--host", action="append", default=[],
                        help="address or name clients use, for the certificate; the first one is the endpoint's "
                             "(repeatable; default: the bind address)")
    parser.add_argument("--issuer", default="https://kubernetes.default.svc",
                        help="issuer of the service account tokens (default: %(default)s)")
    parser.add_argument("--stop-on-eof", action="store_true",
                        help="end when standard input closes, so that it never outlives the test that started it")
    return parser.parse_args()


def configure(port: int) -> None:
    """ministack reads its environment when it is imported."""
    found = importlib.metadata.version("ministack")
    if found != MINISTACK:
        sys.exit(f"the patches were checked against ministack {MINISTACK}, not {found}")
    os.environ.update({
        "AUTH": "true", "SERVICES": "s3,kms,iam,sts,tagging", "GATEWAY_PORT": str(port), "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0", "LOG_LEVEL": "WARNING",
    })
    # The machine's own AWS settings must decide nothing here.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]


def patched_application(requests_log: pathlib.Path):
    from ministack.app import app

    from . import audit, authorization, buckets, envelopes, faults, sessions, sse_kms

    for module in (audit, authorization, envelopes, sse_kms, buckets, sessions):
        module.install()
    return faults.injected(audit.logged(app, requests_log), requests_log.with_name("faults"))


async def serve(application, listener: socket.socket, certificate: pathlib.Path, key: pathlib.Path,
                stop_on_eof: bool) -> None:
    """Serves until a signal or, if asked for, the end of standard input."""
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.certfile, config.keyfile = str(certificate), str(key)
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    if stop_on_eof:
        def wait_for_eof() -> None:
            sys.stdin.buffer.read()
            loop.call_soon_threadsafe(stop.set)
        threading.Thread(target=wait_for_eof, daemon=True).start()
    await hypercorn_serve(application, config, shutdown_trigger=stop.wait)


def main() -> None:
    options = arguments()
    options.dir.mkdir(parents=True, exist_ok=True)
    facts = options.dir / "facts.json"
    facts.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.bind, options.port))
    listener.listen(128)  # from here on clients wait instead of being refused
    port = listener.getsockname()[1]
    configure(port)

    from . import set_up, tls

    hosts = options.host or [options.bind]
    authority, certificate, key = tls.make(options.dir, list(dict.fromkeys([*hosts, "127.0.0.1", "localhost"])))
    requests_log = options.dir / "requests.jsonl"
    requests_log.unlink(missing_ok=True)
    application = patched_application(requests_log)
    account = set_up.Account(
        endpoint=f"https://{hosts[0]}:{port}", local_endpoint=f"https://localhost:{port}", authority=authority,
        account=ACCOUNT, issuer=options.issuer, requests_log=requests_log)

    def prepare() -> None:
        try:
            account.make(facts)
        except BaseException as error:  # noqa: BLE001 - a thread's failure must end the process
            print(f"cannot set up the account: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    threading.Thread(target=prepare, daemon=True).start()
    asyncio.run(serve(application, listener, certificate, key, options.stop_on_eof))


if __name__ == "__main__":
    main()
