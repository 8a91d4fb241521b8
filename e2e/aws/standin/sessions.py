"""Sessions of AssumeRole and AssumeRoleWithWebIdentity: their policies, lifetimes and the age of the token.

ministack ignores the session policy of a web identity call, any DurationSeconds out of bounds, and the token's
`exp`; and it compares an audience that is a list, as Kubernetes writes it, with no condition of a trust policy. It does not verify the token's signature either, and neither do we: who may get a token is the cluster's affair.
"""
import base64
import contextvars
import json
import time
from urllib.parse import parse_qs

from ministack.services import iam, sts

SHORTEST_SECONDS = 900
LONGEST_CHAINED_SECONDS = 3600

# The session policies of the web identity call that is being served.
PASSED: contextvars.ContextVar[dict | None] = contextvars.ContextVar("passed_policies", default=None)


def install() -> None:
    """Checks the request before ministack answers it, and gives the session it makes its policies."""
    handle, register, principal = sts.handle_request, sts.register_session, sts._web_identity_principal

    async def checked(method, path, headers, body, query_params):
        parameters = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        action = parameters.get("Action")
        if action in ("AssumeRole", "AssumeRoleWithWebIdentity"):
            chained = action == "AssumeRole" and sts.extract_access_key_id(headers, query_params) in sts._sessions
            if refused := lifetime_refusal(parameters, chained):
                return refused
        if action != "AssumeRoleWithWebIdentity":
            return await handle(method, path, headers, body, query_params)
        if token_expiry(parameters.get("WebIdentityToken", "")) <= time.time():
            return sts._error(400, "ExpiredTokenException", "Token expired", ns="sts")
        passed, refused = sts._session_policies({"Policy": [parameters["Policy"]]} if "Policy" in parameters else {})
        if refused:
            return refused
        PASSED.set(passed if passed["Policy"] else None)
        return await handle(method, path, headers, body, query_params)

    def register_with_policies(access_key, session):
        if passed := PASSED.get():
            session["SessionPolicies"] = passed
        register(access_key, session)

    def principal_of_one_audience(token, provider_id, role_arn):
        provider, keys = principal(token, provider_id, role_arn)
        return provider, {name: sole(value) for name, value in keys.items()}

    sts.handle_request, sts.register_session = checked, register_with_policies
    sts._web_identity_principal = principal_of_one_audience


def sole(value):
    """The item of a list of one; anything else as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def lifetime_refusal(parameters: dict, chained: bool) -> tuple | None:
    """STS's answer where DurationSeconds is out of bounds: 15 minutes to the role's maximum, 1 h for a chained role."""
    seconds = int(parameters.get("DurationSeconds") or LONGEST_CHAINED_SECONDS)
    arn = parameters.get("RoleArn", "")
    role = iam._roles.get_scoped(arn.split(":")[4], None, arn.rsplit("/", 1)[-1]) if arn.count(":") == 5 else None
    longest = LONGEST_CHAINED_SECONDS if chained else int((role or {}).get("MaxSessionDuration") or 3600)
    if SHORTEST_SECONDS <= seconds <= longest:
        return None
    return sts._error(400, "ValidationError",
                      f"DurationSeconds {seconds} is not within {SHORTEST_SECONDS} and {longest}", ns="sts")


def token_expiry(token: str) -> float:
    """When the token ends, in seconds since 1970; 0 where it says nothing."""
    try:
        payload = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (ValueError, IndexError, KeyError, TypeError):
        return 0.0
