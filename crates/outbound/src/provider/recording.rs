//! The provider that only writes down whom it would have woken: for tests of what leads to it, and for developers
//! who want to see it happen.

use std::path::PathBuf;

use tidings_model::Platform;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use super::{Answer, Outcome, Provider, Wake};

/// Appends a line of JSON to a file for each attempt.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    /// Lines of two attempts must not mix.
    turn: Mutex<()>,
}

impl Recording {
    /// Writes to this file, which is made when it is not there.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), turn: Mutex::new(()) }
    }

    async fn append(&self, wake: &Wake) -> std::io::Result<()> {
        let line = serde_json::json!({
            "attempt": wake.attempt,
            "namespace": wake.namespace.as_str(),
            "message": wake.message.as_str(),
            "event": wake.event.as_str(),
            "device": wake.device.as_str(),
            "user": wake.user.as_ref().map(|user| user.as_str()),
            "platform": wake.platform.as_str(),
            "offline": String::from_utf8_lossy(&wake.offline),
        });
        let _turn = self.turn.lock().await;
        let mut file = tokio::fs::OpenOptions::new().create(true).append(true).open(&self.path).await?;
        file.write_all(format!("{line}\n").as_bytes()).await?;
        file.flush().await
    }
}

impl Provider for Recording {
    fn name(&self) -> &str {
        "recording"
    }

    fn serves(&self, _: Platform) -> bool {
        true
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn wake<'a>(&'a self, wake: &'a Wake) -> Answer<'a> {
        Box::pin(async move {
            match self.append(wake).await {
                Ok(()) => Outcome::Accepted,
                Err(why) => Outcome::Refused(why.to_string()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_attempt_is_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("woken.ndjson");
        let provider = Recording::new(&path);
        let wake = Wake {
            attempt: "demo/7/3/0".to_owned(),
            namespace: "demo".parse().unwrap(),
            message: "m1".parse().unwrap(),
            event: "push".parse().unwrap(),
            data: bytes::Bytes::from_static(b"1"),
            offline: bytes::Bytes::new(),
            device: "phone".parse().unwrap(),
            user: Some("ann".parse().unwrap()),
            platform: Platform::Ios,
        };
        for _ in 0..2 {
            assert_eq!(provider.wake(&wake).await, Outcome::Accepted);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), &lines[1]["attempt"]), (2, &"demo/7/3/0".into()));
        let nowhere = Recording::new(folder.path());
        assert!(matches!(nowhere.wake(&wake).await, Outcome::Refused(_)));
    }
}
