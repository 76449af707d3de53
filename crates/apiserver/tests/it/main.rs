//! The API as a client in the same process sees it: requests in, answers out, over a store in memory.

mod aggregation;
mod conversion;
mod custom;
mod fairness;
mod nodes;
mod rights;
mod sessions;
mod streams;
mod support;
mod verbs;
mod watching;
