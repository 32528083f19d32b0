//! The event loop of one device: bytes and time go into the link, and what it says is done.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bridge_protocol::link::{Happening, Link, Moment, NotTaken, Output, Pace, Ticket};
use bridge_protocol::message::{Answer, Order, Refusal, Said, Told};
use bridge_protocol::{DeviceTime, Generation, Identity, SessionId, Versions, Wire};
use rustix::rand::{GetRandomFlags, getrandom};
use serial_port::{OpenError, Port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::bridge::{Ask, AskError, Standing};
use crate::words;

/// The waits between two tries to open grow from here…
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// …to here, so that a board that is back is found within a second.
const BACKOFF_MAX: Duration = Duration::from_millis(800);
/// A frame is 258 bytes at most and fits into the kernel's buffer; what is not taken after so long is stuck.
const WRITE_DEADLINE: Duration = Duration::from_millis(500);
/// Something wrong is looked at again so often: somebody may have put the right board there without the line breaking.
const WRONG_FOR: Duration = Duration::from_secs(5);
/// Two of the longest frames.
const READ_LEN: usize = 516;

/// A request on the line, and who waits for its answer.
struct Asked {
    ticket: Ticket,
    reply: oneshot::Sender<Result<Answer, AskError>>,
}

/// Why a conversation ended.
enum Ended {
    /// The line broke, or is to be opened anew.
    Line,
    /// Nobody has a handle any more.
    Unwanted,
}

/// One device's event loop.
pub(crate) struct Task<P> {
    port: P,
    link: Link,
    started: Instant,
    generation: Generation,
    queue: mpsc::Receiver<Ask>,
    /// The first of the queue, as long as the device is away.
    next: Option<Ask>,
    asked: Option<Asked>,
    stands: watch::Sender<Standing>,
    told: broadcast::Sender<Told>,
}

impl<P: Port> Task<P> {
    pub(crate) fn new(
        port: P,
        (versions, expected, pace): (Versions, Option<Identity>, Pace),
        queue: mpsc::Receiver<Ask>,
        stands: watch::Sender<Standing>,
        told: broadcast::Sender<Told>,
    ) -> Task<P> {
        let link = Link::new(versions, expected, pace);
        let generation = Generation::default();
        Task {
            port,
            link,
            started: Instant::now(),
            generation,
            queue,
            next: None,
            asked: None,
            stands,
            told,
        }
    }

    /// Until the last handle is gone.
    pub(crate) async fn run(mut self) {
        let mut wait = BACKOFF_MIN;
        loop {
            match self.port.open() {
                Ok(line) => {
                    wait = BACKOFF_MIN;
                    let ended = self.converse(line).await;
                    self.link.closed();
                    self.hear_all();
                    if matches!(ended, Ended::Unwanted) {
                        return;
                    }
                }
                Err(OpenError::Away { what, source }) => {
                    let cause = source.map(|source| format!(": {source}")).unwrap_or_default();
                    self.stand(Standing::Away(format!("{what}{cause}")));
                }
                Err(OpenError::Other(what)) => self.stand(Standing::Wrong(what)),
            }
            if !self.rest(wait).await {
                return;
            }
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    /// Waits with a line that is not open; `false`: nobody has a handle any more.
    async fn rest(&mut self, wait: Duration) -> bool {
        let over = Instant::now() + wait;
        while Instant::now() < over {
            self.give_up();
            let due = self.next.as_ref().map_or(over, |next| next.deadline.min(over));
            tokio::select! {
                ask = self.queue.recv(), if self.next.is_none() => match ask {
                    Some(ask) => self.next = Some(ask),
                    None => return false,
                },
                () = sleep_until(due) => {}
            }
        }
        true
    }

    async fn converse(&mut self, mut line: P::Line) -> Ended {
        match session() {
            Ok(session) => self.link.opened(session, self.moment()),
            Err(error) => {
                self.stand(Standing::Away(format!("there are no random numbers: {error}")));
                return Ended::Line;
            }
        }
        let mut wrong_until = None;
        let mut buffer = [0; READ_LEN];
        loop {
            let Some(wake) = self.turn(&mut line).await else { return Ended::Line };
            let is_wrong = matches!(&*self.stands.borrow(), Standing::Wrong(_));
            let opens_anew =
                is_wrong.then(|| *wrong_until.get_or_insert_with(|| Instant::now() + WRONG_FOR));
            if opens_anew.is_some_and(|at| Instant::now() >= at) {
                return Ended::Line;
            }
            let due = [wake, opens_anew, self.next.as_ref().map(|next| next.deadline)];
            let due = due.into_iter().flatten().min();
            tokio::select! {
                // What has come counts before the time that has passed: a host that stood still has lost nobody.
                biased;
                read = line.read(&mut buffer) => match read {
                    Ok(count) if count > 0 => {
                        let bytes = buffer.get(..count).unwrap_or_default();
                        self.received(bytes);
                    }
                    Ok(_ended) => return self.broke("the other end is gone"),
                    Err(error) => return self.broke(&error.to_string()),
                },
                ask = self.queue.recv(), if self.next.is_none() => match ask {
                    Some(ask) => self.next = Some(ask),
                    None => return Ended::Unwanted,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Puts the next request onto the line, sends what is due, and gives up what is too late; when to come again. `None`: the
    /// line is broken.
    async fn turn(&mut self, line: &mut P::Line) -> Option<Option<Instant>> {
        loop {
            self.give_up();
            self.ask_next();
            match self.link.poll(self.moment()) {
                Output::Happened(happening) => self.hear(happening),
                Output::Send(wire) => {
                    if let Err(error) = send(line, &wire).await {
                        self.broke(&error.to_string());
                        return None;
                    }
                }
                Output::Wait(until) => return Some(until.map(|until| self.instant(until))),
            }
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.link.received(rest, self.moment());
            rest = rest.get(taken..).unwrap_or_default();
            self.hear_all();
        }
    }

    fn hear_all(&mut self) {
        while let Some(happening) = self.link.happening() {
            self.hear(happening);
        }
    }

    fn hear(&mut self, happening: Happening) {
        match happening {
            Happening::Up(epoch, welcome) => {
                self.generation = welcome.generation;
                self.stand(Standing::Up(epoch, Arc::new(welcome)));
            }
            Happening::Answered(ticket, answer) => {
                if let Said::Refused(Refusal::Stale(newest)) = answer.said {
                    self.generation = self.generation.max(newest);
                }
                self.reply(ticket, Ok(answer));
            }
            Happening::Unanswered(ticket) => {
                let what = "it was lost before it had answered: it may or may not have obeyed";
                self.reply(ticket, Err(AskError::Unanswered(what.to_owned())));
            }
            // Nobody listens: it is in the device's log, or comes anew.
            Happening::Told(told) => drop(self.told.send(told)),
            Happening::Lost(why) => self.stand(Standing::Away(words::lost(why))),
            Happening::CanNotSpeak(ours, theirs) => {
                self.stand(Standing::Wrong(words::can_not_speak(ours, theirs)));
            }
            Happening::WrongBoard(identity) => {
                let what = format!("it is board {}", words::identity(identity));
                self.stand(Standing::Wrong(what));
            }
        }
    }

    fn reply(&mut self, ticket: Ticket, answer: Result<Answer, AskError>) {
        if let Some(asked) = self.asked.take_if(|asked| asked.ticket == ticket) {
            tell(asked.reply, answer);
        }
    }

    /// Puts the first of the queue onto the line, where it may be.
    fn ask_next(&mut self) {
        let now = self.moment();
        let Some(clock) = self.link.device_time(now) else { return };
        if self.asked.is_some() {
            return;
        }
        let Some(ask) = self.next.take() else { return };
        if ask.reply.is_closed() {
            return;
        }
        let order = Order { generation: self.generation.next(), until: self.until(clock, &ask) };
        let request = (ask.make)(order);
        match self.link.ask(&request, now) {
            Ok(ticket) => {
                if request.order().is_some() {
                    self.generation = order.generation;
                }
                self.asked = Some(Asked { ticket, reply: ask.reply });
            }
            Err(why @ (NotTaken::Down | NotTaken::Busy)) => {
                tell(ask.reply, Err(AskError::NotSent(why.to_string())));
            }
            Err(why) => tell(ask.reply, Err(AskError::CanNot(why.to_string()))),
        }
    }

    /// A deadline on the device's clock.
    fn until(&self, clock: DeviceTime, ask: &Ask) -> DeviceTime {
        let left = ask.deadline.saturating_duration_since(Instant::now()).as_millis();
        clock.after(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Tells the first of the queue that its time is over, or that it is no use to wait.
    fn give_up(&mut self) {
        let error = match &*self.stands.borrow() {
            Standing::Wrong(what) => AskError::CanNot(what.clone()),
            _ if self.next.as_ref().is_none_or(|next| Instant::now() < next.deadline) => return,
            Standing::Away(why) => AskError::NotSent(why.clone()),
            Standing::Up(..) => {
                AskError::NotSent("others were asked first for too long".to_owned())
            }
        };
        if let Some(next) = self.next.take() {
            tell(next.reply, Err(error));
        }
    }

    fn broke(&mut self, why: &str) -> Ended {
        self.link.closed();
        self.hear_all();
        self.stand(Standing::Away(why.to_owned()));
        Ended::Line
    }

    fn stand(&self, standing: Standing) {
        self.stands.send_if_modified(|now| {
            let changed = *now != standing;
            if changed {
                tracing::debug!(place = self.port.place(), ?standing, "a bridge stands otherwise");
                *now = standing;
            }
            changed
        });
    }

    fn moment(&self) -> Moment {
        let since = Instant::now().saturating_duration_since(self.started);
        Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn instant(&self, moment: Moment) -> Instant {
        self.started + Duration::from_millis(moment.0)
    }
}

async fn send<L: tokio::io::AsyncWrite + Unpin>(line: &mut L, wire: &Wire) -> io::Result<()> {
    let sent = timeout_at(Instant::now() + WRITE_DEADLINE, async {
        line.write_all(wire).await?;
        line.flush().await
    });
    let stuck = |_elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, "the line takes no bytes"));
    sent.await.unwrap_or_else(stuck)
}

/// Who asked may have gone.
fn tell(reply: oneshot::Sender<Result<Answer, AskError>>, answer: Result<Answer, AskError>) {
    if reply.send(answer).is_err() {
        tracing::debug!("nobody waited for the answer of a bridge any more");
    }
}

/// A number that no other opening has.
fn session() -> io::Result<SessionId> {
    let mut bytes = [0; 4];
    let count = getrandom(&mut bytes, GetRandomFlags::empty())?;
    if count < bytes.len() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(SessionId(u32::from_ne_bytes(bytes)))
}
