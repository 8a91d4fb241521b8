"""What the stand-in adds, function by function. Run: `<venv>/bin/python -m unittest discover tests` in e2e/aws."""
import base64
import json
import os
import pathlib
import sys
import unittest

os.environ["AUTH"] = "true"
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from cryptography.exceptions import InvalidTag
from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document

from standin import authorization, envelopes, faults, sessions, set_up

KEY = "arn:aws:kms:eu-central-1:111122223333:key/7c9e6679-7425-40de-944b-e07fc1f90ae7"


def decision(statement, action, resource, context):
    """What IAM decides on a request where `statement` is the only policy."""
    request = EvalContext(principal_arn="arn:aws:iam::111122223333:user/x", principal_type="User",
                          principal_account="111122223333", action=action, resource_arn=resource, region="eu-central-1",
                          service_context={name.lower(): value for name, value in context.items()})
    return evaluate(request, [parse_policy_document({"Statement": {"Effect": "Allow", "Action": action,
                                                                    "Resource": "*", **statement}})]).decision


class ConditionsOfPuts(unittest.TestCase):
    IF_ABSENT = {"Condition": {"Null": {"s3:if-none-match": "false"}}}
    ONLY_KEY = {"Condition": {"StringEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": KEY}}}

    def decide(self, statement, headers):
        return decision(statement, "s3:PutObject", "arn:aws:s3:::b/k", authorization.put_context("s3:PutObject", headers))

    def test_only_a_conditional_write_passes_where_absence_is_demanded(self):
        self.assertEqual(self.decide(self.IF_ABSENT, {"if-none-match": "*"}), "Allow")
        self.assertEqual(self.decide(self.IF_ABSENT, {}), "ImplicitDeny")
        self.assertEqual(self.decide(self.IF_ABSENT, {"if-match": '"etag"'}), "ImplicitDeny")

    def test_only_the_named_key_passes(self):
        header = "x-amz-server-side-encryption-aws-kms-key-id"
        self.assertEqual(self.decide(self.ONLY_KEY, {header: KEY}), "Allow")
        self.assertEqual(self.decide(self.ONLY_KEY, {header: KEY[:-1] + "8"}), "ImplicitDeny")
        self.assertEqual(self.decide(self.ONLY_KEY, {}), "ImplicitDeny")

    def test_reads_have_no_condition_of_writes(self):
        self.assertEqual(authorization.put_context("s3:GetObject", {"if-none-match": "*"}), {})


class ConditionsOfKms(unittest.TestCase):
    STATEMENT = {"Condition": {"StringEquals": {"kms:EncryptionContext:orgId": "a",
                                                "kms:EncryptionContext:purpose": "master-key"}}}

    def decide(self, context):
        return decision(self.STATEMENT, "kms:Decrypt", KEY, authorization.encryption_context(context))

    def test_every_pair_must_be_there_and_equal(self):
        self.assertEqual(self.decide({"orgId": "a", "purpose": "master-key"}), "Allow")
        self.assertEqual(self.decide({"orgId": "b", "purpose": "master-key"}), "ImplicitDeny")
        self.assertEqual(self.decide({"orgId": "a"}), "ImplicitDeny")
        self.assertEqual(self.decide(None), "ImplicitDeny")

    def test_direct_calls_have_no_via_service(self):
        via_s3 = {"Condition": {"StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}}}
        self.assertEqual(decision(via_s3, "kms:Decrypt", KEY, {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}), "Allow")
        self.assertEqual(decision(via_s3, "kms:Decrypt", KEY, authorization.encryption_context({"orgId": "a"})),
                         "ImplicitDeny")

    def test_tagging_at_creation_is_a_permission_of_its_own(self):
        self.assertEqual(authorization.second_permissions("kms:CreateKey", {"Tags": [{"TagKey": "a"}]}),
                         [("kms:TagResource", "*")])
        self.assertEqual(authorization.second_permissions("kms:CreateKey", {}), [])


class Envelopes(unittest.TestCase):
    RECORD = {"KeyId": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "_symmetric_key": b"k" * 32}

    def test_opens_only_with_key_and_context(self):
        blob = envelopes.seal(self.RECORD, b"secret", {"orgId": "a"})
        self.assertEqual(envelopes.unseal(self.RECORD, blob, {"orgId": "a"}), b"secret")
        for record, altered, context in [
            (self.RECORD, blob, {"orgId": "b"}),
            (self.RECORD, blob, None),
            ({**self.RECORD, "_symmetric_key": b"l" * 32}, blob, {"orgId": "a"}),
            (self.RECORD, blob[:-1] + bytes([blob[-1] ^ 1]), {"orgId": "a"}),
            (self.RECORD, blob[:40], {"orgId": "a"}),
        ]:
            with self.assertRaises(InvalidTag):
                envelopes.unseal(record, altered, context)


class Tokens(unittest.TestCase):
    def test_a_token_without_a_readable_end_has_ended(self):
        payload = base64.urlsafe_b64encode(json.dumps({"exp": 1700000000}).encode()).decode().rstrip("=")
        self.assertEqual(sessions.token_expiry(f"e30.{payload}."), 1700000000)
        for token in ("", "a.b.c", f"e30.{payload[:8]}."):
            self.assertEqual(sessions.token_expiry(token), 0)


    def test_an_audience_in_a_list_is_that_audience(self):
        self.assertEqual(sessions.sole(["sts.amazonaws.com"]), "sts.amazonaws.com")
        self.assertEqual(sessions.sole("sts.amazonaws.com"), "sts.amazonaws.com")
        self.assertEqual(sessions.sole(["a", "b"]), ["a", "b"])


class Faults(unittest.TestCase):
    REQUEST = {"method": "PUT", "path": "/bucket/v1/ledger/a/1.json", "headers": [
        (b"authorization", b"AWS4-HMAC-SHA256 Credential=K/20260101/eu-central-1/s3/aws4_request, SignedHeaders=host")]}

    def test_a_rule_concerns_what_it_names(self):
        for rule, concerned in [
            ({}, True), ({"method": "PUT", "path": "ledger/a"}, True), ({"method": "GET"}, False), ({"path": "ledger/b"}, False),
            ({"scope": "eu-central-1/s3"}, True), ({"scope": "us-east-2/s3"}, False), ({"scope": "eu-central-1/kms"}, False),
        ]:
            self.assertEqual(faults.concerns(rule, self.REQUEST), concerned, rule)


class Documents(unittest.TestCase):
    def test_policies_are_within_the_limits_of_iam(self):
        for path in set_up.POLICIES.glob("*.json"):
            document = json.loads(path.read_text(encoding="utf-8"))
            limit = 2048 if "trust" in path.name else 10240
            self.assertLess(len(json.dumps(document, separators=(",", ":"))), limit, path.name)


if __name__ == "__main__":
    unittest.main()
