//! The contract of gRPC beside that of REST: every call, every field.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use serde_json::Value;

use super::super::document::{document, resolve};
use crate::grpc::CONTRACT;
use crate::grpc::twins::{Carries, TWINS, Twin};

/// What REST has and gRPC has not, and why.
const WITHOUT: &[(&str, &str, &str)] = &[
    (
        "post",
        "/v1/namespaces/{ns}/messages:batch",
        "is PushBatch, made of entries that are checked one by one",
    ),
    ("get", "/v1/namespaces/{ns}/events", "is Events, which is a stream"),
    ("post", "/v1/namespaces/{ns}/acks", "is for clients, with their tokens"),
    ("get", "/healthz", "is the health service of gRPC"),
    ("get", "/readyz", "is the health service of gRPC"),
    ("get", "/version", "is for people and probes"),
    ("get", "/metrics", "is for Prometheus"),
    ("get", "/openapi.json", "is reflection"),
];

fn file() -> FileDescriptorProto {
    let set = FileDescriptorSet::decode(CONTRACT).unwrap();
    set.file.into_iter().find(|file| file.package() == "tidings.v1").unwrap()
}

fn camel(rpc: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    rpc.split('_').map(word).collect()
}

#[test]
fn every_call_of_rest_has_its_twin() {
    let routes: BTreeSet<_> = crate::rest::routes().list.into_iter().collect();
    let twins: BTreeSet<_> = TWINS.iter().map(|twin| (twin.method, twin.path)).collect();
    let without: BTreeSet<_> = WITHOUT.iter().map(|(method, path, _)| (*method, *path)).collect();
    let missing: Vec<_> = routes.iter().filter(|it| !twins.contains(it) && !without.contains(it)).collect();
    assert!(
        missing.is_empty(),
        "not in gRPC: {missing:?}. Write the call and its messages in proto/tidings/v1/push.proto and its line in \
         api/src/grpc/twins.rs, or say in WITHOUT why there is none"
    );
    let gone: Vec<_> = twins.union(&without).filter(|it| !routes.contains(it)).collect();
    assert!(gone.is_empty(), "not in REST: {gone:?}");
    assert!(twins.is_disjoint(&without));
}

/// Each call says which it is the twin of.
#[test]
fn every_call_is_in_the_table() {
    let file = file();
    let comments: BTreeMap<Vec<i32>, String> = file
        .source_code_info
        .clone()
        .unwrap()
        .location
        .into_iter()
        .map(|location| {
            let text = location.leading_comments().to_owned();
            (location.path, text)
        })
        .collect();
    let mut calls = BTreeMap::new();
    for (index, method) in file.service[0].method.iter().enumerate() {
        // Service 0, method `index`.
        let comment = &comments[&vec![6, 0, 2, i32::try_from(index).unwrap()]];
        calls.insert(method.name().to_owned(), comment.clone());
    }
    for Twin { rpc, method, path, .. } in TWINS {
        let comment = calls.remove(&camel(rpc)).unwrap_or_else(|| panic!("{rpc} is not in the contract"));
        let expected = format!("REST: {} {path}", method.to_uppercase());
        assert_eq!(comment.trim().lines().last().unwrap().trim(), expected, "{rpc}");
    }
    let left: Vec<_> = calls.into_keys().collect();
    assert_eq!(left, ["Events", "PushBatch", "PushStream"]);
}

#[test]
fn every_field_of_rest_is_in_the_contract() {
    let (file, document) = (file(), document());
    let messages: BTreeMap<_, _> = file
        .message_type
        .iter()
        .map(|message| (format!(".tidings.v1.{}", message.name()), message))
        .collect();
    let schemas = Schemas { document: &document, messages: &messages };
    for twin in TWINS {
        let rpc = camel(twin.rpc);
        let method = file.service[0].method.iter().find(|method| method.name() == rpc).unwrap();
        let operation = &document["paths"][twin.path][twin.method];
        schemas.request(twin, operation, messages[method.input_type()]);
        let answers = operation["responses"].as_object().unwrap();
        let good = answers.iter().filter(|(status, _)| status.starts_with('2'));
        let good: Vec<_> = good.map(|(_, answer)| &answer["content"]["application/json"]["schema"]).collect();
        if method.output_type() != ".tidings.v1.Namespace" {
            schemas.same(&good, messages[method.output_type()], &[], &rpc);
        }
    }
}

/// What a stream tells has no schema of an answer: its events are named alike.
#[test]
fn every_field_of_an_event_is_in_the_contract() {
    let (file, document) = (file(), document());
    let messages: BTreeMap<_, _> = file
        .message_type
        .iter()
        .map(|message| (format!(".tidings.v1.{}", message.name()), message))
        .collect();
    let schemas = Schemas { document: &document, messages: &messages };
    for name in ["LiveStats", "LiveTrace", "LiveLost"] {
        let schema = &document["components"]["schemas"][name];
        schemas.same(&[schema], messages[&format!(".tidings.v1.{name}")], &[], name);
    }
}

struct Schemas<'a> {
    document: &'a Value,
    messages: &'a BTreeMap<String, &'a DescriptorProto>,
}

impl Schemas<'_> {
    fn request(&self, twin: &Twin, operation: &Value, message: &DescriptorProto) {
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let parameters = |place: &str| -> Vec<String> {
            let all = operation["parameters"].as_array().into_iter().flatten();
            let here = all.filter(|parameter| parameter["in"] == place);
            let name = |parameter: &Value| parameter["name"].as_str().unwrap().replace("ns", "namespace");
            here.map(name).collect()
        };
        let in_path = parameters("path");
        match twin.carries {
            Carries::Query => {
                let mut names = parameters("query");
                names.extend(in_path);
                names.sort_unstable();
                assert_eq!(self.names(message, &[]), names, "{}", twin.rpc);
            }
            Carries::Body => self.same(&[body], message, &in_path, twin.rpc),
            Carries::Only("json") => {}
            Carries::Only(field) => {
                let field = message.field.iter().find(|it| it.name() == field).unwrap();
                self.same(&[body], self.messages[field.type_name()], &[], twin.rpc);
            }
        }
    }

    fn names(&self, message: &DescriptorProto, besides: &[String]) -> Vec<String> {
        let names = message.field.iter().map(|field| field.name().replace("lasts", "for"));
        let mut names: Vec<_> = names.filter(|name| !besides.contains(name)).collect();
        names.sort_unstable();
        names
    }

    /// The message has the fields of all of the schemas, and no others besides those that are named.
    fn same(&self, schemas: &[&Value], message: &DescriptorProto, besides: &[String], path: &str) {
        let mut properties = serde_json::Map::new();
        for schema in schemas {
            self.gather(schema, &mut properties);
        }
        let mut names: Vec<_> = properties.keys().cloned().collect();
        names.sort_unstable();
        assert_eq!(
            self.names(message, besides),
            names,
            "{path}: the message {} and the schema",
            message.name()
        );
        for field in message.field.iter().filter(|field| field.r#type() == Type::Message) {
            let schema = &properties[field.name()];
            let path = format!("{path}.{}", field.name());
            self.field(schema, field.type_name(), message, &path);
        }
    }

    fn field(&self, schema: &Value, kind: &str, message: &DescriptorProto, path: &str) {
        let schema = resolve(self.document, schema);
        if let Some(items) = schema.get("items")
            && kind != ".tidings.v1.Patterns"
        {
            return self.field(items, kind, message, path);
        }
        // A map is a nested message of its own.
        let entry = message.nested_type.iter().find(|entry| kind.ends_with(&format!(".{}", entry.name())));
        match entry {
            Some(entry) if entry.field[1].r#type() == Type::Message => {
                self.field(&schema["additionalProperties"], entry.field[1].type_name(), message, path);
            }
            Some(_) => assert!(schema["additionalProperties"].is_object(), "{path}"),
            // JSON text, and a list that may be missing.
            None if [".tidings.v1.Namespace", ".tidings.v1.Patterns"].contains(&kind) => {}
            None => self.same(&[schema], self.messages[kind], &[], path),
        }
    }

    fn gather(&self, schema: &Value, into: &mut serde_json::Map<String, Value>) {
        let schema = resolve(self.document, schema);
        for list in ["allOf", "oneOf"] {
            for part in schema[list].as_array().into_iter().flatten() {
                // The variants of what is exactly one of several.
                self.gather(part, into);
            }
        }
        if let Some(properties) = schema["properties"].as_object() {
            into.extend(properties.clone());
        }
    }
}
