"""The account: backup and log buckets, ledger keys, roles and a test administrator, made through the API like anybody would.

The policies are those that users copy (`docs/aws/*.json`), word for word but for the token issuer.
This is the only user of the root keys; its last line in the request log is followed by no other of theirs.
"""
import dataclasses
import json
import pathlib

import botocore.config
import botocore.session

POLICIES = pathlib.Path(__file__).parents[3] / "docs/aws"
# Stands for the cluster's token issuer in the trust policies.
EXAMPLE_ISSUER = "oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
OTHER_ACCOUNT = "444455556666"
CLOSED = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}


@dataclasses.dataclass(frozen=True)
class Place:
    """One region of the platform and where its backups go."""

    name: str
    cloud_region: str
    bucket: str
    bucket_region: str


PLACES = [
    Place("us", "us-west-2", "tray-backups-us", "us-east-2"),
    Place("eu", "eu-west-1", "tray-backups-eu", "eu-central-1"),
    Place("apac", "ap-southeast-2", "tray-backups-apac", "ap-southeast-1"),
]
# For bad input: in the org's own region; of another account.
SAME_REGION = Place("eu-same-region", "eu-west-1", "tray-backups-eu-same-region", "eu-west-1")
FOREIGN = Place("eu-foreign", "eu-west-1", "tray-backups-eu-foreign", "eu-central-1")


@dataclasses.dataclass
class Account:
    """What to set up, and where it answers."""

    endpoint: str
    local_endpoint: str
    authority: pathlib.Path
    account: str
    issuer: str
    requests_log: pathlib.Path

    def make(self, facts_path: pathlib.Path) -> None:
        """Makes everything, then writes the facts."""
        iam = self._client("iam", "us-east-1")
        roles = self._roles(iam)
        facts = {
            "endpoint": self.endpoint,
            "caBundle": str(self.authority.resolve()),
            "requestsLog": str(self.requests_log.resolve()),
            "account": self.account,
            "otherAccount": OTHER_ACCOUNT,
            "issuer": self.issuer,
            "operatorRoleArn": roles["tray-operator"],
            "moverRoleArn": roles["tray-mover"],
            "admin": self._administrator(iam),
            "places": {place.name: self._place(place, self.account) for place in PLACES},
            "logBuckets": {place.name: self._logs(place) for place in PLACES},
            "sameRegion": self._place(SAME_REGION, self.account),
            "foreign": self._place(FOREIGN, OTHER_ACCOUNT),
        }
        partial = facts_path.with_suffix(".partial")
        partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        partial.rename(facts_path)

    def _place(self, place: Place, owner: str) -> dict:
        """A ledger key and a versioned, encrypted, closed bucket."""
        kms, s3 = self._client("kms", place.bucket_region, owner), self._client("s3", place.bucket_region, owner)
        key_arn = kms.create_key(
            Description="Ledgers of the orgs", Tags=[{"TagKey": "managed-by", "TagValue": "tray-operator"}],
        )["KeyMetadata"]["Arn"]
        bucket = {"Bucket": place.bucket}
        s3.create_bucket(**bucket, CreateBucketConfiguration={"LocationConstraint": place.bucket_region})
        s3.put_bucket_versioning(**bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_bucket_encryption(**bucket, ServerSideEncryptionConfiguration={"Rules": [{
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_arn},
            "BucketKeyEnabled": True}]})
        s3.put_public_access_block(**bucket, PublicAccessBlockConfiguration=CLOSED)
        s3.put_bucket_lifecycle_configuration(**bucket, LifecycleConfiguration={"Rules": [{
            "ID": "clean-up", "Status": "Enabled", "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 7},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}}]})
        if owner != self.account:
            # Its owner lets us in, so that only ExpectedBucketOwner stands in the way.
            s3.put_bucket_policy(**bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{self.account}:root"}, "Action": "s3:*",
                "Resource": [f"arn:aws:s3:::{place.bucket}", f"arn:aws:s3:::{place.bucket}/*"]}]}))
        return {"cloudRegion": place.cloud_region, "bucket": place.bucket, "bucketRegion": place.bucket_region,
                "bucketOwner": owner, "ledgerKeyArn": key_arn}

    def _logs(self, place: Place) -> str:
        """An encrypted, closed bucket in the region itself; its name."""
        s3, bucket = self._client("s3", place.cloud_region), {"Bucket": f"tray-logs-{place.name}"}
        s3.create_bucket(**bucket, CreateBucketConfiguration={"LocationConstraint": place.cloud_region})
        s3.put_bucket_encryption(**bucket, ServerSideEncryptionConfiguration={"Rules": [{
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]})
        s3.put_public_access_block(**bucket, PublicAccessBlockConfiguration=CLOSED)
        return bucket["Bucket"]

    def _roles(self, iam) -> dict[str, str]:
        """The operator's and the movers' role, from the documents that users copy; name to ARN."""
        iam.create_open_id_connect_provider(Url=self.issuer, ClientIDList=["sts.amazonaws.com"],
                                            ThumbprintList=["0" * 40])
        arns = {}
        for role in ("operator", "mover"):
            name = f"tray-{role}"
            arns[name] = iam.create_role(
                RoleName=name, AssumeRolePolicyDocument=self._policy(f"{role}-trust"), MaxSessionDuration=43200,
            )["Role"]["Arn"]
            iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=self._policy(f"{role}-policy"))
        return arns

    def _administrator(self, iam) -> dict[str, str]:
        """A user who may do everything; tests act as this one, never as root."""
        iam.create_user(UserName="test-admin")
        iam.put_user_policy(UserName="test-admin", PolicyName="everything", PolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}))
        key = iam.create_access_key(UserName="test-admin")["AccessKey"]
        return {"accessKeyId": key["AccessKeyId"], "secretAccessKey": key["SecretAccessKey"]}

    def _policy(self, name: str) -> str:
        text = (POLICIES / f"{name}.json").read_text(encoding="utf-8")
        return text.replace(EXAMPLE_ISSUER, self.issuer.split("://", 1)[-1])

    def _client(self, service: str, region: str, account: str | None = None):
        """A client with the root key of `account`: its twelve digits, which ministack lets in unsigned."""
        return botocore.session.Session().create_client(
            service, region_name=region, endpoint_url=self.local_endpoint, verify=str(self.authority),
            aws_access_key_id=account or self.account, aws_secret_access_key="root",
            config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}))
