"""Who asked for what: one JSON object a line for every request, and what the other modules know of the current one."""
import contextvars
import dataclasses
import datetime
import json
import pathlib

from ministack.core import iam_evaluator
from ministack.core.router import extract_access_key_id


@dataclasses.dataclass
class Request:
    """The request that is being served."""

    access_key: str
    # ARN of the caller, or `anonymous` (which is what a web identity call is).
    principal: str = "anonymous"
    # The first action that was checked and its resource; empty where ministack checks none (its own health page).
    action: str = ""
    resource: str = ""
    # Decoded body of a KMS request.
    kms: dict = dataclasses.field(default_factory=dict)


CURRENT: contextvars.ContextVar[Request | None] = contextvars.ContextVar("current_request", default=None)


def install() -> None:
    """Notes the caller, the action and the resource of each request where ministack decides on it."""
    enforce, resolve = iam_evaluator.enforce, iam_evaluator.resolve_principal

    def noting_enforce(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
        request = CURRENT.get()
        if request is not None and not request.action:
            request.action, request.resource = iam_action, resource_arn
        return enforce(access_key_id, iam_action, service, region, resource_arn, service_context)

    def noting_resolve(access_key_id, account_id, credential=None):
        principal, request = resolve(access_key_id, account_id, credential), CURRENT.get()
        if request is not None and access_key_id and isinstance(principal, iam_evaluator.PrincipalInfo):
            request.principal = principal.arn
        return principal

    iam_evaluator.enforce, iam_evaluator.resolve_principal = noting_enforce, noting_resolve


def logged(app, log_path: pathlib.Path):
    """The ASGI application `app`, with every HTTP request appended to `log_path`.

    ministack's own administration (`/_ministack/…`, which can wipe everything without credentials) is closed.
    """
    log = open(log_path, "a", encoding="utf-8", buffering=1)

    async def serve(scope, receive, send):
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(access_key=extract_access_key_id(headers, {}))
        CURRENT.set(request)
        status = 0

        async def noting_send(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        if scope["path"].startswith("/_ministack/"):
            await noting_send({"type": "http.response.start", "status": 404, "headers": []})
            await noting_send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, noting_send)
        service, _, action = request.action.partition(":")
        log.write(json.dumps({
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "principal": request.principal, "service": service, "action": action,
            "resource": request.resource, "status": status}) + "\n")

    return serve
