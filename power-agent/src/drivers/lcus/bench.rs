//! A board of wires and bytes for the conformance tests: as strict as the real one, written from the vendor's table.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fleet::PowerState;
use serial_port::{OpenError, Port, PortSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::conformance;
use super::{Config, Lcus, OutletNumber, Status};

const CHANNELS: u16 = 4;
const GAP: Duration = Duration::from_millis(100);

/// What the board is, apart from the line to it.
struct Board {
    relays: [PowerState; CHANNELS as usize],
    edges: usize,
    lost: usize,
    heard: Vec<Vec<u8>>,
    deaf_until: Option<Instant>,
    plugged_in: bool,
    /// What goes before the answer, and whether the answer comes in single bytes.
    noise: &'static [u8],
    answers: bool,
    status: Status,
}

/// The board with its driver, and the lines that were opened to it.
pub(crate) struct Bench {
    driver: Lcus<BenchPort>,
    board: Arc<Mutex<Board>>,
    lines: Arc<Mutex<JoinSet<()>>>,
}

/// Opens a line to the board, if it is plugged in.
#[derive(Clone)]
pub(crate) struct BenchPort {
    board: Arc<Mutex<Board>>,
    lines: Arc<Mutex<JoinSet<()>>>,
}

impl Port for BenchPort {
    type Line = DuplexStream;

    fn open(&mut self) -> Result<DuplexStream, OpenError> {
        if !locked(&self.board).plugged_in {
            return Err(std::io::Error::from(ErrorKind::NotFound).into());
        }
        let (ours, theirs) = duplex(64);
        locked(&self.lines).spawn(serve(theirs, self.board.clone()));
        Ok(ours)
    }

    fn place(&self) -> String {
        "port /dev/bench".to_owned()
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no test panics while it holds the lock")
}

/// The board's own program.
async fn serve(mut line: DuplexStream, board: Arc<Mutex<Board>>) {
    while let Ok(first) = line.read_u8().await {
        let mut frame = vec![first];
        if first == 0xA0 {
            let mut rest = [0_u8; 3];
            if line.read_exact(&mut rest).await.is_err() {
                return;
            }
            frame.extend(rest);
        }
        let answer = locked(&board).hear(&frame);
        for byte in answer {
            if line.write_u8(byte).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Board {
    fn hear(&mut self, frame: &[u8]) -> Vec<u8> {
        let now = Instant::now();
        self.heard.push(frame.to_vec());
        if self.deaf_until.is_some_and(|until| now < until) {
            self.lost += 1;
            return Vec::new();
        }
        self.deaf_until = Some(now + GAP);
        match *frame {
            [0xA0, channel, operation, sum] => {
                assert_eq!(0xA0_u8.wrapping_add(channel).wrapping_add(operation), sum);
                let state = [PowerState::Off, PowerState::On][usize::from(operation)];
                let relay = &mut self.relays[usize::from(channel) - 1];
                self.edges += usize::from(*relay != state);
                *relay = state;
                Vec::new()
            }
            [0xFF] if self.status == Status::Bytes => {
                let mut answer = self.noise.to_vec();
                if self.answers {
                    answer.extend(self.relays.map(|state| u8::from(state == PowerState::On)));
                }
                answer
            }
            [0xFF] if self.answers && self.status == Status::Ascii => {
                let mut answer = self.noise.to_vec();
                for (state, channel) in self.relays.iter().zip(1..) {
                    let word = if *state == PowerState::On { "ON " } else { "OFF" };
                    answer.extend(format!("CH{channel}: {word}\r\n").bytes());
                }
                answer
            }
            [0xFF] => Vec::new(),
            _ => panic!("the board heard {frame:02X?}, which is no frame"),
        }
    }
}

impl Bench {
    fn with(status: Status, noise: &'static [u8]) -> Self {
        let board = Arc::new(Mutex::new(Board {
            relays: [PowerState::Off; CHANNELS as usize],
            edges: 0,
            lost: 0,
            heard: Vec::new(),
            deaf_until: None,
            plugged_in: true,
            noise,
            answers: true,
            status,
        }));
        let lines = Arc::new(Mutex::new(JoinSet::new()));
        let driver = new_driver(status, &board, &lines);
        Self { driver, board, lines }
    }

    /// All that the board has heard, frame by frame.
    pub(super) fn heard(&self) -> Vec<Vec<u8>> {
        locked(&self.board).heard.clone()
    }

    /// From now on this comes before each answer.
    pub(super) fn hear_before_answers(&self, noise: &'static [u8]) {
        locked(&self.board).noise = noise;
    }

    /// Whether from now on anything comes after that.
    pub(super) fn answer_after(&self, answers: bool) {
        locked(&self.board).answers = answers;
    }

    /// From now on the board answers no query.
    pub(super) fn fall_silent(&self) {
        locked(&self.board).answers = false;
    }
}

fn new_driver(
    status: Status,
    board: &Arc<Mutex<Board>>,
    lines: &Arc<Mutex<JoinSet<()>>>,
) -> Lcus<BenchPort> {
    let path = PathBuf::from("/dev/bench");
    let port = PortSettings { path, usb: None, serial: None, dtr: true };
    let config = Config { port, channels: CHANNELS, status, gap_min: GAP };
    Lcus::new(config, BenchPort { board: board.clone(), lines: lines.clone() })
}

impl conformance::Bench for Bench {
    type Driver = Lcus<BenchPort>;

    fn each_kind() -> Vec<Self> {
        vec![
            Self::with(Status::Ascii, b""),
            Self::with(Status::Ascii, b"\0\xFFCH CH9: ON\r\nON\r\n"),
            Self::with(Status::Bytes, b""),
            Self::with(Status::None, b""),
        ]
    }

    fn driver(&mut self) -> &mut Self::Driver {
        &mut self.driver
    }

    fn restart_driver(&mut self) {
        let status = locked(&self.board).status;
        self.driver = new_driver(status, &self.board, &self.lines);
    }

    fn relays(&self) -> Vec<(OutletNumber, PowerState)> {
        let numbers = (1..=CHANNELS).filter_map(OutletNumber::new);
        numbers.zip(locked(&self.board).relays).collect()
    }

    fn edges(&self) -> usize {
        locked(&self.board).edges
    }

    fn lost_frames(&self) -> usize {
        locked(&self.board).lost
    }

    fn unplug(&mut self) {
        locked(&self.board).plugged_in = false;
        locked(&self.lines).abort_all();
    }

    fn plug_in(&mut self) {
        locked(&self.board).plugged_in = true;
    }
}
