//! The API as a client in the same process sees it: requests in, answers out, over a store in memory.

mod conversion;
mod custom;
mod nodes;
mod policies;
mod rights;
mod sessions;
mod streams;
mod support;
mod verbs;
mod watching;
