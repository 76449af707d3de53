//! The hidden subcommands that make containers and join them, in a process without threads.

/// The first argument of a program that is to make a container.
pub const CREATE: &str = "__create-container";
/// The first argument of a program that is to run one more process in a container.
pub const EXEC: &str = "__exec-container";

/// Runs the creator if the arguments (without the program's name) ask for it, and never returns then.
///
/// To be called first thing in `main`, before any thread exists.
pub fn main_if_asked() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == CREATE || first == EXEC) {
        main(&std::env::args().skip(1).collect::<Vec<_>>());
    }
}

/// Runs the creator with the program's arguments (without its name). Never returns.
pub fn main(_args: &[String]) -> ! {
    std::process::exit(2)
}
