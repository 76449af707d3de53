//! Priority and fairness: no client takes the server from the others.
//!
//! Every request belongs to a flow schema (`classify`), which sends it to a priority level and tells its flow from
//! others. A level has its share of the places at which requests run at once; who finds none waits in a queue that is
//! his own with good chance (`hand`), and queues are served in turn (`queues`), or is refused with 429. All decisions
//! are pure; this file holds their state and wakes those who wait.
//!
//! A request has its place until its answer is there to be sent: a watch until its first events, a list until it is
//! made. Sessions (exec, logs that are followed, forwarded ports) take none, as in Kubernetes.

mod classify;
mod hand;
mod page;
mod queues;
mod settle;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::config::User;
use crate::reply::{self, Reply};
use crate::request::Asked;
use classify::Schema;
use queues::{Arrival, Level, Shape, Ticket};
pub use settle::{GROUP, make, settle};

const SCHEMA_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
/// When a client that was refused should try again, in seconds.
const AGAIN: u64 = 1;

/// What the stored objects say, read.
#[derive(Debug, Default)]
struct Plan {
    schemas: Vec<Schema>,
    /// Identity and shape of levels; none for the one that is exempt.
    levels: BTreeMap<String, (String, Option<Shape>)>,
}

/// A level at work and those who wait for it.
#[derive(Debug)]
struct Running {
    level: Level,
    seats: usize,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// By schema and level.
    dispatched: BTreeMap<(String, String), u64>,
    /// By schema, level and reason.
    rejected: BTreeMap<(String, String, &'static str), u64>,
}

#[derive(Debug, Default)]
struct State {
    levels: HashMap<String, Running>,
    counts: Counts,
    tickets: Ticket,
}

/// The concurrency of one server.
#[derive(Debug, Default)]
pub struct Flow {
    plan: RwLock<Arc<Plan>>,
    state: Mutex<State>,
}

/// Which schema and level a request has.
#[derive(Debug, Clone)]
pub struct Class {
    schema: String,
    schema_uid: String,
    level: String,
    level_uid: String,
    flow: u64,
    exempt: bool,
}

/// A place at which a request runs; given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    flow: Arc<Flow>,
    level: String,
    queue: usize,
    since: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        let took = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.flow.lock().leave(&self.level, self.queue, took);
    }
}

/// Somebody in a queue. Dropped before his turn was taken, he leaves it.
struct Turn<'a> {
    flow: &'a Arc<Flow>,
    level: &'a str,
    queue: usize,
    ticket: Ticket,
    taken: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut state = self.flow.lock();
        let Some(running) = state.levels.get_mut(self.level) else { return };
        if running.waiting.remove(&self.ticket).is_some() {
            running.level.cancel(self.queue, self.ticket);
        } else {
            // It was his turn, and he is gone.
            state.leave(self.level, self.queue, 0);
        }
    }
}

impl State {
    fn leave(&mut self, level: &str, queue: usize, took: u64) {
        if let Some(running) = self.levels.get_mut(level) {
            let started = running.level.leave(queue, took);
            running.wake(started);
        }
    }
}

impl Running {
    fn wake(&mut self, started: Vec<(Ticket, usize)>) {
        for (ticket, _) in started {
            if let Some(sender) = self.waiting.remove(&ticket) {
                // Who does not listen any more gives his place back by himself.
                let _ = sender.send(());
            }
        }
    }
}

/// Whether a request is a session, which takes no place.
pub fn is_session(asked: &Asked, follows: bool) -> bool {
    match asked.sub.as_deref() {
        Some("attach" | "exec" | "portforward" | "proxy") => true,
        Some("log") => follows,
        _ => false,
    }
}

impl Flow {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the stored objects say. Who waits or runs goes on under the new numbers.
    fn apply(&self, plan: Plan) {
        let mut state = self.lock();
        for (name, (_, shape)) in &plan.levels {
            let Some(shape) = shape else { continue };
            let running = state.levels.entry(name.clone()).or_insert_with(|| Running {
                level: Level::new(*shape),
                seats: shape.seats,
                waiting: HashMap::new(),
            });
            running.seats = shape.seats;
            running.level.reshape(*shape);
            let started = running.level.serve();
            running.wake(started);
        }
        // A level that is gone stays until its last request is done.
        state.levels.retain(|name, running| {
            plan.levels.get(name).is_some_and(|(_, shape)| shape.is_some())
                || running.level.running() + running.level.waiting() > 0
        });
        drop(state);
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
    }

    /// Finds a request's schema and level; nothing before the objects were read.
    pub fn classify(&self, user: &User, asked: &Asked, path: &str) -> Option<Class> {
        let plan = self.plan.read().unwrap_or_else(PoisonError::into_inner).clone();
        let usable = |schema: &&Schema| plan.levels.contains_key(&schema.level);
        let schema = plan
            .schemas
            .iter()
            .filter(usable)
            .find(|schema| schema.fits(user, asked, path))
            .or_else(|| plan.schemas.iter().find(|s| s.name == dunlin_api::flowcontrol::CATCH_ALL))?;
        let (uid, shape) = plan.levels.get(&schema.level)?;
        // Who never waits needs no queue.
        let flow = if shape.is_some() { flow(schema, user, asked) } else { 0 };
        Some(Class {
            schema: schema.name.clone(),
            schema_uid: schema.uid.clone(),
            level: schema.level.clone(),
            level_uid: uid.clone(),
            flow,
            exempt: shape.is_none(),
        })
    }

    /// Waits for a place. No place is needed by who is exempt.
    ///
    /// # Errors
    /// Why there is none, in the words of the metrics.
    pub async fn enter(
        self: &Arc<Self>,
        class: &Class,
        patience: Duration,
    ) -> Result<Option<Place>, &'static str> {
        let place =
            |queue| Place { flow: self.clone(), level: class.level.clone(), queue, since: Instant::now() };
        let names = || (class.schema.clone(), class.level.clone());
        let reject = |state: &mut State, why| {
            let (schema, level) = names();
            *state.counts.rejected.entry((schema, level, why)).or_default() += 1;
            Err(why)
        };
        let (mut turn, listener) = {
            let mut state = self.lock();
            if class.exempt {
                *state.counts.dispatched.entry(names()).or_default() += 1;
                return Ok(None);
            }
            state.tickets += 1;
            let ticket = state.tickets;
            // The level was removed between two looks; its requests are few.
            let Some(running) = state.levels.get_mut(&class.level) else { return Ok(None) };
            match running.level.arrive(class.flow, ticket) {
                Arrival::Run(queue) => {
                    *state.counts.dispatched.entry(names()).or_default() += 1;
                    return Ok(Some(place(queue)));
                }
                Arrival::Refuse(why) => return reject(&mut state, why),
                Arrival::Wait(queue) => {
                    let (sender, listener) = oneshot::channel();
                    running.waiting.insert(ticket, sender);
                    let turn = Turn { flow: self, level: &class.level, queue, ticket, taken: false };
                    (turn, listener)
                }
            }
        };
        match tokio::time::timeout(patience, listener).await {
            Ok(Ok(())) => {
                turn.taken = true;
                *self.lock().counts.dispatched.entry(names()).or_default() += 1;
                Ok(Some(place(turn.queue)))
            }
            _ => {
                drop(turn);
                reject(&mut self.lock(), "time-out")
            }
        }
    }
}

/// A number that tells the request's flow from others.
fn flow(schema: &Schema, user: &User, asked: &Asked) -> u64 {
    let digest = Sha256::new().chain_update(&schema.name).chain_update([0]);
    let digest = digest.chain_update(schema.flow(user, asked)).finalize();
    digest.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Class {
    /// Says in an answer by which objects it was judged.
    pub fn mark(&self, reply: &mut Reply) {
        for (name, uid) in [(SCHEMA_HEADER, &self.schema_uid), (LEVEL_HEADER, &self.level_uid)] {
            if let Ok(value) = HeaderValue::from_str(uid) {
                reply.headers_mut().insert(name, value);
            }
        }
    }
}

/// The answer to who has no place.
pub fn refusal() -> Reply {
    let mut reply = reply::text(429, "Too many requests, please try again later.\n");
    reply.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(AGAIN));
    reply
}

#[cfg(test)]
mod tests;
