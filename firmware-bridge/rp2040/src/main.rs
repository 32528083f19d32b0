//! The firmware bridge on an RP2040: `bridge-device` in a loop, on UART0 at 115200 baud (GPIO0 sends, GPIO1 hears).

#![no_std]
#![no_main]

mod board;

use core::panic::PanicInfo;

use bridge_device::{Device, Facts, Limits};
use bridge_protocol::{Capability, DeviceTime, Identity, ResetCause, Versions, Wire};
use cortex_m_rt::entry;
use embassy_rp::Peripherals;
use embassy_rp::adc::{Adc, Channel};
use embassy_rp::flash::Flash;
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::uart::{self, Uart};
use embassy_rp::watchdog::{ResetReason, Watchdog};
use embassy_time::Instant;
use embedded_hal_nb::serial::{Read as _, Write as _};

use board::{Board, FLASH_LEN, OUTLETS, WATCHDOG};

/// Images for this kind of board carry this number.
const BOARD: u16 = 2040;

/// This firmware's version.
const FIRMWARE: u32 = 1;

/// For relays of 10 A and power supplies of single-board computers.
const LIMITS: Limits = Limits { min_on_ms: 10_000, min_off_ms: 5_000, start_gap_ms: 500 };

/// The chip's receiver keeps 32 bytes; the loop takes what is there and is back long before there are more.
const HEARD_MAX: usize = 32;

#[entry]
fn main() -> ! {
    let p = embassy_rp::init(Default::default());
    let mut settings = uart::Config::default();
    settings.baudrate = 115_200;
    let (mut board, mut line) = wire(p, settings);
    let cause = match board.watchdog.reset_reason() {
        Some(ResetReason::TimedOut) => ResetCause::Watchdog,
        Some(ResetReason::Forced) => ResetCause::Software,
        // The chip does not tell a supply that came from one that sagged.
        None => ResetCause::PowerUp,
    };
    board.watchdog.start(WATCHDOG);
    let mut identity = [0; 8];
    // Without an identity it would be taken for another board: the watchdog starts it anew until it has one.
    while board.flash.blocking_unique_id(&mut identity).is_err() {}
    let mut device = Device::start(board, facts(Identity(identity)), cause, now());
    let mut sending: Option<(Wire, usize)> = None;
    loop {
        let mut heard: heapless::Vec<u8, HEARD_MAX> = heapless::Vec::new();
        // What the receiver could not take costs a frame, which the host sends again.
        while !heard.is_full() {
            match line.read() {
                Ok(byte) => drop(heard.push(byte)),
                Err(_nothing_or_garbled) => break,
            }
        }
        device.received(&heard, now());
        device.run(now());
        sending = match sending.take().or_else(|| Some((device.frame(now())?, 0))) {
            // A byte each round: it waits 90 µs at most, and nothing that comes is lost meanwhile.
            Some((frame, at)) => frame.get(at).copied().map(|byte| {
                let sent = usize::from(line.write(byte).is_ok());
                (frame, at + sent)
            }),
            None => None,
        };
    }
}

fn now() -> DeviceTime {
    DeviceTime(Instant::now().as_millis())
}

fn facts(identity: Identity) -> Facts {
    // Not that outlets hold over a reset: the chip lets its pins go, and the relays fall.
    let capabilities = [Capability::Led, Capability::Temperature];
    Facts {
        identity,
        board: BOARD,
        firmware: FIRMWARE,
        versions: Versions::ALL,
        outlets: u8::try_from(OUTLETS).unwrap_or(0),
        capabilities: capabilities.into_iter().collect(),
        limits: LIMITS,
    }
}

fn wire(p: Peripherals, settings: uart::Config) -> (Board, Uart<'static, uart::Blocking>) {
    let line = Uart::new_blocking(p.UART0, p.PIN_0, p.PIN_1, settings);
    let low = Level::Low;
    let relays = [
        Output::new(p.PIN_2, low),
        Output::new(p.PIN_3, low),
        Output::new(p.PIN_4, low),
        Output::new(p.PIN_5, low),
        Output::new(p.PIN_6, low),
        Output::new(p.PIN_7, low),
        Output::new(p.PIN_8, low),
        Output::new(p.PIN_9, low),
    ];
    let leds = [
        Input::new(p.PIN_10, Pull::Down),
        Input::new(p.PIN_11, Pull::Down),
        Input::new(p.PIN_12, Pull::Down),
        Input::new(p.PIN_13, Pull::Down),
        Input::new(p.PIN_14, Pull::Down),
        Input::new(p.PIN_15, Pull::Down),
        Input::new(p.PIN_16, Pull::Down),
        Input::new(p.PIN_17, Pull::Down),
    ];
    let board = Board {
        relays,
        leds,
        adc: Adc::new_blocking(p.ADC, Default::default()),
        thermometer: Channel::new_temp_sensor(p.ADC_TEMP_SENSOR),
        flash: Flash::<_, _, FLASH_LEN>::new_blocking(p.FLASH),
        watchdog: Watchdog::new(p.WATCHDOG),
    };
    (board, line)
}

/// Nothing is known any more: the watchdog ends it.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        cortex_m::asm::nop();
    }
}
