//! What goes wrong in a rack, where, and how it is healed.

use std::collections::BTreeMap;

use super::Action;
use super::Rack;
use super::Refused;
use super::command;
use super::through;
use crate::board::Reaction;
use crate::fault::BoardFault;
use crate::fault::Fault;
use crate::fault::Weld;
use crate::fault::relay_place;
use crate::moment::Moment;
use crate::relay::Power;

/// The place that stands for every place.
const ALL: &str = "all";

impl Rack {
    /// All that is wrong now.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let machines = self.machines.iter().flat_map(|(name, plugged)| {
            let faults = plugged.machine.faults();
            faults.into_iter().map(|fault| Fault::Machine(name.clone(), fault))
        });
        let boards = self.boards.iter().flat_map(|(name, board)| {
            board.faults().iter().map(|fault| Fault::Board(name.clone(), fault.clone()))
        });
        let relays = self.boards.iter().flat_map(|(name, board)| {
            let relays = (1..).zip(board.relays());
            relays.filter_map(|(channel, r)| Some(Fault::Relay(name.clone(), channel, r.weld()?)))
        });
        let dead = self.feeds.iter().filter(|(_, mains)| **mains == Power::Off);
        let feeds = dead.map(|(name, _)| Fault::NoMains(name.clone()));
        machines.chain(boards).chain(relays).chain(feeds).collect()
    }

    /// How a board is on the bus: what is wrong there, if anything is.
    #[must_use]
    pub fn on_the_bus(&self, board: &str) -> Option<&BoardFault> {
        let faults = self.boards.get(board)?.faults();
        faults.iter().find(|fault| fault.is_of_the_bus())
    }

    /// From `now` on something is wrong.
    ///
    /// # Errors
    /// Where the rack has no such place, or it can not happen there now.
    pub fn fail(&mut self, fault: Fault, now: Moment) -> Result<Vec<Action>, Refused> {
        let mut actions = self.elapse(now);
        match fault {
            Fault::Machine(name, fault) => {
                let known = keys(&self.machines);
                let Some(plugged) = self.machines.get_mut(&name) else {
                    return Err(unknown("machine", name, known));
                };
                let effect = plugged
                    .machine
                    .fail(fault)
                    .map_err(|phase| Refused::NotOn { machine: name.clone(), phase })?;
                actions.extend(effect.map(|effect| command(&name, effect)));
            }
            Fault::Relay(board, channel, weld) => {
                actions.extend(self.stick(&board, channel, Some(weld), now)?);
            }
            Fault::Board(name, fault) => {
                let known = keys(&self.boards);
                let other = fault.other().filter(|other| !self.boards.contains_key(*other));
                if let Some(other) = other {
                    return Err(unknown("board", other.to_owned(), known));
                }
                let Some(board) = self.boards.get_mut(&name) else {
                    return Err(unknown("board", name, known));
                };
                board.fail(fault);
            }
            Fault::NoMains(feed) => actions.extend(self.mains(&feed, Power::Off, now)?),
        }
        Ok(actions)
    }

    /// From `now` on nothing is wrong at a place: a machine, a board with its relays, one relay, a
    /// feed, or `all`.
    ///
    /// # Errors
    /// Where the rack has no such place.
    pub fn heal(&mut self, place: &str, now: Moment) -> Result<Vec<Action>, Refused> {
        let mut actions = self.elapse(now);
        let feeds: Vec<String> = self.feeds.keys().cloned().collect();
        let boards: Vec<String> = self.boards.keys().cloned().collect();
        let mut known = false;
        for feed in feeds.iter().filter(|feed| is_at(place, feed)) {
            known = true;
            actions.extend(self.mains(feed, Power::On, now)?);
        }
        for name in boards.iter().filter(|name| is_at(place, name)) {
            known = true;
            actions.extend(self.heal_board(name, now)?);
        }
        for (name, plugged) in self.machines.iter_mut().filter(|(name, _)| is_at(place, name)) {
            known = true;
            actions.extend(plugged.machine.heal().map(|effect| command(name, effect)));
        }
        if known || place == ALL {
            return Ok(actions);
        }
        let Ok((board, channel)) = relay_place(place) else {
            let names = [keys(&self.machines), keys(&self.boards), keys(&self.feeds)];
            let names: Vec<String> = names.into_iter().filter(|names| !names.is_empty()).collect();
            let known = format!("{}, BOARD:CHANNEL, {ALL}", names.join(", "));
            return Err(unknown("place", place.to_owned(), known));
        };
        actions.extend(self.stick(&board, channel, None, now)?);
        Ok(actions)
    }

    /// Somebody moves a relay past the agent: at the board's button, or with another program.
    ///
    /// # Errors
    /// Where the rack has no such relay.
    pub fn by_hand(
        &mut self,
        place: &str,
        power: Power,
        now: Moment,
    ) -> Result<Vec<Action>, Refused> {
        let mut actions = self.elapse(now);
        let (board, channel) = relay_place(place).map_err(Refused::NoPlace)?;
        actions.extend(self.at_relay(&board, channel, now, |b| b.by_hand(channel, power))?);
        Ok(actions)
    }

    fn heal_board(&mut self, name: &str, now: Moment) -> Result<Vec<Action>, Refused> {
        let Some(board) = self.boards.get_mut(name) else { return Ok(Vec::new()) };
        board.heal();
        let stuck = (1..).zip(board.relays()).filter(|(_, relay)| relay.weld().is_some());
        let stuck: Vec<u8> = stuck.map(|(channel, _)| channel).collect();
        let mut actions = Vec::new();
        for channel in stuck {
            actions.extend(self.stick(name, channel, None, now)?);
        }
        Ok(actions)
    }

    fn stick(
        &mut self,
        board: &str,
        channel: u8,
        weld: Option<Weld>,
        now: Moment,
    ) -> Result<Vec<Action>, Refused> {
        self.at_relay(board, channel, now, |board| board.stick(channel, weld))
    }

    fn at_relay(
        &mut self,
        name: &str,
        channel: u8,
        now: Moment,
        act: impl FnOnce(&mut crate::board::Board) -> Option<Vec<Reaction>>,
    ) -> Result<Vec<Action>, Refused> {
        let known = keys(&self.boards);
        let Some(board) = self.boards.get_mut(name) else {
            return Err(unknown("board", name.to_owned(), known));
        };
        let channel_count = board.relays().len();
        let reactions = act(board).ok_or_else(|| {
            let what = format!("{name}:{channel}");
            unknown("relay", what, format!("{name}:1 to {name}:{channel_count}"))
        })?;
        Ok(self.react(name, reactions, now))
    }

    /// Mains fail: machines die first and at once, then boards lose their power. Mains return: boards
    /// wake first and open their relays, then what hangs on a closed contact starts.
    pub(super) fn mains(
        &mut self,
        feed: &str,
        mains: Power,
        now: Moment,
    ) -> Result<Vec<Action>, Refused> {
        let known = keys(&self.feeds);
        let Some(state) = self.feeds.get_mut(feed) else {
            return Err(unknown("feed", feed.to_owned(), known));
        };
        if std::mem::replace(state, mains) == mains {
            return Ok(Vec::new());
        }
        let mut actions = Vec::new();
        if mains == Power::Off {
            actions.extend(self.currents(feed, now));
        }
        let fed = self.board_feeds.iter().filter(|(_, of)| *of == feed);
        let fed: Vec<String> = fed.map(|(board, _)| board.clone()).collect();
        for name in fed {
            let reactions =
                self.boards.get_mut(&name).map(|board| board.power(mains)).unwrap_or_default();
            actions.extend(self.react(&name, reactions, now));
        }
        if mains == Power::On {
            actions.extend(self.currents(feed, now));
        }
        Ok(actions)
    }

    /// Gives each machine of a feed the current that its contact and its mains give it now.
    fn currents(&mut self, feed: &str, now: Moment) -> Vec<Action> {
        let (boards, feeds) = (&self.boards, &self.feeds);
        let mut actions = Vec::new();
        for (name, plugged) in &mut self.machines {
            if plugged.feed.as_deref() != Some(feed) {
                continue;
            }
            let relays = boards.get(&plugged.board).map(crate::board::Board::relays);
            let index = usize::from(plugged.channel).checked_sub(1);
            let relay = index.and_then(|index| relays?.get(index));
            let contact = relay.map_or(Power::Off, crate::relay::Relay::contact);
            let current = through(contact, plugged, feeds);
            plugged.takes(current, now);
            let effect = plugged.machine.current(current, now);
            actions.extend(effect.map(|effect| command(name, effect)));
        }
        actions
    }
}

fn is_at(place: &str, name: &str) -> bool {
    place == name || place == ALL
}

fn keys<V>(map: &BTreeMap<String, V>) -> String {
    let names: Vec<&str> = map.keys().map(String::as_str).collect();
    names.join(", ")
}

fn unknown(what: &'static str, name: String, known: String) -> Refused {
    let known = if known.is_empty() { "none, for there is none".to_owned() } else { known };
    Refused::Unknown { what, name, known }
}
