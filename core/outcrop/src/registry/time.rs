//! The times of resources.

use chrono::{DateTime, SecondsFormat, Utc};

/// The time now, RFC 3339 with microseconds and `Z`: its texts have one length and are ordered as
/// the times are.
pub(crate) fn now() -> String {
    text_of(Utc::now())
}

/// Whether `time`, which [`now`] gave, is longer ago than `age`.
pub(crate) fn is_older_than(time: &str, age: std::time::Duration) -> bool {
    let passed = parse(time).map(|time| Utc::now().signed_duration_since(time));
    passed
        .and_then(|passed| passed.to_std().ok())
        .is_some_and(|passed| passed > age)
}

/// The time after `hours` from `time`, which [`now`] gave.
pub(crate) fn hours_after(time: &str, hours: u64) -> Option<String> {
    let hours = chrono::TimeDelta::try_hours(i64::try_from(hours).ok()?)?;
    parse(time)?.checked_add_signed(hours).map(text_of)
}

/// A time of a request in the form of [`now`].
pub(super) fn in_order(time: &str) -> Option<String> {
    parse(time).map(text_of)
}

fn parse(time: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(time).ok()?;
    Some(time.with_timezone(&Utc))
}

fn text_of(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn texts_are_ordered_as_times() {
        let zone = in_order("2026-11-23T12:00:00+02:00").unwrap();
        assert_eq!(zone, "2026-11-23T10:00:00.000000Z");
        assert!(in_order("2026-11-23T10:00:00.5Z").unwrap() > zone);
        assert!(in_order("yesterday").is_none());
        assert_eq!(
            hours_after(&zone, 24).unwrap(),
            "2026-11-24T10:00:00.000000Z"
        );
        assert_eq!(now().len(), zone.len());
    }
}
