//! Faults picked by a seed: some seconds of them, then all is healed, and the invariants must hold.
//!
//! The first machine is the server that is asked; its program is restarted and nothing worse. The first machine that runs
//! a copy at the beginning keeps its power, so that a copy always survives: whoever deletes that one is caught. Every other
//! machine and every site suffers everything. The seed is printed; `DUNLIN_CHAOS_SEED` repeats a run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dunlin_testkit::cable::Cable;
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::dice::Dice;
use dunlin_testkit::wait;

use crate::expect;
use crate::parse::length;
use crate::world::World;

/// `chaos SEED TIME SELECTOR COUNT COMMAND`: so many pods, each of which runs a process of that name.
pub fn run(world: &mut World, seed: &str, time: Duration, words: &[&str]) -> Result<()> {
    let [selector, wanted, command] = words else {
        bail!("write: chaos SEED TIME SELECTOR COUNT COMMAND");
    };
    let seed = match std::env::var("DUNLIN_CHAOS_SEED") {
        Ok(text) => text.parse().context("DUNLIN_CHAOS_SEED is no number")?,
        Err(_) if seed == "any" => std::time::UNIX_EPOCH.elapsed()?.subsec_nanos().into(),
        Err(_) => seed.parse().context("the seed is a number, or `any`")?,
    };
    println!("chaos with DUNLIN_CHAOS_SEED={seed}");
    world.note(selector)?;
    let names = world.names().to_vec();
    let sites: Vec<String> = world.sites().map(str::to_owned).collect();
    let (server, others) = names.split_first().context("chaos needs machines")?;
    let running = |world: &World, name: &str| -> Result<usize> { world.get(name)?.running(command) };
    let all_running = |world: &World| names.iter().map(|name| running(world, name)).sum::<Result<usize>>();
    let mut survivor = None;
    for name in &names {
        if survivor.is_none() && running(world, name)? > 0 {
            survivor = Some(name);
        }
    }
    let survivor = survivor.context("no machine runs a copy at the beginning")?;
    let mut dice = Dice::new(seed);
    let mut rebooted = BTreeSet::new();
    let mut history = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let victim = dice.roll(others.len() + sites.len());
        let is_site = victim >= others.len();
        let victim = others.get(victim).unwrap_or_else(|| &sites[victim - others.len()]);
        let fault = match dice.roll(7) {
            0 => format!("cut {victim}"),
            1 => format!("mend {victim}"),
            2 if !is_site => format!("kill {victim}"),
            3 if !is_site => format!("start {victim}"),
            4 if !is_site && victim != survivor => format!("reboot {victim}"),
            2..=5 => format!("lossy {victim}"),
            _ => format!("restart {server}"),
        };
        history.push(fault.clone());
        let done = match fault.split_once(' ').unwrap_or_default() {
            ("cut", name) => world.cable(name, Cable::cut),
            ("mend", name) => world.cable(name, Cable::mend),
            ("kill", name) => world.machine(name).map(|machine| machine.kill()),
            ("start", name) if world.get(name)?.is_started() => Ok(()),
            ("start", name) => world.machine(name)?.start(),
            ("reboot", name) => {
                rebooted.insert(name.to_owned());
                world.machine(name)?.reboot()
            }
            ("lossy", name) => world.cable(name, |cable| cable.lossy(20)),
            (_, name) => world.machine(name).and_then(|machine| {
                machine.kill();
                machine.start()
            }),
        };
        done.with_context(|| format!("after {history:?}"))?;
        let pause = Instant::now() + length(["500ms", "1s", "3s"][dice.roll(3)])?;
        while Instant::now() < pause.min(end) {
            ensure!(all_running(world)? > 0, "no copy runs any more after {history:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    println!("chaos: {history:?}");
    for name in names.iter().chain(&sites) {
        world.cable(name, |cable| {
            cable.lossy(0)?;
            cable.mend()
        })?;
        if names.contains(name) && !world.get(name)?.is_started() {
            world.machine(name)?.start()?;
        }
    }
    let wanted: usize = wanted.parse().context("the count is a number")?;
    wait::until("healing", PATIENCE * 2, || {
        for (knows, node) in world.nodes().to_vec() {
            world.ask(&knows)?;
            expect::check(world, &["node", &node, "ready"]).with_context(|| format!("node {node}"))?;
        }
        world.ask(server)?;
        expect::check(world, &["pods", selector, "count", &wanted.to_string()])?;
        expect::check(world, &["pods", selector, "ready", &wanted.to_string()])?;
        let running = all_running(world)?;
        ensure!(running == wanted, "{running} processes run, and {wanted} pods are wanted");
        Ok(())
    })
    .with_context(|| format!("after {history:?}"))?;
    let rebooted: Vec<String> = rebooted.into_iter().collect();
    expect::never_restarted(world, selector, &rebooted).with_context(|| format!("after {history:?}"))
}
