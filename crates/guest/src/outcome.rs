//! Telling who started this program what became of it: on a descriptor that closes when the guest's process runs.

use std::os::fd::{FromRawFd, OwnedFd};

use dunlin_guest::OUTCOME_FD;
use dunlin_shim::message::Failure;

use crate::sys;

/// The descriptor, until something was told.
pub struct Outcome(Option<OwnedFd>);

impl Outcome {
    /// Takes the descriptor; call it first, and once.
    pub fn take() -> Self {
        if sys::inherited(OUTCOME_FD, false).is_err() {
            // Started by hand: nobody wants to know.
            return Self(None);
        }
        // SAFETY: it is open, and whoever started this program left it to it alone.
        Self(Some(unsafe { OwnedFd::from_raw_fd(OUTCOME_FD) }))
    }

    /// Whether nothing was told yet.
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// The guest's process runs.
    pub fn started(&mut self) {
        self.0 = None;
    }

    /// It does not, and this program ends.
    pub fn failed(self, failure: Failure, text: &str) -> ! {
        let mut bytes = vec![failure as u8];
        bytes.extend_from_slice(text.as_bytes());
        bytes.truncate(3000);
        if let Some(fd) = self.0 {
            use std::os::fd::AsRawFd;
            let _ = sys::write(fd.as_raw_fd(), &bytes);
        }
        std::process::exit(1)
    }
}
