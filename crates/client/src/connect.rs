//! Which API to talk to: a kubeconfig given by name, by `KUBECONFIG`, or in the data directory.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::Error;

/// A client, and the CA that it trusts.
pub struct Connection {
    /// The client.
    pub client: kube::Client,
    /// The CA's certificate as DER, if the kubeconfig names one.
    pub ca: Option<Vec<u8>>,
    /// The namespace that is meant when none is given.
    pub namespace: String,
    /// What the kubeconfig calls the cluster; a server writes its own name there.
    pub server: String,
}

/// Connects with the first of: `file`, `$KUBECONFIG`, `<data_dir>/kubeconfig.yaml`.
///
/// # Errors
/// When there is no kubeconfig, or it is wrong.
pub async fn connect(file: Option<&Path>, data_dir: &Path) -> Result<Connection, Error> {
    let named = file.map(Path::to_owned).or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from));
    let path = named.unwrap_or_else(|| data_dir.join("kubeconfig.yaml"));
    let shown = path.display();
    if !path.exists() {
        return Err(Error::Input(format!(
            "there is no kubeconfig {shown}: name one with --kubeconfig or KUBECONFIG, or run this on a server"
        )));
    }
    let wrong = |e: &dyn std::fmt::Display| Error::Input(format!("the kubeconfig {shown} is wrong: {e}"));
    let kubeconfig = Kubeconfig::read_from(&path).map_err(|e| wrong(&e))?;
    let server = cluster_name(&kubeconfig);
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|e| wrong(&e))?;
    let ca = config.root_cert.as_ref().and_then(|all| all.first().cloned());
    let namespace = config.default_namespace.clone();
    let client =
        kube::Client::try_from(config).map_err(Error::api(format!("setting up the client of {shown}")))?;
    Ok(Connection { client, ca, namespace, server })
}

/// The name of the current context's cluster.
fn cluster_name(kubeconfig: &Kubeconfig) -> String {
    let current = kubeconfig.current_context.as_deref().unwrap_or_default();
    let context = kubeconfig.contexts.iter().find(|context| context.name == current);
    let cluster = context.and_then(|context| context.context.as_ref()).map(|context| context.cluster.clone());
    cluster.unwrap_or_else(|| current.to_owned())
}
