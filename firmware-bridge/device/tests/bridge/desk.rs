//! A device on a desk: requests by hand over a line that does nothing wrong, on a clock by hand.

use bridge_device::{Device, Facts};
use bridge_protocol::{
    Answer, Decoder, DeviceTime, Epoch, Event, EventNumber, Frame, FrameKind, Generation, Header,
    Hello, Order, Outcome, OutletSeen, PowerState, Refusal, Request, ResetCause, Said, Sequence,
    SessionId, Switch, Told, Version, Versions, Welcome, What, decode, encode,
};

use crate::board::{Board, Seen, facts, outlet};

pub(crate) struct Desk {
    pub(crate) device: Device<Board>,
    pub(crate) now: u64,
    pub(crate) generation: u32,
    pub(crate) version: Version,
    sequence: Sequence,
}

impl Desk {
    /// A board that never ran, switched on and greeted.
    pub(crate) fn new() -> Desk {
        Desk::with(Board::new(), facts(), ResetCause::PowerUp)
    }

    pub(crate) fn with(board: Board, facts: Facts, cause: ResetCause) -> Desk {
        let version = facts.versions.highest;
        let device = Device::start(board, facts, cause, DeviceTime(0));
        let mut desk = Desk { device, now: 0, generation: 0, version, sequence: Sequence(0) };
        desk.greet(SessionId(1), Versions::ALL);
        desk
    }

    /// The same board after a reset.
    pub(crate) fn reset(self, cause: ResetCause) -> Desk {
        Desk::with(self.device.into_hardware(), facts(), cause)
    }

    pub(crate) fn greet(&mut self, session: SessionId, versions: Versions) -> Welcome {
        let frame = self.exchange(
            Version::GREETING,
            FrameKind::Hello,
            Epoch::UNKNOWN,
            &Hello { session, versions },
        );
        decode(&frame.expect("it greets")).expect("a welcome")
    }

    /// Sends a frame of the next number, and takes the answer to it.
    pub(crate) fn exchange(
        &mut self,
        version: Version,
        kind: FrameKind,
        epoch: Epoch,
        message: &impl serde::Serialize,
    ) -> Option<Frame> {
        self.sequence = self.sequence.next();
        let header = Header { version, kind, sequence: self.sequence, epoch };
        self.device.received(&encode(header, message).unwrap(), DeviceTime(self.now));
        self.frames().into_iter().find(|frame| frame.header.sequence == self.sequence)
    }

    /// All that the device has to say.
    pub(crate) fn frames(&mut self) -> Vec<Frame> {
        let mut decoder = Decoder::new();
        let mut frames = Vec::new();
        while let Some(wire) = self.device.frame(DeviceTime(self.now)) {
            frames.extend(wire.iter().filter_map(|byte| decoder.take(*byte)));
        }
        frames
    }

    pub(crate) fn told(&mut self) -> Vec<Told> {
        let frames = self.frames();
        let told = frames.iter().filter(|frame| frame.header.kind == FrameKind::Told);
        told.map(|frame| decode(frame).expect("what is told")).collect()
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Said {
        let epoch = self.device.epoch();
        let frame = self.exchange(self.version, FrameKind::Request, epoch, request);
        decode::<Answer>(&frame.expect("an answer")).unwrap().said
    }

    /// A new order that is valid for a second.
    pub(crate) fn order(&mut self) -> Order {
        self.generation += 1;
        let until = DeviceTime(self.now + 1000);
        Order { generation: Generation(self.generation), until }
    }

    pub(crate) fn set(&mut self, number: u8, state: PowerState) -> Outcome {
        self.set_all(&[(number, state)])[0]
    }

    pub(crate) fn set_all(&mut self, states: &[(u8, PowerState)]) -> Vec<Outcome> {
        let switch =
            |(number, state): &(u8, PowerState)| Switch { outlet: outlet(*number), state: *state };
        let request = Request::Set(self.order(), states.iter().map(switch).collect());
        match self.ask(&request) {
            Said::Set(_, outcomes) => outcomes.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn cycle(&mut self, number: u8, off_ms: u32) -> Said {
        let request = Request::Cycle(self.order(), outlet(number), off_ms);
        self.ask(&request)
    }

    pub(crate) fn refused(&mut self, request: &Request) -> Refusal {
        match self.ask(request) {
            Said::Refused(why) => why,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn outlets(&mut self) -> Vec<OutletSeen> {
        match self.ask(&Request::Read) {
            Said::Outlets(seen) => seen.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        let mut all: Vec<Event> = Vec::new();
        loop {
            let after = all.last().map_or(EventNumber(0), |event| event.number);
            match self.ask(&Request::Log(after)) {
                Said::Events(events, _) if events.is_empty() => return all,
                Said::Events(events, _) => all.extend(events),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn happened(&mut self, what: What) -> bool {
        self.events().iter().any(|event| event.what == what)
    }

    /// Time passes, and the main loop runs each millisecond; the edges, each with its moment.
    pub(crate) fn pass(&mut self, milliseconds: u64) -> Vec<(u64, Seen)> {
        let mut edges = Vec::new();
        for _ in 0..milliseconds {
            self.now += 1;
            self.device.received(&[], DeviceTime(self.now));
            self.device.run(DeviceTime(self.now));
            let now = self.now;
            edges.extend(self.device.hardware().edges.drain(..).map(|edge| (now, edge)));
        }
        edges
    }

    /// Edges that have been since they were last asked for.
    pub(crate) fn edges(&mut self) -> Vec<Seen> {
        self.device.hardware().edges.drain(..).collect()
    }

    pub(crate) fn level(&mut self, number: u8) -> PowerState {
        self.device.hardware().levels[usize::from(number) - 1]
    }
}
