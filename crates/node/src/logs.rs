//! Reading container logs: the CRI format, across rotated files, with a tail, a start time, a limit, and following.
//!
//! Files are read in small pieces; nothing holds a whole log in memory. The rotated file `<path>.1` is newer than
//! `<path>.2`. The end of a followed log is its container's end, told through a watch channel.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::backend::{LogOptions, WrittenTo};

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(150);
/// Output is handed on in pieces of about this size.
const PIECE: usize = 8 * 1024;

/// Sends the log at `path` to `out` until its end (with `follow`: until `ended` is true and all is read).
pub async fn stream(
    path: PathBuf,
    options: LogOptions,
    mut ended: watch::Receiver<bool>,
    out: mpsc::Sender<Bytes>,
) {
    let mut filter = Filter::new(&options);
    let files = files(&path);
    let start = options.tail_lines.map(|n| tail_start(&files, usize::try_from(n).unwrap_or(usize::MAX)));
    if options.tail_lines == Some(0) && !options.follow {
        return;
    }
    let (first, offset) = start.unwrap_or((0, 0));
    let mut current: Option<(BufReader<File>, u64)> = None;
    for (index, file) in files.iter().enumerate().skip(first) {
        let Ok(opened) = File::open(file) else { continue };
        let inode = opened.metadata().map(|m| m.ino()).unwrap_or(0);
        let mut reader = BufReader::with_capacity(PIECE, opened);
        if index == first && offset > 0 && reader.seek(SeekFrom::Start(offset)).is_err() {
            continue;
        }
        if !copy(&mut reader, &mut filter, &out).await {
            return;
        }
        current = Some((reader, inode));
    }
    if !options.follow {
        return;
    }
    loop {
        let finished = *ended.borrow_and_update();
        if let Some((reader, inode)) = &mut current {
            if !copy(reader, &mut filter, &out).await {
                return;
            }
            let rotated = std::fs::metadata(&path).is_ok_and(|m| m.ino() != *inode);
            if rotated {
                current = None;
            }
        }
        if current.is_none()
            && let Ok(opened) = File::open(&path)
        {
            let inode = opened.metadata().map(|m| m.ino()).unwrap_or(0);
            current = Some((BufReader::with_capacity(PIECE, opened), inode));
            continue;
        }
        if finished {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = out.closed() => return,
            changed = ended.changed() => if changed.is_err() {
                // Nobody can tell the end any more; what is there has been sent.
                return;
            }
        }
    }
}

/// The files of a log, oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for n in (1..=32).rev() {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        let rotated = PathBuf::from(name);
        if rotated.exists() {
            found.push(rotated);
        }
    }
    found.push(path.to_owned());
    found
}

/// Where the last `lines` lines begin: which file, and the offset in it.
fn tail_start(files: &[PathBuf], lines: usize) -> (usize, u64) {
    let mut starts: VecDeque<(usize, u64)> = VecDeque::new();
    let mut end = (0, 0);
    let mut begins = true;
    for (index, file) in files.iter().enumerate() {
        let Ok(opened) = File::open(file) else { continue };
        let mut reader = BufReader::with_capacity(PIECE, opened);
        let mut offset = 0u64;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).unwrap_or(0);
            if read == 0 {
                break;
            }
            if begins {
                starts.push_back((index, offset));
                if starts.len() > lines {
                    starts.pop_front();
                }
            }
            begins = parse(&line).is_none_or(|l| !l.partial);
            offset += read as u64;
        }
        end = (index, offset);
    }
    starts.front().copied().unwrap_or(end)
}

/// Copies what is there; false when no more is wanted.
async fn copy(reader: &mut BufReader<File>, filter: &mut Filter, out: &mpsc::Sender<Bytes>) -> bool {
    let mut piece = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).unwrap_or(0);
        let whole = line.last() == Some(&b'\n');
        if read > 0 && !whole {
            // The writer is in the middle of a line: come back for it.
            let _ = reader.seek_relative(-i64::try_from(read).unwrap_or(0));
        }
        let more = whole && filter.line(&line, &mut piece);
        let send = (!more && !piece.is_empty()) || piece.len() >= PIECE;
        if send && out.send(Bytes::from(std::mem::take(&mut piece))).await.is_err() {
            return false;
        }
        if !whole {
            return true;
        }
        if !more {
            return false;
        }
    }
}

/// One line of a CRI log.
struct Line<'a> {
    time: &'a [u8],
    written_to: &'a [u8],
    partial: bool,
    text: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = parts.next()?;
    let written_to = parts.next()?;
    let partial = parts.next()?.starts_with(b"P");
    Some(Line { time, written_to, partial, text: parts.next().unwrap_or_default() })
}

/// What of each line is passed on.
struct Filter {
    since: Option<Timestamp>,
    written_to: Option<&'static [u8]>,
    timestamps: bool,
    left: Option<u64>,
    middle: bool,
}

impl Filter {
    fn new(options: &LogOptions) -> Self {
        Self {
            since: options.since,
            written_to: options.written_to.map(|of| match of {
                WrittenTo::Stdout => &b"stdout"[..],
                WrittenTo::Stderr => &b"stderr"[..],
            }),
            timestamps: options.timestamps,
            left: options.limit_bytes,
            middle: false,
        }
    }

    /// Appends what is wanted of `line` to `out`; false when the limit is reached.
    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(parsed) = parse(line) else { return true };
        if self.written_to.is_some_and(|wanted| wanted != parsed.written_to) {
            return true;
        }
        if let Some(since) = self.since {
            let time = std::str::from_utf8(parsed.time).ok().and_then(|t| t.parse::<Timestamp>().ok());
            if time.is_some_and(|t| t < since) {
                return true;
            }
            self.since = None;
        }
        let before = out.len();
        if self.timestamps && !self.middle {
            out.extend_from_slice(parsed.time);
            out.push(b' ');
        }
        out.extend_from_slice(parsed.text);
        if !parsed.partial {
            out.push(b'\n');
        }
        self.middle = parsed.partial;
        if let Some(left) = &mut self.left {
            let added = (out.len() - before) as u64;
            if added >= *left {
                out.truncate(before + usize::try_from(*left).unwrap_or(usize::MAX));
                *left = 0;
                return false;
            }
            *left -= added;
        }
        true
    }
}

/// The last lines of a log within a bound, for termination messages.
pub fn last_lines(path: &Path, lines: usize, bytes: usize) -> String {
    let files = files(path);
    let (first, offset) = tail_start(&files, lines);
    let mut filter = Filter::new(&LogOptions::default());
    let mut text = Vec::new();
    for (index, file) in files.iter().enumerate().skip(first) {
        let Ok(opened) = File::open(file) else { continue };
        let mut reader = BufReader::with_capacity(PIECE, opened);
        if index == first {
            let _ = reader.seek(SeekFrom::Start(offset));
        }
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
            filter.line(&line, &mut text);
            line.clear();
        }
    }
    let start = text.len().saturating_sub(bytes);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:00.1Z stdout F one\n2026-01-01T00:00:01Z stderr P tw\n2026-01-01T00:00:01.5Z stderr F o\n";

    async fn read(dir: &tempfile::TempDir, options: LogOptions) -> String {
        let (sender, mut receiver) = mpsc::channel(16);
        let (_end, ended) = watch::channel(true);
        stream(dir.path().join("0.log"), options, ended, sender).await;
        let mut all = Vec::new();
        while let Some(piece) = receiver.recv().await {
            all.extend_from_slice(&piece);
        }
        String::from_utf8(all).expect("text")
    }

    fn log() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("0.log.1"), LOG).expect("write");
        std::fs::write(dir.path().join("0.log"), "2026-01-01T00:00:02Z stdout F three\n").expect("write");
        dir
    }

    #[tokio::test]
    async fn reads_across_rotated_files() {
        let dir = log();
        assert_eq!(read(&dir, LogOptions::default()).await, "one\ntwo\nthree\n");
        assert_eq!(
            read(&dir, LogOptions { tail_lines: Some(2), ..LogOptions::default() }).await,
            "two\nthree\n"
        );
        assert_eq!(read(&dir, LogOptions { tail_lines: Some(0), ..LogOptions::default() }).await, "");
        assert_eq!(read(&dir, LogOptions { limit_bytes: Some(5), ..LogOptions::default() }).await, "one\nt");
        let since = Some("2026-01-01T00:00:02Z".parse().expect("time"));
        let options = LogOptions { since, timestamps: true, ..LogOptions::default() };
        assert_eq!(read(&dir, options).await, "2026-01-01T00:00:02Z three\n");
        assert_eq!(last_lines(&dir.path().join("0.log"), 2, 7), "\nthree\n");
    }

    #[tokio::test]
    async fn follows_over_a_rotation_until_the_end() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("0.log");
        std::fs::write(&path, "2026-01-01T00:00:00Z stdout F a\n").expect("write");
        let (sender, mut receiver) = mpsc::channel(16);
        let (end, ended) = watch::channel(false);
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let task = tokio::spawn(stream(path.clone(), options, ended, sender));
        assert_eq!(receiver.recv().await.as_deref(), Some(&b"a\n"[..]));
        std::fs::rename(&path, dir.path().join("0.log.1")).expect("rename");
        std::fs::write(&path, "2026-01-01T00:00:01Z stdout F b\n").expect("write");
        assert_eq!(receiver.recv().await.as_deref(), Some(&b"b\n"[..]));
        end.send_replace(true);
        assert_eq!(receiver.recv().await, None);
        task.await.expect("ends");
    }
}
