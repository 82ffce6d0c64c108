//! The bare loop: one `send()` for each socket and write, nothing else.

use std::{
    io::{self, BufRead, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

use socket2::{Domain, Socket, Type};

use super::from_hex;
use crate::{
    child::{serve, unknown},
    error::{BenchError, Doing},
};

/// Connections that the kernel holds until they are accepted; more is cut to what the system allows.
const BACKLOG: i32 = 4096;

/// The process: `listen` answers the address, `accept` waits for all sockets, `send PASSES FRAMES` writes.
pub(crate) fn run(sockets: usize, frame: &str) -> Result<(), BenchError> {
    run_on(sockets, frame, io::stdin().lock(), io::stdout().lock())
}

/// The same over any lines.
pub(super) fn run_on(
    sockets: usize,
    frame: &str,
    input: impl BufRead,
    output: impl Write,
) -> Result<(), BenchError> {
    let frame = from_hex(frame)?;
    let listener = listen().doing("listening for the floor's reader")?;
    let mut accepted: Vec<TcpStream> = Vec::with_capacity(sockets);
    serve(input, output, |words| match words {
        ["listen"] => {
            listener.local_addr().map(|address| address.to_string()).doing("listening for the floor's reader")
        }
        ["accept"] => {
            while accepted.len() < sockets {
                let (stream, _) = listener.accept().doing("accepting a floor socket")?;
                stream.set_nodelay(true).doing("accepting a floor socket")?;
                accepted.push(stream);
            }
            Ok(String::new())
        }
        ["send", passes, frames] => {
            let (Ok(passes), Ok(frames)) = (passes.parse::<usize>(), frames.parse::<usize>()) else {
                return Err(unknown(words));
            };
            let bytes = frame.repeat(frames);
            for _ in 0..passes {
                for stream in &mut accepted {
                    stream.write_all(&bytes).doing("sending")?;
                }
            }
            Ok(String::new())
        }
        other => Err(unknown(other)),
    })
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
