//! The backend side of the five older systems: their paths, bodies and words, over the same use cases. Each router may be served
//! beside everything else or on a listener of its own. None of them is in OpenAPI: their contracts are their own.

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

pub(crate) mod around;
mod door;
pub mod go_redis;
pub mod gopusher;
pub mod light_push;
pub mod message_push;
mod plain;
pub mod push_koa;

/// Base64 of credentials. Padding may be left out: most of the older servers never missed it.
const CREDENTIALS: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
