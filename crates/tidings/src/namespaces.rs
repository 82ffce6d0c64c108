//! `tidings namespace`: namespaces of a server that runs, by its API. What is asked for is said on the command line or in a
//! file of the shape that the API has; what is answered is printed. It decides nothing that the server decides.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::remote::{RemoteError, Server, ServerArgs, ask, encoded, read, say};

/// How long to wait between two looks whether a namespace is gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What to do with namespaces of a server that runs.
#[derive(Debug, Args)]
pub(crate) struct NamespaceArgs {
    #[command(flatten)]
    server: ServerArgs,
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

/// Does it.
pub(crate) fn run(args: NamespaceArgs) -> Result<(), RemoteError> {
    ask(args.server, |server| Namespaces(server).act(args.act))
}

impl Rules {
    /// What they are in a request.
    fn body(self) -> Result<Map<String, Value>, RemoteError> {
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
                parsed.map_err(|why| RemoteError::File(path.clone(), why))?
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

struct Namespaces(Server);

impl Namespaces {
    async fn act(self, act: Act) -> Result<(), RemoteError> {
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
        let (_, answer) = self.0.call(method, &path, body).await?;
        say(&format!("{answer:#}"))
    }

    async fn list(&self, json: bool) -> Result<(), RemoteError> {
        let mut cursor = String::new();
        loop {
            let (_, page) =
                self.0.call(Method::GET, &format!("/v1/namespaces?limit=1000{cursor}"), None).await?;
            for namespace in page["items"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                if json {
                    say(&namespace.to_string())?;
                } else {
                    let [name, state] = ["name", "state"].map(|field| text(&namespace[field]));
                    say(&format!(
                        "{name:<30} {state:<10} {:<12} {}",
                        text(&namespace["auth"]["mode"]),
                        text(&namespace["title"])
                    ))?;
                }
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", encoded(next)),
                None => return Ok(()),
            }
        }
    }

    /// Answers when it is gone.
    async fn delete(&self, name: &str, path: &str) -> Result<(), RemoteError> {
        let (mut status, _) = self.0.call(Method::DELETE, path, None).await?;
        while status == 202 {
            tokio::time::sleep(LOOK_EVERY).await;
            status = match self.0.call(Method::DELETE, path, None).await {
                Ok((status, _)) => status,
                // It went in between.
                Err(RemoteError::Refused(404, _)) => 204,
                Err(why) => return Err(why),
            };
        }
        say(&format!("{name} is gone"))
    }
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
}
