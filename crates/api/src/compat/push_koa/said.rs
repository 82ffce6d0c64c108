//! The body of a call: JSON, or a form, in which everything is text.

use std::collections::HashMap;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Failed, Named, json_string, unreadable, wrong};

/// What a call says, by name.
#[derive(Debug)]
pub(super) enum Said {
    Json(HashMap<String, Box<RawValue>>),
    Form(HashMap<String, String>),
}

/// A message that waited at the backend.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Waited {
    msg_id: Box<RawValue>,
    message: Box<RawValue>,
}

impl Said {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Failed> {
        let named = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_json = match named {
            Some(kind) => kind.to_ascii_lowercase().contains("json"),
            None => body.trim_ascii_start().starts_with(b"{"),
        };
        if is_json && !body.trim_ascii().is_empty() {
            return serde_json::from_slice(body).map(Self::Json).map_err(unreadable);
        }
        Ok(Self::Form(form_urlencoded::parse(body).into_owned().collect()))
    }

    /// A value as JSON: of a form, a string. What is empty was not said.
    pub(super) fn json(&self, name: &str) -> Result<String, Failed> {
        let found = match self {
            Self::Json(fields) => fields.get(name).map(|raw| raw.get().to_owned()),
            Self::Form(fields) => fields.get(name).map(|text| json_string(text)),
        };
        found.filter(|json| !matches!(json.as_str(), "null" | "\"\"")).ok_or(Failed::Incomplete)
    }

    /// A value as text: what a string says, or the JSON itself.
    pub(super) fn text(&self, name: &str) -> Result<String, Failed> {
        self.json(name).map(|json| text(&json))
    }

    pub(super) fn name<T>(&self, name: &str, new: Named<T>) -> Result<T, Failed> {
        new(self.text(name)?.trim()).map_err(|why| wrong(name, why))
    }

    /// Names with commas between them, or, in JSON, a list; at least one.
    pub(super) fn names<T>(&self, name: &str, new: Named<T>) -> Result<Vec<T>, Failed> {
        let json = self.json(name)?;
        let texts: Vec<String> = match serde_json::from_str::<Vec<Box<RawValue>>>(&json) {
            Ok(list) => list.iter().map(|raw| text(raw.get())).collect(),
            Err(_) => text(&json).split(',').map(str::to_owned).collect(),
        };
        let texts = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
        let names: Vec<T> =
            texts.map(|text| new(text).map_err(|why| wrong(name, why))).collect::<Result<_, _>>()?;
        if names.is_empty() { Err(Failed::Incomplete) } else { Ok(names) }
    }

    pub(super) fn names_if_any<T>(&self, name: &str, new: Named<T>) -> Result<Vec<T>, Failed> {
        match self.names(name, new) {
            Err(Failed::Incomplete) => Ok(Vec::new()),
            names => names,
        }
    }

    /// Whether receipts are wanted: unless something else is said than yes.
    pub(super) fn ack(&self) -> bool {
        self.text("ack").map_or(true, |said| matches!(said.as_str(), "true" | "1"))
    }

    /// Messages with their ids, each as the JSON text that its client gets.
    pub(super) fn offline(&self, name: &str) -> Result<Vec<(String, String)>, Failed> {
        let list = self.text(name)?;
        let list: Vec<Waited> = serde_json::from_str(&list)
            .map_err(|_| wrong(name, "must be JSON: a list of {\"msgId\",\"message\"}"))?;
        if list.is_empty() {
            return Err(Failed::Incomplete);
        }
        Ok(list.into_iter().map(|one| (text(one.msg_id.get()), compact(one.message.get()))).collect())
    }
}

/// What a JSON string says, or the JSON itself.
fn text(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_else(|_| json.to_owned())
}

/// JSON without the spaces between its parts, as it would have been written anew.
fn compact(json: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::with_capacity(json.len()), false, false);
    for character in json.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character.is_ascii_whitespace() {
            continue;
        } else {
            in_string = character == '"';
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use tidings_model::UserId;

    use super::*;

    fn said(kind: Option<&str>, body: &str) -> Said {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        }
        Said::read(&headers, body.as_bytes()).unwrap_or_else(|_| panic!("{body}"))
    }

    fn names(said: &Said) -> Option<Vec<String>> {
        let names = said.names("u", UserId::new).ok()?;
        Some(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_form_says_text_and_json_says_more() {
        let form = said(Some("application/x-www-form-urlencoded"), "m=%7B%22a%22%3A1%7D&i=7&u=a, b,,&ack=1");
        assert_eq!(form.json("m").ok().as_deref(), Some(r#""{\"a\":1}""#));
        assert_eq!(form.text("i").ok().as_deref(), Some("7"));
        assert_eq!(names(&form).unwrap(), ["a", "b"]);
        assert!(form.ack());
        let json = said(Some("application/json"), r#"{"m":{"a": 1},"i":7,"u":"a,b","ack":false,"n":null}"#);
        assert_eq!(json.json("m").ok().as_deref(), Some(r#"{"a": 1}"#));
        assert_eq!(json.text("i").ok().as_deref(), Some("7"));
        assert_eq!(names(&json).unwrap(), ["a", "b"]);
        assert!(!json.ack());
        assert!(matches!(json.json("n"), Err(Failed::Incomplete)));
        assert_eq!(names(&said(None, r#" {"u":["a",2]}"#)).unwrap(), ["a", "2"]);
        for (ack, wanted) in [("", true), ("true", true), ("1", true), ("0", false), ("false", false)] {
            assert_eq!(said(None, &format!("ack={ack}")).ack(), wanted, "{ack}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_apart() {
        for (body, incomplete) in [("u=", true), ("", true), ("u=,", true), ("u=a%00", false)] {
            let why = said(None, body).names("u", UserId::new).err().unwrap();
            assert_eq!(matches!(why, Failed::Incomplete), incomplete, "{body}");
        }
        let broken = Said::read(&HeaderMap::new(), b"{");
        assert!(matches!(broken, Err(Failed::Problem(_))));
    }

    #[test]
    fn messages_that_waited_are_written_anew() {
        let list = r#"[{"msgId":"m1","message":"a \" b"},{"msgId":2,"message":{ "a" : [1, "x\\" ] }}]"#;
        let expected = [("m1", r#""a \" b""#), ("2", r#"{"a":[1,"x\\"]}"#)];
        let expected = expected.map(|(id, text)| (id.to_owned(), text.to_owned()));
        let in_form = form_urlencoded::Serializer::new(String::new()).append_pair("l", list).finish();
        for body in [in_form, format!(r#"{{"l":{list}}}"#), format!(r#"{{"l":{}}}"#, json_string(list))] {
            assert_eq!(said(None, &body).offline("l").ok().unwrap(), expected, "{body}");
        }
        assert!(matches!(said(None, "l=[]").offline("l"), Err(Failed::Incomplete)));
        assert!(matches!(said(None, "l=x").offline("l"), Err(Failed::Wrong(_))));
    }
}
