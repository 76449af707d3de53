//! The last steps inside the container: find the command, install the filter, execute.
//!
//! Runs in the new process, after libcontainer has changed its root, user and capabilities. What goes wrong is written
//! to a pipe that closes by itself when the program is executed, so that the reader learns exactly one of both.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use dunlin_shim::message::Failure;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::fs::{Access, AtFlags, CWD};

use super::{Failed, seccomp, wasm};
use crate::bundle::Bundle;
use crate::plan::config::DEFAULT_PATH;

/// Executes a container's command and tells precisely why it could not.
#[derive(Clone)]
pub struct Command {
    report: RawFd,
    filter: Option<seccomp::Filter>,
    drop_sys_admin: bool,
    /// What runs instead of a program of the image. Clones of an executor share it, and one of them takes it.
    guest: Option<Arc<Mutex<Option<wasm::Program>>>>,
}

impl Command {
    /// `report` is the pipe's write end, closed on execution.
    pub fn new(bundle: &Bundle, report: RawFd) -> Self {
        let filter = bundle.seccomp.then(|| seccomp::default_filter(&bundle.capabilities)).flatten();
        Self { report, filter, drop_sys_admin: bundle.drop_sys_admin, guest: None }
    }

    /// The same, with a WebAssembly guest instead of a program of the image.
    pub fn with_guest(self, program: Option<wasm::Program>) -> Self {
        Self { guest: program.map(|program| Arc::new(Mutex::new(Some(program)))), ..self }
    }

    /// Writes why there is no process into the pipe.
    pub fn tell(&self, failed: &Failed) {
        // SAFETY: the descriptor stays open until this process executes or ends.
        tell(unsafe { BorrowedFd::borrow_raw(self.report) }, failed);
    }
}

/// Writes a failure into the pipe that [`told`] is read from.
pub fn tell(pipe: impl AsFd, failed: &Failed) {
    let mut bytes = vec![failed.failure as u8];
    bytes.extend_from_slice(&failed.text.as_bytes()[..failed.text.len().min(3000)]);
    let _ = rustix::io::write(pipe, &bytes);
}

/// Reads what a [`Command`] told. `None`: it was executed.
pub fn told(bytes: &[u8]) -> Option<Failed> {
    let (kind, text) = bytes.split_first()?;
    let failure = match *kind {
        kind if kind == Failure::Command as u8 => Failure::Command,
        kind if kind == Failure::Spec as u8 => Failure::Spec,
        _ => Failure::Create,
    };
    Some(Failed { failure, text: String::from_utf8_lossy(text).into_owned() })
}

impl Executor for Command {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        if self.guest.is_some() {
            return Ok(());
        }
        match find(spec) {
            Ok(_) => Ok(()),
            Err(failed) => {
                self.tell(&failed);
                Err(ExecutorValidationError::ArgValidationError(failed.text))
            }
        }
    }

    /// The environment is given to `execve`, in its order; this process needs none of it.
    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let failed = self.execute(spec);
        self.tell(&failed);
        Err(ExecutorError::Other(failed.text))
    }
}

impl Command {
    /// Returns only with the reason why the program does not run.
    pub fn execute(&self, spec: &Spec) -> Failed {
        if let Some(guest) = &self.guest {
            let program = guest.lock().unwrap_or_else(PoisonError::into_inner).take();
            return match program {
                Some(program) => wasm::run(program, self, spec),
                None => Failed::create("running the module", "it runs already"),
            };
        }
        let path = match find(spec) {
            Ok(path) => path,
            Err(failed) => return failed,
        };
        let process = spec.process().as_ref();
        let args = process.and_then(|p| p.args().as_ref()).map_or(&[][..], Vec::as_slice);
        let env = process.and_then(|p| p.env().as_ref()).map_or(&[][..], Vec::as_slice);
        let strings =
            |list: &[String]| list.iter().map(|s| CString::new(s.as_bytes())).collect::<Result<Vec<_>, _>>();
        let (Ok(args), Ok(env), Ok(program)) = (strings(args), strings(env), CString::new(path.as_bytes()))
        else {
            return Failed {
                failure: Failure::Command,
                text: "a NUL byte in the command or the environment".into(),
            };
        };
        let pointers =
            |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
        let (argv, envp) = (pointers(&args), pointers(&env));
        // Rust ignores SIGPIPE, and what is ignored stays so over an execution; programs expect it to end them.
        dunlin_shim::sys::default_signals();
        if let Err(failed) = self.last_steps() {
            return failed;
        }
        // SAFETY: program, argv and envp are NUL-terminated and alive; argv and envp end with a null pointer.
        unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        let error = io::Error::last_os_error();
        let reason = match error.raw_os_error() {
            // The file is there: find() has seen it. What is missing is what it needs.
            Some(libc::ENOENT) => "its interpreter or dynamic linker is not in the image".to_owned(),
            Some(libc::ENOEXEC) => {
                "exec format error (another architecture, or a script without #!)".to_owned()
            }
            Some(libc::EACCES) => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        Failed { failure: Failure::Command, text: reason }
    }

    /// What is done when nothing but the program is to come.
    pub fn last_steps(&self) -> Result<(), Failed> {
        if let Some(filter) = &self.filter {
            filter.install().map_err(|e| Failed::create("installing the seccomp filter", e))?;
        }
        if self.drop_sys_admin {
            drop_sys_admin().map_err(|e| Failed::create("giving up CAP_SYS_ADMIN", e))?;
        }
        Ok(())
    }
}

/// The command's path. A name without a slash is looked for in the container's `PATH`.
fn find(spec: &Spec) -> Result<String, Failed> {
    let wrong = |text: &str| Failed { failure: Failure::Command, text: text.to_owned() };
    let process = spec.process().as_ref();
    let name = process.and_then(|p| p.args().as_ref()).and_then(|a| a.first());
    let name = name.ok_or_else(|| wrong("the command is empty"))?;
    let env = process.and_then(|p| p.env().as_ref()).map_or(&[][..], Vec::as_slice);
    let path = env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let candidates: Vec<String> = if name.contains('/') {
        vec![name.clone()]
    } else {
        path.split(':').map(|dir| format!("{}/{name}", if dir.is_empty() { "." } else { dir })).collect()
    };
    let mut denied = false;
    for candidate in candidates {
        let Ok(stat) = rustix::fs::stat(&candidate) else { continue };
        let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        if !directory && rustix::fs::accessat(CWD, &candidate, Access::EXEC_OK, AtFlags::EACCESS).is_ok() {
            return Ok(candidate);
        }
        denied = true;
    }
    Err(wrong(match (denied, name.contains('/')) {
        (true, _) => "permission denied",
        (false, true) => "no such file or directory in the image",
        (false, false) => "executable file not found in $PATH",
    }))
}

fn drop_sys_admin() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None)?;
    sets.effective.remove(CapabilitySet::SYS_ADMIN);
    sets.permitted.remove(CapabilitySet::SYS_ADMIN);
    Ok(set_capabilities(None, sets)?)
}
