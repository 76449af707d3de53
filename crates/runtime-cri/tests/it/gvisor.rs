//! gVisor as a second handler, where `runsc` is installed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The handlers that containerd is given beside its default.
pub fn handlers() -> Vec<(String, PathBuf)> {
    if !Path::new("/usr/bin/runsc").is_file() {
        return Vec::new();
    }
    // containerd's runc shim drives it: only the flags have to come from somewhere.
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runsc");
    let part = program.with_extension(std::process::id().to_string());
    let text = "#!/bin/sh\nexec /usr/bin/runsc --platform=ptrace --network=host --ignore-cgroups \"$@\"\n";
    std::fs::write(&part, text).unwrap();
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&part, &program).unwrap();
    vec![("runsc".to_owned(), program)]
}

// What of the contract needs no cgroup of the container's own and no kernel but gVisor's.
mod contract_on_gvisor {
    use dunlin_runtime_cri::Handler;

    use crate::bench::{Bench, shared};

    dunlin_runtime::contract_tests!(Bench::on(shared(), Handler::called("runsc").unwrap()); life);
    dunlin_runtime::contract_tests!(Bench::on(shared(), Handler::called("runsc").unwrap());
        process: exit_codes, term_then_kill, wrong_specifications, an_exit_while_nobody_listens;
        logs: format, the_last_words_are_there;
        exec: output_and_code, input, many_at_once;
        attach: output_goes_to_log_and_client, input_goes_in);
}
