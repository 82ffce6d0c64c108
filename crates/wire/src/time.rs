//! RFC 3339 in UTC with milliseconds, as every JSON of ours writes it. Knows no clock: the time is an argument.

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The last millisecond of the year 9999; RFC 3339 has no later one.
const LAST_MS: u64 = 253_402_300_799_999;

/// Milliseconds since the Unix epoch as `2026-11-23T08:15:30.123Z`. Later than the year 9999 reads as its last moment.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    String::from_utf8_lossy(&rfc3339_bytes(ms)).into_owned()
}

/// The same as [`rfc3339`], without an allocation.
#[must_use]
pub fn rfc3339_bytes(ms: u64) -> [u8; 24] {
    let ms = ms.min(LAST_MS);
    let (year, month, day) = civil_from_days(ms / DAY_MS);
    let of_day = ms % DAY_MS;
    let mut out = *b"0000-00-00T00:00:00.000Z";
    for (at, width, number) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, of_day / 3_600_000),
        (14, 2, of_day / 60_000 % 60),
        (17, 2, of_day / 1_000 % 60),
        (20, 3, of_day % 1_000),
    ] {
        let mut left = number;
        for digit in out.iter_mut().skip(at).take(width).rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
    }
    out
}

/// Reads an RFC 3339 time, any offset, any number of fractional digits (beyond milliseconds they are
/// cut off). `None` when it is not one, or lies before 1970.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = fields(clock, ':', [2, 2, 2])?;
    // A leap second is a time that has been; it reads as the second before it.
    if hour > 23 || minute > 59 || second > 60 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let second = second.min(59);
    let days = days_from_civil(year, month, day);
    if civil_from_days(u64::try_from(days).ok()?) != (year, month, day) {
        return None;
    }
    let (millis, zone) = fraction(rest)?;
    let seconds = days * 86_400 + (hour * 3_600 + minute * 60 + second) as i64 - offset_seconds(zone)?;
    Some(u64::try_from(seconds).ok()? * 1_000 + millis)
}

/// Splits `.123…` off the front: the milliseconds, and what follows.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(digits) = text.strip_prefix('.') else { return Some((0, text)) };
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return None;
    }
    let (digits, zone) = digits.split_at_checked(len)?;
    let millis =
        digits.bytes().chain([b'0'; 3]).take(3).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some((millis, zone))
}

/// `Z`, or `±hh:mm` in seconds east of UTC.
fn offset_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, clock) = match zone.split_at_checked(1)? {
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let [hours, minutes] = fields(clock, ':', [2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60) as i64)
}

/// Numbers of exactly these widths, and nothing else.
fn fields<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days since 1970-01-01 to (year, month, day). Years are counted from March, so that the leap day is
/// the last day of a year; 400 years are 146,097 days.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let since_era = days + 719_468;
    let era = since_era / 146_097;
    let day_of_era = since_era % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`]; negative before 1970. `year` has four digits.
fn days_from_civil(year: u64, month: u64, day: u64) -> i64 {
    let year = (year + 400 - u64::from(month <= 2)) as i64;
    let era = year / 400;
    let year_of_era = year % 400;
    let march_month = ((month + 9) % 12) as i64;
    let day_of_year = (153 * march_month + 2) / 5 + day as i64 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era - 1) * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_184_947_945, "2026-11-20T14:29:07.945Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(parse_rfc3339(text), Some(ms));
        }
        assert_eq!(rfc3339(u64::MAX), rfc3339(LAST_MS));
    }

    #[test]
    fn offsets_and_fractions() {
        for (text, same_as) in [
            ("2026-11-20T15:29:07.945+01:00", "2026-11-20T14:29:07.945Z"),
            ("2026-11-20t14:29:07z", "2026-11-20T14:29:07.000Z"),
            ("2026-11-20 14:29:07.9Z", "2026-11-20T14:29:07.900Z"),
            ("2026-11-20T14:29:07.123456789-00:30", "2026-11-20T14:59:07.123Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(parse_rfc3339(text).map(rfc3339).as_deref(), Some(same_as));
        }
    }

    #[test]
    fn what_is_not_a_time() {
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T14:29:07",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T14:29:07.Z",
            "2026-11-20T14:29:07+1:00",
            "1969-12-31T23:59:59Z",
            "2026-11-20T14:29:07ZZ",
            "２０２６-11-20T14:29:07Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(ms in 0..=LAST_MS) {
            prop_assert_eq!(parse_rfc3339(&rfc3339(ms)), Some(ms));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9TZ:.+ -]{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
