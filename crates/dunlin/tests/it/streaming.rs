//! exec, attach and port-forward in both of kubectl's ways: over WebSockets, and over SPDY/3.1 by itself.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::{Dunlin, PATIENCE};
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::process::Process;
use dunlin_testkit::{program, wait};

use crate::support::{World, pod_when, running, shell, terminal};

/// The variables with which kubectl is told to use SPDY by itself.
pub const SPDY: [(&str, &str); 2] =
    [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false"), ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")];

/// A pod with a web server on 8080 and an echo on 9000; nothing listens on 81.
const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: served}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: web, image: 'hello:test', readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}
  - {name: echo, image: 'hello:test', args: [echo, '9000'], readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1}}
";

/// A running `kubectl port-forward`, and the local ports in the order of those asked for.
struct Forward {
    kubectl: Process,
    ports: Vec<u16>,
}

impl Forward {
    /// On the machine of `server`, where `kubectl` runs.
    fn start(server: &Dunlin, kubectl: &Kubectl, name: &str, remote: &[u16]) -> Result<Self> {
        let wanted: Vec<String> = remote.iter().map(|port| format!(":{port}")).collect();
        let mut args = vec!["port-forward", "--address=127.0.0.1", "pod/served"];
        args.extend(wanted.iter().map(String::as_str));
        let log = server.data.path().join(format!("port-forward-{name}"));
        // Logs are appended to, and one of an earlier kubectl would tell its ports.
        let _ = std::fs::remove_file(&log);
        let kubectl = Process::start(kubectl.command(&args), &log)?;
        let ports = wait::until("kubectl listening", PATIENCE, || {
            let said = kubectl.log();
            let port = |remote: &u16| -> Option<u16> {
                let line = said.lines().find(|line| line.ends_with(&format!("-> {remote}")))?;
                line.strip_prefix("Forwarding from 127.0.0.1:")?.split(' ').next()?.parse().ok()
            };
            remote.iter().map(port).collect::<Option<Vec<u16>>>().with_context(|| said.clone())
        })?;
        Ok(Self { kubectl, ports })
    }

    /// Sends `input` through the port at `place` and gives what comes back.
    fn send(&self, server: &Dunlin, place: usize, input: &[u8]) -> Result<Vec<u8>> {
        let mut command = server.host.command(&program::hello()?);
        let mut child = command
            .args(["send", &format!("127.0.0.1:{}", self.ports[place])])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut pipe = child.stdin.take().context("a pipe")?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || std::io::Write::write_all(&mut pipe, input));
            let output = child.wait_with_output()?;
            writing
                .join()
                .expect("writing does not panic")
                .context(format!("kubectl: {}", self.kubectl.log()))?;
            Ok(output.stdout)
        })
    }
}

/// Through the tunnel of an agent, as most nodes have one.
#[test]
fn forwards_ports_over_websocket() -> Result<()> {
    let world = World::new()?;
    let agent = Dunlin::agent(&world.lan, &world.server, "two", &[])?;
    agent.import(&ImageBuilder::hello()?, "hello:test")?;
    forwards_ports(&world.server, "nodeName: two", &world.kubectl)
}

#[test]
fn forwards_ports_over_spdy() -> Result<()> {
    let world = World::new()?;
    forwards_ports(&world.server, "nodeName: one", &world.kubectl.clone().env(&SPDY))
}

/// Everything about `kubectl port-forward` on the machine of `server`, to a pod at the `place` that a line of its spec
/// chooses. The pod is left there, for another kubectl to ask for the same.
pub fn forwards_ports(server: &Dunlin, place: &str, kubectl: &Kubectl) -> Result<()> {
    kubectl.apply(&format!("{POD}  {place}\n"))?;
    pod_when(kubectl, "served", running)?;
    let forward = Forward::start(server, kubectl, "all", &[8080, 9000])?;

    // Many connections at once, each answered with its own.
    std::thread::scope(|scope| -> Result<()> {
        let asked: Vec<_> =
            (0..12).map(|_| scope.spawn(|| server.http("127.0.0.1", forward.ports[0], "/"))).collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.join().expect("a request does not panic")?);
        }
        answers.sort_unstable();
        answers.dedup();
        ensure!(answers.len() == 12, "every request has its own answer: {answers:?}");
        ensure!(answers.iter().all(|a| a.starts_with("hello from served (")), "{answers:?}");
        Ok(())
    })?;

    // A large body in both directions, and another connection meanwhile. The end of the input must reach the echo, or
    // it would never end its answer.
    let large: Vec<u8> = (0..8u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::thread::scope(|scope| -> Result<()> {
        let echoed = scope.spawn(|| forward.send(server, 1, &large));
        ensure!(forward.send(server, 1, b"small")? == b"small");
        let echoed = echoed.join().expect("sending does not panic")?;
        ensure!(echoed == large, "{} of {} bytes came back", echoed.len(), large.len());
        Ok(())
    })?;

    // A port on which nothing listens is an error of that connection, told in words.
    let mut refused = Forward::start(server, kubectl, "refused", &[81])?;
    ensure!(refused.send(server, 0, b"anybody?").is_ok_and(|said| said.is_empty()));
    wait::until("the refusal being told", PATIENCE, || {
        let said = refused.kubectl.log();
        for words in ["error forwarding port 81 to pod served, uid ", "onnection refused"] {
            ensure!(said.contains(words), "{words:?} is missing in {said}");
        }
        Ok(())
    })?;
    refused.kubectl.kill();

    // A client that is gone ends its connections in the pod.
    let mut killed = Forward::start(server, kubectl, "killed", &[9000])?;
    let before = echoed(kubectl)?;
    let mut command = server.host.command(&program::hello()?);
    let mut open = command
        .args(["send", &format!("127.0.0.1:{}", killed.ports[0])])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = open.stdin.take().context("a pipe")?;
    std::io::Write::write_all(&mut pipe, b"ping\n")?;
    let mut answer = [0; 5];
    std::io::Read::read_exact(open.stdout.as_mut().context("a pipe")?, &mut answer)?;
    ensure!(answer == *b"ping\n" && echoed(kubectl)? == before, "the connection is open");
    killed.kubectl.kill();
    let ended = wait::until("the pod's connection ending with its client", PATIENCE, || {
        let now = echoed(kubectl)?;
        ensure!(now > before, "{now} connections have ended");
        Ok(())
    });
    drop(pipe);
    open.wait()?;
    ended
}

/// How many connections that carried something the echo has seen the end of; probes carry nothing.
fn echoed(kubectl: &Kubectl) -> Result<usize> {
    let log = kubectl.run(&["logs", "served", "-c", "echo"])?;
    Ok(log.lines().filter(|line| line.contains("echoed") && !line.contains("Ok(0)")).count())
}

#[test]
fn runs_commands_over_spdy() -> Result<()> {
    let world = World::new()?;
    runs_commands(&world.kubectl.clone().env(&SPDY), "")
}

/// Everything about `exec`, `attach` and `logs -f`, in a pod at the `place` that a line of its spec chooses.
pub fn runs_commands(kubectl: &Kubectl, place: &str) -> Result<()> {
    shell(kubectl, "shell", "while read line; do echo heard $line; done", "    stdin: true", place)?;
    pod_when(kubectl, "shell", running)?;

    let output =
        kubectl.output(&["exec", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], "")?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(out == "out\n" && err.starts_with("err\n"), "out {out:?}, err {err:?}");
    ensure!(output.status.code() == Some(7) && err.contains("exit code 7"), "{}: {err}", output.status);
    ensure!(kubectl.refused(&["exec", "shell", "--", "/no/such"], "")?.contains("/no/such"));

    // The end of the input must arrive, or `cat` would not end; all of it must come back.
    let long = "through the pipe\n".repeat(100_000);
    ensure!(kubectl.run_with(&["exec", "-i", "shell", "--", "cat"], &long)? == long);
    // Input that nobody reads holds nothing up.
    ensure!(kubectl.run_with(&["exec", "-i", "shell", "--", "echo", "done"], &long)? == "done\n");

    let said = terminal(
        kubectl,
        "stty rows 33 cols 99",
        &[
            "exec",
            "-it",
            "shell",
            "--",
            "sh",
            "-c",
            "tty; until stty size | grep '33 99'; do sleep 0.1; done",
        ],
    )?;
    ensure!(said.contains("/dev/pts/") || said.contains("/dev/console"), "no terminal inside: {said}");
    ensure!(said.contains("33 99"), "the size of the terminal did not arrive: {said}");

    // Who attaches is heard at once, by itself and by those who read along.
    let mut following = Talk::start(kubectl, &["logs", "-f", "shell"])?;
    let mut attached = Talk::start(kubectl, &["attach", "-i", "shell"])?;
    for word in ["me", "you"] {
        std::io::Write::write_all(&mut attached.input, format!("{word}\n").as_bytes())?;
        for (who, talk) in [("attach", &mut attached), ("logs -f", &mut following)] {
            let heard = talk.lines.next().with_context(|| format!("{who} ended without a line"))??;
            ensure!(heard == format!("heard {word}"), "{who} said {heard}");
        }
    }
    kubectl.run(&["delete", "pod", "shell", "--timeout=30s"])?;
    ensure!(following.lines.next().is_none(), "logs -f goes on without its pod");
    Ok(())
}

/// A kubectl that one speaks with. Dropping it ends it.
struct Talk {
    kubectl: std::process::Child,
    input: std::process::ChildStdin,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Talk {
    fn start(kubectl: &Kubectl, args: &[&str]) -> Result<Self> {
        let mut kubectl = kubectl
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let input = kubectl.stdin.take().context("a pipe")?;
        let output = kubectl.stdout.take().context("a pipe")?;
        Ok(Self { kubectl, input, lines: std::io::BufRead::lines(std::io::BufReader::new(output)) })
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

#[test]
fn streams_need_the_right_to_create_them() -> Result<()> {
    let world = World::new()?;
    world.kubectl.apply(POD)?;
    world.pod_when("served", running)?;
    world.kubectl.run(&["create", "serviceaccount", "reader"])?;
    world.kubectl.run(&[
        "create",
        "rolebinding",
        "reads",
        "--clusterrole=view",
        "--serviceaccount=default:reader",
    ])?;
    for kubectl in [world.kubectl.clone(), world.kubectl.clone().env(&SPDY)] {
        for args in
            [&["exec", "served", "-c", "web", "--", "/hello", "env"][..], &["port-forward", "served", ":80"]]
        {
            let mut all = vec!["--as=system:serviceaccount:default:reader"];
            all.extend(args);
            let said = kubectl.refused(&all, "")?;
            ensure!(
                said.contains("forbidden") && said.contains("cannot create resource"),
                "{args:?}: {said}"
            );
        }
    }
    Ok(())
}
