"""`ExpectedBucketOwner`, and 403 instead of 404 for callers who may not list.

Sources: Amazon S3 user guide, "Verifying bucket ownership with bucket owner condition"; API reference of GetObject:
"If you have the s3:ListBucket permission on the bucket, Amazon S3 returns an HTTP status code 404 … If you don't,
403". That check knows no prefix, so a right to list that depends on `s3:prefix` does not count.
"""
from ministack.core import iam_evaluator
from ministack.core.responses import get_region
from ministack.services import s3

from . import audit

EXPECTED_OWNER = "x-amz-expected-bucket-owner"


def install() -> None:
    """Wraps the S3 handler and the two reads of an object."""
    handle, get_object, head_object = s3.handle_request, s3._get_object, s3._head_object

    async def owner_checked(method, path, headers, body, query_params, *args, **kwargs):
        bucket, _ = s3._parse_bucket_key(path, headers)
        owner = s3._bucket_owner_account(bucket)
        if headers.get(EXPECTED_OWNER) and owner is not None and headers[EXPECTED_OWNER] != owner:
            return s3._error("AccessDenied", "Access Denied", 403, f"/{bucket}")
        return await handle(method, path, headers, body, query_params, *args, **kwargs)

    def hiding_get(bucket_name, key, headers, query_params=None):
        return _hidden(get_object(bucket_name, key, headers, query_params), bucket_name, key)

    def hiding_head(bucket_name, key, headers=None, query_params=None):
        return _hidden(head_object(bucket_name, key, headers, query_params), bucket_name, key)

    s3.handle_request, s3._get_object, s3._head_object = owner_checked, hiding_get, hiding_head


def _hidden(answer: tuple, bucket_name: str, key: str) -> tuple:
    request = audit.CURRENT.get()
    if answer[0] != 404 or request is None:
        return answer
    may_not_list = iam_evaluator.enforce(request.access_key, "s3:ListBucket", "s3", get_region(),
                                         f"arn:aws:s3:::{bucket_name}", {})
    return s3._error("AccessDenied", "Access Denied", 403, f"/{bucket_name}/{key}") if may_not_list else answer
