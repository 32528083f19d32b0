//! The port below the driver: what a header's pins can do, and the crate that does it.

use rppal::gpio::{Bias as PinBias, Error, Gpio, IoPin, Level as PinLevel, Mode, Pin};

use super::super::gpio::chip;
use super::super::gpio::settings::Bias;

/// The last pin of the header, by the number of its chip.
pub(super) const PIN_LAST: u8 = 27;

/// What a pin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    /// It follows what pulls it.
    Input,
    /// It is driven.
    Output,
    /// Something in the chip moves it: a bus, a serial line, a clock.
    Other,
}

/// Why a pin can not be had now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The registers can not be reached.
    #[error("its registers can not be reached; {remedy}")]
    Closed {
        /// What to do.
        remedy: &'static str,
        /// What the crate said.
        #[source]
        source: Error,
    },
    /// The device of before a reload is at this pin in this moment.
    #[error("pin {pin} is being moved by another device of this agent")]
    Busy {
        /// The pin.
        pin: u8,
    },
}

/// A header's pins.
pub(crate) trait Header: Send {
    /// What a pin is, and whether it is high. Changes nothing.
    fn look(&mut self, pin: u8) -> Result<(Function, bool), HeaderError>;

    /// Makes it an output of this level: the level is there before the output is.
    fn drive(&mut self, pin: u8, high: bool) -> Result<(), HeaderError>;

    /// Gives it a pull.
    fn pull(&mut self, pin: u8, bias: Bias) -> Result<(), HeaderError>;

    /// Who holds it by the kernel; `None`: nobody that could be seen.
    fn holder(&self, pin: u8) -> Option<String>;
}

/// The registers of this host.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    open: Option<Gpio>,
}

impl Registers {
    /// A pin for one act. It is not held: of one process each pin can be had only once, and a reload has two devices.
    fn pin(&mut self, pin: u8) -> Result<Pin, HeaderError> {
        let open = match &self.open {
            Some(open) => open,
            None => {
                let open = Gpio::new()
                    .map_err(|source| HeaderError::Closed { remedy: remedy(&source), source })?;
                self.open.insert(open)
            }
        };
        open.get(pin).map_err(|_taken| HeaderError::Busy { pin })
    }

    /// The pin as it is, to be changed. What is changed stays so when it is let go.
    fn changing(&mut self, pin: u8) -> Result<IoPin, HeaderError> {
        let pin = self.pin(pin)?;
        // The mode that it has is not written again; one that nobody has given a function becomes an input.
        let mode = match pin.mode() {
            Mode::Null => Mode::Input,
            mode => mode,
        };
        let mut pin = pin.into_io(mode);
        pin.set_reset_on_drop(false);
        Ok(pin)
    }
}

impl Header for Registers {
    fn look(&mut self, pin: u8) -> Result<(Function, bool), HeaderError> {
        let pin = self.pin(pin)?;
        let function = match pin.mode() {
            Mode::Input | Mode::Null => Function::Input,
            Mode::Output => Function::Output,
            _ => Function::Other,
        };
        Ok((function, pin.read() == PinLevel::High))
    }

    fn drive(&mut self, pin: u8, high: bool) -> Result<(), HeaderError> {
        let mut pin = self.changing(pin)?;
        pin.write(PinLevel::from(high));
        if pin.mode() != Mode::Output {
            pin.set_mode(Mode::Output);
        }
        Ok(())
    }

    fn pull(&mut self, pin: u8, bias: Bias) -> Result<(), HeaderError> {
        self.changing(pin)?.set_bias(match bias {
            Bias::PullUp => PinBias::PullUp,
            Bias::PullDown => PinBias::PullDown,
            Bias::Disabled => PinBias::Off,
        });
        Ok(())
    }

    fn holder(&self, pin: u8) -> Option<String> {
        chip::header()?.holder(u32::from(pin))
    }
}

/// What to do where the registers can not be reached.
pub(super) fn remedy(error: &Error) -> &'static str {
    match error {
        Error::UnknownModel => {
            "this host is no Raspberry Pi that rppal knows: take `driver = \"gpio\"`, which asks the kernel"
        }
        _ => {
            "on Raspberry Pi OS the user needs group `gpio` for /dev/gpiomem; a kernel without that file gives them only to \
             root, by /dev/mem and booted with iomem=relaxed: there `driver = \"gpio\"` is the better one"
        }
    }
}

/// Whether the registers can be reached; changes none.
pub(super) fn reachable() -> Result<(), Error> {
    Gpio::new().map(drop)
}
