//! Builds a real Kubernetes from source at the versions that `xtask/kubernetes/*/go.mod` pin, and helm, installs client
//! libraries, and runs what needs them.
//!
//! The programs lie outside the checkout, in a folder named after what the files pin, so that only the first run builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use dunlin_testkit::program::workspace;

use crate::cargo;

/// One module below `xtask/kubernetes`, and the programs that it builds: what Go calls them, and what they are called.
struct Module {
    folder: &'static str,
    programs: &'static [(&'static str, &'static str)],
    flags: &'static str,
}

const MODULES: &[Module] = &[
    Module {
        folder: "components",
        programs: &[
            ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
            ("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
            ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
            ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
        ],
        // Without these the programs call themselves version 0.0.0.
        flags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
                -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36",
    },
    Module { folder: "etcd", programs: &[("go.etcd.io/etcd/server/v3", "etcd")], flags: "-s -w" },
    Module { folder: "helm", programs: &[("helm.sh/helm/v4/cmd/helm", "helm")], flags: "-s -w" },
];

/// The client libraries, at their versions.
const REQUIREMENTS: &str = "crates/reference/clients/requirements.txt";

/// The Go toolchain that can build them.
const GO: &str =
    "go 1.26 or newer builds the real Kubernetes: install it from go.dev/dl and put it on the PATH";

/// Builds what is missing and runs the tests whose names contain one of `words`, or all.
pub fn test(words: &[&str]) -> Result<()> {
    let folder = build()?;
    // SAFETY: this program is single-threaded.
    unsafe { std::env::set_var("DUNLIN_REFERENCE", &folder) };
    cargo::build()?;
    let mut args = vec!["test", "--release", "-p", "dunlin-reference", "--test", "it", "--"];
    args.extend(words);
    cargo::cargo(&args)
}

/// Builds what is missing; the folder of the programs.
fn build() -> Result<PathBuf> {
    let modules = workspace().join("xtask/kubernetes");
    let folder = cache().join(format!("kubernetes-{:016x}", fingerprint(&modules)?));
    for module in MODULES {
        for (package, name) in module.programs {
            let program = folder.join(name);
            if program.is_file() {
                continue;
            }
            println!(
                "kubernetes-test: building {name} (once; all of them take about 10 minutes on two cores)"
            );
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            // Renamed when it is whole, so that a build that was broken off is begun anew.
            let part = folder.join(format!("{name}.{}", std::process::id()));
            let status = Command::new(go())
                .current_dir(modules.join(module.folder))
                .env("CGO_ENABLED", "0")
                .args(["build", "-trimpath", "-ldflags", module.flags, "-o"])
                .arg(&part)
                .arg(package)
                .status()
                .context(GO)?;
            if !status.success() {
                bail!("building {package} failed");
            }
            std::fs::rename(&part, &program)?;
        }
    }
    python(&folder.join("python"))?;
    Ok(folder)
}

/// A Python of its own in `folder`, with the client library that the tests use.
fn python(folder: &Path) -> Result<()> {
    // Written last, so that what was broken off is begun anew.
    let done = folder.join("complete");
    if done.is_file() {
        return Ok(());
    }
    println!("kubernetes-test: installing the Python client");
    let run = |program: &Path, args: &[&str]| -> Result<()> {
        let status = Command::new(program)
            .args(args)
            .status()
            .context("Python 3 runs the client library's test: apt-get install python3 python3-venv")?;
        if !status.success() {
            bail!("{} {} failed", program.display(), args.join(" "));
        }
        Ok(())
    };
    let wanted = workspace().join(REQUIREMENTS).display().to_string();
    run(Path::new("python3"), &["-m", "venv", "--clear", &folder.display().to_string()])?;
    run(&folder.join("bin/pip"), &["install", "--quiet", "--disable-pip-version-check", "-r", &wanted])?;
    Ok(std::fs::write(done, "")?)
}

fn cache() -> PathBuf {
    std::env::var_os("DUNLIN_CACHE").map_or_else(|| PathBuf::from("/var/cache/dunlin"), PathBuf::from)
}

/// The `go` on the path, or where its own installation puts it.
fn go() -> PathBuf {
    let usual = Path::new("/usr/local/go/bin/go");
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("go").is_file()));
    if !on_path && usual.is_file() { usual.to_owned() } else { PathBuf::from("go") }
}

/// A number that changes with what the modules pin and how they are built (FNV-1a).
fn fingerprint(modules: &Path) -> Result<u64> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add(&std::fs::read(workspace().join(REQUIREMENTS))?);
    for module in MODULES {
        add(module.flags.as_bytes());
        for file in ["go.mod", "go.sum"] {
            let path = modules.join(module.folder).join(file);
            add(&std::fs::read(&path).with_context(|| path.display().to_string())?);
        }
    }
    Ok(hash)
}
