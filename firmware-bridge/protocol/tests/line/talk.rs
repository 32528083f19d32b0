//! The host's side of the line against answers by hand, on a clock by hand.

use bridge_protocol::link::NotTaken;
use bridge_protocol::{
    Answer, Decoder, DeviceTime, Epoch, Frame, FrameKind, Generation, Happening, Header, Hello,
    Identity, Link, Lost, Moment, Order, Output, Pace, Request, Said, SessionId, Unspoken, Version,
    Versions, Welcome, decode, encode,
};

use crate::samples::welcome;

const SESSION: SessionId = SessionId(77);

struct Host {
    link: Link,
    now: u64,
    sent: Vec<Frame>,
    happened: Vec<Happening>,
}

impl Host {
    fn new(ours: Versions, expected: Option<Identity>) -> Host {
        let link = Link::new(ours, expected, Pace::DEFAULT);
        let mut host = Host { link, now: 1000, sent: Vec::new(), happened: Vec::new() };
        host.link.opened(SESSION, Moment(host.now));
        host.poll();
        host
    }

    /// One that a device of the first epoch has greeted in the newest version.
    fn up() -> Host {
        let mut host = Host::new(Versions::ALL, None);
        host.hear(FrameKind::Welcome, Version::GREETING, Epoch(5), &of_session(welcome()));
        assert!(matches!(host.happened.pop(), Some(Happening::Up(Epoch(5), _))));
        host.sent.clear();
        host
    }

    fn poll(&mut self) {
        loop {
            match self.link.poll(Moment(self.now)) {
                Output::Send(wire) => {
                    let mut decoder = Decoder::new();
                    self.sent.extend(wire.iter().find_map(|byte| decoder.take(*byte)));
                }
                Output::Happened(happening) => self.happened.push(happening),
                Output::Wait(_) => return,
            }
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now += 1;
            self.poll();
        }
    }

    fn hear(
        &mut self,
        kind: FrameKind,
        version: Version,
        epoch: Epoch,
        message: &impl serde::Serialize,
    ) {
        let sequence = self.sent.last().expect("something was asked").header.sequence;
        let header = Header { version, kind, sequence, epoch };
        let wire = encode(header, message).unwrap();
        assert_eq!(self.link.received(&wire, Moment(self.now)), wire.len());
        self.poll();
    }

    fn answer(&mut self, epoch: Epoch, at: u64, said: Said) {
        let answer = Answer { at: DeviceTime(at), said };
        self.hear(FrameKind::Answer, Version::NEWEST, epoch, &answer);
    }

    /// A cycle as a request of the caller's: it is put onto the line now.
    fn ask(&mut self) -> bridge_protocol::Ticket {
        let order = Order { generation: Generation(300), until: DeviceTime(99_999) };
        let ticket = self.link.ask(&Request::ArmAllOff(order), Moment(self.now)).unwrap();
        self.poll();
        ticket
    }
}

fn of_session(mut welcome: Welcome) -> Welcome {
    welcome.session = SESSION;
    welcome
}

#[test]
fn a_request_without_an_answer_is_repeated_with_its_number_and_then_the_device_is_lost() {
    let mut host = Host::up();
    let ticket = host.ask();
    host.pass(200);
    let asked: Vec<_> = host.sent.iter().filter(|f| f.header.kind == FrameKind::Request).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|frame| *frame == asked[0]));
    let lost = Happening::Lost(Lost::Silent);
    assert_eq!(host.happened[..2], [Happening::Unanswered(ticket), lost]);
    assert_eq!(host.link.device_time(Moment(host.now)), None);
    assert_eq!(host.link.ask(&Request::Read, Moment(host.now)), Err(NotTaken::Down));
}

#[test]
fn a_device_that_falls_silent_is_lost_within_a_tenth_of_a_second_and_greeted_until_it_answers() {
    let mut host = Host::up();
    host.pass(100);
    assert_eq!(host.happened, [Happening::Lost(Lost::Silent)]);
    host.pass(1000);
    let hellos = host.sent.iter().filter(|frame| frame.header.kind == FrameKind::Hello).count();
    assert!((9..=12).contains(&hellos), "{hellos} greetings in a second");
    host.hear(FrameKind::Welcome, Version::GREETING, Epoch(5), &of_session(welcome()));
    assert!(matches!(host.happened.last(), Some(Happening::Up(Epoch(5), _))));
    assert_eq!(host.happened.len(), 2, "the same epoch is no reset: {:?}", host.happened);
}

#[test]
fn beats_are_asked_of_a_quiet_device_and_their_answers_keep_it() {
    let mut host = Host::up();
    for beat in 0..50 {
        host.pass(20);
        let last = host.sent.last().unwrap();
        assert_eq!(decode::<Request>(last), Ok(Request::Beat));
        host.answer(Epoch(5), 70_000 + beat, Said::Alive);
    }
    assert_eq!(host.happened, []);
    assert_eq!(host.sent.len(), 50);
}

#[test]
fn an_answer_with_another_number_or_of_another_version_is_none() {
    let mut host = Host::up();
    let ticket = host.ask();
    let answer = Answer { at: DeviceTime(1), said: Said::Alive };
    let sequence = host.sent.last().unwrap().header.sequence;
    let right =
        Header { version: Version::NEWEST, kind: FrameKind::Answer, sequence, epoch: Epoch(5) };
    let wrong = [
        Header { sequence: sequence.next(), ..right },
        Header { version: Version::SWITCHES, ..right },
        Header { kind: FrameKind::Request, ..right },
        Header { epoch: Epoch(4), ..right },
    ];
    for header in wrong {
        host.link.received(&encode(header, &answer).unwrap(), Moment(host.now));
        host.poll();
        assert_eq!(host.happened, [], "{header:?}");
    }
    host.link.received(&encode(right, &answer).unwrap(), Moment(host.now));
    host.poll();
    assert_eq!(host.happened, [Happening::Answered(ticket, answer)]);
}

#[test]
fn a_silent_reset_is_seen_by_the_epoch_of_the_next_answer() {
    let mut host = Host::up();
    let ticket = host.ask();
    host.answer(Epoch(6), 3, Said::Alive);
    let reset = Happening::Lost(Lost::Reset(Epoch(5), Epoch(6)));
    assert_eq!(host.happened, [Happening::Unanswered(ticket), reset]);
    host.happened.clear();
    host.hear(FrameKind::Welcome, Version::GREETING, Epoch(6), &of_session(welcome()));
    assert!(matches!(host.happened[..], [Happening::Up(Epoch(6), _)]), "{:?}", host.happened);
}

#[test]
fn a_reset_while_the_line_was_closed_is_seen_by_the_epoch_of_the_welcome() {
    let mut host = Host::up();
    host.link.closed();
    host.poll();
    assert_eq!(host.happened, [Happening::Lost(Lost::Closed)]);
    host.link.opened(SESSION, Moment(host.now));
    host.poll();
    host.hear(FrameKind::Welcome, Version::GREETING, Epoch(6), &of_session(welcome()));
    let reset = Happening::Lost(Lost::Reset(Epoch(5), Epoch(6)));
    assert_eq!(host.happened[1], reset);
    assert!(matches!(host.happened[2], Happening::Up(Epoch(6), _)));
}

#[test]
fn the_welcome_of_an_earlier_opening_is_not_heard() {
    let mut host = Host::new(Versions::ALL, None);
    host.hear(FrameKind::Welcome, Version::GREETING, Epoch(5), &welcome());
    assert_eq!(host.happened, []);
}

#[test]
fn another_board_than_the_expected_one_is_asked_nothing() {
    let mut host = Host::new(Versions::ALL, Some(Identity(*b"LAMP0002")));
    host.hear(FrameKind::Welcome, Version::GREETING, Epoch(5), &of_session(welcome()));
    assert_eq!(host.happened, [Happening::WrongBoard(Identity(*b"LAMP0001"))]);
    host.sent.clear();
    host.pass(5000);
    assert_eq!(host.sent, []);
    assert_eq!(host.link.ask(&Request::Read, Moment(host.now)), Err(NotTaken::Down));
}

#[test]
fn a_device_that_speaks_no_version_of_ours_is_told_of_plainly_and_asked_nothing() {
    let newer = Versions { lowest: Version(7), highest: Version(9) };
    let mut host = Host::new(Versions::ALL, None);
    let unspoken = Unspoken { versions: newer };
    host.hear(FrameKind::Unspoken, Version::GREETING, Epoch(5), &unspoken);
    assert_eq!(host.happened, [Happening::CanNotSpeak(Versions::ALL, newer)]);
    host.sent.clear();
    host.pass(5000);
    assert_eq!(host.sent, []);
}

#[test]
fn what_an_older_device_has_not_is_not_asked_of_it() {
    let mut host = Host::new(Versions::ALL, None);
    let mut old = of_session(welcome());
    (old.versions, old.speaks) = (Versions::only(Version::SWITCHES), Version::SWITCHES);
    host.hear(FrameKind::Welcome, Version::GREETING, Epoch(5), &old);
    let asked = host.link.ask(&Request::Watch(None), Moment(host.now));
    assert_eq!(asked, Err(NotTaken::NotInVersion(Version::SWITCHES, Version::MEASURES)));
    assert!(host.link.ask(&Request::Read, Moment(host.now)).is_ok());
    host.poll();
    assert_eq!(host.sent.last().unwrap().header.version, Version::SWITCHES);
}

#[test]
fn a_lease_that_the_link_can_not_keep_is_not_asked_for() {
    let mut host = Host::up();
    let order = Order { generation: Generation(300), until: DeviceTime(99_999) };
    let lease = |ms| Request::Lease(order, Some(ms), heapless::Vec::new());
    let shortest = Pace::DEFAULT.shortest_lease_ms();
    let short = host.link.ask(&lease(shortest - 1), Moment(host.now));
    assert_eq!(short, Err(NotTaken::LeaseTooShort(shortest)));
    assert!(host.link.ask(&lease(shortest), Moment(host.now)).is_ok());
}

#[test]
fn the_devices_clock_is_reckoned_from_its_newest_word() {
    let mut host = Host::up();
    let started = welcome().at.0;
    host.pass(15);
    assert_eq!(host.link.device_time(Moment(host.now)), Some(DeviceTime(started + 15)));
    host.ask();
    // Its clock is slower than ours: ours is not believed.
    host.answer(Epoch(5), started + 12, Said::Alive);
    assert_eq!(host.link.device_time(Moment(host.now)), Some(DeviceTime(started + 12)));
}

#[test]
fn more_news_than_are_fetched_stay_on_the_line() {
    use bridge_protocol::{Event, EventNumber, News, ResetCause, Told, What};
    let mut host = Host::up();
    let mut line = Vec::new();
    for number in 1..=50 {
        let what = What::Started(ResetCause::PowerUp);
        let event = Event { number: EventNumber(number), at: DeviceTime(1), what };
        let told = Told { at: DeviceTime(1), news: News::Event(event) };
        let header = Header {
            version: Version::NEWEST,
            kind: FrameKind::Told,
            sequence: bridge_protocol::Sequence(0),
            epoch: Epoch(5),
        };
        line.extend_from_slice(&encode(header, &told).unwrap());
    }
    let mut rest = &line[..];
    while !rest.is_empty() {
        let taken = host.link.received(rest, Moment(host.now));
        assert!(taken > 0);
        rest = &rest[taken..];
        host.poll();
    }
    assert_eq!(host.happened.len(), 50);
}

#[test]
fn the_greeting_says_who_asks_and_what_it_speaks() {
    let host = Host::new(Versions::only(Version::SWITCHES), None);
    let hello: Hello = decode(&host.sent[0]).unwrap();
    let ours = Versions::only(Version::SWITCHES);
    assert_eq!(hello, Hello { session: SESSION, versions: ours });
}
