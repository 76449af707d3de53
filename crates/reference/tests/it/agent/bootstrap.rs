//! A node that begins with a bootstrap token: its certificates are asked for, approved, and renewed.

use anyhow::{Context, Result, ensure};
use dunlin_reference::kubernetes::Kubernetes;
use dunlin_testkit::cluster::{Dunlin, PATIENCE, tail};
use dunlin_testkit::host::Lan;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::wait;

use super::{RANGES, kubeconfig, ready};

/// The token that kubeadm would make, and what it would bind to its group and to nodes.
const RIGHTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData: {token-id: abcdef, token-secret: 0123456789abcdef, usage-bootstrap-authentication: "true"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: bootstrap}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:node-bootstrapper"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: first}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: next}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:nodes"}]
"#;

/// From a token to a certificate, and to the one after it, which comes before the first has ended.
pub fn run() -> Result<()> {
    let lan = Lan::new()?;
    let kubernetes =
        Kubernetes::start_with(&lan, &[], &[&RANGES[..], &["--cluster-signing-duration=40s"]].concat())?;
    let kubectl = kubernetes.kubectl();
    let token = kubeconfig(&kubernetes, "token", "token: abcdef.0123456789abcdef")?;
    // Nobody knows the token yet.
    let mut refused = Dunlin::node_of(&lan, &token, "edge", &[])?;
    wait::until("the refusal of an unknown token", PATIENCE, || {
        ensure!(refused.process()?.ended()?.is_some(), "it still runs");
        Ok(())
    })?;
    ensure!(refused.log().contains("does not accept the kubeconfig's credentials"), "{}", refused.log());
    drop(refused);
    kubectl.apply(RIGHTS)?;
    let mut agent = Dunlin::node_of(&lan, &token, "edge", &["--time", "heartbeat=1s"])?;
    let outcome = life(&kubernetes, &kubectl, &mut agent);
    outcome.with_context(|| format!("{}\n----\n{}", kubernetes.log(), tail(&agent.log())))
}

fn life(kubernetes: &Kubernetes, kubectl: &Kubectl, agent: &mut Dunlin) -> Result<()> {
    ready(kubectl, "edge")?;
    println!("  bootstrapped");
    serving(kubernetes, kubectl, agent)?;
    wait::until("two renewals", PATIENCE * 2, || {
        let renewed = agent.log().matches("certificate renewed").count();
        ensure!(renewed >= 2, "{renewed} so far");
        Ok(())
    })?;
    heard(kubectl, agent)?;
    println!("  renewed");
    // The token is for the first time only.
    kubectl.run(&["delete", "secret", "bootstrap-token-abcdef", "-n", "kube-system"])?;
    agent.kill();
    agent.start()?;
    wait::until("the restart", PATIENCE, || {
        let starts = agent.log().matches("a node of this cluster").count();
        ensure!(starts == 2, "{starts} starts of 2");
        Ok(())
    })?;
    let asked = agent.log().matches("asking for this node's certificate").count();
    ensure!(asked == 1, "a certificate was asked for by token {asked} times");
    heard(kubectl, agent)?;
    ready(kubectl, "edge")
}

/// The node renews its Lease now, with whatever certificate it has.
fn heard(kubectl: &Kubectl, agent: &Dunlin) -> Result<()> {
    let renewed = || -> Result<serde_json::Value> {
        let lease = kubectl.run(&["get", "lease", "edge", "-n", "kube-node-lease", "-o", "json"])?;
        Ok(serde_json::from_str::<serde_json::Value>(&lease)?["spec"]["renewTime"].clone())
    };
    let before = renewed()?;
    wait::until("a renewal of the Lease", PATIENCE, || {
        ensure!(renewed()? != before, "it is that of {before}\n{}", tail(&agent.log()));
        Ok(())
    })
}

/// A person approves the serving certificate; from then on the API server could check it.
fn serving(kubernetes: &Kubernetes, kubectl: &Kubectl, agent: &Dunlin) -> Result<()> {
    let name = wait::until("the request for a serving certificate", PATIENCE, || {
        let all = kubectl.json(&["csr"])?;
        let items = all["items"].as_array().context("a list")?;
        let found = items.iter().find(|csr| csr["spec"]["signerName"] == "kubernetes.io/kubelet-serving");
        Ok(found.and_then(|csr| csr["metadata"]["name"].as_str()).context("there is none")?.to_owned())
    })?;
    let shown = || -> Result<String> {
        let line = format!(
            "openssl s_client -connect {}:10250 -CAfile {} -verify_return_error </dev/null 2>&1 | grep 'Verif'",
            agent.host.address,
            kubernetes.file("ca.crt")
        );
        kubernetes.host.namespace().shell(&format!("{line} || true"))
    };
    let own = shown()?;
    ensure!(!own.contains("Verification: OK") && !own.contains("code: 0 "), "its own certificate: {own}");
    kubectl.run(&["certificate", "approve", &name])?;
    wait::until("the approved certificate", PATIENCE, || {
        let now = shown()?;
        ensure!(now.contains("Verification: OK") || now.contains("code: 0 "), "{now}");
        Ok(())
    })?;
    println!("  the serving certificate was approved and is shown");
    Ok(())
}
