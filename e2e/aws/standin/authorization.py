"""Condition keys and second permissions that AWS checks and ministack does not.

Condition keys (service authorization reference of S3 and of KMS):
- `s3:if-none-match`, `s3:if-match` and `s3:x-amz-server-side-encryption-aws-kms-key-id` of PutObject
- `kms:EncryptionContext:<name>` and `kms:EncryptionContextKeys`

Second permissions: CreateKey with tags needs kms:TagResource too; CreateAlias needs kms:CreateAlias on the alias
*and* on the key. A key that is named by its alias is checked by its own ARN.
"""
import json

from ministack.core import iam_actions, iam_evaluator
from ministack.services import kms

from . import audit

PUT_HEADERS = ("if-none-match", "if-match", "x-amz-server-side-encryption-aws-kms-key-id")


def install() -> None:
    """Extends the request context, the resources and the checks."""
    s3_context, tag_context = iam_actions.s3_service_context, iam_actions.request_tag_context
    resource, enforce = iam_actions.extract_resource_arn, iam_evaluator.enforce

    def extended_s3_context(iam_action, query_params, path="", headers=None):
        return {**s3_context(iam_action, query_params, path, headers), **put_context(iam_action, headers or {})}

    def extended_tag_context(service, iam_action, body, params):
        context = tag_context(service, iam_action, body, params)
        if service != "kms":
            return context
        parameters = _json_object(body)
        if request := audit.CURRENT.get():
            request.kms = parameters
        return {**context, **encryption_context(parameters.get("EncryptionContext"))}

    def resolved_resource(service, method, path, headers, body, params, region, account_id):
        arn = resource(service, method, path, headers, body, params, region, account_id)
        if service != "kms":
            return arn
        alias = _json_object(body).get("AliasName")
        if alias:
            return f"arn:aws:kms:{region}:{account_id}:{alias}"
        return _key_arn(arn) if ":alias/" in arn else arn

    def enforce_all(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
        denied = enforce(access_key_id, iam_action, service, region, resource_arn, service_context)
        request = audit.CURRENT.get()
        if denied or service != "kms" or request is None:
            return denied
        for action, arn in second_permissions(iam_action, request.kms):
            denied = denied or enforce(access_key_id, action, service, region, arn, service_context)
        return denied

    iam_actions.s3_service_context, iam_actions.request_tag_context = extended_s3_context, extended_tag_context
    iam_actions.extract_resource_arn, iam_evaluator.enforce = resolved_resource, enforce_all


def put_context(iam_action: str, headers: dict) -> dict:
    """The condition keys of a PutObject that stand in its headers; a header that was not sent has no key."""
    if iam_action != "s3:PutObject":
        return {}
    return {f"s3:{name}": headers[name] for name in PUT_HEADERS if headers.get(name)}


def encryption_context(pairs: dict | None) -> dict:
    """The condition keys of a KMS encryption context."""
    if not pairs:
        return {}
    return {**{f"kms:EncryptionContext:{name}": value for name, value in pairs.items()},
            "kms:EncryptionContextKeys": list(pairs)}


def second_permissions(iam_action: str, parameters: dict) -> list[tuple[str, str]]:
    """What AWS checks besides `iam_action`: pairs of action and resource."""
    if iam_action == "kms:CreateKey" and parameters.get("Tags"):
        return [("kms:TagResource", "*")]
    if iam_action == "kms:CreateAlias":
        return [("kms:CreateAlias", _key_arn(parameters.get("TargetKeyId", "")))]
    return []


def _key_arn(key: str) -> str:
    """The ARN of the key that an id, an ARN or an alias names; the name itself where there is no such key."""
    record = kms._resolve_key(key)
    return record["Arn"] if record else key


def _json_object(body: bytes) -> dict:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
