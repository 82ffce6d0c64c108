//! The body of a push, read as leniently as Jackson did (numbers where text is meant, fields that nobody knows), and judged with the
//! sentences that there were.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use http::StatusCode;
use serde_json::value::RawValue;
use tidings_model::{Platform, Target, UserId, limit};
use tidings_wire::compat::message_push::FIELDS;

use super::Refused;
use crate::compat::plain::quoted;

const NOT_JSON: &str = "Bad Request:输入参数(JSON)格式错误,请确认后重试.";

/// A push that may be given to the node.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) to: Target,
    /// A JSON object.
    pub(super) data: String,
}

/// It is not of the shape that it must be.
struct Shapeless;

type Object<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// Reads a body.
pub(super) fn read(bytes: &[u8]) -> Result<Pushed, Refused> {
    let mut wrong = Vec::new();
    match parse(bytes, &mut wrong) {
        Ok(pushed) if wrong.is_empty() => Ok(pushed),
        Ok(_) => Err(Refused::new(StatusCode::BAD_REQUEST, format!("参数错误:{}", wrong.join(",")))),
        Err(Shapeless) => Err(Refused::new(StatusCode::BAD_REQUEST, NOT_JSON)),
    }
}

fn parse(bytes: &[u8], wrong: &mut Vec<Cow<'static, str>>) -> Result<Pushed, Shapeless> {
    let body: Object<'_> = serde_json::from_slice(bytes).map_err(|_| Shapeless)?;
    match text(body.get("push_method"))?.filter(|method| !method.is_empty()) {
        None => wrong.push("push_method:推送方式不能为空".into()),
        Some(method) => {
            // 1.0 was 1, and 1.9 too.
            let method: f64 = method.trim().parse().map_err(|_| Shapeless)?;
            if !(1.0..2.0).contains(&method) {
                wrong.push("push_method:值错误,取值范围: 1:websocket".into());
            }
        }
    }
    let platforms = text(body.get("platform"))?.map_or(Some(Vec::new()), |word| platforms(&word));
    if platforms.is_none() {
        wrong.push("platform:值错误,取值范围: all,h5,android,ios,默认all".into());
    }
    let audience = object(body.get("audience"))?;
    let message = object(body.get("message"))?;
    if audience.is_none() {
        wrong.push("audience:推送目标不能为空".into());
    }
    let data = match &message {
        None => {
            wrong.push("message:消息内容不能为空".into());
            String::new()
        }
        Some(message) => {
            let mut fields = Vec::new();
            for name in FIELDS {
                let value = text(message.get(name))?;
                if name == "content" && value.as_deref().unwrap_or_default().is_empty() {
                    wrong.push("content:消息内容不能为空".into());
                }
                fields.extend(value.map(|value| format!(r#""{name}":{}"#, quoted(&value))));
            }
            format!("{{{}}}", fields.join(","))
        }
    };
    let users = match &audience {
        None => Vec::new(),
        Some(audience) => users(audience, wrong)?,
    };
    let to = Target { users, platforms: platforms.unwrap_or_default(), ..Target::default() };
    Ok(Pushed { to, data })
}

/// Which platforms a word means; all of them where that is empty, `None` when it means nothing.
fn platforms(word: &str) -> Option<Vec<Platform>> {
    match word.to_ascii_lowercase().as_str() {
        "" | "all" => Some(Vec::new()),
        "h5" => Some(vec![Platform::Web]),
        "android" => Some(vec![Platform::Android]),
        "ios" => Some(vec![Platform::Ios]),
        _ => None,
    }
}

fn users(audience: &Object<'_>, wrong: &mut Vec<Cow<'static, str>>) -> Result<Vec<UserId>, Shapeless> {
    let listed: Vec<&RawValue> = match audience.get("uids").map(|raw| raw.get()) {
        None | Some("null") => Vec::new(),
        Some(list) => serde_json::from_str(list).map_err(|_| Shapeless)?,
    };
    if !(1..=limit::TARGETS_MAX).contains(&listed.len()) {
        wrong.push("uids:一次最少1个,最多1000".into());
        return Ok(Vec::new());
    }
    let (mut users, mut seen) = (Vec::with_capacity(listed.len()), HashSet::new());
    for (index, raw) in listed.iter().enumerate() {
        let uid = text(Some(raw))?.ok_or(Shapeless)?;
        match UserId::new(&uid) {
            Ok(user) if seen.insert(uid) => users.push(user),
            Ok(_) => {}
            Err(why) => {
                wrong.push(format!("uids:值错误,[{index}] {why}").into());
                break;
            }
        }
    }
    Ok(users)
}

/// An object, if there is one.
fn object<'a>(raw: Option<&&'a RawValue>) -> Result<Option<Object<'a>>, Shapeless> {
    match raw.map(|raw| raw.get()) {
        None | Some("null") => Ok(None),
        Some(text) => serde_json::from_str(text).map(Some).map_err(|_| Shapeless),
    }
}

/// What a string says, and a number or a switch as it is written.
fn text(raw: Option<&&RawValue>) -> Result<Option<String>, Shapeless> {
    let Some(raw) = raw.map(|raw| raw.get()).filter(|raw| *raw != "null") else { return Ok(None) };
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).map(Some).map_err(|_| Shapeless),
        Some(b'{' | b'[') | None => Err(Shapeless),
        Some(_) => Ok(Some(raw.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(body: &str) -> String {
        match read(body.as_bytes()) {
            Ok(_) => "nothing".to_owned(),
            Err(Refused(status, code, message)) => {
                assert_eq!((status, code), (StatusCode::BAD_REQUEST, 400));
                message
            }
        }
    }

    /// A body with one field as it is written here.
    fn with(field: &str, value: &str) -> String {
        let mut fields = vec![
            ("push_method", "1"),
            ("audience", r#"{"uids":["ann"]}"#),
            ("message", r#"{"content":"hi"}"#),
        ];
        fields.retain(|(name, _)| *name != field);
        if !value.is_empty() {
            fields.push((field, value));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
        format!("{{{}}}", fields.join(","))
    }

    #[test]
    fn what_is_wrong_is_said_as_it_was() {
        let many = format!(r#"{{"uids":[{}0]}}"#, "0,".repeat(1_000));
        for (field, value, expected) in [
            ("push_method", "", "参数错误:push_method:推送方式不能为空"),
            ("push_method", "null", "参数错误:push_method:推送方式不能为空"),
            ("push_method", "2", "参数错误:push_method:值错误,取值范围: 1:websocket"),
            ("push_method", "-1", "参数错误:push_method:值错误,取值范围: 1:websocket"),
            ("push_method", r#""1""#, "nothing"),
            ("push_method", "1.0", "nothing"),
            ("push_method", "true", NOT_JSON),
            ("push_method", r#""one""#, NOT_JSON),
            ("platform", r#""windows""#, "参数错误:platform:值错误,取值范围: all,h5,android,ios,默认all"),
            ("platform", r#""ALL""#, "nothing"),
            ("platform", r#""""#, "nothing"),
            ("platform", "[]", NOT_JSON),
            ("audience", "", "参数错误:audience:推送目标不能为空"),
            ("audience", "{}", "参数错误:uids:一次最少1个,最多1000"),
            ("audience", r#"{"uids":null}"#, "参数错误:uids:一次最少1个,最多1000"),
            ("audience", r#"{"uids":[]}"#, "参数错误:uids:一次最少1个,最多1000"),
            ("audience", &many, "参数错误:uids:一次最少1个,最多1000"),
            ("audience", r#"{"uids":"ann"}"#, NOT_JSON),
            ("audience", r#"{"uids":[null]}"#, NOT_JSON),
            ("audience", r#"{"uids":["ann",""]}"#, "参数错误:uids:值错误,[1] must not be empty"),
            ("audience", r#""all""#, NOT_JSON),
            ("message", "", "参数错误:message:消息内容不能为空"),
            ("message", "{}", "参数错误:content:消息内容不能为空"),
            ("message", r#"{"content":""}"#, "参数错误:content:消息内容不能为空"),
            ("message", r#"{"content":{}}"#, NOT_JSON),
            ("message", r#""hi""#, NOT_JSON),
            ("other", "{}", "nothing"),
        ] {
            assert_eq!(wrong(&with(field, value)), expected, "{field} {value}");
        }
        for body in ["", "[]", "null", "1", "{", r#"{"a":}"#] {
            assert_eq!(wrong(body), NOT_JSON, "{body}");
        }
        assert_eq!(
            wrong("{}"),
            "参数错误:push_method:推送方式不能为空,audience:推送目标不能为空,message:消息内容不能为空"
        );
    }

    #[test]
    fn what_is_pushed_is_what_was_said() {
        let body = r#"{"push_method":1,"platform":"iOS","audience":{"uids":[12345678901234567890123,"ann","ann"]},
            "message":{"extras":"{\"a\":1}","content":7,"title":null,"content_type":"text","more":1}}"#;
        let Pushed { to, data } = read(body.as_bytes()).unwrap();
        assert_eq!(data, r#"{"content":"7","content_type":"text","extras":"{\"a\":1}"}"#);
        let users: Vec<_> = to.users.iter().map(UserId::as_str).collect();
        assert_eq!((users, to.platforms), (vec!["12345678901234567890123", "ann"], vec![Platform::Ios]));
    }
}
