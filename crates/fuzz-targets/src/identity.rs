//! What decides who somebody is: tokens, certificates, signing requests.

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use dunlin_api::token::{JoinToken, split_bearer};
use dunlin_pki::jws::{Algorithm, Keys, Token};
use dunlin_pki::jwt::Issuer;
use dunlin_pki::{Authority, Identity, peer_subject, tls};

/// Join tokens and bearer tokens. Nobody without the key makes a token that is accepted.
pub fn tokens(data: &[u8]) {
    static ISSUER: OnceLock<Issuer> = OnceLock::new();
    let issuer = ISSUER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        Issuer::open_or_create(folder.path(), "https://issuer").expect("an issuer")
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(token) = text.parse::<JoinToken>() {
        let again: JoinToken = token.to_string().parse().expect("a printed token can be read");
        assert_eq!((again.id(), again.secret()), (token.id(), token.secret()));
    }
    let _ = split_bearer(text);
    assert!(issuer.verify(text, &["https://issuer".to_owned()], 0).is_err(), "a forged token was accepted");
}

/// Sets of keys that an issuer publishes: few are looked at, and any token may be tried with them.
pub fn key_sets(data: &[u8]) {
    let Ok(keys) = Keys::read(data) else { return };
    assert!(keys.len() <= 100, "the number of keys is bounded");
    let accepted = Algorithm::NAMES.iter().map(|(_, algorithm)| *algorithm).collect::<Vec<_>>();
    for (name, _) in Algorithm::NAMES {
        let text = format!("{}.e30.AAAA", BASE64.encode(format!(r#"{{"alg":"{name}"}}"#)));
        let token = Token::parse(&text).expect("it has the form of a token");
        assert!(keys.verify(&token, &accepted).is_err(), "no signature is as short");
    }
}

/// PEM and DER of certificates and signing requests.
pub fn certificates(data: &[u8]) {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let authority = AUTHORITY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        Authority::open_or_create(folder.path(), "fuzz").expect("an authority")
    });
    let _ = peer_subject(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = tls::certificates(text);
    let identity = Identity { cert_pem: text.to_owned(), key_pem: text.to_owned() };
    let _ = (identity.subject(), identity.not_after());
    let _ = tls::client_config(text, Some(&identity), &[]);
    let asked = Authority::csr_subject(text);
    let signed = authority.sign_client_csr(text, "system:node:x", &[], Duration::from_secs(60));
    if let (Ok(_), Ok(cert_pem)) = (asked, signed) {
        let subject =
            Identity { cert_pem, key_pem: String::new() }.subject().expect("what we signed can be read");
        assert_eq!(subject.user, "system:node:x", "the subject is ours to say");
    }
}
