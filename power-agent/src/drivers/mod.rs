//! Drivers choose nothing: a driver owns one device with numbered outlets, sets and reads them.
//!
//! Retries, sequences, dwell and escalation live above. A new driver is one new file and one line
//! in the table at the end of this file; it inherits the conformance tests.

#[cfg(test)]
mod conformance;
pub mod firmware_bridge;
pub mod gpio;
pub mod lcus;
mod line;
#[cfg(feature = "rppal")]
pub mod rppal;
pub(crate) mod tty;
pub mod wol;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use fleet::{DeviceName, PowerState, ReadSource};
use serial_port::PortSettings;

use crate::config::{Finding, Section};
use crate::descriptors::Descriptors;

/// The largest number of outlets of one device: rack PDUs have up to 54, chained ones some hundreds.
pub const OUTLETS_MAX: u16 = 512;

/// The number of an outlet, as printed on the device: 1 is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutletNumber(u16);

impl OutletNumber {
    /// Takes 1 to [`OUTLETS_MAX`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 || number > OUTLETS_MAX { None } else { Some(Self(number)) }
    }

    /// The number as printed.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for OutletNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a device said of its outlets. An outlet without an entry can not be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readings(BTreeMap<OutletNumber, PowerState>);

impl Readings {
    /// What was said of one outlet; `None`: it can not be told.
    #[must_use]
    pub fn of(&self, outlet: OutletNumber) -> Option<PowerState> {
        self.0.get(&outlet).copied()
    }
}

impl FromIterator<(OutletNumber, PowerState)> for Readings {
    fn from_iter<I: IntoIterator<Item = (OutletNumber, PowerState)>>(said: I) -> Self {
        Self(said.into_iter().collect())
    }
}

/// What an outlet does when the process that drives it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerGone {
    /// It stays as it is: the device latches it and is powered by itself or by the bus.
    Stays,
    /// It stays while the service manager starts the agent anew, because that keeps the descriptor; it falls back to
    /// what the wiring makes of it when the service is stopped.
    StaysOverRestart,
    /// It falls back to what the wiring makes of it, a pull, a resistor; or to the safe state that the device was given.
    FallsBack,
    /// Nobody promises anything.
    Undefined,
}

/// What an outlet can do, and what signs suffice for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether it can take power away (a magic packet can not).
    pub can_cut: bool,
    /// What the device says when it is asked how it stands. `None`: it can not say, and the best that is known is an
    /// assumption.
    pub reads: Option<ReadSource>,
    /// The shortest time between two commands to the device.
    pub gap_min: Duration,
    /// What happens to it when the agent dies.
    pub owner_gone: OwnerGone,
}

/// Where an error comes from.
pub type Source = Box<dyn Error + Send + Sync>;

/// Why a device did not do or say what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Nothing was sent, or no answer came that can be read: trying again can do no harm.
    #[error("{who} is unreachable: {what}")]
    Unreachable {
        /// What was tried and what happened.
        what: String,
        /// The device's place: a port, an address.
        who: String,
        /// The cause, where there is one below.
        #[source]
        source: Option<Source>,
    },
    /// The device answered, and not as it should.
    #[error("{who} refused: {what}")]
    Rejected {
        /// What was asked and what it said.
        what: String,
        /// The device's place.
        who: String,
        /// The cause, where there is one below.
        #[source]
        source: Option<Source>,
    },
    /// The command may or may not have been obeyed: read back before anything else.
    #[error("{who} may or may not have obeyed: {what}")]
    Indeterminate {
        /// What was tried and what happened.
        what: String,
        /// The device's place.
        who: String,
        /// The cause, where there is one below.
        #[source]
        source: Option<Source>,
    },
    /// The configuration can not be right; trying again is no use.
    #[error("{who} is not what the rack file says: {what}")]
    Misconfigured {
        /// What contradicts the configuration.
        what: String,
        /// The device's place.
        who: String,
        /// The cause, where there is one below.
        #[source]
        source: Option<Source>,
    },
}

/// The code for one kind of device; owns the device.
pub(crate) trait Driver: Send {
    /// Sets outlets to states, in the given order. `Ok` says that the commands were sent whole and
    /// nothing was said against them; whether they were obeyed, only a reading says.
    fn set(
        &mut self,
        wanted: &[(OutletNumber, PowerState)],
    ) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Asks for the state of all outlets. Never changes one.
    fn read_all(&mut self) -> impl Future<Output = Result<Readings, DriverError>> + Send;

    /// Sends one wake packet. `Ok` says that it went out; nobody answers it.
    fn wake(
        &mut self,
        call: &wol::WakeCall,
    ) -> impl Future<Output = Result<(), DriverError>> + Send {
        let what = format!("it has outlets, and can not wake {}", call.mac);
        let who = "its driver".to_owned();
        async move { Err(DriverError::Misconfigured { what, who, source: None }) }
    }

    /// Ready when the way to the device has broken, and when it is there again: then a reading is due. May be dropped
    /// at any moment. A driver that can not tell is read when it is its turn.
    fn stirs(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// What an outlet can do.
    fn capabilities(&self, outlet: OutletNumber) -> Capabilities;

    /// Tells the driver which device it drives, and who keeps descriptors beyond its own end. Comes before all else.
    fn introduce(&mut self, _device: &DeviceName, _descriptors: &Descriptors) {}
}

/// What a rack file says of one device: read by the driver, because only it knows its keys.
pub(crate) trait Settings: Sized {
    /// The driver's name in the rack file.
    const NAME: &'static str;
    /// The driver that these settings are for.
    type Driver: Driver;

    /// Reads the driver's own keys; findings go to the section. `None`: not usable.
    fn read(section: &mut Section<'_>) -> Option<Self>;
    /// How many outlets the device has.
    fn outlet_count(&self) -> u16;
    /// The file by which the device is reached, if it is one.
    fn port(&self) -> Option<&Path>;
    /// The serial port by which it is reached, if it is one.
    fn serial_port(&self) -> Option<&PortSettings> {
        None
    }
    /// The driver; opens nothing yet.
    fn driver(&self) -> Self::Driver;
    /// The lines of this host that the device takes, by names of which each stands for one line, and where they stand in
    /// the file.
    fn lines(&self) -> Vec<(String, Range<usize>)> {
        Vec::new()
    }
    /// What can be said of these settings only by looking at this host. Opens no port and moves nothing.
    fn look(&self) -> Vec<Finding> {
        Vec::new()
    }
    /// Why a device with these settings can not take over from one with the old ones while the agent runs.
    fn hinders(&self, _old: &Self) -> Option<String> {
        None
    }
}

/// The table of drivers: expands to the closed enums and to what delegates to them. Those that have no outlets stand
/// after `no outlets:`, and owe the tests of outlets nothing. One with `if "FEATURE"` is there where that feature is built.
macro_rules! drivers {
    ($($(#[$doc:meta])* $variant:ident => $module:ident $(if $feature:literal)?,)*
     ; no outlets: $($(#[$wake_doc:meta])* $wake:ident => $wake_module:ident,)*) => {
        /// What the rack file says of one device, by driver.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum DriverConfig {
            $($(#[$doc])* $(#[cfg(feature = $feature)])? $variant($module::Config),)*
            $($(#[$wake_doc])* $wake($wake_module::Config),)*
        }

        /// A driver of the table.
        pub(crate) enum AnyDriver {
            $($(#[cfg(feature = $feature)])? $variant(<$module::Config as Settings>::Driver),)*
            $($wake(<$wake_module::Config as Settings>::Driver),)*
        }

        /// The drivers' names in the rack file.
        pub(crate) const NAMES: &[&str] = &[
            $($(#[cfg(feature = $feature)])? <$module::Config as Settings>::NAME,)*
            $(<$wake_module::Config as Settings>::NAME,)*
        ];

        impl DriverConfig {
            pub(crate) fn read(name: &str, section: &mut Section<'_>) -> Option<Self> {
                $($(#[cfg(feature = $feature)])? if name == <$module::Config as Settings>::NAME {
                    return <$module::Config as Settings>::read(section).map(DriverConfig::$variant);
                })*
                $(if name == <$wake_module::Config as Settings>::NAME {
                    return <$wake_module::Config as Settings>::read(section).map(DriverConfig::$wake);
                })*
                None
            }

            /// The driver's name in the rack file.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $($(#[cfg(feature = $feature)])? DriverConfig::$variant(_) => <$module::Config as Settings>::NAME,)*
                    $(DriverConfig::$wake(_) => <$wake_module::Config as Settings>::NAME,)*
                }
            }

            /// How many outlets the device has.
            #[must_use]
            pub fn outlet_count(&self) -> u16 {
                match self {
                    $($(#[cfg(feature = $feature)])? DriverConfig::$variant(config) => config.outlet_count(),)*
                    $(DriverConfig::$wake(config) => config.outlet_count(),)*
                }
            }

            /// The file by which the device is reached, if it is one.
            #[must_use]
            pub fn port(&self) -> Option<&Path> {
                match self {
                    $($(#[cfg(feature = $feature)])? DriverConfig::$variant(config) => config.port(),)*
                    $(DriverConfig::$wake(config) => config.port(),)*
                }
            }

            /// The serial port by which it is reached, if it is one.
            pub(crate) fn serial_port(&self) -> Option<&PortSettings> {
                match self {
                    $($(#[cfg(feature = $feature)])? DriverConfig::$variant(config) => config.serial_port(),)*
                    $(DriverConfig::$wake(config) => config.serial_port(),)*
                }
            }

            /// The lines of this host that it takes, with their places in the file.
            pub(crate) fn lines(&self) -> Vec<(String, Range<usize>)> {
                match self {
                    $($(#[cfg(feature = $feature)])? DriverConfig::$variant(config) => config.lines(),)*
                    $(DriverConfig::$wake(config) => config.lines(),)*
                }
            }

            /// What can be said of the device only by looking at this host.
            pub(crate) fn look(&self) -> Vec<Finding> {
                match self {
                    $($(#[cfg(feature = $feature)])? DriverConfig::$variant(config) => config.look(),)*
                    $(DriverConfig::$wake(config) => config.look(),)*
                }
            }

            /// Why this can not take over from the old settings while the agent runs.
            pub(crate) fn hinders(&self, old: &Self) -> Option<String> {
                match (self, old) {
                    $($(#[cfg(feature = $feature)])? (DriverConfig::$variant(new), DriverConfig::$variant(old)) => new.hinders(old),)*
                    _ => None,
                }
            }

            pub(crate) fn driver(&self) -> AnyDriver {
                match self {
                    $($(#[cfg(feature = $feature)])? DriverConfig::$variant(config) => AnyDriver::$variant(config.driver()),)*
                    $(DriverConfig::$wake(config) => AnyDriver::$wake(config.driver()),)*
                }
            }
        }

        #[cfg(test)]
        mod table {
            $($(#[cfg(feature = $feature)])? mod $module {
                super::super::conformance::suite!(super::super::$module::bench::Bench);
            })*
        }

        impl Driver for AnyDriver {
            async fn set(&mut self, wanted: &[(OutletNumber, PowerState)]) -> Result<(), DriverError> {
                match self {
                    $($(#[cfg(feature = $feature)])? AnyDriver::$variant(driver) => driver.set(wanted).await,)*
                    $(AnyDriver::$wake(driver) => driver.set(wanted).await,)*
                }
            }

            async fn read_all(&mut self) -> Result<Readings, DriverError> {
                match self {
                    $($(#[cfg(feature = $feature)])? AnyDriver::$variant(driver) => driver.read_all().await,)*
                    $(AnyDriver::$wake(driver) => driver.read_all().await,)*
                }
            }

            async fn wake(&mut self, call: &wol::WakeCall) -> Result<(), DriverError> {
                match self {
                    $($(#[cfg(feature = $feature)])? AnyDriver::$variant(driver) => driver.wake(call).await,)*
                    $(AnyDriver::$wake(driver) => driver.wake(call).await,)*
                }
            }

            async fn stirs(&mut self) {
                match self {
                    $($(#[cfg(feature = $feature)])? AnyDriver::$variant(driver) => driver.stirs().await,)*
                    $(AnyDriver::$wake(driver) => driver.stirs().await,)*
                }
            }

            fn capabilities(&self, outlet: OutletNumber) -> Capabilities {
                match self {
                    $($(#[cfg(feature = $feature)])? AnyDriver::$variant(driver) => driver.capabilities(outlet),)*
                    $(AnyDriver::$wake(driver) => driver.capabilities(outlet),)*
                }
            }

            fn introduce(&mut self, device: &DeviceName, descriptors: &Descriptors) {
                match self {
                    $($(#[cfg(feature = $feature)])? AnyDriver::$variant(driver) => driver.introduce(device, descriptors),)*
                    $(AnyDriver::$wake(driver) => driver.introduce(device, descriptors),)*
                }
            }
        }
    };
}

drivers! {
    /// LC Technology's serial relay boards, LCUS-1 to LCUS-8.
    Lcus => lcus,
    /// A microcontroller that switches, reads and watches.
    FirmwareBridge => firmware_bridge,
    /// Lines of a GPIO chip: a Raspberry Pi's header, an expander.
    Gpio => gpio,
    /// Pins of a Raspberry Pi's header, by its registers.
    Rppal => rppal if "rppal",
    ; no outlets:
    /// A network card that sends magic packets.
    Wol => wol,
}

/// Drivers that this agent was built without, and what to do about it.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    #[cfg(not(feature = "rppal"))]
    (
        "rppal",
        "take `driver = \"gpio\"`, which asks the kernel and works on every Pi; or build the agent with `--features rppal`",
    ),
];
