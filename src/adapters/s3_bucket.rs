//! What is done to objects of one bucket, with all that the SDK leaves to its caller: bodies that stop or
//! crawl are re-issued from where they were, conditional writes are told apart from failures, listings are whole.

use std::ops::Range;

use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::SdkError,
    operation::{
        get_object::{GetObjectError, GetObjectOutput},
        put_object::PutObjectOutput,
    },
    primitives::ByteStream,
    types::ServerSideEncryption,
};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout};
use tray_domain::{ids::KmsKeyArn, mover_task::BucketLocation};
use tray_ledger::{Listed, PutOutcome, RemoteError};

use super::{
    aws_client::{AwsClients, Patience},
    aws_error::{Attempt, code, status},
};

/// At most this much is set aside on the word of a header.
const LARGEST_RESERVATION: u64 = 64 * 1024 * 1024;

/// The most keys that S3 puts on one page.
const LARGEST_PAGE: i32 = 1000;

/// One bucket and the client that reaches it.
#[derive(Clone, Debug)]
pub struct S3Bucket {
    client: Client,
    location: BucketLocation,
    patience: Patience,
    page_size: i32,
}

/// What of a body has come so far.
struct Body {
    wanted: Option<Range<u64>>,
    bytes: BytesMut,
    /// Bytes of the whole body; known from the first answer.
    expected: u64,
    etag: Option<String>,
}

/// Where an object is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    WhereNothingIs,
    Whatever,
}

/// How far one request for a body came.
enum Progress {
    Whole,
    /// It ended early, or was too slow.
    Cut(String),
}

impl S3Bucket {
    /// The bucket of `location`, with the rights of `clients`.
    pub fn connect(clients: &AwsClients, location: &BucketLocation) -> Result<Self, RemoteError> {
        let client = Client::from_conf(clients.s3(location)?.build());
        Ok(Self::new(client, location.clone(), clients.debounce()))
    }

    /// The bucket of `location`, by a client of one's own.
    pub fn new(client: Client, location: BucketLocation, patience: Patience) -> Self {
        Self {
            client,
            location,
            patience,
            page_size: LARGEST_PAGE,
        }
    }

    /// The same with smaller pages of listings.
    #[must_use]
    pub fn with_page_size(mut self, keys: i32) -> Self {
        self.page_size = keys;
        self
    }

    /// The SDK's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where it is.
    pub fn location(&self) -> &BucketLocation {
        &self.location
    }

    /// `s3://bucket/key`, for messages.
    pub fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.location.bucket)
    }

    /// For messages about a call on an object.
    pub fn attempt<'a>(&'a self, action: &'static str, on: &'a str) -> Attempt<'a> {
        Attempt {
            action,
            on,
            region: &self.location.cloud_region,
        }
    }

    /// The object, or exactly these bytes of it; none where there is none.
    pub async fn read(&self, key: &str, wanted: Option<Range<u64>>) -> Result<Option<Bytes>, RemoteError> {
        if wanted.as_ref().is_some_and(|range| range.start >= range.end) {
            return Ok(Some(Bytes::new()));
        }
        let mut body = Body {
            wanted,
            bytes: BytesMut::new(),
            expected: 0,
            etag: None,
        };
        let (mut fruitless, mut deadline, mut last) = (0, None, String::new());
        while fruitless < self.patience.tries {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            let before = body.bytes.len();
            let answer = match self.request(key, &body).await {
                Ok(answer) => answer,
                Err(error) => return self.no_body(key, &body, &error),
            };
            body.accept(&answer)
                .map_err(|why| RemoteError::Corrupt(format!("{}: {why}", self.uri(key))))?;
            let deadline =
                *deadline.get_or_insert_with(|| Instant::now() + self.patience.body(body.expected));
            match self.receive(answer.body, &mut body, deadline).await {
                Progress::Whole => return Ok(Some(body.bytes.freeze())),
                Progress::Cut(why) => last = why,
            }
            if body.bytes.len() as u64 >= body.expected {
                // All came and the checksum says that it is not what was written: nothing of it counts.
                body.bytes.clear();
            }
            fruitless = if body.bytes.len() > before {
                0
            } else {
                fruitless + 1
            };
        }
        Err(RemoteError::Unavailable(format!(
            "s3:GetObject on {}: the body did not come, {} of {} bytes did: {last}",
            self.uri(key),
            body.bytes.len(),
            body.expected
        )))
    }

    async fn request(
        &self,
        key: &str,
        body: &Body,
    ) -> Result<GetObjectOutput, SdkError<GetObjectError, HttpResponse>> {
        let request = self
            .client
            .get_object()
            .bucket(&self.location.bucket)
            .key(key)
            .expected_bucket_owner(&self.location.bucket_owner)
            .set_range(body.range_header())
            .set_if_match(body.etag.clone());
        request.send().await
    }

    fn no_body(
        &self,
        key: &str,
        body: &Body,
        error: &SdkError<GetObjectError, HttpResponse>,
    ) -> Result<Option<Bytes>, RemoteError> {
        let uri = self.uri(key);
        match (code(error), status(error)) {
            ("NoSuchKey", _) if body.etag.is_none() => Ok(None),
            ("InvalidRange", _) | (_, 416) => Err(RemoteError::Corrupt(format!(
                "{uri} is shorter than {}",
                body.end()
            ))),
            (_, 412) => Err(RemoteError::Corrupt(format!("{uri} changed while it was read"))),
            _ => Err(self.attempt("s3:GetObject", &uri).failed(error)),
        }
    }

    async fn receive(&self, mut stream: ByteStream, body: &mut Body, deadline: Instant) -> Progress {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left.min(self.patience.idle), stream.next()).await {
                Err(_) if left <= self.patience.idle => {
                    return Progress::Cut(format!("slower than {} bytes a second", self.patience.slowest));
                }
                Err(_) => return Progress::Cut(format!("no byte for {:?}", self.patience.idle)),
                Ok(Some(Err(error))) => return Progress::Cut(causes(&error)),
                Ok(Some(Ok(chunk))) => body.bytes.extend_from_slice(&chunk),
                Ok(None) if body.bytes.len() as u64 == body.expected => return Progress::Whole,
                Ok(None) => return Progress::Cut("it ended early".to_owned()),
            }
        }
    }

    /// Writes under `kms_key` unless something is there.
    pub async fn put_if_absent(
        &self,
        key: &str,
        body: Bytes,
        kms_key: &KmsKeyArn,
    ) -> Result<PutOutcome, RemoteError> {
        let Some(written) = self.put(key, body, Some(kms_key), Put::WhereNothingIs).await? else {
            return Ok(PutOutcome::Exists);
        };
        self.check_key(key, &written, kms_key)?;
        Ok(PutOutcome::Created)
    }

    /// Writes under `kms_key`, whatever is there.
    pub async fn replace(&self, key: &str, body: Bytes, kms_key: &KmsKeyArn) -> Result<(), RemoteError> {
        match self.put(key, body, Some(kms_key), Put::Whatever).await? {
            Some(written) => self.check_key(key, &written, kms_key),
            None => Err(RemoteError::Corrupt(format!(
                "{} was to be written whatever is there, and S3 answers that something is",
                self.uri(key)
            ))),
        }
    }

    fn check_key(
        &self,
        key: &str,
        written: &PutObjectOutput,
        kms_key: &KmsKeyArn,
    ) -> Result<(), RemoteError> {
        match written.ssekms_key_id() {
            Some(used) if used == kms_key.as_str() => Ok(()),
            used => Err(RemoteError::Corrupt(format!(
                "{} was to be written under {kms_key}, but S3 says that it used {}: find out what changes requests on \
                 their way, and leave the object where it is, since it may have been read",
                self.uri(key),
                used.unwrap_or("no key")
            ))),
        }
    }

    /// Writes under the bucket's own default encryption unless something is there.
    pub async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, RemoteError> {
        match self.put(key, body, None, Put::WhereNothingIs).await? {
            Some(_) => Ok(PutOutcome::Created),
            None => Ok(PutOutcome::Exists),
        }
    }

    /// Writes, unless it may not and something is there: then none. Under `kms_key`, or under the bucket's default.
    async fn put(
        &self,
        key: &str,
        body: Bytes,
        kms_key: Option<&KmsKeyArn>,
        put: Put,
    ) -> Result<Option<PutObjectOutput>, RemoteError> {
        let uri = self.uri(key);
        let sha256 = aws_smithy_types::base64::encode(Sha256::digest(&body));
        let mut pause = self.patience.pause;
        let mut tries = 1;
        loop {
            let request = self
                .client
                .put_object()
                .bucket(&self.location.bucket)
                .key(key)
                .expected_bucket_owner(&self.location.bucket_owner)
                .set_if_none_match((put == Put::WhereNothingIs).then(|| "*".to_owned()))
                .set_server_side_encryption(kms_key.map(|_| ServerSideEncryption::AwsKms))
                .set_ssekms_key_id(kms_key.map(|key| key.as_str().to_owned()))
                .checksum_sha256(&sha256)
                .body(ByteStream::from(body.clone()));
            match request.send().await {
                Ok(written) => return Ok(Some(written)),
                Err(error) if status(&error) == 412 => return Ok(None),
                // Another write of this key is on its way: S3 asks to come again.
                Err(error) if status(&error) == 409 && tries < self.patience.tries => {
                    sleep(pause).await;
                    (tries, pause) = (tries + 1, pause * 2);
                }
                Err(error) => return Err(self.attempt("s3:PutObject", &uri).failed(&error)),
            }
        }
    }

    /// Every object under `prefix` whose key comes after `start_after`, in key order: all of them or an error.
    pub async fn list_after(&self, prefix: &str, start_after: &str) -> Result<Vec<Listed>, RemoteError> {
        let uri = self.uri(prefix);
        let corrupt = |why: &str| RemoteError::Corrupt(format!("the list of {uri} {why}"));
        let mut listed: Vec<Listed> = Vec::new();
        let mut token = None;
        loop {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.location.bucket)
                .expected_bucket_owner(&self.location.bucket_owner)
                .prefix(prefix)
                .max_keys(self.page_size)
                .set_start_after(Some(start_after.to_owned()).filter(|after| !after.is_empty()))
                .set_continuation_token(token);
            let page = request
                .send()
                .await
                .map_err(|error| self.attempt("s3:ListBucket", &uri).failed(&error))?;
            for object in page.contents() {
                let key = object
                    .key()
                    .ok_or_else(|| corrupt("has an object without a key"))?;
                if !key.starts_with(prefix) || listed.last().is_some_and(|last| last.key.as_str() >= key) {
                    return Err(corrupt(&format!("has {key} where it cannot be")));
                }
                listed.push(Listed {
                    key: key.to_owned(),
                    size: object.size().unwrap_or_default().try_into().unwrap_or_default(),
                    last_modified: object
                        .last_modified()
                        .and_then(timestamp)
                        .ok_or_else(|| corrupt(&format!("has {key} without a time")))?,
                });
            }
            if !page.is_truncated().unwrap_or_default() {
                return Ok(listed);
            }
            token = page.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                return Err(corrupt("ends in the middle"));
            }
        }
    }

    /// Removes an object (in a versioned bucket: hides it). One that is not there is success.
    pub async fn delete(&self, key: &str) -> Result<(), RemoteError> {
        let uri = self.uri(key);
        let request = self
            .client
            .delete_object()
            .bucket(&self.location.bucket)
            .expected_bucket_owner(&self.location.bucket_owner)
            .key(key);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == "NoSuchKey" => Ok(()),
            Err(error) => Err(self.attempt("s3:DeleteObject", &uri).failed(&error)),
        }
    }
}

impl Body {
    /// What is still missing.
    fn range_header(&self) -> Option<String> {
        let have = self.bytes.len() as u64;
        match &self.wanted {
            Some(range) => Some(format!("bytes={}-{}", range.start + have, range.end - 1)),
            None if have > 0 => Some(format!("bytes={have}-")),
            None => None,
        }
    }

    fn end(&self) -> u64 {
        self.wanted.as_ref().map_or(self.expected, |range| range.end)
    }

    /// Notes what the answer promises; an error where it is not what was asked for.
    fn accept(&mut self, answer: &GetObjectOutput) -> Result<(), String> {
        let promised: u64 = answer
            .content_length()
            .unwrap_or_default()
            .try_into()
            .unwrap_or_default();
        if self.etag.is_none() {
            self.expected = match &self.wanted {
                Some(range) => range.end - range.start,
                None => promised,
            };
            self.etag = answer.e_tag().map(str::to_owned);
            let reserve = self.expected.min(LARGEST_RESERVATION);
            self.bytes.reserve(usize::try_from(reserve).unwrap_or_default());
        }
        let missing = self.expected - self.bytes.len() as u64;
        if promised == missing {
            return Ok(());
        }
        Err(format!(
            "{missing} bytes from byte {} were asked for, and {promised} promised: the object is shorter than it was said \
             to be",
            self.end() - missing
        ))
    }
}

/// The SDK's time in ours.
pub fn timestamp(time: &aws_sdk_s3::primitives::DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
