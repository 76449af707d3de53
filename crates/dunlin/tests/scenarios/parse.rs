//! Lines of words: the whole grammar of a scenario.

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// One line, and the indented lines below it, less the indentation of the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub line: usize,
    pub words: Vec<String>,
    pub block: String,
}

/// All steps of a file. `#` begins a comment, except in a block, which is passed on as it is.
pub fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut indentation = 0;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with([' ', '\t'])
            && let Some(step) = steps.last_mut()
        {
            if step.block.is_empty() {
                indentation = line.len() - line.trim_start().len();
            }
            step.block.push_str(line.get(indentation..).unwrap_or_default());
            step.block.push('\n');
            continue;
        }
        let words: Vec<String> =
            line.split_whitespace().take_while(|word| !word.starts_with('#')).map(str::to_owned).collect();
        if !words.is_empty() {
            steps.push(Step { line: number + 1, words, block: String::new() });
        }
    }
    steps
}

/// `250ms`, `5s`, `2m`.
pub fn length(word: &str) -> Result<Duration> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().with_context(|| format!("{word:?} is no length of time"))?;
    Ok(match &word[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        unit => bail!("{word:?} is no length of time: {unit:?} is no unit"),
    })
}
