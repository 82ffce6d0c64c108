//! Values as people write them: sizes, durations and numbers within bounds, switches.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use tidings_api::{duration, size};

/// Reads a duration within bounds.
pub(super) fn time(text: &str, within: RangeInclusive<Duration>) -> Result<Duration, String> {
    let value = duration::parse(text).map_err(|why| why.to_string())?;
    if within.contains(&value) {
        return Ok(value);
    }
    Err(format!("must be from {} to {}", duration::show(*within.start()), duration::show(*within.end())))
}

/// Reads a whole number within bounds: in decimal, or as TOML has it with `0x`, `0o` or `0b`.
pub(super) fn number<T: FromStr + PartialOrd + Display>(
    text: &str,
    within: RangeInclusive<T>,
) -> Result<T, String> {
    let decimal = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find_map(|(prefix, radix)| {
        let digits = text.strip_prefix(prefix).filter(|digits| !digits.starts_with('+'))?;
        u64::from_str_radix(digits, radix).ok().map(|number| number.to_string())
    });
    decimal
        .as_deref()
        .unwrap_or(text)
        .parse()
        .ok()
        .filter(|value| within.contains(value))
        .ok_or_else(|| format!("must be a whole number from {} to {}", within.start(), within.end()))
}

/// Reads a size within bounds, in bytes: `"64KiB"`, `"1MB"`, `"512B"`.
pub(super) fn size(text: &str, within: RangeInclusive<u64>) -> Result<u64, String> {
    let bytes = size::parse(text).map_err(|why| why.to_string())?;
    if within.contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("must be from {} to {}", size::show(*within.start()), size::show(*within.end())))
}

/// Reads a yes or no.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_within_bounds() {
        let any = 0..=u64::MAX;
        for (text, bytes) in [("0B", 0), ("64KiB", 65_536), ("1MB", 1_000_000), ("2 GiB", 2 << 30)] {
            assert_eq!(size(text, any.clone()), Ok(bytes), "{text}");
        }
        for text in ["", "64", "KiB", "64kib", "1.5MB", "-1B", "64 K"] {
            assert!(size(text, any.clone()).is_err(), "{text}");
        }
        assert_eq!(size("1B", 1024..=1 << 30).unwrap_err(), "must be from 1KiB to 1GiB");
    }

    #[test]
    fn numbers_and_times_are_read_within_bounds() {
        assert_eq!(number("7", 1..=8), Ok(7));
        for text in ["0x7", "0o7", "0b111"] {
            assert_eq!(number(text, 1..=8), Ok(7), "{text}");
        }
        for text in ["0x", "0x+7", "0o8", "0xff"] {
            assert!(number(text, 1..=8).is_err(), "{text}");
        }
        assert_eq!(number("9", 1..=8).unwrap_err(), "must be a whole number from 1 to 8");
        assert_eq!(number("many", 1..=8).unwrap_err(), "must be a whole number from 1 to 8");
        let within = Duration::from_secs(1)..=Duration::from_secs(3_600);
        assert_eq!(time("90s", within.clone()), Ok(Duration::from_secs(90)));
        assert_eq!(time("1ms", within).unwrap_err(), "must be from 1s to 1h");
    }
}
