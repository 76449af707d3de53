//! How extension servers know that a request comes through us: a certificate of an authority of its own, which is
//! published where extension servers look for it.

use std::time::{Duration, SystemTime};

use dunlin_pki::Identity;
use dunlin_store::Expect;
use serde_json::{Value, json};

use super::Registry;
use crate::failure::Result;
use crate::handlers::{prepare, storage};
use crate::object::{self, text};
use crate::resources::known;
use crate::server::Inner;

/// The name in the certificate; no other is believed.
const NAME: &str = "front-proxy-client";
/// How long a certificate lasts. It is made anew well before, and never stored.
const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Where extension servers look.
const CONFIG: &str = "extension-apiserver-authentication";

impl Registry {
    /// Our certificate towards extension servers; none without an authority for it.
    ///
    /// # Errors
    /// When it cannot be made; in words.
    pub(super) fn identity(&self, server: &Inner) -> Result<Option<Identity>, String> {
        let Some(authority) = &server.config.front_proxy else { return Ok(None) };
        let mut known = self.identity.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fresh = known
            .as_ref()
            .filter(|identity| identity.renew_at().is_ok_and(|renew| SystemTime::now() < renew));
        if let Some(identity) = fresh {
            return Ok(Some(identity.clone()));
        }
        let made = authority
            .issue_client(NAME, &[], LIFE)
            .map_err(|e| format!("making our certificate: {}", dunlin_base::error::chain(&e)))?;
        *known = Some(made.clone());
        Ok(Some(made))
    }
}

/// Publishes both authorities and the names of the headers.
pub async fn publish(server: &Inner) -> Result<()> {
    let resource = known("", "configmaps");
    let found = server.find(resource, "kube-system", CONFIG).await?;
    let old = found.as_ref().map(|found| &found.value);
    let wanted = data(old, &server.config.ca_pem, server.config.front_proxy.as_deref().map(|a| a.ca_pem()));
    if old.is_some_and(|old| old["data"] == wanted) {
        return Ok(());
    }
    let (expect, mut value) = match found {
        Some(found) => (Expect::Revision(found.entry.revision), found.value),
        None => {
            let mut value = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": CONFIG, "namespace": "kube-system"}});
            prepare::new_object(resource, &mut value);
            (Expect::Absent, value)
        }
    };
    object::map(&mut value, "data").clear();
    value["data"] = wanted;
    match server.save(resource, expect, value).await {
        Ok(_) => Ok(()),
        Err(error) => Err(storage::failed(resource, CONFIG, error)),
    }
}

/// What the object should hold. Authorities of other servers on the same store stay.
fn data(old: Option<&Value>, clients: &str, proxy: Option<&str>) -> Value {
    let joined = |field: &str, own: &str| {
        let before = old.map_or("", |old| text(old, &["data", field]));
        match before {
            "" => own.to_owned(),
            before if before.contains(own.trim()) => before.to_owned(),
            before => format!("{}\n{own}", before.trim_end()),
        }
    };
    let mut data = json!({"client-ca-file": joined("client-ca-file", clients)});
    if let Some(proxy) = proxy {
        data["requestheader-allowed-names"] = json!(json!([NAME]).to_string());
        data["requestheader-client-ca-file"] = json!(joined("requestheader-client-ca-file", proxy));
        for (field, header) in [
            ("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
            ("requestheader-group-headers", "X-Remote-Group"),
            ("requestheader-uid-headers", "X-Remote-Uid"),
            ("requestheader-username-headers", "X-Remote-User"),
        ] {
            data[field] = json!(json!([header]).to_string());
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_added_once() {
        let first = json!({"data": data(None, "CA-1\n", Some("P-1"))});
        assert_eq!(first["data"]["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
        assert_eq!(data(Some(&first), "CA-1\n", Some("P-1")), first["data"]);
        let second = data(Some(&first), "CA-2\n", Some("P-1"));
        assert_eq!(second["client-ca-file"], "CA-1\nCA-2\n");
        assert_eq!(second["requestheader-client-ca-file"], "P-1");
        assert!(data(None, "CA", None).get("requestheader-allowed-names").is_none());
    }
}
