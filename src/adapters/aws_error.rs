//! What an error of the AWS SDK means: which [`RemoteError`] it is, with the service's code and what to do about it. All in words of
//! our own: what a service says may quote what it was sent, and conditions, events and logs are read by people of others.

use std::error::Error;

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use tray_domain::ids::KmsKeyArn;
use tray_ledger::RemoteError;

use super::error_chain::chain;

/// What was done to what, for messages: `s3:GetObject`, `s3://bucket/key`.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The permission that the call needs.
    pub action: &'static str,
    /// The object, bucket, key or role.
    pub on: &'a str,
    /// The region whose endpoint was asked.
    pub region: &'a str,
}

/// Codes of refusals that a person has to lift.
const DENIED: [&str; 11] = [
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "InvalidToken",
    "NotAuthorized",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];
/// Codes of credentials that have ended: their renewal is on the way.
const EXPIRED: [&str; 4] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "TokenRefreshRequired",
];
/// Codes that say "later" with a 4xx status.
const LATER: [&str; 7] = [
    "ConditionalRequestConflict",
    "OperationAborted",
    "PriorRequestNotComplete",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
];
/// Codes of a bucket that lies elsewhere.
const ELSEWHERE: [&str; 4] = [
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
];

impl Attempt<'_> {
    /// Judges an error of the SDK.
    pub fn failed<E>(self, error: &SdkError<E, HttpResponse>) -> RemoteError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let Self { action, on, region } = self;
        let (code, status) = (code(error), status(error));
        let said = said(error);
        let key = named_key(error).map_or_else(String::new, |key| format!(" {key}"));
        if let Some(other) = bucket_region(error).filter(|other| *other != region)
            && (ELSEWHERE.contains(&code) || (300..400).contains(&status) || status == 400)
        {
            return RemoteError::Unusable(format!(
                "{on} lies in {other}, not in {region}: name its real region, or a bucket of {region}"
            ));
        }
        match code {
            _ if EXPIRED.contains(&code) => {
                RemoteError::Unavailable(format!("{action} on {on}: the credentials have ended ({said})"))
            }
            _ if LATER.contains(&code) || status >= 500 || status == 429 => {
                RemoteError::Unavailable(format!("{action} on {on} in {region}: {said}"))
            }
            "RequestTimeTooSkewed" | "RequestInTheFuture" => RemoteError::Unusable(format!(
                "{action} on {on}: the machine's clock differs from the service's by more than 15 minutes: correct it ({said})"
            )),
            "NoSuchBucket" => RemoteError::NotFound(format!(
                "{on}: there is no such bucket: create it in {region} or name another ({said})"
            )),
            "NoSuchKey" | "NotFound" | "NoSuchUpload" => RemoteError::NotFound(format!("{on} ({said})")),
            "NotFoundException" | "KMS.NotFoundException" => RemoteError::NotFound(format!(
                "{action} on {on}: there is no such KMS key in {region}{key}: name one that is there ({said})"
            )),
            _ if code.contains("DisabledException") => RemoteError::Unusable(format!(
                "{action} on {on}: the KMS key{key} is disabled: enable it ({said})"
            )),
            _ if code.contains("InvalidStateException") => RemoteError::Unusable(format!(
                "{action} on {on}: the KMS key{key} is not Enabled (deletion planned, or material missing): cancel the deletion \
                 or restore it ({said})"
            )),
            "InvalidCiphertextException" | "IncorrectKeyException" => RemoteError::Corrupt(format!(
                "{action} on {on}: the wrapped key was made by another key, for another org, or was changed ({said})"
            )),
            _ if DENIED.contains(&code) || status == 403 || status == 401 => RemoteError::Denied(format!(
                "{action} on {on} in {region}: {said}; allow it to the role in use"
            )),
            // Nothing came back, or nothing that is of the service.
            "" if status < 300 => RemoteError::Unavailable(format!("{action} on {on} in {region}: {said}")),
            "" if (300..400).contains(&status) => RemoteError::Unusable(format!(
                "{on} does not lie in {region}: name its real region ({said})"
            )),
            _ => RemoteError::Unusable(format!("{action} on {on} in {region}: {said}")),
        }
    }
}

/// The service's code; empty where no service answered, or said none.
pub fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
        .unwrap_or_default()
}

/// The status of the answer; 0 where there was none.
pub fn status<E>(error: &SdkError<E, HttpResponse>) -> u16 {
    error
        .raw_response()
        .map_or(0, |response| response.status().as_u16())
}

/// The region that S3 says a bucket lies in.
pub fn bucket_region<E>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.raw_response()?.headers().get("x-amz-bucket-region")
}

/// The code and status, or what kept the way to the service.
fn said<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = status(error);
    match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("no code");
            format!("{code}, HTTP {status}")
        }
        // It quotes what it could not read.
        SdkError::ResponseError(_) => format!("an answer that cannot be read, HTTP {status}"),
        _ => chain(error),
    }
}

/// The KMS key that the service names: S3 alone knows which one an object is under. Nothing else of its words is taken.
fn named_key<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<KmsKeyArn> {
    let of_an_arn = |c: char| c.is_ascii_alphanumeric() || ":/-".contains(c);
    let message = error.as_service_error()?.message()?;
    let mut words = message.split(|c| !of_an_arn(c));
    words.find_map(|word| word.trim_end_matches(':').parse().ok())
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{
        config::http::HttpResponse,
        error::{ErrorMetadata, SdkError},
        operation::get_object::GetObjectError,
        primitives::SdkBody,
    };

    use super::*;

    const ATTEMPT: Attempt = Attempt {
        action: "s3:GetObject",
        on: "s3://bucket/key",
        region: "eu-central-1",
    };

    fn answer(code: &str, status: u16, region: Option<&str>) -> RemoteError {
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
        if let Some(region) = region {
            response
                .headers_mut()
                .insert("x-amz-bucket-region", region.to_owned());
        }
        let mut metadata = ErrorMetadata::builder().message("hunter2");
        if !code.is_empty() {
            metadata = metadata.code(code);
        }
        let error = GetObjectError::generic(metadata.build());
        ATTEMPT.failed(&SdkError::service_error(error, response))
    }

    #[test]
    fn each_code_is_of_the_class_that_says_what_to_do() {
        type Class = fn(&RemoteError) -> bool;
        let denied: Class = |e| matches!(e, RemoteError::Denied(_));
        let missing: Class = |e| matches!(e, RemoteError::NotFound(_));
        let unusable: Class = |e| matches!(e, RemoteError::Unusable(_));
        let unavailable: Class = |e| matches!(e, RemoteError::Unavailable(_));
        let corrupt: Class = |e| matches!(e, RemoteError::Corrupt(_));
        for (code, status, class) in [
            ("AccessDenied", 403, denied),
            ("AccessDeniedException", 400, denied),
            ("", 403, denied),
            ("InvalidAccessKeyId", 403, denied),
            ("NoSuchBucket", 404, missing),
            ("NoSuchKey", 404, missing),
            ("KMS.NotFoundException", 400, missing),
            ("KMS.DisabledException", 400, unusable),
            ("DisabledException", 400, unusable),
            ("KMSInvalidStateException", 400, unusable),
            ("InvalidCiphertextException", 400, corrupt),
            ("RequestTimeTooSkewed", 403, unusable),
            ("ExpiredToken", 400, unavailable),
            ("SlowDown", 503, unavailable),
            ("InternalError", 500, unavailable),
            ("ThrottlingException", 400, unavailable),
            ("ConditionalRequestConflict", 409, unavailable),
            ("InvalidRequest", 400, unusable),
        ] {
            let error = answer(code, status, None);
            assert!(class(&error), "{code} {status}: {error}");
            let text = error.to_string();
            assert!(text.contains("s3://bucket/key"), "{text}");
            assert!(text.contains(code), "{text}");
            assert!(!text.contains("hunter2"), "what the service said: {text}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_quoted() {
        let response = HttpResponse::new(200.try_into().unwrap(), SdkBody::from("hunter2"));
        let error: SdkError<GetObjectError, HttpResponse> = SdkError::response_error("hunter2", response);
        let text = ATTEMPT.failed(&error).to_string();
        assert!(text.contains("HTTP 200") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_bucket_elsewhere_is_named_with_both_regions() {
        for (code, status) in [
            ("PermanentRedirect", 301),
            ("", 301),
            ("AuthorizationHeaderMalformed", 400),
        ] {
            let RemoteError::Unusable(text) = answer(code, status, Some("eu-west-1")) else {
                panic!("{code}")
            };
            assert!(
                text.contains("eu-west-1") && text.contains("eu-central-1"),
                "{text}"
            );
        }
        assert!(matches!(
            answer("AccessDenied", 403, Some("eu-central-1")),
            RemoteError::Denied(_)
        ));
    }

    #[test]
    fn silence_is_unavailable() {
        let error: SdkError<GetObjectError, HttpResponse> = SdkError::timeout_error("no answer in 5 s");
        assert!(
            matches!(ATTEMPT.failed(&error), RemoteError::Unavailable(text) if text.contains("no answer in 5 s"))
        );
    }

    /// S3 alone knows which key an object is under; a person needs it to enable the right one.
    #[test]
    fn of_the_service_s_words_the_key_alone_is_told() {
        let key = "arn:aws:kms:eu-central-1:111122223333:key/1f3c77aa-0000-4000-8000-000000000001";
        for (message, told) in [
            (
                format!("{key} is disabled. hunter2"),
                format!(" {key} is disabled"),
            ),
            (
                format!("hunter2: the ciphertext refers to '{key}'."),
                format!(" {key} is disabled"),
            ),
            ("hunter2 is disabled".to_owned(), "key is disabled".to_owned()),
        ] {
            let response = HttpResponse::new(400.try_into().unwrap(), SdkBody::empty());
            let metadata = ErrorMetadata::builder()
                .code("KMS.DisabledException")
                .message(&message)
                .build();
            let error = SdkError::service_error(GetObjectError::generic(metadata), response);
            let said = ATTEMPT.failed(&error).to_string();
            assert!(said.contains(&told) && !said.contains("hunter2"), "{said}");
        }
    }
}
