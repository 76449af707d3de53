//! The rules of the house that no compiler knows: layers, headers, file names, and a map that tells the truth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dunlin_testkit::program::workspace;

/// The layer of each crate (ARCHITECTURE.md). A crate may use lower layers only.
const LAYERS: &[(&str, u8)] = &[
    ("api", 0),
    ("base", 0),
    ("shim", 0),
    ("wasm", 1),
    ("guest", 1),
    ("control", 1),
    ("grpc", 1),
    ("store", 2),
    ("pki", 1),
    ("runtime", 1),
    ("runtime-oci", 2),
    ("runtime-cri", 3),
    ("streams", 1),
    ("tunnel", 2),
    ("client", 2),
    ("apiserver", 3),
    ("driver", 3),
    ("node", 3),
    ("net", 3),
    ("agent", 4),
    ("kubelet", 4),
    ("uplink", 4),
    ("app", 5),
    ("simulate", 5),
    ("dunlin", 6),
    ("testkit", 7),
    ("fuzz-targets", 7),
    ("reference", 8),
];

/// Crates that must stay free of I/O: what their manifests may name.
const PURE: &[(&str, &[&str])] = &[
    // CEL has times and patterns.
    ("api", &["base64", "jiff", "json-patch", "regex-lite", "serde", "serde_json", "thiserror"]),
    // jiff reads and writes dates; it is used without a clock and without time zones.
    ("control", &["dunlin-api", "jiff", "serde", "serde_json", "thiserror"]),
];

/// Checks every rule and reports all breaches at once.
pub fn run() -> Result<()> {
    let root = workspace();
    let mut breaches = Vec::new();
    layers(&root, &mut breaches)?;
    sources(&root, &mut breaches)?;
    map(&root, &mut breaches)?;
    if breaches.is_empty() {
        println!("tidy: all rules hold");
        return Ok(());
    }
    bail!("tidy: {} breaches\n{}", breaches.len(), breaches.join("\n"))
}

fn layers(root: &Path, breaches: &mut Vec<String>) -> Result<()> {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(layer) = layers.get(name.as_str()) else {
            breaches.push(format!(
                "crates/{name}: has no layer; give it one in xtask/src/tidy.rs and ARCHITECTURE.md"
            ));
            continue;
        };
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml"))?;
        let used = dependencies(&manifest);
        for dependency in &used {
            let Some(other) = dependency.strip_prefix("dunlin-") else { continue };
            if layers.get(other).is_some_and(|below| below >= layer) && name != "testkit" {
                breaches.push(format!("crates/{name} (layer {layer}) uses {other}, which is not below it"));
            }
        }
        for (pure, allowed) in PURE {
            if name == *pure {
                let foreign = used.iter().filter(|d| !allowed.contains(&d.as_str()));
                breaches
                    .extend(foreign.map(|d| format!("crates/{name} is pure, but its manifest names {d}")));
            }
        }
    }
    Ok(())
}

/// The names in `[dependencies]`; those for tests and builds do not count.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            names.push(name.to_owned());
        }
    }
    names
}

fn sources(root: &Path, breaches: &mut Vec<String>) -> Result<()> {
    for file in rust_files(&root.join("crates"))?
        .into_iter()
        .chain(rust_files(&root.join("xtask"))?)
        .chain(rust_files(&root.join("fuzz"))?)
    {
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let text = std::fs::read_to_string(&file).with_context(|| shown.clone())?;
        if file.file_name().is_some_and(|n| n == "mod.rs") {
            breaches.push(format!("{shown}: a module's file is named after it, never mod.rs"));
        }
        if !text.trim_start_matches("#![no_main]\n").starts_with("//!") {
            breaches.push(format!("{shown}: opens without a //! header that says what it is"));
        }
        if text.contains(concat!("#[ig", "nore")) {
            breaches.push(format!("{shown}: an ignored test holds nothing"));
        }
    }
    Ok(())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Every path in backticks in ARCHITECTURE.md that looks like one of ours must exist.
fn map(root: &Path, breaches: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    for word in text.split('`').skip(1).step_by(2) {
        let ours = ["crates/", "docs/", "xtask/", "scripts/", ".ci/", "examples/"]
            .iter()
            .any(|p| word.starts_with(p));
        if ours && !word.contains(['<', '*', ' ']) && !root.join(word).exists() {
            breaches.push(format!("ARCHITECTURE.md names {word}, which does not exist"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_the_dependencies_section() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n# c\n[dev-dependencies]\nd = \"1\"\n";
        assert_eq!(dependencies(manifest), ["a", "b"]);
    }
}
