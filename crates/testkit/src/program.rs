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
    rustc("hello", &["-C", "target-feature=+crt-static", "-C", "relocation-model=static"])
}

/// The same as a WebAssembly module of WASI preview 1, which has no sockets.
///
/// # Errors
/// When `rustc` fails, or lacks the target.
pub fn hello_module() -> Result<PathBuf> {
    rustc("hello-module.wasm", &["--target", "wasm32-wasip1"])
}

/// The same as a component of WASI 0.2.
///
/// # Errors
/// When `rustc` fails, or lacks the target.
pub fn hello_component() -> Result<PathBuf> {
    rustc("hello-component.wasm", &["--target", "wasm32-wasip2"])
}

/// `hello` under a name of its own.
fn rustc(name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols"]);
    rustc.args(arguments);
    compiled(name, "hello.rs", rustc)
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
    let (folder, program) = place(name)?;
    if !newer(&source, &program)? {
        return Ok(program);
    }
    // Several test programs may get here at once: each compiles its own, and the rename is atomic.
    let made = folder.join(format!("{name}.{}", std::process::id()));
    run(compiler.arg("-o").arg(&made).arg(&source))?;
    std::fs::rename(&made, &program)?;
    Ok(program)
}

/// A component that serves `wasi:http`, compiled by cargo when its source is newer than it.
///
/// # Errors
/// When it cannot be compiled.
pub fn http_component() -> Result<PathBuf> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/http");
    let (folder, program) = place("http-component.wasm")?;
    if !newer(&source.join("src/lib.rs"), &program)? {
        return Ok(program);
    }
    let target = folder.join("http");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--target", "wasm32-wasip2", "--manifest-path"]);
    cargo.arg(source.join("Cargo.toml")).arg("--target-dir").arg(&target);
    // What this process was built with is not for a guest.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    run(&mut cargo)?;
    let made = folder.join(format!("http-component.wasm.{}", std::process::id()));
    std::fs::copy(target.join("wasm32-wasip2/release/http.wasm"), &made)?;
    std::fs::rename(&made, &program)?;
    Ok(program)
}

/// The folder of the payload programs, and one of them.
fn place(name: &str) -> Result<(PathBuf, PathBuf)> {
    let folder = target().join("testkit");
    std::fs::create_dir_all(&folder)?;
    let program = folder.join(name);
    Ok((folder, program))
}

fn newer(a: &Path, b: &Path) -> Result<bool> {
    let made = b.metadata().and_then(|m| m.modified()).unwrap_or(std::time::UNIX_EPOCH);
    Ok(a.metadata()?.modified()? > made)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
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
