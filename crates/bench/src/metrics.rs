//! What the server says of itself at `/metrics`, where it does.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::http::parse_answer;

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of it.
const ANSWER_MAX: u64 = 4 * 1024 * 1024;

/// The numbers of one moment.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(String);

impl Metrics {
    /// Asks the server at `address`; nothing when it has no such page.
    pub(crate) fn read(address: SocketAddr) -> Option<Self> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut bytes).ok()?;
        let (status, body, _) = parse_answer(&bytes).ok()??;
        (status == 200).then_some(())?;
        String::from_utf8(body).ok().map(Self)
    }

    /// The sum of a metric over all of its labels; nothing when there is no such metric.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        let values = self.0.lines().filter_map(|line| value_of(line, name));
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }
}

fn value_of(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let value = match rest.strip_prefix('{') {
        Some(labels) => labels.rsplit_once('}')?.1,
        None => rest,
    };
    value.strip_prefix(' ')?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed_and_longer_names_are_others() {
        let text = "# TYPE a counter\na_total{x=\"}\"} 2\na_total{x=\"2\"} 3.5\na_totals 9\nb 4 1700\n";
        let metrics = Metrics(text.to_owned());
        assert_eq!(metrics.sum("a_total"), Some(5.5));
        assert_eq!(metrics.sum("b"), Some(4.0));
        assert_eq!(metrics.sum("a"), None);
    }
}
