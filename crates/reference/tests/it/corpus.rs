//! The corpus against Kubernetes and Dunlin.

use std::path::Path;

use anyhow::{Context, Result};
use dunlin_reference::call::{self, Outcome};
use dunlin_reference::corpus;
use dunlin_reference::kubernetes::Kubernetes;
use dunlin_reference::side::Side;
use dunlin_reference::webhook::Webhook;
use dunlin_testkit::cluster::Dunlin;
use dunlin_testkit::internet::Internet;

/// Runs the files whose names `wanted` accepts; how many there were, and how many failed.
pub fn run(wanted: &dyn Fn(&str) -> bool) -> Result<(usize, usize)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let named = corpus::files(&folder)?.into_iter().map(|file| {
        let name = file.strip_prefix(&folder).unwrap_or(&file).with_extension("").display().to_string();
        (name, file)
    });
    let chosen: Vec<_> = named.filter(|(name, _)| wanted(name)).collect();
    if chosen.is_empty() {
        return Ok((0, 0));
    }
    let internet = Internet::new()?;
    let kubernetes = Kubernetes::start(&internet)?;
    let dunlin = Dunlin::server(&internet, &["--no-agent"])?;
    // Calls are made from Kubernetes' machine; this thread is the only one.
    kubernetes.host.namespace().enter()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut failed, mut calls) = (0, 0);
    runtime.block_on(async {
        let theirs = Side::new("Kubernetes", &kubernetes.kubeconfig()).await?;
        let ours = Side::new("Dunlin", &dunlin.data.path().join("kubeconfig.yaml")).await?;
        let webhook = Webhook::start(&kubernetes.host.address).await?;
        for (name, file) in &chosen {
            let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
            let parsed = corpus::parse(&text).with_context(|| name.clone())?;
            let namespace = format!("corpus-{}", name.replace('/', "-"));
            match call::run(&theirs, &ours, &namespace, &webhook.variables(), &parsed).await {
                Ok(outcome) => {
                    calls += outcome.calls;
                    failed += usize::from(!report(name, &outcome));
                }
                Err(error) => {
                    failed += 1;
                    println!("corpus {name} ... FAILED: {error:#}");
                }
            }
        }
        println!("corpus: {calls} calls in {} files, {failed} files failed", chosen.len());
        Ok((chosen.len(), failed))
    })
}

/// Prints what a file has shown; whether that is well.
pub fn report(name: &str, outcome: &Outcome) -> bool {
    let well = outcome.unlisted.is_empty() && outcome.stale.is_empty();
    let (calls, listed) = (outcome.calls, outcome.listed);
    let verdict = if well { "ok" } else { "FAILED" };
    println!("corpus {name} ... {verdict} ({calls} calls, {listed} listed differences)");
    for (line, title, difference) in &outcome.unlisted {
        println!("  {name}.http:{line} {title}: {difference}");
    }
    for (line, title, path) in &outcome.stale {
        println!(
            "  {name}.http:{line} {title}: {path} is listed as different, and is not: take the line out"
        );
    }
    well
}
