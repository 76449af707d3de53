//! The program on both sides of a virtual machine's border. It must not know what an image or a pod is: what it does was
//! planned by the runtime and stands in a file, a message or its arguments.

#[path = "agent/agent.rs"]
mod agent;
#[path = "client.rs"]
mod client;
#[path = "local.rs"]
mod local;
#[path = "monitor/monitor.rs"]
mod monitor;
#[path = "outcome.rs"]
mod outcome;
#[path = "port.rs"]
mod port;
#[path = "stream.rs"]
mod stream;
#[path = "sys.rs"]
mod sys;

/// `dunlin-guest monitor BUNDLE`, `probe FILE` and `exec BUNDLE TTY ARGS...` on the host; as process 1 the agent.
fn main() {
    let args: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["monitor", bundle] => monitor::run(bundle),
        ["probe", file] => monitor::probe(file),
        ["exec", bundle, tty, command @ ..] => client::run(bundle, *tty == "tty", command),
        _ if std::process::id() == 1 => agent::run(),
        _ => {
            eprintln!("usage: dunlin-guest monitor BUNDLE | probe FILE | exec BUNDLE tty|none COMMAND...");
            std::process::exit(2);
        }
    }
}
