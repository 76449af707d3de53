//! TLS handshakes, not all at once.
//!
//! A handshake costs a millisecond or more of processor time, in two steps with an answer of the client between them, and
//! anybody may ask for one. When a thousand nodes dial at once and all are begun, none ends before nearly all have
//! ended: the first clients give up, dial again, and make it worse; and what open connections ask for waits behind all
//! of them. So few are under way at a time, in the order in which clients came, and the others have not begun.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Handshakes under way at once. Each may be waiting for a client at the other end of the world, so that it is more than
/// what keeps the processors busy.
pub const AT_ONCE: usize = 64;
/// For how long a handshake keeps others from beginning. One that takes longer waits for its client, which costs nothing.
const KEEPS: Duration = Duration::from_millis(500);

/// Does the handshake on a new connection as soon as its client has said something and there is room. `most` is how long
/// the client may be silent before, and how long the handshake may take once it has begun; `None` is too long.
pub async fn handshake(
    stream: TcpStream,
    tls: &TlsAcceptor,
    room: &Semaphore,
    most: Duration,
) -> Option<io::Result<TlsStream<TcpStream>>> {
    // Whoever connects and says nothing takes no place from anybody.
    match tokio::time::timeout(most, stream.peek(&mut [0])).await.ok()? {
        Ok(0) => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => {}
        Err(error) => return Some(Err(error)),
    }
    // `Err` would be a semaphore that was closed, which nobody does.
    let place = room.acquire().await.ok()?;
    let handshake = tokio::time::timeout(most, tls.accept(stream));
    tokio::pin!(handshake);
    tokio::select! {
        done = handshake.as_mut() => return done.ok(),
        () = tokio::time::sleep(KEEPS) => drop(place),
    }
    handshake.await.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const PATIENT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_begins_and_stops_holds_up_nobody_for_long() {
        let names = Arc::new(rustls::server::ResolvesServerCertUsingSni::new());
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_cert_resolver(names);
        let tls = TlsAcceptor::from(Arc::new(config));
        let room = Arc::new(Semaphore::new(1));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        let mut serving = Vec::new();
        // One says nothing, one stops after the first bytes of a hello, one says what no TLS client says.
        for said in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"] {
            let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
            client.write_all(said).await.unwrap();
            clients.push(client);
            let (stream, _) = listener.accept().await.unwrap();
            let (tls, shared) = (tls.clone(), room.clone());
            serving.push(tokio::spawn(async move { handshake(stream, &tls, &shared, PATIENT).await }));
            tokio::time::sleep(Duration::from_millis(50)).await;
            let free = room.available_permits();
            assert_eq!(free, usize::from(said.is_empty()), "a place is for those who have said something");
        }
        let last = tokio::time::timeout(PATIENT / 6, serving.pop().unwrap()).await;
        let answer = last.expect("it comes to its turn").unwrap();
        assert!(answer.is_some_and(|done| done.is_err()), "that is no TLS");
        assert!(serving.iter().all(|other| !other.is_finished()));
    }
}
