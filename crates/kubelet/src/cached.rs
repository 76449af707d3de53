//! Answers that hold for a while, so that not every request of a client asks the API server again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A bounded memory of answers.
#[derive(Debug)]
pub struct Cached<K, V> {
    most: usize,
    known: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Hash + Eq + Clone, V: Clone> Cached<K, V> {
    /// One that holds `most` answers.
    pub fn new(most: usize) -> Self {
        Self { most, known: Mutex::default() }
    }

    /// The answer, if it still holds at `now`.
    pub fn get(&self, key: &K, now: Instant) -> Option<V> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(until, _)| *until > now).map(|(_, value)| value.clone())
    }

    /// Keeps an answer for so long. When there are too many, those that no longer hold go, and then all.
    pub fn keep(&self, key: K, value: V, life: Duration, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.most {
            known.retain(|_, (until, _)| *until > now);
        }
        if known.len() >= self.most {
            known.clear();
        }
        known.insert(key, (now + life, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_hold_for_a_while_and_are_few() {
        let cached = Cached::new(2);
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        cached.keep("a", 1, second, now);
        assert_eq!((cached.get(&"a", now), cached.get(&"a", now + second)), (Some(1), None));
        cached.keep("b", 2, second * 9, now);
        cached.keep("c", 3, second * 9, now + second);
        assert_eq!((cached.get(&"b", now + second), cached.get(&"c", now + second)), (Some(2), Some(3)));
        cached.keep("d", 4, second * 9, now + second);
        assert_eq!((cached.get(&"b", now + second), cached.get(&"d", now + second)), (None, Some(4)));
    }
}
