//! Logs have the CRI format, are complete at the exit, and are rotated.

use std::path::Path;

use super::{Bench, until};

/// One line of a log.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Ends its line (`F`), or is a part of one (`P`).
    pub whole: bool,
    /// The text.
    pub text: String,
}

/// Reads a log; fails on a line that is not in the format.
pub fn lines(path: &Path) -> Vec<Line> {
    let text = std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    // A line that is being written is not looked at.
    let end = text.rfind('\n').map_or(0, |n| n + 1);
    text[..end].lines().map(line).collect()
}

fn line(text: &str) -> Line {
    let mut words = text.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("not a log line: {text:?}")).to_owned();
    let (time, stream, tag, content) = (word(), word(), word(), word());
    // Some write nanoseconds without the zeros at their end.
    let long = (20..=30).contains(&time.len());
    assert!(long && time.ends_with('Z') && time.as_bytes()[10] == b'T', "not a time: {time:?}");
    assert!(matches!(stream.as_str(), "stdout" | "stderr") && matches!(tag.as_str(), "F" | "P"), "{text:?}");
    Line { stream, whole: tag == "F", text: content }
}

/// What a container wrote, without the prefixes.
pub fn content(path: &Path) -> String {
    let mut all = String::new();
    for line in lines(path) {
        all.push_str(&line.text);
        if line.whole {
            all.push('\n');
        }
    }
    all
}

/// Streams are told apart; empty lines and a last line without its end are there. Some call that one whole, some a part.
pub async fn format(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let spec = bench.script("app-0", "echo one; echo two >&2; echo; printf three");
    let log = spec.log_path.clone();
    bench.script_output(&sandbox, spec).await;
    let of =
        |name: &str| lines(&log).into_iter().filter(|l| l.stream == name).map(|l| l.text).collect::<Vec<_>>();
    assert_eq!(of("stdout"), ["one", "", "three"]);
    assert_eq!(of("stderr"), ["two"]);
    assert!(lines(&log).iter().all(|l| l.whole || l.text == "three"));
}

/// A line over 16 KiB comes in parts.
pub async fn long_lines(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let spec = bench.script("app-0", "head -c 40000 /dev/zero | tr '\\0' x; echo; echo after");
    let log = spec.log_path.clone();
    bench.script_output(&sandbox, spec).await;
    let parts: Vec<(usize, bool)> = lines(&log).iter().map(|l| (l.text.len(), l.whole)).collect();
    assert_eq!(parts, [(16384, false), (16384, false), (7232, true), (5, true)]);
}

/// A log over its size becomes `.1`, no more files are kept than asked for, and no line is lost between the newest two.
pub async fn rotation(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec = bench.script("app-0", "seq 1 20000");
    (spec.log_max_size, spec.log_max_files) = (64 * 1024, 2);
    let log = spec.log_path.clone();
    bench.script_output(&sandbox, spec).await;
    let file = |n: u32| log.with_file_name(format!("app-0.log.{n}"));
    assert!(file(1).exists() && file(2).exists() && !file(3).exists());
    let numbers: Vec<u32> = [file(2), file(1), log.clone()]
        .iter()
        .flat_map(|f| lines(f))
        .map(|l| l.text.parse().unwrap())
        .collect();
    assert_eq!(numbers.last(), Some(&20000));
    assert!(numbers.windows(2).all(|w| w[0] + 1 == w[1]));
    for f in [file(2), file(1), log] {
        assert!(std::fs::metadata(&f).unwrap().len() <= 64 * 1024, "{f:?}");
    }
}

/// When the exit is known, everything the process wrote is in the log.
pub async fn the_last_words_are_there(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    for n in 0..5 {
        let spec = bench.script(&format!("app-{n}"), "seq 1 3000; echo end >&2");
        let (_, text) = bench.script_output(&sandbox, spec).await;
        assert!(text.contains("3000\n") && text.contains("end\n"), "run {n}");
    }
}

/// A terminal's output is logged as standard output.
pub async fn a_terminal_logs(bench: &mut Bench<'_>) {
    let sandbox = bench.sandbox().await;
    let mut spec = bench
        .script("app-0", "test -t 0 && test -t 1 && test -t 2 && echo terminal; echo err >&2; sleep 0.1");
    spec.tty = true;
    let log = spec.log_path.clone();
    let id = bench.start(&sandbox, spec).await;
    bench.exited(&sandbox, &id).await;
    until("the log", async || content(&log).contains("err")).await;
    assert_eq!(content(&log).replace('\r', ""), "terminal\nerr\n");
    assert!(lines(&log).iter().all(|l| l.stream == "stdout"));
}
