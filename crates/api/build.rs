//! Makes Rust of `proto/` at the root of the project: messages that are JSON too, in the words that REST has, and the
//! service. No `protoc` is needed. The contract of gopusher is beside it, and stays as it was.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// Where the contract is.
const ROOT: &str = "../../proto";

/// Fields that are JSON text in a message, and JSON as it stands in REST.
const RAW: &[&str] = &[
    "Push.data",
    "Offline.apns",
    "Offline.fcm",
    "Offline.webpush",
    "MintTokenRequest.meta",
    "CreateNamespaceRequest.json",
    "ChangeNamespaceRequest.json",
    "PutDeviceRequest.json",
    "ChangeDeviceRequest.json",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_source_info(true).include_imports(true).open_file("tidings/v1/push.proto")?;
    let out = env::var_os("OUT_DIR").ok_or("there is no OUT_DIR")?;
    // With the comments, which reflection shows.
    fs::write(Path::new(&out).join("tidings.v1.bin"), compiler.encode_file_descriptor_set())?;

    let mut builder = tonic_prost_build::configure()
        .build_transport(false)
        .client_mod_attribute(".", "#[cfg(test)]")
        .codec_path("crate::grpc::codec::Checked")
        .btree_map(".")
        .message_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        // A field of REST that is missing here fails a test, and no call.
        .message_attribute(".", "#[serde(default)] #[cfg_attr(test, serde(deny_unknown_fields))]")
        .enum_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .enum_attribute(".", "#[serde(rename_all = \"snake_case\")]")
        .message_attribute(".tidings.v1.Namespace", "#[serde(from = \"crate::grpc::json::Whole\")]")
        .message_attribute(".tidings.v1.PushResult", "#[serde(from = \"crate::grpc::json::Became\")]")
        .field_attribute(
            ".tidings.v1.Message.data",
            "#[serde(deserialize_with = \"crate::grpc::json::text\")]",
        )
        .field_attribute(
            ".tidings.v1.DeadLetter.notice",
            "#[serde(deserialize_with = \"crate::grpc::json::text\")]",
        )
        .field_attribute(
            ".tidings.v1.Device.metadata",
            "#[serde(deserialize_with = \"crate::grpc::json::text\")]",
        )
        .field_attribute(".tidings.v1.AddBlockRequest.lasts", "#[serde(rename = \"for\")]")
        .field_attribute(".tidings.v1.SimulateRequest.lasts", "#[serde(rename = \"for\")]")
        .field_attribute(".tidings.v1.RevokeTokensRequest.lasts", "#[serde(rename = \"for\")]");
    builder = builder.field_attribute(
        ".tidings.v1.MintTokenRequest.presence",
        "#[serde(serialize_with = \"crate::grpc::json::patterns\")]",
    );
    for path in RAW {
        let (_, field) = path.split_once('.').unwrap_or_default();
        let attribute = format!("#[serde(serialize_with = \"crate::grpc::json::raw::{field}\")]");
        builder = builder.field_attribute(format!(".tidings.v1.{path}"), attribute);
    }
    builder.compile_fds(compiler.file_descriptor_set())?;

    let mut gopusher = protox::Compiler::new([ROOT])?;
    gopusher.open_file("gopusher/rpc.proto")?;
    tonic_prost_build::configure()
        .build_transport(false)
        .client_mod_attribute(".", "#[cfg(test)]")
        .codec_path("crate::grpc::codec::Checked")
        .compile_fds(gopusher.file_descriptor_set())?;
    Ok(())
}
