//! Probes: the threshold state is pure; one check is I/O with a timeout.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Which probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// How often in a row a probe gave the same answer.
#[derive(Debug, Clone, Default)]
pub struct Streak {
    ok: bool,
    count: i32,
}

impl Streak {
    /// Takes an answer in; tells when a threshold is reached.
    pub fn note(&mut self, ok: bool, probe: &Probe) -> Option<bool> {
        if self.ok == ok && self.count > 0 {
            self.count = self.count.saturating_add(1);
        } else {
            (self.ok, self.count) = (ok, 1);
        }
        let threshold =
            if ok { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        (self.count >= threshold.max(1)).then_some(ok)
    }
}

pub fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default))
}

/// A port by number or by its name in the container.
pub fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(n) => Some(*n),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_deref() == Some(name))
            .map(|p| p.container_port)
            .or_else(|| name.parse().ok()),
    };
    number
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| format!("port {port:?} is not a port of container {}", container.name))
}

/// A GET; any status from 200 to 399 is success.
pub async fn http(container: &Container, action: &HTTPGetAction, pod_ip: &str) -> Result<(), String> {
    if action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https")) {
        return Err("HTTPS probes are not supported by this node yet; use HTTP, TCP or exec".into());
    }
    let port = port(container, &action.port)?;
    let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_ip);
    let path = action.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let url = format!("http://{host}:{port}{path}");
    let failed = |e: std::io::Error| format!("Get \"{url}\": {e}");
    let mut stream = tokio::net::TcpStream::connect((host, port)).await.map_err(failed)?;
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    let (mut has_host, mut has_agent, mut has_accept) = (false, false, false);
    for header in action.http_headers.iter().flatten() {
        if header.name.contains(['\r', '\n']) || header.value.contains(['\r', '\n']) {
            return Err(format!("header {:?} has a line break", header.name));
        }
        has_host |= header.name.eq_ignore_ascii_case("host");
        has_agent |= header.name.eq_ignore_ascii_case("user-agent");
        has_accept |= header.name.eq_ignore_ascii_case("accept");
        request.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    if !has_host {
        request.push_str(&format!("Host: {host}:{port}\r\n"));
    }
    if !has_agent {
        request.push_str("User-Agent: kube-probe/1.36\r\n");
    }
    if !has_accept {
        request.push_str("Accept: */*\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    let mut buffer = [0u8; 512];
    while !answer.contains(&b'\n') && answer.len() < 4096 {
        let read = stream.read(&mut buffer).await.map_err(failed)?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    let line = String::from_utf8_lossy(&answer);
    let status: u16 = line
        .split_whitespace()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| format!("Get \"{url}\": no HTTP answer"))?;
    if (200..400).contains(&status) {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {status}"))
    }
}

/// A TCP connection that opens is success.
pub async fn tcp(
    container: &Container,
    port_of: &IntOrString,
    host: Option<&str>,
    pod_ip: &str,
) -> Result<(), String> {
    let port = port(container, port_of)?;
    let host = host.filter(|h| !h.is_empty()).unwrap_or(pod_ip);
    tokio::net::TcpStream::connect((host, port))
        .await
        .map(drop)
        .map_err(|e| format!("dial tcp {host}:{port}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_need_a_row_of_equal_answers() {
        let probe = Probe { failure_threshold: Some(3), success_threshold: Some(2), ..Probe::default() };
        let mut streak = Streak::default();
        let answers = [false, false, true, false, false, false, true, true];
        let told: Vec<Option<bool>> = answers.iter().map(|a| streak.note(*a, &probe)).collect();
        assert_eq!(told, [None, None, None, None, None, Some(false), None, Some(true)]);
    }
}
