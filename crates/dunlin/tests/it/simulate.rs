//! `dunlin simulate`: a world goes in, a report for people or programs comes out, and it is the same in every run.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use dunlin_testkit::program;
use serde_json::Value;

use crate::support::has;

const WORLD: &str = "worlds:
- name: small
  duration: 20s
  levels:
  - {name: root}
  - {name: site, count: 2}
  machines:
  - {name: board, count: 4, cpu: 2, memory: 1Gi}
  workload:
  - {name: web, count: 6, cpu: 1}
  - {name: large, count: 1, cpu: 3}
";

fn simulate(args: &[&str], world: &str) -> Result<Output> {
    let mut command = Command::new(program::dunlin()?);
    command.arg("simulate").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting dunlin")?;
    child.stdin.take().context("no input")?.write_all(world.as_bytes()).or_else(|error| {
        // A program that was called wrongly reads nothing.
        if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
    })?;
    Ok(child.wait_with_output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Without what depends on the machine that ran it.
fn without_measured(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.remove("measured");
            fields.values_mut().for_each(|field| *field = without_measured(field.take()));
        }
        Value::Array(list) => list.iter_mut().for_each(|item| *item = without_measured(item.take())),
        _ => {}
    }
    value
}

#[test]
fn a_world_is_reported_for_people_and_programs() -> Result<()> {
    let table = simulate(&["-"], WORLD)?;
    ensure!(table.status.code() == Some(0), "{}", text(&table.stderr));
    has(
        &text(&table.stdout),
        &[
            "small: 4 machines, 7 pods, 20 s",
            "CLUSTERS",
            "1/2",
            "flat",
            "100.0 %",
            "1 pods wait: 0/2 nodes are available: 2 Insufficient cpu on any single machine of the cluster.",
            "MiB at most",
        ],
    )?;
    // No terminal: a plain line for each run.
    ensure!(text(&table.stderr) == "small, flat: 0 %\nsmall, 1/2: 0 %\n", "{}", text(&table.stderr));

    let json: Value = serde_json::from_slice(&simulate(&["-", "-o", "json"], WORLD)?.stdout)?;
    let tree = &json["worlds"][0]["variants"][0]["tree"];
    ensure!(tree["pods"]["placed"] == 6 && tree["pods"]["waiting"] == 1, "{tree}");
    ensure!(tree["levels"][1]["traffic"]["podStatuses"]["bytes"].as_u64() > Some(0), "{tree}");
    ensure!(json["measured"]["peakMemoryBytes"].as_u64() > Some(1 << 20), "{}", json["measured"]);
    let yaml = text(&simulate(&["-", "-o", "yaml"], WORLD)?.stdout);
    has(&yaml, &["worlds:", "placed: 6"])
}

#[test]
fn a_wrong_world_is_refused_with_file_and_field() -> Result<()> {
    let wrong = simulate(&["-"], &WORLD.replace("count: 2}", "count: 0}"))?;
    ensure!(wrong.status.code() == Some(1) && wrong.stdout.is_empty());
    has(&text(&wrong.stderr), &["docs/simulate.md", "worlds[0].levels[1].count", "1 or more"])?;
    let unknown = simulate(&["-"], &WORLD.replace("cpu: 3", "cpus: 3"))?;
    has(&text(&unknown.stderr), &["cpus", "unknown field"])?;
    let absent = simulate(&["/no/such/world.yaml"], "")?;
    ensure!(absent.status.code() == Some(1));
    has(&text(&absent.stderr), &["/no/such/world.yaml", "No such file"])?;
    let none = simulate(&["-", "--world", "large"], WORLD)?;
    has(&text(&none.stderr), &["no world \"large\"", "small"])?;
    ensure!(simulate(&[], "")?.status.code() == Some(2), "a file is missing");
    Ok(())
}

/// The committed report of the example's smaller world; what was measured is left out.
#[test]
fn the_example_still_gives_the_output_beside_it() -> Result<()> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/world-edgeio.yaml");
    let path = example.to_string_lossy();
    let now = simulate(&[&path, "--world", "testbed", "-o", "json"], "")?;
    ensure!(now.status.success(), "{}", text(&now.stderr));
    let now = without_measured(serde_json::from_slice(&now.stdout)?);
    let committed = std::fs::read(example.with_extension("json")).context("examples/world-edgeio.json")?;
    let committed = without_measured(serde_json::from_slice(&committed)?);
    let (now, committed) = (&now["worlds"][0], &committed["worlds"][0]);
    let say = "if decisions or messages changed on purpose, write it anew (docs/simulate.md)";
    ensure!(committed["name"] == "testbed" && now == committed, "{say}:\n{now:#}\nis not\n{committed:#}");
    Ok(())
}
