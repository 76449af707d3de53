//! From what is written to what can be simulated, or to an error that names the field.

use std::collections::BTreeSet;

use dunlin_api::names::label;
use dunlin_api::validate::syntax;
use dunlin_control::scheduler::Policy;

use super::{
    Area, File, LONGEST, Level, MOST_CHANGES, MOST_CLUSTERS, MOST_LEVELS, MOST_MACHINES, MOST_PODS,
    MOST_WORLDS, Machines, Near, Scenario, Spread, Workload, World, Wrong, raw,
};
use crate::amount::Range;

/// Of one machine or pod: thousandths of a core, bytes, and pods.
const MOST_CPU: i64 = 100_000_000;
const MOST_MEMORY: i64 = 16 << 40;
const MOST_ON_ONE: i64 = 10_000;
/// Labels that every machine has anyway.
const GIVEN: [&str; 4] = [label::HOSTNAME, label::ARCH, label::OS, label::CLUSTER];

pub fn file(raw: raw::File) -> Result<File, Wrong> {
    if raw.worlds.is_empty() || raw.worlds.len() > MOST_WORLDS {
        return Err(wrong(
            "worlds",
            format!("there must be 1 to {MOST_WORLDS}, and there are {}", raw.worlds.len()),
        ));
    }
    let mut names = BTreeSet::new();
    let mut worlds = Vec::new();
    for (n, world) in raw.worlds.into_iter().enumerate() {
        let at = format!("worlds[{n}]");
        name(&format!("{at}.name"), &world.name, &mut names)?;
        worlds.push(scenario(&at, world)?);
    }
    Ok(File { worlds })
}

fn wrong(field: impl Into<String>, what: impl Into<String>) -> Wrong {
    Wrong::Field { field: field.into(), what: what.into() }
}

/// Names become parts of the names of clusters, machines and pods.
fn name(field: &str, name: &str, others: &mut BTreeSet<String>) -> Result<(), Wrong> {
    if name.len() > 40 || !syntax::dns_label(name).is_empty() {
        return Err(wrong(
            field,
            format!("{name:?} is no name; use at most 40 of a-z, 0-9 and - between them"),
        ));
    }
    match others.insert(name.to_owned()) {
        true => Ok(()),
        false => Err(wrong(field, format!("{name:?} is there twice; names tell things apart"))),
    }
}

fn scenario(at: &str, raw: raw::World) -> Result<Scenario, Wrong> {
    let read =
        |field: &str, text: &str| Range::time(text).map_err(|what| wrong(format!("{at}.{field}"), what));
    let duration = read("duration", &raw.duration)?;
    if duration.least != duration.most || !(1_000..=LONGEST).contains(&duration.least) {
        return Err(wrong(format!("{at}.duration"), "give one length of time between 1s and 24h"));
    }
    let link = |field: &str, text: Option<&String>, default: u64| match text {
        None => Ok(default),
        Some(text) => {
            let range = read(field, text)?;
            let length =
                u64::try_from(range.least).ok().filter(|ms| *ms <= 60_000 && range.least == range.most);
            length.ok_or_else(|| wrong(format!("{at}.{field}"), "give one length of time of at most 1m"))
        }
    };
    let counts = variants(at, &raw)?;
    let mut levels = Vec::new();
    let mut names = BTreeSet::new();
    for (n, level) in raw.levels.iter().enumerate() {
        let here = format!("{at}.levels[{n}]");
        name(&format!("{here}.name"), &level.name, &mut names)?;
        let policy = level.policy.as_deref().map_or(Ok(Policy::default()), |text| policy(&here, text))?;
        let area = level.area.as_ref().map(|raw| area(&here, raw)).transpose()?;
        let sizes = level.sizes.as_deref().map_or(Ok(Range::only(1)), |text| {
            let lowest = n + 1 == raw.levels.len();
            let range = Range::whole(text).map_err(|what| wrong(format!("{here}.sizes"), what))?;
            let fits = lowest && range.least >= 1 && range.most <= 1000;
            fits.then_some(range).ok_or_else(|| {
                wrong(format!("{here}.sizes"), "only the lowest level has sizes: a range between 1 and 1000")
            })
        })?;
        levels.push(Level {
            name: level.name.clone(),
            count: 1,
            policy,
            link: link(&format!("levels[{n}].link"), level.link.as_ref(), 20)?,
            area,
            sizes,
        });
    }
    let machine_link = link("machine-link", raw.machine_link.as_ref(), 5)?;
    let start = raw.pod_start.as_deref().map_or(Ok(Range::only(1000)), |text| read("pod-start", text))?;
    if start.most > LONGEST {
        return Err(wrong(format!("{at}.pod-start"), "give at most 24h"));
    }
    let machines = machines(at, raw.machines)?;
    let area = levels.iter().rev().find_map(|level| level.area);
    let workload = workload(at, raw.workload, &levels, area)?;
    let template = World {
        seed: raw.seed,
        duration: duration.least.unsigned_abs(),
        levels,
        machines,
        workload,
        machine_link,
        start,
    };
    let variants = counts.into_iter().map(|counts| {
        let mut world = template.clone();
        for (level, count) in world.levels.iter_mut().zip(counts) {
            level.count = count;
        }
        bounded(at, world)
    });
    Ok(Scenario { name: raw.name, flat: raw.flat, variants: variants.collect::<Result<_, _>>()? })
}

/// How many clusters each level has below each one above, for every variant.
fn variants(at: &str, raw: &raw::World) -> Result<Vec<Vec<u64>>, Wrong> {
    if raw.levels.is_empty() || raw.levels.len() > MOST_LEVELS {
        return Err(wrong(
            format!("{at}.levels"),
            format!(
                "there must be 1 to {MOST_LEVELS}, from the root down, and there are {}",
                raw.levels.len()
            ),
        ));
    }
    let mut all: Vec<Vec<u64>> = vec![Vec::new()];
    for (n, level) in raw.levels.iter().enumerate() {
        let field = format!("{at}.levels[{n}].count");
        let counts = match (n, &level.count) {
            (0, None) => vec![1],
            (0, Some(counts)) if counts.0 == [1] => vec![1],
            (0, Some(_)) => return Err(wrong(field, "there is one root; give no count, or 1")),
            (_, None) => return Err(wrong(field, "say how many clusters are below each one above")),
            (_, Some(counts)) => counts.0.clone(),
        };
        if counts.is_empty() || counts.contains(&0) {
            return Err(wrong(field, "there must be 1 or more; give a number, or a list of numbers"));
        }
        if counts.len() > 1 && all.len() > 1 {
            return Err(wrong(field, "only one level may have a list of counts; write a second world"));
        }
        let grown = counts.iter().flat_map(|count| {
            all.iter().map(move |above| above.iter().copied().chain([*count]).collect::<Vec<u64>>())
        });
        all = grown.collect();
    }
    Ok(all)
}

fn policy(at: &str, text: &str) -> Result<Policy, Wrong> {
    let field = format!("{at}.policy");
    match text.parse::<Policy>().map_err(|what| wrong(&field, what))? {
        Policy::Group | Policy::External => Err(wrong(
            field,
            format!("{text} is not simulated; use first-fit, balanced, bin-pack, nearest or auction"),
        )),
        policy => Ok(policy),
    }
}

fn area(at: &str, raw: &raw::Area) -> Result<Area, Wrong> {
    let read = |field: &str, text: &str, most: i64| {
        let field = format!("{at}.area.{field}");
        let range = Range::degrees(text).map_err(|what| wrong(&field, what))?;
        let fits = range.least >= -most && range.most <= most;
        fits.then_some(range).ok_or_else(|| wrong(field, format!("give degrees of at most {}", most / 1000)))
    };
    Ok(Area {
        latitude: read("latitude", &raw.latitude, 90_000)?,
        longitude: read("longitude", &raw.longitude, 180_000)?,
    })
}

fn machines(at: &str, raw: Vec<raw::Machines>) -> Result<Vec<Machines>, Wrong> {
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for (n, raw) in raw.into_iter().enumerate() {
        let here = format!("{at}.machines[{n}]");
        name(&format!("{here}.name"), &raw.name, &mut names)?;
        let field = |field: &str| {
            let field = format!("{here}.{field}");
            move |what: String| wrong(field.clone(), what)
        };
        let pods = Range::whole(raw.pods.as_deref().unwrap_or("110"));
        let pods = amount(&field("pods"), pods, MOST_ON_ONE, "10000")?;
        let arch = raw.arch.unwrap_or_else(|| "amd64".to_owned());
        label_is_one(&field("arch"), label::ARCH, &arch)?;
        for (key, value) in &raw.labels {
            label_is_one(&field("labels"), key, value)?;
            if GIVEN.contains(&key.as_str()) {
                return Err(field("labels")(format!("{key} is given by the simulation; choose another key")));
            }
        }
        all.push(Machines {
            cpu: cpu(&field("cpu"), &raw.cpu)?,
            memory: memory(&field("memory"), &raw.memory)?,
            name: raw.name,
            count: raw.count,
            pods,
            arch,
            labels: raw.labels.into_iter().collect(),
        });
    }
    Ok(all)
}

/// A range that sums of many cannot make too large for a number.
fn amount(
    wrong: &impl Fn(String) -> Wrong,
    range: Result<Range, String>,
    most: i64,
    word: &str,
) -> Result<Range, Wrong> {
    let range = range.map_err(wrong)?;
    (range.most <= most).then_some(range).ok_or_else(|| wrong(format!("give at most {word}")))
}

fn cpu(wrong: &impl Fn(String) -> Wrong, text: &str) -> Result<Range, Wrong> {
    amount(wrong, Range::cpu(text), MOST_CPU, "100000 cores")
}

fn memory(wrong: &impl Fn(String) -> Wrong, text: &str) -> Result<Range, Wrong> {
    amount(wrong, Range::whole(text), MOST_MEMORY, "16Ti")
}

fn label_is_one(wrong: &impl Fn(String) -> Wrong, key: &str, value: &str) -> Result<(), Wrong> {
    let complaints = syntax::qualified_name(key).into_iter().chain(syntax::label_value(value));
    match complaints.into_iter().next() {
        Some(complaint) => Err(wrong(format!("{key}={value} is no label: {complaint}"))),
        None => Ok(()),
    }
}

fn workload(
    at: &str,
    raw: Vec<raw::Workload>,
    levels: &[Level],
    area: Option<Area>,
) -> Result<Vec<Workload>, Wrong> {
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for (n, raw) in raw.into_iter().enumerate() {
        let here = format!("{at}.workload[{n}]");
        name(&format!("{here}.name"), &raw.name, &mut names)?;
        let field = |field: &str| {
            let field = format!("{here}.{field}");
            move |what: String| wrong(field.clone(), what)
        };
        let home = match &raw.home {
            None => 0,
            Some(home) => levels.iter().position(|level| level.name == *home).ok_or_else(|| {
                let known: Vec<&str> = levels.iter().map(|level| level.name.as_str()).collect();
                field("home")(format!("there is no level {home:?}; there are {}", known.join(", ")))
            })?,
        };
        let rate = raw.per_second.map(|rate| match rate.is_finite() && (0.001..=100_000.0).contains(&rate) {
            true => Ok((rate * 1000.0).round() as u64),
            false => Err(field("per-second")("give a number between 0.001 and 100000".to_owned())),
        });
        for (key, value) in &raw.selector {
            label_is_one(&field("selector"), key, value)?;
        }
        if let Some(text) = &raw.policy {
            policy(&here, text)?;
        }
        let near = raw.near.map(|near| match (near.as_str(), area) {
            ("anywhere", Some(area)) => Ok(Near::Anywhere(area)),
            ("anywhere", None) => Err(field("near")("anywhere in what? Give a level an area".to_owned())),
            ("", _) => Err(field("near")("say anywhere, an area's name, or LAT,LON".to_owned())),
            _ => Ok(Near::Place(near)),
        });
        let spread = raw.spread.map(|spread| {
            label_is_one(&field("spread.over"), &spread.over, "")?;
            let skew = spread.skew.unwrap_or(1);
            match skew {
                1..=1_000_000 => Ok(Spread { over: spread.over, skew, required: spread.required }),
                _ => Err(field("spread.skew")("give a number between 1 and 1000000".to_owned())),
            }
        });
        let time = |name: &str, text: &str| {
            let range = Range::time(text).map_err(field(name))?;
            (range.most <= LONGEST).then_some(range).ok_or_else(|| field(name)("give at most 24h".to_owned()))
        };
        all.push(Workload {
            home,
            count: raw.count,
            rate: rate.transpose()?,
            start: raw
                .start
                .as_deref()
                .map_or(Ok(0), |text| time("start", text).map(|r| r.least.unsigned_abs()))?,
            life: raw.life.as_deref().map(|text| time("life", text)).transpose()?,
            cpu: cpu(&field("cpu"), raw.cpu.as_deref().unwrap_or("0"))?,
            memory: memory(&field("memory"), raw.memory.as_deref().unwrap_or("0"))?,
            selector: raw.selector.into_iter().collect(),
            policy: raw.policy,
            near: near.transpose()?,
            spread: spread.transpose()?,
            changes: raw.changes_per_hour,
            name: raw.name,
        });
    }
    Ok(all)
}

/// Refuses worlds that would not fit into a machine.
fn bounded(at: &str, world: World) -> Result<World, Wrong> {
    let (mut of_level, mut clusters) = (1u64, 0u64);
    for level in &world.levels {
        of_level = of_level.saturating_mul(level.count);
        clusters = clusters.saturating_add(of_level);
    }
    if clusters > MOST_CLUSTERS {
        return Err(wrong(
            format!("{at}.levels"),
            format!("they make {clusters} clusters; the most is {MOST_CLUSTERS}"),
        ));
    }
    let machines = world.machines.iter().fold(0u64, |all, group| all.saturating_add(group.count));
    if machines == 0 || machines > MOST_MACHINES {
        return Err(wrong(
            format!("{at}.machines"),
            format!("there must be 1 to {MOST_MACHINES} in all, and there are {machines}"),
        ));
    }
    let counts = world.clusters();
    let pods = |group: &Workload| group.count.saturating_mul(counts[group.home]);
    let all = world.workload.iter().fold(0u64, |sum, group| sum.saturating_add(pods(group)));
    if all > MOST_PODS {
        return Err(wrong(format!("{at}.workload"), format!("it has {all} pods; the most is {MOST_PODS}")));
    }
    let hours = world.duration.div_ceil(3_600_000);
    for (n, group) in world.workload.iter().enumerate() {
        if pods(group).saturating_mul(group.changes).saturating_mul(hours) > MOST_CHANGES {
            return Err(wrong(
                format!("{at}.workload[{n}].changes-per-hour"),
                format!("together with count and duration that is more than {MOST_CHANGES} changes"),
            ));
        }
    }
    Ok(world)
}
