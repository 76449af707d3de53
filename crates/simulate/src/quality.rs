//! How well the pods lie on the machines.

use crate::cluster::Cluster;
use crate::world::World;

/// The machines at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Milliseconds.
    pub at: u64,
    pub machines: u64,
    /// Machines with pods.
    pub used: u64,
    /// Machines with more requested than there is.
    pub overcommitted: u64,
    /// Requested and there, thousandths of a core.
    pub cpu: (i64, i64),
    /// Requested and there, bytes.
    pub memory: (i64, i64),
    /// How many of the largest pods would still fit, machine by machine, and if all that is free were one machine.
    pub fitting: (i64, i64),
    /// Standard deviation of the machines' requested share of CPU, and of the lowest clusters'.
    pub uneven_machines: f64,
    pub uneven_clusters: f64,
}

impl Sample {
    pub fn is_fuller(&self, other: &Self) -> bool {
        self.cpu.0 > other.cpu.0
    }
}

/// Looks at all machines.
pub fn look(clusters: &[Cluster], world: &World, now: u64) -> Sample {
    let largest = (
        world.workload.iter().map(|pods| pods.cpu.most).max().unwrap_or(0).max(1),
        world.workload.iter().map(|pods| pods.memory.most).max().unwrap_or(0).max(1),
    );
    let mut sample = Sample { at: now, ..Sample::default() };
    let (mut machine_shares, mut cluster_shares) = (Vec::new(), Vec::new());
    let mut free = (0i64, 0i64);
    for cluster in clusters {
        let mut own = (0, 0);
        for host in cluster.snapshot.hosts().filter(|host| host.child().is_none()) {
            let (has, used) = (&host.node().status.allocatable, host.used());
            let cpu = (used.get("cpu"), has.get("cpu"));
            let memory = (used.get("memory"), has.get("memory"));
            let pods = host.pods().count() as i64;
            let places = has.get("pods") - pods;
            sample.machines += 1;
            sample.used += u64::from(pods > 0);
            sample.overcommitted += u64::from(cpu.0 > cpu.1 || memory.0 > memory.1 || places < 0);
            own = (own.0 + cpu.0, own.1 + cpu.1);
            sample.memory = (sample.memory.0 + memory.0, sample.memory.1 + memory.1);
            let room = ((cpu.1 - cpu.0).max(0), (memory.1 - memory.0).max(0));
            free = (free.0 + room.0, free.1.saturating_add(room.1));
            sample.fitting.0 += (room.0 / largest.0).min(room.1 / largest.1).min(places).max(0);
            machine_shares.push(share(cpu));
        }
        if own.1 > 0 {
            cluster_shares.push(share(own));
        }
        sample.cpu = (sample.cpu.0 + own.0, sample.cpu.1 + own.1);
    }
    sample.fitting.1 = (free.0 / largest.0).min(free.1 / largest.1);
    sample.uneven_machines = deviation(&machine_shares);
    sample.uneven_clusters = deviation(&cluster_shares);
    sample
}

/// Of all that is there.
pub fn share((used, all): (i64, i64)) -> f64 {
    if all <= 0 { 0.0 } else { used as f64 / all as f64 }
}

fn deviation(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_shares_do_not_deviate() {
        assert_eq!(deviation(&[0.5, 0.5]), 0.0);
        assert_eq!(deviation(&[0.0, 1.0]), 0.5);
        assert_eq!((deviation(&[]), share((1, 0))), (0.0, 0.0));
    }
}
