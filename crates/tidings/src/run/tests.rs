//! What a start says when it cannot.

use expect_test::expect;

use super::*;

#[test]
fn fatal_errors_say_what_to_do() {
    let address = Address::parse("127.0.0.1:8080").unwrap();
    let socket = Address::parse("unix:/run/t.sock").unwrap();
    let path = PathBuf::from("/data");
    let mut out = String::new();
    for fatal in [
        Fatal::Listen(LISTEN, address.clone(), io::ErrorKind::AddrInUse.into()),
        Fatal::Listen(LISTEN, address.clone(), io::ErrorKind::PermissionDenied.into()),
        Fatal::Listen(LISTEN, address.clone(), io::ErrorKind::AddrNotAvailable.into()),
        Fatal::Listen("compat.go_redis.listen", address, io::ErrorKind::AddrInUse.into()),
        Fatal::Listen(LISTEN, socket.clone(), io::ErrorKind::AddrInUse.into()),
        Fatal::Listen(LISTEN, socket, io::ErrorKind::PermissionDenied.into()),
        Fatal::Store(path.clone(), StoreError::InUse(path.clone())),
        Fatal::Store(path.clone(), StoreError::Full("write".to_owned())),
        Fatal::Store(path.clone(), StoreError::Damaged("a record".to_owned())),
        Fatal::Store(path.clone(), StoreError::Format { found: 2, expected: 1 }),
        Fatal::Store(path.clone(), StoreError::Io("read-only".to_owned())),
        Fatal::Unfinished(Duration::from_secs(10)),
    ] {
        out += &format!("{fatal}\n");
    }
    expect![[r#"
        port in use: 127.0.0.1:8080 is taken by another process; stop that one, or choose another address with --listen
        not allowed to listen on 127.0.0.1:8080 (permission denied); choose a port above 1023 with --listen, or give the process CAP_NET_BIND_SERVICE
        cannot listen on 127.0.0.1:8080 (address not available); choose an address of this machine with --listen
        port in use: 127.0.0.1:8080 is taken by another process; stop that one, or choose another address with compat.go_redis.listen
        port in use: unix:/run/t.sock is taken by another process; stop that one, or choose another address with --listen
        cannot listen on unix:/run/t.sock (permission denied); the directory must exist and be writable, and nothing else be there
        data directory in use: /data belongs to another tidings that is running; stop that one, or choose another directory with --store
        the disk with the data directory /data is full (write); make room and start again
        the data directory /data is damaged (a record); nothing was thrown away: restore it from a copy, or start anew with --store and another directory
        the data directory /data has format 2, and this version reads 1; start it with the version that wrote it
        the data directory /data cannot be used (read-only); check that it exists and may be written
        stopping took longer than 10s (server.shutdown_timeout); what was accepted is kept, some receipts may be missing
    "#]].assert_eq(&out);
}
