"""Requests that go wrong on demand: one JSON file per rule in the folder `faults` beside `facts.json`.

    {"method": "GET", "path": "orgs/7c9e…/repo/data", "times": 2, "do": {"status": 503, "code": "SlowDown"}}

    {"scope": "eu-central-1/s3", "do": {"status": 503, "code": "ServiceUnavailable"}}

A rule takes the first `times` requests (all, where it does not say) of that method whose path contains `path` and that
are signed for the region and service of `scope`; what it does not name may be anything. A file that is removed ends it.
Beside the file of a rule that has taken a request lies one that ends in `.taken`.
What it does, beneath TLS and with all signatures and rights as they are:

- `{"status": 503, "code": "SlowDown"}`  answers with that error, and does nothing
- `{"lost": true}`                       does it and answers 500
- `{"hang": 5}`                          waits that many seconds first
- `{"late": 5}`                          does it and answers that many seconds later
- `{"cut": 1000}`                        closes the connection after that many bytes of the body
- `{"bytesPerSecond": 1000}`             sends the body that slowly
"""
import asyncio
import json
import math
import pathlib

# Pieces a second of a slow body.
PIECES = 10


def injected(app, folder: pathlib.Path):
    """The ASGI application `app` with the faults that the rules in `folder` demand."""
    used: dict[str, int] = {}

    def matching(scope) -> dict | None:
        for path in sorted(folder.glob("*.json")):
            try:
                rule = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # removed, or not yet whole
            if not concerns(rule, scope):
                continue
            if used.get(path.name, 0) < rule.get("times", math.inf):
                used[path.name] = used.get(path.name, 0) + 1
                path.with_suffix(".taken").touch()
                return rule["do"]
        return None

    async def serve(scope, receive, send):
        fault = matching(scope) if scope["type"] == "http" else None
        if fault is None:
            await app(scope, receive, send)
        elif "status" in fault:
            await drain(receive)
            await refuse(send, fault["status"], fault["code"])
        elif "lost" in fault:
            await app(scope, receive, _nowhere)
            await refuse(send, 500, "InternalError")
        elif "hang" in fault:
            await asyncio.sleep(fault["hang"])
            await app(scope, receive, send)
        elif "late" in fault:
            await app(scope, receive, delayed(send, fault["late"]))
        else:
            await app(scope, receive, damaged(send, fault))

    return serve


def concerns(rule: dict, scope) -> bool:
    """Whether the rule speaks of that request."""
    if rule.get("method", scope["method"]) != scope["method"] or rule.get("path", "") not in scope["path"]:
        return False
    signed = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    return "scope" not in rule or f"/{rule['scope']}/" in signed


def delayed(send, seconds: float):
    """A `send` that waits before the answer begins."""
    async def sending(message):
        if message["type"] == "http.response.start":
            await asyncio.sleep(seconds)
        await send(message)

    return sending


async def drain(receive) -> None:
    """Takes the request's body, so that the client comes to read the answer."""
    while (await receive()).get("more_body"):
        pass


async def refuse(send, status: int, code: str) -> None:
    """An error as S3 writes it."""
    body = f"<Error><Code>{code}</Code><Message>Injected</Message></Error>".encode()
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", b"application/xml"), (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


async def _nowhere(_message) -> None:
    pass


def damaged(send, fault: dict):
    """A `send` whose body ends early or comes slowly."""
    sent = 0

    async def sending(message):
        nonlocal sent
        if message["type"] != "http.response.body":
            await send(message)
            return
        body = message.get("body", b"")
        if "cut" in fault:
            body = body[:fault["cut"] - sent]
            sent += len(body)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if sent >= fault["cut"]:
                raise ConnectionAbortedError("injected")
            return
        step = max(1, fault["bytesPerSecond"] // PIECES)
        for start in range(0, len(body), step):
            await send({"type": "http.response.body", "body": body[start:start + step], "more_body": True})
            await asyncio.sleep(1 / PIECES)
        await send({"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)})

    return sending
