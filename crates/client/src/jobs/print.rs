//! Jobs as rows, and as documents for programs.

use std::collections::HashMap;

use serde_json::json;

use super::Job;
use crate::get::align;
use crate::{Error, Output, print};

/// Prints jobs once, or what changes of them.
pub(super) struct Printer {
    output: Output,
    namespaces: bool,
    /// What was printed last of each job.
    shown: HashMap<String, Vec<Vec<String>>>,
    began: bool,
}

impl Printer {
    pub(super) fn new(output: Output, namespaces: bool) -> Self {
        Self { output, namespaces, shown: HashMap::new(), began: false }
    }

    pub(super) fn show(&mut self, jobs: &[Job], following: bool) -> Result<(), Error> {
        match self.output {
            Output::Json | Output::Yaml if following => self.documents(jobs),
            Output::Json | Output::Yaml => print(&json!({"jobs": jobs}), self.output),
            Output::Name => {
                jobs.iter().for_each(|job| println!("{}", job.name));
                Ok(())
            }
            Output::Table | Output::Wide => {
                self.rows(jobs, following);
                Ok(())
            }
        }
    }

    fn rows(&mut self, jobs: &[Job], following: bool) {
        let mut rows = Vec::new();
        if !self.began {
            rows.push(self.header());
        }
        let header = rows.len();
        let mut gone: Vec<String> = self.shown.keys().cloned().collect();
        for job in jobs {
            gone.retain(|uid| *uid != job.uid);
            let now = self.cells(job);
            if self.shown.get(&job.uid) != Some(&now) {
                rows.extend(now.clone());
                self.shown.insert(job.uid.clone(), now);
            }
        }
        gone.iter().for_each(|uid| drop(self.shown.remove(uid)));
        if rows.len() == header && !following {
            println!("No jobs found");
        } else if !rows.is_empty() {
            print!("{}", align(&rows));
        }
        self.began = true;
    }

    fn header(&self) -> Vec<String> {
        let names: &[&str] = match self.output {
            Output::Wide => &["JOB", "INSTANCE", "STATE", "SINCE", "PLACE", "REASON"],
            _ => &["JOB", "STATE", "RUNNING", "REQUESTED", "SINCE", "PLACE"],
        };
        let space = self.namespaces.then_some("NAMESPACE");
        space.into_iter().chain(names.iter().copied()).map(str::to_owned).collect()
    }

    fn cells(&self, job: &Job) -> Vec<Vec<String>> {
        let space = || self.namespaces.then(|| job.namespace.clone());
        let row = |cells: [&str; 6]| space().into_iter().chain(cells.map(str::to_owned)).collect::<Vec<_>>();
        let running = format!("{}/{}", job.running, job.desired);
        if self.output != Output::Wide {
            let mut places: Vec<&str> = job.instances.iter().map(|i| i.path.as_str()).collect();
            places.sort_unstable();
            places.dedup();
            let state = job.state.to_string();
            return vec![row([&job.name, &state, &running, &job.requested, &job.since, &places.join(",")])];
        }
        let all = format!("{} {running}", job.kind);
        let mut rows = vec![row([&job.name, &all, &job.state.to_string(), &job.since, "", &job.reason])];
        rows.extend(
            job.instances
                .iter()
                .map(|i| row([&job.name, &i.pod, &i.state.to_string(), &i.since, &i.path, &i.reason])),
        );
        rows
    }

    fn documents(&mut self, jobs: &[Job]) -> Result<(), Error> {
        for job in jobs {
            let now = vec![vec![json!(job).to_string()]];
            if self.shown.get(&job.uid) != Some(&now) {
                if self.output == Output::Yaml {
                    println!("---");
                }
                print(job, self.output)?;
                self.shown.insert(job.uid.clone(), now);
            }
        }
        Ok(())
    }
}
