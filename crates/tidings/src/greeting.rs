//! What a start says on standard output, and the first things that a store needs: an admin key and,
//! for development, a namespace. Other programs read the beginnings `listening on ` and `admin key: `.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tidings_model::NamespaceName;
use tidings_node::namespace::{AuthMode, CreateError, Settings};
use tidings_node::{Node, StoreError, ids};

use crate::listener::Address;

/// How long a start waits for a namespace to be gone before there can be a new one.
const REMOVAL_MAX: Duration = Duration::from_secs(10);

/// The namespace of `--dev`.
pub(crate) const DEMO: &str = "demo";

/// Which admin key holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AdminKey {
    /// A new one, to be shown once.
    Made(String),
    /// The operator's own; said where.
    Given(String),
    /// The one of an earlier start.
    Earlier,
}

/// Sees to it that there is an admin key.
pub(crate) async fn admin_key(node: &Node, given: Option<&(String, String)>) -> Result<AdminKey, StoreError> {
    if let Some((key, origin)) = given {
        if !node.is_admin_key(key).await {
            node.set_admin_key(key).await?;
        }
        return Ok(AdminKey::Given(origin.clone()));
    }
    if node.has_admin_key() {
        return Ok(AdminKey::Earlier);
    }
    let key = format!("tk_{}", ids::token());
    node.set_admin_key(&key).await?;
    Ok(AdminKey::Made(key))
}

/// Sees to it that there is the namespace of `--dev`, and answers its name.
pub(crate) async fn demo_namespace(node: &Arc<Node>) -> Result<NamespaceName, StoreError> {
    let name = NamespaceName::new(DEMO).unwrap_or_else(|_| unreachable!("{DEMO} is a name"));
    if node.namespace(DEMO).is_none() {
        // One that is still being removed leaves its name in a moment.
        node.removed(&name, REMOVAL_MAX).await;
        let settings = Settings::new("Demonstration", AuthMode::Open, node.now());
        match node.create_namespace(name.clone(), settings).await {
            Ok(_) | Err(CreateError::Exists | CreateError::Going) => {}
            Err(CreateError::Store(why)) => return Err(why),
        }
    }
    Ok(name)
}

/// Says it on standard output. Whoever stops listening has heard enough.
///
/// # Errors
/// When it cannot be written, for another reason.
pub(crate) fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(why),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What a start says.
pub(crate) fn text(address: &Address, tls: bool, key: &AdminKey, dev: bool) -> String {
    let (shown, url) = match address {
        Address::Tcp(address) => {
            let url = format!("{}://{address}", if tls { "https" } else { "http" });
            (url.clone(), url)
        }
        // What a client that is told the path of the socket asks for.
        Address::Unix(_) => (address.to_string(), "http://localhost".to_owned()),
    };
    let mut out = format!("listening on {shown}\n");
    let shown = match key {
        AdminKey::Made(key) => {
            let _ = writeln!(out, "admin key: {key}");
            let _ = writeln!(out, "(shown this once; TIDINGS_ADMIN_KEY sets another)");
            key.as_str()
        }
        AdminKey::Given(origin) => {
            let _ = writeln!(out, "the key that may do everything is the one given by {origin}");
            "$TIDINGS_ADMIN_KEY"
        }
        AdminKey::Earlier => {
            let _ = writeln!(
                out,
                "the key that the first start printed still holds; TIDINGS_ADMIN_KEY sets another"
            );
            "$TIDINGS_ADMIN_KEY"
        }
    };
    if dev {
        let messages = format!("{url}/v1/namespaces/{DEMO}/messages");
        let _ = write!(
            out,
            "\nTry next:\n  \
             demo page    {url}/demo\n  \
             push         curl -H \"Authorization: Bearer {shown}\" --json '{{\"to\":{{\"all\":true}},\"data\":{{\"text\":\"hello\"}}}}' {messages}\n  \
             who has it   curl -H \"Authorization: Bearer {shown}\" {messages}/ID-OF-THE-ANSWER\n  \
             the API      {url}/openapi.json\n\
             \nNamespace {DEMO} accepts any client: --dev is for development only.\n"
        );
    }
    out
}

/// Where older systems are that have a listener of their own. Other programs read the beginnings.
pub(crate) fn places(places: &[(&'static str, Address)], tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    places.iter().fold(String::new(), |mut out, (system, address)| {
        let _ = match address {
            Address::Tcp(address) => writeln!(out, "{system} listening on {scheme}://{address}"),
            Address::Unix(_) => writeln!(out, "{system} listening on {address}"),
        };
        out
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_first_start_says_what_to_try() {
        let address = Address::parse("127.0.0.1:8080").unwrap();
        expect![[r#"
            listening on http://127.0.0.1:8080
            admin key: tk_x
            (shown this once; TIDINGS_ADMIN_KEY sets another)

            Try next:
              demo page    http://127.0.0.1:8080/demo
              push         curl -H "Authorization: Bearer tk_x" --json '{"to":{"all":true},"data":{"text":"hello"}}' http://127.0.0.1:8080/v1/namespaces/demo/messages
              who has it   curl -H "Authorization: Bearer tk_x" http://127.0.0.1:8080/v1/namespaces/demo/messages/ID-OF-THE-ANSWER
              the API      http://127.0.0.1:8080/openapi.json

            Namespace demo accepts any client: --dev is for development only.
        "#]].assert_eq(&text(&address, false, &AdminKey::Made("tk_x".to_owned()), true));
        expect![[r#"
            listening on http://127.0.0.1:8080
            the key that the first start printed still holds; TIDINGS_ADMIN_KEY sets another
        "#]]
        .assert_eq(&text(&address, false, &AdminKey::Earlier, false));
    }
}
