//! The file of the log: it is set aside when it is full, under a name with the time, and old ones are removed.
//!
//! A line is written whole or not at all: what a full disk has taken of it is cut off again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The time in the name of a file that was set aside.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S.%3f";
const DAY: Duration = Duration::from_secs(86_400);

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of one file, bytes.
    pub size: u64,
    /// How many files that were set aside; all if zero.
    pub backups: usize,
    /// For how many days; for ever if zero.
    pub days: u32,
}

/// Where lines go.
#[derive(Debug)]
pub enum Sink {
    Output,
    File(Rotating),
}

#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    bounds: Bounds,
    file: File,
    size: u64,
    /// The time in the name of the file that was set aside last. Names follow each other as their files do.
    last: Option<Timestamp>,
}

impl Sink {
    /// Opens a file, or the standard output if it is `-`.
    pub fn open(path: &Path, bounds: Bounds) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Output);
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let (file, size) = append(path)?;
        let rotating = Rotating { path: path.to_owned(), bounds, file, size, last: None };
        rotating.prune(Timestamp::now());
        Ok(Self::File(rotating))
    }

    /// Writes whole lines.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Output => io::stdout().lock().write_all(lines),
            Self::File(rotating) => rotating.write(lines),
        }
    }

    /// How much more fits before a file is set aside.
    pub fn room(&self) -> usize {
        match self {
            Self::Output => usize::MAX,
            Self::File(r) => usize::try_from(r.bounds.size.saturating_sub(r.size)).unwrap_or(usize::MAX),
        }
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

impl Rotating {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let more = lines.len() as u64;
        if self.size > 0 && self.size + more > self.bounds.size {
            self.rotate(Timestamp::now())?;
        }
        if let Err(error) = self.file.write_all(lines) {
            let _ = self.file.set_len(self.size);
            return Err(error);
        }
        self.size += more;
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let step = Duration::from_millis(1);
        let mut at = self.last.map_or(now, |last| now.max(last + step));
        // A clock that was set back must not make us write over what is there.
        while self.aside(at).exists() {
            at += step;
        }
        self.last = Some(at);
        std::fs::rename(&self.path, self.aside(at))?;
        (self.file, self.size) = append(&self.path)?;
        self.prune(now);
        Ok(())
    }

    /// `audit-2026-01-02T03-04-05.678.log` for `audit.log`.
    fn aside(&self, time: Timestamp) -> PathBuf {
        let (start, end) = self.name();
        self.path.with_file_name(format!("{start}{}{end}", time.strftime(STAMP)))
    }

    /// What stands before and after the time in the names of files that were set aside.
    fn name(&self) -> (String, String) {
        let own = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let end = own(self.path.extension());
        let end = if end.is_empty() { end } else { format!(".{end}") };
        (format!("{}-", own(self.path.file_stem())), end)
    }

    /// Removes what is too old or too much. What cannot be removed is left for the next time.
    fn prune(&self, now: Timestamp) {
        let folder = self.path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (start, end) = self.name();
        let mut kept: Vec<(Timestamp, PathBuf)> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let time = name.strip_prefix(&start)?.strip_suffix(&end)?;
                let time = DateTime::strptime(STAMP, time).ok()?.to_zoned(TimeZone::UTC).ok()?;
                Some((time.timestamp(), entry.path()))
            })
            .collect();
        kept.sort();
        kept.reverse();
        for (i, (time, path)) in kept.iter().enumerate() {
            let many = self.bounds.backups > 0 && i >= self.bounds.backups;
            let old = self.bounds.days > 0
                && now.duration_since(*time).unsigned_abs() > DAY * self.bounds.days
                && *time < now;
            if (many || old)
                && let Err(error) = std::fs::remove_file(path)
            {
                tracing::warn!(path = %path.display(), %error, "an old audit log cannot be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn full_files_are_set_aside_and_the_oldest_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/audit.log");
        let mut sink = Sink::open(&path, Bounds { size: 10, backups: 2, days: 0 }).unwrap();
        for line in ["first\n", "second\n", "third\n", "4\n", "fifth\n", "more than fits in one\n"] {
            sink.write(line.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(path.with_file_name(name)).unwrap();
        let names = files(path.parent().unwrap());
        assert_eq!(names.len(), 3, "{names:?}");
        let texts: Vec<String> = names.iter().map(|name| read(name)).collect();
        assert_eq!(texts, ["third\n4\n", "fifth\n", "more than fits in one\n"]);
        drop(sink);
        // Another start goes on where the last one ended.
        let mut sink = Sink::open(&path, Bounds { size: 100, backups: 2, days: 0 }).unwrap();
        sink.write(b"end\n").unwrap();
        assert_eq!(read("audit.log"), "more than fits in one\nend\n");
    }

    #[test]
    fn old_files_are_removed_and_others_are_let_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for name in
            ["audit-2020-01-01T00-00-00.000.log", "audit-old.log", "other-2020-01-01T00-00-00.000.log"]
        {
            std::fs::write(path.with_file_name(name), "x").unwrap();
        }
        Sink::open(&path, Bounds { size: 10, backups: 0, days: 30 }).unwrap();
        assert_eq!(files(folder.path()), ["audit-old.log", "audit.log", "other-2020-01-01T00-00-00.000.log"]);
    }
}
