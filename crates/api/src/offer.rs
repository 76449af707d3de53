//! The question a parent asks a child cluster before it binds pods to it, and the answers: `POST /v1/offers` of the
//! node's HTTP service.
//!
//! A binding can never be changed, and aggregates only say "maybe"; so the child's own scheduler finds places and keeps
//! them for some seconds, or says why it has none.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Path below the node.
pub const PATH: &str = "/v1/offers";
/// The most pods of one question.
pub const MOST: usize = 64;
/// The largest question and the largest answer, bytes.
pub const LARGEST: usize = 8 << 20;
/// How long places may be kept at most, in seconds.
pub const LONGEST: u32 = 60;

/// Are there places for these pods?
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Offer {
    /// How long to keep the places, in seconds.
    pub seconds: u32,
    /// The pods as the asking API has them.
    pub pods: Vec<Value>,
}

/// One answer for each pod, in the same order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answers {
    pub answers: Vec<Answer>,
}

/// A place, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Kept on this machine, by path below the cluster.
    Reserved { machine: String },
    /// No place.
    Refused { reason: String },
}
