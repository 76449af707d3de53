//! The API as a client in the same process sees it: requests in, answers out, over a store in memory.

mod admission;
mod aggregation;
mod auditing;
mod conversion;
mod custom;
mod fairness;
mod histories;
mod nodes;
mod oidc;
mod policies;
mod rights;
mod sessions;
mod streams;
mod support;
mod verbs;
mod watching;
mod webhook;
