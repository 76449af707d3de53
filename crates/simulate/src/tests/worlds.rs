//! World files that are wrong: each is refused with the field and what to write.

use crate::world::{File, LARGEST, Wrong};

const GOOD: &str = "worlds:
- name: w
  duration: 10s
  levels:
  - {name: root}
  - {name: site, count: 2}
  machines:
  - {name: m, count: 2, cpu: 4, memory: 1Gi}
  workload:
  - {name: p, count: 2, cpu: 1}
";

#[test]
fn what_is_not_said_has_a_default() {
    let file = File::read(GOOD).expect("a world");
    let world = &file.worlds[0].variants[0];
    assert!(file.worlds[0].flat && world.is_flat_alike());
    assert_eq!((world.seed, world.duration, world.levels[1].link, world.machine_link), (1, 10_000, 20, 5));
    assert_eq!((world.machines[0].cpu.least, world.workload[0].cpu.most), (4000, 1000));
    assert_eq!((world.machines[0].arch.as_str(), world.clusters()), ("amd64", vec![1, 2]));
}

#[test]
fn a_wrong_field_is_named_with_what_to_write() {
    for (good, bad, words) in [
        ("duration: 10s", "duration: 10s\n  durations: 1s", &["durations", "unknown field"][..]),
        ("duration: 10s", "duration: soon", &["worlds[0].duration", "as in 90s"]),
        ("duration: 10s", "duration: 2d", &["worlds[0].duration", "24h"]),
        ("  duration: 10s\n", "", &["duration", "missing"]),
        ("- name: w", "- name: W W", &["worlds[0].name", "a-z"]),
        ("count: 2}\n  machines", "count: 0}\n  machines", &["worlds[0].levels[1].count", "1 or more"]),
        ("count: 2}\n  machines", "count: many}\n  machines", &["a list of numbers"]),
        ("count: 2}\n  machines", "count: -2}\n  machines", &["not negative"]),
        (
            "count: 2}\n  machines",
            "count: 20000}\n  machines",
            &["worlds[0].levels", "20001 clusters", "10000"],
        ),
        ("{name: root}", "{name: root, count: 2}", &["worlds[0].levels[0].count", "one root"]),
        ("{name: site, count: 2}", "{name: site}", &["worlds[0].levels[1].count", "how many"]),
        ("{name: site, count: 2}", "{name: root, count: 2}", &["worlds[0].levels[1].name", "twice"]),
        (
            "count: 2}\n  machines",
            "count: 2, policy: best}\n  machines",
            &["worlds[0].levels[1].policy", "bin-pack"],
        ),
        ("count: 2}\n  machines", "count: 2, policy: group}\n  machines", &["not simulated"]),
        (
            "count: 2}\n  machines",
            "count: 2, link: 2h}\n  machines",
            &["worlds[0].levels[1].link", "at most 1m"],
        ),
        ("{name: root}", "{name: root, sizes: 1..3}", &["worlds[0].levels[0].sizes", "lowest level"]),
        ("{name: m, count: 2", "{name: m, count: 0", &["worlds[0].machines", "1 to 200000"]),
        ("{name: m, count: 2", "{name: m, count: 18446744073709551615", &["worlds[0].machines", "200000"]),
        ("cpu: 4", "cpu: 4..2", &["worlds[0].machines[0].cpu", "LEAST..MOST"]),
        ("cpu: 4", "cpu: 4, labels: {a b: c}", &["worlds[0].machines[0].labels", "no label"]),
        (
            "cpu: 4",
            "cpu: 4, labels: {kubernetes.io/arch: c}",
            &["worlds[0].machines[0].labels", "another key"],
        ),
        ("cpu: 1", "home: sea", &["worlds[0].workload[0].home", "root, site"]),
        ("cpu: 1", "near: anywhere", &["worlds[0].workload[0].near", "area"]),
        ("cpu: 1", "per-second: 0", &["worlds[0].workload[0].per-second", "0.001"]),
        ("cpu: 1", "per-second: .nan", &["worlds[0].workload[0].per-second"]),
        ("cpu: 1", "cpu: -1", &["worlds[0].workload[0].cpu", "less than nothing"]),
        ("cpu: 4", "cpu: 9e15", &["worlds[0].machines[0].cpu", "100000 cores"]),
        ("memory: 1Gi", "memory: 1Pi", &["worlds[0].machines[0].memory", "16Ti"]),
        ("cpu: 1", "cpu: 1, memory: 1Ei", &["worlds[0].workload[0].memory", "16Ti"]),
        ("cpu: 1", "spread: {over: zone, skew: 0}", &["worlds[0].workload[0].spread.skew"]),
        ("cpu: 1", "changes-per-hour: 10000000", &["worlds[0].workload[0].changes-per-hour", "5000000"]),
        ("{name: p, count: 2", "{name: p, count: 600000", &["worlds[0].workload", "600000 pods"]),
    ] {
        assert!(GOOD.contains(good), "{good}");
        let error = File::read(&GOOD.replacen(good, bad, 1)).expect_err(bad).to_string();
        for word in words {
            assert!(error.contains(word), "{bad:?} gives {error}, without {word:?}");
        }
    }
    assert_eq!(File::read(&" ".repeat(LARGEST + 1)).err(), Some(Wrong::TooLarge(LARGEST + 1)));
    let two = GOOD
        .replace("{name: root}", "{name: root}\n  - {name: region, count: [1, 2]}")
        .replace("count: 2}\n  m", "count: [1, 2]}\n  m");
    assert!(File::read(&two).expect_err("two lists").to_string().contains("only one level"));
}
