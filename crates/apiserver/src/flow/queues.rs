//! One priority level: so many requests run at once, the others wait in queues that are served in turn. Pure.
//!
//! A queue's `next` is the time at which its next request would start if all queues shared the level evenly; it grows by
//! what its requests cost, and the queue that is furthest behind is served first (start-time fair queuing, Goyal et al.
//! 1996). A queue that was idle starts at the present of that clock, so that it neither saves up nor has to wait for
//! those who took more than their share: it is served before any other is served twice.

use std::collections::VecDeque;

use super::hand;

/// What a request costs at least, in milliseconds of running; the rest is charged when it has run.
const LEAST: u64 = 1;

/// A request of the level, by a number that its owner gives.
pub type Ticket = u64;

/// How a level is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many requests run at once.
    pub seats: usize,
    /// Queues, how many of them a flow may use, and how many requests wait in one; without, nothing waits.
    pub queues: Option<(usize, usize, usize)>,
}

/// What becomes of a request that arrives.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It runs at once; the queue whose share it uses.
    Run(usize),
    /// It waits in this queue.
    Wait(usize),
    /// There is no place for it.
    Refuse(&'static str),
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Ticket>,
    running: usize,
    next: u64,
}

/// A level at work.
#[derive(Debug)]
pub struct Level {
    shape: Shape,
    queues: Vec<Queue>,
    running: usize,
    /// The present of the clock by which queues are compared.
    now: u64,
    /// Who was served last, so that equals take turns.
    last: usize,
}

impl Level {
    pub fn new(shape: Shape) -> Self {
        let mut level = Self { shape, queues: Vec::new(), running: 0, now: 0, last: 0 };
        level.reshape(shape);
        level
    }

    /// Another set-up; what waits goes on waiting where it is.
    pub fn reshape(&mut self, shape: Shape) {
        self.shape = shape;
        let wanted = shape.queues.map_or(1, |(queues, ..)| queues.max(1));
        if self.queues.len() < wanted {
            self.queues.resize_with(wanted, Queue::default);
        }
    }

    pub fn running(&self) -> usize {
        self.running
    }

    pub fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.waiting.len()).sum()
    }

    /// A request of the flow with this hash arrives.
    pub fn arrive(&mut self, hash: u64, ticket: Ticket) -> Arrival {
        let Some((deck, size, longest)) = self.shape.queues else {
            if self.running >= self.shape.seats {
                return Arrival::Refuse("concurrency-limit");
            }
            self.begin(0);
            return Arrival::Run(0);
        };
        let hand = hand::deal(hash, deck.max(1), size.max(1));
        let load = |at: &usize| {
            let queue = &self.queues[*at];
            (queue.waiting.len(), queue.running, queue.next)
        };
        let Some(at) = hand.into_iter().min_by_key(load) else { return Arrival::Refuse("queue-full") };
        let queue = &mut self.queues[at];
        if queue.waiting.is_empty() && queue.running == 0 {
            queue.next = queue.next.max(self.now);
        }
        if self.running < self.shape.seats && self.waiting() == 0 {
            self.begin(at);
            return Arrival::Run(at);
        }
        let queue = &mut self.queues[at];
        if queue.waiting.len() >= longest {
            return Arrival::Refuse("queue-full");
        }
        if queue.waiting.is_empty() {
            queue.next = queue.next.max(self.now);
        }
        queue.waiting.push_back(ticket);
        Arrival::Wait(at)
    }

    /// A request that ran for so many milliseconds is done; those that run now instead, with their queues.
    pub fn leave(&mut self, at: usize, took: u64) -> Vec<(Ticket, usize)> {
        self.running = self.running.saturating_sub(1);
        if let Some(queue) = self.queues.get_mut(at) {
            queue.running = queue.running.saturating_sub(1);
            queue.next = queue.next.saturating_add(took.saturating_sub(LEAST));
        }
        self.serve()
    }

    /// A request waits no longer.
    pub fn cancel(&mut self, at: usize, ticket: Ticket) {
        if let Some(queue) = self.queues.get_mut(at) {
            queue.waiting.retain(|other| *other != ticket);
        }
    }

    /// Gives free seats to those who wait.
    pub fn serve(&mut self) -> Vec<(Ticket, usize)> {
        let mut started = Vec::new();
        while self.running < self.shape.seats {
            let (count, last) = (self.queues.len(), self.last);
            let turn = |at: usize| (at + count - last - 1) % count;
            let ready = (0..count).filter(|at| !self.queues[*at].waiting.is_empty());
            let Some(at) = ready.min_by_key(|at| (self.queues[*at].next, turn(*at))) else { break };
            let Some(ticket) = self.queues[at].waiting.pop_front() else { break };
            self.now = self.now.max(self.queues[at].next);
            self.last = at;
            self.begin(at);
            started.push((ticket, at));
        }
        started
    }

    fn begin(&mut self, at: usize) {
        self.running += 1;
        let queue = &mut self.queues[at];
        queue.running += 1;
        queue.next = queue.next.saturating_add(LEAST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level(seats: usize, queues: usize, hand: usize, longest: usize) -> Level {
        Level::new(Shape { seats, queues: Some((queues, hand, longest)) })
    }

    #[test]
    fn without_queues_what_has_no_seat_is_refused() {
        let mut level = Level::new(Shape { seats: 2, queues: None });
        assert_eq!(level.arrive(1, 1), Arrival::Run(0));
        assert_eq!(level.arrive(1, 2), Arrival::Run(0));
        assert_eq!(level.arrive(2, 3), Arrival::Refuse("concurrency-limit"));
        assert!(level.leave(0, 5).is_empty());
        assert_eq!(level.arrive(2, 3), Arrival::Run(0));
    }

    #[test]
    fn a_full_queue_refuses_and_a_cancelled_place_is_free_again() {
        let mut level = level(1, 1, 1, 2);
        assert_eq!(level.arrive(0, 1), Arrival::Run(0));
        assert_eq!(level.arrive(0, 2), Arrival::Wait(0));
        assert_eq!(level.arrive(0, 3), Arrival::Wait(0));
        assert_eq!(level.arrive(0, 4), Arrival::Refuse("queue-full"));
        level.cancel(0, 2);
        assert_eq!(level.arrive(0, 5), Arrival::Wait(0));
        assert_eq!(level.leave(0, 1), [(3, 0)]);
        assert_eq!((level.running(), level.waiting()), (1, 1));
    }

    #[test]
    fn who_ran_long_waits_for_who_ran_briefly() {
        let mut level = level(1, 2, 1, 50);
        // Hash 0 is dealt queue 0, hash 1 queue 1.
        assert_eq!(level.arrive(0, 1), Arrival::Run(0));
        for ticket in 2..6 {
            level.arrive(0, ticket);
        }
        for ticket in 10..14 {
            level.arrive(1, ticket);
        }
        let mut order = Vec::new();
        let mut at = 0;
        for _ in 0..8 {
            // Requests of the first flow take a hundred times as long.
            let started = level.leave(at, if at == 0 { 100 } else { 1 });
            let (ticket, queue) = started[0];
            order.push(ticket);
            at = queue;
        }
        assert_eq!(order[..4], [10, 11, 12, 13]);
    }

    #[test]
    fn a_level_that_grows_serves_more() {
        let mut level = level(1, 1, 1, 50);
        for ticket in 0..4 {
            level.arrive(0, ticket);
        }
        level.reshape(Shape { seats: 3, queues: Some((4, 1, 50)) });
        assert_eq!(level.serve().len(), 2);
        level.reshape(Shape { seats: 1, queues: Some((1, 1, 50)) });
        assert!(level.leave(0, 1).is_empty());
    }

    proptest! {
        /// However much the noisy flows send and however long their requests take, a flow that comes anew is served
        /// before any other queue is served twice.
        #[test]
        fn no_flow_starves(
            seats in 1usize..5,
            noisy in prop::collection::vec((0u64..u64::MAX, 1usize..100), 1..8),
            polite: u64,
            took in prop::collection::vec(1u64..1000, 64),
            before in 0usize..200,
        ) {
            let mut level = level(seats, 64, 4, 50);
            let mut running: VecDeque<usize> = VecDeque::new();
            let mut ticket = 0;
            for round in 0..100 {
                for (hash, count) in &noisy {
                    if round < *count {
                        ticket += 1;
                        if let Arrival::Run(at) = level.arrive(*hash, ticket) {
                            running.push_back(at);
                        }
                    }
                }
            }
            for step in 0..before {
                let Some(at) = running.pop_front() else { break };
                running.extend(level.leave(at, took[step % took.len()]).iter().map(|(_, at)| *at));
            }
            let shared = |level: &Level, at: usize| level.queues[at].waiting.len();
            let busy = level.queues.iter().filter(|queue| !queue.waiting.is_empty()).count();
            let own = u64::MAX;
            match level.arrive(polite, own) {
                Arrival::Run(_) => {}
                // Its whole hand is full only if it is the noisy flow's.
                Arrival::Refuse(_) => prop_assert!(noisy.iter().any(|(hash, _)| *hash == polite)),
                Arrival::Wait(at) => {
                    let ahead = shared(&level, at) - 1;
                    // It may have to share a queue that had more than its part, if its hand has no other.
                    let owes = level.queues[at].next > level.now;
                    let spare = hand::deal(polite, 64, 4).into_iter().any(|at| level.queues[at].next == 0);
                    prop_assert!(!(owes && spare));
                    let mut served = 0;
                    'run: for step in 0.. {
                        let left = running.pop_front().expect("somebody runs as long as somebody waits");
                        for (ticket, queue) in level.leave(left, took[step % took.len()]) {
                            if ticket == own {
                                break 'run;
                            }
                            served += 1;
                            running.push_back(queue);
                        }
                        // Alone in its queue it waits for one of each other queue at most.
                        prop_assert!(ahead > 0 || owes || served <= busy, "{served} of {busy}");
                        prop_assert!(served < 5000);
                    }
                }
            }
        }
    }
}
