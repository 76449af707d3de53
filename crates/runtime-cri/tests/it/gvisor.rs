//! gVisor as a second handler, where its own shim is installed: containerd's shim for runc does not see its containers end.
//!
//! Debian has `runsc` and not the shim, so these tests are built only when asked for: `RUSTFLAGS="--cfg gvisor" cargo test -p
//! dunlin-runtime-cri gvisor::`. `docs/limits.md` says so, too.

use dunlin_runtime::contract;
use dunlin_testkit::containerd;

use crate::bench::{Bench, shared};

/// What containerd has to know.
pub fn handler() -> containerd::Handler {
    let path = std::env::var("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(there("containerd-shim-runsc-v1") && there("runsc"), "runsc and its shim are not both in PATH");
    // The pod's network is used as it is, because it comes to be only after the sandbox.
    let file = "[runsc_config]\nnetwork = \"host\"\nignore-cgroups = \"true\"\n".to_owned();
    containerd::Handler { name: "runsc", kind: "io.containerd.runsc.v1", file }
}

async fn on_gvisor(case: impl AsyncFnOnce(&mut contract::Bench<'_>)) {
    let runsc = dunlin_runtime_cri::Handler::called("runsc").expect("it is a name");
    contract::run(&Bench::on(shared(), runsc), case).await;
}

macro_rules! cases {
    ($($module:ident: $($case:ident),+;)+) => {
        $($(#[tokio::test]
        async fn $case() {
            on_gvisor(contract::$module::$case).await;
        })+)+
    };
}

// What of the contract speaks neither of the container's cgroup nor of the host's kernel. `term_then_kill` is left out as well:
// in gVisor the first process ends of a signal that it does not handle.
cases! {
    life: creation_is_idempotent, starting_is_idempotent, what_is_absent_is_named, kill_is_told, removal_is_idempotent,
        a_new_runtime_finds_everything, a_dead_container_is_removed_alone, a_running_container_is_not_removed;
    process: exit_codes;
    logs: the_last_words_are_there;
    exec: output_and_code, input;
    attach: input_goes_in;
}
