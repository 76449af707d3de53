//! Container images made by hand: a tar file, a little JSON, no daemon and no registry.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

/// An image with one layer, in the form that `docker save` writes.
#[derive(Debug, Default)]
pub struct ImageBuilder {
    files: Vec<(String, PathBuf)>,
    texts: Vec<(String, String)>,
    links: Vec<(String, String)>,
    entrypoint: Vec<String>,
    env: Vec<String>,
    user: String,
    /// Another than this machine's.
    architecture: Option<String>,
}

impl ImageBuilder {
    /// An empty image.
    pub fn new() -> Self {
        Self::default()
    }

    /// The image of the payload program: `/hello` and nothing else.
    ///
    /// # Errors
    /// When the program cannot be compiled.
    pub fn hello() -> Result<Self> {
        Ok(Self::new().file("hello", &crate::program::hello()?).entrypoint(&["/hello"]))
    }

    /// The image of the payload program as a WebAssembly component: `/hello.wasm` and nothing else.
    ///
    /// # Errors
    /// When the program cannot be compiled.
    pub fn hello_component() -> Result<Self> {
        let program = crate::program::hello_component()?;
        Ok(Self::new().file("hello.wasm", &program).entrypoint(&["/hello.wasm"]).architecture("wasm"))
    }

    /// The image of a component that serves `wasi:http`: `/http.wasm` and nothing else.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn http_component() -> Result<Self> {
        let program = crate::program::http_component()?;
        Ok(Self::new().file("http.wasm", &program).entrypoint(&["/http.wasm"]).architecture("wasm"))
    }

    /// An image with a shell, the usual commands, and `/hello`.
    ///
    /// # Errors
    /// When busybox is missing or the program cannot be compiled.
    pub fn busybox() -> Result<Self> {
        let mut image = Self::new()
            .file("bin/busybox", &crate::program::busybox()?)
            .file("hello", &crate::program::hello()?)
            .text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
            .text("etc/group", "root:x:0:\nnogroup:x:65534:\n");
        for name in [
            "sh", "cat", "echo", "ls", "sleep", "env", "id", "mount", "ps", "wget", "nc", "ip", "hostname",
            "true", "false", "kill", "grep", "stat", "dd", "touch", "rm", "mkdir", "tr", "wc", "head",
            "tail", "date", "test", "printf", "seq", "nslookup", "ping", "df", "tty", "stty", "mknod",
        ] {
            image = image.link(&format!("bin/{name}"), "busybox");
        }
        Ok(image.entrypoint(&["/bin/sh"]))
    }

    /// Says for which architecture it is, in Go's words, if not for this machine's.
    pub fn architecture(mut self, name: &str) -> Self {
        self.architecture = Some(name.to_owned());
        self
    }

    /// An image with every command of busybox, for suites of runtimes.
    ///
    /// # Errors
    /// When busybox is missing or does not tell what it has.
    pub fn whole_busybox() -> Result<Self> {
        let busybox = crate::program::busybox()?;
        let list = std::process::Command::new(&busybox).arg("--list").output().context("busybox --list")?;
        let mut image = Self::new()
            .file("bin/busybox", &busybox)
            .text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001::/tmp:/bin/sh\n")
            .text("etc/group", "root:x:0:\nuser:x:1001:\n");
        for name in String::from_utf8(list.stdout)?.lines().filter(|name| *name != "busybox") {
            image = image.link(&format!("bin/{name}"), "busybox");
        }
        Ok(image.entrypoint(&["/bin/sh"]))
    }

    /// Adds a file from the host, executable.
    pub fn file(mut self, path: &str, from: &Path) -> Self {
        self.files.push((path.to_owned(), from.to_owned()));
        self
    }

    /// Adds a small text file.
    pub fn text(mut self, path: &str, text: &str) -> Self {
        self.texts.push((path.to_owned(), text.to_owned()));
        self
    }

    /// Adds a symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.links.push((path.to_owned(), target.to_owned()));
        self
    }

    /// Sets the entry point.
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(|w| (*w).to_owned()).collect();
        self
    }

    /// Adds an environment variable, `NAME=value`.
    pub fn env(mut self, setting: &str) -> Self {
        self.env.push(setting.to_owned());
        self
    }

    /// Sets the user, as an image names one.
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut folders = std::collections::BTreeSet::new();
        let paths = self.files.iter().map(|f| &f.0).chain(self.texts.iter().map(|t| &t.0));
        for path in paths.chain(self.links.iter().map(|l| &l.0)) {
            folders.extend(Path::new(path).ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()));
        }
        let header = |kind: tar::EntryType, mode: u32, size: usize| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(size as u64);
            header.set_mtime(1);
            header
        };
        for (name, mode) in [("tmp", 0o1777), ("proc", 0o755), ("sys", 0o755), ("dev", 0o755)] {
            tar.append_data(&mut header(tar::EntryType::Directory, mode, 0), name, &[][..])?;
        }
        for folder in folders {
            tar.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), folder, &[][..])?;
        }
        for (path, from) in &self.files {
            let bytes = std::fs::read(from).with_context(|| from.display().to_string())?;
            tar.append_data(&mut header(tar::EntryType::Regular, 0o755, bytes.len()), path, &bytes[..])?;
        }
        for (path, text) in &self.texts {
            tar.append_data(&mut header(tar::EntryType::Regular, 0o644, text.len()), path, text.as_bytes())?;
        }
        for (path, target) in &self.links {
            tar.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), path, target)?;
        }
        Ok(tar.into_inner()?)
    }

    /// Writes the image as a docker-archive named `reference`.
    ///
    /// # Errors
    /// When a file cannot be read or the archive not be written.
    pub fn write_docker_archive(&self, reference: &str, to: &Path) -> Result<()> {
        let layer = self.layer()?;
        let own = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let architecture = self.architecture.as_deref().unwrap_or(own);
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Entrypoint": self.entrypoint, "Env": self.env, "User": self.user, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
            "history": [{"created_by": "by hand"}],
        })
        .to_string();
        let name = format!("{}.json", hex(config.as_bytes()));
        let manifest =
            json!([{"Config": name, "RepoTags": [reference], "Layers": ["layer.tar"]}]).to_string();
        let mut tar = tar::Builder::new(File::create(to).with_context(|| to.display().to_string())?);
        for (path, bytes) in [
            (name.as_str(), config.as_bytes()),
            ("layer.tar", &layer[..]),
            ("manifest.json", manifest.as_bytes()),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes)?;
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
