//! What can go wrong, as the outside sees it: one table of stable slugs for REST, gRPC and every client
//! protocol.

/// The status that gRPC answers, with its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrpcStatus {
    /// The request is wrong, whatever there is.
    InvalidArgument = 3,
    /// There is no such thing.
    NotFound = 5,
    /// There is such a thing already.
    AlreadyExists = 6,
    /// The caller is known, and may not.
    PermissionDenied = 7,
    /// A limit is reached.
    ResourceExhausted = 8,
    /// Not as things are now.
    FailedPrecondition = 9,
    /// This cannot be done here.
    Unimplemented = 12,
    /// Something is broken here.
    Internal = 13,
    /// Not now; retry.
    Unavailable = 14,
    /// The caller is not known.
    Unauthenticated = 16,
}

/// A public error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode {
    /// The stable slug.
    pub slug: &'static str,
    /// The HTTP status it is answered with.
    pub status: u16,
    /// The status it is in gRPC.
    pub grpc: GrpcStatus,
    /// What it means, in a few words.
    pub title: &'static str,
}

macro_rules! error_codes {
    ($($name:ident = $slug:literal $status:literal $grpc:ident $title:literal;)*) => {
        impl ErrorCode {
            $(#[doc = $title] pub const $name: Self =
                Self { slug: $slug, status: $status, grpc: GrpcStatus::$grpc, title: $title };)*

            /// The whole table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

error_codes! {
    INVALID_REQUEST = "invalid_request" 400 InvalidArgument "The request is not valid";
    NOT_SUPPORTED = "not_supported" 400 Unimplemented "This version cannot do what was asked";
    UNAUTHORIZED = "unauthorized" 401 Unauthenticated "A valid key is needed";
    FORBIDDEN = "forbidden" 403 PermissionDenied "The key or client may not do this";
    SUSPENDED = "suspended" 403 FailedPrecondition "The namespace or the room is suspended";
    NOT_FOUND = "not_found" 404 NotFound "There is no such thing";
    METHOD_NOT_ALLOWED = "method_not_allowed" 405 Unimplemented "The path exists, but not with this method";
    CONFLICT = "conflict" 409 AlreadyExists "It contradicts what is there already";
    PAYLOAD_TOO_LARGE = "payload_too_large" 413 ResourceExhausted "The request is larger than the limit";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type" 415 InvalidArgument "The body is not of a type that is understood";
    RATE_LIMITED = "rate_limited" 429 ResourceExhausted "Too many requests; retry later";
    TOO_MANY_CONNECTIONS = "too_many_connections" 429 ResourceExhausted "There are as many connections as there may be";
    INTERNAL = "internal" 500 Internal "Something went wrong here; the log has the request id";
    OVERLOADED = "overloaded" 503 Unavailable "The server has no room for more now; retry later";
    DEPENDENCY_UNAVAILABLE = "dependency_unavailable" 503 Unavailable "Something that this needs is away; retry later";
    STORAGE_FULL = "storage_full" 507 ResourceExhausted "The disk is full; nothing was accepted";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique() {
        for (index, one) in ErrorCode::ALL.iter().enumerate() {
            assert!(ErrorCode::ALL[index + 1..].iter().all(|other| other.slug != one.slug), "{one:?}");
        }
    }
}
