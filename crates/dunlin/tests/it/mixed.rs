//! One machine with every kind of workload at once, while what keeps it up is killed at random.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::dice::Dice;
use dunlin_testkit::guest::kernel::Kernel;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::program;
use dunlin_testkit::wait;

use crate::support::{Server, World, classes};

/// How often something is killed.
const KILLS: usize = 8;
/// How long a pod may take to be back: its container may have to wait for its turn after several deaths.
const BACK: Duration = Duration::from_secs(120);

#[test]
fn every_kind_survives_what_is_killed() -> Result<()> {
    let seed = match std::env::var("DUNLIN_KILL_SEED") {
        Ok(text) => text.parse().context("DUNLIN_KILL_SEED is no number")?,
        Err(_) => u64::from(std::time::UNIX_EPOCH.elapsed()?.subsec_nanos()),
    };
    // Told when the test fails.
    println!("DUNLIN_KILL_SEED={seed}");
    let mut dice = Dice::new(seed);
    let kernel = Kernel::find()?;
    let (image, modules) = (kernel.image.display().to_string(), kernel.modules.display().to_string());
    let flags = ["--native-processes", "--microvm-kernel", &image, "--microvm-modules", &modules];
    let mut world = World::told(&flags)?;
    world.server.import(&ImageBuilder::hello_component()?, "hello-wasm:test")?;
    world.server.import(&ImageBuilder::http_component()?, "http-wasm:test")?;
    let program = program::hello()?.display().to_string();
    let kinds = [
        ("as-oci", "oci", "hello:test", 2),
        ("as-process", "process", program.as_str(), 2),
        ("as-wasm", "wasm", "hello-wasm:test", 2),
        ("as-wasi-http", "wasm", "http-wasm:test", 2),
        ("as-microvm", "microvm", "hello:test", 1),
    ];
    for (name, handler, image, replicas) in kinds {
        world.kubectl.apply(&classes(&[(handler, handler)]))?;
        world.kubectl.apply(&Server { replicas, ..Server::new(name, handler, image) }.manifest())?;
    }
    let kubectl = world.kubectl.clone();
    let all_there = |world: &World| {
        for (name, ..) in kinds {
            let name = format!("deployment/{name}");
            kubectl.run(&["rollout", "status", &name, &format!("--timeout={}s", BACK.as_secs())])?;
        }
        // As many of each as are wanted, and none beside them.
        wait::until("no more processes than pods", PATIENCE, || {
            let seen = world.server.processes()?;
            let count = |name: &str| seen.iter().filter(|process| process.command.starts_with(name)).count();
            let guests = (count("wasm hello"), count("wasm http"), count("wasm host"));
            let counts = (count("hello"), guests, count("qemu"), count("dunlin-shim"));
            ensure!(counts == (4, (2, 2, 1), 1, 9), "{counts:?}: {seen:?}");
            Ok(())
        })
    };
    all_there(&world)?;
    let pods = || kubectl.run(&["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]);
    let names = pods()?;
    for n in 0..KILLS {
        let seen = world.server.processes()?;
        let kept = |name: &str| {
            name.starts_with("hello") || name.starts_with("wasm") || name.starts_with("dunlin-shim")
        };
        let killable: Vec<_> = seen.iter().filter(|process| kept(&process.command)).collect();
        let chosen = dice.roll(killable.len() + 2);
        match killable.get(chosen) {
            Some(process) => {
                println!("kill {n}: {} {}", process.command, process.pid);
                process.kill();
            }
            None => {
                println!("kill {n}: the server with its agent");
                world.server.kill();
                world.server.start()?;
                world.server.wait_for_node("")?;
            }
        }
        all_there(&world).with_context(|| format!("after kill {n}, DUNLIN_KILL_SEED={seed}"))?;
        // Whatever it lost, a pod is brought back where it is.
        let now = pods()?;
        ensure!(now == names, "{names} became {now} after kill {n}, DUNLIN_KILL_SEED={seed}");
    }
    kubectl.run(&["delete", "deployments", "--all", "--timeout=60s"])?;
    wait::until("everything gone", PATIENCE, || {
        let left = kubectl.run(&["get", "pods", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        let seen = world.server.processes()?;
        let others: Vec<_> = seen.iter().filter(|process| process.command != "dunlin").collect();
        ensure!(others.is_empty(), "{others:?}");
        Ok(())
    })
}
