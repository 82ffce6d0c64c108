//! `tidings namespace`: namespaces of a server that runs, by its API. What is asked for is said on the command line or in a
//! file of the shape that the API has; what is answered is printed. It decides nothing that the server decides.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tidings_outbound::hook::{Client, HookUrl, Options};

/// Where the admin key is looked for besides `--key-file`.
const KEY_VARIABLE: &str = "TIDINGS_ADMIN_KEY";

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of an answer: a page of the largest namespaces.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long to wait between two looks whether a namespace is gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What to do with namespaces of a server that runs.
#[derive(Debug, Args)]
pub(crate) struct NamespaceArgs {
    /// Where the server is
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A file with the admin key, or the `manage` key of the namespace [default: the variable TIDINGS_ADMIN_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a namespace
    Create {
        name: String,
        #[command(flatten)]
        rules: Rules,
    },
    /// List the namespaces
    List {
        /// For programs: one JSON object for each line
        #[arg(long)]
        json: bool,
    },
    /// Show a namespace
    Show { name: String },
    /// Change what is said, and leave the rest
    Change {
        name: String,
        #[command(flatten)]
        rules: Rules,
    },
    /// Refuse pushes and clients, and send away whoever is here
    Suspend { name: String },
    /// Let pushes and clients in again
    Resume { name: String },
    /// Take away what has happened in a namespace: messages, history, statistics
    Clear {
        name: String,
        /// It cannot be undone; this says that it is meant
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Take a namespace away, with everything in it, and wait until it is gone
    Delete {
        name: String,
        /// It cannot be undone; this says that it is meant
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// The rules of a namespace.
#[derive(Debug, Args)]
struct Rules {
    /// A file with them, in the shape of the API: TOML when it ends with .toml, JSON otherwise; `-` is standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// What people call it
    #[arg(long)]
    title: Option<String>,
    /// Who may connect: open, token
    #[arg(long, value_name = "MODE")]
    auth: Option<String>,
}

/// Why it was not done.
#[derive(Debug)]
pub(crate) enum NamespaceError {
    /// There is no key to call with.
    NoKey,
    /// A file cannot be read, or says nothing that makes sense.
    File(PathBuf, String),
    /// The URL is none.
    Url(String, String),
    /// The server is not there.
    Away(String, String),
    /// The server says no.
    Refused(u16, Value),
    /// The runtime does not start.
    System(std::io::Error),
}

impl fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => write!(f, "a key is needed: set {KEY_VARIABLE}, or name a file with --key-file"),
            Self::File(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Url(url, why) => write!(f, "--url {url}: {why}"),
            Self::Away(url, why) => write!(f, "{url} cannot be asked: {why}"),
            Self::System(why) => write!(f, "no runtime: {why}"),
            Self::Refused(status, problem) => {
                let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
                write!(f, "{status} {}: {}", text("code"), text("detail"))?;
                for error in problem["errors"].as_array().into_iter().flatten() {
                    let [field, message] =
                        ["field", "message"].map(|name| error[name].as_str().unwrap_or_default());
                    write!(f, "\n  {field} {message}")?;
                }
                Ok(())
            }
        }
    }
}

/// Does it.
pub(crate) fn run(args: NamespaceArgs) -> Result<(), NamespaceError> {
    let key = match &args.key_file {
        Some(path) => read(path)?,
        None => std::env::var(KEY_VARIABLE).map_err(|_| NamespaceError::NoKey)?,
    };
    let options = Options { connect_timeout: TIMEOUT, timeout: TIMEOUT, ..Options::default() };
    let server = Server { url: args.url, key: key.trim().to_owned(), client: Client::new(options) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(NamespaceError::System)?.block_on(server.act(args.act))
}

fn read(path: &Path) -> Result<String, NamespaceError> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|why| NamespaceError::File(path.to_owned(), why.to_string()))
}

impl Rules {
    /// What they are in a request.
    fn body(self) -> Result<Map<String, Value>, NamespaceError> {
        let mut body = match &self.from {
            None => Map::new(),
            Some(path) => {
                let text = read(path)?;
                let toml = path.extension().is_some_and(|extension| extension == "toml");
                let parsed = if toml {
                    toml::from_str(&text).map_err(|why| why.to_string())
                } else {
                    serde_json::from_str(&text).map_err(|why| why.to_string())
                };
                parsed.map_err(|why| NamespaceError::File(path.clone(), why))?
            }
        };
        if let Some(title) = self.title {
            body.insert("title".to_owned(), title.into());
        }
        if let Some(mode) = self.auth {
            match body.entry("auth").or_insert_with(|| json!({})) {
                Value::Object(auth) => drop(auth.insert("mode".to_owned(), mode.into())),
                other => *other = json!({"mode": mode}),
            }
        }
        Ok(body)
    }
}

/// A server, and a key to it.
struct Server {
    url: String,
    key: String,
    client: Client,
}

impl Server {
    async fn act(&self, act: Act) -> Result<(), NamespaceError> {
        let path = |name: &str| format!("/v1/namespaces/{}", encoded(name));
        let (method, path, body) = match act {
            Act::Create { name, rules } => {
                let mut body = rules.body()?;
                body.insert("name".to_owned(), name.into());
                (Method::POST, "/v1/namespaces".to_owned(), Some(Value::Object(body)))
            }
            Act::List { json } => return self.list(json).await,
            Act::Show { name } => (Method::GET, path(&name), None),
            Act::Change { name, rules } => (Method::PATCH, path(&name), Some(Value::Object(rules.body()?))),
            Act::Suspend { name } => (Method::POST, path(&name) + ":suspend", None),
            Act::Resume { name } => (Method::POST, path(&name) + ":resume", None),
            Act::Clear { name, yes: _ } => (Method::POST, path(&name) + ":clear", None),
            Act::Delete { name, yes: _ } => return self.delete(&name, &path(&name)).await,
        };
        let (_, answer) = self.call(method, &path, body).await?;
        say(&format!("{answer:#}"));
        Ok(())
    }

    async fn list(&self, json: bool) -> Result<(), NamespaceError> {
        let mut cursor = String::new();
        loop {
            let (_, page) =
                self.call(Method::GET, &format!("/v1/namespaces?limit=1000{cursor}"), None).await?;
            for namespace in page["items"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                if json {
                    say(&namespace.to_string());
                } else {
                    let [name, state] = ["name", "state"].map(|field| text(&namespace[field]));
                    say(&format!(
                        "{name:<30} {state:<10} {:<12} {}",
                        text(&namespace["auth"]["mode"]),
                        text(&namespace["title"])
                    ));
                }
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", encoded(next)),
                None => return Ok(()),
            }
        }
    }

    /// Answers when it is gone.
    async fn delete(&self, name: &str, path: &str) -> Result<(), NamespaceError> {
        let (mut status, _) = self.call(Method::DELETE, path, None).await?;
        while status == 202 {
            tokio::time::sleep(LOOK_EVERY).await;
            status = match self.call(Method::DELETE, path, None).await {
                Ok((status, _)) => status,
                // It went in between.
                Err(NamespaceError::Refused(404, _)) => 204,
                Err(why) => return Err(why),
            };
        }
        say(&format!("{name} is gone"));
        Ok(())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Value), NamespaceError> {
        let text = format!("{}{path}", self.url.trim_end_matches('/'));
        let url =
            HookUrl::parse(&text).map_err(|why| NamespaceError::Url(self.url.clone(), why.to_string()))?;
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let called = self.client.call(method, &url, Some(&self.key), body.into(), ANSWER_BYTES_MAX).await;
        let (status, answer) =
            called.map_err(|why| NamespaceError::Away(self.url.clone(), why.to_string()))?;
        let answer = serde_json::from_slice(&answer).unwrap_or_default();
        if (200..300).contains(&status) {
            Ok((status, answer))
        } else {
            Err(NamespaceError::Refused(status, answer))
        }
    }
}

/// A part of a path or a query.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}

fn say(text: &str) {
    crate::greeting::say(&format!("{text}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_put_together() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("shop.toml");
        std::fs::write(&file, "title = \"Shop\"\n[limits]\nconnections = 5\n[auth]\nmode = \"open\"\n")
            .unwrap();
        let rules = Rules { from: Some(file), title: None, auth: Some("token".to_owned()) };
        let expected = json!({"title": "Shop", "limits": {"connections": 5}, "auth": {"mode": "token"}});
        assert_eq!(Value::Object(rules.body().unwrap()), expected);
        let rules = Rules { from: None, title: Some("S".to_owned()), auth: None };
        assert_eq!(Value::Object(rules.body().unwrap()), json!({"title": "S"}));
    }

    #[test]
    fn a_refusal_names_what_is_wrong() {
        let problem = json!({"code": "invalid_request", "detail": "2 fields are not as they must be",
            "errors": [{"field": "name", "message": "is required"}, {"field": "auth.mode", "message": "is required"}]});
        assert_eq!(
            NamespaceError::Refused(400, problem).to_string(),
            "400 invalid_request: 2 fields are not as they must be\n  name is required\n  auth.mode is required"
        );
        assert_eq!(encoded("a/ü"), "a%2F%C3%BC");
    }
}
