"""SSE-KMS as S3 does it: with the caller's own rights to the key, which has to be usable, on every write and read.

Source: Amazon S3 user guide, "Using server-side encryption with AWS KMS keys": PutObject needs
kms:GenerateDataKey, GetObject kms:Decrypt, and HeadObject with checksums kms:Decrypt. Both come to KMS with
`kms:ViaService` = `s3.<region>.amazonaws.com` and, our buckets having S3 Bucket Keys, with the bucket's ARN as
encryption context.
"""
from ministack.core import iam_evaluator
from ministack.core.responses import get_region
from ministack.services import kms, s3

from . import audit

ALGORITHM = "x-amz-server-side-encryption"
KEY_ID = "x-amz-server-side-encryption-aws-kms-key-id"


def install() -> None:
    """Puts the key's state and the caller's rights in front of writes, reads and heads."""
    resolve_write, get_object, head_object = s3._resolve_sse_write_headers, s3._get_object, s3._head_object

    def checked_write(headers, bucket_name):
        stored, error = resolve_write(headers, bucket_name)
        if error is None and stored and stored.get(KEY_ID):
            error = refusal("kms:GenerateDataKey", stored[KEY_ID], bucket_name)
        return (None, error) if error else (stored, None)

    def checked_get(bucket_name, key, headers, query_params=None):
        return _checked_answer(get_object(bucket_name, key, headers, query_params), bucket_name)

    def checked_head(bucket_name, key, headers=None, query_params=None):
        answer = head_object(bucket_name, key, headers, query_params)
        wants_checksum = (headers or {}).get("x-amz-checksum-mode", "").upper() == "ENABLED"
        return _checked_answer(answer, bucket_name) if wants_checksum else answer

    s3._resolve_sse_write_headers, s3._get_object, s3._head_object = checked_write, checked_get, checked_head


def refusal(action: str, key_id: str, bucket_name: str) -> tuple | None:
    """S3's answer where the key cannot be used or the caller may not use it."""
    record = kms._resolve_key(key_id)
    if record is None:
        return s3._error("KMS.NotFoundException", f"Key '{key_id}' does not exist", 400)
    request = audit.CURRENT.get()
    context = {"kms:ViaService": f"s3.{get_region()}.amazonaws.com",
               "kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket_name}"}
    if request is not None and iam_evaluator.enforce(
            request.access_key, action, "kms", get_region(), record["Arn"], context):
        return s3._error("AccessDenied", f"User: {request.principal} is not authorized to perform: {action} "
                                         f"on resource: {record['Arn']}", 403)
    if record["KeyState"] == "Disabled":
        return s3._error("KMS.DisabledException", f"{record['Arn']} is disabled.", 400)
    if record["KeyState"] != "Enabled":
        return s3._error("KMS.KMSInvalidStateException", f"{record['Arn']} is {record['KeyState']}.", 400)
    return None


def _checked_answer(answer: tuple, bucket_name: str) -> tuple:
    status, headers = answer[0], answer[1]
    if status in (200, 206) and headers.get(KEY_ID):
        return refusal("kms:Decrypt", headers[KEY_ID], bucket_name) or answer
    return answer
