//! The store that `--store` names: a file of this server's own, or an etcd that several servers share.
//!
//! Servers that share a store share the CA and the key of service account tokens, too: the first puts them there, sealed
//! with a key from a file that whoever sets up another server copies to it.

use std::sync::Arc;

use dunlin_pki::{Authority, Bundle, ClusterKey, Identity, jwt};
use dunlin_store::etcd::{EtcdStore, Options};
use dunlin_store::sqlite::SqliteStore;
use dunlin_store::{Change, Class, Error as StoreError, Expect, Key, Store, Write};

use super::ISSUER;
use crate::error::{Doing, Error};
use crate::layout::Layout;
use crate::options::ServerOptions;

/// The port of etcd's clients.
const PORT: u16 = 2379;

/// Opens the store.
///
/// # Errors
/// When it is named wrongly, or cannot be opened.
pub async fn open(options: &ServerOptions, layout: &Layout) -> Result<Arc<dyn Store>, Error> {
    let name = options.store.as_deref().unwrap_or("sqlite");
    if name == "sqlite" {
        let path = layout.database();
        let store = SqliteStore::open(&path, Default::default());
        return Ok(Arc::new(store.doing(format!("opening the store {}", path.display()))?));
    }
    let store = EtcdStore::open(etcd(name, options)?).await;
    Ok(Arc::new(store.doing(format!("opening the store {name}"))?))
}

/// What `--store etcd://...` and the options beside it mean.
fn etcd(name: &str, options: &ServerOptions) -> Result<Options, Error> {
    let wrong = |why: &str| {
        Error::Input(format!(
            "--store {name}: {why}; write sqlite, etcd://HOST:PORT[,HOST:PORT] or etcds://... for TLS"
        ))
    };
    let (secure, members) = match name.split_once("://") {
        Some(("etcd", members)) => (false, members),
        Some(("etcds", members)) => (true, members),
        _ => return Err(wrong("there is no such store")),
    };
    let mut endpoints = Vec::new();
    for member in members.trim_end_matches('/').split(',') {
        let authority: http::uri::Authority =
            member.parse().map_err(|_| wrong(&format!("{member:?} is no HOST:PORT")))?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(wrong(&format!("{member:?} is no HOST:PORT")));
        }
        endpoints.push(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(PORT)));
    }
    let read = |file: &std::path::Path| {
        std::fs::read_to_string(file).doing(format!("reading {}, which belongs to --store", file.display()))
    };
    let mut made = Options::new(endpoints);
    let tls = &options.store_tls;
    match (secure || tls.ca.is_some(), &tls.ca, &tls.cert, &tls.key) {
        (true, Some(ca), Some(cert), Some(key)) => {
            let identity = Identity { cert_pem: read(cert)?, key_pem: read(key)? };
            made.tls = Some(client(&read(ca)?, Some(&identity))?);
        }
        (true, Some(ca), None, None) => made.tls = Some(client(&read(ca)?, None)?),
        (true, None, ..) => {
            return Err(wrong("TLS needs the CA that signed etcd's certificate: --store-ca FILE"));
        }
        (true, ..) => return Err(wrong("--store-cert and --store-key belong together")),
        (false, None, None, None) => {}
        (false, ..) => return Err(wrong("--store-cert and --store-key need --store-ca")),
    }
    if let Some(user) = &options.store_user {
        let file = options.store_password_file.as_ref();
        let file = file.ok_or_else(|| wrong("--store-user needs --store-password-file FILE"))?;
        made.user = Some((user.clone(), read(file)?.trim_end_matches(['\r', '\n']).to_owned()));
    }
    if let Some(prefix) = &options.store_prefix {
        if !prefix.starts_with('/') || prefix.len() < 2 {
            return Err(wrong("--store-prefix begins with a slash, as in /dunlin/"));
        }
        made.prefix.clone_from(prefix);
    }
    Ok(made)
}

fn client(ca: &str, identity: Option<&Identity>) -> Result<Arc<rustls::ClientConfig>, Error> {
    dunlin_pki::tls::client_config(ca, identity, &[b"h2"])
        .map(Arc::new)
        .doing("reading the certificates for --store")
}

/// Where the sealed keys are. No resource of the API is called so.
fn place() -> Key {
    Key::new("keys.dunlin.io", "", "cluster")
}

/// What a cluster signs with.
pub struct Keys {
    /// The CA of nodes, servers and people.
    pub authority: Authority,
    /// Issues tokens of service accounts.
    pub issuer: jwt::Issuer,
    /// The CA whose certificates name users to extension servers. They believe it, so it signs nothing else.
    pub front_proxy: Authority,
}

/// The keys of the cluster, shared with the other servers if the store is.
///
/// # Errors
/// When they cannot be read or made, or are not those of the other servers.
pub async fn keys(store: &dyn Store, layout: &Layout, cluster: &str) -> Result<Keys, Error> {
    let folder = layout.keys();
    let file = layout.cluster_key();
    let doing = "sharing the cluster's keys with the other servers";
    if !store.is_shared() {
        return local(layout, cluster);
    }
    let missing = || {
        Error::Input(format!(
            "the store belongs to a cluster whose keys this server cannot open: copy the file server/cluster.key of the \
             data directory of one of its servers to {}",
            file.display()
        ))
    };
    for _ in 0..2 {
        if let Some(entry) = store.get(&place()).await.doing(doing)? {
            let key = ClusterKey::open(&file).doing(doing)?.ok_or_else(missing)?;
            let bundle = Bundle::unseal(&entry.value, &key).map_err(|_| missing())?;
            if !bundle.belongs(&folder).doing(doing)? {
                return Err(Error::Input(format!(
                    "{} holds the CA of another cluster than the store: use another --data-dir or --store-prefix",
                    folder.display()
                )));
            }
            bundle.write(&folder).doing(doing)?;
            return local(layout, cluster);
        }
        let made = local(layout, cluster)?;
        let key = match ClusterKey::open(&file).doing(doing)? {
            Some(key) => key,
            None => ClusterKey::create(&file).doing(doing)?,
        };
        let sealed = bytes::Bytes::from(Bundle::read(&folder).doing(doing)?.seal(&key).doing(doing)?);
        let write = Write {
            key: place(),
            expect: Expect::Absent,
            class: Class::Durable,
            tag: None,
            change: Change::Put(Box::new(move |_| sealed)),
        };
        match store.write(write).await {
            Ok(_) => return Ok(made),
            // Another server's first start was faster; ours has told nobody of its keys yet.
            Err(StoreError::Exists { .. }) => {
                std::fs::remove_dir_all(&folder).doing(doing)?;
            }
            Err(error) => return Err(error).doing(doing),
        }
    }
    Err(missing())
}

fn local(layout: &Layout, cluster: &str) -> Result<Keys, Error> {
    let folder = layout.keys();
    let authority = Authority::open_or_create(&folder, cluster).doing("opening the certificate authority")?;
    let issuer = jwt::Issuer::open_or_create(&folder, ISSUER).doing("opening the token issuer")?;
    let front_proxy = Authority::open_or_create(&folder.join("front-proxy"), "dunlin-front-proxy")
        .doing("opening the front proxy's certificate authority")?;
    Ok(Keys { authority, issuer, front_proxy })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Choices;

    fn read(store: &str, change: impl FnOnce(&mut ServerOptions)) -> Result<Options, String> {
        let mut options =
            ServerOptions::from(Choices { store: Some(store.to_owned()), ..Choices::default() });
        change(&mut options);
        etcd(store, &options).map_err(|e| e.to_string())
    }

    #[test]
    fn stores_are_read_or_refused_with_the_reason() {
        let made = read("etcd://10.0.0.1:2379,etcd-2,[::1]:99/", |_| {}).unwrap();
        assert_eq!(made.endpoints, ["10.0.0.1:2379", "etcd-2:2379", "[::1]:99"]);
        assert!(made.tls.is_none() && made.user.is_none());
        assert_eq!(read("etcd://a", |o| o.store_prefix = Some("/x/".to_owned())).unwrap().prefix, "/x/");
        for (store, word) in [
            ("postgres://a", "there is no such store"),
            ("etcd://", "is no HOST:PORT"),
            ("etcd://a,,b", "is no HOST:PORT"),
            ("etcds://a", "--store-ca FILE"),
        ] {
            let error = read(store, |_| {}).err().unwrap();
            assert!(error.contains(word) && error.contains(store), "{error}");
        }
        let user = read("etcd://a", |o| o.store_user = Some("u".to_owned())).err().unwrap();
        assert!(user.contains("--store-password-file"), "{user}");
        let cert = read("etcd://a", |o| o.store_tls.cert = Some("c".into())).err().unwrap();
        assert!(cert.contains("need --store-ca"), "{cert}");
    }

    #[tokio::test]
    async fn a_store_of_its_own_needs_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::open(folder.path()).unwrap();
        let store = dunlin_store::memory::MemoryStore::new();
        keys(&store, &layout, "c").await.unwrap();
        assert!(!layout.cluster_key().exists());
    }
}
