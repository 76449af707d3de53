//! `dunlin agent --kubeconfig`: our agent as a node of the real Kubernetes.

pub mod bootstrap;
mod calls;
mod outage;
mod streams;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use dunlin_reference::kubernetes::Kubernetes;
use dunlin_testkit::cluster::{Dunlin, PATIENCE, tail};
use dunlin_testkit::host::Lan;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::wait;
use serde_json::Value;

/// The controller manager gives each node a range for its pods.
const RANGES: [&str; 2] = ["--allocate-node-cidrs", "--cluster-cidr=10.42.0.0/16"];

/// Two pods that show all that comes from the API: files, variables, a token. They print a line every tenth of a second.
const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: "green\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {password: hush}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      volumes:
      - {name: settings, configMap: {name: settings}}
      - {name: keys, secret: {secretName: keys}}
      containers:
      - name: main
        image: busybox:test
        imagePullPolicy: Never
        command: [/bin/sh, -c, 'trap "exit 0" TERM; /hello serve 8080 & n=0; while true; do n=$((n+1)); echo line $n; sleep 0.1; done']
        env:
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
        volumeMounts:
        - {name: settings, mountPath: /settings}
        - {name: keys, mountPath: /keys}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
"#;

/// A cluster with our agent as its only node. Fields drop in this order.
pub struct World {
    agent: Dunlin,
    kubernetes: Kubernetes,
    kubectl: Kubectl,
    _lan: Lan,
}

/// A node with a certificate of its own: from Ready to nothing left.
pub fn run() -> Result<()> {
    let lan = Lan::new()?;
    let kubernetes = Kubernetes::start_with(&lan, &[], &RANGES)?;
    let kubeconfig = node_kubeconfig(&kubernetes, "edge")?;
    let agent =
        Dunlin::node_of(&lan, &kubeconfig, "edge", &["--time", "heartbeat=1s", "--label", "place=field"])?;
    let kubectl = kubernetes.kubectl();
    let mut world = World { agent, kubernetes, kubectl, _lan: lan };
    let outcome = world.life();
    outcome.with_context(|| format!("{}\n----\n{}", world.kubernetes.log(), tail(&world.agent.log())))
}

impl World {
    fn life(&mut self) -> Result<()> {
        ready(&self.kubectl, "edge")?;
        self.node()?;
        self.agent.import(&ImageBuilder::busybox()?, "busybox:test")?;
        wait::until("the default service account", PATIENCE, || {
            self.kubectl.json(&["serviceaccount", "default"])
        })?;
        self.kubectl.apply(MANIFEST)?;
        self.kubectl
            .run(&["rollout", "status", "deployment/web", "--timeout=60s"])
            .with_context(|| self.kubectl.run(&["describe", "pods"]).unwrap_or_default())?;
        println!("  node ready and deployment rolled out");
        self.content()?;
        streams::check(self)?;
        calls::check(self)?;
        outage::check(self)?;
        self.end()
    }

    /// What the Node and its Lease say.
    fn node(&self) -> Result<()> {
        let node = self.kubectl.json(&["node", "edge"])?;
        let at = |pointer: &str| node.pointer(pointer).cloned().unwrap_or_default();
        for (pointer, expect) in [
            ("/metadata/labels/kubernetes.io~1hostname", "edge"),
            ("/metadata/labels/kubernetes.io~1os", "linux"),
            ("/metadata/labels/place", "field"),
            ("/status/nodeInfo/operatingSystem", "linux"),
        ] {
            ensure!(at(pointer) == expect, "{pointer} is {}", at(pointer));
        }
        ensure!(
            at("/status/daemonEndpoints/kubeletEndpoint/Port") == 10250,
            "{}",
            at("/status/daemonEndpoints")
        );
        let version = at("/status/nodeInfo/kubeletVersion");
        ensure!(version.as_str().is_some_and(|v| v.starts_with("v1.36.")), "{version}");
        let address = serde_json::json!({"type": "InternalIP", "address": self.agent.host.address});
        ensure!(at("/status/addresses/0") == address, "{}", at("/status/addresses"));
        let renewed = || -> Result<Value> {
            let lease = self.kubectl.run(&["get", "lease", "edge", "-n", "kube-node-lease", "-o", "json"])?;
            Ok(serde_json::from_str::<Value>(&lease)?["spec"]["renewTime"].clone())
        };
        let before = renewed()?;
        wait::until("the Lease's renewal", PATIENCE, || {
            ensure!(renewed()? != before, "it is that of {before}");
            Ok(())
        })
    }

    /// What pods get from the API is in their containers.
    fn content(&self) -> Result<()> {
        let exec = |script: &str| self.kubectl.run(&["exec", "deploy/web", "--", "/bin/sh", "-c", script]);
        ensure!(exec("cat /settings/colour")? == "green\n", "the ConfigMap's file");
        ensure!(
            exec("cat /keys/password; echo $PASSWORD")? == "hushhush\n",
            "the Secret's file and variable"
        );
        let claims = exec("cat /var/run/secrets/kubernetes.io/serviceaccount/token")?;
        ensure!(claims.split('.').count() == 3, "the token is {claims:?}");
        let host = exec("echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT")?;
        ensure!(host == "10.43.0.1:443\n", "pods find the API at {host}");
        self.api_from_a_pod()?;
        self.kubectl.run(&["patch", "configmap", "settings", "-p", r#"{"data":{"colour":"blue"}}"#])?;
        wait::until("a change of the ConfigMap in its volume", PATIENCE, || {
            let now = exec("cat /settings/colour")?;
            ensure!(now == "blue", "it is {now:?}");
            Ok(())
        })
    }

    /// The address at which pods find the API leads to the API server, whose certificate names it.
    fn api_from_a_pod(&self) -> Result<()> {
        let pid = self.processes("hello")?.first().context("a pod's process")?.to_owned();
        let line = format!(
            "openssl s_client -connect 10.43.0.1:443 -CAfile {} -verify_ip 10.43.0.1 -verify_return_error </dev/null 2>&1",
            self.kubernetes.file("ca.crt")
        );
        let output = std::process::Command::new("nsenter")
            .args([&format!("--net=/proc/{pid}/ns/net"), "sh", "-c", &line])
            .output()
            .context("starting nsenter")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && said.contains("Verify return code: 0 (ok)"),
            "openssl says {said}"
        );
        Ok(())
    }

    /// The processes of the node's pods that run the program `command`.
    fn processes(&self, command: &str) -> Result<Vec<String>> {
        let id = std::fs::read_to_string(self.agent.data.path().join("agent/id"))?;
        let own = |pid: &String| {
            let read =
                |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            read("comm").trim() == command && read("cgroup").contains(&format!("dunlin-{}", id.trim()))
        };
        let all = std::fs::read_dir("/proc")?.flatten();
        let mut pids: Vec<String> = all.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        pids.retain(own);
        pids.sort();
        Ok(pids)
    }

    /// The name of one of the pods.
    fn pod(&self) -> Result<String> {
        let name = self.kubectl.run(&[
            "get",
            "pods",
            "-l",
            "app=web",
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ])?;
        ensure!(!name.is_empty(), "there is no pod");
        Ok(name)
    }

    /// Uid, restarts and start of every container: what changes when something is started again.
    fn starts(&self) -> Result<String> {
        let each = "{range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount} \
                    {.status.containerStatuses[0].state.running.startedAt} {.status.phase}{\"\\n\"}{end}";
        let mut lines: Vec<String> = self
            .kubectl
            .run(&["get", "pods", "-l", "app=web", "-o", &format!("jsonpath={each}")])?
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        Ok(lines.join("\n"))
    }

    /// After the deletion nothing is left, in the API and on the machine.
    fn end(&self) -> Result<()> {
        self.kubectl.run(&["delete", "deployment/web", "configmap/settings", "secret/keys"])?;
        wait::until("the end of the pods", PATIENCE, || {
            let left = self.kubectl.run(&["get", "pods", "-o", "name"])?;
            ensure!(left.is_empty(), "left are {left}");
            let running = self.agent.running("hello")? + self.agent.running("sh")?;
            ensure!(running == 0, "{running} processes of pods run");
            let kept = std::fs::read_dir(self.agent.data.path().join("agent/pods"))?.count();
            ensure!(kept == 0, "{kept} pods are on disk");
            Ok(())
        })
    }
}

/// Waits until the node is Ready.
fn ready(kubectl: &Kubectl, name: &str) -> Result<()> {
    wait::until("node ready", PATIENCE, || {
        let node = kubectl.json(&["node", name])?;
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        match conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True") {
            true => Ok(()),
            false => bail!("its status is {}", node["status"]["conditions"]),
        }
    })
}

/// The kubeconfig of a node, with a certificate as the cluster's signer would make it.
fn node_kubeconfig(kubernetes: &Kubernetes, name: &str) -> Result<PathBuf> {
    let life = std::time::Duration::from_secs(24 * 3600);
    let user = format!("system:node:{name}");
    let identity = kubernetes.authority()?.issue_client(&user, &["system:nodes".to_owned()], life)?;
    let (certificate, key) =
        (kubernetes.file(&format!("{name}.crt")), kubernetes.file(&format!("{name}.key")));
    std::fs::write(&certificate, &identity.cert_pem)?;
    std::fs::write(&key, &identity.key_pem)?;
    kubeconfig(kubernetes, name, &format!("client-certificate: '{certificate}', client-key: '{key}'"))
}

/// A kubeconfig for the cluster with these credentials.
fn kubeconfig(kubernetes: &Kubernetes, name: &str, user: &str) -> Result<PathBuf> {
    config_file(kubernetes, name, &kubernetes.url(), user)
}

/// The same for something else that has a certificate of the cluster.
fn config_file(kubernetes: &Kubernetes, name: &str, url: &str, user: &str) -> Result<PathBuf> {
    let ca = kubernetes.file("ca.crt");
    // Whoever serves under a certificate of its own is not to be checked.
    let trust = match url.ends_with(":10250") {
        true => "insecure-skip-tls-verify: true".to_owned(),
        false => format!("certificate-authority: '{ca}'"),
    };
    let path = PathBuf::from(kubernetes.file(&format!("{name}.kubeconfig")));
    std::fs::write(
        &path,
        format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: '{url}', {trust}}}}}]
users: [{{name: u, user: {{{user}}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"
        ),
    )?;
    Ok(path)
}
