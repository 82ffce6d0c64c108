//! When a certificate ends: the only thing that is read of one here (RFC 5280, section 4.1). It judges nothing, and
//! what it does not understand has no end.

use tidings_model::Timestamp;
use tidings_wire::time::parse_rfc3339;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// After which moment a certificate in DER is not valid any more.
pub(super) fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (mut fields, _) = expect(certificate, SEQUENCE)?;
    if let Some((_, rest)) = expect(fields, VERSION) {
        fields = rest;
    }
    // The serial number, the algorithm, the issuer; then from when to when.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        fields = expect(fields, tag)?.1;
    }
    let (validity, _) = expect(fields, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let text = match tag {
        // Two digits of a year: 1950 to 2049.
        UTC_TIME if text.get(..2)?.parse::<u8>().ok()? >= 50 => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let (date, clock) = (
        format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?),
        format!("{}:{}:{}", part(8, 10)?, part(10, 12)?, part(12, 14)?),
    );
    (part(14, text.len())? == "Z").then(|| parse_rfc3339(&format!("{date}T{clock}Z")).map(Timestamp))?
}

/// What is in the first element, if it is of this kind, and what comes behind it.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let digits = length - 0x80;
        if digits == 0 || digits > 4 {
            return None;
        }
        let (bytes, behind) = rest.split_at_checked(digits)?;
        length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = behind;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_kinds_are_read() {
        for (tag, text, expected) in [
            (UTC_TIME, "261120000000Z", Some(1_795_132_800_000)),
            (UTC_TIME, "491231235959Z", parse_rfc3339("2049-12-31T23:59:59Z")),
            (GENERALIZED_TIME, "20500101000000Z", parse_rfc3339("2050-01-01T00:00:00Z")),
            (UTC_TIME, "2611200000Z", None),
            (UTC_TIME, "261320000000Z", None),
            (GENERALIZED_TIME, "20500101000000+0100", None),
            (UTC_TIME, "", None),
            (INTEGER, "261120000000Z", None),
        ] {
            assert_eq!(time(tag, text).map(|at| at.0), expected, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_found_and_rubbish_has_none() {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2030, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let der = certificate.der();
        assert_eq!(not_after(der).map(|at| at.0), parse_rfc3339("2030-02-03T00:00:00Z"));
        for length in 0..der.len() {
            assert_eq!(not_after(&der[..length]), None);
        }
        for bytes in
            [&[0x30, 0x80][..], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 0x84, 255, 255, 255, 255], &[0; 64]]
        {
            assert_eq!(not_after(bytes), None);
        }
    }
}
