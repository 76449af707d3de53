//! People with tokens of an OpenID Connect issuer.

mod issuer;

use std::path::PathBuf;
use std::time::Duration;

use dunlin_apiserver::{Mapping, OidcIssuer, Source};
use dunlin_pki::jws::Algorithm;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::support::{Cluster, cluster_of};
use issuer::{Issuer, Signer};

/// Longer than two tries to read the keys are apart.
const APART: Duration = Duration::from_secs(11);

fn accepting(issuer: &Issuer, cache: Option<PathBuf>) -> OidcIssuer {
    OidcIssuer {
        url: issuer.url.clone(),
        discovery_url: None,
        ca: Some(issuer.ca.clone().into_bytes()),
        audiences: vec!["dunlin".into()],
        algorithms: Algorithm::NAMES.iter().map(|(_, algorithm)| *algorithm).collect(),
        username: Source::Claim(Mapping { claim: "sub".into(), prefix: "them:".into() }),
        groups: Some(Source::Claim(Mapping { claim: "groups".into(), prefix: "g:".into() })),
        uid: None,
        extra: vec![],
        required: vec![],
        claim_rules: vec![],
        user_rules: vec![],
        cache,
    }
}

async fn started(keys: &[&Signer]) -> (Issuer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(folder.path(), "127.0.0.1:0".parse().unwrap(), keys).await;
    (issuer, folder)
}

/// Who the server thinks has the token; `Err` with the code if nobody.
async fn who(cluster: &Cluster, token: &str) -> Result<Value, u16> {
    let request = http::Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::from("{}"))
        .unwrap();
    let reply = cluster.send(request).await;
    let code = reply.status().as_u16();
    let bytes = reply.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    if code == 201 {
        return Ok(body["status"]["userInfo"].clone());
    }
    assert_eq!(body["message"], "Unauthorized");
    Err(code)
}

#[tokio::test]
async fn tokens_of_every_algorithm_stand_for_people() {
    let keys = [Signer::rs256("rs"), Signer::ps256("ps"), Signer::es256("es"), Signer::eddsa("ed")];
    let (issuer, _folder) = started(&keys.each_ref()).await;
    let accepted = accepting(&issuer, None);
    let cluster = cluster_of(|config| config.oidc.push(accepted)).await;
    for key in &keys {
        let token = key.sign(&issuer.claims(json!({"groups": ["one", "two"]})));
        let wanted = json!({"username": "them:jane", "groups": ["g:one", "g:two", "system:authenticated"]});
        assert_eq!(who(&cluster, &token).await, Ok(wanted), "{}", key.id);
    }
    assert_eq!(issuer.asked(), 1, "all of them are known after one reading");
    let review = json!({"spec": {"token": keys[0].sign(&issuer.claims(json!({})))}});
    let (_, review) = cluster.ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review).await;
    assert_eq!(review["status"]["user"]["username"], "them:jane");
}

#[tokio::test]
async fn what_is_not_good_is_refused() {
    let key = Signer::es256("es");
    let (issuer, _folder) = started(&[&key]).await;
    let mut accepted = accepting(&issuer, None);
    accepted.required = vec![("team".into(), "red".into())];
    let cluster = cluster_of(|config| config.oidc.push(accepted)).await;
    let red = |mut change: Value| {
        change["team"] = json!(change.get("team").cloned().unwrap_or(json!("red")));
        issuer.claims(change)
    };
    assert!(who(&cluster, &key.sign(&red(json!({})))).await.is_ok());
    for change in [
        json!({"exp": 1000}),
        json!({"nbf": 99_999_999_999_u64}),
        json!({"aud": "them"}),
        json!({"iss": "https://elsewhere"}),
        json!({"team": "blue"}),
        json!({"sub": null}),
    ] {
        assert_eq!(who(&cluster, &key.sign(&red(change.clone()))).await, Err(401), "{change}");
    }
    let other = Signer::es256("es");
    assert_eq!(
        who(&cluster, &other.sign(&red(json!({})))).await,
        Err(401),
        "somebody else's key of that name"
    );
    let good = key.sign(&red(json!({})));
    assert_eq!(who(&cluster, &good[..good.len() - 4]).await, Err(401));
}

#[tokio::test]
async fn a_new_key_is_read_when_it_is_used_and_strangers_cannot_make_us_ask() {
    let (old, new, stranger) = (Signer::es256("old"), Signer::es256("new"), Signer::es256("stranger"));
    let (issuer, _folder) = started(&[&old]).await;
    let accepted = accepting(&issuer, None);
    let cluster = cluster_of(|config| config.oidc.push(accepted)).await;
    assert!(who(&cluster, &old.sign(&issuer.claims(json!({})))).await.is_ok());
    for _ in 0..5 {
        assert_eq!(who(&cluster, &stranger.sign(&issuer.claims(json!({})))).await, Err(401));
    }
    assert_eq!(issuer.asked(), 1);
    issuer.publish(&[&new]);
    tokio::time::pause();
    tokio::time::advance(APART).await;
    tokio::time::resume();
    assert!(who(&cluster, &new.sign(&issuer.claims(json!({})))).await.is_ok());
    assert_eq!(issuer.asked(), 2);
    assert_eq!(who(&cluster, &old.sign(&issuer.claims(json!({})))).await, Err(401), "it was withdrawn");
}

#[tokio::test]
async fn people_are_known_while_their_issuer_is_out_of_reach() {
    let key = Signer::es256("es");
    let (issuer, folder) = started(&[&key]).await;
    let cache = folder.path().join("keys.json");
    let accepted = accepting(&issuer, Some(cache));
    let token = key.sign(&issuer.claims(json!({})));
    let cluster = cluster_of(|config| config.oidc.push(accepted.clone())).await;
    assert!(who(&cluster, &token).await.is_ok());
    issuer.is_down(true);
    assert!(who(&cluster, &token).await.is_ok());
    drop(cluster);
    // A server that starts while the issuer is away has the keys of last time.
    let cluster = cluster_of(|config| config.oidc.push(accepted.clone())).await;
    assert!(who(&cluster, &token).await.is_ok());
    let forgetful = OidcIssuer { cache: None, ..accepted };
    let cluster = cluster_of(|config| config.oidc.push(forgetful)).await;
    assert_eq!(who(&cluster, &token).await, Err(401));
}

#[tokio::test]
async fn an_issuer_whose_server_nobody_vouches_for_is_not_believed() {
    let key = Signer::es256("es");
    let (issuer, _folder) = started(&[&key]).await;
    let (other, _other_folder) = started(&[&key]).await;
    let mut accepted = accepting(&issuer, None);
    accepted.ca = Some(other.ca.clone().into_bytes());
    let cluster = cluster_of(|config| config.oidc.push(accepted)).await;
    assert_eq!(who(&cluster, &key.sign(&issuer.claims(json!({})))).await, Err(401));
    assert_eq!(issuer.asked(), 0);
}
