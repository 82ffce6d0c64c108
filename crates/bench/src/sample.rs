//! The connections that are read in full: is every number there, once, and in the same order for everybody?
//!
//! The others are only counted. The payload is searched for the counter that the bench puts into `data`; nothing else
//! of the server's JSON is looked at. Pushes that are called in side by side may be accepted in any order, so the
//! order to compare with is that of another connection rather than that of the numbers.

use std::ops::Range;

use crate::stamps::number_in;

/// Faults told for each connection; the rest is counted.
const FAULTS_MAX: usize = 3;
/// Bytes of an unexpected payload that are quoted.
const QUOTE_MAX: usize = 160;

/// Collects the payloads of one connection and keeps their numbers.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    last: Vec<u8>,
    numbers: Vec<u64>,
    strangers: Vec<String>,
}

impl Sample {
    /// A message came.
    pub(crate) fn add(&mut self, payload: &[u8]) {
        match number_in(payload) {
            Some(number) => self.numbers.push(number),
            None if self.strangers.len() < FAULTS_MAX => {
                let quote = String::from_utf8_lossy(&payload[..payload.len().min(QUOTE_MAX)]);
                self.strangers.push(format!("a frame that is no push of this run: {quote}"));
            }
            None => {}
        }
        self.last.clear();
        self.last.extend_from_slice(payload);
    }

    /// The payload of the last complete message.
    pub(crate) fn last(&self) -> &[u8] {
        &self.last
    }

    /// What was wrong, in words: numbers of `due` that are missing, came twice, or in another order than at `other`.
    pub(crate) fn faults(&self, due: Range<u64>, other: &Self) -> Vec<String> {
        let mut faults = self.strangers.clone();
        let mut times = vec![0_u32; usize::try_from(due.end - due.start).unwrap_or(0)];
        for number in &self.numbers {
            let index = number.checked_sub(due.start).and_then(|index| usize::try_from(index).ok());
            match index.and_then(|index| times.get_mut(index)) {
                Some(times) => *times += 1,
                None => faults.push(format!("message {number} was never sent")),
            }
        }
        let wrong = due.zip(&times).filter(|(_, times)| **times != 1);
        faults.extend(wrong.map(|(number, times)| match times {
            0 => format!("message {number} is missing"),
            times => format!("message {number} came {times} times"),
        }));
        let order = self.numbers.iter().zip(&other.numbers).find(|(own, other)| own != other);
        if let Some((own, other)) = order.filter(|_| faults.is_empty()) {
            faults.push(format!("message {own} came where another client has {other}"));
        }
        if let Some(more @ 1..) = faults.len().checked_sub(FAULTS_MAX) {
            faults.truncate(FAULTS_MAX);
            faults.push(format!("and {more} more"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(payloads: &[&str]) -> Sample {
        let mut sample = Sample::default();
        for payload in payloads {
            sample.add(payload.as_bytes());
        }
        sample
    }

    #[track_caller]
    fn check(payloads: &[&str], expected: &[&str]) {
        let other = sample(&[r#"{"push":{"data":{"seq":7}}}"#, r#"{"seq": 8,"x":1}"#]);
        assert_eq!(sample(payloads).faults(7..9, &other), expected);
    }

    #[test]
    fn all_numbers_in_the_same_order_are_fine() {
        check(&[r#"{"seq":7}"#, r#"{"seq":8}"#], &[]);
        check(&[r#"{"data":"{\"seq\": 7}"}"#, r#"{"seq":8}"#], &[]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(&[r#"{"seq":8}"#], &["message 7 is missing"]);
        check(&[r#"{"seq":7}"#, r#"{"seq":8}"#, r#"{"seq":8}"#], &["message 8 came 2 times"]);
        check(&[r#"{"seq":8}"#, r#"{"seq":7}"#], &["message 8 came where another client has 7"]);
        check(&[r#"{"seq":7}"#, r#"{"seq":8}"#, r#"{"seq":9}"#], &["message 9 was never sent"]);
        let stranger = "a frame that is no push of this run: {}";
        check(&["{}", r#"{"seq":7}"#, r#"{"seq":8}"#], &[stranger]);
        check(&["{}", "{}", "{}"], &[stranger, stranger, stranger, "and 2 more"]);
    }
}
