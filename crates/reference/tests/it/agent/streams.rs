//! What kubectl streams through the real API server and our kubelet API: logs, exec, attach, port-forward.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use super::World;

/// A child that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn piped(command: &mut Command) -> Result<Ended> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    spawned.map(Ended).context("starting kubectl")
}

pub fn check(world: &World) -> Result<()> {
    logs(world)?;
    exec(world)?;
    attach(world)?;
    forward(world)?;
    println!("  logs, exec, attach and port-forward");
    Ok(())
}

fn logs(world: &World) -> Result<()> {
    let pod = world.pod()?;
    let kubectl = &world.kubectl;
    let all = kubectl.run(&["logs", &pod])?;
    ensure!(all.contains("line 2\nline 3\n"), "the log is {all:?}");
    let last = kubectl.run(&["logs", &pod, "--tail=2", "--timestamps"])?;
    ensure!(last.lines().count() == 2 && last.starts_with("20"), "the last lines are {last:?}");
    let few = kubectl.run(&["logs", &pod, "--limit-bytes=6"])?;
    ensure!(few == "line 1" || few.len() == 6, "six bytes are {few:?}");
    let none = kubectl.refused(&["logs", &pod, "-c", "other"], "")?;
    ensure!(none.contains("container other is not valid for pod"), "{none}");
    let previous = kubectl.refused(&["logs", &pod, "--previous"], "")?;
    ensure!(previous.contains("previous terminated container \"main\" in pod"), "{previous}");
    // Lines that did not exist when the log was opened arrive.
    let mut following = piped(&mut kubectl.command(&["logs", "-f", "--tail=1", &pod]))?;
    let lines = BufReader::new(following.0.stdout.take().context("a pipe")?).lines();
    let seen: Vec<String> = lines.take(5).collect::<Result<_, _>>()?;
    let number = |line: &String| line.trim_start_matches("line ").parse::<u64>().unwrap_or_default();
    ensure!(number(&seen[4]) == number(&seen[0]) + 4, "followed: {seen:?}");
    Ok(())
}

fn exec(world: &World) -> Result<()> {
    let pod = world.pod()?;
    let kubectl = &world.kubectl;
    // Both ways of kubectl: WebSockets, which the API server translates, and SPDY, which it passes through.
    for way in ["true", "false"] {
        let kubectl = kubectl.clone().env(&[("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", way)]);
        let echoed = kubectl.run_with(&["exec", "-i", &pod, "--", "cat"], "through and back\n")?;
        ensure!(echoed == "through and back\n", "WebSockets {way}: {echoed:?}");
        let failed =
            kubectl.output(&["exec", &pod, "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 3"], "")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&failed.stdout), text(&failed.stderr));
        ensure!(failed.status.code() == Some(3), "WebSockets {way}: {:?} {out} {err}", failed.status);
        ensure!(out == "out\n" && err.contains("err\n"), "WebSockets {way}: {out:?} {err:?}");
        // More than any buffer on the way.
        let large = "0123456789abcdef".repeat(64 << 10);
        let back = kubectl.run_with(&["exec", "-i", &pod, "--", "cat"], &large)?;
        ensure!(back == large, "WebSockets {way}: of {} bytes {} came back", large.len(), back.len());
    }
    let none = kubectl.refused(&["exec", &pod, "--", "/no/such/program"], "")?;
    ensure!(none.contains("no such file") || none.contains("not found"), "{none}");
    Ok(())
}

fn attach(world: &World) -> Result<()> {
    let mut attached = piped(&mut world.kubectl.command(&["attach", &world.pod()?]))?;
    let lines = BufReader::new(attached.0.stdout.take().context("a pipe")?).lines();
    let seen: Vec<String> = lines.take(2).collect::<Result<_, _>>()?;
    ensure!(seen.iter().all(|line| line.starts_with("line ")), "attached: {seen:?}");
    Ok(())
}

fn forward(world: &World) -> Result<()> {
    for way in ["true", "false"] {
        let kubectl = world.kubectl.clone().env(&[("KUBECTL_PORT_FORWARD_WEBSOCKETS", way)]);
        let mut forwarding = piped(&mut kubectl.command(&["port-forward", &world.pod()?, ":8080"]))?;
        let mut told = String::new();
        // Held to the end: kubectl says more, and dies when nobody listens.
        let mut saying = BufReader::new(forwarding.0.stdout.take().context("a pipe")?);
        saying.read_line(&mut told)?;
        let port = told.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
        let port: u16 = port.and_then(|port| port.parse().ok()).with_context(|| format!("told {told:?}"))?;
        // kubectl listens on its machine's loopback.
        let namespace = world.kubernetes.host.namespace();
        std::thread::scope(|scope| {
            let ask = scope.spawn(|| -> Result<()> {
                namespace.enter()?;
                wait::until("an answer through the forwarded port", PATIENCE, || {
                    for _ in 0..3 {
                        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
                        stream.write_all(b"GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")?;
                        let mut answer = String::new();
                        stream.read_to_string(&mut answer)?;
                        ensure!(answer.contains("hello from web-"), "WebSockets {way}: {answer:?}");
                    }
                    Ok(())
                })
            });
            ask.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))?
        })?;
        drop(saying);
    }
    Ok(())
}
