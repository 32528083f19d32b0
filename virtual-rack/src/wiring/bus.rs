//! Where each board is on the bus: what it is called, which names lead to it, and where it is plugged in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Wiring;
use crate::fault::BoardFault;
use crate::fault::Fault;
use crate::sys::Usb;

/// A board's place on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The name that is given out anew.
    pub(super) link: PathBuf,
    /// The name that stays with the place, and where it leads.
    pub(super) by_path: Option<(PathBuf, PathBuf)>,
    /// What the kernel tells of it.
    pub(super) usb: Option<Usb>,
}

impl Wiring {
    /// A board's new name must be free before it is given.
    pub(super) fn has_room_for(&self, fault: &Fault) -> Result<(), String> {
        let Fault::Board(board, BoardFault::Renamed(name)) = fault else { return Ok(()) };
        let Some(settings) = self.config.boards.get(board) else { return Ok(()) };
        let link = settings.link.with_file_name(name);
        self.lines.free_for(board, &link).map_err(|err| format!("board {board}: {err}"))
    }

    /// Brings each board's line to where its faults say that it is.
    pub(super) async fn find_the_bus(&mut self) -> Result<(), String> {
        let mut troubles = Vec::new();
        let places = self.places();
        for board in self.config.boards.keys() {
            if self.lines.place(board) != places.get(board) {
                self.lines.unplug(board).await;
            }
        }
        for (board, place) in places {
            if self.lines.place(&board).is_some() {
                continue;
            }
            let link = place.link.display().to_string();
            if let Err(err) = self.lines.plug(&board, place) {
                troubles.push(format!("board {board}: no serial line behind {link}: {err}"));
            }
        }
        if troubles.is_empty() { Ok(()) } else { Err(troubles.join("; ")) }
    }

    /// Whether a board has pulled itself out and its line is still there.
    pub(super) fn is_pulled(&self, board: &str) -> bool {
        self.rack.on_the_bus(board) == Some(&BoardFault::Unplugged)
            && self.lines.place(board).is_some()
    }

    /// Where each board is that is on the bus.
    pub(super) fn places(&self) -> BTreeMap<String, Place> {
        let at_home = self.config.boards.iter().map(|(board, settings)| {
            let link = settings.link.clone();
            let by_path = settings.by_path.clone().map(|name| (name, link.clone()));
            (board.clone(), Place { link, by_path, usb: settings.usb.clone() })
        });
        let mut places: BTreeMap<String, Place> = at_home.collect();
        for board in self.config.boards.keys() {
            match self.rack.on_the_bus(board) {
                Some(BoardFault::Swapped(other)) => swap(&mut places, board, other, true),
                Some(BoardFault::Renumbered(other)) => swap(&mut places, board, other, false),
                Some(BoardFault::Renamed(name)) => {
                    if let Some(place) = places.get_mut(board) {
                        place.call(place.link.with_file_name(name));
                    }
                }
                _ => {}
            }
        }
        for board in self.config.boards.keys() {
            match self.rack.on_the_bus(board) {
                Some(BoardFault::Misled(other)) => {
                    let astray = places.get(other).map(|other| other.link.clone());
                    let place = places.get_mut(board).and_then(|place| place.by_path.as_mut());
                    if let Some(((_, leads_to), astray)) = place.zip(astray) {
                        *leads_to = astray;
                    }
                }
                Some(BoardFault::Unplugged) => drop(places.remove(board)),
                _ => {}
            }
        }
        places
    }
}

impl Place {
    /// Gives it another name; the one that stays leads there.
    fn call(&mut self, link: PathBuf) {
        if let Some((_, leads_to)) = &mut self.by_path {
            leads_to.clone_from(&link);
        }
        self.link = link;
    }
}

/// Exchanges two boards, or only the names that are given out anew. Serial numbers go with the boards.
fn swap(places: &mut BTreeMap<String, Place>, board: &str, other: &str, whole: bool) {
    let Some((mut one, mut two)) = places.get(board).cloned().zip(places.get(other).cloned())
    else {
        return;
    };
    if whole {
        std::mem::swap(&mut one.by_path, &mut two.by_path);
        std::mem::swap(&mut one.link, &mut two.link);
        if let (Some(one), Some(two)) = (&mut one.usb, &mut two.usb) {
            std::mem::swap(&mut one.at, &mut two.at);
        }
    } else {
        let link = one.link.clone();
        one.call(two.link.clone());
        two.call(link);
    }
    places.insert(board.to_owned(), one);
    places.insert(other.to_owned(), two);
}
