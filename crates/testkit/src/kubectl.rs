//! The machine's own `kubectl`, run against one kubeconfig.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A kubectl bound to a kubeconfig, with a cache folder of its own.
#[derive(Debug, Clone)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    netns: Option<String>,
    namespace: Option<String>,
    env: Vec<(String, String)>,
}

impl Kubectl {
    /// One that talks to the cluster of `kubeconfig`.
    pub fn new(kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), netns: None, namespace: None, env: Vec::new() }
    }

    /// The same, run inside a network namespace.
    pub fn inside(mut self, netns: &str) -> Self {
        self.netns = Some(netns.to_owned());
        self
    }

    /// The same, in another namespace of the API than `default`.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// The same, with environment variables.
    pub fn env(mut self, variables: &[(&str, &str)]) -> Self {
        self.env.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self
    }

    /// The command with its arguments, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.netns {
            Some(name) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{name}")).arg("kubectl");
                command
            }
            None => Command::new("kubectl"),
        };
        command.env("KUBECONFIG", &self.kubeconfig).env("NO_COLOR", "1").envs(self.env.clone());
        command.arg("--cache-dir").arg(self.kubeconfig.with_extension("kubectl-cache"));
        if let Some(namespace) = &self.namespace {
            command.arg("--namespace").arg(namespace);
        }
        command.args(args);
        command
    }

    /// Runs it and gives everything back, failure included.
    ///
    /// # Errors
    /// When kubectl cannot be started.
    pub fn output(&self, args: &[&str], input: &str) -> Result<Output> {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        let pipe = child.stdin.take();
        // Written while its output is read: kubectl need not take all of its input before it says something. It may
        // also end without reading it; that is its affair.
        std::thread::scope(|scope| {
            scope.spawn(|| pipe.map(|mut pipe| pipe.write_all(input.as_bytes())));
            Ok(child.wait_with_output()?)
        })
    }

    /// Runs it and gives its standard output.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.run_with(args, "")
    }

    /// Runs it with `input` on its standard input.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run_with(&self, args: &[&str], input: &str) -> Result<String> {
        let output = self.output(args, input)?;
        if !output.status.success() {
            bail!(
                "kubectl {} failed: {}{}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it, expects failure, and gives what it said on standard error.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn refused(&self, args: &[&str], input: &str) -> Result<String> {
        let output = self.output(args, input)?;
        if output.status.success() {
            bail!("kubectl {} succeeded: {}", args.join(" "), String::from_utf8_lossy(&output.stdout));
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// When kubectl fails.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.run_with(&["apply", "-f", "-"], manifest)
    }

    /// `get -o json`, parsed.
    ///
    /// # Errors
    /// When kubectl fails or prints no JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(args);
        serde_json::from_str(&self.run(&all)?).context("reading kubectl's JSON")
    }
}
