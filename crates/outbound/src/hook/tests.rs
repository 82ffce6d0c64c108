//! One attempt at a hook, against servers that behave and servers that do not.

use std::sync::Mutex;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

const NOW: Timestamp = Timestamp(1_795_132_800_123);

/// What a server does with the requests of one connection.
#[derive(Clone, Debug)]
enum Does {
    /// Answers each of them like this.
    Answers(&'static str),
    /// Answers one, and closes the connection without a word.
    AnswersAndGoes(&'static str),
    /// Reads, and says nothing.
    Hangs,
    /// Answers with this many bytes.
    Answers200With(usize),
    /// Answers with a body that never ends, a byte at a time.
    DripsBody,
    /// Answers with a head that never ends, a byte at a time.
    DripsHead,
    /// Answers with a head that is too large.
    FloodsHead,
    /// Closes the connection before it has read anything.
    Closes,
    /// Closes it in the middle of its answer.
    Cuts,
    /// Speaks another protocol.
    Speaks(&'static str),
}

/// A server: what it was asked, and how often it was connected to.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
    /// The certificate that it shows, if it speaks TLS.
    certificate: Option<String>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(does: Does) -> Self {
        Self::with(does, None).await
    }

    async fn with_tls(does: Does, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        Self::with(does, Some((acceptor, made.cert.pem()))).await
    }

    async fn with(does: Does, tls: Option<(TlsAcceptor, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let connections: Arc<Mutex<usize>> = Arc::default();
        let (seen, count) = (Arc::clone(&asked), Arc::clone(&connections));
        let (acceptor, certificate) = tls.unzip();
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                *count.lock().unwrap() += 1;
                let (does, seen, acceptor) = (does.clone(), Arc::clone(&seen), acceptor.clone());
                tokio::spawn(async move { serve(socket, acceptor, does, seen).await });
            }
        });
        Self { port, asked, connections, certificate, task }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?x=1", self.port)
    }
}

async fn serve(
    socket: TcpStream,
    acceptor: Option<TlsAcceptor>,
    does: Does,
    seen: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    match acceptor {
        Some(acceptor) => behave(acceptor.accept(socket).await.ok()?, does, &seen).await,
        None => behave(socket, does, &seen).await,
    }
}

async fn behave(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    does: Does,
    seen: &Mutex<Vec<String>>,
) -> Option<()> {
    if matches!(does, Does::Closes) {
        return None;
    }
    loop {
        let request = read_request(&mut io).await?;
        seen.lock().unwrap().push(request);
        match &does {
            Does::Answers(answer) => io.write_all(answer.as_bytes()).await.ok()?,
            Does::AnswersAndGoes(answer) => {
                io.write_all(answer.as_bytes()).await.ok()?;
                return None;
            }
            Does::Hangs => std::future::pending().await,
            Does::Answers200With(bytes) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
                io.write_all(head.as_bytes()).await.ok()?;
                let block = vec![b'x'; 64 * 1024];
                let mut left = *bytes;
                while left > 0 {
                    let next = left.min(block.len());
                    io.write_all(&block[..next]).await.ok()?;
                    left -= next;
                }
            }
            Does::DripsBody => drip(&mut io, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", "x").await?,
            Does::DripsHead => drip(&mut io, "HTTP/1.1 200 OK\r\nx: ", "y").await?,
            Does::FloodsHead => {
                io.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.ok()?;
                io.write_all(&vec![b'y'; 1 << 20]).await.ok()?;
            }
            Does::Cuts => {
                io.write_all(b"HTTP/1.1 200 O").await.ok()?;
                return None;
            }
            Does::Speaks(text) => io.write_all(text.as_bytes()).await.ok()?,
            Does::Closes => return None,
        }
    }
}

/// Writes the beginning, and then a byte each time the socket has taken the one before, as slowly as a test can bear.
async fn drip(io: &mut (impl AsyncWrite + Unpin), first: &str, then: &str) -> Option<()> {
    io.write_all(first.as_bytes()).await.ok()?;
    let mut beat = tokio::time::interval(Duration::from_millis(5));
    loop {
        beat.tick().await;
        io.write_all(then.as_bytes()).await.ok()?;
        io.flush().await.ok()?;
    }
}

/// A whole request: head and body.
async fn read_request(io: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut block = [0; 4_096];
        let read = io.read(&mut block).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&block[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        if body.len() >= length.parse().ok()? {
            return Some(text);
        }
    }
}

fn options(timeout_ms: u64) -> Options {
    let timeout = Duration::from_millis(timeout_ms);
    Options { connect_timeout: timeout, timeout, roots: Roots::System }
}

fn line(url: &str, allow_private: bool, options: Options) -> Line {
    let url = HookUrl::parse(url).unwrap();
    let secret = Some("a secret of the hook".to_owned());
    Line::new(Client::new(options), Destination { url, secret, allow_private })
}

fn exchange(server: &Server, timeout_ms: u64) -> Exchange {
    let url = HookUrl::parse(&server.url()).unwrap();
    let hook = Destination { url, secret: None, allow_private: true };
    Exchange::new(Client::new(Options::default()), hook, Duration::from_millis(timeout_ms))
}

fn told() -> Told {
    Told { id: "e1".to_owned(), body: Bytes::from_static(br#"{"id":"e1"}"#) }
}

#[tokio::test]
async fn a_call_is_signed_and_says_who_calls() {
    let server = Server::start(Does::Answers("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let mut line = line(&server.url(), true, Options::default());
    assert_eq!(line.tell(&told(), NOW).await, Ok(204));
    let asked = server.asked.lock().unwrap().concat();
    let signature = sign(b"a secret of the hook", 1_795_132_800, br#"{"id":"e1"}"#);
    let expected = format!(
        "POST /hook?x=1 HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-type: application/json\r\nuser-agent: {AGENT}\r\n\
         tidings-event-id: e1\r\ntidings-signature: {signature}\r\ncontent-length: 11\r\n\r\n{{\"id\":\"e1\"}}",
        server.port
    );
    assert_eq!(asked, expected);
}

#[test]
fn signatures_are_those_of_the_documentation() {
    // Checked with: printf '%s' '1700000000.{}' | openssl dgst -sha256 -hmac 'a secret of 16 b'
    let signature = sign(b"a secret of 16 b", 1_700_000_000, b"{}");
    assert_eq!(signature, EXPECTED_SIGNATURE);
}

const EXPECTED_SIGNATURE: &str =
    "t=1700000000,v1=2f27fbe1cb68e829e409fed79b076ce2325d95a56c391a0e7416f015b2f0738e";

#[tokio::test]
async fn the_status_is_what_counts() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Ok(200)),
        ("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", Ok(202)),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Ok(200)),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", Err(Failure::Refused(500))),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", Err(Failure::Refused(404))),
        ("HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", Err(Failure::Refused(101))),
    ] {
        let server = Server::start(Does::Answers(answer)).await;
        let mut line = line(&server.url(), true, Options::default());
        assert_eq!(line.tell(&told(), NOW).await, expected, "{answer}");
    }
}

#[tokio::test]
async fn redirects_are_refused_wherever_they_lead() {
    let inward = Server::start(Does::Answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} Go\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", inward.url());
        let server = Server::start(Does::Answers(Box::leak(answer.into_boxed_str()))).await;
        let mut line = line(&server.url(), true, Options::default());
        let failure = line.tell(&told(), NOW).await.unwrap_err();
        assert_eq!((&failure, failure.word()), (&Failure::Refused(status), "redirect"));
    }
    assert_eq!(*inward.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn what_is_private_is_not_called_without_permission() {
    let server = Server::start(Does::Answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let port = server.port;
    for host in [
        "127.0.0.1",
        "127.9.9.9",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "LocalHost",
    ] {
        let mut line = line(&format!("http://{host}:{port}/"), false, Options::default());
        let failure = line.tell(&told(), NOW).await.unwrap_err();
        assert!(matches!(failure, Failure::Forbidden(why) if why.private), "{host}: {failure}");
        let looked = line.client.look(&line.hook.url, false).await;
        assert!(matches!(looked, Err(Failure::Forbidden(_))), "{host}: {looked:?}");
    }
    for host in ["0.0.0.0", "169.254.169.254", "[::]", "224.0.0.1"] {
        let mut line = line(&format!("http://{host}:{port}/"), true, Options::default());
        let failure = line.tell(&told(), NOW).await.unwrap_err();
        assert!(matches!(failure, Failure::Forbidden(why) if !why.private), "{host}: {failure}");
    }
    assert_eq!(*server.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn who_is_slow_is_not_waited_for() {
    for (does, expected) in [
        (Does::Hangs, Err(Failure::Timeout)),
        (Does::DripsHead, Err(Failure::Timeout)),
        // The status has come, and that is what counts.
        (Does::DripsBody, Ok(200)),
    ] {
        let server = Server::start(does.clone()).await;
        let mut line = line(&server.url(), true, options(300));
        let began = Instant::now();
        assert_eq!(line.tell(&told(), NOW).await, expected, "{does:?}");
        assert!(began.elapsed() < Duration::from_secs(3), "{does:?}");
        assert!(line.kept.is_none(), "{does:?}");
    }
}

#[tokio::test]
async fn who_floods_is_cut_off() {
    for (does, expected) in [
        (Does::Answers200With(10 << 20), Ok(200)),
        (Does::FloodsHead, Err("broken")),
        (Does::Closes, Err("broken")),
        (Does::Cuts, Err("broken")),
        (Does::Speaks("SSH-2.0-OpenSSH_9.2\r\n"), Err("broken")),
    ] {
        let server = Server::start(does.clone()).await;
        let mut line = line(&server.url(), true, Options::default());
        let heard = line.tell(&told(), NOW).await;
        assert_eq!(heard.map_err(|why| why.word()), expected, "{does:?}");
        assert!(line.kept.is_none(), "{does:?}");
    }
}

#[tokio::test]
async fn who_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut gone = line(&format!("http://127.0.0.1:{port}/"), true, Options::default());
    assert_eq!(gone.tell(&told(), NOW).await.map_err(|why| why.word()), Err("unreachable"));
    let mut nobody = line("http://nobody.invalid/", true, Options::default());
    let word = nobody.tell(&told(), NOW).await.map_err(|why| why.word());
    assert!(matches!(word, Err("unresolved" | "timeout")), "{word:?}");
}

#[tokio::test]
async fn a_connection_is_used_again_while_it_lives() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    for (does, connections) in [
        (Does::Answers(answer), 1),
        (Does::Answers200With(60 << 10), 1),
        (Does::Answers("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), 3),
        // It goes without a word: nobody takes that for a failure.
        (Does::AnswersAndGoes(answer), 3),
    ] {
        let server = Server::start(does.clone()).await;
        let mut line = line(&server.url(), true, Options::default());
        for _ in 0..3 {
            assert_eq!(line.tell(&told(), NOW).await, Ok(200), "{does:?}");
        }
        assert_eq!(*server.connections.lock().unwrap(), connections, "{does:?}");
        assert_eq!(server.asked.lock().unwrap().len(), 3, "{does:?}");
    }
}

#[tokio::test]
async fn tls_is_believed_only_when_it_is_proven() {
    let answer = Does::Answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let server = Server::with_tls(answer.clone(), "localhost").await;
    let other = Server::with_tls(answer.clone(), "hooks.example").await;
    let believed = |server: &Server| Roots::Pem(server.certificate.clone().unwrap());
    let plain = Server::start(Does::Speaks("HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    for (what, url, roots, expected) in [
        ("proven", format!("https://localhost:{}/", server.port), believed(&server), Ok(200)),
        ("issued by nobody", format!("https://localhost:{}/", server.port), believed(&other), Err("tls")),
        ("another name", format!("https://localhost:{}/", other.port), believed(&other), Err("tls")),
        ("an address", format!("https://127.0.0.1:{}/", server.port), believed(&server), Err("tls")),
        ("no roots", format!("https://localhost:{}/", server.port), Roots::Pem(String::new()), Err("tls")),
        ("no TLS", format!("https://localhost:{}/", plain.port), believed(&server), Err("timeout")),
    ] {
        let timeout = if what == "no TLS" { options(300) } else { Options::default() };
        let mut line = line(&url, true, Options { roots, ..timeout });
        assert_eq!(line.tell(&told(), NOW).await.map_err(|why| why.word()), expected, "{what}");
    }
    assert_eq!(server.asked.lock().unwrap().len(), 1, "nobody tells what was not proven");
}

#[tokio::test]
async fn a_question_has_an_answer_or_a_reason() {
    let body = |bytes: &'static str| Ok(Bytes::from_static(bytes.as_bytes()));
    for (does, expected) in [
        (Does::Answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), body("{}")),
        (Does::Answers("HTTP/1.1 204 No Content\r\n\r\n"), body("")),
        (Does::Answers("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"), Err(Failure::Refused(403))),
        (
            Does::Answers("HTTP/1.1 307 Go\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
            Err(Failure::Refused(307)),
        ),
        (Does::Answers200With(10 << 20), Err(Failure::TooLarge)),
        (Does::Hangs, Err(Failure::Timeout)),
        // Here the body is what is waited for.
        (Does::DripsBody, Err(Failure::Timeout)),
    ] {
        let server = Server::start(does.clone()).await;
        let answered = exchange(&server, 400).ask(&told(), NOW).await;
        assert_eq!(answered.map(|answered| answered.body), expected, "{does:?}");
    }
}

#[tokio::test]
async fn questions_do_not_wait_for_each_other_and_leave_their_connections() {
    let server = Server::start(Does::Answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")).await;
    let exchange = exchange(&server, 3_000);
    let question = told();
    let (one, other) = tokio::join!(exchange.ask(&question, NOW), exchange.ask(&question, NOW));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(*server.connections.lock().unwrap(), 2);
    for _ in 0..4 {
        assert!(exchange.ask(&question, NOW).await.is_ok());
    }
    assert_eq!(*server.connections.lock().unwrap(), 2);
    let asked = server.asked.lock().unwrap();
    assert!(
        asked.iter().all(|request| !request.contains("tidings-signature")),
        "there is no secret: {asked:?}"
    );
}
