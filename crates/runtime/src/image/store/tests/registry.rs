//! Pulling and pushing, with the distribution project's own registry on the loopback interface.
//!
//! Where `docker-registry` is not installed these tests say so and pass; `docs/limits.md` lists them.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::image::sample::{Layout, gzip, here, noise, zstd};
use crate::image::types::Mirror;

/// `secret`, as bcrypt makes it at its least cost.
const PASSWORDS: &str = "user:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

struct Registry {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Starts one, or says that there is none.
    async fn start(passwords: bool) -> Option<Self> {
        Self::start_on("127.0.0.1".parse().expect("address"), passwords, None).await
    }

    /// `tls`: certificate and key in PEM.
    async fn start_on(ip: IpAddr, passwords: bool, tls: Option<(String, String)>) -> Option<Self> {
        let dir = tempfile::tempdir().expect("directory");
        let address = StdListener::bind((ip, 0)).and_then(|l| l.local_addr()).expect("a free port");
        let root = dir.path().display();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\nhttp:\n  addr: {address}\n"
        );
        if let Some((certificate, key)) = tls {
            std::fs::write(dir.path().join("cert.pem"), certificate).expect("certificate");
            std::fs::write(dir.path().join("key.pem"), key).expect("key");
            config += &format!("  tls:\n    certificate: {root}/cert.pem\n    key: {root}/key.pem\n");
        }
        if passwords {
            std::fs::write(dir.path().join("passwords"), PASSWORDS).expect("passwords");
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {root}/passwords\n");
        }
        std::fs::write(dir.path().join("config.yml"), config).expect("config");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            let _ = writeln!(std::io::stderr(), "docker-registry is not installed: not tested here");
            return None;
        };
        let registry = Self { child, address, _dir: dir };
        for _ in 0..200 {
            if TcpStream::connect(address).await.is_ok() {
                return Some(registry);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the registry did not start");
    }

    fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }
}

/// A relay that counts what it brings, and breaks off after `budget` bytes (endless if negative).
struct Relay {
    address: SocketAddr,
    carried: Arc<AtomicU64>,
    budget: Arc<AtomicI64>,
    _task: dunlin_base::task::Task,
}

impl Relay {
    async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("address");
        let (carried, budget) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicI64::new(i64::MAX)));
        let (count, limit) = (carried.clone(), budget.clone());
        let task = dunlin_base::task::Task::spawn("relay", async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (count, limit) = (count.clone(), limit.clone());
                connections.spawn(async move {
                    if limit.load(Ordering::SeqCst) <= 0 {
                        return;
                    }
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let up = tokio::io::copy(&mut from_client, &mut to_server);
                    let down = async {
                        let mut buffer = vec![0; 16 * 1024];
                        while let Ok(n) = from_server.read(&mut buffer).await {
                            let left = limit.fetch_sub(n as i64, Ordering::SeqCst);
                            if n == 0 || left <= 0 || to_client.write_all(&buffer[..n]).await.is_err() {
                                return;
                            }
                            count.fetch_add(n as u64, Ordering::SeqCst);
                        }
                    };
                    tokio::select! { _ = up => {}, () = down => {} }
                });
            }
        });
        Self { address, carried, budget, _task: task }
    }

    fn allow(&self, bytes: i64) {
        self.carried.store(0, Ordering::SeqCst);
        self.budget.store(bytes, Ordering::SeqCst);
    }

    fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn what_was_pushed_can_be_pulled() {
    let Some(registry) = Registry::start(false).await else { return };
    let source = Place::new();
    let (base, top) = (tar(&[("etc/os", b"base")]), tar(&[("app", b"top")]));
    let imported = source.import("demo:1", &[&base, &top]).await;
    let name = registry.name("team/demo:1");
    let digest = source.store.push("demo:1", &name, None, Progress::none()).await.expect("push");
    assert_eq!(digest, imported.digest);
    source.store.push("demo:1", &name, None, Progress::none()).await.expect("a second push sends nothing");
    let target = Place::new();
    let image = target.store.ensure(&name, PullPolicy::IfNotPresent, None).await.expect("pull");
    assert_eq!((&image.id, &image.digest), (&imported.id, &imported.digest));
    assert_eq!(std::fs::read(image.layers[1].join("app")).expect("app"), b"top");
    let by_digest = format!("{}@{digest}", registry.name("team/demo"));
    let fresh = Place::new();
    assert_eq!(
        fresh.store.ensure(&by_digest, PullPolicy::Always, None).await.expect("by digest").id,
        imported.id
    );
    let absent = fresh.store.ensure(&registry.name("team/absent"), PullPolicy::Always, None).await;
    let absent = absent.expect_err("unknown");
    assert_eq!(absent.reason(), "ErrImagePull");
    assert!(absent.to_string().contains("does not have"), "{absent}");
}

#[tokio::test]
async fn always_follows_a_moved_tag_and_if_not_present_does_not() {
    let Some(registry) = Registry::start(false).await else { return };
    let (source, target) = (Place::new(), Place::new());
    let name = registry.name("app:latest");
    let push = async |content: &[u8]| {
        let image = source.import("app", &[&tar(&[("version", content)])]).await;
        source.store.push("app", &name, None, Progress::none()).await.expect("push");
        image.id
    };
    let first = push(b"1").await;
    assert_eq!(target.store.ensure(&name, PullPolicy::Always, None).await.expect("pull").id, first);
    let second = push(b"2").await;
    assert_eq!(target.store.ensure(&name, PullPolicy::IfNotPresent, None).await.expect("kept").id, first);
    assert_eq!(target.store.ensure(&name, PullPolicy::Always, None).await.expect("moved").id, second);
    let policy = GarbagePolicy { min_age: Duration::ZERO, enough: None, now: SystemTime::now() };
    let in_use = BTreeSet::from([first.clone()]);
    let freed = target.store.garbage_collect(&in_use, policy.clone()).await.expect("collect");
    assert_eq!((freed.images, freed.layers), (1, 1), "the second is unused, the first runs still");
    let freed = target.store.garbage_collect(&BTreeSet::new(), policy).await.expect("collect");
    assert_eq!((freed.images, freed.layers), (0, 1), "now the first runs no longer");
}

#[tokio::test]
async fn indexes_and_zstd() {
    let Some(registry) = Registry::start(false).await else { return };
    let source = Place::new();
    let mut layout = Layout::default();
    let image = layout.image(&[&tar(&[("a", b"zstd")])], &here(), zstd);
    layout.name(image, Some("z:1"));
    let path = write(source.dir.path(), "z.tar", &layout.archive());
    source.store.import(&path, None, Progress::none()).await.expect("import");
    let name = registry.name("z:1");
    source.store.push("z:1", &name, None, Progress::none()).await.expect("push");
    let target = Place::new();
    let image = target.store.ensure(&name, PullPolicy::Always, None).await.expect("pull");
    assert_eq!(std::fs::read(image.layers[0].join("a")).expect("a"), b"zstd");
}

#[tokio::test]
async fn passwords_are_needed_and_used() {
    let Some(registry) = Registry::start(true).await else { return };
    let place = Place::new();
    place.import("app", &[&tar(&[("a", b"a")])]).await;
    let name = registry.name("app");
    let right = Some(Credentials::Basic { username: "user".into(), password: "secret".into() });
    let wrong = Some(Credentials::Basic { username: "user".into(), password: "guess".into() });
    for refused in [None, wrong.clone()] {
        let error = place.store.push("app", &name, refused, Progress::none()).await.expect_err("refused");
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    }
    place.store.push("app", &name, right.clone(), Progress::none()).await.expect("push");
    let target = Place::new();
    for refused in [None, wrong] {
        let error = target.store.ensure(&name, PullPolicy::Always, refused).await.expect_err("refused");
        assert_eq!(error.reason(), "ErrImagePull");
        assert!(error.to_string().contains("not authorized"), "{error}");
    }
    target.store.ensure(&name, PullPolicy::Always, right).await.expect("pull");
}

#[tokio::test]
async fn a_pull_that_was_cut_goes_on_where_it_stopped() {
    let Some(registry) = Registry::start(false).await else { return };
    const LAYER: usize = 4 << 20;
    const CUT: i64 = 3 << 20;
    let source = Place::new();
    let mut layout = Layout::default();
    let image = layout.image(&[&tar(&[("big", &noise(LAYER, 7))])], &here(), gzip);
    layout.name(image, Some("big:1"));
    let path = write(source.dir.path(), "big.tar", &layout.archive());
    source.store.import(&path, None, Progress::none()).await.expect("import");
    source.store.push("big:1", &registry.name("big:1"), None, Progress::none()).await.expect("push");

    let relay = Relay::start(registry.address).await;
    let name = format!("{}/big:1", relay.address);
    let target = Place::new();
    relay.allow(CUT);
    let error =
        target.store.ensure(&name, PullPolicy::IfNotPresent, None).await.expect_err("the link is down");
    assert_eq!(error.reason(), "RegistryUnavailable");
    let first = relay.carried();
    assert!(first > (CUT as u64) / 2, "{first}");

    // A new process comes, and the link with it.
    relay.allow(i64::MAX);
    let store = ImageStore::open(target.dir.path().join("images")).expect("open");
    let image = store.ensure(&name, PullPolicy::IfNotPresent, None).await.expect("pull");
    let second = relay.carried();
    assert_eq!(std::fs::read(image.layers[0].join("big")).expect("big"), noise(LAYER, 7));
    // What was on its way when the link went is carried twice.
    let overhead = 256 << 10;
    assert!(first + second < LAYER as u64 + 2 * overhead, "{first} and {second} bytes for {LAYER}");

    // Cut again and again within one pull: it is not even noticed.
    let target = Place::new();
    relay.allow(1 << 20);
    let budget = relay.budget.clone();
    let _feeder = dunlin_base::task::Task::spawn("feeder", async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if budget.load(Ordering::SeqCst) <= 0 {
                budget.store(1 << 20, Ordering::SeqCst);
            }
        }
    });
    target.store.ensure(&name, PullPolicy::IfNotPresent, None).await.expect("pull over a bad link");
    assert!(relay.carried() < LAYER as u64 + 4 * overhead, "{}", relay.carried());
}

#[tokio::test]
async fn a_damaged_part_is_fetched_afresh() {
    let Some(registry) = Registry::start(false).await else { return };
    let source = Place::new();
    let image = source.import("app", &[&tar(&[("a", &noise(100_000, 3))])]).await;
    let name = registry.name("app");
    source.store.push("app", &name, None, Progress::none()).await.expect("push");
    let target = Place::new();
    let layer = source.store.disk.read_blob(&image.digest, LARGEST_MANIFEST).expect("manifest");
    let layer = image_manifest(&image.digest, &layer).expect("manifest").layers[0].clone();
    // What a power cut leaves: a file of the right length so far, full of zeros.
    std::fs::write(target.store.disk.partial(&layer.digest), vec![0; 50_000]).expect("partial");
    target.store.ensure(&name, PullPolicy::IfNotPresent, None).await.expect("pull");
    assert!(!target.store.disk.partial(&layer.digest).exists());
}

#[tokio::test]
async fn everyone_waits_for_the_one_who_fetches() {
    let Some(registry) = Registry::start(false).await else { return };
    let source = Place::new();
    const LAYER: usize = 1 << 20;
    source.import("app", &[&tar(&[("a", &noise(LAYER, 5))])]).await;
    source.store.push("app", &registry.name("app"), None, Progress::none()).await.expect("push");
    let relay = Relay::start(registry.address).await;
    let name = format!("{}/app", relay.address);
    let target = Place::new();
    let pulls = (0..6).map(|_| {
        let store = ImageStore::open(target.dir.path().join("images")).expect("open");
        let name = name.clone();
        async move { store.ensure(&name, PullPolicy::IfNotPresent, None).await }
    });
    for pulled in futures_util::future::join_all(pulls).await {
        pulled.expect("pull");
    }
    assert!(relay.carried() < (LAYER as u64) * 3 / 2, "fetched more than once: {}", relay.carried());
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_missed_when_away() {
    let Some(registry) = Registry::start(false).await else { return };
    let source = Place::new();
    source.import("app", &[&tar(&[("a", b"a")])]).await;
    source.store.push("app", &registry.name("hub/library/app"), None, Progress::none()).await.expect("push");
    let mirrors = [("docker.io", "127.0.0.1:1/x".to_owned()), ("docker.io", registry.name("hub"))];
    let mirrors = mirrors.map(|(registry, endpoint)| Mirror { registry: registry.to_owned(), endpoint });
    let target = Place::with(RegistryOptions { mirrors: mirrors.into(), ..RegistryOptions::default() });
    let image =
        target.store.ensure("app", PullPolicy::IfNotPresent, None).await.expect("from the second mirror");
    assert_eq!(image.reference, "docker.io/library/app:latest");
}

#[tokio::test]
async fn a_registry_with_a_certificate_authority_of_its_own() {
    // Loopback addresses are spoken to in plain HTTP, so that this takes the machine's own address. Choosing it sends nothing.
    let own =
        UdpSocket::bind("0.0.0.0:0").and_then(|s| s.connect("198.51.100.1:9").and_then(|()| s.local_addr()));
    let Ok(own) = own.map(|a| a.ip()) else {
        let _ = writeln!(std::io::stderr(), "this machine has no address but loopback: not tested here");
        return;
    };
    let ca_key = rcgen::KeyPair::generate().expect("key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).expect("certificate").pem();
    let key = rcgen::KeyPair::generate().expect("key");
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let leaf = rcgen::CertificateParams::new(vec![own.to_string()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("certificate").pem();
    let Some(registry) = Registry::start_on(own, false, Some((leaf, key.serialize_pem()))).await else {
        return;
    };
    let name = registry.name("app");

    let stranger = Place::new();
    stranger.import("app", &[&tar(&[("a", b"a")])]).await;
    let error = stranger.store.push("app", &name, None, Progress::none()).await.expect_err("not trusted");
    assert!(error.to_string().contains("certificate"), "{error}");

    let ca_file = write(stranger.dir.path(), "ca.pem", ca_pem.as_bytes());
    let options = RegistryOptions { ca_files: vec![ca_file], ..RegistryOptions::default() };
    let place = Place::with(options.clone());
    place.import("app", &[&tar(&[("a", b"a")])]).await;
    place.store.push("app", &name, None, Progress::none()).await.expect("push");
    let target = Place::with(options);
    target.store.ensure(&name, PullPolicy::Always, None).await.expect("pull");
}
