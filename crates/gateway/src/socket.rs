//! The socket of a connection on its shard: what the kernel takes and gives now, without waiting.
//!
//! TLS is inside: everything that waits for a connection still leaves in one system call, as the records
//! of what was one write. It knows no frames.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use rustls::ServerConnection;
use tokio::net::{TcpStream, UnixStream};

use crate::stream::Stream;

/// A socket that has left the HTTP side and belongs to no runtime now.
#[derive(Debug)]
pub(crate) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    Tls(std::net::TcpStream, Box<ServerConnection>),
}

/// A socket of this shard.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(Box<UnixStream>),
    Tls(Box<Tls>),
}

/// A TLS session and the TCP connection under it.
#[derive(Debug)]
pub(crate) struct Tls {
    socket: TcpStream,
    session: RefCell<ServerConnection>,
}

impl Detached {
    /// Takes a socket out of what the HTTP side has read and written. Answers also what TLS has deciphered
    /// beyond `read`, which HTTP had read.
    pub(crate) fn new(stream: Stream, read: Bytes) -> io::Result<(Self, Bytes)> {
        match stream {
            Stream::Tcp(stream) => Ok((Self::Tcp(stream.into_std()?), read)),
            Stream::Unix(stream) => Ok((Self::Unix(stream.into_std()?), read)),
            Stream::Tls(stream) => {
                let (socket, mut session) = stream.into_inner();
                let mut all = BytesMut::from(&*read);
                let mut chunk = [0; 4_096];
                loop {
                    match session.reader().read(&mut chunk) {
                        Ok(0) => break,
                        Ok(count) => all.extend_from_slice(&chunk[..count]),
                        Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                        Err(why) => return Err(why),
                    }
                }
                Ok((Self::Tls(socket.into_std()?, Box::new(session)), all.freeze()))
            }
        }
    }

    /// Makes it a socket of the runtime that this is called on.
    pub(crate) fn attach(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(socket) => Socket::Tcp(TcpStream::from_std(socket)?),
            Self::Unix(socket) => Socket::Unix(Box::new(UnixStream::from_std(socket)?)),
            Self::Tls(socket, session) => Socket::Tls(Box::new(Tls {
                socket: TcpStream::from_std(socket)?,
                session: RefCell::new(*session),
            })),
        })
    }
}

impl Socket {
    /// Reads what is there, at most a buffer full.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_read(buffer),
            Self::Unix(socket) => socket.try_read(buffer),
            Self::Tls(tls) => tls.try_read(buffer),
        }
    }

    /// Writes what it takes now. With TLS, what was taken may still wait here: see
    /// [`Socket::has_pending`].
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            Self::Unix(socket) => socket.try_write(bytes),
            Self::Tls(tls) => tls.try_write(bytes),
        }
    }

    /// Whether bytes that it took have not reached the kernel.
    pub(crate) fn has_pending(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(tls) => tls.session.borrow().wants_write(),
        }
    }

    /// Hands such bytes to the kernel, as many as it takes now.
    pub(crate) fn try_flush(&self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }

    pub(crate) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(context),
            Self::Unix(socket) => socket.poll_read_ready(context),
            Self::Tls(tls) => tls.socket.poll_read_ready(context),
        }
    }

    pub(crate) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_ready(context),
            Self::Unix(socket) => socket.poll_write_ready(context),
            Self::Tls(tls) => tls.socket.poll_write_ready(context),
        }
    }

    /// Says that no more will be written.
    pub(crate) fn shutdown(&self) {
        // A client that is gone already needs no goodbye.
        let _ = match self {
            Self::Tcp(socket) => socket2::SockRef::from(socket).shutdown(Shutdown::Write),
            Self::Unix(socket) => socket2::SockRef::from(&**socket).shutdown(Shutdown::Write),
            Self::Tls(tls) => {
                tls.session.borrow_mut().send_close_notify();
                tls.flush().and_then(|()| socket2::SockRef::from(&tls.socket).shutdown(Shutdown::Write))
            }
        };
    }
}

impl Tls {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        loop {
            match session.reader().read(buffer) {
                Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                // A client that hangs up without saying so in TLS has hung up.
                Err(why) if why.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                outcome => return outcome,
            }
            // What one call reads and deciphers fits into the shard's buffer, so nothing is left behind
            // that the socket would not wake us for.
            session.read_tls(&mut Direct(&self.socket))?;
            let outcome = session.process_new_packets();
            if session.wants_write() {
                flush(&mut session, &self.socket)?;
            }
            outcome.map_err(|why| io::Error::new(ErrorKind::InvalidData, why))?;
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        flush(&mut session, &self.socket)?;
        if session.wants_write() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = session.writer().write(bytes)?;
        flush(&mut session, &self.socket)?;
        Ok(taken)
    }

    fn flush(&self) -> io::Result<()> {
        flush(&mut self.session.borrow_mut(), &self.socket)
    }
}

/// Hands records to the kernel, until there are none or it takes no more.
fn flush(session: &mut ServerConnection, socket: &TcpStream) -> io::Result<()> {
    while session.wants_write() {
        match session.write_tls(&mut Direct(socket)) {
            Ok(_) => {}
            Err(why) if why.kind() == ErrorKind::WouldBlock => break,
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// The socket as rustls wants it.
struct Direct<'a>(&'a TcpStream);

impl Read for Direct<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Direct<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
