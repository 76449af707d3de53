//! Handshakes in memory: who is accepted, at what time, and with which certificate.

use std::io::{Read, Write};
use std::time::SystemTime;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;

use super::*;
use crate::Authority;

const HOUR: Duration = Duration::from_secs(3600);

/// A clock that stands still.
#[derive(Debug)]
struct Stopped(u64);

impl TimeProvider for Stopped {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

fn hours_from_now(hours: u64) -> Arc<Stopped> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Arc::new(Stopped(now.as_secs() + hours * 3600))
}

/// Shakes hands in memory; gives the client's certificate as the server sees it, and the server's.
fn shake(server: ServerConfig, client: ClientConfig) -> Result<(Option<Vec<u8>>, Vec<u8>), rustls::Error> {
    let mut server = rustls::ServerConnection::new(Arc::new(server))?;
    let mut client =
        rustls::ClientConnection::new(Arc::new(client), ServerName::try_from("localhost").unwrap())?;
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
    }
    client.writer().write_all(b"x").unwrap();
    let _ = client.reader().read(&mut [0]);
    let first = |certificates: Option<&[CertificateDer<'_>]>| {
        certificates.and_then(|c| c.first()).map(|c| c.to_vec())
    };
    Ok((first(server.peer_certificates()), first(client.peer_certificates()).unwrap()))
}

struct Place {
    _folder: tempfile::TempDir,
    ours: Authority,
    theirs: Authority,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::open_or_create(&folder.path().join("a"), "a").unwrap();
    let theirs = Authority::open_or_create(&folder.path().join("b"), "b").unwrap();
    Place { _folder: folder, ours, theirs }
}

impl Place {
    fn server(&self) -> ServerConfig {
        let identity = self.ours.issue_server(&["localhost".to_owned()], HOUR).unwrap();
        server_config(self.ours.ca_pem(), &identity, &[b"http/1.1"]).unwrap()
    }

    fn with_grace(&self, grace: Duration) -> ServerConfig {
        let identity = self.ours.issue_server(&["localhost".to_owned()], HOUR).unwrap();
        server_config_with(self.ours.ca_pem(), ServerIdentity::new(&identity).unwrap(), &[], grace).unwrap()
    }

    fn client(&self, user: &str, life: Duration) -> ClientConfig {
        let identity = self.ours.issue_client(user, &[], life).unwrap();
        client_config(self.ours.ca_pem(), Some(&identity), &[]).unwrap()
    }
}

#[test]
fn knows_its_clients_and_pins_its_ca() {
    let place = place();
    let (peer, _) = shake(place.server(), place.client("jane", HOUR)).unwrap();
    assert_eq!(crate::peer_subject(&peer.unwrap()).unwrap().user, "jane");
    let (peer, _) = shake(place.server(), client_config(place.ours.ca_pem(), None, &[]).unwrap()).unwrap();
    assert_eq!(peer, None, "a certificate is not required");

    assert!(shake(place.server(), client_config(place.theirs.ca_pem(), None, &[]).unwrap()).is_err());
    let stranger = place.theirs.issue_client("jane", &[], HOUR).unwrap();
    let stranger = client_config(place.ours.ca_pem(), Some(&stranger), &[]).unwrap();
    assert!(shake(place.server(), stranger).is_err());

    assert!(shake(place.server(), pinned_config(&place.ours.fingerprint()).unwrap()).is_ok());
    assert!(shake(place.server(), pinned_config(&place.ours.fingerprint().to_uppercase()).unwrap()).is_ok());
    assert!(shake(place.server(), pinned_config(&place.theirs.fingerprint()).unwrap()).is_err());
    assert!(pinned_config("abc").is_err());
}

#[test]
fn a_pinned_ca_must_have_signed_the_server() {
    let place = place();
    // An impostor shows the pinned CA's certificate, which is public, behind one of its own making.
    let mut identity = place.theirs.issue_server(&["localhost".to_owned()], HOUR).unwrap();
    let leaf = identity.cert_pem.find("-----END CERTIFICATE-----").unwrap() + 26;
    identity.cert_pem.truncate(leaf);
    identity.cert_pem.push_str(place.ours.ca_pem());
    let server = server_config(place.theirs.ca_pem(), &identity, &[]).unwrap();
    assert!(shake(server, pinned_config(&place.ours.fingerprint()).unwrap()).is_err());

    // A client's certificate of the right CA does not make a server either.
    let mut identity = place.ours.issue_client("localhost", &[], HOUR).unwrap();
    identity.cert_pem.push_str(place.ours.ca_pem());
    let server = server_config(place.ours.ca_pem(), &identity, &[]).unwrap();
    assert!(shake(server, pinned_config(&place.ours.fingerprint()).unwrap()).is_err());
    // Nor does the right CA for another name.
    let identity = place.ours.issue_server(&["elsewhere".to_owned()], HOUR).unwrap();
    let server = server_config(place.ours.ca_pem(), &identity, &[]).unwrap();
    assert!(shake(server, pinned_config(&place.ours.fingerprint()).unwrap()).is_err());
}

#[test]
fn a_clock_in_1970_breaks_neither_side() {
    let place = place();
    for mut client in [place.client("board", HOUR), pinned_config(&place.ours.fingerprint()).unwrap()] {
        client.time_provider = Arc::new(Stopped(0));
        let mut server = place.server();
        shake(server.clone(), client.clone()).expect("a client whose clock stands");
        server.time_provider = Arc::new(Stopped(0));
        shake(server, client).expect("and a server whose clock stands");
    }
    // It does not make another CA's certificate good.
    let mut client = client_config(place.theirs.ca_pem(), None, &[]).unwrap();
    client.time_provider = Arc::new(Stopped(0));
    assert!(shake(place.server(), client).is_err());
}

#[test]
fn expired_is_refused_but_for_the_grace() {
    let place = place();
    let at = |mut server: ServerConfig, hours| {
        server.time_provider = hours_from_now(hours);
        shake(server, place.client("jane", HOUR))
    };
    assert!(at(place.server(), 0).is_ok());
    assert!(at(place.server(), 2).is_err());
    let (peer, _) = at(place.with_grace(10 * HOUR), 2).expect("within the grace");
    assert_eq!(crate::peer_subject(&peer.unwrap()).unwrap().user, "jane");
    assert!(at(place.with_grace(10 * HOUR), 12).is_err());
    let mut client = place.client("jane", HOUR);
    client.time_provider = hours_from_now(2 * 365 * 24);
    assert!(shake(place.server(), client).is_err(), "the server's certificate has expired");
}

#[test]
fn certificates_are_replaced_while_they_are_used() {
    let place = place();
    let issue = || place.ours.issue_server(&["localhost".to_owned()], HOUR).unwrap();
    let (first, second) = (issue(), issue());
    let slot = ServerIdentity::new(&first).unwrap();
    let server = server_config_with(place.ours.ca_pem(), slot.clone(), &[], Duration::ZERO).unwrap();
    let user = |name: &str| place.ours.issue_client(name, &[], HOUR).unwrap();
    let own = ClientIdentity::new(&user("old")).unwrap();
    let client = client_config_with(place.ours.ca_pem(), Some(own.clone()), &[]).unwrap();
    let seen = || {
        let (client, server) = shake(server.clone(), client.clone()).unwrap();
        (crate::peer_subject(&client.unwrap()).unwrap().user, server)
    };
    let leaf = |identity: &Identity| certificates(&identity.cert_pem).unwrap()[0].to_vec();
    assert_eq!(seen(), ("old".to_owned(), leaf(&first)));
    slot.replace(&second).unwrap();
    own.replace(&user("new")).unwrap();
    assert_eq!(seen(), ("new".to_owned(), leaf(&second)));

    let mixed = Identity { cert_pem: first.cert_pem.clone(), key_pem: second.key_pem.clone() };
    assert!(slot.replace(&mixed).is_err());
    assert_eq!(seen().1, leaf(&second), "what cannot be used changes nothing");
}

#[test]
fn who_has_signed_a_certificate() {
    let place = place();
    let signed = place.ours.issue_client("jane", &[], HOUR).unwrap();
    assert!(is_signed_by(place.ours.ca_pem(), &signed));
    assert!(!is_signed_by(place.theirs.ca_pem(), &signed));
    let both = format!("{}{}", place.theirs.ca_pem(), place.ours.ca_pem());
    assert!(is_signed_by(&both, &signed));
    let serving = place.ours.issue_server(&["localhost".to_owned()], HOUR).unwrap();
    assert!(!is_signed_by(place.ours.ca_pem(), &serving), "a server's certificate says nothing of clients");
    let der = certificates(&both).unwrap().iter().map(|c| c.to_vec()).collect::<Vec<_>>();
    assert_eq!(certificates(&pem(&der)).unwrap().len(), 2);
}

#[test]
fn our_own_certificate_names_us_and_convinces_nobody() {
    let place = place();
    let own = Identity::self_signed("system:node:one", &["localhost".to_owned()], HOUR).unwrap();
    let shown = server_config_without_clients(ServerIdentity::new(&own).unwrap(), &[]).unwrap();
    assert!(shake(shown.clone(), place.client("jane", HOUR)).is_err());
    let trusting = client_config(&own.cert_pem, None, &[]).unwrap();
    let (client, _) = shake(shown, trusting).unwrap();
    assert_eq!(client, None);
}
