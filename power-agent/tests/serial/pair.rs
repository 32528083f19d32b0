//! Two boards that are pulled about, and the orders meanwhile.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use fleet::{OperationId, Verb};
use rustix::process::Signal;
use testkit::bench::{Bench, order, person, until};
use tokio::sync::Mutex;
use tokio::time::Instant;
use virtual_rack::chance::Chance;
use virtual_rack::control::BoardState;
use virtual_rack::lcus::Counts;
use virtual_rack::relay::Power;

use crate::view::View;

/// An order reads, sets and reads back: some ninety bytes, both ways together.
const OFFSETS: u64 = 95;

/// Whether the boards of this pair carry serial numbers; the others can not be told from each other but by their places.
pub(crate) fn is_numbered(pair: u64) -> bool {
    pair.is_multiple_of(2)
}

/// The outlets on which this side has machines; the other ones are the other's, so that a frame that strays is seen.
pub(crate) fn channels(side: &str) -> RangeInclusive<u8> {
    if side == "a" { 1..=2 } else { 3..=4 }
}

/// What all pairs have seen.
#[derive(Debug, Default)]
pub(crate) struct Told {
    detached: u64,
    in_traffic: u64,
    renamed: u64,
    renumbered: u64,
    swapped: u64,
    misled: u64,
    /// Bytes that a wrong board heard, and movements where nobody has a machine.
    pub(crate) strayed: u64,
    /// What the boards heard of it.
    pub(crate) astray: Vec<String>,
    /// Movements that were ordered, by relay, in order.
    pub(crate) edges: BTreeMap<(String, u8), Vec<Power>>,
    unknown_after: Vec<Duration>,
    adopted_after: Vec<Duration>,
}

impl Told {
    pub(crate) fn add(&mut self, other: Self) {
        self.detached += other.detached;
        self.in_traffic += other.in_traffic;
        self.renamed += other.renamed;
        self.renumbered += other.renumbered;
        self.swapped += other.swapped;
        self.misled += other.misled;
        self.strayed += other.strayed;
        self.astray.extend(other.astray);
        self.edges.extend(other.edges);
        self.unknown_after.extend(other.unknown_after);
        self.adopted_after.extend(other.adopted_after);
    }

    pub(crate) fn line(&mut self, seed: u64, unintended: usize) -> String {
        format!(
            "serial boards: seed {seed}, {} detached ({} in the midst of an order's bytes), {} renamed, {} renumbered, {} swapped, \
             {} misled, {} orders moved a relay: frames to a wrong board {}, edges unintended {unintended}; \
             unknown after {}, adopted again after {} (median, 99 of 100, worst)",
            self.detached,
            self.in_traffic,
            self.renamed,
            self.renumbered,
            self.swapped,
            self.misled,
            self.edges.values().map(Vec::len).sum::<usize>(),
            self.strayed,
            spread(&mut self.unknown_after),
            spread(&mut self.adopted_after),
        )
    }
}

fn spread(spans: &mut [Duration]) -> String {
    spans.sort_unstable();
    let at = |share: usize| spans.get((spans.len().saturating_sub(1)) * share / 100);
    let shown = [at(50), at(99), spans.last()];
    let shown = shown.map(|span| format!("{} ms", span.map_or(0, Duration::as_millis)));
    shown.join(", ")
}

/// How a board comes back.
#[derive(Debug, Clone, Copy)]
enum Return {
    AsItWas,
    Renamed,
    Renumbered,
    /// In the other's place, and the other in its own.
    Swapped,
    /// With a name by path that leads to the other for a while.
    Misled,
}

/// An order that is given while its board is pulled.
struct Ordered {
    machine: String,
    verb: Verb,
    id: OperationId,
}

/// One pair.
pub(crate) struct Pair<'a> {
    bench: &'a Bench,
    /// Held while the agent stands still.
    standstill: &'a Mutex<()>,
    view: View,
    number: u64,
    chance: Chance,
    pub(crate) told: Told,
}

impl<'a> Pair<'a> {
    pub(crate) async fn new(
        bench: &'a Bench,
        standstill: &'a Mutex<()>,
        number: u64,
        seed: u64,
    ) -> Self {
        let chance = Chance::seeded(seed.wrapping_mul(1000).wrapping_add(number));
        let view = View::of(bench).await;
        let mut pair = Self { bench, standstill, view, number, chance, told: Told::default() };
        pair.until_adopted().await;
        pair
    }

    fn board(&self, side: &str) -> String {
        format!("p{}{side}", self.number)
    }

    fn machines(&self, side: &str) -> Vec<String> {
        channels(side).map(|channel| format!("{}m{channel}", self.board(side))).collect()
    }

    async fn state(&self, side: &str) -> BoardState {
        let state = self.bench.rack.state().await.expect("the rack answers");
        state.boards[&self.board(side)].clone()
    }

    async fn fault(&self, side: &str, fault: &str) {
        let fault = format!("{} {fault}", self.board(side));
        self.bench.rack.fault(&fault).await.unwrap_or_else(|error| panic!("{fault}: {error}"));
    }

    /// One board is pulled in the midst of an order, comes back somehow, and all is as before.
    pub(crate) async fn detach_and_attach(&mut self) {
        let (side, other) = if self.chance.hits(50) { ("a", "b") } else { ("b", "a") };
        let channel = *channels(side).start() + u8::from(self.chance.hits(50));
        let (machine, wanted) = (format!("{}m{channel}", self.board(side)), self.chance.hits(50));
        let verb = if wanted { Verb::On } else { Verb::Off };
        let before = [self.state("a").await.relays, self.state("b").await.relays];
        let bytes = 1 + self.chance.below(OFFSETS);
        self.fault(side, &format!("pulled-after {bytes}")).await;
        let id = format!("{machine}-{}", self.told.detached);
        let order = order(&id, &machine, verb, person());
        let id = self.bench.accepted(&order).await.id;
        let (bench, board) = (self.bench, self.board(side));
        let pulled = until("the board is pulled", async || {
            let state = bench.rack.state().await.expect("the rack answers");
            state.boards[&board].port.is_none().then_some(())
        });
        tokio::select! {
            () = pulled => self.told.in_traffic += 1,
            () = self.view.until("the order ends", |view| view.has_ended(&machine, &id)) => {}
        }
        self.fault(side, "unplugged").await;
        self.told.detached += 1;
        self.until_unknown(side).await;
        let ordered = Ordered { machine, verb, id };
        let again = self.come_back((side, other), &ordered).await;
        // A machine tells of its newest order alone.
        let last = again.as_ref().unwrap_or(&ordered.id);
        let ended = |view: &View| view.has_ended(&ordered.machine, last);
        self.view.until("the order ends", ended).await;
        self.bench.heard().await;
        let power = if wanted { Power::On } else { Power::Off };
        self.note_moves(before, (side, channel), power).await;
    }

    /// The board comes back; an order that had to be given again to have it refused goes on.
    async fn come_back(
        &mut self,
        (side, other): (&str, &str),
        ordered: &Ordered,
    ) -> Option<OperationId> {
        let how = match (self.chance.below(4), is_numbered(self.number)) {
            (0, _) => Return::AsItWas,
            (1, _) => Return::Renamed,
            (2, _) => Return::Renumbered,
            (_, true) => Return::Swapped,
            (_, false) => Return::Misled,
        };
        let (board, twin) = (self.board(side), self.board(other));
        let mut again = None;
        match how {
            Return::AsItWas => self.heal(side).await,
            Return::Renamed => {
                self.told.renamed += 1;
                self.fault(side, &format!("renamed {board}-moved")).await;
            }
            Return::Renumbered => {
                self.told.renumbered += 1;
                self.fault(side, &format!("renumbered {twin}")).await;
            }
            Return::Swapped => {
                self.told.swapped += 1;
                let why = "expected USB 1a86:7523 with serial number";
                again = self.refused(side, &format!("swapped {twin}"), ordered, why).await;
            }
            Return::Misled => {
                self.told.misled += 1;
                let why = "its name stands for what is plugged in at";
                again = self.refused(side, &format!("misled {twin}"), ordered, why).await;
            }
        }
        let began = Instant::now();
        self.until_adopted().await;
        self.told.adopted_after.push(began.elapsed());
        again
    }

    async fn heal(&self, side: &str) {
        self.bench.rack.heal(&self.board(side)).await.expect("the board is there");
    }

    async fn until_unknown(&mut self, side: &str) {
        let began = Instant::now();
        let machines = self.machines(side);
        let unknown = |view: &View| machines.iter().all(|machine| view.trouble(machine).is_some());
        self.view.until("a loss is told", unknown).await;
        self.told.unknown_after.push(began.elapsed());
    }

    async fn until_adopted(&mut self) {
        let machines = [self.machines("a"), self.machines("b")].concat();
        let known = |view: &View| machines.iter().all(|machine| view.trouble(machine).is_none());
        self.view.until("the boards are read again", known).await;
    }

    /// The agent is to send something, says why it does not, and no board of the pair hears a byte of it. Then all is
    /// as it was. An order that has ended before is given again.
    async fn refused(
        &mut self,
        side: &str,
        fault: &str,
        ordered: &Ordered,
        why: &str,
    ) -> Option<OperationId> {
        let Ordered { machine, verb, id } = ordered;
        // Or a poll of the other board, which is right until now, may come after the count.
        let standing = self.standstill.lock().await;
        self.bench.pause_agent().await;
        let heard = self.heard(fault).await;
        self.fault(side, fault).await;
        self.bench.signal(Signal::CONT);
        drop(standing);
        let refused =
            |view: &View| view.trouble(machine).is_some_and(|trouble| trouble.contains(why));
        let ended = |view: &View| view.has_ended(machine, id);
        self.view.until("the order is refused or over", |view| refused(view) || ended(view)).await;
        let mut again = None;
        if !self.view.is(refused) {
            let next = order(&format!("{id}-again"), machine, *verb, person());
            again = Some(self.bench.accepted(&next).await.id);
            self.view.until("the order is refused", refused).await;
        }
        self.bench.heard().await;
        let after = self.heard(fault).await;
        if after != heard {
            let what = format!("{} {fault}: heard {heard:?}, then {after:?}", self.board(side));
            self.told.astray.push(what);
            self.told.strayed += 1;
        }
        self.heal(side).await;
        again
    }

    /// What both boards have heard. Of two that are swapped neither may be asked; where one name leads astray, the other
    /// board is at its place and may be.
    async fn heard(&self, fault: &str) -> [Counts; 2] {
        let mut heard = [self.state("a").await.frames, self.state("b").await.frames];
        if !fault.starts_with("swapped") {
            heard.iter_mut().for_each(|counts| counts.queries = 0);
        }
        heard
    }

    /// Writes down what moved: the ordered relay alone, once, and as ordered.
    async fn note_moves(&mut self, before: [Vec<Power>; 2], ordered: (&str, u8), wanted: Power) {
        for (side, before) in ["a", "b"].into_iter().zip(before) {
            let now = self.state(side).await.relays;
            for (channel, (before, now)) in (1..).zip(before.into_iter().zip(now)) {
                if before != now && ((side, channel) == ordered) && now == wanted {
                    let relay = (self.board(side), channel);
                    self.told.edges.entry(relay).or_default().push(now);
                }
            }
        }
    }
}
