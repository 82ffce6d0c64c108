//! What a hook is sent: the JSON around what happened.

use bytes::Bytes;
use tidings_model::{NamespaceName, NoticeId, Timestamp};

use super::Notice;

/// The body for a notice. Its id is one that the node has made: letters and digits.
pub(super) fn of(id: &NoticeId, namespace: &NamespaceName, notice: &Notice) -> Bytes {
    around(id.as_str(), notice.kind.as_str(), namespace, notice.at, &notice.data)
}

/// The body for anything that a hook is sent. `id` and `kind` are letters, digits and underscores; `data` is a JSON object.
pub(crate) fn around(id: &str, kind: &str, namespace: &NamespaceName, at: Timestamp, data: &str) -> Bytes {
    debug_assert!(
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(data).is_ok(),
        "what happened is a JSON object: {data}"
    );
    let time = rfc3339(at);
    Bytes::from(format!(
        r#"{{"id":"{id}","type":"{kind}","namespace":"{namespace}","time":"{time}","data":{data}}}"#
    ))
}

/// What one call tells of these notices: a list, for a hook that takes more than one at once.
pub(super) fn of_call(notices: &[&[u8]], batch: usize) -> Bytes {
    match notices {
        [only] if batch <= 1 => Bytes::copy_from_slice(only),
        notices => [b"[", &notices.join(&b","[..])[..], b"]"].concat().into(),
    }
}

/// A time as `2026-11-23T08:15:30.123Z`.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let (days, of_day) = (time.0 / 86_400_000, time.0 % 86_400_000);
    // Years begin in March, so that leap days are last; 400 of them have 146,097 days.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::NoticeKind;

    #[test]
    fn times_are_read_as_they_are_everywhere() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_795_132_800_123, "2026-11-20T00:00:00.123Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(ms)), expected);
        }
    }

    #[test]
    fn a_body_is_json() {
        let data = r#"{"message":"m\"1"}"#.to_owned();
        let notice = Notice { id: None, kind: NoticeKind::Escalated, at: Timestamp(1_795_132_800_123), data };
        let body = of(&"01A".parse().unwrap(), &"demo".parse().unwrap(), &notice);
        let expected = r#"{"id":"01A","type":"escalated","namespace":"demo","time":"2026-11-20T00:00:00.123Z","data":{"message":"m\"1"}}"#;
        assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }
}
