//! Receiving the master of a terminal that libcontainer opened inside the container.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::Failed;

/// The socket to which libcontainer will send the master.
pub struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// Listens in `directory`. Its path may be longer than a socket's may be, so it is bound from inside.
    pub fn listen(directory: &Path) -> Result<Self, Failed> {
        let name = format!("console-{}.sock", std::process::id());
        let failed = |error| Failed::create("listening for the terminal", error);
        std::env::set_current_dir(directory).map_err(failed)?;
        let listener = UnixListener::bind(&name).map_err(failed)?;
        std::env::set_current_dir("/").map_err(failed)?;
        Ok(Self { listener, path: directory.join(name) })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the master, which has been sent when the container is built.
    pub fn receive(self) -> Result<OwnedFd, Failed> {
        let failed = |error| Failed::create("receiving the terminal", error);
        let (stream, _) = self.listener.accept().map_err(failed)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0u8; 64];
        let mut part = [std::io::IoSliceMut::new(&mut bytes)];
        recvmsg(&stream, &mut part, &mut ancillary, RecvFlags::CMSG_CLOEXEC).map_err(|e| failed(e.into()))?;
        let master = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        master.ok_or_else(|| failed(std::io::Error::other("no descriptor came")))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
