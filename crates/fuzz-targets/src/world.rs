//! The files of `dunlin simulate`.

use std::time::Duration;

use dunlin_simulate::{File, simulate};

/// A world is read or refused; a small one that is read can be simulated, and overcommits no machine.
pub fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(file) = File::read(text) else { return };
    let small = file.worlds.iter().flat_map(|world| &world.variants).all(|world| {
        let clusters: u64 = world.clusters().iter().sum();
        let machines: u64 = world.machines.iter().map(|group| group.count).sum();
        let pods = world.workload.iter().map(|group| group.count * world.clusters()[group.home]).sum::<u64>();
        let changes: u64 = world.workload.iter().map(|group| group.changes).sum();
        clusters <= 20 && machines <= 20 && pods <= 20 && world.duration <= 60_000 && changes <= 3600
    });
    if small {
        let report = simulate(&file, &|| Duration::ZERO, &mut |_| {});
        for variant in report.worlds.iter().flat_map(|world| &world.variants) {
            for run in [Some(&variant.tree), variant.flat.as_ref()].into_iter().flatten() {
                assert_eq!(run.quality.overcommitted_machines, 0, "a machine has more than it can hold");
                assert_eq!(run.pods.placed + run.pods.waiting, run.pods.made, "a pod is nowhere");
            }
        }
    }
}
