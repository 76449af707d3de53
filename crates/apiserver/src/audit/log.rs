//! Events on their way to the file: a bounded queue, and a thread that empties it.
//!
//! Who is answered never waits for the disk, unless that was chosen. When the queue is full, or the disk, events are lost:
//! they are counted, and the log of the server says so.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::rotate::Sink;

/// Events that wait to be written, as many as Kubernetes lets wait.
const EVENTS: usize = 10_000;
/// The same in bytes: objects of lists can be large, and the machine small.
const BYTES: usize = 16 << 20;
/// A loss that goes on is told again after this long.
const SILENCE: Duration = Duration::from_secs(60);

/// What has become of events.
#[derive(Debug, Default)]
pub struct Counters {
    written: AtomicU64,
    lost: AtomicU64,
}

impl Counters {
    /// How many were written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How many were not.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    /// Dropped when it is written or lost, by which who waits for that is told.
    _done: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    counters: Counters,
}

/// A running log. Dropping it writes what still waits.
#[derive(Debug)]
pub struct Log {
    queue: Arc<Queue>,
    blocking: bool,
    writer: Option<JoinHandle<()>>,
}

impl Log {
    /// Starts the thread that writes.
    pub fn start(sink: Sink, blocking: bool) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let of_writer = queue.clone();
        let writer = std::thread::Builder::new()
            .name("audit log".to_owned())
            .spawn(move || Writer { queue: of_writer, sink, told: None }.run())?;
        Ok(Self { queue, blocking, writer: Some(writer) })
    }

    pub fn counters(&self) -> &Counters {
        &self.queue.counters
    }

    /// Hands a line over. In blocking mode there is something to wait for, which ends when the line has been written.
    pub fn push(&self, bytes: Vec<u8>) -> Option<oneshot::Receiver<()>> {
        let (done, wait) = match self.blocking {
            true => {
                let (done, wait) = oneshot::channel();
                (Some(done), Some(wait))
            }
            false => (None, None),
        };
        let mut state = self.queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lines.len() >= EVENTS || state.bytes + bytes.len() > BYTES.max(bytes.len()) {
            drop(state);
            if self.queue.counters.lost.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVENTS as u64) {
                tracing::error!("audit events are lost: they come faster than they can be written");
            }
            return None;
        }
        state.bytes += bytes.len();
        state.lines.push_back(Line { bytes, _done: done });
        drop(state);
        self.queue.filled.notify_one();
        wait
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.queue.filled.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer {
    queue: Arc<Queue>,
    sink: Sink,
    /// When a loss was last told.
    told: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        while let Some(lines) = self.take() {
            let mut batch = Vec::new();
            let mut count = 0;
            for line in &lines {
                // A batch never spans two files.
                if batch.len() + line.bytes.len() > self.sink.room() && !batch.is_empty() {
                    self.write(&std::mem::take(&mut batch), std::mem::take(&mut count));
                }
                batch.extend_from_slice(&line.bytes);
                count += 1;
            }
            self.write(&batch, count);
        }
    }

    /// All that waits; `None` once there is nothing and never will be.
    fn take(&self) -> Option<VecDeque<Line>> {
        let mut state = self.queue.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.lines.is_empty() {
            if state.closed {
                return None;
            }
            state = self.queue.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes = 0;
        Some(std::mem::take(&mut state.lines))
    }

    fn write(&mut self, batch: &[u8], count: u64) {
        match self.sink.write(batch) {
            Ok(()) => {
                self.queue.counters.written.fetch_add(count, Ordering::Relaxed);
                if self.told.take().is_some() {
                    let lost = self.queue.counters.lost();
                    tracing::warn!(lost, "audit events are written again");
                }
            }
            Err(error) => {
                let lost = self.queue.counters.lost.fetch_add(count, Ordering::Relaxed) + count;
                if self.told.is_none_or(|told| told.elapsed() > SILENCE) {
                    self.told = Some(Instant::now());
                    tracing::error!(%error, lost, "audit events are lost: the audit log cannot be written");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audit::rotate::Bounds;

    fn sink(path: &Path) -> Sink {
        Sink::open(path, Bounds { size: 1 << 20, backups: 0, days: 0 }).unwrap()
    }

    #[test]
    fn what_waits_is_written_when_the_log_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let log = Log::start(sink(&path), false).unwrap();
        for i in 0..1000 {
            assert!(log.push(format!("{i}\n").into_bytes()).is_none());
        }
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().map(|l| l.parse::<u32>().unwrap()).collect::<Vec<_>>(),
            (0..1000).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn who_waits_is_told_once_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let log = Log::start(sink(&path), true).unwrap();
        let _ = log.push(b"one\n".to_vec()).expect("something to wait for").await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
    }

    #[tokio::test]
    async fn a_full_disk_loses_events_and_stops_nothing() {
        // Every write to it fails for want of space.
        let log = Log::start(sink(Path::new("/dev/full")), true).unwrap();
        for _ in 0..3 {
            let _ = log.push(b"lost\n".to_vec()).expect("something to wait for").await;
        }
        assert_eq!((log.counters().written(), log.counters().lost()), (0, 3));
    }
}
