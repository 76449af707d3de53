//! The runtime for real: the contract suite on Debian's containerd, and what is particular to CRI. Needs root,
//! `containerd`, `runc` and `busybox-static`.

mod bench;
#[cfg(gvisor)]
mod gvisor;
mod more;

use bench::Bench;

// Left out is what CRI or the programs below it do not have: layers of ours (`many_layers`), signals of any number
// (`deaf_to_signals`), rotation at the byte (`rotation`, `much_output`), a limit of processes from the first instruction on
// (`pids_limit_holds`), a start that knows of an interpreter that is missing (`missing_commands`), an exec that fails before its session begins (`missing_commands_and_containers`), that ends with its
// client (`dropping_kills`) or before what it left in the background (`a_slow_client_gets_everything`). `more.rs` has what
// holds instead.
dunlin_runtime::contract_tests!(Bench::new(); life);
dunlin_runtime::contract_tests!(Bench::new();
    process: exit_codes, term_then_kill, environment_directory_and_user, wrong_specifications,
        hostname_and_namespaces, shared_processes, memory_volumes_are_shared, mounts_and_read_only,
        capabilities_and_filter, devices, an_exit_while_nobody_listens, the_shared_memory_is_the_pods;
    logs: format, long_lines, the_last_words_are_there, a_terminal_logs;
    exec: output_and_code, input, terminal, user_and_environment, many_at_once;
    attach: output_goes_to_log_and_client, input_goes_in, closing_once, terminal, an_absent_client_stops_nothing;
    limits: memory_limit_kills, cpu_limit_slows, stats_count, pod_limit_holds;
    hostile: fork_bomb, a_broken_start_leaves_nothing, orphans_end);
