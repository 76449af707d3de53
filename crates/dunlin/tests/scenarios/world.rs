//! The machines of a scenario and what is done to them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dunlin_testkit::cable::{Cable, Traffic};
use dunlin_testkit::cluster::{Dunlin, PATIENCE, tail};
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::internet::{Internet, Site};
use dunlin_testkit::kubectl::Kubectl;
use dunlin_testkit::wait;
use serde_json::Value;

use crate::chaos;
use crate::expect::{self, Pods};
use crate::parse::{Step, length};

/// Everything a scenario has built. Fields drop in this order: programs before the networks they are on.
pub struct World {
    machines: BTreeMap<String, Dunlin>,
    /// The machines in the order in which they came; the first is the server that is asked.
    order: Vec<String>,
    sites: BTreeMap<String, Site>,
    /// Every node by the server that knows it: machines with an agent, and servers below others.
    nodes: Vec<(String, String)>,
    internet: Internet,
    /// `--time` flags of every program.
    times: Vec<String>,
    asked: String,
    /// Pods as they were when they were noted, by the server that was asked and the selector.
    noted: BTreeMap<(String, String), Pods>,
    traffic: BTreeMap<String, Traffic>,
}

impl World {
    pub fn new() -> Result<Self> {
        Ok(Self {
            machines: BTreeMap::new(),
            order: Vec::new(),
            sites: BTreeMap::new(),
            nodes: Vec::new(),
            internet: Internet::new()?,
            times: Vec::new(),
            asked: String::new(),
            noted: BTreeMap::new(),
            traffic: BTreeMap::new(),
        })
    }

    /// Does one line.
    pub fn step(&mut self, step: &Step) -> Result<()> {
        let words: Vec<&str> = step.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["time", times @ ..] => self.times = times.iter().map(|word| format!("--time={word}")).collect(),
            ["site", name] => drop(self.sites.insert((*name).to_owned(), self.internet.site()?)),
            ["server", name, more @ ..] => self.server(name, more)?,
            ["agent", name, "of", server, more @ ..] => self.agent(name, server, more)?,
            ["ask", server] => self.ask(server)?,
            ["apply"] => drop(self.kubectl()?.apply(&step.block)?),
            ["kubectl", args @ ..] => drop(self.kubectl()?.run(args)?),
            ["kill", name] => self.machine(name)?.kill(),
            ["start", name] => self.machine(name)?.start()?,
            ["off", name] => self.machine(name)?.power_off()?,
            ["reboot", name] => self.machine(name)?.reboot()?,
            ["cut", name] => self.cable(name, Cable::cut)?,
            ["mend", name] => self.cable(name, Cable::mend)?,
            ["slow", name, delay] => self.cable(name, |cable| cable.slow(length(delay)?))?,
            ["lossy", name, percent] => {
                let percent = percent.trim_end_matches('%').parse()?;
                self.cable(name, |cable| cable.lossy(percent))?;
            }
            ["throttle", name, "off"] => self.cable(name, |cable| cable.throttle(None))?,
            ["throttle", name, rate] => self.cable(name, |cable| cable.throttle(Some(rate)))?,
            ["count", name] => {
                let now = self.traffic(name)?;
                self.traffic.insert((*name).to_owned(), now);
            }
            ["note", "pods", selector] => self.note(selector)?,
            ["eventually", "within", most, rest @ ..] => self.eventually(length(most)?, rest)?,
            ["eventually", rest @ ..] => self.eventually(PATIENCE, rest)?,
            ["for", time, rest @ ..] => self.throughout(length(time)?, rest)?,
            ["chaos", seed, time, rest @ ..] => chaos::run(self, seed, length(time)?, rest)?,
            rest => expect::check(self, rest)?,
        }
        Ok(())
    }

    fn eventually(&mut self, most: Duration, what: &[&str]) -> Result<()> {
        wait::until(&what.join(" "), most, || expect::check(self, what))
    }

    /// Holds from now on for the whole time.
    fn throughout(&mut self, time: Duration, what: &[&str]) -> Result<()> {
        let end = std::time::Instant::now() + time;
        while std::time::Instant::now() < end {
            expect::check(self, what)?;
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn server(&mut self, name: &str, more: &[&str]) -> Result<()> {
        let (site, more) = place(more);
        let (parent, more) = match more {
            ["under", parent, more @ ..] => (Some(*parent), more),
            more => (None, more),
        };
        let mut flags = vec!["--node-name", name];
        flags.extend(self.times.iter().map(String::as_str));
        flags.extend(more);
        if let Some(parent) = parent {
            self.nodes.push((parent.to_owned(), name.to_owned()));
        }
        if !more.contains(&"--no-agent") {
            self.nodes.push((name.to_owned(), name.to_owned()));
        }
        let parent = parent.map(|parent| self.get(parent)).transpose()?;
        let made = match (site.map(|site| self.site(site)).transpose()?, parent) {
            (None, None) => Dunlin::server(&self.internet, &flags),
            (Some(site), None) => Dunlin::server(site, &flags),
            (None, Some(parent)) => Dunlin::child(&self.internet, parent, name, &flags),
            (Some(site), Some(parent)) => Dunlin::child(site, parent, name, &flags),
        }?;
        self.add(name, made)
    }

    fn agent(&mut self, name: &str, server_name: &str, more: &[&str]) -> Result<()> {
        let (site, more) = place(more);
        let mut flags: Vec<&str> = self.times.iter().map(String::as_str).collect();
        flags.extend(more);
        let server = self.get(server_name)?;
        let made = match site.map(|site| self.site(site)).transpose()? {
            None => Dunlin::agent(&self.internet, server, name, &flags),
            Some(site) => Dunlin::agent(site, server, name, &flags),
        }?;
        self.nodes.push((server_name.to_owned(), name.to_owned()));
        self.add(name, made)
    }

    fn add(&mut self, name: &str, made: Dunlin) -> Result<()> {
        made.import(&ImageBuilder::hello()?, "hello:test")?;
        if self.asked.is_empty() {
            name.clone_into(&mut self.asked);
        }
        self.order.push(name.to_owned());
        self.machines.insert(name.to_owned(), made);
        Ok(())
    }

    /// From now on this server is asked.
    pub fn ask(&mut self, server: &str) -> Result<()> {
        self.get(server)?;
        server.clone_into(&mut self.asked);
        Ok(())
    }

    pub fn get(&self, name: &str) -> Result<&Dunlin> {
        self.machines.get(name).with_context(|| format!("there is no machine called {name:?}"))
    }

    pub fn machine(&mut self, name: &str) -> Result<&mut Dunlin> {
        self.machines.get_mut(name).with_context(|| format!("there is no machine called {name:?}"))
    }

    /// All machines, in the order in which the scenario names them.
    pub fn names(&self) -> &[String] {
        &self.order
    }

    /// All sites.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        self.sites.keys().map(String::as_str)
    }

    /// Every node, each with the server that knows it.
    pub fn nodes(&self) -> &[(String, String)] {
        &self.nodes
    }

    fn site(&self, name: &str) -> Result<&Site> {
        self.sites.get(name).with_context(|| format!("there is no site called {name:?}"))
    }

    /// The cable of a machine, or the uplink of a site.
    pub fn cable(&self, name: &str, change: impl FnOnce(&mut Cable) -> Result<()>) -> Result<()> {
        match self.sites.get(name) {
            Some(site) => change(&mut site.uplink()),
            None => change(&mut self.get(name)?.host.cable()),
        }
    }

    /// Remembers the pods that the server which is asked now has.
    pub fn note(&mut self, selector: &str) -> Result<()> {
        let pods = expect::pods(self, selector)?;
        self.noted.insert((self.asked.clone(), selector.to_owned()), pods);
        Ok(())
    }

    /// The pods as they were when they were last noted.
    pub fn noted(&self, selector: &str) -> Result<&Pods> {
        let key = (self.asked.clone(), selector.to_owned());
        self.noted.get(&key).with_context(|| format!("`note pods {selector}` must come first"))
    }

    fn traffic(&self, name: &str) -> Result<Traffic> {
        let mut traffic = Traffic::default();
        self.cable(name, |cable| {
            traffic = cable.traffic()?;
            Ok(())
        })?;
        Ok(traffic)
    }

    /// What went over a cable since it was last counted.
    pub fn traffic_since(&self, name: &str) -> Result<Traffic> {
        let before = self.traffic.get(name).with_context(|| format!("`count {name}` must come first"))?;
        Ok(self.traffic(name)?.since(*before))
    }

    pub fn kubectl(&self) -> Result<Kubectl> {
        ensure!(!self.asked.is_empty(), "there is no server yet");
        Ok(self.get(&self.asked)?.kubectl())
    }

    /// What kubectl prints as JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        // A server that is just gone must not hold a question for kubectl's own half minute.
        let mut all = vec!["--request-timeout=3s"];
        all.extend(args);
        self.kubectl()?.json(&all)
    }

    pub fn print_logs(&self) {
        if let Ok(kubectl) = self.kubectl() {
            for what in [
                &["get", "nodes,pods", "-A", "-o", "wide", "--request-timeout=3s"][..],
                &["get", "events", "-A", "--request-timeout=3s"],
            ] {
                eprintln!(
                    "---- kubectl {}\n{}",
                    what.join(" "),
                    kubectl.run(what).unwrap_or_else(|e| format!("{e:#}"))
                );
            }
        }
        for (name, machine) in &self.machines {
            eprintln!("---- log of {name}\n{}", tail(&machine.log()));
        }
    }
}

/// `on SITE` at the start of `words`, and the rest.
fn place<'a, 'b>(words: &'b [&'a str]) -> (Option<&'a str>, &'b [&'a str]) {
    match words {
        ["on", site, rest @ ..] => (Some(site), rest),
        rest => (None, rest),
    }
}

/// For lines that nobody understands.
pub fn unknown(words: &[&str]) -> Result<()> {
    bail!("nobody understands {:?}; README.md describes the language", words.join(" "))
}
