//! The programs that tests put into images, and the program under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The workspace's root folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace of this crate exists")
}

/// The program under test: `DUNLIN_BIN`, else the release build in the workspace.
///
/// # Errors
/// When it has not been built.
pub fn dunlin() -> Result<PathBuf> {
    let path = match std::env::var_os("DUNLIN_BIN") {
        Some(path) => PathBuf::from(path),
        None => target().join("release/dunlin"),
    };
    if !path.is_file() {
        bail!(
            "{} is not there: build it with `cargo build --release --bin dunlin`, or set DUNLIN_BIN",
            path.display()
        );
    }
    Ok(path)
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The static payload program `hello`, compiled when its source is newer than it.
///
/// # Errors
/// When `rustc` fails.
pub fn hello() -> Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols"]);
    rustc.args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static"]);
    compiled("hello", "hello.rs", rustc)
}

/// A kernel that is its own only program; what it does stands at its source.
///
/// # Errors
/// When `gcc` fails.
pub fn kernel() -> Result<PathBuf> {
    let mut gcc = Command::new("gcc");
    gcc.args(["-m32", "-march=i686", "-Os", "-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-no-pie"]);
    gcc.args(["-fno-stack-protector", "-fcf-protection=none", "-fno-asynchronous-unwind-tables"]);
    gcc.args(["-fno-toplevel-reorder", "-Wl,-Ttext=0x100000,--build-id=none"]);
    compiled("kernel", "kernel.c", gcc)
}

/// A program of this crate, compiled when its source is newer than it.
fn compiled(name: &str, source: &str, mut compiler: Command) -> Result<PathBuf> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(source);
    let folder = target().join("testkit");
    let program = folder.join(name);
    let newer = |a: &Path, b: &Path| -> Result<bool> {
        Ok(a.metadata()?.modified()?
            > b.metadata().and_then(|m| m.modified()).unwrap_or(std::time::UNIX_EPOCH))
    };
    if !newer(&source, &program)? {
        return Ok(program);
    }
    std::fs::create_dir_all(&folder)?;
    // Several test programs may get here at once: each compiles its own, and the rename is atomic.
    let made = folder.join(format!("{name}.{}", std::process::id()));
    let output = compiler.arg("-o").arg(&made).arg(&source).output();
    let output = output.with_context(|| format!("starting {compiler:?}"))?;
    if !output.status.success() {
        bail!("compiling {}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    }
    std::fs::rename(&made, &program)?;
    Ok(program)
}

/// Debian's static busybox, for images that need a shell.
///
/// # Errors
/// When it is not installed.
pub fn busybox() -> Result<PathBuf> {
    let path = PathBuf::from("/bin/busybox");
    if !path.is_file() {
        bail!("/bin/busybox is not there: apt-get install busybox-static");
    }
    Ok(path)
}
