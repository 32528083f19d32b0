//! A host, a line and a device in simulated time, with everything that may go wrong between them.

use std::collections::VecDeque;

use bridge_device::Device;
use bridge_protocol::{
    Decoder, DeviceTime, Generation, Happening, Link, Lost, Moment, Order, OutletNumber, Output,
    Pace, PowerState, Request, ResetCause, SafeState, Said, SessionId, Switch, Ticket, Versions,
};

use crate::board::{Board, OUTLETS, facts, outlet};
use crate::books::Books;
use crate::dice::Dice;

/// Bytes in a millisecond at 115200 baud.
const BYTES_PER_MS: usize = 11;

/// How long a device is not there when it starts anew.
const BOOT_MS: u64 = 30;

/// How long an order is valid.
const VALID_MS: u32 = 200;

/// Bytes on their way in one direction.
#[derive(Debug, Default)]
struct Wire {
    bytes: VecDeque<u8>,
}

/// What a line does to frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noise {
    /// One frame in so many is garbled, lost or doubled; 0: none.
    pub(crate) once_in: usize,
}

impl Wire {
    fn send(&mut self, frame: &[u8], noise: Noise, dice: &mut Dice) {
        let mut frame = frame.to_vec();
        if noise.once_in > 0 && dice.once_in(noise.once_in) {
            match dice.below(4) {
                0 => {
                    for _ in 0..=dice.below(8) {
                        let at = dice.below(frame.len());
                        frame[at] ^= 1 << dice.below(8);
                    }
                }
                1 => {
                    let from = dice.below(frame.len());
                    frame.truncate(from);
                }
                2 => self.bytes.extend(frame.iter().copied()),
                _ => frame.clear(),
            }
        }
        self.bytes.extend(frame);
    }

    /// What arrives in a millisecond.
    fn arrives(&mut self) -> Vec<u8> {
        let count = self.bytes.len().min(BYTES_PER_MS);
        self.bytes.drain(..count).collect()
    }
}

/// Who orders, with the host's link.
struct Host {
    link: Link,
    generation: Generation,
    up: bool,
    asked: Option<Ticket>,
    token: Option<u32>,
    wants: bool,
    has_lease: bool,
}

/// Something was lost, and what is owed since.
#[derive(Debug, Clone, Copy, Default)]
struct Owed {
    /// The host has to know by then.
    known_by: Option<u64>,
    /// The device has to be adopted again by then.
    up_by: Option<u64>,
}

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) now: u64,
    pub(crate) books: Books,
    pub(crate) noise: Noise,
    /// The lease that hosts ask for, and which safe states.
    pub(crate) lease: Option<u32>,
    board: Option<Board>,
    device: Option<Device<Board>>,
    boot_at: u64,
    returns: Option<(u64, ResetCause)>,
    host: Host,
    /// Whether bytes pass.
    pub(crate) connected: bool,
    to_device: Wire,
    to_host: Wire,
    heard: Decoder,
    sessions: u32,
    owed: Owed,
    pub(crate) worst_known_ms: u64,
    pub(crate) worst_up_ms: u64,
    lost_at: u64,
    back_at: u64,
}

fn host() -> Host {
    Host {
        link: Link::new(Versions::ALL, None, Pace::DEFAULT),
        generation: Generation(0),
        up: false,
        asked: None,
        token: None,
        wants: true,
        has_lease: false,
    }
}

impl World {
    pub(crate) fn new(seed: u64, noise: Noise) -> World {
        let mut world = World {
            dice: Dice(seed),
            now: 0,
            books: Books::new(1),
            noise,
            lease: None,
            board: Some(Board::new()),
            device: None,
            boot_at: 0,
            returns: None,
            host: host(),
            connected: true,
            to_device: Wire::default(),
            to_host: Wire::default(),
            heard: Decoder::new(),
            sessions: 0,
            owed: Owed::default(),
            worst_known_ms: 0,
            worst_up_ms: 0,
            lost_at: 0,
            back_at: 0,
        };
        world.start(ResetCause::PowerUp);
        world.open();
        world
    }

    pub(crate) fn is_up(&self) -> bool {
        self.host.up
    }

    /// Whether an outlet has power.
    pub(crate) fn level(&mut self, outlet: OutletNumber) -> PowerState {
        let board = match &mut self.device {
            Some(device) => device.hardware(),
            None => self.board.as_mut().expect("it is somewhere"),
        };
        board.levels[outlet.index()]
    }

    /// No more orders, and a quiet line, so that what was begun can end.
    pub(crate) fn rest(&mut self) {
        self.noise = Noise { once_in: 0 };
        self.host.wants = false;
    }

    fn open(&mut self) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.host.link.opened(session, Moment(self.now));
    }

    fn start(&mut self, cause: ResetCause) {
        let board = self.board.take().expect("the board waits");
        let device = Device::start(board, facts(), cause, DeviceTime(0));
        self.boot_at = self.now;
        self.heard = Decoder::new();
        self.books.started(device.epoch(), cause.lost_power(), self.now);
        self.device = Some(device);
    }

    /// The host has lost its device now, and has to know soon.
    fn lost(&mut self) {
        if self.host.up && self.owed.known_by.is_none() {
            self.owed.known_by = Some(self.now + 100);
            self.lost_at = self.now;
        }
        self.owed.up_by = None;
    }

    fn back(&mut self) {
        self.back_at = self.now;
        self.owed.up_by = Some(self.now + 2000);
    }

    /// The cable is pulled at some byte. `seen`: the host's port says so; else it only falls silent.
    pub(crate) fn detach(&mut self, seen: bool) {
        let passes = self.dice.below(self.to_device.bytes.len() + 1);
        self.to_device.bytes.truncate(passes);
        self.connected = false;
        self.to_host.bytes.clear();
        self.lost();
        if seen {
            self.host.link.closed();
        }
    }

    pub(crate) fn attach(&mut self) {
        self.connected = true;
        self.open();
        if self.device.is_some() {
            self.back();
        }
    }

    /// The device starts anew.
    pub(crate) fn reset(&mut self, cause: ResetCause) {
        let Some(device) = self.device.take() else { return };
        let mut board = device.into_hardware();
        if cause.lost_power() {
            for number in 1..=OUTLETS {
                if board.levels[outlet(number).index()] == PowerState::On {
                    self.books.fell(outlet(number), self.now);
                }
            }
            board.levels.fill(PowerState::Off);
        }
        self.board = Some(board);
        self.returns = Some((self.now + BOOT_MS, cause));
        self.to_host.bytes.clear();
        self.lost();
    }

    /// The host's process dies, and another one starts that knows nothing.
    pub(crate) fn kill_host(&mut self) {
        self.host = host();
        self.owed = Owed::default();
        self.to_host.bytes.clear();
        self.open();
        if self.connected && self.device.is_some() {
            self.back();
        }
    }

    /// One millisecond.
    pub(crate) fn tick(&mut self) {
        self.now += 1;
        if let Some((at, cause)) = self.returns
            && self.now >= at
        {
            self.returns = None;
            self.start(cause);
            if self.connected {
                self.back();
            }
        }
        self.deliver_to_device();
        self.run_device();
        if self.connected {
            let bytes = self.to_host.arrives();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let taken = self.host.link.received(rest, Moment(self.now));
                rest = &rest[taken..];
                self.poll_host();
            }
        }
        self.poll_host();
        self.order();
        self.check_owed();
    }

    pub(crate) fn pass(&mut self, milliseconds: usize) {
        (0..milliseconds).for_each(|_| self.tick());
    }

    fn deliver_to_device(&mut self) {
        let bytes = self.to_device.arrives();
        let Some(device) = &mut self.device else { return };
        let at = DeviceTime(self.now - self.boot_at);
        device.received(&[], at);
        for byte in bytes {
            device.received(&[byte], at);
            if let Some(frame) = self.heard.take(byte) {
                self.books.heard(&frame, self.now);
                let edges: Vec<_> = device.hardware().edges.drain(..).collect();
                self.books.at_once(&edges, self.now);
            }
        }
    }

    fn run_device(&mut self) {
        let Some(device) = &mut self.device else { return };
        let at = DeviceTime(self.now - self.boot_at);
        device.run(at);
        let edges: Vec<_> = device.hardware().edges.drain(..).collect();
        self.books.round(&edges, self.now);
        // A device sends a frame when the one before is out.
        while self.to_host.bytes.len() < BYTES_PER_MS {
            let Some(frame) = device.frame(at) else { break };
            self.to_host.send(&frame, self.noise, &mut self.dice);
            if !self.connected {
                self.to_host.bytes.clear();
            }
        }
    }

    fn poll_host(&mut self) {
        loop {
            match self.host.link.poll(Moment(self.now)) {
                Output::Wait(_) => return,
                Output::Send(wire) => {
                    if self.connected {
                        self.to_device.send(&wire, self.noise, &mut self.dice);
                    }
                }
                Output::Happened(happening) => self.happened(happening),
            }
        }
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Up(_, welcome) => {
                self.host.up = true;
                self.host.generation = self.host.generation.max(welcome.generation);
                if self.owed.up_by.take().is_some() {
                    self.worst_up_ms = self.worst_up_ms.max(self.now - self.back_at);
                }
            }
            Happening::Lost(why) => {
                self.host.up = false;
                self.host.has_lease = false;
                if let Lost::Reset(..) = why {
                    self.host.generation = Generation(0);
                }
                if self.owed.known_by.take().is_some() {
                    self.worst_known_ms = self.worst_known_ms.max(self.now - self.lost_at);
                }
            }
            Happening::Unanswered(_) => self.host.asked = None,
            Happening::Answered(ticket, answer) => {
                assert_eq!(self.host.asked.take(), Some(ticket));
                match answer.said {
                    Said::Armed(_, token, _) => self.host.token = Some(token),
                    Said::Refused(_) => self.host.token = None,
                    _ => {}
                }
            }
            Happening::Told(_) => {}
            Happening::CanNotSpeak(..) | Happening::WrongBoard(_) => panic!("{happening:?}"),
        }
    }

    /// Now and then somebody wants something.
    fn order(&mut self) {
        if !self.host.wants || self.host.asked.is_some() || !self.dice.once_in(25) {
            return;
        }
        let Some(clock) = self.host.link.device_time(Moment(self.now)) else { return };
        self.host.generation = self.host.generation.next();
        let order = Order { generation: self.host.generation, until: clock.after(VALID_MS) };
        let request = self.choose(order);
        self.host.has_lease |= matches!(request, Request::Lease(..));
        self.host.asked = self.host.link.ask(&request, Moment(self.now)).ok();
    }

    fn any_outlet(&mut self) -> OutletNumber {
        outlet(u8::try_from(1 + self.dice.below(usize::from(OUTLETS))).unwrap())
    }

    fn choose(&mut self, order: Order) -> Request {
        if self.lease.is_some() && !self.host.has_lease {
            let states = [SafeState::Off, SafeState::On, SafeState::Keep];
            let safe = (1..=OUTLETS).map(|number| (outlet(number), states[self.dice.below(3)]));
            return Request::Lease(order, self.lease, safe.collect());
        }
        if let Some(token) = self.host.token.take() {
            return Request::AllOff(order, token);
        }
        match self.dice.below(40) {
            0 => Request::ArmAllOff(order),
            1..12 => {
                let off_ms = 200 + u32::try_from(self.dice.below(600)).unwrap();
                Request::Cycle(order, self.any_outlet(), off_ms)
            }
            12..16 => Request::Read,
            _ => {
                let first = self.any_outlet();
                let second = self.any_outlet();
                // Mostly on, so that there is something to lose.
                let state = if self.dice.once_in(5) { PowerState::Off } else { PowerState::On };
                let switch = |outlet| Switch { outlet, state };
                let mut switches = heapless::Vec::new();
                switches.push(switch(first)).unwrap();
                if second != first {
                    switches.push(switch(second)).unwrap();
                }
                Request::Set(order, switches)
            }
        }
    }

    fn check_owed(&self) {
        if let Some(by) = self.owed.known_by {
            assert!(self.now <= by, "lost at {} and not known at {}", self.lost_at, self.now);
        }
        if let Some(by) = self.owed.up_by {
            assert!(self.now <= by, "back at {} and not adopted at {}", self.back_at, self.now);
        }
    }
}
