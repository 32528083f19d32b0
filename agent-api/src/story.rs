//! A machine's story in the order of time: what was, how it stands, what is to come. Every command that says why tells
//! it by this, and each thing once.

use std::time::Duration;

use fleet::arbiter::BEFORE_BOOT;
use fleet::drift::TRIES_MAX;
use fleet::duration::show_duration;
use fleet::{BootEnd, DriftPolicy, Milliamps, PowerState};

use crate::words::{ago, ended, running, span, who};
use crate::{
    Drift, Dwell, HistoryEntry, HoldEnds, Life, Machine, Operation, Plan, Quarantine, WakePath,
};

/// How many of a machine's last boots are told: enough to see whether the last one was like the others.
const BOOTS_TOLD: usize = 3;

/// When something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It happened so long ago, or has been so since.
    Ago(Duration),
    /// It is so.
    Now,
    /// It will be, from now.
    In(Duration),
}

/// One thing that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When it is.
    pub when: When,
    /// A sentence; more lines where it has them.
    pub text: String,
    /// Whether it is as it should be, so that it interests only who asks about this machine.
    pub ordinary: bool,
}

impl Told {
    const fn ago(age: Duration, text: String) -> Self {
        Self { when: When::Ago(age), text, ordinary: false }
    }

    const fn now(text: String) -> Self {
        Self { when: When::Now, text, ordinary: false }
    }

    const fn to_come(left: Duration, text: String) -> Self {
        Self { when: When::In(left), text, ordinary: false }
    }

    fn ordinary(self) -> Self {
        Self { ordinary: true, ..self }
    }

    /// When it is, in words.
    #[must_use]
    pub fn when(&self) -> String {
        match self.when {
            When::Ago(age) if age >= BEFORE_BOOT => ago(age),
            When::Ago(age) => format!("{} ago", ago(age)),
            When::Now => "now".to_owned(),
            When::In(left) => format!("in {}", span(left)),
        }
    }
}

/// The story of a machine: with these of its last operations, and what these plans say of it and of their pools.
#[must_use]
pub fn story(machine: &Machine, history: &[HistoryEntry], plans: &[Plan]) -> Vec<Told> {
    let mut story = operations(machine, history);
    story.extend(machine.quarantine.as_ref().map(|out| quarantine(machine, out)));
    story.extend(machine.drift.as_ref().map(|drift| {
        let done = mended(machine, drift);
        let text = format!("since then it reads {}, ordered {}: {done}", drift.read, drift.wanted);
        Told::ago(drift.age, text)
    }));
    story.extend(boots(machine));
    story.extend(locks(machine));
    story.extend(plans.iter().filter_map(|plan| planned(machine, plan)));
    story.extend(stands(machine));
    story.extend(machine.dwell.iter().flat_map(|near| dwell(machine, near)));
    story.extend(fed(machine));
    // What is of one time stays as it was put.
    story.sort_by_key(|told| match told.when {
        When::Ago(age) => (0, Duration::MAX.saturating_sub(age)),
        When::Now => (1, Duration::ZERO),
        When::In(left) => (2, left),
    });
    story
}

/// The story as lines, each with its time in front.
#[must_use]
pub fn lines(story: &[Told]) -> Vec<String> {
    let width = story.iter().map(|told| told.when().chars().count()).max().unwrap_or_default();
    let indent = format!("\n{:width$}  ", "");
    story
        .iter()
        .map(|told| format!("{:<width$}  {}", told.when(), told.text.replace('\n', &indent)))
        .collect()
}

/// What was ordered and what came of it; what runs.
fn operations(machine: &Machine, history: &[HistoryEntry]) -> Vec<Told> {
    let live = machine.operation.as_ref().filter(|last| !last.phase.is_finished());
    let runs = |id: &str| live.is_some_and(|live| live.id.as_str() == id);
    let told = history.iter().filter(|entry| !runs(&entry.operation));
    let mut story: Vec<Told> = told
        .map(|entry| Told::ago(entry.age, format!("{}: {}", entry.verb, ended(entry))))
        .collect();
    let is_told = |id: &str| history.iter().any(|entry| entry.operation == id);
    let last = machine.operation.as_ref().filter(|last| last.phase.is_finished());
    let last = last.filter(|last| !is_told(last.id.as_str()));
    story.extend(last.map(|last| Told::ago(last.age, finished(last))));
    story.extend(live.map(|live| {
        let (by, id) = (who(&live.origin), &live.id);
        Told::now(format!("{}\n    by {by}, because: {} ({id})", running(live), live.reason))
    }));
    if let Some(commanded) = &machine.commanded {
        let id = commanded.operation.as_str();
        let is_last = machine.operation.as_ref().is_some_and(|last| last.id.as_str() == id);
        if !is_last && !is_told(id) {
            let by = who(&commanded.origin);
            let text = format!("commanded {} by {by} ({id})", commanded.state);
            story.push(Told::ago(commanded.age, text));
        }
    } else {
        story.push(Told::now("never commanded by this agent".to_owned()).ordinary());
    }
    story
}

fn finished(last: &Operation) -> String {
    let word = if last.phase == fleet::Phase::Done { "done" } else { "FAILED" };
    let moved = if last.changed { "" } else { ", nothing moved" };
    format!(
        "{}: {word} in {}{moved}: {}\n    by {}, because: {}",
        last.verb.as_str(),
        span(last.took),
        last.evidence,
        who(&last.origin),
        last.reason
    )
}

fn quarantine(machine: &Machine, out: &Quarantine) -> Told {
    let (name, by) = (&machine.name, who(&out.by));
    let text = format!(
        "put in quarantine by {by}: {}; `power-agent release {name}` returns it to service, \
         `power-agent on {name}` tries it",
        out.reason
    );
    Told::ago(out.age, text)
}

/// What is done about a machine that reads otherwise than it was ordered.
#[must_use]
pub fn mended(machine: &Machine, drift: &Drift) -> String {
    let name = &machine.name;
    match (drift.policy, drift.tries, drift.gave_up) {
        (_, tries, true) => {
            format!(
                "given up after it was lit again {tries} times; look at its relay and its board"
            )
        }
        (DriftPolicy::Enforce, tries, false) if drift.wanted == PowerState::On => {
            format!("lit again {tries} of at most {TRIES_MAX} times")
        }
        (DriftPolicy::Enforce | DriftPolicy::Report, ..) => {
            format!("only reported; `power-agent {} {name}` makes it so", drift.wanted)
        }
    }
}

fn boots(machine: &Machine) -> impl Iterator<Item = Told> {
    let older = machine.boots.len().saturating_sub(BOOTS_TOLD);
    machine.boots.iter().skip(older).map(|boot| {
        let took =
            boot.took.map_or_else(String::new, |took| format!(", {} after power", span(took)));
        let end = match boot.end {
            BootEnd::Ready => "its node became ready",
            BootEnd::Missed => "its node was not ready in time",
        };
        Told::ago(boot.age, format!("{end}{took}"))
    })
}

fn locks(machine: &Machine) -> Vec<Told> {
    let mut story = Vec::new();
    for hold in &machine.locks.holds {
        let (kind, by) = (hold.kind.as_str(), &hold.by);
        let until = match hold.ends {
            HoldEnds::Released => ", until it is released",
            HoldEnds::In(_) => "",
            HoldEnds::Expired => ", which has expired",
            HoldEnds::Lost => ", its span lost by a reboot",
        };
        let text = format!("lock {kind} by {by}{until}: {}", hold.reason);
        story.push(Told::ago(hold.age, text));
        if let HoldEnds::In(left) = hold.ends {
            let text = format!("the lock {kind} of {by} ends; that moves nothing");
            story.push(Told::to_come(left, text));
        }
    }
    if machine.locks.never_off {
        story.push(Told::now("the rack file says that its power is never taken".to_owned()));
    }
    story
}

/// What a plan says of its pool and of the machine. What the agent itself knows of a quarantine is told already.
fn planned(machine: &Machine, plan: &Plan) -> Option<Told> {
    let ours = plan.lines.iter().filter(|line| match &line.machine {
        None => true,
        Some(name) => *name == machine.name && !told_by_agent(machine, &line.text),
    });
    let mut text = format!("plan {} ({}):", plan.id, plan.author);
    let mut any = false;
    for line in ours {
        any = true;
        let name = line.machine.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        text.push_str(&format!("\n    {name}{}", line.text));
    }
    any.then(|| Told::ago(plan.age, text))
}

fn told_by_agent(machine: &Machine, text: &str) -> bool {
    machine.quarantine.as_ref().is_some_and(|out| {
        text.starts_with("is in quarantine") && text.contains(out.reason.as_str())
    })
}

/// How it reads, by what it is switched, and where it belongs.
fn stands(machine: &Machine) -> Vec<Told> {
    let life = machine.paths.life.as_ref();
    let mut story = vec![match (&machine.reading, life.map(|life| &life.seen)) {
        (Some((state, age)), Some(Ok(signs))) => {
            let age = ago(*age);
            Told::now(format!("reads {state}, {age} ago, from its signs of life: {signs}"))
                .ordinary()
        }
        (Some((state, age)), _) => {
            Told::now(format!("reads {state}, {} ago, from its outlets", ago(*age))).ordinary()
        }
        // Of one that has to be woken, its outlets say nothing while they are closed, and silence says nothing ever.
        (None, _) => {
            let text = "nothing is read of it".to_owned();
            Told { ordinary: machine.paths.wake.is_some(), ..Told::now(text) }
        }
    }];
    if let Some(Life { seen: Err(missing), age }) = life {
        let text = format!("no sign of life, {} ago, which says nothing: {missing}", ago(*age));
        story.push(Told::now(text).ordinary());
    }
    for outlet in &machine.outlets {
        let (device, number) = (&outlet.device, outlet.number);
        let (said, ordinary) = match (&outlet.reading, &outlet.trouble, outlet.can_read_back) {
            (Some((state, age)), ..) => {
                (format!("{state}{}, {} ago", outlet.source.told(), ago(*age)), true)
            }
            (None, Some(trouble), _) => (format!("unknown: {trouble}"), false),
            (None, None, false) => ("can not be read: the board tells nothing".to_owned(), true),
            (None, None, true) => ("unknown: it has not been read yet".to_owned(), false),
        };
        let text = format!("outlet {device}/{number}: {said}");
        story.push(Told { ordinary, ..Told::now(text) });
    }
    story.extend(paths(machine));
    let place = match &machine.pool {
        Some(pool) => format!("in pool {pool}; its node is {}", machine.node),
        None => "in no pool: no policy moves it".to_owned(),
    };
    story.push(Told::now(place).ordinary());
    story
}

/// By what it is switched beside its outlets.
fn paths(machine: &Machine) -> impl Iterator<Item = Told> {
    let paths = &machine.paths;
    let wake = paths.wake.as_ref().map(|WakePath { device, mac }| {
        format!("woken by {device} ({mac}): that path can neither cut nor be read")
    });
    let stay = "its outlets open only where it does not go down by itself";
    let on_only = "nothing can switch it off: it has neither an outlet nor a soft off";
    let stay = paths.outlets_stay.then(|| stay.to_owned());
    let on_only = paths.on_only.then(|| on_only.to_owned());
    [wake, stay, on_only].into_iter().flatten().map(|text| Told::now(text).ordinary())
}

/// What its rack file allows of switching it, and from when on. Of a machine that may be either way, both are told.
fn dwell(machine: &Machine, near: &Dwell) -> Vec<Told> {
    let reading = machine.reading.map(|(state, _)| state);
    let mut story = Vec::new();
    let mut limit = |least: Duration, left: Duration, knob: &str, deed: &str, forced: &str| {
        if least.is_zero() {
            return;
        }
        let least = show_duration(least);
        story.push(if left.is_zero() {
            Told::now(format!("may be {deed}: {knob} of {least} is over")).ordinary()
        } else {
            Told::to_come(left, format!("may be {deed} ({knob} of {least}){forced}"))
        });
    };
    if reading != Some(PowerState::Off) {
        limit(near.limits.min_on, near.cut_in, "min_on", "cut", "; a person may say --force");
    }
    if reading != Some(PowerState::On) {
        limit(near.limits.min_off, near.light_in, "min_off", "lit", "; nobody may force that");
    }
    let allowed = near.limits.cycles_per_hour;
    if allowed > 0 {
        let text = format!(
            "was lit {} of the {allowed} times that an hour allows (cycles_per_hour)",
            near.cycles
        );
        story.push(Told::now(text).ordinary());
    }
    if !near.cycle_in.is_zero() {
        let text = "may be lit once more (cycles_per_hour); a person may say --force";
        story.push(Told::to_come(near.cycle_in, text.to_owned()));
    }
    story
}

fn fed(machine: &Machine) -> impl Iterator<Item = Told> {
    machine.fed.supplies.iter().map(|supply| {
        let draw = supply.draw;
        let start = if draw.extra() == Milliamps::ZERO {
            String::new()
        } else {
            format!(", {} for {} at its start", draw.inrush, show_duration(draw.inrush_for))
        };
        let counted = if machine.fed.counted { "that is counted" } else { "it is off" };
        let text = format!("takes {} of feed {}{start}: {counted}", draw.running, supply.feed);
        Told::now(text).ordinary()
    })
}
