//! The pool's record: what must survive and can not be observed again, written by compare-and-set.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use fleet::lease::LeaseRecord;
use fleet::marks::Mark;
use fleet::reconciler::Standing;
use fleet::{FenceNumber, HolderId, MachineName, NodeCount, NodeId, PoolName, hostlist};
use nomad_api::{Client, PutOutcome};
use serde::{Deserialize, Serialize};

use crate::settings::Records;

/// The record's version. A newer one is refused: an older plugin would lose what it does not know.
const VERSION: u32 = 1;

/// The variable's one item.
const ITEM: &str = "record";

/// The largest record that is read from a file, in bytes: what a Nomad variable can hold.
const RECORD_BYTES_MAX: u64 = 65_536;

/// The pool's machines of each agent, by its address: machine and node. A plugin that starts while an
/// agent is silent knows by them which ready nodes are machines of the pool.
pub type Members = BTreeMap<String, BTreeMap<MachineName, String>>;

/// The most machines that are kept by name: with their marks they fill half of what a variable holds.
const MEMBERS_MAX: usize = 1_000;

/// Target blocks by the name of their demand.
pub(super) type Targets = BTreeMap<String, BTreeMap<String, String>>;

/// A pool's record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// What the reconciler must remember.
    pub standing: Standing,
    /// Who holds the lease.
    pub holder: Option<HolderId>,
    /// The highest fence ever taken.
    pub fence: FenceNumber,
    /// Counts writes, so that a heartbeat is always a change.
    pub beat: u64,
    /// The target block of each policy as last seen, by the name of its demand.
    pub targets: Targets,
    /// Which machines of the pool each agent has, as last heard.
    pub members: Members,
}

/// Where a pool's record stands.
#[derive(Debug, Clone)]
pub struct Keeper {
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Variable { client: Client, path: String },
    File(PathBuf),
}

/// What came of a write.
#[derive(Debug)]
pub enum Saved {
    /// Written at this index.
    At(u64),
    /// Somebody else has written since.
    Conflict,
}

/// Why a record can not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Nomad does not answer or refuses.
    #[error("the record of the pool in Nomad variable {path}")]
    Nomad {
        /// The variable's path.
        path: String,
        /// What Nomad said.
        source: nomad_api::Error,
    },
    /// The file can not be read or written.
    #[error("the record of the pool in {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What stands there is no record.
    #[error(
        "{place} holds no record that this version can read: {problem}; remove it to begin anew"
    )]
    Malformed {
        /// The variable's path or the file.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

impl Keeper {
    /// The keeper of one pool's record.
    #[must_use]
    pub fn new(records: &Records, client: Client, pool: &PoolName) -> Self {
        let place = match records {
            Records::Variables(path) => Place::Variable { client, path: format!("{path}/{pool}") },
            Records::Directory(directory) => Place::File(directory.join(format!("{pool}.json"))),
        };
        Self { place }
    }

    /// Reads the record and its index; index 0 and nothing where there is none.
    ///
    /// # Errors
    /// Where it can not be read or understood.
    pub async fn read(&self) -> Result<(Record, u64), RecordError> {
        match &self.place {
            Place::Variable { client, path } => {
                let found = client.variable(path).await;
                let found =
                    found.map_err(|source| RecordError::Nomad { path: path.clone(), source })?;
                let Some(variable) = found else { return Ok((Record::default(), 0)) };
                let text = variable.items.get(ITEM).map_or("", String::as_str);
                Ok((decode(path, text)?, variable.modify_index))
            }
            Place::File(path) => {
                let file = path.clone();
                beside(path, move || read_file(&file)).await
            }
        }
    }

    /// Writes the record, if its index is still `index`.
    ///
    /// # Errors
    /// Where it can not be written: it may then stand or not.
    pub async fn write(&self, record: &Record, index: u64) -> Result<Saved, RecordError> {
        match &self.place {
            Place::Variable { client, path } => {
                let items = BTreeMap::from([(ITEM.to_owned(), encode(record))]);
                let put = client.put_variable(path, &items, index).await;
                match put.map_err(|source| RecordError::Nomad { path: path.clone(), source })? {
                    PutOutcome::Written(index) => Ok(Saved::At(index)),
                    PutOutcome::Conflict(_) => Ok(Saved::Conflict),
                }
            }
            Place::File(path) => {
                let (file, record) = (path.clone(), record.clone());
                beside(path, move || write_file(&file, &record, index)).await
            }
        }
    }
}

impl Record {
    /// What it says of the lease, found at `index`.
    #[must_use]
    pub fn lease(&self, index: u64) -> LeaseRecord {
        LeaseRecord { index, holder: self.holder.clone(), fence: self.fence }
    }
}

/// Disks may take seconds, and the loop of every pool is on one thread.
async fn beside<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, RecordError> + Send + 'static,
) -> Result<T, RecordError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(RecordError::File { path: path.to_owned(), source: std::io::Error::other(error) })
    })
}

/// In a file the beat is the index: each write raises it.
fn read_file(path: &Path) -> Result<(Record, u64), RecordError> {
    let file_error = |source| RecordError::File { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((Record::default(), 0));
        }
        Err(error) => return Err(file_error(error)),
    };
    let mut text = String::new();
    file.take(RECORD_BYTES_MAX).read_to_string(&mut text).map_err(file_error)?;
    let record = decode(&path.display().to_string(), &text)?;
    let index = record.beat.max(1);
    Ok((record, index))
}

fn write_file(path: &Path, record: &Record, index: u64) -> Result<Saved, RecordError> {
    let file_error = |source| RecordError::File { path: path.to_owned(), source };
    let (_, found) = read_file(path)?;
    if found != index {
        return Ok(Saved::Conflict);
    }
    let next = found + 1;
    let record = Record { beat: next, ..record.clone() };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(file_error)?;
    }
    let beside = path.with_extension("json.new");
    let mut file = std::fs::File::create(&beside).map_err(file_error)?;
    file.write_all(encode(&record).as_bytes()).map_err(file_error)?;
    file.sync_all().map_err(file_error)?;
    std::fs::rename(&beside, path).map_err(file_error)?;
    if let Some(folder) = path.parent() {
        let folder = std::fs::File::open(folder).map_err(file_error)?;
        folder.sync_all().map_err(file_error)?;
    }
    Ok(Saved::At(next))
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordJson {
    version: u32,
    levels: BTreeMap<String, u32>,
    marks: BTreeMap<String, MarkJson>,
    holder: Option<String>,
    fence: u64,
    beat: u64,
    /// Records of before several policies shared a pool have none; their policy tells it anew.
    #[serde(default)]
    targets: Targets,
    #[serde(default)]
    members: BTreeMap<String, MembersJson>,
}

/// The machines of one agent.
#[derive(Debug, Default, Serialize, Deserialize)]
struct MembersJson {
    /// Those whose node has their own name, as a host list.
    #[serde(default)]
    machines: String,
    /// The others, with their nodes.
    #[serde(default)]
    nodes: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MarkJson {
    node: String,
    index: u64,
    seen: u64,
}

fn encode(record: &Record) -> String {
    let marks = record.standing.marks.iter().map(|(machine, mark)| {
        let json = MarkJson { node: mark.node.to_string(), index: mark.index, seen: mark.seen };
        (machine.to_string(), json)
    });
    let levels = record.standing.levels.iter().map(|(voice, level)| (voice.clone(), level.0));
    let json = RecordJson {
        version: VERSION,
        levels: levels.collect(),
        marks: marks.collect(),
        holder: record.holder.as_ref().map(ToString::to_string),
        fence: record.fence.0,
        beat: record.beat,
        targets: record.targets.clone(),
        members: record
            .members
            .iter()
            .map(|(agent, own)| (agent.clone(), members_json(own)))
            .collect(),
    };
    // Maps with string keys and numbers always encode.
    serde_json::to_string(&json).unwrap_or_default()
}

fn decode(place: &str, text: &str) -> Result<Record, RecordError> {
    let malformed = |problem: String| RecordError::Malformed { place: place.to_owned(), problem };
    let json: RecordJson =
        serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    if json.version != VERSION {
        return Err(malformed(format!("its version is {}, this plugin's {VERSION}", json.version)));
    }
    let mut marks = BTreeMap::new();
    for (machine, mark) in json.marks {
        let machine = MachineName::new(machine).map_err(|error| malformed(error.to_string()))?;
        let node = NodeId::new(mark.node).map_err(|error| malformed(error.to_string()))?;
        marks.insert(machine, Mark { node, index: mark.index, seen: mark.seen });
    }
    let mut members = Members::new();
    for (agent, own) in json.members {
        members.insert(agent, members_of(own).map_err(malformed)?);
    }
    let holder = json.holder.map(HolderId::new).transpose();
    let levels = json.levels.into_iter().map(|(voice, level)| (voice, NodeCount(level)));
    Ok(Record {
        standing: Standing { levels: levels.collect(), marks },
        holder: holder.map_err(|error| malformed(error.to_string()))?,
        fence: FenceNumber(json.fence),
        beat: json.beat,
        targets: json.targets,
        members,
    })
}

fn members_json(own: &BTreeMap<MachineName, String>) -> MembersJson {
    let (same, other): (Vec<_>, Vec<_>) =
        own.iter().take(MEMBERS_MAX).partition(|(machine, node)| machine.as_str() == *node);
    let nodes = other.into_iter().map(|(machine, node)| (machine.to_string(), node.clone()));
    MembersJson {
        machines: hostlist::compress(same.into_iter().map(|(machine, _)| machine)),
        nodes: nodes.collect(),
    }
}

fn members_of(json: MembersJson) -> Result<BTreeMap<MachineName, String>, String> {
    let same = match json.machines.as_str() {
        "" => Vec::new(),
        list => hostlist::expand(list).map_err(|error| error.to_string())?,
    };
    let mut own: BTreeMap<MachineName, String> =
        same.into_iter().map(|machine| (machine.clone(), machine.to_string())).collect();
    for (machine, node) in json.nodes {
        own.insert(MachineName::new(machine).map_err(|error| error.to_string())?, node);
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let node = NodeId::new("5f1c9a3e-0d0f-4f6e-9d6d-2c5a3f7b8e11").unwrap();
        let machine = MachineName::new("node1").unwrap();
        Record {
            standing: Standing {
                levels: BTreeMap::from([("default".to_owned(), NodeCount(3))]),
                marks: BTreeMap::from([(machine, Mark { node, index: 41, seen: 44 })]),
            },
            holder: Some(HolderId::new("lamplighter-1").unwrap()),
            fence: FenceNumber(7),
            beat: 9,
            targets: BTreeMap::from([(
                "default".to_owned(),
                BTreeMap::from([("pool".to_owned(), "rack".to_owned())]),
            )]),
            members: BTreeMap::from([(
                "unix:/run/a.sock".to_owned(),
                [("node1", "node1"), ("node2", "node2"), ("old", "legacy-7")]
                    .map(|(machine, node)| (MachineName::new(machine).unwrap(), node.to_owned()))
                    .into(),
            )]),
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        assert_eq!(decode("x", &encode(&record())).unwrap(), record());
    }

    #[test]
    fn a_record_of_before_several_policies_shared_a_pool_is_read() {
        let old = r#"{"version":1,"levels":{"default":3},"marks":{},"holder":null,"fence":7,
            "beat":9,"target":{"pool":"rack"}}"#;
        let found = decode("x", old).unwrap();
        assert_eq!((found.fence, found.targets), (FenceNumber(7), Targets::new()));
    }

    #[test]
    fn a_newer_version_and_rubbish_are_refused_with_place_and_remedy() {
        let newer = encode(&record()).replace("\"version\":1", "\"version\":2");
        for text in [newer.as_str(), "", "{}", "[1]"] {
            let error = decode("lamplighter/pools/rack", text).unwrap_err().to_string();
            assert!(
                error.contains("lamplighter/pools/rack") && error.contains("remove it"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_compares_and_sets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records/rack.json");
        assert_eq!(read_file(&path).unwrap(), (Record::default(), 0));
        assert!(matches!(write_file(&path, &record(), 0), Ok(Saved::At(1))));
        assert!(matches!(write_file(&path, &record(), 0), Ok(Saved::Conflict)));
        assert!(matches!(write_file(&path, &record(), 1), Ok(Saved::At(2))));
        let (found, index) = read_file(&path).unwrap();
        assert_eq!((found.standing, index), (record().standing, 2));
    }
}
