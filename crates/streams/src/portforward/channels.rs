//! Forwarding over the channels of a WebSocket: the query names the ports, and each has one connection.
//!
//! The port at place `i` has channel `2i` for its data and `2i + 1` for its error. Each channel begins with the port's
//! number in two bytes, the lower first. Nothing can be half-closed here.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::portforward::connection::{self, Pod};
use crate::refusal::{Refusal, Result};
use crate::stream::{Sending, WAITING};
use crate::websocket::{self, Socket};

/// Ports that one request may name: two channels each, of the 256 there are, and one of those has a meaning of its own.
const PORTS: usize = 127;

/// The ports that the values of the query's parameter name: `80` and `81`, or `80,81`.
pub fn ports<'a>(values: impl Iterator<Item = &'a str>) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for text in values.flat_map(|value| value.split(',')).filter(|text| !text.is_empty()) {
        match text.parse() {
            Ok(port) if port > 0 => ports.push(port),
            _ => {
                return Err(Refusal::bad_request(format!("ports={text:?} is no number between 1 and 65535")));
            }
        }
    }
    match ports.len() {
        0 => Err(Refusal::bad_request("query parameter \"ports\" is required: the ports to forward")),
        1..=PORTS => Ok(ports),
        _ => Err(Refusal::bad_request(format!("at most {PORTS} ports can be forwarded at once"))),
    }
}

/// Makes a connection to each port, until all have ended or the client is gone.
pub async fn forward(pod: Arc<Pod>, socket: Socket, ports: Vec<u16>) {
    let (inputs, receivings): (Vec<_>, Vec<_>) = ports.iter().map(|_| mpsc::channel(WAITING)).unzip();
    let inputs = inputs.into_iter().flat_map(|input| [Some(input), None]).collect();
    websocket::channels(socket, inputs, false, async |out| {
        let mut connections = JoinSet::new();
        for ((place, port), input) in (0u32..).zip(ports).zip(receivings) {
            let data = Sending::new(place * 2, out.clone());
            let error = Sending::new(place * 2 + 1, out.clone());
            let first = Bytes::copy_from_slice(&port.to_le_bytes());
            if data.data(first.clone()).await.and(error.data(first).await).is_err() {
                return;
            }
            connections.spawn(connection::run(pod.clone(), port, input, data, error));
        }
        drop(out);
        while connections.join_next().await.is_some() {}
    })
    .await;
}

#[cfg(test)]
mod tests {
    use dunlin_api::query::Query;

    use super::*;

    #[test]
    fn ports_of_the_query() {
        let check = |query: &str| ports(Query::parse(query).all("ports")).map_err(|f| f.message);
        assert_eq!(check("ports=80&ports=81,82"), Ok(vec![80, 81, 82]));
        assert_eq!(check("ports=0").unwrap_err(), "ports=\"0\" is no number between 1 and 65535");
        assert!(check("ports=http").is_err() && check("ports=70000").is_err() && check("").is_err());
        assert!(check(&format!("ports={}", "1,".repeat(128))).unwrap_err().contains("at most 127"));
    }
}
