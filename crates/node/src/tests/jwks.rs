//! Keys that are fetched: which are taken, for how long they hold, and how often they are fetched.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tidings_outbound::hook::HookUrl;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::block::Visitor;
use crate::connect::ConnectError;
use crate::jwks::Jwks;
use crate::revoke::Revoked;
use crate::token::{Jwt, TokenError};

/// 2026-11-20T00:00:00Z.
const NOW: u64 = 1_795_132_800_000;

/// A key for ES256, as a business system has it, and as its set shows it.
struct Pair {
    private: EncodingKey,
    jwk: Value,
}

fn pair(kid: &str) -> Pair {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let (x, y) = pair.public_key_raw()[1..].split_at(32);
    let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
    Pair {
        private: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(),
        jwk: json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid}),
    }
}

impl Pair {
    /// Its public half, with these fields instead or besides.
    fn with(&self, other: Value) -> Value {
        let mut jwk = self.jwk.clone();
        jwk.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        jwk
    }

    fn token(&self, kid: Option<&str>, other: Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        let mut claims = json!({"sub": "ann", "exp": NOW / 1_000 + 60});
        claims.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        jsonwebtoken::encode(&header, &claims, &self.private).unwrap()
    }
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({"keys": keys}).to_string().into_bytes()
}

fn es256() -> Arc<Jwks> {
    Jwks::new(HookUrl::parse("https://id.example.com/keys").unwrap(), false, vec![Algorithm::ES256])
}

#[tokio::test]
async fn only_public_keys_of_the_kind_that_holds_are_taken() {
    let one = pair("a");
    for (what, jwk, expected) in [
        ("as it is", one.jwk.clone(), true),
        ("to sign with", one.with(json!({"use": "sig"})), true),
        ("to verify with", one.with(json!({"key_ops": ["verify"]})), true),
        ("of this algorithm", one.with(json!({"alg": "ES256"})), true),
        ("without a name", one.with(json!({"kid": null})), true),
        ("to encrypt with", one.with(json!({"use": "enc"})), false),
        ("not to verify with", one.with(json!({"key_ops": ["sign"]})), false),
        ("of another algorithm", one.with(json!({"alg": "ES384"})), false),
        ("of no algorithm", one.with(json!({"alg": "none"})), false),
        ("of a secret's algorithm", one.with(json!({"alg": "HS256"})), false),
        ("of another curve", one.with(json!({"crv": "P-384"})), false),
        ("a secret", json!({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "a"}), false),
        ("another kind", json!({"kty": "OKP", "crv": "Ed25519", "x": one.jwk["x"], "kid": "a"}), false),
        ("a kind that nobody knows", json!({"kty": "PQ", "kid": "a"}), false),
        ("no key", json!("key"), false),
        ("with a name that is too long", one.with(json!({"kid": "k".repeat(256)})), false),
    ] {
        let jwks = es256();
        assert_eq!(jwks.take(&set(&[jwk])).is_ok(), expected, "{what}");
        assert_eq!(jwks.key(None, Algorithm::ES256).is_ok(), expected, "{what}");
    }
    let rsa = Jwks::new(HookUrl::parse("https://id.example.com/").unwrap(), false, vec![Algorithm::RS256]);
    let short = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xc5; 128]), "e": "AQAB", "kid": "a"});
    assert!(rsa.take(&set(&[short])).is_err(), "1,024 bits");
    let long = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xc5; 256]), "e": "AQAB", "kid": "a"});
    assert!(rsa.take(&set(&[long])).is_ok());
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    // PKCS#1: a sequence of the modulus, 2,048 bits behind a zero byte, and the exponent 65537.
    let modulus = URL_SAFE_NO_PAD.encode(&pair.public_key_raw()[9..265]);
    let jwk = json!({"kty": "RSA", "n": modulus, "e": "AQAB", "kid": "r", "alg": "RS256", "use": "sig"});
    rsa.take(&set(&[jwk])).unwrap();
    let key = rsa.key(Some("r"), Algorithm::RS256).unwrap();
    let private = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
    let claims = json!({"sub": "ann", "exp": NOW / 1_000 + 60});
    let token = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &private).unwrap();
    let mut validation = jsonwebtoken::Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    assert!(jsonwebtoken::decode::<Value>(&token, &key, &validation).is_ok());
    let other =
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &json!({"sub": "root"}), &private).unwrap();
    let (head, _) = other.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", token.rsplit('.').next().unwrap());
    assert!(jsonwebtoken::decode::<Value>(&forged, &key, &validation).is_err());
    for text in ["", "null", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, "<html>"] {
        assert!(es256().take(text.as_bytes()).is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_token_is_verified_with_the_key_that_it_names_and_nothing_else() {
    let (one, other) = (pair("a"), pair("b"));
    let jwks = es256();
    assert_eq!(jwks.key(Some("a"), Algorithm::ES256).err(), Some(TokenError::NoKeys));
    // Of two with one name the first holds.
    jwks.take(&set(&[one.jwk.clone(), other.jwk.clone(), pair("a").jwk])).unwrap();
    let verify = |token: &str| {
        let header = jsonwebtoken::decode_header(token).unwrap();
        let key = jwks.key(header.kid.as_deref(), header.alg)?;
        let mut validation = jsonwebtoken::Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        jsonwebtoken::decode::<Value>(token, &key, &validation).map(drop).map_err(|_| TokenError::Signature)
    };
    assert_eq!(verify(&one.token(Some("a"), json!({}))), Ok(()));
    assert_eq!(verify(&other.token(Some("b"), json!({}))), Ok(()));
    assert_eq!(verify(&one.token(Some("b"), json!({}))), Err(TokenError::Signature));
    for kid in ["c", "", "../a", "a'; DROP TABLE keys --", "https://evil.example.com/a", "a\0", "A"] {
        assert_eq!(verify(&one.token(Some(kid), json!({}))), Err(TokenError::UnknownKey), "{kid:?}");
    }
    assert_eq!(verify(&one.token(None, json!({}))), Err(TokenError::UnknownKey), "which of two?");
}

#[tokio::test(start_paused = true)]
async fn keys_hold_a_while_after_they_are_gone_and_a_day_without_news() {
    let (one, other) = (pair("a"), pair("b"));
    let jwks = es256();
    let key = |kid: &str| jwks.key(Some(kid), Algorithm::ES256).err();
    jwks.take(&set(std::slice::from_ref(&one.jwk))).unwrap();
    jwks.take(&set(std::slice::from_ref(&other.jwk))).unwrap();
    assert_eq!((key("a"), key("b")), (None, None), "tokens of the key before are still about");
    assert!(jwks.key(None, Algorithm::ES256).is_ok(), "but who names none means the one that there is");
    tokio::time::advance(Duration::from_secs(9 * 60)).await;
    jwks.take(&set(std::slice::from_ref(&other.jwk))).unwrap();
    assert_eq!(key("a"), None);
    tokio::time::advance(Duration::from_secs(2 * 60)).await;
    assert_eq!((key("a"), key("b")), (Some(TokenError::UnknownKey), None));
    tokio::time::advance(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(key("b"), Some(TokenError::NoKeys));
}

/// Serves what it is told to, and counts how often it was asked.
struct Issuer {
    port: u16,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicU64>,
}

fn http(head: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}

impl Issuer {
    async fn new(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicU64::new(0)));
        let (says, counts) = (Arc::clone(&answer), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                counts.fetch_add(1, Ordering::Relaxed);
                let mut head = [0; 1024];
                let _ = socket.read(&mut head).await;
                let answer = says.lock().unwrap().clone();
                let _ = socket.write_all(&answer).await;
            }
        });
        Self { port, answer, asked }
    }

    fn says(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn jwt(&self) -> Jwt {
        Jwt {
            algorithms: vec![Algorithm::ES256],
            secret: None,
            public_key: None,
            jwks_url: Some(format!("http://127.0.0.1:{}/keys", self.port)),
            allow_private: true,
            issuer: None,
            audience: None,
        }
    }
}

async fn world(jwt: Jwt) -> World {
    jwt.check().unwrap();
    let world = World::with(|settings| {
        settings.auth = AuthMode::Token;
        settings.jwt = Some(jwt);
    })
    .await;
    world.time.store(NOW, Ordering::Relaxed);
    world
}

async fn identify(world: &World, token: String) -> Result<Identity, ConnectError> {
    world.node.identify(&demo(), Claim { token: Some(token), ..Claim::default() }).await
}

#[tokio::test]
async fn keys_are_fetched_when_the_first_token_comes_and_not_for_each_one() {
    let one = pair("a");
    let issuer = Issuer::new(http("200 OK", &set(std::slice::from_ref(&one.jwk)))).await;
    let world = world(issuer.jwt()).await;
    let who = identify(&world, one.token(Some("a"), json!({}))).await.unwrap();
    assert_eq!(who.device.user.as_ref().map(UserId::as_str), Some("ann"));
    let unknown = pair("b");
    let flood = (0..100).map(|n| identify(&world, unknown.token(Some(&format!("b{n}")), json!({}))));
    for refused in futures_util::future::join_all(flood).await {
        assert!(matches!(&refused, Err(ConnectError::Token(TokenError::UnknownKey))), "{refused:?}");
    }
    assert!(identify(&world, one.token(Some("a"), json!({}))).await.is_ok());
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1, "whoever makes names up costs nothing");
    // Other rules leave the keys as they are.
    let namespace = world.node.namespace("demo").unwrap();
    let settings = Settings { title: "new".to_owned(), ..Settings::clone(&namespace.settings()) };
    world.node.change_namespace(namespace.changing().await, settings).await.unwrap();
    issuer.says(http("500 Oh", b""));
    assert!(identify(&world, one.token(Some("a"), json!({}))).await.is_ok());
}

#[tokio::test]
async fn what_is_no_set_lets_nobody_in_and_asks_them_to_come_back() {
    let one = pair("a");
    let good = set(std::slice::from_ref(&one.jwk));
    let elsewhere = Issuer::new(http("200 OK", &good)).await;
    let mut large = good.clone();
    large.resize(80 << 10, b' ');
    for (what, answer) in [
        ("an error", http("500 Oh", &good)),
        (
            "a redirect",
            http(&format!("302 Found\r\nlocation: http://127.0.0.1:{}/keys", elsewhere.port), b""),
        ),
        ("too much", http("200 OK", &large)),
        ("no JSON", http("200 OK", b"<html>")),
        ("no HTTP", b"hello\r\n\r\n".to_vec()),
    ] {
        let issuer = Issuer::new(answer).await;
        let world = world(issuer.jwt()).await;
        let refused = identify(&world, one.token(Some("a"), json!({}))).await;
        assert!(matches!(&refused, Err(ConnectError::Token(TokenError::NoKeys))), "{what}: {refused:?}");
    }
    assert_eq!(elsewhere.asked.load(Ordering::Relaxed), 0, "redirects are not followed");
}

#[test]
fn where_keys_may_come_from() {
    let jwt = |url: &str, allow_private| Jwt {
        algorithms: vec![Algorithm::ES256],
        secret: None,
        public_key: None,
        jwks_url: Some(url.to_owned()),
        allow_private,
        issuer: None,
        audience: None,
    };
    for (jwt, good) in [
        (jwt("https://id.example.com/keys", false), true),
        (jwt("http://id.example.com/keys", false), false),
        (jwt("http://id.example.com/keys", true), true),
        (jwt("https://127.0.0.1/keys", false), false),
        (jwt("https://127.0.0.1/keys", true), true),
        (jwt("https://169.254.169.254/keys", true), false),
        (jwt("https://2130706433/keys", false), false),
        (jwt("https://[::ffff:10.0.0.1]/keys", false), false),
        (jwt("file:///etc/passwd", true), false),
        (Jwt { public_key: Some("x".to_owned()), ..jwt("https://id.example.com/", false) }, false),
        (Jwt { algorithms: vec![Algorithm::HS256], ..jwt("https://id.example.com/", false) }, false),
    ] {
        assert_eq!(jwt.check().map_err(|(field, _)| field).is_ok(), good, "{:?}", jwt.jwks_url);
    }
}

/// One token, those of a user, all: before a time, and after a restart too.
#[tokio::test]
async fn what_was_revoked_opens_nothing() {
    let one = pair("a");
    let issuer = Issuer::new(http("200 OK", &set(std::slice::from_ref(&one.jwk)))).await;
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let mut world = World::start(Arc::clone(&store) as Arc<dyn Store>, Vec::new(), |settings| {
        settings.auth = AuthMode::Token;
        settings.jwt = Some(issuer.jwt());
    })
    .await;
    world.time.store(NOW, Ordering::Relaxed);
    let at = |seconds: u64| NOW / 1_000 + seconds;
    let token =
        |jti: &str, sub: &str, iat: Value| one.token(Some("a"), json!({"jti": jti, "sub": sub, "iat": iat}));
    let tokens = [
        token("t1", "ann", json!(at(0))),
        token("t2", "ann", json!(at(0))),
        token("t3", "ann", json!(at(20))),
        token("t4", "bob", json!(at(0))),
        token("t5", "bob", json!(at(20))),
        token("t6", "bob", Value::Null),
    ];
    let open = async |world: &World| {
        let mut open = String::new();
        for (index, token) in tokens.iter().enumerate() {
            match identify(world, token.clone()).await {
                Ok(_) => open += &format!("{} ", index + 1),
                Err(ConnectError::Token(TokenError::Revoked)) => {}
                Err(why) => panic!("{why}"),
            }
        }
        open
    };
    let namespace = world.node.namespace("demo").unwrap();
    let revoke = async |world: &World, which| {
        let lasts = Duration::from_secs(3_600);
        world.node.revoke_tokens(&namespace, which, lasts).await.unwrap()
    };
    assert_eq!(open(&world).await, "1 2 3 4 5 6 ");
    let permit = Some(namespace.verify(&tokens[0], Timestamp(NOW)).unwrap());
    assert_eq!(revoke(&world, Revoked::Token("t1".into())).await, Timestamp(NOW + 3_600_000));
    assert_eq!(open(&world).await, "2 3 4 5 6 ");
    assert!(matches!(world.inboxes[0].try_recv(), Ok(ToShard::Revoked { .. })));
    let inside = world.node.may_be_here(&namespace, Visitor::default(), permit.as_ref());
    assert!(matches!(inside, Err(ConnectError::Token(TokenError::Revoked))), "who is on the way in");
    let user = UserId::new("ann").unwrap();
    let who = Claim {
        user: Some(user.clone()),
        device: Some(DeviceId::new("d1").unwrap()),
        token: Some(tokens[0].clone()),
        ..Claim::default()
    };
    let renewed = world.node.renew(&namespace, who).await;
    assert!(matches!(renewed, Err(ConnectError::Token(TokenError::Revoked))));
    revoke(&world, Revoked::User(UserId::new("ann").unwrap(), Timestamp(at(10) * 1_000))).await;
    assert_eq!(open(&world).await, "3 4 5 6 ");
    // An earlier time takes nothing back.
    revoke(&world, Revoked::User(UserId::new("ann").unwrap(), Timestamp(0))).await;
    revoke(&world, Revoked::All(Timestamp(at(10) * 1_000))).await;
    assert_eq!(open(&world).await, "3 5 ");
    let again = World::start(store, Vec::new(), |_| ()).await;
    again.time.store(NOW, Ordering::Relaxed);
    assert_eq!(open(&again).await, "3 5 ");
    // What is kept ends when it was said to.
    let keeps = again.node.store.list("revoked/").await.unwrap().len();
    assert_eq!(keeps, 3);
}
