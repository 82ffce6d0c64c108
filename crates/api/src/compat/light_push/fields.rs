//! What a call says: the fields of its body, JSON or a form, and those of its query.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tidings_model::ErrorCode;

use super::answer::Refusal;
use crate::extract;

/// Most bytes of a body that is JSON.
const JSON_MAX: usize = 1 << 20;

/// Most bytes of a body that is a form.
const FORM_MAX: usize = 56 << 10;

/// How deep a form nests, by brackets.
const FORM_DEPTH_MAX: usize = 5;

/// The fields of a body, each as JSON. `null` counts as absent.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<String, Box<RawValue>>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let form = match kind.as_str() {
            "application/json" => false,
            "application/x-www-form-urlencoded" => true,
            // Read, and nothing is made of it.
            _ => {
                read(request, FORM_MAX).await?;
                return Ok(Self::default());
            }
        };
        let body = read(request, if form { FORM_MAX } else { JSON_MAX }).await?;
        if form { Ok(Self::of_form(&body)) } else { Self::of_json(&body) }
    }
}

async fn read(request: Request, max: usize) -> Result<bytes::Bytes, Refusal> {
    extract::body(request, max).await.map_err(|problem| match problem.code() {
        ErrorCode::PAYLOAD_TOO_LARGE => Refusal::plain(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large"),
        _ => bad_request(),
    })
}

fn bad_request() -> Refusal {
    Refusal::plain(StatusCode::BAD_REQUEST, "Bad Request")
}

impl Fields {
    fn of_json(body: &[u8]) -> Result<Self, Refusal> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map(Self).map_err(|_| bad_request())
    }

    /// A name that comes several times, or with `[]`, is a list; `pushData[text]` is a member of an object, `apns_list[0]` one of a
    /// list.
    fn of_form(body: &[u8]) -> Self {
        let mut fields = Map::new();
        for (name, value) in form_urlencoded::parse(body) {
            let (name, path) = path(&name);
            put(fields.entry(name).or_insert(Value::Null), &path, value.into_owned());
        }
        let field =
            |(name, value): (String, Value)| Some((name, RawValue::from_string(value.to_string()).ok()?));
        Self(fields.into_iter().filter_map(field).collect())
    }

    /// A field as it was written.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null")
    }

    /// Whether a field is there, even if it is `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A field as a value.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// What a string or a number says, if that is not nothing.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        text(&self.value(name)?)
    }

    /// A yes or no.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(flag) => Some(flag),
            Value::String(text) => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" | "" => Some(false),
                _ => None,
            },
            Value::Number(number) => Some(number.as_f64() != Some(0.0)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A list of texts, or one text; empty where there is none. `None` when something else is in it.
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        match self.value(name) {
            None => Some(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(text).collect(),
            Some(value) => text(&value).map(|text| vec![text]),
        }
    }
}

/// What is before the brackets of a name in a form, and what is in each of them. What is nested too deep is a name as it is.
fn path(name: &str) -> (&str, Vec<&str>) {
    let Some((bare, rest)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) else {
        return (name, Vec::new());
    };
    let path: Vec<_> = rest.split("][").collect();
    if bare.is_empty() || path.len() > FORM_DEPTH_MAX { (name, Vec::new()) } else { (bare, path) }
}

/// Puts a text of a form where it belongs.
fn put(into: &mut Value, path: &[&str], text: String) {
    let (step, rest) = match path.split_first() {
        Some((step, rest)) => (*step, rest),
        None => {
            match into {
                Value::Null => *into = text.into(),
                Value::Array(list) => list.push(text.into()),
                Value::Object(_) => {}
                _ => *into = Value::Array(vec![into.take(), text.into()]),
            }
            return;
        }
    };
    let index = step.parse::<usize>().ok();
    if into.is_null() {
        *into =
            if step.is_empty() || index == Some(0) { Value::Array(Vec::new()) } else { Map::new().into() };
    } else if into.is_string() {
        *into = Value::Array(vec![into.take()]);
    }
    match into {
        Value::Object(members) => put(members.entry(step).or_insert(Value::Null), rest, text),
        Value::Array(list) => {
            // Whoever numbers them does it in order.
            let at = index.unwrap_or(list.len()).min(list.len());
            if at == list.len() {
                list.push(Value::Null);
            }
            if let Some(one) = list.get_mut(at) {
                put(one, rest, text);
            }
        }
        _ => {}
    }
}

/// What a string or a number says, if that is not nothing.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What a query says.
#[derive(Debug)]
pub(super) struct Asked(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect()))
    }
}

impl Asked {
    /// The last value under this name, if it is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rfind(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values under this name, or under this name with `[]`.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |found: &str| found.strip_suffix("[]").unwrap_or(found) == name;
        self.0.iter().filter(move |(found, _)| named(found)).map(|(_, value)| value.as_str())
    }

    /// Whether something is wanted.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| !matches!(value, "0" | "false"))
    }

    /// A whole number from 1 to `max`; whatever is none, or beyond, is the nearest one that is.
    pub(super) fn number(&self, name: &str, default: usize, max: usize) -> usize {
        let number = self.text(name).and_then(|text| text.parse::<f64>().ok());
        let number = number.filter(|number| number.is_finite()).map(|number| number as usize);
        number.unwrap_or(default).clamp(1, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read() {
        let json =
            Fields::of_json(br#"{"a":"x","n":7,"f":true,"e":"","z":null,"l":["p",2],"o":{"k": 1}}"#).unwrap();
        let form = Fields::of_form(b"a=x&n=7&f=true&e=&l=p&l=2");
        for fields in [&json, &form] {
            assert_eq!(fields.text("a").as_deref(), Some("x"));
            assert_eq!(fields.text("n").as_deref(), Some("7"));
            assert_eq!((fields.text("e"), fields.text("z")), (None, None));
            assert_eq!(
                (fields.flag("f"), fields.flag("a"), fields.flag("e")),
                (Some(true), None, Some(false))
            );
            assert_eq!(fields.list("l"), Some(vec!["p".to_owned(), "2".to_owned()]));
            assert_eq!(fields.list("a"), Some(vec!["x".to_owned()]));
            assert_eq!(fields.list("y"), Some(Vec::new()));
        }
        assert_eq!(json.raw("o"), Some(r#"{"k": 1}"#));
        assert_eq!((json.raw("z"), json.has("z"), json.list("o")), (None, true, None));
        assert_eq!(Fields::of_form(b"l[]=p").list("l"), Some(vec!["p".to_owned()]));
        let nested = Fields::of_form(
            b"d[a]=1&d[b][c]=x&d[b][e][]=y&l[0][n]=a&l[1][n]=b&l[1][m]=c&s[]=1&s[]=2&o[=1&[x]=1",
        );
        assert_eq!(nested.raw("d"), Some(r#"{"a":"1","b":{"c":"x","e":["y"]}}"#));
        assert_eq!(nested.raw("l"), Some(r#"[{"n":"a"},{"m":"c","n":"b"}]"#));
        assert_eq!(nested.list("s"), Some(vec!["1".to_owned(), "2".to_owned()]));
        assert!(nested.has("o[") && nested.has("[x]"));
        for odd in [
            "a=1&a[b]=2",
            "a[b]=1&a=2",
            "a[b]=1&a[]=2",
            "a[]=1&a[b]=2",
            "a[9999999999]=1",
            "a[0]=1&a[7]=2",
            "a[][][][][][][]=1",
        ] {
            let _ = Fields::of_form(odd.as_bytes());
        }
        assert!(Fields::of_json(b"  ").unwrap().0.is_empty());
        for wrong in ["{", "[]", "7", "{}x"] {
            assert!(Fields::of_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn queries_are_read() {
        let parse = |query: &str| Asked(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
        let asked = parse("page=3&size=9000&detail=1&room=a&room=b%20c&room[]=d&x=&no=false&odd=NaN&less=-4");
        assert_eq!((asked.number("page", 1, 10), asked.number("size", 20, 500)), (3, 500));
        assert_eq!((asked.number("y", 20, 500), asked.number("odd", 20, 500)), (20, 20));
        assert_eq!(asked.number("less", 20, 500), 1);
        assert_eq!((asked.flag("detail"), asked.flag("no"), asked.flag("x")), (true, false, false));
        assert_eq!(asked.all("room").collect::<Vec<_>>(), ["a", "b c", "d"]);
    }
}
