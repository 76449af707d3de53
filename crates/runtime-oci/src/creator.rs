//! The hidden subcommands that make containers and join them, in a process without threads.
//!
//! `__create-container <bundle>` is executed by a shim, `__exec-container <bundle>` by the runtime (and `__probe-wasm`, which
//! only says whether WebAssembly runs here, and by a creator `__wasm-host <directory>`, which runs the guests of a tenant). Both find the new
//! process's streams on descriptors 0 to 2 and their control socket on 3, report there what became of it, and never
//! print anything: what they would print would land in the container's log. libcontainer clones and then runs
//! allocating code in the child, so this must run before any thread exists; [`main_if_asked`] is the first line of
//! `main`.

mod create;
mod exec;
mod executor;
mod microvm;
mod native;
mod overlay;
mod seccomp;
mod terminal;
#[cfg(feature = "wasm")]
mod wasm;
#[cfg(not(feature = "wasm"))]
#[path = "creator/without_wasm.rs"]
mod wasm;

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use dunlin_shim::CONTROL_FD;
use dunlin_shim::message::{Failure, Report};
use libcontainer::oci_spec::runtime::Spec;

use crate::bundle::{self, Bundle};

/// The first argument of a program that is to make a container.
pub const CREATE: &str = "__create-container";
/// The first argument of a program that is to run one more process in a container.
pub const EXEC: &str = "__exec-container";

/// The first argument of a program that is to run the guests of a tenant; the second is a directory.
const HOST: &str = "__wasm-host";
/// The first argument of a program that is to find out whether WebAssembly runs here.
pub(crate) const PROBE: &str = "__probe-wasm";

/// Runs the creator if the arguments ask for it, and never returns then.
pub fn main_if_asked() {
    let args: Vec<String> =
        std::env::args_os().skip(1).take(2).map(|a| a.to_string_lossy().into_owned()).collect();
    if args.first().is_some_and(|first| first == PROBE) {
        let result = wasm::probe();
        if let Err(reason) = &result {
            eprint!("{reason}");
        }
        std::process::exit(i32::from(result.is_err()));
    }
    if let [first, directory] = args.as_slice()
        && first == HOST
    {
        std::process::exit(wasm::host(Path::new(directory)));
    }
    if args.first().is_some_and(|first| first == CREATE || first == EXEC) {
        main(&args);
    }
}

/// Runs the creator with the program's arguments (without its name): a subcommand and the bundle. Never returns.
pub fn main(args: &[String]) -> ! {
    let [command, bundle] = args else { std::process::exit(2) };
    // SAFETY: whoever starts a creator puts its control socket there, and nothing has opened a descriptor yet. If it was
    // started by hand, the first use of the socket fails.
    let control = unsafe { OwnedFd::from_raw_fd(CONTROL_FD) };
    if rustix::io::fcntl_setfd(&control, rustix::io::FdFlags::CLOEXEC).is_err() {
        std::process::exit(2);
    }
    let bundle = Path::new(bundle);
    let result = if command == CREATE {
        create::run(bundle, control.as_fd())
    } else {
        exec::run(bundle, control.as_fd())
    };
    if let Err(Failed { failure, text }) = &result {
        let _ = send(control.as_fd(), &Report::Failed { failure: *failure, text: text.clone() }, None);
    }
    std::process::exit(i32::from(result.is_err()))
}

/// The datagram by which `__exec-container` learns what to run.
pub(crate) fn exec_request(args: &[String], tty: bool) -> Vec<u8> {
    serde_json::to_vec(&exec::Request { args: args.to_vec(), tty }).expect("texts and a truth value are JSON")
}

/// Why there is no container.
#[derive(Debug, PartialEq)]
pub struct Failed {
    failure: Failure,
    text: String,
}

impl Failed {
    fn create(what: &str, error: impl std::fmt::Display) -> Self {
        Self { failure: Failure::Create, text: format!("{what}: {error}") }
    }
}

/// Sends a report, with a descriptor beside it if there is one.
fn send(
    control: BorrowedFd<'_>,
    report: &Report,
    descriptor: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.unwrap_or(control)];
    if descriptor.is_some() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let bytes = report.encode();
    sendmsg(control, &[std::io::IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// What both subcommands do to themselves first, for the process they make inherits it.
fn prepare(bundle: &Bundle) {
    // Lowering needs CAP_SYS_RESOURCE; without it the process is as likely to be chosen as its parent was.
    let _ = std::fs::File::options()
        .write(true)
        .open("/proc/self/oom_score_adj")
        .and_then(|mut file| file.write_all(bundle.oom_score_adj.to_string().as_bytes()));
    for fd in [std::io::stdin().as_raw_fd(), std::io::stdout().as_raw_fd(), std::io::stderr().as_raw_fd()] {
        // SAFETY: 0 to 2 are open for the life of this process.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        // A program that is not root opens /dev/stdout, which is these pipes.
        let pipe =
            rustix::fs::fstat(fd).is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode).is_fifo());
        if pipe {
            let (uid, gid) = (rustix::fs::Uid::from_raw(bundle.uid), rustix::fs::Gid::from_raw(bundle.gid));
            let _ = rustix::fs::fchown(fd, Some(uid), Some(gid));
        }
    }
}

/// The OCI configuration of a bundle.
fn spec(directory: &Path) -> Result<Spec, Failed> {
    Spec::load(directory.join(bundle::CONFIG))
        .map_err(|e| Failed::create("reading the configuration", reasons(&e)))
}

/// The reasons that libcontainer gives, from the outermost to the innermost, each once.
fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    dunlin_base::error::chain(error)
}
