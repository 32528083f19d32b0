//! The rack as the page draws it: a tile for each machine, in the order of the shelf. Pure; the page's script only paints.

use agent_api::{Inventory, Machine};
use fleet::moment::millis;
use fleet::{Observed, PowerState, hostlist};
use serde::Serialize;

use crate::cli::words;
use crate::identity::Identity;
use crate::roles::Deed;

/// All that somebody may see.
#[derive(Debug, Serialize)]
pub(crate) struct RackJson {
    agent: String,
    version: String,
    who: String,
    role: &'static str,
    may: MayJson,
    groups: Vec<GroupJson>,
}

/// What the page offers; what is allowed is asked at each order.
#[derive(Debug, Serialize)]
struct MayJson {
    switch: bool,
    hold: bool,
    force: bool,
}

/// The machines of a pool; those of none come last.
#[derive(Debug, Serialize)]
struct GroupJson {
    pool: Option<String>,
    machines: Vec<TileJson>,
}

/// One machine.
#[derive(Debug, Serialize)]
pub(crate) struct TileJson {
    name: String,
    pool: Option<String>,
    /// on, off, assumed-on, assumed-off, on-differs, off-differs, unknown: never the colour alone, see `word`.
    look: &'static str,
    /// The same as `power-agent status` says it.
    word: String,
    /// Who has last moved it and why.
    by: Option<ByJson>,
    /// What a person should know of it.
    marks: Vec<MarkJson>,
    /// What runs.
    doing: Option<DoingJson>,
    /// The last order that has ended.
    ended: Option<EndedJson>,
    /// Whether there is something to release.
    locked: bool,
}

#[derive(Debug, Serialize)]
struct ByJson {
    age_ms: u64,
    who: String,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct MarkJson {
    /// held, quarantined, drift, trouble, never-off.
    kind: &'static str,
    /// In one word.
    word: &'static str,
    text: String,
}

#[derive(Debug, Serialize)]
struct DoingJson {
    text: String,
    age_ms: u64,
    left_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct EndedJson {
    operation: String,
    well: bool,
    text: String,
}

impl RackJson {
    pub(crate) fn new(inventory: &Inventory, who: &Identity) -> Self {
        let mut machines: Vec<&Machine> = inventory.machines.iter().collect();
        machines.sort_by(|one, other| {
            let pools = |machine: &&Machine| machine.pool.as_ref().map(ToString::to_string);
            let (own, others) = (pools(one), pools(other));
            let by_pool = own.is_none().cmp(&others.is_none()).then_with(|| {
                hostlist::natural(&own.unwrap_or_default(), &others.unwrap_or_default())
            });
            by_pool.then_with(|| hostlist::natural(one.name.as_str(), other.name.as_str()))
        });
        let mut groups: Vec<GroupJson> = Vec::new();
        for machine in machines {
            let tile = TileJson::from(machine);
            match groups.last_mut().filter(|group| group.pool == tile.pool) {
                Some(group) => group.machines.push(tile),
                None => groups.push(GroupJson { pool: tile.pool.clone(), machines: vec![tile] }),
            }
        }
        let may = |deed| who.grant.role.may(deed);
        Self {
            agent: inventory.agent.clone(),
            version: inventory.version.clone(),
            who: who.name.clone(),
            role: who.grant.role.as_str(),
            may: MayJson {
                switch: may(Deed::Order),
                hold: may(Deed::Hold),
                force: may(Deed::Force),
            },
            groups,
        }
    }
}

impl From<&Machine> for TileJson {
    fn from(machine: &Machine) -> Self {
        let observed = machine.observed();
        let last = machine.operation.as_ref();
        Self {
            name: machine.name.to_string(),
            pool: machine.pool.as_ref().map(ToString::to_string),
            look: look(&observed),
            word: observed.to_string(),
            by: by(machine),
            marks: marks(machine),
            doing: doing(machine),
            ended: last.filter(|last| last.phase.is_finished()).map(|last| EndedJson {
                operation: last.id.to_string(),
                well: last.phase == agent_api::Phase::Done,
                text: words::operation(last),
            }),
            locked: !machine.locks.holds.is_empty() || machine.quarantine.is_some(),
        }
    }
}

fn look(observed: &Observed) -> &'static str {
    match observed {
        Observed::Read(PowerState::On) => "on",
        Observed::Read(PowerState::Off) => "off",
        Observed::Assumed(PowerState::On) => "assumed-on",
        Observed::Assumed(PowerState::Off) => "assumed-off",
        Observed::Differs { read: PowerState::On, .. } => "on-differs",
        Observed::Differs { read: PowerState::Off, .. } => "off-differs",
        Observed::Unknown => "unknown",
    }
}

fn by(machine: &Machine) -> Option<ByJson> {
    let commanded = machine.commanded.as_ref()?;
    let last = machine.operation.as_ref().filter(|last| last.id == commanded.operation);
    Some(ByJson {
        age_ms: millis(commanded.age),
        who: words::who(&commanded.origin),
        reason: last.map(|last| last.reason.to_string()),
    })
}

fn marks(machine: &Machine) -> Vec<MarkJson> {
    let mut marks = Vec::new();
    if let Some(out) = &machine.quarantine {
        let text = format!("in quarantine since {}: {}", words::ago(out.age), out.reason);
        marks.push(MarkJson { kind: "quarantined", word: "quarantined", text });
    }
    for hold in &machine.locks.holds {
        let word = match hold.kind {
            fleet::HoldKind::Off => "held off",
            fleet::HoldKind::Hold => "held",
            fleet::HoldKind::Reservation => "reserved",
            fleet::HoldKind::Maintenance => "maintenance",
            fleet::HoldKind::Flapping => "flapping",
        };
        marks.push(MarkJson { kind: "held", word, text: words::hold(hold) });
    }
    if let Some(drift) = &machine.drift {
        let (read, age, wanted) = (drift.read, words::ago(drift.age), drift.wanted);
        let text = format!("reads {read} since {age}, and was ordered {wanted}");
        marks.push(MarkJson { kind: "drift", word: "differs", text });
    }
    if let Some((device, trouble)) =
        machine.outlets.iter().find_map(|outlet| Some((&outlet.device, outlet.trouble.as_ref()?)))
    {
        let text = format!("device {device}: {trouble}");
        marks.push(MarkJson { kind: "trouble", word: "no answer", text });
    }
    if machine.locks.never_off {
        let text = "the rack file says that its power is never taken".to_owned();
        marks.push(MarkJson { kind: "never-off", word: "never off", text });
    }
    marks
}

/// The order that runs; else the boot that it has led to, as long as its node may take and nobody has told its end.
fn doing(machine: &Machine) -> Option<DoingJson> {
    let last = machine.operation.as_ref()?;
    if !last.phase.is_finished() {
        let mut text = format!("{}: {}", last.verb.as_str(), last.phase);
        if !last.progress.is_empty() {
            text.push_str(&format!(", {}", last.progress));
        }
        let left_ms = last.deadline_in.map(millis);
        return Some(DoingJson { text, age_ms: millis(last.age), left_ms });
    }
    let commanded =
        machine.commanded.as_ref().filter(|commanded| commanded.operation == last.id)?;
    let dark = machine.reading.is_some_and(|(state, _)| state == PowerState::Off);
    let told = machine.boots.iter().any(|boot| boot.operation == last.id);
    let on =
        commanded.state == PowerState::On && last.changed && last.phase == agent_api::Phase::Done;
    let left = machine.boot_deadline.checked_sub(commanded.age)?;
    (on && !dark && !told && machine.pool.is_some()).then(|| DoingJson {
        text: "booting".to_owned(),
        age_ms: millis(commanded.age),
        left_ms: Some(millis(left)),
    })
}
