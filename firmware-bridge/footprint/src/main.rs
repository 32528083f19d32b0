//! The device's logic with a board that is nothing: linked for a bare chip and never run, so that its size can be read from
//! the program's sections. `.text` and `.rodata` lie in flash; `RAM_OF_DEVICE` is as large as the device's state.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use bridge_device::hardware::RECORD_LEN;
use bridge_device::{
    Device, Facts, Failed, Images, Limits, Meters, Pins, Quantity, Slot, Storage, Watchdog, choose,
};
use bridge_protocol::{
    Capability, DeviceTime, Identity, OutletNumber, PowerState, Reading, ResetCause, Versions,
};

/// Registers that nobody has: what is asked of them is not known when this is compiled.
struct Nothing;

impl Pins for Nothing {
    fn drive(&mut self, outlet: OutletNumber, state: PowerState) {
        black_box((outlet, state));
    }

    fn level(&mut self, outlet: OutletNumber) -> PowerState {
        black_box((outlet, PowerState::Off)).1
    }

    fn contact(&mut self, outlet: OutletNumber) -> Option<PowerState> {
        black_box((outlet, None)).1
    }
}

impl Meters for Nothing {
    fn measure(&mut self, outlet: OutletNumber, quantity: Quantity) -> Option<Reading> {
        black_box((outlet, quantity, None)).2
    }
}

impl Watchdog for Nothing {
    fn feed(&mut self) {
        black_box(());
    }
}

impl Storage for Nothing {
    fn sectors(&self) -> u16 {
        4
    }

    fn records(&self) -> u16 {
        32
    }

    fn read(&mut self, sector: u16, record: u16) -> Result<[u8; RECORD_LEN], Failed> {
        black_box((sector, record, Ok([0xFF; RECORD_LEN]))).2
    }

    fn write(&mut self, sector: u16, record: u16, bytes: &[u8; RECORD_LEN]) -> Result<(), Failed> {
        black_box((sector, record, bytes, Ok(()))).3
    }

    fn erase(&mut self, sector: u16) -> Result<(), Failed> {
        black_box((sector, Ok(()))).1
    }
}

impl Images for Nothing {
    fn capacity(&self) -> u32 {
        black_box(900 * 1024)
    }

    fn clear(&mut self, slot: Slot) -> Result<(), Failed> {
        black_box((slot, Ok(()))).1
    }

    fn write_image(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), Failed> {
        black_box((slot, offset, bytes, Ok(()))).3
    }

    fn read_image(&mut self, slot: Slot, offset: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        black_box((slot, offset, bytes, Ok(()))).3
    }

    fn restart(&mut self) {
        black_box(());
    }
}

/// As large as the device's state, and as all that a firmware keeps of it beside its stack.
#[used]
#[unsafe(link_section = ".bss.device")]
static RAM_OF_DEVICE: [u8; size_of::<Device<Nothing>>()] = [0; size_of::<Device<Nothing>>()];

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let mut storage = Nothing;
    black_box(choose(&mut storage));
    let capabilities = [Capability::Contacts, Capability::Updates];
    let facts = Facts {
        identity: black_box(Identity([0; 8])),
        board: 2040,
        firmware: 1,
        versions: Versions::ALL,
        outlets: black_box(16),
        capabilities: capabilities
            .into_iter()
            .chain(Quantity::ALL.map(Quantity::capability))
            .collect(),
        limits: black_box(Limits { min_on_ms: 10_000, min_off_ms: 5_000, start_gap_ms: 500 }),
    };
    let cause = black_box(ResetCause::PowerUp);
    let mut device = Device::start(storage, facts, cause, DeviceTime(0));
    loop {
        let now = black_box(DeviceTime(1));
        device.received(black_box(&[0_u8; 16]), now);
        device.run(now);
        while let Some(frame) = device.frame(now) {
            black_box(&frame);
        }
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
