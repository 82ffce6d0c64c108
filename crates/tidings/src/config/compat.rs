//! The five older systems: whether each is spoken, where, and for which namespace.

use std::sync::Arc;
use std::time::Duration;

use tidings_api::compat as api;
use tidings_gateway::compat as gateway;
use tidings_model::{Glob, NamespaceName, RoomName, limit};
use tidings_node::Node;
use tidings_node::notify::HookUrl;

use super::layers::Layers;
use super::{Key, Section, value};
use crate::bridge::{Bridge, Channels};
use crate::listener::Address;

/// Keys that several of them have.
macro_rules! enabled {
    ($system:literal) => {
        Key {
            name: concat!("compat.", $system, ".enabled"),
            default: "false",
            allowed: "true or false",
            doc: "Whether its clients and backends are served.",
            flag: "",
            secret: false,
        }
    };
}

macro_rules! listen {
    ($system:literal, $doc:literal) => {
        Key {
            name: concat!("compat.", $system, ".listen"),
            default: "",
            allowed: "an IP address and a port, or a Unix socket, as for server.listen; nothing for the main listener",
            doc: $doc,
            flag: "",
            secret: false,
        }
    };
}

macro_rules! namespace {
    ($system:literal, $default:literal) => {
        Key {
            name: concat!("compat.", $system, ".namespace"),
            default: $default,
            allowed: "a name: a-z, 0-9, - and _, at most 50",
            doc: "The namespace of its clients and pushes. Made, with `auth.mode` `token`, when it is not there; with `open` where its calls are open, too.",
            flag: "",
            secret: false,
        }
    };
}

macro_rules! open {
    ($system:literal) => {
        Key {
            name: concat!("compat.", $system, ".open"),
            default: "false",
            allowed: "true or false",
            doc: "Whether its calls are taken without a key, as they always were. Whoever reaches the listener can push then; \
                the log says so. Off, a call needs a key of the namespace, as every call of the API does, and a start makes a namespace that \
                was open one that wants tokens, unless the configuration declares it or another system keeps it open.",
            flag: "",
            secret: false,
        }
    };
}

pub(super) const LIGHT_PUSH: Section = Section {
    name: "compat.light_push",
    doc: "light-push (Node, socket.io 2). Its Socket.IO namespaces are namespaces; what is a password there is a key here.",
    keys: &[
        enabled!("light_push"),
        listen!("light_push", "Where it is served, Socket.IO and `/api/` on one port."),
        Key {
            name: "compat.light_push.socket_path",
            default: "/push/socket.io/",
            allowed: "a path that ends with /socket.io/",
            doc: "Where its Socket.IO is. On a listener of its own, `/socket.io/` is there as well.",
            flag: "",
            secret: false,
        },
        Key {
            name: "compat.light_push.callback_private",
            default: "false",
            allowed: "true or false",
            doc: "Whether the callbacks of all namespaces may be at private addresses. Off, only those may that the administrator \
                has set with `callback_private`.",
            flag: "",
            secret: false,
        },
    ],
};

pub(super) const PUSH_KOA: Section = Section {
    name: "compat.push_koa",
    doc: "push (koa2, socket.io 1.7). Needs a listener of its own: its Socket.IO is at `/socket.io/`.",
    keys: &[
        enabled!("push_koa"),
        listen!("push_koa", "Where it is served, Socket.IO and its calls on one port."),
        namespace!("push_koa", "heikuai"),
        open!("push_koa"),
        Key {
            name: "compat.push_koa.ack_wait",
            default: "10s",
            allowed: "a duration from 0s to 30s",
            doc: "How long the answer to a push waits for receipts (`delay` there). It comes at once when everybody has given theirs.",
            flag: "",
            secret: false,
        },
        Key {
            name: "compat.push_koa.ttl",
            default: "24h",
            allowed: "a duration from 0s to 30d",
            doc: "How long a message waits for who is away. Set it to 0s where the business system keeps messages itself and sends them \
                with `/pushOffLineMsg` when its user logs in: they would come twice.",
            flag: "",
            secret: false,
        },
        Key {
            name: "compat.push_koa.redis",
            default: "",
            allowed: "a URL, as in \"redis://127.0.0.1:6379\"; nothing for none",
            doc: "The Redis in which the business system keeps `room@<uid>`, and where `login<N>@*` is published when somebody logs in.",
            flag: "",
            secret: true,
        },
        Key {
            name: "compat.push_koa.servers",
            default: "1",
            allowed: "1 to 1000",
            doc: "How many business servers share the logins: N of `login<N>@*` is one of them (`serverNumber` there).",
            flag: "",
            secret: false,
        },
    ],
};

pub(super) const GOPUSHER: Section = Section {
    name: "compat.gopusher",
    doc: "gopusher (Go, NSQ). WebSocket, HTTP and gRPC (`proto.Rpc`) on one port.",
    keys: &[
        enabled!("gopusher"),
        listen!("gopusher", "Where it is served."),
        namespace!("gopusher", "gopusher"),
        open!("gopusher"),
    ],
};

pub(super) const GO_REDIS: Section = Section {
    name: "compat.go_redis",
    doc: "The push server of Go and Redis. What is published to a channel of the Redis goes to the room of that name.",
    keys: &[
        enabled!("go_redis"),
        listen!("go_redis", "Where it is served: `/ws`, `/notify` and `/set`."),
        namespace!("go_redis", "channels"),
        open!("go_redis"),
        Key {
            name: "compat.go_redis.redis",
            default: "redis://127.0.0.1:6379",
            allowed: "a URL, as in \"redis://127.0.0.1:6379\"",
            doc: "The Redis that backends publish to.",
            flag: "",
            secret: true,
        },
        Key {
            name: "compat.go_redis.channels",
            default: "",
            allowed: "names of channels and patterns with *, ? and [..], as in \"news, score.*\"",
            doc: "The channels that are there from the start. More can be added while it runs.",
            flag: "",
            secret: false,
        },
    ],
};

pub(super) const MESSAGE_PUSH: Section = Section {
    name: "compat.message_push",
    doc: "message-push (Java, Kafka).",
    keys: &[
        enabled!("message_push"),
        listen!("message_push", "Where it is served, WebSocket and REST on one port."),
        namespace!("message_push", "app"),
        Key {
            name: "compat.message_push.passport_url",
            default: "",
            allowed: "an http or https URL; nothing for none",
            doc: "Who is asked whose a client's token is, as its gateway did. Without it, tokens are verified as the namespace says.",
            flag: "",
            secret: false,
        },
        Key {
            name: "compat.message_push.passport_private",
            default: "false",
            allowed: "true or false",
            doc: "Whether `passport_url` may be a private address.",
            flag: "",
            secret: false,
        },
        Key {
            name: "compat.message_push.derived_secrets",
            default: "false",
            allowed: "true or false",
            doc: "Whether the `appSecret` that its server computed from the `appKey` opens the API: anybody who knows how can compute \
                it, so the log says so. Off, `appSecret` is a key of the namespace.",
            flag: "",
            secret: false,
        },
    ],
};

/// One of the older systems that is served.
#[derive(Clone, Debug)]
pub(crate) struct Served<T> {
    /// Where; on the main listener where that is `None`.
    pub(crate) listen: Option<Address>,
    /// How.
    pub(crate) settings: T,
}

/// What is set for light-push.
#[derive(Clone, Debug)]
pub(crate) struct LightPush {
    /// The path of its Socket.IO.
    pub(crate) socket_path: String,
    pub(crate) callback_private: bool,
}

/// What is set for push (koa).
#[derive(Clone, Debug)]
pub(crate) struct PushKoa {
    pub(crate) namespace: NamespaceName,
    pub(crate) open: bool,
    pub(crate) ack_wait: Duration,
    pub(crate) ttl: Duration,
    pub(crate) redis: Option<String>,
    pub(crate) servers: u32,
}

/// What is set for gopusher.
#[derive(Clone, Debug)]
pub(crate) struct Gopusher {
    pub(crate) namespace: NamespaceName,
    pub(crate) open: bool,
}

/// What is set for the push server of Go and Redis.
#[derive(Clone, Debug)]
pub(crate) struct GoRedis {
    pub(crate) namespace: NamespaceName,
    pub(crate) open: bool,
    pub(crate) redis: String,
    pub(crate) channels: Channels,
}

/// What is set for message-push.
#[derive(Clone, Debug)]
pub(crate) struct MessagePush {
    pub(crate) namespace: NamespaceName,
    pub(crate) passport_url: Option<HookUrl>,
    pub(crate) passport_private: bool,
    pub(crate) derived_secrets: bool,
}

/// The older systems that are served.
#[derive(Debug, Default)]
pub(crate) struct Compat {
    pub(crate) light_push: Option<Served<LightPush>>,
    pub(crate) push_koa: Option<Served<PushKoa>>,
    pub(crate) gopusher: Option<Served<Gopusher>>,
    pub(crate) go_redis: Option<Served<GoRedis>>,
    pub(crate) message_push: Option<Served<MessagePush>>,
}

fn name(text: &str) -> Result<NamespaceName, String> {
    NamespaceName::new(text).map_err(|why| why.to_string())
}

fn listen(layers: &mut Layers, key: &'static str) -> Option<Address> {
    layers.take(key, |text| {
        if text.is_empty() {
            return Ok(None);
        }
        let why = "must be an IP address and a port, as in \"127.0.0.1:9001\", or a Unix socket, as in \"unix:/run/old.sock\"";
        Address::parse(text).map(Some).ok_or_else(|| why.to_owned())
    })
}

fn maybe(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

fn redis(text: &str) -> Result<String, String> {
    tidings_bridge::check_url(text).map(|()| text.to_owned()).map_err(|why| why.to_string())
}

fn channels(text: &str) -> Result<Channels, String> {
    let mut channels = Channels::default();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let room = RoomName::new(name).map_err(|why| format!("names the channel {name:?}, which {why}"))?;
        if !Glob::is_one(name) {
            channels.names.insert(room);
        } else if !channels.patterns.iter().any(|pattern| pattern.as_str() == name) {
            channels.patterns.push(Glob::new(name));
        }
    }
    Ok(channels)
}

impl Compat {
    /// `main`: where the main listener is.
    pub(super) fn resolve(layers: &mut Layers, main: &Address) -> Self {
        // Everything is checked, whether it is enabled or not.
        let all = Self {
            light_push: Some(Served {
                listen: listen(layers, "compat.light_push.listen"),
                settings: LightPush {
                    socket_path: layers.take("compat.light_push.socket_path", |text| {
                        let fits = text.starts_with('/')
                            && text.ends_with("/socket.io/")
                            && !text.contains(['{', '}', '?']);
                        if fits {
                            Ok(text.to_owned())
                        } else {
                            Err("must be a path that ends with /socket.io/".to_owned())
                        }
                    }),
                    callback_private: layers.take("compat.light_push.callback_private", value::switch),
                },
            }),
            push_koa: Some(Served {
                listen: listen(layers, "compat.push_koa.listen"),
                settings: PushKoa {
                    namespace: layers.take("compat.push_koa.namespace", name),
                    open: layers.take("compat.push_koa.open", value::switch),
                    ack_wait: layers.take("compat.push_koa.ack_wait", |text| {
                        value::time(text, Duration::ZERO..=Duration::from_secs(30))
                    }),
                    ttl: layers.take("compat.push_koa.ttl", |text| {
                        value::time(text, Duration::ZERO..=Duration::from_secs(limit::TTL_SECS_MAX))
                    }),
                    redis: layers.take("compat.push_koa.redis", |text| match text {
                        "" => Ok(None),
                        url => redis(url).map(Some),
                    }),
                    servers: layers.take("compat.push_koa.servers", |text| value::number(text, 1..=1_000)),
                },
            }),
            gopusher: Some(Served {
                listen: listen(layers, "compat.gopusher.listen"),
                settings: Gopusher {
                    namespace: layers.take("compat.gopusher.namespace", name),
                    open: layers.take("compat.gopusher.open", value::switch),
                },
            }),
            go_redis: Some(Served {
                listen: listen(layers, "compat.go_redis.listen"),
                settings: GoRedis {
                    namespace: layers.take("compat.go_redis.namespace", name),
                    open: layers.take("compat.go_redis.open", value::switch),
                    redis: layers.take("compat.go_redis.redis", redis),
                    channels: layers.take("compat.go_redis.channels", channels),
                },
            }),
            message_push: Some(Served {
                listen: listen(layers, "compat.message_push.listen"),
                settings: MessagePush {
                    namespace: layers.take("compat.message_push.namespace", name),
                    passport_url: layers.take("compat.message_push.passport_url", |text| {
                        let url = maybe(text)?.map(|url| HookUrl::parse(&url));
                        url.transpose().map_err(|why| why.to_string())
                    }),
                    passport_private: layers.take("compat.message_push.passport_private", value::switch),
                    derived_secrets: layers.take("compat.message_push.derived_secrets", value::switch),
                },
            }),
        };
        let enabled = |layers: &mut Layers, key| layers.take(key, value::switch);
        let compat = Self {
            light_push: all.light_push.filter(|_| enabled(layers, "compat.light_push.enabled")),
            push_koa: all.push_koa.filter(|_| enabled(layers, "compat.push_koa.enabled")),
            gopusher: all.gopusher.filter(|_| enabled(layers, "compat.gopusher.enabled")),
            go_redis: all.go_redis.filter(|_| enabled(layers, "compat.go_redis.enabled")),
            message_push: all.message_push.filter(|_| enabled(layers, "compat.message_push.enabled")),
        };
        compat.check(layers, main);
        compat
    }

    /// Finds systems whose paths or addresses collide.
    fn check(&self, layers: &mut Layers, main: &Address) {
        let on_main = |listen: Option<&Option<Address>>| listen.is_some_and(Option::is_none);
        if on_main(self.push_koa.as_ref().map(|served| &served.listen)) {
            layers.refuse(
                "compat.push_koa.listen",
                "is needed: its /socket.io/ is there already on the main listener",
            );
        }
        if let Some(served) = &self.light_push
            && served.listen.is_none()
            && served.settings.socket_path == "/socket.io/"
        {
            layers.refuse(
                "compat.light_push.socket_path",
                "is there already on the main listener; set another, or compat.light_push.listen",
            );
        }
        let gopusher = self.gopusher.as_ref().map(|served| &served.listen);
        let go_redis = self.go_redis.as_ref().map(|served| &served.listen);
        if on_main(gopusher) && on_main(go_redis) {
            layers.refuse("compat.go_redis.listen", "is needed: its /ws is gopusher's on the main listener");
        }
        let mut taken = vec![(main.clone(), "server.listen")];
        for (key, address) in self.addresses() {
            match taken.iter().find(|(other, _)| other.collides(&address)) {
                Some((same, other)) if *same == address => {
                    layers.refuse(key, &format!("is the address of {other}"));
                }
                Some((same, other)) => {
                    layers.refuse(key, &format!("collides with {other}, which is {same}; set another port"));
                }
                None => taken.push((address, key)),
            }
        }
    }
}

impl Compat {
    /// The addresses of the systems that have a listener of their own, each with its key.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&'static str, Address)> {
        fn of<T>(served: Option<&Served<T>>) -> Option<Address> {
            served?.listen.clone()
        }
        let all = [
            ("compat.light_push.listen", of(self.light_push.as_ref())),
            ("compat.push_koa.listen", of(self.push_koa.as_ref())),
            ("compat.gopusher.listen", of(self.gopusher.as_ref())),
            ("compat.go_redis.listen", of(self.go_redis.as_ref())),
            ("compat.message_push.listen", of(self.message_push.as_ref())),
        ];
        all.into_iter().filter_map(|(key, address)| Some((key, address?)))
    }

    /// Whether a system is open whose namespace this is.
    pub(crate) fn opens(&self, name: &NamespaceName) -> bool {
        let push_koa =
            self.push_koa.as_ref().map(|Served { settings, .. }| (settings.open, &settings.namespace));
        let gopusher =
            self.gopusher.as_ref().map(|Served { settings, .. }| (settings.open, &settings.namespace));
        let go_redis =
            self.go_redis.as_ref().map(|Served { settings, .. }| (settings.open, &settings.namespace));
        [push_koa, gopusher, go_redis]
            .into_iter()
            .flatten()
            .any(|(open, namespace)| open && namespace == name)
    }
}

impl PushKoa {
    pub(crate) fn gateway(&self) -> gateway::PushKoa {
        gateway::PushKoa { namespace: self.namespace.clone() }
    }

    pub(crate) fn api(&self) -> api::push_koa::Settings {
        let Self { namespace, open, ack_wait, ttl, .. } = self.clone();
        api::push_koa::Settings { namespace, open, ack_wait, ttl }
    }
}

impl Gopusher {
    pub(crate) fn gateway(&self) -> gateway::Gopusher {
        gateway::Gopusher { namespace: self.namespace.clone() }
    }

    /// `alone`: whether it has a listener of its own.
    pub(crate) fn api(&self, alone: bool) -> api::gopusher::Settings {
        api::gopusher::Settings { namespace: self.namespace.clone(), open: self.open, alone }
    }
}

impl GoRedis {
    pub(crate) fn bridge(&self) -> Bridge {
        let Self { redis, namespace, channels, .. } = self.clone();
        Bridge { redis, namespace, channels }
    }

    pub(crate) fn gateway(&self) -> gateway::GoRedis {
        gateway::GoRedis { namespace: self.namespace.clone(), open: self.open }
    }

    pub(crate) fn api(&self) -> api::go_redis::Settings {
        api::go_redis::Settings { namespace: self.namespace.clone(), open: self.open }
    }
}

/// How long a client of message-push may take until its `LOGIN`.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

impl MessagePush {
    /// `alone`: whether it has a listener of its own.
    pub(crate) fn gateway(&self, node: &Node, alone: bool) -> gateway::MessagePush {
        let passport = self.passport_url.clone();
        let passport = passport.map(|url| Arc::new(node.passport(url, self.passport_private)));
        let namespace = self.namespace.clone();
        gateway::MessagePush { namespace, login_timeout: LOGIN_TIMEOUT, passport, alone }
    }

    /// `alone`: whether it has a listener of its own.
    pub(crate) fn api(&self, alone: bool) -> api::message_push::Settings {
        let Self { namespace, derived_secrets, .. } = self.clone();
        api::message_push::Settings { namespace, derived_secrets, alone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_names_and_patterns() {
        let Channels { names, patterns } = channels("news, score.*,,[ab]x , score.*, é").unwrap();
        assert_eq!(names.iter().map(RoomName::as_str).collect::<Vec<_>>(), ["news", "é"]);
        assert_eq!(patterns.iter().map(Glob::as_str).collect::<Vec<_>>(), ["score.*", "[ab]x"]);
        assert!(channels("").unwrap().names.is_empty());
        let why = channels("a\u{1}b").err().unwrap();
        assert_eq!(why, r#"names the channel "a\u{1}b", which has a control character at byte 1"#);
    }

    #[test]
    fn a_redis_has_a_url() {
        assert_eq!(redis("redis://127.0.0.1:6379").unwrap(), "redis://127.0.0.1:6379");
        assert!(redis("127.0.0.1").err().unwrap().starts_with("must be the URL of a Redis"));
    }
}
