//! The exit record: how a container's first process ended, as a small text file that outlives the shim.
//!
//! Text, so that a person with `cat` can read it; one line, so that it is either whole or not there.

use crate::wire::{Error, Reader, Writer};

/// How a process ended. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExitRecord {
    /// Exit code; 128 + signal for a process that a signal ended.
    pub code: i32,
    /// The signal that ended it; 0 for none.
    pub signal: i32,
    /// The kernel killed something in the container's cgroup for want of memory.
    pub oom: bool,
    /// When it had started.
    pub started: u64,
    /// When it was found to have ended.
    pub finished: u64,
}

impl ExitRecord {
    /// The file's content.
    pub fn to_text(&self) -> String {
        format!(
            "code={} signal={} oom={} started={} finished={}\n",
            self.code,
            self.signal,
            u8::from(self.oom),
            self.started,
            self.finished
        )
    }

    /// Reads the file's content; `None` if it is not a record. Unknown words are left alone.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut record = Self::default();
        let mut seen = 0;
        for word in text.strip_suffix('\n')?.split(' ') {
            let (name, value) = word.split_once('=')?;
            match name {
                "code" => record.code = value.parse().ok()?,
                "signal" => record.signal = value.parse().ok()?,
                "oom" => record.oom = value == "1",
                "started" => record.started = value.parse().ok()?,
                "finished" => record.finished = value.parse().ok()?,
                _ => continue,
            }
            seen += 1;
        }
        (seen == 5).then_some(record)
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.i32(self.code);
        w.i32(self.signal);
        w.bool(self.oom);
        w.u64(self.started);
        w.u64(self.finished);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { code: r.i32()?, signal: r.i32()?, oom: r.bool()?, started: r.u64()?, finished: r.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        let record = ExitRecord { code: 137, signal: 9, oom: true, started: 12, finished: u64::MAX };
        assert_eq!(ExitRecord::from_text(&record.to_text()), Some(record));
    }

    #[test]
    fn a_torn_record_is_none() {
        let text = ExitRecord { code: 1, ..Default::default() }.to_text();
        for end in 0..text.len() {
            assert_eq!(ExitRecord::from_text(&text[..end]), None, "{end}");
        }
    }
}
