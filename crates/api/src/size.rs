//! Sizes as people write them: `"512B"`, `"64KiB"`, `"1MB"`. The API and the configuration read the same.

use std::fmt;

/// Why a text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSize;

impl fmt::Display for NotSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a whole number with a unit (B, KB, MB, GB, KiB, MiB or GiB), as in \"64MiB\"")
    }
}

impl std::error::Error for NotSize {}

/// Reads a size, in bytes. More than what fits reads as the largest one.
///
/// # Errors
/// When it is not a whole number with a unit.
pub fn parse(text: &str) -> Result<u64, NotSize> {
    let unit_at = text.bytes().position(|byte| !byte.is_ascii_digit()).ok_or(NotSize)?;
    let (digits, unit) = text.split_at(unit_at);
    let factor: u64 = match unit.trim_start() {
        "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(NotSize),
    };
    let number: u64 = digits.parse().map_err(|_| NotSize)?;
    Ok(number.saturating_mul(factor))
}

/// Writes a size with the largest unit that leaves a whole number.
#[must_use]
pub fn show(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("512B", 512, "512B"),
            ("64KiB", 65_536, "64KiB"),
            ("1 MB", 1_000_000, "1000000B"),
            ("2048KiB", 2 << 20, "2MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("0B", 0, "0B"),
        ] {
            assert_eq!(
                parse(text).map(|bytes| (bytes, show(bytes))),
                Ok((bytes, shown.to_owned())),
                "{text}"
            );
        }
        for text in ["", "64", "KiB", "-1B", "1.5MiB", "64 kib", "99999999999999999999B"] {
            assert_eq!(parse(text), Err(NotSize), "{text}");
        }
    }
}
