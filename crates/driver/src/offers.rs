//! Asking child clusters for places, through the API's `nodes/x/proxy` and so through the tunnel.
//!
//! All pods of one turn that may go to the same cluster are one question. A cluster that cannot be asked refuses.

use std::sync::Arc;
use std::time::Duration;

use dunlin_api::offer::{Answer, Answers, Offer, PATH};
use dunlin_base::error::chain;
use dunlin_control::model::{Key, Pod};
use kube::Client;
use serde_json::Value;
use tokio::sync::oneshot;

/// How long an answer may take: a child asks its own children in the meantime.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a child keeps places, in seconds: the time until the bound pod has come down to it.
pub const KEPT: u32 = 20;

/// What an accepted pod is then.
#[derive(Debug)]
pub enum Then {
    /// Bound here.
    Bind(Key),
    /// Reported to our own parent, which asked; with the place among its answers.
    Answer(Arc<Question>, usize),
}

/// A pod that waits for a child's answer.
#[derive(Debug)]
pub struct Asked {
    pub pod: Arc<Pod>,
    /// As it is sent; a pod of this API is read when the question is put.
    pub raw: Option<Value>,
    pub then: Then,
}

/// A question of our parent whose answers come in one by one.
#[derive(Debug)]
pub struct Question {
    state: std::sync::Mutex<State>,
}

#[derive(Debug)]
struct State {
    answers: Vec<Option<Answer>>,
    reply: Option<oneshot::Sender<Vec<Answer>>>,
}

impl Question {
    pub fn new(pods: usize, reply: oneshot::Sender<Vec<Answer>>) -> Arc<Self> {
        let state = State { answers: vec![None; pods], reply: Some(reply) };
        Arc::new(Self { state: std::sync::Mutex::new(state) })
    }

    /// Takes the answer for one pod; the last one sends all.
    pub fn answer(&self, at: usize, answer: Answer) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.answers[at] = Some(answer);
        if state.answers.iter().all(Option::is_some)
            && let Some(reply) = state.reply.take()
        {
            // Whoever asked may have gone; the places are given up in time.
            let _ = reply.send(state.answers.drain(..).flatten().collect());
        }
    }
}

/// The answers of one cluster.
pub struct Answered {
    pub node: Arc<str>,
    pub pods: Vec<(Asked, Answer)>,
}

/// Asks the cluster behind `node`.
pub async fn ask(client: Client, node: Arc<str>, asked: Vec<Asked>) -> Answered {
    let answers = match tokio::time::timeout(PATIENCE, put(&client, &node, &asked)).await {
        Ok(Ok(answers)) if answers.len() == asked.len() => answers,
        Ok(Ok(_)) => refused(&asked, "it answered another question"),
        Ok(Err(error)) => refused(&asked, &format!("it cannot be asked: {error}")),
        Err(_) => refused(&asked, "it did not answer in time"),
    };
    Answered { node, pods: asked.into_iter().zip(answers).collect() }
}

fn refused(asked: &[Asked], reason: &str) -> Vec<Answer> {
    asked.iter().map(|_| Answer::Refused { reason: reason.to_owned() }).collect()
}

async fn put(client: &Client, node: &str, asked: &[Asked]) -> Result<Vec<Answer>, String> {
    let mut pods = Vec::with_capacity(asked.len());
    // A pod that cannot be read any more is refused by itself.
    let mut unread: Vec<Option<Answer>> = Vec::with_capacity(asked.len());
    for one in asked {
        let read = match &one.raw {
            Some(raw) => Ok(raw.clone()),
            None => read(client, &one.pod).await,
        };
        unread.push(read.map(|pod| pods.push(pod)).err().map(|reason| Answer::Refused { reason }));
    }
    if pods.is_empty() {
        return Ok(unread.into_iter().flatten().collect());
    }
    let body = serde_json::to_vec(&Offer { seconds: KEPT, pods }).map_err(|e| e.to_string())?;
    let request = http::Request::post(format!("/api/v1/nodes/{node}/proxy{PATH}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|e| e.to_string())?;
    let answers: Answers = client.request(request).await.map_err(|e| match e {
        kube::Error::Api(status) => status.message.clone(),
        other => chain(&other),
    })?;
    let mut answers = answers.answers.into_iter();
    let all: Vec<Answer> =
        unread.into_iter().filter_map(|refused| refused.or_else(|| answers.next())).collect();
    Ok(all)
}

/// The whole pod: the projection that decisions are made on lacks most of it.
async fn read(client: &Client, pod: &Pod) -> Result<Value, String> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", pod.metadata.namespace, pod.metadata.name);
    let request = http::Request::get(path).body(Vec::new()).map_err(|e| e.to_string())?;
    client.request(request).await.map_err(|e| chain(&e))
}
