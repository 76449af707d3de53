//! What the tests share: a server with images, and questions about its pods.

use anyhow::{Context, Result, bail, ensure};
use dunlin_testkit::cluster::{Dunlin, PATIENCE};
use dunlin_testkit::host::Lan;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::wait;
use serde_json::Value;

/// A server with its own agent, `hello:test` and `busybox:test` imported. Fields drop in this order.
pub struct World {
    pub server: Dunlin,
    pub lan: Lan,
    pub kubectl: Kubectl,
}

impl World {
    pub fn new() -> Result<Self> {
        Self::told(&[])
    }

    /// The same with further flags.
    pub fn told(flags: &[&str]) -> Result<Self> {
        let lan = Lan::new()?;
        let server = Dunlin::server(&lan, &[&["--node-name", "one"], flags].concat())?;
        Self::with(lan, server)
    }

    /// The same on a disk of `mib` MiB, where data, images, containers and logs share what there is.
    pub fn on_small_disk(mib: u32) -> Result<Self> {
        let lan = Lan::new()?;
        let server = Dunlin::server_on_small_disk(&lan, mib, &["--node-name", "one"])?;
        Self::with(lan, server)
    }

    fn with(lan: Lan, server: Dunlin) -> Result<Self> {
        server.import(&ImageBuilder::hello()?, "hello:test")?;
        server.import(&ImageBuilder::busybox()?, "busybox:test")?;
        let kubectl = server.kubectl();
        Ok(Self { server, lan, kubectl })
    }

    /// The pod once `check` is content with it.
    pub fn pod_when(&self, name: &str, check: impl Fn(&Value) -> bool) -> Result<Value> {
        pod_when(&self.kubectl, name, check)
    }

    /// As [`shell`], with the administrator's kubectl.
    pub fn shell(&self, name: &str, script: &str, more: &str, pod_more: &str) -> Result<()> {
        shell(&self.kubectl, name, script, more, pod_more)
    }

    /// The container's log once it holds `text`.
    pub fn log_with(&self, pod: &str, text: &str) -> Result<String> {
        wait::until(&format!("{text:?} in the log of {pod}"), PATIENCE, || {
            let log = self.kubectl.run(&["logs", pod])?;
            ensure!(log.contains(text), "the log is {log:?}");
            Ok(log)
        })
    }
}

/// Applies a pod with one busybox container that runs `script`, with `more` lines in its container, and `pod_more` in the
/// pod's spec.
pub fn shell(kubectl: &Kubectl, name: &str, script: &str, more: &str, pod_more: &str) -> Result<()> {
    let script = serde_json::to_string(script)?;
    kubectl.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  terminationGracePeriodSeconds: 2\n{pod_more}\n  containers:\n  - name: main\n    image: busybox:test\n    command: [\"/bin/sh\", \"-c\", {script}]\n{more}\n"
    ))?;
    Ok(())
}

pub fn pod_when(kubectl: &Kubectl, name: &str, check: impl Fn(&Value) -> bool) -> Result<Value> {
    wait::until(&format!("the state of pod {name}"), PATIENCE, || {
        let pod = kubectl.json(&["pod", name])?;
        if check(&pod) { Ok(pod) } else { bail!("its status is {}", pod["status"]) }
    })
    .with_context(|| kubectl.run(&["describe", "pod", name]).unwrap_or_default())
}

/// The one manifest that runs as every kind of workload: a Deployment of a web server of which only class and image differ.
/// `more` are further fields of its container, `pod_more` of its pod.
pub struct Server<'a> {
    pub name: &'a str,
    pub class: &'a str,
    pub image: &'a str,
    pub replicas: u32,
    pub more: &'a str,
    pub pod_more: &'a str,
}

impl<'a> Server<'a> {
    /// Two replicas of it, and nothing else.
    pub fn new(name: &'a str, class: &'a str, image: &'a str) -> Self {
        Self {
            name,
            class,
            image,
            replicas: 2,
            more: "args: [serve]",
            pod_more: "terminationGracePeriodSeconds: 1",
        }
    }

    pub fn manifest(&self) -> String {
        let Self { name, class, image, replicas, more, pod_more } = self;
        format!(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      runtimeClassName: {class}
      {pod_more}
      containers:
      - name: c
        image: {image}
        env: [{{name: GREETING, value: good morning}}]
        ports: [{{containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
        {more}
"
        )
    }
}

/// RuntimeClasses by name and handler.
pub fn classes(all: &[(&str, &str)]) -> String {
    all.iter()
        .map(|(name, handler)| {
            format!("---\napiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {name}}}\nhandler: {handler}\n")
        })
        .collect()
}

/// Fails unless every word is in the text.
pub fn has(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word:?} is missing in {text:?}");
    }
    Ok(())
}

/// Where the programs of this machine hear its network, as `tcp 10.99.0.1:6443`. Left out is what listens on the loopback
/// device, and what is bound to the pods' bridge: the kernel hands it nothing that comes from elsewhere.
pub fn heard(machine: &Dunlin) -> Result<Vec<String>> {
    let sockets = machine.host.namespace().shell("ss -Hltun")?;
    let mut heard = Vec::new();
    for line in sockets.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (protocol, address) = (words.first(), words.get(4));
        let (Some(protocol), Some(address)) = (protocol, address) else { bail!("ss says {line:?}") };
        if !address.starts_with("127.") && !address.starts_with("[::1]") && !address.contains("%dnl") {
            heard.push(format!("{protocol} {address}"));
        }
    }
    Ok(heard)
}

pub fn running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && pod["status"]["containerStatuses"][0]["ready"] == true
}

pub fn waiting(reason: &'static str) -> impl Fn(&Value) -> bool {
    move |pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
}

/// What kubectl prints when it has a terminal, on which the shell command `before` was run. `script` makes one.
pub fn terminal(kubectl: &Kubectl, before: &str, args: &[&str]) -> Result<String> {
    let mut inner = kubectl.command(args);
    inner.env_remove("NO_COLOR");
    let words: Vec<String> = std::iter::once(inner.get_program())
        .chain(inner.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
        .collect();
    let output = std::process::Command::new("script")
        .args(["-qec", &format!("{before}; {}", words.join(" ")), "/dev/null"])
        .envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .stdin(std::process::Stdio::null())
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
