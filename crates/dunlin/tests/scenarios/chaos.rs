//! Faults picked by a seed: some seconds of them, then all is healed, and the invariants must hold.
//!
//! The first machine is the server; its agent's pods are never taken down by force, so a copy always survives. The seed
//! is printed; `DUNLIN_CHAOS_SEED` repeats a run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dunlin_testkit::cable::Cable;
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::wait;

use crate::expect;
use crate::parse::length;
use crate::world::World;

/// Numbers that follow from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap_or(0)
    }
}

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
    let noted = expect::pods(world, selector)?;
    world.noted.insert((*selector).to_owned(), noted);
    let names = world.names().to_vec();
    let (server, others) = names.split_first().context("chaos needs machines")?;
    let mut dice = Dice(seed);
    let mut rebooted = BTreeSet::new();
    let mut history = Vec::new();
    let end = Instant::now() + time;
    let all_running =
        |world: &World| -> Result<usize> { names.iter().map(|name| world.get(name)?.running(command)).sum() };
    while Instant::now() < end {
        let victim = &others[dice.roll(others.len())];
        let fault = match dice.roll(7) {
            0 => format!("cut {victim}"),
            1 => format!("mend {victim}"),
            2 => format!("kill {victim}"),
            3 => format!("start {victim}"),
            4 => format!("reboot {victim}"),
            5 => format!("lossy {victim}"),
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
    for name in &names {
        world.cable(name, |cable| {
            cable.lossy(0)?;
            cable.mend()
        })?;
        if !world.get(name)?.is_started() {
            world.machine(name)?.start()?;
        }
    }
    let rebooted: Vec<String> = rebooted.into_iter().collect();
    let wanted: usize = wanted.parse().context("the count is a number")?;
    wait::until("healing", PATIENCE * 2, || {
        for name in &names {
            expect::check(world, &["node", name, "ready"])?;
        }
        expect::check(world, &["pods", selector, "count", &wanted.to_string()])?;
        expect::check(world, &["pods", selector, "ready", &wanted.to_string()])?;
        let running = all_running(world)?;
        ensure!(running == wanted, "{running} processes run, and {wanted} pods are wanted");
        Ok(())
    })
    .with_context(|| format!("after {history:?}"))?;
    expect::never_restarted(world, selector, &rebooted).with_context(|| format!("after {history:?}"))
}
