//! The contract suite once more, in a machine that has cgroup v2 and nothing else: this program runs itself there.

use std::path::Path;
use std::time::Duration;

use dunlin_testkit::guest::Guest;

use crate::bench::{BUSYBOX, executable};

/// What runs there: every test but those that only move bytes or look at the shim alone, which know nothing of cgroups;
/// of native processes the limits and what is particular to them.
const LEFT_OUT: [&str; 11] = [
    "guest::",
    // A machine in a machine without hardware for either.
    "microvm::",
    "unikernel::",
    // Their guests are compiled here.
    "wasm::",
    "attach::",
    "logs::",
    "shim::",
    "hostile::much_output",
    "exec::a_slow_client",
    "contract_of_processes::life",
    "contract_of_processes::exec",
];
/// Several times what it takes on a machine that has nothing else to do.
const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn the_contract_holds_with_cgroup_v2() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).display();
    let skipped = LEFT_OUT.map(|name| format!("--skip {name}")).join(" ");
    let script = format!(
        "mkdir -p {root}\n[ -e /sys/fs/cgroup/cgroup.controllers ]\nRUST_BACKTRACE=0 /tests/deps/it {skipped} --test-threads 4\n"
    );
    let guest = Guest::new().unwrap().file(BUSYBOX, Path::new(BUSYBOX));
    let guest = guest.program("/tests/deps/it", &std::env::current_exe().unwrap()).unwrap();
    let guest = guest.program("/tests/examples/creator", &executable()).unwrap();
    let console = guest.run(&script, LIMIT).unwrap();
    let result = console.lines().find(|line| line.starts_with("test result: ok.")).unwrap();
    assert!(!result.contains(" 0 passed"), "{result}");
}
