#![allow(clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

/// Requests as botocore and the AWS SDK for JavaScript signed them: `tests/make_signatures.py`.
const SIGNED: &str = include_str!("../../tests/fixtures/signatures.json");

#[derive(Deserialize)]
struct Fixture {
    access_key: String,
    secret: String,
    signed: Vec<Signed>,
}

#[derive(Clone, Deserialize)]
struct Signed {
    by: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Signed {
    fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
        }
    }

    fn digest(&self) -> String {
        hex(&Sha256::digest(STANDARD.decode(&self.body).unwrap()))
    }

    /// Whether it is let in `late` seconds after it was signed.
    fn is_good(&self, secret: &str, late: i64) -> Result<bool, Refusal> {
        let head = self.head();
        let signature = Signature::read(&head)?.ok_or_else(Refusal::missing_token)?;
        let signed = clock::parse(&signature.timestamp).unwrap_or_default();
        signature.check_scope(&head, signed + late)?;
        let digest = self.digest();
        if matches!(signature.payload(), Payload::Stated(stated) if *stated != digest) {
            return Ok(false);
        }
        Ok(signature.is_by(secret, &head, signature.payload().spoken(&digest)))
    }
}

fn fixture() -> Fixture {
    serde_json::from_str(SIGNED).unwrap()
}

#[test]
fn what_the_sdks_sign_is_good() {
    let fixture = fixture();
    assert_eq!(fixture.signed.len(), 10);
    for signed in &fixture.signed {
        let name = format!("{} {}", signed.by, signed.path);
        let head = signed.head();
        let signature = Signature::read(&head).unwrap().unwrap();
        assert_eq!(signature.access_key(), fixture.access_key);
        assert_eq!(signed.is_good(&fixture.secret, 0), Ok(true), "{name}");
        assert_eq!(signed.is_good(&fixture.secret, 299), Ok(true), "{name}");
        assert_eq!(signed.is_good("another", 0), Ok(false), "{name}");
    }
}

#[test]
fn any_change_of_what_was_signed_is_seen() {
    let fixture = fixture();
    for signed in &fixture.signed {
        let mut changes = Vec::new();
        let mut change = |how: &dyn Fn(&mut Signed)| {
            let mut changed = signed.clone();
            how(&mut changed);
            changes.push(changed);
        };
        change(&|it| it.method = "PATCH".into());
        change(&|it| it.path.push('x'));
        change(&|it| it.query.push_str("&more=1"));
        change(&|it| it.body = STANDARD.encode("another body"));
        for at in 0..signed.headers.len() {
            if matches!(
                signed.headers[at].0.to_lowercase().as_str(),
                "host" | ":authority" | "x-amz-date"
            ) {
                change(&|it| it.headers[at].1.insert(0, '1'));
            }
        }
        for changed in changes {
            let seen = changed.is_good(&fixture.secret, 0);
            assert_ne!(seen, Ok(true), "{} {}", changed.by, changed.path);
        }
    }
}

#[test]
fn time_and_scope_are_checked_in_aws_words() {
    let fixture = fixture();
    let of = |by: &str| {
        fixture
            .signed
            .iter()
            .find(|it| it.by == by)
            .unwrap()
            .clone()
    };
    let refused = |signed: &Signed, late| signed.is_good(&fixture.secret, late).unwrap_err();
    let late = refused(&of("boto3"), 301);
    assert_eq!(late.name, "InvalidSignatureException");
    assert!(late.message.starts_with("Signature expired: 2"), "{late:?}");
    let early = refused(&of("boto3"), -301);
    assert!(
        early.message.starts_with("Signature not yet current: 2"),
        "{early:?}"
    );

    let with = |from: &str, to: &str| {
        let mut signed = of("node");
        for (name, value) in &mut signed.headers {
            if name == "authorization" {
                *value = value.replace(from, to);
            }
        }
        refused(&signed, 0)
    };
    assert_eq!(
        with("/bedrock/", "/s3/").message,
        "Credential should be scoped to correct service: 'bedrock'."
    );
    assert!(
        with("/20", "/19")
            .message
            .starts_with("Date in Credential scope does not match")
    );
    assert!(with("aws4_request", "aws5").message.contains("terminator"));
    assert!(with(":authority;", "").message.contains("'Host'"));
    assert!(
        with("x-amz-date", "date")
            .message
            .contains("'x-amz-date' must be")
    );
    assert_eq!(
        with("Signature=", "Sig=").name,
        "IncompleteSignatureException"
    );

    let presigned = fixture
        .signed
        .iter()
        .find(|it| it.query.contains("X-Amz-Expires"));
    let presigned = presigned.unwrap();
    assert_eq!(presigned.is_good(&fixture.secret, 43_200), Ok(true));
    assert!(
        refused(presigned, 43_201)
            .message
            .starts_with("Signature expired")
    );
}

#[test]
fn paths_and_queries_have_one_canonical_form() {
    let canonical = |path, query| {
        let head = Head {
            method: "GET",
            path,
            query,
            headers: &[],
        };
        let text = head.canonical(&[], "");
        let mut lines = text.lines().skip(1).map(String::from);
        (lines.next().unwrap(), lines.next().unwrap())
    };
    for (path, expected) in [
        ("", "/"),
        ("/", "/"),
        ("/a//b/./c/../d/", "/a/b/d/"),
        ("/model/a%3Ab/invoke", "/model/a%253Ab/invoke"),
        ("/model/a:b~(c)", "/model/a%3Ab~%28c%29"),
        ("/../..", "/"),
    ] {
        assert_eq!(canonical(path, "").0, expected, "{path}");
    }
    for (query, expected) in [
        ("b=2&a=1&a", "a=&a=1&b=2"),
        ("a=%c3%a9&%7e=+", "a=%C3%A9&~=%2B"),
        ("&&x=%zz", "x=%25zz"),
    ] {
        assert_eq!(canonical("/", query).1, expected, "{query}");
    }
}

proptest! {
    #[test]
    fn no_header_or_query_breaks_the_reading(
        value in "(AWS4-HMAC-SHA256 )?[ -~]{0,80}", date in "[0-9TZ]{0,17}", query in "[ -~]{0,60}",
        path in "[ -~é]{0,40}", hash in "[0-9a-f]{63,65}|[ -~]{0,20}",
    ) {
        let headers = [
            ("Authorization".to_string(), value),
            ("x-amz-date".to_string(), date),
            ("x-amz-content-sha256".to_string(), hash),
        ];
        let head = Head { method: "POST", path: &path, query: &query, headers: &headers };
        if let Ok(Some(signature)) = Signature::read(&head) {
            let _ = signature.check_scope(&head, 0);
            prop_assert!(!signature.is_by("secret", &head, signature.payload().spoken("")));
        }
    }
}
