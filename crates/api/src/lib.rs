//! Backends: REST, the error table, health, metrics and OpenAPI.
