//! Tokens: what is let in, and everything that is not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tidings_model::Disconnect;

use super::*;
use crate::connect::ConnectError;
use crate::permit::{Pattern, Permit};
use crate::token::{Algorithm, Jwt, TokenError, Verifier};

const SECRET: &str = "0123456789abcdef0123456789ABCDEF";
const OWN: [u8; 32] = [7; 32];

/// 2026-11-20T00:00:00Z.
const NOW: Timestamp = Timestamp(1_795_132_800_000);

fn hs256() -> Jwt {
    Jwt {
        algorithms: vec![Algorithm::HS256],
        secret: Some(SECRET.to_owned()),
        public_key: None,
        jwks_url: None,
        allow_private: false,
        issuer: None,
        audience: None,
    }
}

/// Claims that are good, with these instead or besides; null takes one away.
fn claims(other: Value) -> Value {
    let mut claims = json!({"sub": "ann", "exp": NOW.0 / 1_000 + 60});
    for (name, value) in other.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn signed(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).unwrap()
}

fn by_secret(claims: &Value) -> String {
    signed(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes()).unwrap())
}

/// A token whose parts are as they are said to be, with the signature of another one.
fn forged(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let good = by_secret(claims);
    format!("{}.{}.{}", part(header), part(claims), good.rsplit('.').next().unwrap())
}

#[test]
fn tokens_that_are_let_in_and_those_that_are_not() {
    let jwt = Jwt { issuer: Some("shop".to_owned()), audience: Some("tidings".to_owned()), ..hs256() };
    let verifier = Verifier::new(&OWN, Some(&jwt));
    let good = |other: Value| {
        let mut all = json!({"iss": "shop", "aud": ["web", "tidings"]});
        all.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        by_secret(&claims(all))
    };
    let now = NOW.0 / 1_000;
    let outcome = |token: &str| verifier.verify(token, NOW).map(|permit| permit.user.to_string());
    let expect = |what: &str, token: &str, expected: Result<&str, TokenError>| {
        assert_eq!(outcome(token), expected.map(str::to_owned), "{what}");
    };
    expect("good", &good(json!({})), Ok("ann"));
    expect("as good as expired", &good(json!({"exp": now - 4})), Ok("ann"));
    expect("expired", &good(json!({"exp": now - 6})), Err(TokenError::Expired));
    expect("not yet", &good(json!({"nbf": now + 6})), Err(TokenError::NotYet));
    expect("a clock that is a little late", &good(json!({"nbf": now + 4})), Ok("ann"));
    expect("half seconds", &good(json!({"exp": now as f64 + 0.5})), Ok("ann"));
    expect("without end", &good(json!({"exp": null})), Err(TokenError::Claim("exp")));
    expect("an end before time", &good(json!({"exp": -1})), Err(TokenError::Claim("exp")));
    expect("no end in sight", &good(json!({"exp": 1e300})), Err(TokenError::Claim("exp")));
    expect("nobody", &good(json!({"sub": null})), Err(TokenError::Claim("sub")));
    expect("somebody without a name", &good(json!({"sub": ""})), Err(TokenError::Claim("sub")));
    expect("a line break in a name", &good(json!({"sub": "a\nb"})), Err(TokenError::Claim("sub")));
    expect("a number", &good(json!({"sub": 7})), Err(TokenError::Claim("sub")));
    expect("another issuer", &good(json!({"iss": "other"})), Err(TokenError::Issuer));
    expect("no issuer", &good(json!({"iss": null})), Err(TokenError::Issuer));
    expect("another audience", &good(json!({"aud": "web"})), Err(TokenError::Audience));
    expect("no audience", &good(json!({"aud": null})), Err(TokenError::Audience));
    expect("a device that is none", &good(json!({"device": ""})), Err(TokenError::Claim("device")));
    expect("a platform that is none", &good(json!({"platform": "tv"})), Err(TokenError::Claim("platform")));
    expect("a device without quotes", &good(json!({"device": 7})), Err(TokenError::Claim("device")));
    expect("a room that is no list", &good(json!({"rooms": "lobby"})), Err(TokenError::Claim("rooms")));
    expect("a pattern that is none", &good(json!({"join": ["*", 1]})), Err(TokenError::Claim("join")));
    let many = vec!["r"; 1_001];
    expect("more rooms than anybody needs", &good(json!({"rooms": many})), Err(TokenError::Claim("rooms")));
    expect("longer than a token", &"x".repeat(9_000), Err(TokenError::TooLong));

    let all = claims(json!({"iss": "shop", "aud": "tidings"}));
    for (what, token, expected) in [
        ("nothing", String::new(), TokenError::Malformed),
        ("no token", "a.b.c".to_owned(), TokenError::Malformed),
        ("alg none", forged(&json!({"alg": "none"}), &all), TokenError::Malformed),
        ("alg None", forged(&json!({"alg": "None"}), &all), TokenError::Malformed),
        ("another algorithm", forged(&json!({"alg": "HS384"}), &all), TokenError::Algorithm),
        ("another family", forged(&json!({"alg": "RS256"}), &all), TokenError::Algorithm),
        ("another header", forged(&json!({"alg": "HS256", "typ": "x"}), &all), TokenError::Signature),
        ("our kid", forged(&json!({"alg": "HS256", "kid": "tidings"}), &all), TokenError::Signature),
        (
            "a kid that is a path",
            forged(&json!({"alg": "HS256", "kid": "../../dev/null"}), &all),
            TokenError::Signature,
        ),
        (
            "a key that it brings itself",
            forged(&json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AA"}}), &all),
            TokenError::Signature,
        ),
        (
            "a key from elsewhere",
            forged(&json!({"alg": "HS256", "jku": "https://evil/"}), &all),
            TokenError::Signature,
        ),
        (
            "something critical",
            forged(&json!({"alg": "HS256", "crit": ["b64"]}), &all),
            TokenError::Malformed,
        ),
        ("no signature", format!("{}.", by_secret(&all).rsplit_once('.').unwrap().0), TokenError::Signature),
    ] {
        assert_eq!(outcome(&token), Err(expected), "{what}");
    }
}

/// What two readers could understand differently is understood by none.
#[test]
fn a_claim_that_is_said_twice_is_said_by_nobody() {
    use hmac::{Hmac, Mac as _};
    let verifier = Verifier::new(&OWN, Some(&hs256()));
    let by_text = |header: &str, claims: &str| {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(&text);
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    };
    let (exp, over) = (NOW.0 / 1_000 + 60, NOW.0 / 1_000 - 60);
    let header = r#"{"alg":"HS256"}"#;
    for (header, claims, good) in [
        (header, format!(r#"{{"sub":"ann","exp":{exp}}}"#), true),
        (header, format!(r#"{{"sub":"ann","sub":"root","exp":{exp}}}"#), false),
        (header, format!(r#"{{"sub":"ann","exp":{exp},"exp":{over}}}"#), false),
        (header, format!(r#"{{"sub":"ann","exp":{over},"exp":{exp}}}"#), false),
        (header, format!(r#"{{"sub":"ann","s\u0075b":"root","exp":{exp}}}"#), false),
        (header, format!(r#"{{"sub":"ann","exp":{exp},"join":["a"],"join":["*"]}}"#), false),
        (r#"{"alg":"none","alg":"HS256"}"#, format!(r#"{{"sub":"ann","exp":{exp}}}"#), false),
        (r#"{"alg":"HS256","kid":"a","kid":"b"}"#, format!(r#"{{"sub":"ann","exp":{exp}}}"#), false),
    ] {
        let outcome = verifier.verify(&by_text(header, &claims), NOW);
        assert_eq!(outcome.is_ok(), good, "{header} {claims} {outcome:?}");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let kinds = [
        (Algorithm::ES256, &rcgen::PKCS_ECDSA_P256_SHA256),
        (Algorithm::ES384, &rcgen::PKCS_ECDSA_P384_SHA384),
        (Algorithm::EdDSA, &rcgen::PKCS_ED25519),
        (Algorithm::RS256, &rcgen::PKCS_RSA_SHA256),
    ];
    for (algorithm, kind) in kinds {
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        let (public, private) = (pair.public_key_pem(), pair.serialize_pem());
        let jwt = Jwt {
            algorithms: vec![algorithm],
            secret: None,
            public_key: Some(public.clone()),
            jwks_url: None,
            allow_private: false,
            issuer: None,
            audience: None,
        };
        jwt.check().unwrap();
        let leaked = Jwt { public_key: Some(private.clone()), ..jwt.clone() };
        assert!(leaked.check().unwrap_err().1.contains("is a private key"), "{algorithm:?}");
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(private.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(private.as_bytes()),
            _ => EncodingKey::from_ec_pem(private.as_bytes()),
        };
        let verifier = Verifier::new(&OWN, Some(&jwt));
        let good = signed(&Header::new(algorithm), &claims(json!({})), &key.unwrap());
        assert!(verifier.verify(&good, NOW).is_ok(), "{algorithm:?}");
        // Whoever knows the public key signs with it as if it were a secret.
        let confused = EncodingKey::from_secret(public.as_bytes()).unwrap();
        let confused = signed(&Header::new(Algorithm::HS256), &claims(json!({})), &confused);
        assert_eq!(verifier.verify(&confused, NOW), Err(TokenError::Algorithm), "{algorithm:?}");
        let other = rcgen::KeyPair::generate_for(kind).unwrap();
        let other = Jwt { public_key: Some(other.public_key_pem()), ..jwt };
        assert_eq!(Verifier::new(&OWN, Some(&other)).verify(&good, NOW), Err(TokenError::Signature));
    }
}

#[test]
fn keys_that_are_not_taken() {
    for (jwt, expected) in [
        (Jwt { algorithms: Vec::new(), ..hs256() }, "algorithms must name at least one"),
        (
            Jwt { algorithms: vec![Algorithm::HS256, Algorithm::RS256], ..hs256() },
            "algorithms must be of one kind: one key verifies all of them",
        ),
        (Jwt { secret: None, ..hs256() }, "secret is required for HS256, HS384 and HS512"),
        (Jwt { secret: Some("short".to_owned()), ..hs256() }, "secret has 5 bytes, needs 32 at least"),
        (Jwt { algorithms: vec![Algorithm::HS512], ..hs256() }, "secret has 32 bytes, needs 64 at least"),
        (Jwt { secret: Some("a".repeat(40)), ..hs256() }, "secret is one character over and over"),
        (
            Jwt { secret: Some("a-string-secret-at-least-256-bits-long".to_owned()), ..hs256() },
            "secret is one that everybody knows",
        ),
        (
            Jwt { public_key: Some("x".to_owned()), ..hs256() },
            "public_key does not go with HS256, HS384 and HS512",
        ),
        (Jwt { algorithms: vec![Algorithm::ES256], ..hs256() }, "secret does not go with ES256"),
        (
            Jwt {
                algorithms: vec![Algorithm::EdDSA],
                secret: None,
                public_key: Some("no PEM".to_owned()),
                ..hs256()
            },
            "public_key is not a public key for EdDSA in PEM",
        ),
    ] {
        let (field, message) = jwt.check().unwrap_err();
        assert_eq!(format!("{field} {message}"), expected);
    }
    assert!(!format!("{:?}", hs256()).contains(SECRET));
}

#[test]
fn what_is_minted_is_read_back() {
    let permit = Permit {
        user: UserId::new("ann").unwrap(),
        device: Some(DeviceId::new("d1").unwrap()),
        platform: Some(Platform::Ios),
        rooms: rooms(&["lobby"]),
        join: vec![Pattern::new("score.*").unwrap()],
        publish: vec![Pattern::new("*").unwrap()],
        presence: None,
        meta: Some(r#"{"plan":"free"}"#.to_owned()),
        expires_at: NOW.after(Duration::from_secs(60)),
        jti: Some("t1".into()),
        issued_at: NOW,
    };
    let token = crate::token::mint(&OWN, &permit).unwrap();
    let read = Verifier::new(&OWN, None).verify(&token, NOW).unwrap();
    let expires_at = read.expires_at;
    assert_eq!(Permit { expires_at: permit.expires_at, ..read }, permit);
    assert_eq!(expires_at, permit.expires_at.after(Duration::from_secs(5)), "clocks may differ");
    assert_eq!(Verifier::new(&[8; 32], Some(&hs256())).verify(&token, NOW), Err(TokenError::Signature));
    assert!(permit.may_join(&rooms(&["score.7"])[0]) && !permit.may_join(&rooms(&["other"])[0]));
}

#[tokio::test]
async fn a_client_is_who_its_token_says() {
    let world = World::with(|settings| {
        settings.auth = AuthMode::Token;
        settings.jwt = Some(hs256());
    })
    .await;
    world.time.store(NOW.0, Ordering::Relaxed);
    let token = by_secret(&claims(json!({"device": "d1", "platform": "ios", "rooms": ["lobby"]})));
    let demo = demo();
    let identify = |claim: Claim| world.node.identify(&demo, claim);
    let claim = || Claim { token: Some(token.clone()), ..Claim::default() };
    let who = identify(claim()).await.unwrap();
    assert_eq!(who.device.id.as_str(), "d1");
    assert_eq!(who.device.user.as_ref().map(UserId::as_str), Some("ann"));
    assert_eq!((who.device.platform, who.permit.unwrap().rooms.clone()), (Platform::Ios, rooms(&["lobby"])));

    let of = |user: &str, device: &str| Claim {
        user: Some(UserId::new(user).unwrap()),
        device: Some(DeviceId::new(device).unwrap()),
        ..claim()
    };
    assert!(identify(of("ann", "d1")).await.is_ok());
    assert!(matches!(identify(of("bob", "d1")).await, Err(ConnectError::NotTheTokens("user"))));
    assert!(matches!(identify(of("ann", "d2")).await, Err(ConnectError::NotTheTokens("device"))));
    let without = Claim { user: Some(UserId::new("ann").unwrap()), ..Claim::default() };
    assert!(matches!(identify(without).await, Err(ConnectError::Token(TokenError::Missing))));

    // What is minted here is good as well, in this namespace and in no other.
    let namespace = world.node.namespace("demo").unwrap();
    let permit = namespace.verify(&token, NOW).unwrap();
    let minted = namespace.mint(&permit).unwrap();
    assert!(identify(Claim { token: Some(minted.clone()), ..Claim::default() }).await.is_ok());
    let other = Settings { auth: AuthMode::Token, ..Settings::new("", AuthMode::Token, NOW) };
    let other = world.node.create_namespace(NamespaceName::new("other").unwrap(), other).await.unwrap();
    assert_eq!(other.verify(&minted, NOW), Err(TokenError::Signature));

    // A newer token is taken for the same user only.
    let (user, device) = (UserId::new("ann").unwrap(), DeviceId::new("d1").unwrap());
    let who = |device: &DeviceId, token: &str| Claim {
        user: Some(user.clone()),
        device: Some(device.clone()),
        token: Some(token.to_owned()),
        ..Claim::default()
    };
    assert!(world.node.renew(&namespace, who(&device, &minted)).await.is_ok());
    let bob = by_secret(&claims(json!({"sub": "bob"})));
    assert!(matches!(
        world.node.renew(&namespace, who(&device, &bob)).await,
        Err(ConnectError::NotTheTokens("user"))
    ));
    let other_device = DeviceId::new("d2").unwrap();
    assert!(matches!(
        world.node.renew(&namespace, who(&other_device, &minted)).await,
        Err(ConnectError::NotTheTokens("device"))
    ));

    // Nobody takes the device of somebody else by claiming it; a token may say that it changes hands.
    let thief = Claim { device: Some(device.clone()), token: Some(bob), ..Claim::default() };
    assert!(matches!(identify(thief).await, Err(ConnectError::NotYours)));
    assert!(identify(claim()).await.is_ok_and(|ann| !ann.new), "it is what it was");
    let handed_over = by_secret(&claims(json!({"sub": "bob", "device": "d1"})));
    let handed_over = Claim { token: Some(handed_over), ..Claim::default() };
    assert!(identify(handed_over).await.is_ok_and(|bob| bob.new));
}

/// What a namespace signs with outlives the process.
#[tokio::test]
async fn a_minted_token_is_good_after_a_restart() {
    let store = Arc::new(MemoryStore::new(Epoch(7)));
    let world = World::start(Arc::clone(&store) as Arc<dyn Store>, Vec::new(), |settings| {
        settings.auth = AuthMode::Token;
    })
    .await;
    let namespace = world.node.namespace("demo").unwrap();
    let permit = Permit {
        user: UserId::new("ann").unwrap(),
        device: None,
        platform: None,
        rooms: Vec::new(),
        join: Vec::new(),
        publish: Vec::new(),
        presence: Some(Vec::new()),
        meta: None,
        expires_at: NOW.after(Duration::from_secs(60)),
        jti: Some("t1".into()),
        issued_at: NOW,
    };
    let token = namespace.mint(&permit).unwrap();
    let again = World::start(store, Vec::new(), |_| ()).await;
    assert!(again.node.namespace("demo").unwrap().verify(&token, NOW).is_ok());
}

/// Whoever was believed in an open namespace is not believed any longer when it wants tokens.
#[tokio::test]
async fn a_namespace_that_wants_tokens_sends_away_whoever_has_none() {
    let mut world = World::new().await;
    let namespace = world.node.namespace("demo").unwrap();
    let settings = Settings { auth: AuthMode::Token, ..Settings::clone(&namespace.settings()) };
    world.node.change_namespace(namespace.changing().await, settings.clone()).await.unwrap();
    for inbox in &mut world.inboxes {
        let told = inbox.try_recv();
        assert!(
            matches!(&told, Ok(ToShard::SendAway { devices: None, why, .. }) if *why == Disconnect::RECONNECT),
            "{told:?}"
        );
    }
    // Nothing of that kind when something else changes.
    let settings = Settings { title: "new".to_owned(), ..settings };
    world.node.change_namespace(namespace.changing().await, settings).await.unwrap();
    assert!(world.inboxes[0].try_recv().is_err());
}

/// Of two who create a namespace at once, one does; what it signs with is what is on the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_created_once() -> Result<(), tidings_store::StoreError> {
    let directory = tempfile::tempdir().unwrap();
    let open = || tidings_store::EmbeddedStore::open(directory.path(), tidings_store::Options::new(Epoch(7)));
    let world = World::start(Arc::new(open()?), Vec::new(), |_| ()).await;
    let name = NamespaceName::new("shop").unwrap();
    let create = || {
        let (node, name) = (Arc::clone(&world.node), name.clone());
        tokio::spawn(
            async move { node.create_namespace(name, Settings::new("", AuthMode::Token, NOW)).await },
        )
    };
    let created: Vec<_> = futures_util::future::join_all((0..8).map(|_| create())).await;
    let created: Vec<_> = created.into_iter().filter_map(|one| one.unwrap().ok()).collect();
    let [shop] = &created[..] else { panic!("{} were created", created.len()) };
    let permit = Verifier::new(&OWN, Some(&hs256())).verify(&by_secret(&claims(json!({}))), NOW).unwrap();
    let token = shop.mint(&permit).unwrap();
    world.node.close().await?;
    drop((created, world));
    let again = World::start(Arc::new(open()?), Vec::new(), |_| ()).await;
    assert!(again.node.namespace("shop").unwrap().verify(&token, NOW).is_ok());
    Ok(())
}
