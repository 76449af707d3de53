//! What one server at a time does, where several share a store: controllers and scheduler, signing, and the rights of
//! nodes. It is elected with the Lease `dunlin-controllers`.

use std::sync::Arc;

use dunlin_base::task::Task;
use dunlin_driver::election::{Election, Times};
use dunlin_driver::{Driver, Options};
use tokio::sync::watch;

use super::certificates::{self, Certificates};
use super::servers::Servers;
use super::signer::{self, Signer};

/// The Lease's name.
const LEASE: &str = "dunlin-controllers";

/// What is needed to do it.
#[derive(Clone)]
pub struct Once {
    /// The API as the driver.
    pub driver: kube::Client,
    pub plans: Options,
    pub signer: Signer,
    pub certificates: Arc<Certificates>,
    /// The other servers, if there may be any.
    pub servers: Option<Servers>,
}

impl Once {
    /// Starts everything; dropping what it gives ends everything.
    pub fn start(&self) -> (Driver, Vec<Task>) {
        let Self { signer, certificates, .. } = self;
        let (nodes, clusters) = (signer.client.clone(), signer.client.clone());
        let (of_nodes, of_clusters) = (certificates.clone(), certificates.clone());
        let mut tasks = vec![
            Task::spawn("signer", signer::run(signer.clone())),
            Task::spawn("node certificates", async move { certificates::follow(nodes, &of_nodes).await }),
            Task::spawn("cluster certificates", async move {
                certificates::clusters::follow(clusters, &of_clusters).await;
            }),
        ];
        if let Some(servers) = &self.servers {
            tasks.push(Task::spawn("other servers", servers.clone().forget()));
        }
        (dunlin_driver::run(self.driver.clone(), self.plans.clone()), tasks)
    }

    /// Does it whenever this server is elected, until told to stop; then another need not wait.
    pub async fn whenever_elected(self, identity: String, times: Times, mut stop: watch::Receiver<bool>) {
        let mut election = Election::new(self.driver.clone(), LEASE, identity, times);
        loop {
            let mut term = tokio::select! {
                term = election.win() => term,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let running = self.start();
            let stopped = tokio::select! {
                () = term.hold() => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            drop(running);
            if stopped {
                term.release().await;
                return;
            }
        }
    }
}
