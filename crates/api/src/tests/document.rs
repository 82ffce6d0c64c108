//! The OpenAPI document: complete, and true.

use serde_json::Value;
use tidings_model::Platform;

use super::{KEY, World};
use crate::shape::Shape;
use crate::{openapi, push, rest};

pub(super) fn document() -> Value {
    serde_json::to_value(openapi::openapi()).unwrap()
}

#[test]
fn the_document_has_the_paths_of_the_router() {
    let mut routes: Vec<_> =
        rest::routes().list.iter().map(|(method, path)| format!("{method} {path}")).collect();
    let document = document();
    let mut described: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "parameters")
                .map(move |method| format!("{method} {path}"))
        })
        .collect();
    routes.sort();
    described.sort();
    assert_eq!(routes, described);
    assert_eq!(document["openapi"], "3.1.0");
}

/// Who asks for what a call knows nothing of is told so: see [`rest::ASKED`].
#[test]
fn the_document_knows_which_calls_are_asked_in_their_query() {
    let document = document();
    let mut asked = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array();
            if parameters.is_some_and(|list| list.iter().any(|one| one["in"] == "query")) {
                asked.push((method.as_str(), path.as_str()));
            }
        }
    }
    asked.sort_unstable();
    let mut known = rest::ASKED.to_vec();
    known.sort_unstable();
    assert_eq!(asked, known);
}

/// The same of what they are given: see [`rest::GIVEN`].
#[test]
fn the_document_knows_which_calls_are_given_a_body() {
    let document = document();
    let mut given = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("requestBody").is_some() {
                given.push((method.as_str(), path.as_str()));
            }
        }
    }
    given.sort_unstable();
    let mut known = rest::GIVEN.to_vec();
    known.sort_unstable();
    assert_eq!(given, known);
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, document: &Value) {
        if let Some(to) = value.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(&to[1..]).is_some(), "{to}");
        }
        match value {
            Value::Object(fields) => fields.values().for_each(|value| walk(value, document)),
            Value::Array(elements) => elements.iter().for_each(|value| walk(value, document)),
            _ => {}
        }
    }
    walk(&document(), &document());
}

/// What needs a key says so, and is refused without one.
#[tokio::test]
async fn the_document_knows_what_needs_a_key() {
    let world = World::new().await;
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let keyed = operation["security"]
                .as_array()
                .is_some_and(|list| list.iter().any(|one| one.get("bearer").is_some()));
            let path = path.replace("{ns}", "demo").replace('{', "x").replace('}', "");
            let answer = world.bare(&format!("{} {path}", method.to_uppercase()), "").await;
            assert_eq!(answer.status == 401, keyed, "{method} {path}");
            let described = &operation["responses"][answer.status.as_str()];
            assert!(described.is_object(), "{method} {path} answers {}", answer.status);
        }
    }
}

#[test]
fn requests_are_described_as_they_are_checked() {
    for (schema, shape) in [
        ("Push", &push::SHAPE),
        ("Batch", &rest::batch::SHAPE),
        ("Acks", &rest::acks::SHAPE),
        ("NewSimulation", &rest::simulations::SHAPE),
        ("NewKey", &rest::keys::SHAPE),
        ("Whom", &rest::rooms::WHOM_SHAPE),
        ("Purge", &rest::devices::SHAPE),
        ("RoomPatch", &rest::rooms::PATCH_SHAPE),
        ("NewDevice", &rest::devices::DEVICE_SHAPE),
        ("DevicePatch", &rest::devices::DEVICE_SHAPE),
        ("StatusOf", &rest::users::STATUS_SHAPE),
        ("NewToken", &rest::tokens::SHAPE),
        ("Revocation", &rest::tokens::REVOKE_SHAPE),
        ("NewHook", &rest::namespaces::HOOK_SHAPE),
    ] {
        same(&document(), &document()["components"]["schemas"][schema], shape, schema);
    }
}

/// The schema has the fields of the shape, and no others.
fn same(document: &Value, schema: &Value, shape: &Shape, path: &str) {
    let schema = resolve(document, schema);
    let Shape::Object(fields) = shape else { return };
    assert_eq!(schema["additionalProperties"], false, "{path}");
    let described = schema["properties"].as_object().unwrap();
    let mut names: Vec<_> = described.keys().map(String::as_str).collect();
    let mut expected: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected, "{path}");
    for (name, shape) in *fields {
        same(document, &described[*name], shape, &format!("{path}.{name}"));
    }
}

/// Follows references, and takes the one that is not null.
pub(super) fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(to) = schema.get("$ref").and_then(Value::as_str) {
        return resolve(document, document.pointer(&to[1..]).unwrap());
    }
    let one_of = schema.get("oneOf").and_then(Value::as_array);
    match one_of.and_then(|all| all.iter().find(|one| one["type"] != "null")) {
        Some(one) if one_of.is_some_and(|all| all.len() == 2) => resolve(document, one),
        _ => schema,
    }
}

/// Every example in the document is accepted, and what is answered is as described.
#[tokio::test]
async fn answers_are_as_described() {
    let world = World::new().await;
    let document = document();
    world.device("d1", "ann", Platform::Web, &["lobby"]).await;
    let example = |schema: &str| document["components"]["schemas"][schema]["example"].to_string();
    let dry = r#"{"to":{"all":true},"dry_run":true}"#.to_owned();
    let mixed =
        r#"{"messages":[{"to":{"all":true}},{"to":{}},{"to":{"all":true},"dry_run":true}]}"#.to_owned();
    for (call, template, body, status) in [
        ("POST /v1/namespaces", "/v1/namespaces", example("NewNamespace").replace("demo", "demo2"), "201"),
        (
            "POST /v1/namespaces",
            "/v1/namespaces",
            format!(r#"{{"name":"hooked","auth":{{"mode":"open"}},"hooks":[{}]}}"#, example("NewHook")),
            "201",
        ),
        ("POST /v1/namespaces", "/v1/namespaces", "{}".to_owned(), "400"),
        ("POST /v1/namespaces/demo/messages", "/v1/namespaces/{ns}/messages", example("Push"), "202"),
        ("POST /v1/namespaces/demo/messages", "/v1/namespaces/{ns}/messages", dry, "200"),
        ("POST /v1/namespaces/demo/messages", "/v1/namespaces/{ns}/messages", "{".to_owned(), "400"),
        (
            "POST /v1/namespaces/demo/messages:batch",
            "/v1/namespaces/{ns}/messages:batch",
            example("Batch"),
            "200",
        ),
        ("POST /v1/namespaces/demo/messages:batch", "/v1/namespaces/{ns}/messages:batch", mixed, "200"),
        ("POST /v1/namespaces/demo/acks?device=d1", "/v1/namespaces/{ns}/acks", example("Acks"), "200"),
        ("GET /v1/namespaces/demo/messages?limit=1", "/v1/namespaces/{ns}/messages", String::new(), "200"),
        ("GET /v1/namespaces/demo/messages?x=1", "/v1/namespaces/{ns}/messages", String::new(), "400"),
        ("GET /v1/namespaces", "/v1/namespaces", String::new(), "200"),
        ("GET /v1/namespaces/demo", "/v1/namespaces/{ns}", String::new(), "200"),
        ("GET /v1/namespaces/none", "/v1/namespaces/{ns}", String::new(), "404"),
        (
            "GET /v1/namespaces/demo/messages/order-7781-shipped",
            "/v1/namespaces/{ns}/messages/{id}",
            String::new(),
            "200",
        ),
        (
            "POST /v1/namespaces/demo/simulations",
            "/v1/namespaces/{ns}/simulations",
            example("NewSimulation"),
            "201",
        ),
        ("POST /v1/namespaces/demo/simulations", "/v1/namespaces/{ns}/simulations", "{}".to_owned(), "400"),
        ("GET /v1/namespaces/demo/simulations", "/v1/namespaces/{ns}/simulations", String::new(), "200"),
        ("GET /v1/namespaces/demo/stats", "/v1/namespaces/{ns}/stats", String::new(), "200"),
        ("GET /v1/namespaces/demo/stats?granularity=week", "/v1/namespaces/{ns}/stats", String::new(), "400"),
        ("GET /v1/namespaces/demo/stats/current", "/v1/namespaces/{ns}/stats/current", String::new(), "200"),
        (
            "GET /v1/namespaces/demo/messages/order-7781-shipped/report",
            "/v1/namespaces/{ns}/messages/{id}/report",
            String::new(),
            "200",
        ),
        (
            "GET /v1/namespaces/demo/messages/order-7781-shipped/receipts",
            "/v1/namespaces/{ns}/messages/{id}/receipts",
            String::new(),
            "200",
        ),
        ("GET /v1/namespaces/hooked/hooks/crm", "/v1/namespaces/{ns}/hooks/{hook}", String::new(), "200"),
        (
            "POST /v1/namespaces/hooked/hooks/crm/replay",
            "/v1/namespaces/{ns}/hooks/{hook}/replay",
            String::new(),
            "200",
        ),
        (
            "PUT /v1/namespaces/demo/devices/d7",
            "/v1/namespaces/{ns}/devices/{device}",
            example("NewDevice"),
            "201",
        ),
        (
            "PUT /v1/namespaces/demo/devices/d7",
            "/v1/namespaces/{ns}/devices/{device}",
            "{}".to_owned(),
            "200",
        ),
        (
            "PATCH /v1/namespaces/demo/devices/d7",
            "/v1/namespaces/{ns}/devices/{device}",
            example("DevicePatch"),
            "200",
        ),
        (
            "PATCH /v1/namespaces/demo/devices/none",
            "/v1/namespaces/{ns}/devices/{device}",
            "{}".to_owned(),
            "404",
        ),
        ("GET /v1/namespaces/demo/devices/d7", "/v1/namespaces/{ns}/devices/{device}", String::new(), "200"),
        ("GET /v1/namespaces/demo/devices?tag=vip", "/v1/namespaces/{ns}/devices", String::new(), "200"),
        (
            "POST /v1/namespaces/demo/devices:purge",
            "/v1/namespaces/{ns}/devices:purge",
            example("Purge"),
            "200",
        ),
        (
            "PATCH /v1/namespaces/demo/rooms/shut",
            "/v1/namespaces/{ns}/rooms/{room}",
            example("RoomPatch"),
            "200",
        ),
        ("PATCH /v1/namespaces/demo/rooms/shut", "/v1/namespaces/{ns}/rooms/{room}", "{}".to_owned(), "400"),
        ("GET /v1/namespaces/demo/rooms/lobby", "/v1/namespaces/{ns}/rooms/{room}", String::new(), "200"),
        ("GET /v1/namespaces/demo/users/ann", "/v1/namespaces/{ns}/users/{user}", String::new(), "200"),
        ("GET /v1/nodes", "/v1/nodes", String::new(), "200"),
        ("GET /v1/alerts", "/v1/alerts", String::new(), "200"),
        ("POST /v1/nodes/n1:drain", "/v1/nodes/{node}:drain", String::new(), "202"),
        ("GET /healthz", "/healthz", String::new(), "200"),
        ("GET /readyz", "/readyz", String::new(), "503"),
        ("GET /version", "/version", String::new(), "200"),
    ] {
        let answer = world.bare(&format!("{call}\nauthorization: Bearer {KEY}"), body).await;
        assert_eq!(answer.status.as_str(), status, "{call}: {}", answer.body);
        let method = call.split(' ').next().unwrap().to_lowercase();
        let content = &document["paths"][template][method]["responses"][status]["content"];
        let media = answer.headers["content-type"].to_str().unwrap();
        let schema = &content[media]["schema"];
        assert!(schema.is_object(), "{call}: {media} in {content}");
        let value: Value = serde_json::from_str(&answer.body).unwrap();
        fits(&document, schema, &value, call).unwrap_or_else(|why| panic!("{why}"));
    }
}

/// Whether a value is as a schema says; as much of JSON Schema as the document uses, and stricter:
/// every field of an object must be described.
fn fits(document: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(to) = schema.get("$ref").and_then(Value::as_str) {
        return fits(document, document.pointer(&to[1..]).unwrap(), value, path);
    }
    if let Some(all) = schema.get("oneOf").and_then(Value::as_array) {
        let fitting = all.iter().filter(|one| fits(document, one, value, path).is_ok()).count();
        return if fitting == 1 { Ok(()) } else { Err(format!("{path} fits {fitting} of oneOf: {value}")) };
    }
    if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
        let mut merged = serde_json::json!({"type": "object", "properties": {}, "required": []});
        for one in all {
            let one = resolve(document, one);
            let more = one["properties"].as_object().unwrap().clone();
            merged["properties"].as_object_mut().unwrap().extend(more);
            merged["required"]
                .as_array_mut()
                .unwrap()
                .extend(one["required"].as_array().unwrap().iter().cloned());
        }
        return fits(document, &merged, value, path);
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return if words.contains(value) { Ok(()) } else { Err(format!("{path} is {value}")) };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::String(one) => one == kind || (one == "number" && kind == "integer"),
        Value::Array(several) => {
            several.iter().any(|one| one == kind || (one == "number" && kind == "integer"))
        }
        // Any JSON.
        _ => return Ok(()),
    };
    if !allowed {
        return Err(format!("{path} is {value}, described as {}", schema["type"]));
    }
    if let Some(elements) = value.as_array() {
        for (index, element) in elements.iter().enumerate() {
            fits(document, &schema["items"], element, &format!("{path}[{index}]"))?;
        }
    }
    let Some(fields) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            return Err(format!("{path} lacks {name}"));
        }
    }
    for (name, value) in fields {
        let described = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        let described = described.ok_or_else(|| format!("{path}.{name} is not described"))?;
        fits(document, described, value, &format!("{path}.{name}"))?;
    }
    Ok(())
}
