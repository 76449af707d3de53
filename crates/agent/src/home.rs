//! The home API of pods in the host's network that were made above: such a pod cannot be told by its address, so it has
//! a port of its own on the loopback, which every server's certificate names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_api::names::annotation;
use dunlin_net::relay::Relay;
use dunlin_node::PodRef;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::config::HomeDial;
use crate::model::spec;

/// Whether the pod was made above this node's server.
pub fn is_above(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(annotation::HOME_NAMESPACE))
}

/// The relays, by the pod's uid.
#[derive(Default)]
pub struct Relays(Mutex<HashMap<String, Relay>>);

impl Relays {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Relay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the pod's relay if it needs one, on the port that it had `before`; returns the port.
    pub fn open(
        &self,
        pod: &Pod,
        before: Option<u16>,
        home: &HomeDial,
        endpoint: watch::Receiver<String>,
    ) -> Option<u16> {
        if spec(pod).host_network != Some(true) || !is_above(pod) {
            return None;
        }
        let reference = PodRef::of(pod);
        let (home, target) = (home.clone(), reference.clone());
        let relay = Relay::on_loopback(before, endpoint, Arc::new(move |_| Some(home(target.clone()))));
        match relay {
            Ok(relay) => {
                let port = relay.port();
                self.lock().insert(reference.uid, relay);
                Some(port)
            }
            Err(error) => {
                let error = dunlin_base::error::chain(&error);
                tracing::warn!(pod = reference.name, error, "the pod cannot be given the API of its home");
                None
            }
        }
    }

    /// The port of the pod's relay, if it has one.
    pub fn port(&self, uid: &str) -> Option<u16> {
        self.lock().get(uid).map(Relay::port)
    }

    /// The pod is gone.
    pub fn close(&self, uid: &str) {
        self.lock().remove(uid);
    }
}
