//! What the monitor is to run: read once from a file in the bundle.

use dunlin_shim::wire::{Error, Reader, Writer};

use crate::message::Setup;

/// The version of the file; written and read by programs of one build.
const VERSION: u16 = 1;
/// Arguments of a program.
const MOST: usize = 4096;

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// QEMU and its arguments. It finds its descriptors as [`crate::QEMU_FDS`] says.
    pub qemu: Vec<String>,
    /// The file system's server and its arguments; none for a machine without one. It accepts on [`crate::FS_FD`].
    pub files: Vec<String>,
    /// Connect it to the pod's network, if the pod has one.
    pub network: bool,
    /// The cgroup's file with a line `oom_kill <n>`.
    pub oom_file: String,
    /// The guest's console is the process's output, and QEMU's end its end: a guest that is no Linux of ours.
    pub console: bool,
    /// What becomes of the guest.
    pub setup: Setup,
}

impl Machine {
    /// The file's content.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u16(VERSION);
        for list in [&self.qemu, &self.files] {
            w.u32(list.len() as u32);
            list.iter().for_each(|text| w.text(text));
        }
        w.bool(self.network);
        w.text(&self.oom_file);
        w.bool(self.console);
        self.setup.write(&mut w);
        w.0
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader(bytes);
        if r.u16()? != VERSION {
            return Err(Error::Value);
        }
        Ok(Self {
            qemu: r.list(MOST, Reader::text)?,
            files: r.list(MOST, Reader::text)?,
            network: r.bool()?,
            oom_file: r.text()?,
            console: r.bool()?,
            setup: Setup::read(&mut r)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives() {
        let machine = Machine {
            qemu: vec!["qemu".into(), "-m".into(), "64".into()],
            files: vec!["virtiofsd".into()],
            network: true,
            oom_file: "/sys/fs/cgroup/x".into(),
            console: true,
            setup: Setup { hostname: "h".into(), ..Setup::default() },
        };
        let bytes = machine.encode();
        assert_eq!(Machine::decode(&bytes), Ok(machine));
        for end in 0..bytes.len() {
            assert!(Machine::decode(&bytes[..end]).is_err(), "{end}");
        }
    }
}
