//! The times of signatures: `20150830T123600Z`, or an HTTP date.

use chrono::{DateTime, NaiveDateTime};

const BASIC: &str = "%Y%m%dT%H%M%SZ";

/// Seconds since 1970 of a stated time.
pub(super) fn parse(text: &str) -> Option<i64> {
    let basic = NaiveDateTime::parse_from_str(text, BASIC);
    let basic = basic.ok().map(|time| time.and_utc().timestamp());
    let http = || {
        DateTime::parse_from_rfc2822(text)
            .ok()
            .map(|time| time.timestamp())
    };
    basic.or_else(http)
}

/// A time in ISO 8601's basic format.
pub(super) fn basic(seconds: i64) -> String {
    let time = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    time.format(BASIC).to_string()
}
