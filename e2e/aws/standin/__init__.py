"""A local stand-in for S3, KMS, IAM and STS: ministack, with what it lacks for our policies to be tested for real.

`python -m standin --help` starts it. One module per addition; each patches ministack once, by its `install()`:

- `audit`          who asked for what, one JSON line per request
- `authorization`  condition keys and second permissions that AWS checks and ministack does not
- `envelopes`      real KMS ciphertexts: AES-256-GCM with the encryption context as associated data
- `sse_kms`        SSE-KMS needs a usable key and the caller's own right to it
- `buckets`        `ExpectedBucketOwner`, and 403 instead of 404 for callers who may not list
- `faults`         requests that go wrong on demand
- `sessions`       session policies and lifetimes of web identity sessions

`tls` makes the certificates, `set_up` the account: buckets, keys, roles and the test administrator.
"""
