//! Headers of proxies: whatever they say, somebody who is not trusted is the client, or nobody is left.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use tidings_wire::forwarded::{self, Header};

fuzz_target!(|text: &str| {
    let peer = Some(IpAddr::from([10, 0, 0, 1]));
    let trusted = |ip: Option<IpAddr>| matches!(ip, Some(IpAddr::V4(ip)) if ip.octets()[0] == 10);
    for header in [Header::XForwardedFor, Header::Forwarded] {
        let client = forwarded::client(peer, header, text.lines(), trusted);
        assert_eq!(client, client.map(|ip| ip.to_canonical()));
        assert_eq!(forwarded::client(peer, header, text.lines(), |_| false), peer);
        // What the client itself wrote in front changes nothing.
        let more = format!("for=192.0.2.66, 192.0.2.66\n{text}");
        let again = forwarded::client(peer, header, more.lines(), trusted);
        assert!(again == client || trusted(client));
    }
});
