//! `strftime_now`: the date and time that templates write into prompts.

use chrono::Local;
use minijinja::{Environment, Error, ErrorKind};

const WEEKDAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// What a template takes for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The system's time in its local time zone (`TZ`, else `/etc/localtime`), as transformers takes it.
    System,
    /// A fixed local time, in seconds since 1970-01-01T00:00:00.
    Fixed(u64),
}

impl Clock {
    fn seconds(self) -> u64 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::System => {
                let now = Local::now();
                let local = now.timestamp() + i64::from(now.offset().local_minus_utc());
                u64::try_from(local).unwrap_or(0)
            }
        }
    }
}

/// Gives templates the function `strftime_now`.
pub(super) fn install(environment: &mut Environment<'static>, clock: Clock) {
    environment.add_function("strftime_now", move |format: &str| {
        strftime(format, clock.seconds())
    });
}

/// `format` with its directives filled in for a time in seconds since 1970, as Python's `strftime`
/// does in the C locale.
fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day, day_of_year) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let weekday = WEEKDAYS[(days % 7) as usize];
    let month_name = MONTHS[(month - 1) as usize];
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = rest.next();
        let unpadded = directive == Some('-');
        if unpadded {
            directive = rest.next();
        }
        let number = |value: u64, width: usize| match unpadded {
            true => value.to_string(),
            false => format!("{value:0width$}"),
        };
        out.push_str(&match directive {
            Some('d') => number(day, 2),
            Some('m') => number(month, 2),
            Some('Y') => number(year, 4),
            Some('y') => number(year % 100, 2),
            Some('H') => number(hour, 2),
            Some('I') => number((hour + 11) % 12 + 1, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('j') => number(day_of_year, 3),
            Some('e') => format!("{day:2}"),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => month_name[..3].to_owned(),
            Some('F') => format!("{year:04}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('%') => "%".to_owned(),
            other => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!(
                        "strftime_now: expected a known directive, got %{}",
                        other.map(String::from).unwrap_or_default()
                    ),
                ));
            }
        });
    }
    Ok(out)
}

/// Year, month and day (from 1), and day of the year (from 1), of a day counted from 1970-01-01 in
/// the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // Whole cycles of 400 years first, so that any time takes few steps.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let day_of_year = days + 1;
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1, day_of_year)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_python_writes_them() {
        // `datetime.fromtimestamp(s, timezone.utc).strftime(format)` of CPython.
        for (seconds, format, expected) in [
            (0, "%A %a %d %B %Y %j", "Thursday Thu 01 January 1970 001"),
            (1_768_478_400, "%d %b %Y", "15 Jan 2026"),
            (
                1_768_478_400,
                "%Y-%m-%d %H:%M:%S %p %I",
                "2026-01-15 12:00:00 PM 12",
            ),
            (1_709_164_799, "%F %T", "2024-02-28 23:59:59"),
            (1_709_164_800, "%-d.%-m.%y 100%%", "29.2.24 100%"),
            (4_107_542_399, "%e %h %Y %j", "28 Feb 2100 059"),
            (4_107_542_400, "%e %h %Y %I%p", " 1 Mar 2100 12AM"),
        ] {
            assert_eq!(strftime(format, seconds).unwrap(), expected);
        }
        assert!(strftime("%Q", 0).unwrap_err().to_string().contains("%Q"));
    }
}
