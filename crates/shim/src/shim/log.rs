//! A container's log file: appended to in batches, rotated by size, never waited for.
//!
//! A full disk loses lines and nothing else: a container must not stop because its log cannot be written.

use std::fs::File;
use std::io::Write;

use dunlin_shim::crilog::{Lines, stamp};

use crate::sys;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    fn name(self) -> &'static [u8] {
        match self {
            Stream::Out => b"stdout",
            Stream::Err => b"stderr",
        }
    }
}

/// The log of one container.
pub struct Log {
    path: String,
    file: Option<File>,
    size: u64,
    max_size: u64,
    max_files: u32,
    out: Lines,
    err: Lines,
}

impl Log {
    /// Opens the file, appending to what a former attempt left.
    pub fn open(path: &str, max_size: u64, max_files: u32) -> std::io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata().map(|m| m.len()).unwrap_or(0);
        let (out, err) = (Lines::default(), Lines::default());
        Ok(Self { path: path.to_owned(), file: Some(file), size, max_size, max_files, out, err })
    }

    /// Takes what the container wrote.
    pub fn write(&mut self, stream: Stream, data: &[u8]) {
        // The batch is freed after each write: an idle shim holds no buffer.
        let mut batch = Vec::with_capacity(data.len() + 256);
        let lines = if stream == Stream::Out { &mut self.out } else { &mut self.err };
        lines.feed(data, &stamp(sys::now()), stream.name(), &mut batch);
        self.put(&batch);
    }

    /// A stream has ended: its unfinished line is written.
    pub fn finish(&mut self, stream: Stream) {
        let mut batch = Vec::new();
        let lines = if stream == Stream::Out { &mut self.out } else { &mut self.err };
        lines.finish(&stamp(sys::now()), stream.name(), &mut batch);
        self.put(&batch);
    }

    /// Writes whole lines, as many to each file as its size allows, but at least one.
    fn put(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let room = self.max_size.saturating_sub(self.size);
            let mut now = lines.len();
            if self.max_size > 0 && lines.len() as u64 > room {
                now = last_line_end(&lines[..room as usize]);
                if now == 0 && self.size > 0 {
                    self.rotate();
                    continue;
                }
                if now == 0 {
                    now = lines.iter().position(|b| *b == b'\n').map_or(lines.len(), |n| n + 1);
                }
            }
            self.append(&lines[..now]);
            lines = &lines[now..];
        }
    }

    fn append(&mut self, lines: &[u8]) {
        if self.file.is_none() {
            self.file = append(&self.path).ok();
        }
        // What cannot be written is lost, but counted, so that the next lines go on.
        self.size += lines.len() as u64;
        if let Some(file) = &mut self.file
            && file.write_all(lines).is_err()
        {
            self.size = file.metadata().map(|m| m.len()).unwrap_or(self.size);
        }
    }

    /// `log.<n-1>` becomes `log.<n>`, the oldest goes, `log` becomes `log.1`.
    fn rotate(&mut self) {
        self.file = None;
        if self.max_files == 0 {
            let _ = std::fs::remove_file(&self.path);
        } else {
            for n in (1..self.max_files).rev() {
                let _ = std::fs::rename(format!("{}.{n}", self.path), format!("{}.{}", self.path, n + 1));
            }
            let _ = std::fs::rename(&self.path, format!("{}.1", self.path));
        }
        self.size = 0;
    }
}

fn last_line_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1)
}

fn append(path: &str) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().create(true).append(true).mode(0o640).open(path)
}
