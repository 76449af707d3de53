//! The messages between monitor, agent and clients, as frames of [`dunlin_shim::wire`].
//!
//! A frame's id is the process it speaks of: 0 is the machine's first one, the others are execs, numbered by the monitor.
//! A client knows one process only and calls it 0. A guest is not trusted: what it sends is bounded here and by the
//! [`WINDOW`].

use dunlin_shim::message::Failure;
use dunlin_shim::wire::{Error, MAX_FRAME, Reader, Writer, put_frame};

/// The most bytes of a process's output, and of its input, that are on their way and not yet taken by whoever reads them.
/// One process that is not read from holds up nobody else thereby.
pub const WINDOW: usize = 128 * 1024;
/// One piece of a stream.
pub const PIECE: usize = 16 * 1024;
/// Texts in a list: as many arguments and variables as fit into a frame anyhow.
const MOST: usize = MAX_FRAME / 4;

/// How the guest reaches the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Network {
    /// Its address.
    pub address: [u8; 4],
    /// Network mask.
    pub mask: [u8; 4],
    /// Default route; zero for none.
    pub gateway: [u8; 4],
    /// Greatest packet.
    pub mtu: u32,
}

/// A process of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// The command with its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`, in order.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capabilities kept, a bit each.
    pub capabilities: u64,
    /// Forbid gaining privileges.
    pub no_new_privileges: bool,
    /// Give it a terminal.
    pub tty: bool,
}

/// What the agent makes of the guest before its first process runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Setup {
    /// Host name.
    pub hostname: String,
    /// Nanoseconds since 1970: the guest's clock starts with it.
    pub now: u64,
    /// Network; none without one.
    pub network: Option<Network>,
    /// Files and folders of the root file system that the guest's own `/dev` must not hide.
    pub kept: Vec<String>,
    /// Paths that no process may look into.
    pub masked: Vec<String>,
    /// Paths that no process may write.
    pub read_only: Vec<String>,
    /// Kernel settings, `PATH=VALUE` below `/proc/sys`.
    pub settings: Vec<String>,
    /// Memory of all processes, bytes.
    pub memory: u64,
    /// Greatest number of processes; 0 for no limit.
    pub pids: u64,
    /// Want of memory ends all processes, not one.
    pub end_together: bool,
    /// The first process.
    pub process: Process,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// To the agent: get ready and run the first process.
    Begin(Box<Setup>),
    /// To the agent: run one more process where and as whom the first one runs.
    Exec {
        /// The command.
        args: Vec<String>,
        /// Give it a terminal.
        tty: bool,
    },
    /// To a process: standard input.
    Input(Vec<u8>),
    /// To a process: no more input.
    EndInput,
    /// To a process: the terminal's size.
    Resize {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// To a process: a signal; an exec's goes to all of its group.
    Signal(i32),
    /// From the agent: it listens.
    Ready,
    /// From a process: it was executed.
    Started,
    /// From a process: it could not be.
    Failed {
        /// What kind of failure.
        failure: Failure,
        /// In words.
        text: String,
    },
    /// From a process: standard output, or what a terminal shows.
    Out(Vec<u8>),
    /// From a process: standard error.
    Err(Vec<u8>),
    /// From a process: it has ended, and all of its output has been sent.
    Exited {
        /// Exit code; 128 + signal for a signal.
        code: i32,
        /// The signal; 0 for none.
        signal: i32,
        /// The kernel killed something for want of memory.
        oom: bool,
    },
    /// Both ways: so many bytes of the stream that comes from the other side have gone on.
    Taken(u32),
}

impl Message {
    /// Appends the frame to `out`.
    pub fn put(&self, id: u32, out: &mut Vec<u8>) {
        let mut w = Writer::default();
        let kind = self.write(&mut w);
        put_frame(out, kind, id, &w.0);
    }

    fn write(&self, w: &mut Writer) -> u8 {
        match self {
            Message::Begin(setup) => {
                setup.write(w);
                1
            }
            Message::Exec { args, tty } => {
                texts(w, args);
                w.bool(*tty);
                2
            }
            Message::Input(bytes) => {
                w.0.extend_from_slice(bytes);
                3
            }
            Message::EndInput => 4,
            Message::Resize { width, height } => {
                w.u16(*width);
                w.u16(*height);
                5
            }
            Message::Signal(signal) => {
                w.i32(*signal);
                6
            }
            Message::Ready => 7,
            Message::Started => 8,
            Message::Failed { failure, text } => {
                w.u8(*failure as u8);
                w.text(text);
                9
            }
            Message::Out(bytes) => {
                w.0.extend_from_slice(bytes);
                10
            }
            Message::Err(bytes) => {
                w.0.extend_from_slice(bytes);
                11
            }
            Message::Exited { code, signal, oom } => {
                w.i32(*code);
                w.i32(*signal);
                w.bool(*oom);
                12
            }
            Message::Taken(bytes) => {
                w.u32(*bytes);
                13
            }
        }
    }

    /// Reads a message from its kind and fields.
    ///
    /// # Errors
    /// When they are none.
    pub fn read(kind: u8, payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader(payload);
        Ok(match kind {
            1 => Message::Begin(Box::new(Setup::read(&mut r)?)),
            2 => Message::Exec { args: r.list(MOST, Reader::text)?, tty: r.bool()? },
            3 => Message::Input(payload.to_vec()),
            4 => Message::EndInput,
            5 => Message::Resize { width: r.u16()?, height: r.u16()? },
            6 => Message::Signal(r.i32()?),
            7 => Message::Ready,
            8 => Message::Started,
            9 => Message::Failed { failure: Failure::from_u8(r.u8()?), text: r.text()? },
            10 => Message::Out(payload.to_vec()),
            11 => Message::Err(payload.to_vec()),
            12 => Message::Exited { code: r.i32()?, signal: r.i32()?, oom: r.bool()? },
            13 => Message::Taken(r.u32()?),
            kind => return Err(Error::Kind(kind)),
        })
    }
}

fn texts(w: &mut Writer, list: &[String]) {
    w.u32(list.len() as u32);
    list.iter().for_each(|text| w.text(text));
}

impl Setup {
    pub(crate) fn write(&self, w: &mut Writer) {
        w.text(&self.hostname);
        w.u64(self.now);
        w.bool(self.network.is_some());
        let network = self.network.unwrap_or_default();
        for address in [network.address, network.mask, network.gateway] {
            w.u32(u32::from_be_bytes(address));
        }
        w.u32(network.mtu);
        for list in [&self.kept, &self.masked, &self.read_only, &self.settings] {
            texts(w, list);
        }
        w.u64(self.memory);
        w.u64(self.pids);
        w.bool(self.end_together);
        let process = &self.process;
        texts(w, &process.args);
        texts(w, &process.env);
        w.text(&process.cwd);
        w.u32(process.uid);
        w.u32(process.gid);
        w.u32(process.groups.len() as u32);
        process.groups.iter().for_each(|gid| w.u32(*gid));
        w.u64(process.capabilities);
        w.bool(process.no_new_privileges);
        w.bool(process.tty);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let hostname = r.text()?;
        let now = r.u64()?;
        let connected = r.bool()?;
        let mut address = || r.u32().map(u32::to_be_bytes);
        let (own, mask, gateway) = (address()?, address()?, address()?);
        let network = Network { address: own, mask, gateway, mtu: r.u32()? };
        Ok(Self {
            hostname,
            now,
            network: connected.then_some(network),
            kept: r.list(MOST, Reader::text)?,
            masked: r.list(MOST, Reader::text)?,
            read_only: r.list(MOST, Reader::text)?,
            settings: r.list(MOST, Reader::text)?,
            memory: r.u64()?,
            pids: r.u64()?,
            end_together: r.bool()?,
            process: Process {
                args: r.list(MOST, Reader::text)?,
                env: r.list(MOST, Reader::text)?,
                cwd: r.text()?,
                uid: r.u32()?,
                gid: r.u32()?,
                groups: r.list(MOST, Reader::u32)?,
                capabilities: r.u64()?,
                no_new_privileges: r.bool()?,
                tty: r.bool()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_shim::wire::Decoder;

    fn all() -> Vec<Message> {
        let process = Process {
            args: vec!["sh".into(), "-c".into(), String::new()],
            env: vec!["A=b".into()],
            cwd: "/".into(),
            uid: 1,
            gid: 2,
            groups: vec![3, 4],
            capabilities: 1 << 40,
            no_new_privileges: true,
            tty: true,
        };
        let network =
            Network { address: [10, 1, 2, 3], mask: [255, 255, 0, 0], gateway: [10, 1, 0, 1], mtu: 1450 };
        let setup = Setup {
            hostname: "h".into(),
            now: 7,
            network: Some(network),
            kept: vec!["/dev/termination-log".into()],
            masked: vec!["/proc/kcore".into()],
            read_only: vec!["/proc/sys".into()],
            settings: vec!["net/core/somaxconn=9".into()],
            memory: 1 << 30,
            pids: 5,
            end_together: true,
            process,
        };
        vec![
            Message::Begin(Box::new(setup)),
            Message::Exec { args: vec!["ls".into()], tty: true },
            Message::Input(vec![1, 2]),
            Message::EndInput,
            Message::Resize { width: 80, height: 24 },
            Message::Signal(15),
            Message::Ready,
            Message::Started,
            Message::Failed { failure: Failure::Command, text: "no".into() },
            Message::Out(vec![3]),
            Message::Err(Vec::new()),
            Message::Exited { code: 137, signal: 9, oom: true },
            Message::Taken(99),
        ]
    }

    #[test]
    fn every_message_survives() {
        let mut bytes = Vec::new();
        all().iter().enumerate().for_each(|(n, message)| message.put(n as u32, &mut bytes));
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        for (n, message) in all().into_iter().enumerate() {
            let frame = decoder.next_frame().unwrap().unwrap();
            assert_eq!((frame.id, Message::read(frame.kind, &frame.payload)), (n as u32, Ok(message)));
        }
    }

    #[test]
    fn cut_off_messages_are_refused() {
        for message in all() {
            let mut w = Writer::default();
            let kind = message.write(&mut w);
            let stream = matches!(message, Message::Input(_) | Message::Out(_) | Message::Err(_));
            for end in 0..w.0.len() {
                assert!(stream || Message::read(kind, &w.0[..end]).is_err(), "{message:?} to {end}");
            }
        }
        assert!(Message::read(200, &[]).is_err());
    }
}
