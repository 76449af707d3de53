//! etcd or the way to it fails, under load: what was acknowledged is there, nothing is there twice, and it goes on.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use dunlin_reference::etcd::Etcd;
use dunlin_store::etcd::EtcdStore;
use dunlin_store::{Error, Expect, Limits, Scope, Store};

use super::writers::{RESOURCE, Writers, put};
use super::{on_two_threads, open, options};

/// Everything a test has written stays in the ring, so that it can be counted.
fn roomy() -> Limits {
    Limits { history_bytes: 256 << 20, watch_queue: 1 << 20, ..Limits::default() }
}

async fn stores(endpoints: Vec<String>, count: usize) -> Result<Vec<Arc<EtcdStore>>> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut options = options(endpoints.clone());
        options.limits = roomy();
        all.push(Arc::new(open(options).await?));
    }
    Ok(all)
}

/// The one member is killed and started again, three times.
pub fn killed() -> Result<()> {
    let mut etcd = Etcd::local(1)?;
    on_two_threads(async {
        let stores = stores(etcd.endpoints(), 2).await?;
        let start = stores[0].revision();
        let writers = Writers::start(&stores, 4);
        for _ in 0..3 {
            writers.wait_for(200).await?;
            etcd.kill(0);
            tokio::time::sleep(Duration::from_millis(300)).await;
            etcd.start(0)?;
        }
        writers.wait_for(200).await?;
        writers.check(&stores[1], start).await
    })
}

/// Each of three members is killed once, while there is load; a majority is always there.
pub fn members() -> Result<()> {
    let mut etcd = Etcd::local(3)?;
    on_two_threads(async {
        let stores = stores(etcd.endpoints(), 2).await?;
        let start = stores[0].revision();
        let writers = Writers::start(&stores, 4);
        for member in 0..3 {
            writers.wait_for(200).await?;
            etcd.kill(member);
            writers.wait_for(200).await?;
            etcd.start(member)?;
            etcd.wait()?;
            // It has to catch up before another may go.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        writers.check(&stores[0], start).await
    })
}

/// Without a majority nothing is answered that may be wrong, and all goes on when it is back.
pub fn majority() -> Result<()> {
    let mut etcd = Etcd::local(3)?;
    on_two_threads(async {
        let store = open(options(etcd.endpoints())).await?;
        let before = store.write(put("a", Expect::Absent, "1".to_owned())).await?;
        ensure!(store.is_healthy(), "it is healthy with all members");
        etcd.kill(0);
        etcd.kill(1);
        let begun = Instant::now();
        let refused = store.write(put("b", Expect::Absent, "1".to_owned())).await;
        let Err(Error::Unavailable { endpoints, .. }) = &refused else {
            bail!("written without a majority: {refused:?}")
        };
        ensure!(endpoints.contains(&etcd.endpoints()[0]), "the error names etcd: {endpoints}");
        ensure!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
        ensure!(store.get(&before.key).await.is_err(), "a read that may be stale was answered");
        ensure!(!store.is_healthy(), "it says so");
        let known = store.list(&Scope::resource(RESOURCE), None, 0, Some(store.revision())).await?;
        ensure!(known.items == [before.clone()], "what is known can be read");
        let mut watch = store.watch(Scope::resource(RESOURCE), Some(before.revision))?;

        etcd.start(0)?;
        etcd.start(1)?;
        let end = Instant::now() + Duration::from_secs(30);
        let written = loop {
            match store.write(put("c", Expect::Any, "1".to_owned())).await {
                Ok(entry) => break entry,
                Err(error) => ensure!(Instant::now() < end, "{error}"),
            }
        };
        loop {
            let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await??;
            if event.revision == written.revision {
                break;
            }
        }
        store.get(&before.key).await?;
        ensure!(store.is_healthy(), "it is healthy again");
        Ok(())
    })
}

/// The way to etcd is cut, and goes silent; the watch goes on without a gap.
pub fn cut() -> Result<()> {
    let etcd = Etcd::local(1)?;
    let way = Way::to(&etcd.endpoints()[0])?;
    on_two_threads(async {
        let far = stores(vec![way.address()?], 1).await?;
        let near = stores(etcd.endpoints(), 1).await?;
        let start = far[0].revision();
        let mut watch = far[0].watch(Scope::resource(RESOURCE), Some(start))?;
        let writers = Writers::start(&[far[0].clone(), near[0].clone()], 3);
        for kind in [CUT, SILENT, CUT] {
            writers.wait_for(100).await?;
            way.set(kind);
            // Those who are near go on.
            writers.wait_for(200).await?;
            way.set(OPEN);
            near[0].sync().await?;
            let reached = near[0].revision();
            let end = Instant::now() + Duration::from_secs(20);
            while far[0].revision() < reached {
                ensure!(Instant::now() < end, "the far store has not caught up");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let first = tokio::time::timeout(Duration::from_secs(5), watch.next()).await??;
        ensure!(first.revision > start, "the watch went on");
        writers.check(&far[0], start).await
    })
}

/// What a server has not seen is compacted: its watchers have to list again, and then see everything.
pub fn compacted() -> Result<()> {
    let etcd = Etcd::local(1)?;
    let way = Way::to(&etcd.endpoints()[0])?;
    on_two_threads(async {
        let far = stores(vec![way.address()?], 1).await?.remove(0);
        let mut quick = options(etcd.endpoints());
        quick.compact = Some(Duration::from_millis(300));
        let near = open(quick).await?;
        let kept = near.write(put("kept", Expect::Absent, "1".to_owned())).await?;
        let gone = near.write(put("gone", Expect::Absent, "1".to_owned())).await?;
        far.sync().await?;
        let mut watch = far.watch(Scope::resource(RESOURCE), None)?;
        way.set(CUT);
        let kept = near.write(put("kept", Expect::Revision(kept.revision), "2".to_owned())).await?;
        let mut last = gone.clone();
        for n in 2..40 {
            last = near.write(put("gone", Expect::Revision(last.revision), n.to_string())).await?;
        }
        let delete = dunlin_store::Write {
            change: dunlin_store::Change::Delete(Box::new(|_| "last".into())),
            ..put("gone", Expect::Any, String::new())
        };
        near.write(delete).await?;
        // Two turns: the second forgets what was there at the first.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let refused = {
            let mut late = options(etcd.endpoints());
            late.limits = roomy();
            open(late).await?.watch(Scope::resource(RESOURCE), Some(gone.revision)).err()
        };
        ensure!(matches!(refused, Some(Error::Expired { .. })), "{refused:?}");
        way.set(OPEN);
        let ended = tokio::time::timeout(Duration::from_secs(20), watch.next()).await?;
        ensure!(matches!(ended, Err(Error::Lagged)), "{ended:?}");
        let listed = far.list(&Scope::resource(RESOURCE), None, 0, None).await?;
        ensure!(listed.items == [kept], "{:?}", listed.items);
        let too_old = far.watch(Scope::resource(RESOURCE), Some(gone.revision)).err();
        ensure!(matches!(too_old, Some(Error::Expired { .. })), "{too_old:?}");
        let mut again = far.watch(Scope::resource(RESOURCE), Some(listed.revision))?;
        let new = near.write(put("new", Expect::Absent, "1".to_owned())).await?;
        let event = tokio::time::timeout(Duration::from_secs(20), again.next()).await??;
        ensure!(event.revision == new.revision, "{event:?}");
        Ok(())
    })
}

const OPEN: u8 = 0;
/// Connections are reset, and none is taken.
const CUT: u8 = 1;
/// Nothing comes through, and nobody is told.
const SILENT: u8 = 2;

/// A way to `to` that can be cut.
struct Way {
    socket: TcpListener,
    state: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
}

impl Way {
    fn to(to: &str) -> Result<Self> {
        let way = Self {
            socket: TcpListener::bind("127.0.0.1:0")?,
            state: Arc::new(AtomicU8::new(OPEN)),
            open: Arc::default(),
            stop: Arc::default(),
        };
        let (socket, state, open, stop) =
            (way.socket.try_clone()?, way.state.clone(), way.open.clone(), way.stop.clone());
        let to = to.to_owned();
        std::thread::spawn(move || {
            for near in socket.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if state.load(Ordering::Relaxed) == CUT {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&to) else { continue };
                let mut kept = open.lock().unwrap_or_else(PoisonError::into_inner);
                for (from, to) in [(&near, &far), (&far, &near)] {
                    if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                        let state = state.clone();
                        std::thread::spawn(move || carry(from, to, &state));
                    }
                }
                kept.extend([near, far]);
            }
        });
        Ok(way)
    }

    fn address(&self) -> Result<String> {
        Ok(self.socket.local_addr()?.to_string())
    }

    fn set(&self, state: u8) {
        self.state.store(state, Ordering::Relaxed);
        if state != SILENT {
            // What was silent has lost bytes and cannot go on.
            for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.set(CUT);
        // Wakes the thread.
        let _ = self.address().map(TcpStream::connect);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = io::Read::read(&mut from, &mut buffer) {
        if state.load(Ordering::Relaxed) == OPEN && io::Write::write_all(&mut to, &buffer[..length]).is_err()
        {
            break;
        }
    }
    if state.load(Ordering::Relaxed) != SILENT {
        let _ = to.shutdown(std::net::Shutdown::Both);
    }
}
