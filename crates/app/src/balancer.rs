//! An agent's way to one of several servers: a port of the loopback whose connections go to a server that answers.
//!
//! TLS is the caller's: every server's certificate names the loopback, so that nothing here can be read or forged. All
//! connections go to one server for as long as it lives, then to the next; a server's death ends the connections to it, and
//! whoever had them dials again.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dunlin_base::task::Task;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::error::{Doing, Error};
use crate::join;

/// How long a server may take to take a connection before the next one is tried.
const CONNECT: Duration = Duration::from_secs(3);
/// How long what was sent to a server may stay unacknowledged.
const UNHEARD: Duration = Duration::from_secs(15);
/// How often the servers are asked which of them there are.
const LEARN: Duration = Duration::from_secs(60);
/// Connections at once.
const MOST: usize = 1024;
/// A buffer per direction.
const BUFFER: usize = 16 * 1024;

/// The servers, and which of them is used.
#[derive(Debug)]
struct Servers {
    /// Those that were named; they are tried even when they have not been heard of for long.
    named: Vec<String>,
    all: Vec<String>,
    current: usize,
}

impl Servers {
    fn next_after(&mut self, failed: &str) {
        if self.all.get(self.current).is_some_and(|current| current == failed) {
            self.current = (self.current + 1) % self.all.len();
        }
    }

    /// Takes over what the servers say of themselves.
    fn learn(&mut self, found: Vec<String>) {
        let current = self.all.get(self.current).cloned().unwrap_or_default();
        self.all = found;
        for named in &self.named {
            if !self.all.contains(named) {
                self.all.push(named.clone());
            }
        }
        self.current = self.all.iter().position(|server| *server == current).unwrap_or(0);
    }
}

/// A running balancer.
pub struct Balancer {
    port: u16,
    servers: Arc<Mutex<Servers>>,
    _task: Task,
}

impl Balancer {
    /// For these servers' URLs.
    ///
    /// # Errors
    /// When a URL is wrong, or no port can be had.
    pub async fn start(urls: &[&str]) -> Result<Self, Error> {
        let mut named = Vec::new();
        for url in urls {
            let (host, port) = join::endpoint(url.trim_end_matches('/'))?;
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            named.push(format!("{host}:{port}"));
        }
        let doing = "opening a port for the way to the servers";
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.doing(doing)?;
        let port = listener.local_addr().doing(doing)?.port();
        let servers = Arc::new(Mutex::new(Servers { all: named.clone(), named, current: 0 }));
        Ok(Self { port, servers: servers.clone(), _task: Task::spawn("balancer", accept(listener, servers)) })
    }

    /// `HOST:PORT` to dial instead of a server.
    pub fn endpoint(&self) -> (String, u16) {
        (Ipv4Addr::LOCALHOST.to_string(), self.port)
    }

    /// Asks which servers there are, for as long as it is polled.
    pub async fn learn(&self, client: kube::Client) {
        let slices: Api<EndpointSlice> = Api::namespaced(client, "default");
        let params = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
        loop {
            match slices.list(&params).await {
                Ok(found) => {
                    let found: Vec<String> = found.items.iter().flat_map(addresses).collect();
                    if !found.is_empty() {
                        self.servers.lock().unwrap_or_else(PoisonError::into_inner).learn(found);
                    }
                }
                Err(error) => {
                    tracing::debug!(
                        error = dunlin_base::error::chain(&error),
                        "asking for the servers failed"
                    );
                }
            }
            tokio::time::sleep(LEARN).await;
        }
    }
}

fn addresses(slice: &EndpointSlice) -> Vec<String> {
    let port = slice.ports.iter().flatten().find_map(|port| port.port).unwrap_or(6443);
    let all = slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses);
    all.map(|host| if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
        .collect()
}

async fn accept(listener: TcpListener, servers: Arc<Mutex<Servers>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() || connections.len() >= MOST {
            if connections.len() >= MOST {
                connections.join_next().await;
            }
        }
        match listener.accept().await {
            Ok((near, _)) => {
                let servers = servers.clone();
                connections.spawn(async move { carry(near, &servers).await });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection to the servers failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn carry(mut near: TcpStream, servers: &Mutex<Servers>) {
    let count = servers.lock().unwrap_or_else(PoisonError::into_inner).all.len();
    for _ in 0..count {
        let server = {
            let servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
            servers.all.get(servers.current).cloned().unwrap_or_default()
        };
        match tokio::time::timeout(CONNECT, connect(&server)).await.unwrap_or_else(|late| Err(late.into())) {
            Ok(mut far) => {
                let _ = near.set_nodelay(true);
                // How a connection ends is its peers' business.
                let _ = tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await;
                return;
            }
            Err(error) => {
                tracing::info!(server, %error, "a server cannot be reached, trying the next");
                servers.lock().unwrap_or_else(PoisonError::into_inner).next_after(&server);
            }
        }
    }
}

async fn connect(server: &str) -> io::Result<TcpStream> {
    let far = TcpStream::connect(server).await?;
    far.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(&far, u32::try_from(UNHEARD.as_millis()).unwrap_or(u32::MAX))?;
    sockopt::set_socket_keepalive(&far, true)?;
    sockopt::set_tcp_keepidle(&far, UNHEARD)?;
    sockopt::set_tcp_keepintvl(&far, UNHEARD / 3)?;
    Ok(far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn greet(port: u16) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.write_all(b"?").await.unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    async fn server(name: &'static str) -> (u16, Task) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = Task::spawn("server", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read_u8().await;
                let _ = stream.write_all(name.as_bytes()).await;
            }
        });
        (port, task)
    }

    #[tokio::test]
    async fn connections_go_to_the_next_server_when_one_is_gone() {
        let ((a, task_a), (b, _task_b)) = (server("a").await, server("b").await);
        let urls = [format!("https://127.0.0.1:{a}"), format!("https://127.0.0.1:{b}/")];
        let balancer = Balancer::start(&urls.each_ref().map(String::as_str)).await.unwrap();
        let port = balancer.endpoint().1;
        assert_eq!((greet(port).await, greet(port).await), ("a".to_owned(), "a".to_owned()));
        drop(task_a);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(greet(port).await, "b");
        assert_eq!(greet(port).await, "b", "and stay there");
        assert!(Balancer::start(&["http://a"]).await.is_err());
    }

    #[test]
    fn what_the_servers_say_is_taken_over_and_the_named_stay() {
        let named = vec!["a:1".to_owned(), "b:1".to_owned()];
        let mut servers = Servers { all: named.clone(), named, current: 1 };
        servers.learn(vec!["c:1".to_owned(), "b:1".to_owned()]);
        assert_eq!(servers.all, ["c:1", "b:1", "a:1"]);
        assert_eq!(servers.all[servers.current], "b:1", "the one in use stays");
        servers.next_after("c:1");
        assert_eq!(servers.current, 1, "another connection has moved on already");
        servers.next_after("b:1");
        assert_eq!(servers.all[servers.current], "a:1");
    }
}
