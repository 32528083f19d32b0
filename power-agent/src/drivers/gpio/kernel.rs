//! The lines themselves, by the kernel's character device: taken as they are, held by one descriptor, set, read.

use std::fs::File;
use std::os::fd::AsFd;

use fleet::DeviceName;
use gpiocdev_uapi::v2::{
    LineConfig, LineFlags, LineValues, get_line_values, set_line_config, set_line_values,
};

use super::super::{DriverError, Source};
use super::chip::{self, ChipError, Found};
use super::outlets::Lines;
use super::settings::{Bias, Config, Drive, Line, Wiring};
use crate::descriptors::Descriptors;

/// What the kernel shows of our lines begins with this; it keeps 31 characters.
pub(super) const CONSUMER_PREFIX: &str = "power-agent:";

/// The longest name of a consumer, in bytes, without the zero at its end.
const CONSUMER_BYTES_MAX: usize = 31;

/// What the kernel answers where a line is held by somebody else.
const EBUSY: i32 = 16;

/// The lines of one device.
pub(crate) struct KernelLines {
    config: Config,
    device: String,
    descriptors: Descriptors,
    held: Option<Held>,
}

/// The lines while they are ours.
struct Held {
    request: File,
    /// For each line of the rack file, its place in the request.
    places: Vec<usize>,
}

impl KernelLines {
    pub(super) fn new(config: Config) -> Self {
        let device = String::new();
        Self { config, device, descriptors: Descriptors::default(), held: None }
    }

    /// Does something with the lines. Where the chip has gone since and is back, it is done with the lines of the one
    /// that is there now.
    fn with_lines<T>(
        &mut self,
        mut act: impl FnMut(&Held) -> gpiocdev_uapi::Result<T>,
    ) -> Result<T, DriverError> {
        let was_held = self.held.is_some();
        match self.once(&mut act) {
            Err(_gone) if was_held && self.held.is_none() => self.once(&mut act),
            result => result,
        }
    }

    fn once<T>(
        &mut self,
        act: &mut impl FnMut(&Held) -> gpiocdev_uapi::Result<T>,
    ) -> Result<T, DriverError> {
        let held = match self.held.take() {
            Some(held) => held,
            None => self.take()?,
        };
        match act(&held) {
            Ok(done) => {
                self.held = Some(held);
                Ok(done)
            }
            // The kernel has taken the lines from us: the chip is gone. Whoever goes on holding them learns nothing more.
            Err(error) => {
                self.forget();
                Err(self.unreachable("the chip is gone", Some(error.into())))
            }
        }
    }

    /// Takes the lines as they are, and makes each an output of the level that it has.
    fn take(&self) -> Result<Held, DriverError> {
        let found = chip::find(&self.config.chip).map_err(|error| self.no_chip(error))?;
        let offsets = found.offsets(&self.config.lines).map_err(|error| {
            let what = format!("{}; expected {}", error.what, error.expected);
            self.misconfigured(what, None)
        })?;
        let kept = self.descriptors.get(&self.device);
        let kept =
            kept.map_err(|error| self.unreachable("too much is open", Some(error.into())))?;
        let (request, order, is_kept) = match kept.map(File::from) {
            Some(request) if values(&request, 1).is_ok() => {
                let order = self.order_of(&request, &found, &offsets)?;
                (request, order, true)
            }
            // What is kept is of a chip that has gone since.
            Some(_gone) => {
                self.forget();
                (self.request(&found, &offsets)?, offsets.clone(), false)
            }
            None => (self.request(&found, &offsets)?, offsets.clone(), false),
        };
        let failed = |error: gpiocdev_uapi::Error| {
            self.unreachable("its lines could not be taken", Some(error.into()))
        };
        let now = values(&request, order.len()).map_err(failed)?;
        let mut levels = Vec::new();
        for (place, offset) in order.iter().enumerate() {
            let info = found.info(*offset).map_err(|error| self.no_chip(error))?;
            levels.push(now.get(place).unwrap_or(false) != info.active_low);
        }
        let config = self.outputs(&offsets, &order, &levels);
        set_line_config(&request, config).map_err(failed)?;
        if !is_kept {
            self.keep(&request);
        }
        let places =
            offsets.iter().map(|offset| order.iter().position(|there| there == offset)).collect();
        let Some(places) = places else {
            return Err(self.misconfigured("a line is missing in what is kept".to_owned(), None));
        };
        tracing::info!(device = self.device, chip = %found.shown(), ?offsets, ?levels, is_kept, "lines taken as they are");
        Ok(Held { request, places })
    }

    /// Takes the lines without touching them.
    fn request(&self, found: &Found, offsets: &[u32]) -> Result<File, DriverError> {
        let mut consumer = format!("{CONSUMER_PREFIX}{}", self.device);
        consumer.truncate(CONSUMER_BYTES_MAX);
        let mut wanted = gpiocdev_uapi::v2::LineRequest {
            offsets: gpiocdev_uapi::v2::Offsets::from_slice(offsets),
            consumer: gpiocdev_uapi::v2::Name::from_bytes(consumer.as_bytes()),
            ..Default::default()
        };
        wanted.num_lines = u32::try_from(offsets.len()).unwrap_or_default();
        let node = File::open(&found.path)
            .map_err(|error| self.unreachable("it can not be opened", Some(error.into())))?;
        gpiocdev_uapi::v2::get_line(&node, wanted).map_err(|error| {
            let what = match &error {
                gpiocdev_uapi::Error::Os(errno) if errno.0 == EBUSY => self.holders(found, offsets),
                _ => "its lines can not be taken".to_owned(),
            };
            self.unreachable(&what, Some(error.into()))
        })
    }

    /// Who holds which of the lines.
    fn holders(&self, found: &Found, offsets: &[u32]) -> String {
        let held = offsets.iter().filter_map(|offset| {
            let holder = found.holder(*offset)?;
            Some(format!("line {offset} is held by {holder}"))
        });
        let held: Vec<String> = held.collect();
        if held.is_empty() { "a line is held by somebody else".to_owned() } else { held.join(", ") }
    }

    /// The lines of a kept request in its own order, where they are those of the rack file.
    fn order_of(
        &self,
        request: &File,
        found: &Found,
        offsets: &[u32],
    ) -> Result<Vec<u32>, DriverError> {
        let of_request = Requested::of(request);
        let mut there = of_request.offsets.clone();
        let mut wanted = offsets.to_vec();
        there.sort_unstable();
        wanted.sort_unstable();
        if there == wanted && of_request.chip == found.chip.name() {
            return Ok(of_request.offsets);
        }
        let what = format!(
            "what is kept of this device from before are lines {:?} of {}, and the rack file names {offsets:?} of {}; \
             they would fall back to their pulls if they were let go, so nothing is: stop the service \
             (`systemctl stop power-agent`, which lets them go) and start it, or give the file its old lines",
            of_request.offsets,
            of_request.chip,
            found.chip.name(),
        );
        Err(self.misconfigured(what, None))
    }

    /// What makes all lines outputs that keep their levels.
    fn outputs(&self, offsets: &[u32], order: &[u32], levels: &[bool]) -> LineConfig {
        let wiring = |offset: &u32| -> Option<&Line> {
            let index = offsets.iter().position(|wanted| wanted == offset)?;
            self.config.lines.get(index)
        };
        let mut config = LineConfig::default();
        let mut masks: Vec<(LineFlags, u64)> = Vec::new();
        let mut values = LineValues::default();
        for (place, (offset, level)) in order.iter().zip(levels).enumerate() {
            let Some(line) = wiring(offset) else { continue };
            values.set(place, *level != line.wiring.active_low);
            let flags = flags(line.wiring);
            match masks.iter_mut().find(|(known, _)| *known == flags) {
                Some((_, mask)) => *mask |= 1 << place,
                None => masks.push((flags, 1 << place)),
            }
        }
        let mut masks = masks.into_iter();
        config.flags = masks.next().map_or(LineFlags::OUTPUT, |(flags, _)| flags);
        for (flags, mask) in masks {
            config.add_flags(flags, mask);
        }
        config.add_values(&values);
        config
    }

    fn keep(&self, request: &File) {
        if Requested::of(request).offsets.is_empty() {
            // Before Linux 6.1 nobody can say which lines a descriptor is of: after a restart it would be no use.
            return;
        }
        if let Err(error) = self.descriptors.keep(&self.device, request.as_fd()) {
            tracing::error!(device = self.device, err = %error, "systemd does not keep the lines over a restart");
        }
    }

    fn forget(&self) {
        if let Err(error) = self.descriptors.forget(&self.device) {
            tracing::error!(device = self.device, err = %error, "systemd was not told that lines are gone");
        }
    }

    fn no_chip(&self, error: ChipError) -> DriverError {
        match error {
            error @ ChipError::Several { .. } => self.misconfigured(error.to_string(), None),
            error @ ChipError::Absent { .. } => self.unreachable(&error.to_string(), None),
            ChipError::Closed { .. } => {
                self.unreachable("it can not be opened", Some(Box::new(error)))
            }
        }
    }

    fn unreachable(&self, what: &str, source: Option<Source>) -> DriverError {
        DriverError::Unreachable { what: what.to_owned(), who: self.place(), source }
    }

    fn misconfigured(&self, what: String, source: Option<Source>) -> DriverError {
        DriverError::Misconfigured { what, who: self.place(), source }
    }
}

impl Lines for KernelLines {
    fn place(&self) -> String {
        format!("GPIO chip {}", self.config.chip)
    }

    fn set(&mut self, index: usize, active: bool) -> Result<(), DriverError> {
        self.with_lines(|held| {
            let place = held.places.get(index).copied().unwrap_or_default();
            let mut values = LineValues::default();
            values.set(place, active);
            set_line_values(&held.request, &values)
        })
    }

    /// For an output the kernel tells the level of the pin where the chip can read it, and what was last written where
    /// not.
    fn read(&mut self) -> Result<Vec<bool>, DriverError> {
        self.with_lines(|held| {
            let values = values(&held.request, held.places.len())?;
            Ok(held.places.iter().map(|place| values.get(*place).unwrap_or(false)).collect())
        })
    }

    fn introduce(&mut self, device: &DeviceName, descriptors: &Descriptors) {
        self.device = device.to_string();
        self.descriptors = descriptors.clone();
    }
}

/// Which lines a request is of, by the kernel.
#[derive(Debug, Default)]
struct Requested {
    chip: String,
    offsets: Vec<u32>,
}

impl Requested {
    fn of(request: &File) -> Self {
        use std::os::fd::AsRawFd;
        let place = format!("/proc/self/fdinfo/{}", request.as_raw_fd());
        Self::parse(&std::fs::read_to_string(place).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut lines = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            match (key, value.trim()) {
                ("gpio-chip", chip) => chip.clone_into(&mut lines.chip),
                ("gpio-line", offset) => lines.offsets.extend(offset.parse::<u32>().ok()),
                _ => {}
            }
        }
        lines
    }
}

/// The values of the first lines of a request.
fn values(request: &File, count: usize) -> gpiocdev_uapi::Result<LineValues> {
    let mut values = LineValues::default();
    for place in 0..count {
        values.set(place, false);
    }
    get_line_values(request, &mut values)?;
    Ok(values)
}

fn flags(wiring: Wiring) -> LineFlags {
    let mut flags = LineFlags::OUTPUT;
    flags.set(LineFlags::ACTIVE_LOW, wiring.active_low);
    flags |= match wiring.drive {
        Drive::PushPull => LineFlags::empty(),
        Drive::OpenDrain => LineFlags::OPEN_DRAIN,
        Drive::OpenSource => LineFlags::OPEN_SOURCE,
    };
    flags
        | match wiring.bias {
            None => LineFlags::empty(),
            Some(Bias::PullUp) => LineFlags::BIAS_PULL_UP,
            Some(Bias::PullDown) => LineFlags::BIAS_PULL_DOWN,
            Some(Bias::Disabled) => LineFlags::BIAS_DISABLED,
        }
}
