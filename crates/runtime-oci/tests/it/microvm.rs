//! Virtual machines: what of the contract can hold for them, and what is particular to them. Every container boots a
//! kernel, so of cases that show the same only one is here.

use dunlin_runtime_oci::Kind;

use crate::bench::Bench;

mod contract_of_machines {
    use super::*;

    dunlin_runtime::contract_tests!(Bench::of_machines(Kind::Microvm);
        life: starting_is_idempotent, what_is_absent_is_named, kill_is_told, removal_is_idempotent,
            a_dead_container_is_removed_alone, a_running_container_is_not_removed;
        process: exit_codes, term_then_kill, environment_directory_and_user, missing_commands, wrong_specifications,
            memory_volumes_are_shared, many_layers, mounts_and_read_only;
        logs: format, long_lines, the_last_words_are_there, a_terminal_logs;
        exec: output_and_code, input, terminal, missing_commands_and_containers, dropping_kills, many_at_once,
            a_slow_client_gets_everything;
        attach: output_goes_to_log_and_client, input_goes_in, closing_once, terminal, an_absent_client_stops_nothing;
        limits: memory_limit_kills, pod_limit_holds;
        hostile: much_output, deaf_to_signals, a_broken_start_leaves_nothing, orphans_end);
}
