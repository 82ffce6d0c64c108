//! Whose connection it is, and whose request: who is believed when it speaks for somebody else.

use std::io;
use std::net::IpAddr;

use hyper::HeaderMap;
use rustix::net::{RecvFlags, recv};
use tidings_gateway::Stream;
use tidings_model::ClientAddress;
use tidings_wire::{forwarded, proxy};
use tokio::io::Interest;

use crate::networks::Networks;

/// Who is believed when it says whose connection or request it passes on.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// Whether every connection begins with a PROXY header.
    pub(crate) proxy_protocol: bool,
    /// Who may write PROXY headers.
    pub(crate) proxy_protocol_from: Networks,
    /// Whose word in `header` is taken.
    pub(crate) trusted: Networks,
    /// The header in which proxies say where a request came from.
    pub(crate) header: forwarded::Header,
}

/// Why a connection cannot say whose it is.
#[derive(Debug)]
pub(crate) enum NoSource {
    /// It comes from somebody who may not write PROXY headers.
    NotAllowed,
    /// Its header is none.
    Header(proxy::Error),
    /// It ended too early.
    Io(io::Error),
}

impl Sources {
    /// Reads the PROXY header of a new connection, if there is to be one. Answers where the client is.
    ///
    /// # Errors
    /// [`NoSource`] says what is wrong.
    pub(crate) async fn of_connection(
        &self,
        stream: &Stream,
        peer: ClientAddress,
    ) -> Result<ClientAddress, NoSource> {
        if !self.proxy_protocol {
            return Ok(peer);
        }
        if !self.proxy_protocol_from.contain(peer) {
            return Err(NoSource::NotAllowed);
        }
        Ok(read_header(stream).await?.map_or(peer, ClientAddress::new))
    }

    /// What a new connection counts for: its address, unless that is of somebody who brings those of others.
    pub(crate) fn counted_as(&self, peer: ClientAddress) -> Option<u64> {
        let brings = self.proxy_protocol && self.proxy_protocol_from.contain(peer);
        if brings || self.trusted.contain(peer) { None } else { peer.counted_as() }
    }

    /// Where the client of a request is, when `peer` has sent it.
    pub(crate) fn of_request(&self, peer: ClientAddress, headers: &HeaderMap) -> ClientAddress {
        if self.trusted.is_empty() {
            return peer;
        }
        let lines = headers.get_all(self.header.name());
        // What is not text names nobody.
        let lines = lines.iter().map(|line| line.to_str().unwrap_or("-"));
        let address = |ip: Option<IpAddr>| ip.map_or(ClientAddress::LOCAL, ClientAddress::new);
        let is_trusted = |ip| self.trusted.contain(address(ip));
        address(forwarded::client(peer.ip(), self.header, lines, is_trusted))
    }
}

/// Takes a PROXY header off a connection, and not a byte more.
async fn read_header(stream: &Stream) -> Result<Option<IpAddr>, NoSource> {
    let mut buffer = vec![0; proxy::HEADER_BYTES_MAX];
    let mut filled = 0;
    loop {
        let seen = receive(stream, &mut buffer[filled..], RecvFlags::PEEK).await?;
        let header = proxy::decode(&buffer[..filled + seen]).map_err(NoSource::Header)?;
        // As long as it is not complete, all that is there belongs to it.
        let end = header.map_or(filled + seen, |header| header.bytes);
        while filled < end {
            filled += receive(stream, &mut buffer[filled..end], RecvFlags::empty()).await?;
        }
        if let Some(header) = header {
            return Ok(header.source);
        }
    }
}

async fn receive(stream: &Stream, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, NoSource> {
    let received = match stream {
        Stream::Tcp(stream) => {
            stream.async_io(Interest::READABLE, || Ok(recv(stream, &mut *buffer, flags)?.0)).await
        }
        Stream::Unix(stream) => {
            stream.async_io(Interest::READABLE, || Ok(recv(stream, &mut *buffer, flags)?.0)).await
        }
        // The header comes before the handshake.
        Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
    };
    match received {
        Ok(0) => Err(NoSource::Io(io::ErrorKind::UnexpectedEof.into())),
        Ok(count) => Ok(count),
        Err(why) => Err(NoSource::Io(why)),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_brings_others_is_no_crowd() {
        for (proxy_protocol, ip, counted) in [
            (false, "127.0.0.1", false),
            (false, "10.1.2.3", false),
            (false, "192.0.2.1", true),
            (true, "127.0.0.2", true),
        ] {
            let peer = ClientAddress::new(ip.parse().unwrap());
            assert_eq!(sources(proxy_protocol).counted_as(peer).is_some(), counted, "{ip}");
        }
        let of_proxy = Sources { trusted: Networks::default(), ..sources(true) };
        assert_eq!(of_proxy.counted_as(ClientAddress::new("127.0.0.1".parse().unwrap())), None);
    }

    fn sources(proxy_protocol: bool) -> Sources {
        Sources {
            proxy_protocol,
            proxy_protocol_from: Networks::parse("127.0.0.1").unwrap(),
            trusted: Networks::parse("127.0.0.1, 10.0.0.0/8").unwrap(),
            header: forwarded::Header::XForwardedFor,
        }
    }

    /// What becomes of a connection on which `pieces` arrive one after the other: its source and the rest.
    async fn arrive(sources: &Sources, pieces: &[&[u8]]) -> Result<(String, Vec<u8>), NoSource> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        let mut server = Stream::Tcp(server);
        client.set_nodelay(true).unwrap();
        let peer = ClientAddress::new(peer.ip());
        let write = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let (source, ()) = tokio::join!(sources.of_connection(&server, peer), write);
        let mut rest = Vec::new();
        let source = source?.to_string();
        server.read_to_end(&mut rest).await.unwrap();
        Ok((source, rest))
    }

    #[tokio::test]
    async fn a_header_is_taken_off_and_nothing_else() {
        let sources = sources(true);
        let v1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n";
        let v2: &[u8] =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\0\x01\0\x02GET / HTTP/1.1\r\n";
        for bytes in [v1, v2] {
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            for pieces in [vec![bytes], bytes.chunks(7).collect(), single] {
                let (source, rest) = arrive(&sources, &pieces).await.unwrap();
                assert_eq!((source.as_str(), &rest[..]), ("192.0.2.7", &b"GET / HTTP/1.1\r\n"[..]));
            }
        }
        let (source, rest) = arrive(&sources, &[b"PROXY UNKNOWN\r\nhi"]).await.unwrap();
        assert_eq!((source.as_str(), &rest[..]), ("127.0.0.1", &b"hi"[..]));
    }

    #[tokio::test]
    async fn who_has_none_is_not_let_in() {
        let required = sources(true);
        let plain = arrive(&required, &[b"GET / HTTP/1.1\r\n"]).await;
        assert!(matches!(plain, Err(NoSource::Header(proxy::Error::Missing))), "{plain:?}");
        let half = arrive(&required, &[b"PROXY TCP4 1"]).await;
        assert!(matches!(half, Err(NoSource::Io(_))), "{half:?}");
        let stranger = Sources { proxy_protocol_from: Networks::parse("10.0.0.1").unwrap(), ..required };
        let stranger = arrive(&stranger, &[b"PROXY UNKNOWN\r\n"]).await;
        assert!(matches!(stranger, Err(NoSource::NotAllowed)), "{stranger:?}");
        let (_, rest) = arrive(&sources(false), &[b"PROXY UNKNOWN\r\n"]).await.unwrap();
        assert_eq!(rest, b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn headers_of_trusted_proxies_are_believed() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.7, 10.1.1.1"));
        let sources = sources(false);
        for (peer, client) in [("127.0.0.1", "192.0.2.7"), ("127.0.0.2", "127.0.0.2")] {
            let peer = ClientAddress::new(peer.parse().unwrap());
            assert_eq!(sources.of_request(peer, &headers).to_string(), client);
        }
        headers.append("x-forwarded-for", HeaderValue::from_bytes(b"\xff").unwrap());
        let peer = ClientAddress::new(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(sources.of_request(peer, &headers), peer);
    }
}
