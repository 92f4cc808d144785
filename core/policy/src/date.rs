//! Dates in conditions: ISO 8601 as the W3C narrowed it, or seconds since 1970.

/// Reads a date as milliseconds since 1970.
///
/// `2026`, `2026-11`, `2026-11-20`, `2026-11-20T10:05Z`, `2026-11-20T10:05:00.5+01:00`, or a whole
/// number of seconds of more than four digits. Source: IAM reference "Date condition operators".
pub(crate) fn parse(text: &str) -> Option<i64> {
    if text.len() != 4
        && let Ok(seconds) = text.parse::<i64>()
    {
        return seconds.checked_mul(1000);
    }
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut fields = date.split('-');
    let year = digits(fields.next()?, 4)?;
    let month = fields.next().map_or(Some(1), |month| digits(month, 2))?;
    let day = fields.next().map_or(Some(1), |day| digits(day, 2))?;
    let is_whole = date.len() == 10;
    if fields.next().is_some() || (time.is_some() && !is_whole) {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    Some(days * 86_400_000 + time.map_or(Some(0), millis_of_day)?)
}

/// Reads `10:05[:00[.5]]` with `Z` or an offset behind it.
fn millis_of_day(text: &str) -> Option<i64> {
    let at = text.find(['Z', '+', '-'])?;
    let (clock, zone) = text.split_at(at);
    let offset_min = match zone.split_at(1) {
        ("Z", "") => 0,
        (sign, offset) => {
            let (h, m) = offset.split_once(':')?;
            let minutes = within(digits(h, 2)?, 0, 23)? * 60 + within(digits(m, 2)?, 0, 59)?;
            if sign == "+" { minutes } else { -minutes }
        }
    };
    let mut fields = clock.splitn(3, ':');
    let hour = within(digits(fields.next()?, 2)?, 0, 23)?;
    let minute = within(digits(fields.next()?, 2)?, 0, 59)?;
    let (second, millis) = match fields.next() {
        None => (0, 0),
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let millis: String = fraction.chars().chain("00".chars()).take(3).collect();
            (within(digits(whole, 2)?, 0, 60)?, millis.parse().ok()?)
        }
    };
    Some(((hour * 60 + minute - offset_min) * 60 + second) * 1000 + millis)
}

fn digits(text: &str, len: usize) -> Option<i64> {
    let fits = text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

fn within(value: i64, min: i64, max: i64) -> Option<i64> {
    (min..=max).contains(&value).then_some(value)
}

/// The day number of a date of the Gregorian calendar, whose year begins in March here so that the
/// leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match within(month, 1, 12)? {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    within(day, 1, days_in_month)?;
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(
        year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
            - 719_468,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Timestamp;

    #[test]
    fn a_date_is_read_in_all_its_forms() {
        for (text, expected) in [
            ("1970", "1970-01-01T00:00:00.000Z"),
            ("2026-11", "2026-11-01T00:00:00.000Z"),
            ("2000-02-29", "2000-02-29T00:00:00.000Z"),
            ("2026-11-20T10:05Z", "2026-11-20T10:05:00.000Z"),
            ("2026-11-20T10:05:07.25Z", "2026-11-20T10:05:07.250Z"),
            ("2026-11-20T00:30:00+01:00", "2026-11-19T23:30:00.000Z"),
            ("951782400", "2000-02-29T00:00:00.000Z"),
        ] {
            let millis = parse(text).unwrap();
            assert_eq!(Timestamp::from_millis(millis).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "today",
            "2026-13",
            "2026-02-29",
            "2026-11-20T10:05",
            "2026-11T10:05Z",
            "2026-11-20T24:00Z",
            "2026-11-20T10:05:00.Z",
            "2026-11-20T10:05Zx",
            "2026-11-20-01",
            "99999999999999999999",
            "9223372036854775807",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
