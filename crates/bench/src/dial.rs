//! Sockets to the server, spread over the source addresses of this machine.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

/// Clients per source address: far below the ephemeral ports of one address, of which some are in TIME_WAIT.
const PER_SOURCE: usize = 2_000;

/// A socket of client `index` that is connecting.
pub(crate) fn open(to: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let socket = source_bound(to, index)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// The same, connected.
pub(crate) fn open_now(to: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let socket = source_bound(to, index)?;
    socket.connect(&to.into())?;
    socket.set_nonblocking(true)?;
    Ok(TcpStream::from_std(socket.into()))
}

/// A socket bound to the source address of client `index`, where the destination is this machine.
fn source_bound(to: SocketAddr, index: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    if let IpAddr::V4(address) = to.ip()
        && address.is_loopback()
    {
        socket.bind(&SocketAddr::from((source(std::process::id(), index), 0)).into())?;
    }
    Ok(socket)
}

/// An address of this machine for client `index`. One address has some 28,000 ports for one destination, so the
/// clients are spread; each process begins elsewhere, because ports of the run before are still in TIME_WAIT.
fn source(pid: u32, index: usize) -> Ipv4Addr {
    let [.., high, low] = pid.to_be_bytes();
    let host = u8::try_from(1 + (index / PER_SOURCE) % 254).unwrap_or(1);
    Ipv4Addr::new(127, 1 + high % 254, low, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_spread_and_differ_between_processes() {
        assert_eq!(source(0x0203, 0), Ipv4Addr::new(127, 3, 3, 1));
        assert_eq!(source(0x0203, 1_999), source(0x0203, 0));
        assert_eq!(source(0x0203, 2_000), Ipv4Addr::new(127, 3, 3, 2));
        assert_ne!(source(0x0204, 0), source(0x0203, 0));
        assert!(source(u32::MAX, usize::MAX).is_loopback());
    }
}
