//! The host's side of the line, without the line: bytes and time in, bytes and happenings out.
//!
//! One request is on the line at a time. Its time-outs, its repeats, the greeting after each silence, and the beats that
//! keep the device's lease live here; what is asked and why is the caller's. After [`Happening::Lost`] nothing is known
//! of the outlets until they were read again.

use heapless::Deque;

use crate::codec::decode_greeting;
use crate::frame::{Counts, Frame};
use crate::{
    Answer, Decoder, DeviceTime, Epoch, FrameKind, Header, Hello, Identity, Request, Sequence,
    SessionId, Told, Unspoken, Version, Versions, Welcome, Wire, decode, encode,
};

/// Happenings that wait for their caller. More frames are taken only while there is room for what one more makes, and a
/// closing after it.
const HAPPENINGS_MAX: usize = 8;

/// Happenings of one frame and of one closing at most: a request unanswered and the device lost, twice, and what it said.
const AT_ONCE_MAX: usize = 5;

/// Milliseconds on the caller's clock, which only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    fn after(self, milliseconds: u32) -> Moment {
        Moment(self.0.saturating_add(u64::from(milliseconds)))
    }

    fn since(self, earlier: Moment) -> u32 {
        u32::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(u32::MAX)
    }
}

/// How long the link waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// For an answer, before the request is repeated. The longest frame takes 22 ms at 115200 baud, an answer as much.
    pub answer_ms: u32,
    /// How often a request is sent in all.
    pub tries: u8,
    /// Between two signs of life that are asked for.
    pub beat_ms: u32,
    /// After the last frame of the device it is lost. Not before the last try of a beat had its time.
    pub silence_ms: u32,
    /// Between two greetings that nobody answers.
    pub greet_ms: u32,
}

impl Pace {
    /// A silent device is lost within 100 ms, also where it fell silent right after an answer.
    pub const DEFAULT: Pace =
        Pace { answer_ms: 25, tries: 3, beat_ms: 20, silence_ms: 95, greet_ms: 100 };

    /// The shortest lease that this pace can keep: a device that is lost and greeted again at once, twice over.
    #[must_use]
    pub fn shortest_lease_ms(&self) -> u32 {
        let greeted = self.silence_ms.saturating_add(self.greet_ms).saturating_add(self.answer_ms);
        greeted.saturating_mul(2)
    }
}

/// A request of the caller's, to know its answer by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u32);

/// Why nothing is known of the device any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The line is gone.
    Closed,
    /// Nothing was heard for [`Pace::silence_ms`], or a request had all its tries.
    Silent,
    /// It started anew: from one epoch to another.
    Reset(Epoch, Epoch),
}

/// What became of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The device greets, and may be asked. With its epoch.
    Up(Epoch, Welcome),
    /// It answered.
    Answered(Ticket, Answer),
    /// A request was on the line when the device was lost: whether it was obeyed is not known.
    Unanswered(Ticket),
    /// It told something unasked.
    Told(Told),
    /// Nothing is known of it any more.
    Lost(Lost),
    /// Both speak, but no version in common: ours and theirs. Nothing more is sent until the line is opened anew.
    CanNotSpeak(Versions, Versions),
    /// Another board than the one that was expected. Nothing more is sent until the line is opened anew.
    WrongBoard(Identity),
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// These bytes go onto the line.
    Send(Wire),
    /// The caller is to know.
    Happened(Happening),
    /// Nothing before this moment, unless something arrives; `None`: nothing at all.
    Wait(Option<Moment>),
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The device has not greeted, or is lost.
    Down,
    /// Another request of the caller's is on the line.
    Busy,
    /// The version that is spoken has no such request: this one, and the one that it needs.
    NotInVersion(Version, Version),
    /// The device's lease would be shorter than the link can keep: this many milliseconds.
    LeaseTooShort(u32),
    /// It does not fit into a frame.
    TooLong,
}

impl core::fmt::Display for NotTaken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            NotTaken::Down => f.write_str("the device does not answer"),
            NotTaken::Busy => f.write_str("another request is on the line"),
            NotTaken::NotInVersion(spoken, needed) => {
                write!(f, "the device speaks version {}, and this needs {}", spoken.0, needed.0)
            }
            NotTaken::LeaseTooShort(shortest) => {
                write!(f, "the link can keep no lease shorter than {shortest} ms")
            }
            NotTaken::TooLong => f.write_str("the request is longer than a frame"),
        }
    }
}

impl core::error::Error for NotTaken {}

/// A request on the line.
#[derive(Debug, Clone)]
struct Asked {
    /// `None`: a beat of the link's own.
    ticket: Option<Ticket>,
    sequence: Sequence,
    wire: Wire,
    tries: u8,
    /// When it is sent, again or for the first time.
    send_at: Moment,
}

#[derive(Debug, Clone)]
struct Conversation {
    epoch: Epoch,
    version: Version,
    /// The device's clock, and when it was heard.
    clock: (DeviceTime, Moment),
    heard: Moment,
    beat_at: Moment,
    asked: Option<Asked>,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is no allocator to put the large one behind")]
enum State {
    Closed,
    Greeting {
        again_at: Moment,
    },
    Up(Conversation),
    /// The other side is nobody that is spoken with.
    Mute,
}

/// One device's link.
#[derive(Debug, Clone)]
pub struct Link {
    ours: Versions,
    expected: Option<Identity>,
    pace: Pace,
    session: SessionId,
    sequence: Sequence,
    /// The last epoch that was known, over silences and closings.
    epoch: Option<Epoch>,
    decoder: Decoder,
    state: State,
    happenings: Deque<Happening, HAPPENINGS_MAX>,
    tickets: u32,
}

impl Link {
    /// A link that is closed. With an expected identity, no other board is asked anything.
    #[must_use]
    pub const fn new(ours: Versions, expected: Option<Identity>, pace: Pace) -> Link {
        Link {
            ours,
            expected,
            pace,
            session: SessionId(0),
            sequence: Sequence(0),
            epoch: None,
            decoder: Decoder::new(),
            state: State::Closed,
            happenings: Deque::new(),
            tickets: 0,
        }
    }

    /// The line was opened: the device is greeted. `session` is a number that no other opening has.
    pub fn opened(&mut self, session: SessionId, now: Moment) {
        self.lose(Lost::Closed, State::Greeting { again_at: now });
        self.session = session;
        self.decoder = Decoder::new();
    }

    /// The line is gone.
    pub fn closed(&mut self) {
        self.lose(Lost::Closed, State::Closed);
    }

    /// Whether there is room for what a frame makes happen.
    fn takes(&self) -> bool {
        self.happenings.capacity().saturating_sub(self.happenings.len()) >= AT_ONCE_MAX
    }

    /// Bytes came. Returns how many of them were taken: all, unless happenings are to be fetched by
    /// [`Link::poll`] first.
    pub fn received(&mut self, bytes: &[u8], now: Moment) -> usize {
        let mut taken = 0_usize;
        for byte in bytes {
            if !self.takes() {
                break;
            }
            taken = taken.saturating_add(1);
            if let Some(frame) = self.decoder.take(*byte) {
                self.hear(&frame, now);
            }
        }
        taken
    }

    /// What the line did to frames so far, since it was opened.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.decoder.counts()
    }

    /// What the device's clock shows at least; `None` while it is lost. A deadline that is counted from it is never
    /// later than it was meant, because the answer that told the clock was on its way for a while.
    #[must_use]
    pub fn device_time(&self, now: Moment) -> Option<DeviceTime> {
        let State::Up(conversation) = &self.state else { return None };
        let (clock, heard) = conversation.clock;
        Some(clock.after(now.since(heard)))
    }

    /// Puts a request onto the line.
    ///
    /// # Errors
    ///
    /// Where it can not be asked now, and why; nothing was sent.
    pub fn ask(&mut self, request: &Request, now: Moment) -> Result<Ticket, NotTaken> {
        let State::Up(conversation) = &mut self.state else { return Err(NotTaken::Down) };
        let busy = conversation.asked.as_ref().is_some_and(|asked| asked.ticket.is_some());
        if busy {
            return Err(NotTaken::Busy);
        }
        if request.since() > conversation.version {
            return Err(NotTaken::NotInVersion(conversation.version, request.since()));
        }
        if let Request::Lease(_, Some(lease), _) = request {
            let shortest = self.pace.shortest_lease_ms();
            if *lease < shortest {
                return Err(NotTaken::LeaseTooShort(shortest));
            }
        }
        let sequence = self.sequence.next();
        let wire = request_frame(conversation, sequence, request).ok_or(NotTaken::TooLong)?;
        self.sequence = sequence;
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        // A beat that is on the line is given up: the request's answer is as good a sign of life.
        conversation.asked =
            Some(Asked { ticket: Some(ticket), sequence, wire, tries: 0, send_at: now });
        Ok(ticket)
    }

    /// What became of the line and is not fetched yet, the oldest.
    pub fn happening(&mut self) -> Option<Happening> {
        self.happenings.pop_front()
    }

    /// What is to be done now. Called until it says wait.
    pub fn poll(&mut self, now: Moment) -> Output {
        if self.happenings.is_empty() && self.is_silent(now) {
            self.lose(Lost::Silent, State::Greeting { again_at: now });
        }
        if let Some(happening) = self.happening() {
            return Output::Happened(happening);
        }
        match &mut self.state {
            State::Closed | State::Mute => Output::Wait(None),
            State::Greeting { again_at } if now >= *again_at => {
                *again_at = now.after(self.pace.greet_ms);
                self.greet()
            }
            State::Greeting { again_at } => Output::Wait(Some(*again_at)),
            State::Up(conversation) => {
                if conversation.asked.is_none() && now >= conversation.beat_at {
                    self.sequence = self.sequence.next();
                    conversation.beat(self.sequence, now);
                }
                conversation.poll(now, &self.pace)
            }
        }
    }

    fn is_silent(&self, now: Moment) -> bool {
        let State::Up(conversation) = &self.state else { return false };
        let unheard = now.since(conversation.heard) >= self.pace.silence_ms;
        let exhausted = conversation
            .asked
            .as_ref()
            .is_some_and(|asked| asked.tries >= self.pace.tries && now >= asked.send_at);
        unheard || exhausted
    }

    fn greet(&mut self) -> Output {
        self.sequence = self.sequence.next();
        let header = Header {
            version: Version::GREETING,
            kind: FrameKind::Hello,
            sequence: self.sequence,
            epoch: Epoch::UNKNOWN,
        };
        let hello = Hello { session: self.session, versions: self.ours };
        encode(header, &hello).map_or(Output::Wait(None), Output::Send)
    }

    fn hear(&mut self, frame: &Frame, now: Moment) {
        match (frame.header.kind, &mut self.state) {
            (FrameKind::Welcome, State::Greeting { .. }) => self.welcomed(frame, now),
            (FrameKind::Unspoken, State::Greeting { .. } | State::Up(_)) => self.unspoken(frame),
            (FrameKind::Answer | FrameKind::Told, State::Up(conversation)) => {
                let (was, is) = (conversation.epoch, frame.header.epoch);
                if is > was {
                    return self.lose(Lost::Reset(was, is), State::Greeting { again_at: now });
                }
                if is < was {
                    // Late on the line, from before its last start.
                    return;
                }
                if let Some(happening) = conversation.hear(frame, now, &self.pace) {
                    self.happen(happening);
                }
            }
            // A late answer to an earlier greeting, what is told between two greetings, our own echo.
            _ => {}
        }
    }

    fn welcomed(&mut self, frame: &Frame, now: Moment) {
        if frame.header.version != Version::GREETING {
            return;
        }
        let Ok(welcome) = decode_greeting::<Welcome>(frame) else { return };
        if welcome.session != self.session {
            return;
        }
        if self.expected.is_some_and(|expected| expected != welcome.identity) {
            self.state = State::Mute;
            return self.happen(Happening::WrongBoard(welcome.identity));
        }
        if !self.ours.has(welcome.speaks) || !welcome.versions.has(welcome.speaks) {
            self.state = State::Mute;
            return self.happen(Happening::CanNotSpeak(self.ours, welcome.versions));
        }
        let epoch = frame.header.epoch;
        if let Some(before) = self.epoch.filter(|before| *before != epoch) {
            self.happen(Happening::Lost(Lost::Reset(before, epoch)));
        }
        self.epoch = Some(epoch);
        self.state = State::Up(Conversation {
            epoch,
            version: welcome.speaks,
            clock: (welcome.at, now),
            heard: now,
            beat_at: now.after(self.pace.beat_ms),
            asked: None,
        });
        self.happen(Happening::Up(epoch, welcome));
    }

    fn unspoken(&mut self, frame: &Frame) {
        let Ok(unspoken) = decode_greeting::<Unspoken>(frame) else { return };
        // Somebody may have given the device another firmware: only versions that are none of ours end it.
        if self.ours.common(unspoken.versions).is_some() {
            return;
        }
        self.lose(Lost::Silent, State::Mute);
        self.happen(Happening::CanNotSpeak(self.ours, unspoken.versions));
    }

    /// Leaves a conversation, and says what is not known any more.
    fn lose(&mut self, why: Lost, next: State) {
        let before = core::mem::replace(&mut self.state, next);
        let State::Up(conversation) = before else { return };
        if let Lost::Reset(_, epoch) = why {
            self.epoch = Some(epoch);
        }
        if let Some(ticket) = conversation.asked.and_then(|asked| asked.ticket) {
            self.happen(Happening::Unanswered(ticket));
        }
        self.happen(Happening::Lost(why));
    }

    fn happen(&mut self, happening: Happening) {
        let kept = self.happenings.push_back(happening);
        assert!(kept.is_ok(), "nothing is heard while the caller has more to fetch");
    }
}

fn request_frame(
    conversation: &Conversation,
    sequence: Sequence,
    request: &Request,
) -> Option<Wire> {
    let header = Header {
        version: conversation.version,
        kind: FrameKind::Request,
        sequence,
        epoch: conversation.epoch,
    };
    encode(header, request).ok()
}

impl Conversation {
    fn beat(&mut self, sequence: Sequence, now: Moment) {
        self.asked = request_frame(self, sequence, &Request::Beat).map(|wire| Asked {
            ticket: None,
            sequence,
            wire,
            tries: 0,
            send_at: now,
        });
    }

    fn poll(&mut self, now: Moment, pace: &Pace) -> Output {
        let lost_at = self.heard.after(pace.silence_ms);
        let Some(asked) = &mut self.asked else {
            return Output::Wait(Some(self.beat_at.min(lost_at)));
        };
        if now < asked.send_at {
            return Output::Wait(Some(asked.send_at.min(lost_at)));
        }
        asked.tries = asked.tries.saturating_add(1);
        asked.send_at = now.after(pace.answer_ms);
        Output::Send(asked.wire.clone())
    }

    /// A frame of this epoch.
    fn hear(&mut self, frame: &Frame, now: Moment, pace: &Pace) -> Option<Happening> {
        if frame.header.version != self.version {
            return None;
        }
        if frame.header.kind == FrameKind::Told {
            let told = decode::<Told>(frame).ok()?;
            self.heard = now;
            return (told.news.since() <= self.version).then_some(Happening::Told(told));
        }
        let asked = self.asked.as_ref()?;
        if asked.sequence != frame.header.sequence {
            return None;
        }
        let answer = decode::<Answer>(frame).ok()?;
        let ticket = asked.ticket;
        self.asked = None;
        self.beat_at = now.after(pace.beat_ms);
        self.heard = now;
        // Always the newest word, also where it shows less than was reckoned: clocks drift apart.
        self.clock = (answer.at, now);
        ticket.map(|ticket| Happening::Answered(ticket, answer))
    }
}
