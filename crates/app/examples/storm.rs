//! How a server takes the return of all its nodes at once: `DUNLIN_BIN=... cargo run -p dunlin-app --example storm -- 1000`.
//!
//! Simulated agents join one server by the code that real ones use, hold a tunnel each and watch their pods. Then the
//! server is killed and started again. Printed is how long it takes until every tunnel is open and every watch goes on,
//! how many watches had to list again, how long the API took to answer meanwhile, what the server and we used, and how
//! many connections the kernel turned away because the server had not taken earlier ones.

use std::convert::Infallible;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_app::join::Joining;
use dunlin_app::join::member::Member;
use dunlin_base::task::Task;
use dunlin_node::backend::{
    Connection, ContainerRef, ExecOptions, LogOptions, PodBackend, PodEvent, PodRef, ServeError, Session,
};
use dunlin_tunnel::dial::{self, Link};
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const API: &str = "127.0.0.1:17543";
/// Bookmarks tell watches where the server's durable changes end; they come once a minute.
const SETTLE: Duration = Duration::from_secs(65);

/// Counts lists; runs nothing.
struct Listed(Arc<AtomicUsize>);

impl PodBackend for Listed {
    fn pod_event(&self, event: PodEvent) {
        if let PodEvent::Listed(_) = event {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn logs(
        &self,
        _: ContainerRef,
        _: LogOptions,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<Bytes>, ServeError>> {
        Box::pin(async { Err(ServeError::not_found("simulated")) })
    }

    fn exec(&self, _: ContainerRef, _: ExecOptions) -> BoxFuture<'_, Result<Session, ServeError>> {
        Box::pin(async { Err(ServeError::not_found("simulated")) })
    }

    fn attach(&self, _: ContainerRef, _: ExecOptions) -> BoxFuture<'_, Result<Session, ServeError>> {
        Box::pin(async { Err(ServeError::not_found("simulated")) })
    }

    fn port_forward(&self, _: PodRef, _: u16) -> BoxFuture<'_, Result<Connection, ServeError>> {
        Box::pin(async { Err(ServeError::not_found("simulated")) })
    }
}

struct Agent {
    link: watch::Receiver<Link>,
    _tunnel: Task,
    _pods: Task,
}

async fn agent(folder: &Path, name: &str, token: &str, lists: &Arc<AtomicUsize>) -> Result<Agent, Failure> {
    let file = folder.join(name);
    let server = format!("https://{API}");
    let joining = Joining {
        file: &file,
        server: &server,
        dial: &server,
        node_name: name,
        cluster: false,
        machines: false,
    };
    let member = Member::open(&joining, Some(token)).await?;
    let tls = Arc::new(member.tls(&[dunlin_tunnel::ALPN])?);
    let (told, link) = watch::channel(Link::Down);
    let target = dial::Target { host: "127.0.0.1".to_owned(), port: 17543, tls };
    let service = hyper::service::service_fn(|_: http::Request<Incoming>| async {
        Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::default()))
    });
    let options = dial::Options { link: Some(told), ..dial::Options::default() };
    let pods = dunlin_node::pods::start(member.client()?, name, Arc::new(Listed(lists.clone())));
    Ok(Agent { link, _tunnel: Task::spawn("tunnel", dial::run_with(target, service, options)), _pods: pods })
}

fn server(data: &Path) -> Result<Child, Failure> {
    let program = std::env::var_os("DUNLIN_BIN").ok_or("set DUNLIN_BIN to the built program")?;
    let log = std::fs::File::options().create(true).append(true).open(data.join("log"))?;
    let mut command = Command::new(program);
    command.args(["server", "--no-agent", "--listen", API, "--data-dir"]).arg(data);
    Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?)
}

/// Peak resident memory in MiB, and processor seconds.
fn used(pid: u32) -> Result<(f64, f64), Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    let peak: f64 = peak.split_whitespace().next().unwrap_or("0").parse()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    // The 14th and 15th field, counted from 1; two of them stand before the closing parenthesis.
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok((peak / 1024.0, ticks / 100.0))
}

/// How often the kernel had no room for a connection that nobody had taken yet; the client then tries again after a
/// second, two more, four more.
fn turned_away() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/net/netstat")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let place = names.split(' ').position(|name| name == "ListenDrops").ok_or("no ListenDrops")?;
    Ok(values.split(' ').nth(place).unwrap_or("0").parse()?)
}

/// How many watches the server holds.
async fn watches(client: &kube::Client) -> Option<usize> {
    let request = http::Request::get("/metrics").body(Vec::new()).ok()?;
    let text =
        tokio::time::timeout(Duration::from_secs(10), client.request_text(request)).await.ok()?.ok()?;
    let line =
        text.lines().find(|l| !l.starts_with('#') && l.starts_with("apiserver_longrunning_requests"))?;
    line.rsplit(' ').next()?.parse::<f64>().ok().map(|n| n as usize)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let count: usize = std::env::args().nth(1).unwrap_or_else(|| "1000".to_owned()).parse()?;
    let data = tempfile::tempdir()?;
    let folder = tempfile::tempdir()?;
    let mut child = server(data.path())?;
    let result = measure(count, data.path(), folder.path(), &mut child).await;
    child.kill()?;
    child.wait()?;
    if result.is_err() {
        let log = std::fs::read_to_string(data.path().join("log"))?;
        eprintln!("{}", log.lines().rev().take(30).collect::<Vec<_>>().join("\n"));
    }
    result
}

async fn measure(count: usize, data: &Path, folder: &Path, child: &mut Child) -> Result<(), Failure> {
    let kubeconfig = data.join("kubeconfig.yaml");
    let begun = Instant::now();
    let client = loop {
        if let Ok(config) = kube::config::Kubeconfig::read_from(&kubeconfig) {
            let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
            let client = kube::Client::try_from(config)?;
            if client.apiserver_version().await.is_ok() {
                break client;
            }
        }
        if begun.elapsed() > Duration::from_secs(60) {
            return Err("the server does not answer".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let token = std::fs::read_to_string(data.join("token"))?;
    let lists = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut agents = Vec::new();
    let mut names = (0..count).map(|n| format!("sim-{n}"));
    loop {
        // A few at a time: joining costs the server three durable writes each.
        let some: Vec<String> = names.by_ref().take(32).collect();
        if some.is_empty() {
            break;
        }
        let joins = some.iter().map(|name| agent(folder, name, token.trim(), &lists));
        agents.extend(futures_util::future::try_join_all(joins).await?);
    }
    all_up(&mut agents).await;
    println!("{count} agents joined and connected: {:.1} s", begun.elapsed().as_secs_f64());
    let (rss, cpu) = used(child.id())?;
    println!("server: {rss:.0} MiB peak, {cpu:.1} CPU s so far");
    tokio::time::sleep(SETTLE).await;
    println!("watches open: {:?}, lists: {}", watches(&client).await, lists.load(Ordering::Relaxed));

    lists.store(0, Ordering::Relaxed);
    child.kill()?;
    child.wait()?;
    for agent in &mut agents {
        agent.link.wait_for(|link| *link == Link::Down).await?;
    }
    let (away, (_, ours)) = (turned_away()?, used(std::process::id())?);
    let begun = Instant::now();
    *child = server(data)?;
    let mut slowest = Duration::ZERO;
    let (mut answering, mut answers) = (None, 0);
    let done = all_up(&mut agents);
    tokio::pin!(done);
    // The clients of the first run know the CA and certificate of an administrator that is still valid.
    loop {
        let asked = Instant::now();
        let probe = async {
            let answer = tokio::time::timeout(Duration::from_secs(30), client.apiserver_version()).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            (matches!(answer, Ok(Ok(_))), asked.elapsed().saturating_sub(Duration::from_millis(100)))
        };
        tokio::select! {
            () = &mut done => break,
            (answered, took) = probe => {
                if answered {
                    answering.get_or_insert(begun.elapsed());
                    slowest = slowest.max(took);
                    answers += 1;
                }
            }
        }
    }
    println!("after the restart: API answering after {:.1} s", answering.unwrap_or_default().as_secs_f64());
    println!("all {count} tunnels open after {:.1} s", begun.elapsed().as_secs_f64());
    println!("slowest of {answers} answers meanwhile: {:.0} ms", slowest.as_secs_f64() * 1000.0);
    while watches(&client).await.unwrap_or(0) < count && begun.elapsed() < Duration::from_secs(120) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("all watches open after {:.1} s", begun.elapsed().as_secs_f64());
    println!("watches that listed again: {}", lists.load(Ordering::Relaxed));
    let (rss, cpu) = used(child.id())?;
    println!("server: {rss:.0} MiB peak, {cpu:.1} CPU s");
    println!("simulated agents: {:.1} CPU s", used(std::process::id())?.1 - ours);
    println!("connections turned away by the kernel: {}", turned_away()? - away);
    Ok(())
}

async fn all_up(agents: &mut [Agent]) {
    for agent in agents {
        // The sender lives as long as the agent.
        let _ = agent.link.wait_for(|link| *link == Link::Up).await;
    }
}
