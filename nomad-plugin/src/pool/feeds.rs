//! How the feeds of an agent are taken, by what it says of its machines: of whichever pool, because a feed knows none.

use std::collections::BTreeMap;

use agent_api::{AgentAddress, Machine};
use fleet::{FedView, FeedKey, FeedName, FeedRoom, FeedRooms, Milliamps};

fn key(agent: &AgentAddress, feed: &FeedName) -> FeedKey {
    FeedKey { agent: agent.to_string(), feed: feed.clone() }
}

/// The room on each feed of one agent. Added up here, because the agent tells of a machine that has changed and not of the
/// sums that change with it.
pub fn rooms<'a>(
    agent: &AgentAddress,
    budgets: impl IntoIterator<Item = (&'a FeedName, Milliamps)>,
    machines: impl IntoIterator<Item = &'a Machine>,
) -> FeedRooms {
    let empty = |budget| FeedRoom { budget, ..FeedRoom::default() };
    let budgets = budgets.into_iter();
    let mut rooms: BTreeMap<FeedKey, FeedRoom> =
        budgets.map(|(feed, budget)| (key(agent, feed), empty(budget))).collect();
    for fed in machines.into_iter().map(|machine| &machine.fed) {
        for supply in &fed.supplies {
            let Some(room) = rooms.get_mut(&key(agent, &supply.feed)) else { continue };
            if fed.counted {
                room.committed = room.committed.plus(supply.draw.running);
            }
            if fed.starts {
                room.reserve = room.reserve.max(supply.draw.extra());
            }
        }
    }
    FeedRooms { rooms }
}

/// What a machine takes of its agent's feeds.
#[must_use]
pub fn fed(agent: &AgentAddress, machine: &Machine) -> FedView {
    let supplies = machine.fed.supplies.iter();
    let draws = supplies.map(|supply| (key(agent, &supply.feed), supply.draw)).collect();
    FedView { draws, counted: machine.fed.counted }
}
