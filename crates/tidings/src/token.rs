//! `tidings token`: a token for a client, minted by a server that runs.

use axum::http::Method;
use clap::Args;
use serde_json::{Map, Value};

use crate::remote::{RemoteError, ServerArgs, ask, encoded, read, say};

/// Who a token is for, and what it allows.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The namespace; its `auth.mode` must be `token` for the token to open anything
    namespace: String,
    /// The user that the client is
    #[arg(long)]
    user: String,
    /// The device that it is; any, when that is not said
    #[arg(long)]
    device: Option<String>,
    /// What it is: web, android, ios, desktop, other
    #[arg(long)]
    platform: Option<String>,
    /// A room that it is put into; several with several of these
    #[arg(long, value_name = "ROOM")]
    rooms: Vec<String>,
    /// Which rooms it may join: a name, in which `*` stands for any characters
    #[arg(long, value_name = "PATTERN")]
    join: Vec<String>,
    /// To which rooms it may publish, written as for --join
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
    /// A file with what is said of its user, a JSON object; `-` is standard input
    #[arg(long, value_name = "FILE")]
    meta: Option<std::path::PathBuf>,
    /// For how long it holds [default: 1h]
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
    /// The whole answer, with the id by which the token can be revoked and its end, as JSON
    #[arg(long)]
    json: bool,
}

impl TokenArgs {
    /// What is asked for, in the shape of the API.
    fn body(&self) -> Result<Map<String, Value>, RemoteError> {
        let mut body = Map::new();
        body.insert("user".to_owned(), self.user.as_str().into());
        let texts =
            [("device", &self.device), ("platform", &self.platform), ("expires_in", &self.expires_in)];
        for (field, text) in texts {
            body.extend(text.as_ref().map(|text| (field.to_owned(), text.as_str().into())));
        }
        for (field, list) in [("rooms", &self.rooms), ("join", &self.join), ("publish", &self.publish)] {
            if !list.is_empty() {
                body.insert(field.to_owned(), list.as_slice().into());
            }
        }
        if let Some(path) = &self.meta {
            let meta = serde_json::from_str(&read(path)?);
            let meta = meta.map_err(|why| RemoteError::File(path.clone(), why.to_string()))?;
            body.insert("meta".to_owned(), meta);
        }
        Ok(body)
    }
}

/// Prints a token.
pub(crate) fn run(args: TokenArgs) -> Result<(), RemoteError> {
    let (body, json) = (args.body()?, args.json);
    let path = format!("/v1/namespaces/{}/tokens", encoded(&args.namespace));
    ask(args.server, async |server| {
        let (_, answer) = server.call(Method::POST, &path, Some(Value::Object(body))).await?;
        if json { say(&format!("{answer:#}")) } else { say(answer["token"].as_str().unwrap_or_default()) }
    })
}
