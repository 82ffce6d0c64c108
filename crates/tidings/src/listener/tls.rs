//! TLS: the certificate and its key, read at the start and again whenever the files change.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;
use tidings_model::Timestamp;
use tidings_node::Clock;
use tidings_node::alerts::CERTIFICATE_ENDS_WITHIN;
use tidings_wire::time::rfc3339;
use tokio_rustls::TlsAcceptor;

use super::expiry;

/// What both ends may speak behind TLS, the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    /// The certificate, with those that lead to one that clients know behind it.
    pub(crate) cert: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// How often to look whether they have changed.
    pub(crate) check_interval: Duration,
}

/// Why there can be no TLS: one line that names the file.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    Read(PathBuf, io::Error),
    /// The file of the certificate has none.
    NoCertificate(PathBuf),
    /// The file of the key has none that can be used.
    NoKey(PathBuf),
    /// They do not belong together, or are of no use.
    Unusable(PathBuf, PathBuf, rustls::Error),
    /// It has ended, and the one that is shown has not.
    Over(PathBuf, Timestamp),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, why) => write!(f, "{} cannot be read: {why}", path.display()),
            Self::NoCertificate(path) => {
                write!(
                    f,
                    "{} has no certificate: a PEM file with BEGIN CERTIFICATE is needed",
                    path.display()
                )
            }
            Self::NoKey(path) => write!(
                f,
                "{} has no key: a PEM file with BEGIN PRIVATE KEY and without a password is needed",
                path.display()
            ),
            Self::Unusable(cert, key, rustls::Error::InconsistentKeys(_)) => {
                write!(f, "{} is not the key of the certificate in {}", key.display(), cert.display())
            }
            Self::Unusable(cert, key, why) => {
                write!(f, "{} and {} cannot be used: {why}", cert.display(), key.display())
            }
            Self::Over(cert, ended) => {
                let (cert, ended) = (cert.display(), rfc3339(ended.0));
                write!(f, "the certificate in {cert} ended at {ended}, and the one that is shown has not")
            }
        }
    }
}

/// The certificate that is shown now.
pub(crate) struct Tls {
    files: RwLock<Files>,
    current: RwLock<Arc<ServerConfig>>,
    /// When the certificate ends that is shown now, as far as that is understood.
    ends: Mutex<Option<Timestamp>>,
    /// The same for every certificate, so that clients resume after a change.
    tickets: Arc<dyn ProducesTickets>,
    /// How the files looked when they were last read.
    seen: Mutex<Stamps>,
}

/// A certificate that can be shown.
pub(crate) struct Readable {
    files: Files,
    stamps: Stamps,
    config: Arc<ServerConfig>,
    ends: Option<Timestamp>,
}

/// How near its end a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Far from it, as far as that is understood.
    Far,
    /// It ends within 14 days.
    Soon(Timestamp),
    /// It has ended: clients refuse it.
    Over(Timestamp),
}

impl End {
    fn at(ends: Option<Timestamp>, now: Timestamp) -> Self {
        match ends {
            Some(ends) if ends <= now => Self::Over(ends),
            Some(ends) if ends <= now.after(CERTIFICATE_ENDS_WITHIN) => Self::Soon(ends),
            Some(_) | None => Self::Far,
        }
    }
}

/// What changes when a file does.
type Stamp = (SystemTime, u64);

/// Those of a certificate and its key.
type Stamps = [Option<Stamp>; 2];

impl Tls {
    /// Reads the files.
    pub(crate) fn read(files: Files) -> Result<Arc<Self>, TlsError> {
        let seen = Mutex::new(stamps(&files));
        let tickets = aws_lc_rs::Ticketer::new()
            .map_err(|why| TlsError::Unusable(files.cert.clone(), files.key.clone(), why))?;
        let (config, ends) = config(&files, &tickets)?;
        let (current, ends) = (RwLock::new(config), Mutex::new(ends));
        Ok(Arc::new(Self { files: RwLock::new(files), current, ends, tickets, seen }))
    }

    /// What answers the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Reads these files, and shows nothing of them yet.
    ///
    /// # Errors
    /// When there is no certificate in them that can be shown, or one that has ended instead of one that has not.
    pub(crate) fn prepare(&self, files: Files) -> Result<Readable, TlsError> {
        let stamps = stamps(&files);
        let (config, ends) = config(&files, &self.tickets)?;
        let now = Clock::System.now();
        if let (End::Over(ended), End::Far | End::Soon(_)) = (End::at(ends, now), self.end(now)) {
            return Err(TlsError::Over(files.cert, ended));
        }
        Ok(Readable { files, stamps, config, ends })
    }

    /// From now on this certificate is shown, and its files are looked after.
    pub(crate) fn show(&self, readable: Readable) {
        let Readable { files, stamps, config, ends } = readable;
        tracing::info!(cert = %files.cert.display(), "the certificate was read again");
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamps;
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = files;
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = ends;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn files(&self) -> Files {
        self.files.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again when they have changed; when they cannot be used, what was read before holds.
    fn look(&self) {
        let files = self.files();
        let now = stamps(&files);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return;
            }
            *seen = now;
        }
        match self.prepare(files) {
            Ok(readable) => self.show(readable),
            Err(why) => {
                tracing::error!(error = %why, "the certificate cannot be read again; the one before is shown")
            }
        }
    }

    /// How near its end the certificate is that is shown now.
    pub(crate) fn end(&self, now: Timestamp) -> End {
        End::at(self.ends(), now)
    }

    /// When the certificate ends that is shown now, as far as that is understood.
    pub(crate) fn ends(&self) -> Option<Timestamp> {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after the files, for ever.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.files().check_interval).await;
            let looked = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || looked.look()).await;
        }
    }
}

fn stamps(files: &Files) -> Stamps {
    [&files.cert, &files.key].map(|path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|why| TlsError::Read(path.to_owned(), why))
}

fn config(
    files: &Files,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<(Arc<ServerConfig>, Option<Timestamp>), TlsError> {
    let no_certificate = || TlsError::NoCertificate(files.cert.clone());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(&files.cert)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(no_certificate)?;
    let key =
        PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|_| TlsError::NoKey(files.key.clone()))?;
    let ends = chain.first().and_then(|first| expiry::not_after(first));
    let unusable = |why| TlsError::Unusable(files.cert.clone(), files.key.clone(), why);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.ticketer = Arc::clone(tickets);
    Ok((Arc::new(config), ends))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// A directory with a certificate and its key, and one more key.
    fn files() -> (tempfile::TempDir, Files) {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let one = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(at("cert.pem"), one.cert.pem()).unwrap();
        fs::write(at("key.pem"), one.signing_key.serialize_pem()).unwrap();
        fs::write(at("other.pem"), other.signing_key.serialize_pem()).unwrap();
        fs::write(at("rubbish.pem"), "rubbish").unwrap();
        let files =
            Files { cert: at("cert.pem"), key: at("key.pem"), check_interval: Duration::from_secs(1) };
        (directory, files)
    }

    fn refused(cert: &str, key: &str, expect: &Expect) {
        let (directory, files) = files();
        let at = |name: &str| directory.path().join(name);
        let why = Tls::read(Files { cert: at(cert), key: at(key), ..files }).err().expect("no TLS");
        expect.assert_eq(&why.to_string().replace(&format!("{}/", directory.path().display()), ""));
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said() {
        refused(
            "none.pem",
            "key.pem",
            &expect!["none.pem cannot be read: No such file or directory (os error 2)"],
        );
        refused(
            "rubbish.pem",
            "key.pem",
            &expect!["rubbish.pem has no certificate: a PEM file with BEGIN CERTIFICATE is needed"],
        );
        refused(
            "cert.pem",
            "cert.pem",
            &expect![
                "cert.pem has no key: a PEM file with BEGIN PRIVATE KEY and without a password is needed"
            ],
        );
        refused("cert.pem", "other.pem", &expect!["other.pem is not the key of the certificate in cert.pem"]);
    }

    #[test]
    fn ends_are_judged() {
        let now = Timestamp(1_800_000_000_000);
        let soon = now.after(CERTIFICATE_ENDS_WITHIN);
        for (ends, end) in [
            (None, End::Far),
            (Some(Timestamp(0)), End::Over(Timestamp(0))),
            (Some(now), End::Over(now)),
            (Some(Timestamp(now.0 + 1)), End::Soon(Timestamp(now.0 + 1))),
            (Some(soon), End::Soon(soon)),
            (Some(Timestamp(soon.0 + 1)), End::Far),
        ] {
            assert_eq!(End::at(ends, now), end, "{ends:?}");
        }
    }

    #[test]
    fn files_that_change_are_read_again_and_bad_ones_are_not_shown() {
        let (directory, files) = files();
        let tls = Tls::read(files.clone()).unwrap();
        let shown = || Arc::as_ptr(&tls.current.read().unwrap());
        let first = shown();
        assert!(tls.ends().is_some());
        tls.look();
        assert_eq!(shown(), first, "nothing has changed");
        fs::copy(directory.path().join("rubbish.pem"), &files.key).unwrap();
        tls.look();
        assert_eq!(shown(), first, "not a key");
        let new = rcgen::generate_simple_self_signed(vec!["new.example".to_owned()]).unwrap();
        fs::write(&files.cert, new.cert.pem()).unwrap();
        fs::write(&files.key, new.signing_key.serialize_pem()).unwrap();
        tls.look();
        assert_ne!(shown(), first);
        // One that has ended is shown instead of another one that has only.
        let key = rcgen::KeyPair::generate().unwrap();
        let mut ended = rcgen::CertificateParams::new(vec!["old.example".to_owned()]).unwrap();
        ended.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let ended = ended.self_signed(&key).unwrap();
        let over = Files {
            cert: directory.path().join("over.pem"),
            key: directory.path().join("over.key"),
            ..files.clone()
        };
        fs::write(&over.cert, ended.pem()).unwrap();
        fs::write(&over.key, key.serialize_pem()).unwrap();
        let refused = tls.prepare(over.clone()).err().expect("it has ended").to_string();
        assert!(
            refused.ends_with("ended at 2001-01-01T00:00:00.000Z, and the one that is shown has not"),
            "{refused}"
        );
        assert!(Tls::read(over.clone()).unwrap().prepare(over).is_ok());
        // Other files, once they are good.
        let second = shown();
        let other = Files { key: directory.path().join("rubbish.pem"), ..files.clone() };
        assert!(tls.prepare(other).is_err());
        let copy = Files { cert: directory.path().join("copy.pem"), ..files.clone() };
        fs::copy(&files.cert, &copy.cert).unwrap();
        let readable = tls.prepare(copy.clone()).unwrap();
        assert_eq!(shown(), second, "not yet");
        tls.show(readable);
        assert_ne!(shown(), second);
        assert_eq!(tls.files(), copy);
    }
}
