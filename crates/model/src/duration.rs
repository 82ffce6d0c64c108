//! Durations as people write them: `"0s"`, `"250ms"`, `"1h"`. The API and the configuration read the same.

use std::fmt;
use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDuration;

impl fmt::Display for NotDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a whole number with a unit (ms, s, m, h or d), as in \"90s\"")
    }
}

impl std::error::Error for NotDuration {}

/// Reads a duration. More than what fits reads as the longest one.
///
/// # Errors
/// When it is not a whole number with a unit.
pub fn parse(text: &str) -> Result<Duration, NotDuration> {
    let unit_at = text.bytes().position(|b| !b.is_ascii_digit()).ok_or(NotDuration)?;
    let (digits, unit) = text.split_at(unit_at);
    let ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(NotDuration),
    };
    if digits.is_empty() {
        return Err(NotDuration);
    }
    // Only too many digits can go wrong here.
    let number: u64 = digits.parse().unwrap_or(u64::MAX);
    Ok(Duration::from_millis(number.saturating_mul(ms)))
}

/// Writes a duration with the largest unit that leaves a whole number.
#[must_use]
pub fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    match units.into_iter().find(|(size, _)| ms > 0 && ms.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", ms / size),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms, shown) in [
            ("0s", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1m"),
            ("24h", 86_400_000, "1d"),
            ("30d", 2_592_000_000, "30d"),
        ] {
            let duration = parse(text).unwrap();
            assert_eq!(duration.as_millis(), ms, "{text}");
            assert_eq!(show(duration), shown);
        }
        assert_eq!(parse("99999999999999999999999d").unwrap().as_millis(), u128::from(u64::MAX));
        for bad in ["", "5", "s", "1.5h", "-1s", "1 s", "1w", "1H", "١s"] {
            assert_eq!(parse(bad), Err(NotDuration), "{bad}");
        }
    }
}
