//! Where to listen: a TCP address or a Unix socket, taken before anything else is done.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tidings_gateway::Stream;
use tidings_model::ClientAddress;
use tokio::net::{TcpListener, UnixListener};

/// What an address begins with that is a path.
const UNIX: &str = "unix:";

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `127.0.0.1:8080`
    Tcp(SocketAddr),
    /// `unix:/run/tidings.sock`
    Unix(PathBuf),
}

/// How to listen there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Whether other processes may listen on the same TCP address, and the kernel shares the connections out.
    pub(crate) reuse_port: bool,
    /// Who may connect to a Unix socket, as the mode of a file.
    pub(crate) unix_mode: u32,
}

impl Default for Manner {
    fn default() -> Self {
        Self { reuse_port: false, unix_mode: 0o660 }
    }
}

/// An address that was taken, without listening yet.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: Socket,
    /// The file of a Unix socket.
    file: Option<SocketFile>,
}

/// The file of a Unix socket, which goes with it, unless it is somebody else's by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// What connections come from.
#[derive(Debug)]
pub(super) struct Door {
    inner: Inner,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Address {
    /// Reads an address as it is written.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(UNIX) {
            Some(path) if path.starts_with('/') => Some(Self::Unix(PathBuf::from(path))),
            Some(_) => None,
            None => text.parse().ok().map(Self::Tcp),
        }
    }

    /// Whether only one of them can be listened at. Whoever takes a free port gets one of their own.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let takes_in =
                    |one: IpAddr, other: IpAddr| one.is_unspecified() && (one.is_ipv6() || other.is_ipv4());
                let ips = (one.ip().to_canonical(), other.ip().to_canonical());
                one.port() != 0
                    && one.port() == other.port()
                    && (ips.0 == ips.1 || takes_in(ips.0, ips.1) || takes_in(ips.1, ips.0))
            }
            (Self::Unix(one), Self::Unix(other)) => one == other,
            (Self::Tcp(_), Self::Unix(_)) | (Self::Unix(_), Self::Tcp(_)) => false,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Takes an address, without listening yet.
pub(crate) fn bind(address: &Address, manner: Manner) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
            if address.is_ipv6() {
                // Whatever the machine's setting, its "any" takes in IPv4.
                socket.set_only_v6(false)?;
            }
            // A restart must not wait for connections of the process before to be forgotten.
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(manner.reuse_port)?;
            socket.set_nonblocking(true)?;
            socket.bind(&(*address).into())?;
            Ok(Bound { socket, file: None })
        }
        Address::Unix(path) => {
            clear_the_way(path)?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.bind(&SockAddr::unix(path)?)?;
            let found = fs::symlink_metadata(path)?;
            let file = SocketFile { path: path.clone(), identity: (found.dev(), found.ino()) };
            // Nobody can connect before it listens.
            fs::set_permissions(path, Permissions::from_mode(manner.unix_mode))?;
            Ok(Bound { socket, file: Some(file) })
        }
    }
}

/// Removes what a process has left behind that did not end well; nothing else.
fn clear_the_way(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(why),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file which is no socket"));
    }
    match UnixStream::connect(path) {
        Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Somebody answers, or is too busy to.
        Ok(_) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

impl Bound {
    /// Bounds what the kernel holds for a connection and has not sent yet. Connections have it from the socket
    /// that they were accepted on. By itself the kernel would take some megabytes for a client that has stopped
    /// reading. A Unix socket holds no more than its buffers anyway.
    pub(crate) fn bound_unsent(&self, bytes: u32) {
        if self.file.is_some() {
            return;
        }
        if let Err(why) = self.socket.set_tcp_notsent_lowat(bytes) {
            tracing::debug!(error = %why, "the kernel does not bound what it has not sent");
        }
    }

    /// Listens. To be called on a runtime.
    pub(super) fn listen(self, backlog: i32) -> io::Result<Door> {
        let Self { socket, file } = self;
        socket.listen(backlog)?;
        let inner = match &file {
            None => Inner::Tcp(TcpListener::from_std(socket.into())?),
            Some(_) => Inner::Unix(UnixListener::from_std(socket.into())?),
        };
        Ok(Door { inner, _file: file })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        if found.is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Door {
    /// Where it is.
    pub(super) fn address(&self) -> io::Result<Address> {
        match &self.inner {
            Inner::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Inner::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(Address::Unix(address.as_pathname().map(Path::to_owned).unwrap_or_default()))
            }
        }
    }

    /// Waits for the next connection.
    pub(super) async fn accept(&self) -> io::Result<(Stream, ClientAddress)> {
        match &self.inner {
            Inner::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Without it a small frame would wait for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), ClientAddress::new(peer.ip())))
            }
            Inner::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), ClientAddress::LOCAL))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, shown) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("[::]:80", Some("[::]:80")),
            ("unix:/run/tidings.sock", Some("unix:/run/tidings.sock")),
            ("unix:tidings.sock", None),
            ("unix:", None),
            ("8080", None),
            ("localhost:80", None),
        ] {
            assert_eq!(Address::parse(text).map(|address| address.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[tokio::test]
    async fn a_socket_file_is_taken_over_only_from_the_dead() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.sock");
        let address = Address::Unix(path.clone());
        let take = || bind(&address, Manner { unix_mode: 0o600, ..Manner::default() });
        let door = take().unwrap().listen(8).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(door.address().unwrap(), address);
        assert_eq!(take().unwrap_err().kind(), io::ErrorKind::AddrInUse, "somebody listens");
        drop(door);
        assert!(!path.exists(), "it goes with the listener");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        let ours = take().unwrap().listen(8).unwrap();
        fs::remove_file(&path).unwrap();
        let _theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists(), "somebody else's by now");
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        let refused = bind(&Address::Unix(file.clone()), Manner::default()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"x");
    }

    #[test]
    fn processes_share_a_port_only_when_they_want_to() {
        let any = Address::Tcp("127.0.0.1:0".parse().unwrap());
        let sharing = Manner { reuse_port: true, ..Manner::default() };
        for (manner, shared) in [(Manner::default(), false), (sharing, true)] {
            let first = bind(&any, manner).unwrap();
            first.socket.listen(1).unwrap();
            let taken = Address::Tcp(first.socket.local_addr().unwrap().as_socket().unwrap());
            assert_eq!(bind(&taken, manner).and_then(|bound| bound.socket.listen(1)).is_ok(), shared);
        }
    }
}
