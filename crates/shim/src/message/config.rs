//! What a shim sets up when it starts: read once from a file in the sandbox's directory.

use crate::wire::{Error, Reader, Writer};

/// A memory file system in the shim's mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Directory below the sandbox's directory; it exists.
    pub path: String,
    /// Mount options, `size=...,mode=...`.
    pub options: String,
}

/// The shim's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Own network namespace, with `lo` up.
    pub own_network: bool,
    /// Own IPC namespace.
    pub own_ipc: bool,
    /// Own UTS namespace with this host name; empty: the host's.
    pub hostname: String,
    /// Own PID namespace for all containers, with a process 1 that reaps.
    pub shared_pids: bool,
    /// Files below `/proc/sys` and what to write into them.
    pub sysctls: Vec<(String, String)>,
    /// Memory file systems to mount.
    pub tmpfs: Vec<Tmpfs>,
    /// `cgroup.procs` files into which the shim puts itself.
    pub cgroups: Vec<String>,
    /// `oom_score_adj` of the shim; best effort.
    pub oom_score_adj: i32,
}

impl Config {
    /// The file's content.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u16(crate::VERSION);
        w.bool(self.own_network);
        w.bool(self.own_ipc);
        w.text(&self.hostname);
        w.bool(self.shared_pids);
        w.u32(self.sysctls.len() as u32);
        for (name, value) in &self.sysctls {
            w.text(name);
            w.text(value);
        }
        w.u32(self.tmpfs.len() as u32);
        for tmpfs in &self.tmpfs {
            w.text(&tmpfs.path);
            w.text(&tmpfs.options);
        }
        w.u32(self.cgroups.len() as u32);
        for path in &self.cgroups {
            w.text(path);
        }
        w.i32(self.oom_score_adj);
        w.0
    }

    /// Reads the file's content.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader(bytes);
        if r.u16()? != crate::VERSION {
            return Err(Error::Value);
        }
        Ok(Self {
            own_network: r.bool()?,
            own_ipc: r.bool()?,
            hostname: r.text()?,
            shared_pids: r.bool()?,
            sysctls: r.list(1024, |r| Ok((r.text()?, r.text()?)))?,
            tmpfs: r.list(1024, |r| Ok(Tmpfs { path: r.text()?, options: r.text()? }))?,
            cgroups: r.list(64, Reader::text)?,
            oom_score_adj: r.i32()?,
        })
    }
}
