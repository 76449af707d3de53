//! Addresses and node ports of services, where several servers give them out.
//!
//! Each server has its own bitmaps, and two could give out one number at the same moment. So a number belongs to who
//! makes its entry among the claims in the store first; the bitmaps follow the claims of all (`others`). A claim lasts as
//! long as its service. One that a crash has left without a service is removed by the server that finds it so twice.
//! With a store of its own a server needs none of this, and nothing is written.

use bytes::Bytes;
use dunlin_store::{Change, Class, Entry, Error, Expect, Key, Scope, Write};
use serde_json::Value;

use super::service::{self, Number, Taken};
use crate::failure::{Failure, Result};
use crate::handlers::storage;
use crate::object;
use crate::resources::known;
use crate::server::{Call, Inner};

/// The claims in the store. No resource of the API is called so.
pub const STORED: &str = "service-numbers.dunlin.io";
/// How often a number that is taken elsewhere is replaced by another.
const TRIES: usize = 32;

/// A new service takes what it needs, and no other server has it.
pub async fn create(call: &Call, service: &mut Value) -> Result<Taken> {
    if !call.server.config.store.is_shared() || call.dry_run() {
        return service::create(call, service);
    }
    let asked = service.clone();
    for _ in 0..TRIES {
        let taken = service::create(call, service)?;
        if take(call, &taken, object::name(service)).await? {
            return Ok(taken);
        }
        *service = asked.clone();
    }
    Err(Failure::internal("failed to allocate a serviceIP: other servers take each number first"))
}

/// A changed service: the same for what it did not have.
pub async fn update(call: &Call, old: &Value, new: &mut Value) -> Result<Taken> {
    if !call.server.config.store.is_shared() || call.dry_run() {
        return service::update(call, old, new);
    }
    let asked = new.clone();
    for _ in 0..TRIES {
        let taken = service::update(call, old, new)?;
        if take(call, &taken, call.name()).await? {
            return Ok(taken);
        }
        *new = asked.clone();
    }
    Err(Failure::internal("failed to allocate a nodePort: other servers take each number first"))
}

fn wanted(taken: &Taken) -> Vec<Number> {
    let ports = taken.ports.iter().filter(|port| !taken.before.contains(port));
    let mut all: Vec<Number> = taken.addresses.iter().map(|at| Number::Address(*at)).collect();
    all.extend(ports.map(|at| Number::Port(*at)));
    // One port may serve two protocols.
    all.dedup();
    all
}

/// Makes the claims; false if one is somebody else's, which is then known as taken, and all others are given back.
async fn take(call: &Call, taken: &Taken, name: &str) -> Result<bool> {
    let server = &call.server;
    let holder = format!("{}/{name}", call.ns());
    let mut made = Vec::new();
    for number in wanted(taken) {
        match claim(server, number, &holder).await {
            Ok(_) => made.push(number),
            Err(error) => {
                server.addresses.give_back(taken);
                for number in made {
                    give_up(server, number, None).await;
                }
                return match error {
                    Error::Exists { .. } => {
                        server.addresses.note(number, true);
                        Ok(false)
                    }
                    other => Err(storage::failed(&call.resource, name, other)),
                };
            }
        }
    }
    Ok(true)
}

async fn claim(server: &Inner, number: Number, holder: &str) -> Result<Entry, Error> {
    let holder = Bytes::copy_from_slice(holder.as_bytes());
    let write = Write {
        key: key(number),
        expect: Expect::Absent,
        class: Class::Durable,
        tag: None,
        change: Change::Put(Box::new(move |_| holder)),
    };
    server.config.store.write(write).await
}

async fn give_up(server: &Inner, number: Number, revision: Option<u64>) {
    let write = Write {
        key: key(number),
        expect: revision.map_or(Expect::Any, Expect::Revision),
        class: Class::Durable,
        tag: None,
        change: Change::Delete(Box::new(|_| Bytes::new())),
    };
    match server.config.store.write(write).await {
        Ok(_) | Err(Error::NotFound { .. } | Error::Conflict { .. }) => {}
        // The repair finds it.
        Err(error) => tracing::debug!(error = dunlin_base::error::chain(&error), "a number was not given up"),
    }
}

/// A service is gone (or has become `new`): gives up its numbers.
pub async fn release(server: &Inner, old: &Value, new: Option<&Value>) {
    if !server.config.store.is_shared() {
        return;
    }
    let kept = new.map(|new| server.addresses.numbers(new)).unwrap_or_default();
    for number in server.addresses.numbers(old) {
        if !kept.contains(&number) {
            give_up(server, number, None).await;
        }
    }
}

/// The same, once a change is stored.
pub fn settle(server: &std::sync::Arc<Inner>, old: &Value, new: &Value) {
    if server.config.store.is_shared() && server.addresses.numbers(old) != server.addresses.numbers(new) {
        let (owner, old, new) = (server.clone(), old.clone(), new.clone());
        server.run(async move { release(&owner, &old, Some(&new)).await });
    }
}

/// Nothing was stored: gives up what was claimed for it.
pub fn undo(server: &std::sync::Arc<Inner>, taken: &Taken) {
    let numbers = wanted(taken);
    if server.config.store.is_shared() && !numbers.is_empty() {
        let owner = server.clone();
        server.run(async move {
            for number in numbers {
                give_up(&owner, number, None).await;
            }
        });
    }
}

/// Brings the bitmaps up to date with one claim.
pub fn note(server: &Inner, key: &Key, held: bool) {
    if let Some(number) = number(key) {
        server.addresses.note(number, held);
    }
}

/// Makes the claims that are missing, and removes those that were without a service the last time, too (`before`). Gives
/// back those that are now.
pub async fn repair(server: &Inner, before: &[Entry]) -> Result<Vec<Entry>> {
    let services = known("", "services");
    let failed = |e| storage::failed(services, "", e);
    let claims = server.config.store.list(&Scope::resource(STORED), None, 0, None).await.map_err(failed)?;
    let mut used = Vec::new();
    for service in server.all(services, None).await? {
        for number in server.addresses.numbers(&service) {
            if !claims.items.iter().any(|entry| entry.key == key(number)) {
                let holder = format!("{}/{}", object::namespace(&service), object::name(&service));
                match claim(server, number, &holder).await {
                    Ok(_) | Err(Error::Exists { .. }) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            used.push(key(number));
        }
    }
    let mut without = Vec::new();
    for entry in claims.items {
        note(server, &entry.key, true);
        if used.contains(&entry.key) {
            continue;
        }
        match number(&entry.key) {
            Some(number) if before.contains(&entry) => give_up(server, number, Some(entry.revision)).await,
            _ => without.push(entry),
        }
    }
    Ok(without)
}

fn key(number: Number) -> Key {
    let name = match number {
        Number::Address(at) => format!("address-{at}"),
        Number::Port(at) => format!("port-{at}"),
    };
    Key::new(STORED, "", name)
}

fn number(key: &Key) -> Option<Number> {
    let (kind, at) = key.name.split_once('-')?;
    let at = at.parse().ok()?;
    match kind {
        "address" => Some(Number::Address(at)),
        "port" => Some(Number::Port(at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_as_they_were_made() {
        for each in [Number::Address(7), Number::Port(0), Number::Port(2767)] {
            assert_eq!(number(&key(each)), Some(each));
        }
        assert_eq!(number(&Key::new(STORED, "", "host-7")), None);
    }
}
