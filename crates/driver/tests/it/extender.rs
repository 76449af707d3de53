//! An external scheduler decides, binds if it wants to, and is not trusted.

use std::sync::{Arc, Mutex};

use dunlin_base::task::Task;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::policies::waits;
use crate::scheduling::{PODS, bound};
use crate::support::{Cluster, pod, until};

/// An HTTP server that answers each path as `answer` says, and remembers what it was asked.
struct Extender {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    _task: Task,
}

impl Extender {
    async fn start(answer: impl Fn(&str) -> (u16, Vec<u8>) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/my", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let serve = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let (path, body) = request(&mut stream).await;
                let (status, text) = answer(&path);
                seen.lock().expect("no panic").push((path, body));
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    text.len()
                );
                // Whoever finds the answer too long hangs up in the middle of it.
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&text).await;
            }
        };
        Self { url, asked, _task: Task::spawn("extender", serve) }
    }

    fn asked(&self, path: &str) -> Vec<Value> {
        let asked = self.asked.lock().expect("no panic");
        asked.iter().filter(|(of, _)| of == path).map(|(_, body)| body.clone()).collect()
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> (String, Value) {
    let (mut line, mut path, mut length) = (String::new(), String::new(), 0);
    loop {
        line.clear();
        stream.read_line(&mut line).await.expect("a line");
        if let Some(rest) = line.strip_prefix("POST ") {
            path = rest.split(' ').next().unwrap_or_default().to_owned();
        } else if let Some(rest) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = rest.trim().parse().expect("a length");
        } else if line == "\r\n" {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.expect("the body");
            return (path, serde_json::from_slice(&body).expect("JSON"));
        }
    }
}

fn ok(answer: &Value) -> (u16, Vec<u8>) {
    (200, answer.to_string().into_bytes())
}

async fn cluster_with(extender: &Extender) -> Cluster {
    let cluster = Cluster::with_scheduler(&format!("external={}", extender.url)).await;
    for name in ["n1", "n2", "n3"] {
        cluster.node(name, "4").await;
    }
    // One more that takes no pods: when the driver has given it a range, it has seen all that was told of the others.
    let last = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "last"}, "spec": {"unschedulable": true}});
    cluster.create("/api/v1/nodes", last).await;
    until("the driver knowing the nodes", || async {
        let node = cluster.get("/api/v1/nodes/last").await?;
        node["spec"]["podCIDR"].as_str().map(drop)
    })
    .await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_filters_and_prioritizes_and_is_told_all() {
    let extender = Extender::start(|path| match path {
        "/my/filter" => ok(&json!({"NodeNames": ["n1", "n2"], "FailedNodes": {"n3": "too far"}})),
        "/my/prioritize" => ok(&json!([{"Host": "n1", "Score": 1}, {"Host": "n2", "Score": 9}])),
        _ => (404, Vec::new()),
    })
    .await;
    let cluster = cluster_with(&extender).await;
    for name in ["p1", "p2", "p3"] {
        cluster.create(PODS, pod(name, "1")).await;
    }
    for name in ["p1", "p2", "p3"] {
        assert_eq!(bound(&cluster, name).await, "n2");
    }
    let args = &extender.asked("/my/filter")[0];
    assert_eq!(args["Pod"]["spec"]["containers"][0]["image"], "i", "the whole pod is told");
    assert_eq!(args["Nodes"]["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(args["NodeNames"].as_array().map(Vec::len), Some(3));
    assert_eq!(extender.asked("/my/prioritize")[0]["NodeNames"], json!(["n1", "n2"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_may_bind_and_its_refusal_is_told() {
    let extender = Extender::start(|path| match path {
        "/my/prioritize" => ok(&json!([])),
        "/my/bind" => ok(&json!({"Error": "the moon is wrong"})),
        _ => (404, Vec::new()),
    })
    .await;
    let cluster = cluster_with(&extender).await;
    let made = cluster.create(PODS, pod("p", "1")).await;
    let text = waits(&cluster, "p", |_| true).await;
    assert_eq!(text, "the external scheduler failed: it answered: the moon is wrong");
    let args = &extender.asked("/my/bind")[0];
    assert_eq!((&args["PodName"], &args["PodNamespace"]), (&json!("p"), &json!("default")));
    assert_eq!(args["PodUID"], made["metadata"]["uid"]);
    assert!(args["Node"].as_str().is_some_and(|node| node.starts_with('n')));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_does_wrong_is_told_and_nobody_decides_in_its_place() {
    let long = || {
        let mut text = b"\"".to_vec();
        text.resize(17 << 20, b'x');
        (200, text)
    };
    type Answer = Box<dyn Fn(&str) -> (u16, Vec<u8>) + Send>;
    let wrongs: [(Answer, &str); 6] = [
        (Box::new(|_| (404, Vec::new())), "is the path right?"),
        (Box::new(|_| (500, Vec::new())), "was answered with status 500"),
        (Box::new(|_| (200, b"<html>".to_vec())), "is no JSON"),
        (Box::new(|_| ok(&json!({"NodeNames": ["elsewhere"]}))), "which it was not offered"),
        (Box::new(|_| ok(&json!({"NodeNames": ["n1"]}))), "is no list of {Host, Score}"),
        (Box::new(move |_| long()), "is longer than 16777216 bytes"),
    ];
    for (answer, word) in wrongs {
        let extender = Extender::start(answer).await;
        let cluster = cluster_with(&extender).await;
        cluster.create(PODS, pod("p", "1")).await;
        // Before the node has told what it has, the pod waits for that.
        let text = waits(&cluster, "p", |text| text.starts_with("the external scheduler failed: ")).await;
        assert!(text.contains(word), "{text}");
        let pod = cluster.get(&format!("{PODS}/p")).await.expect("it is there");
        assert!(pod["spec"]["nodeName"].is_null());
    }
}
