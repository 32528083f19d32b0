//! `doctor`: what stands in the agent's way on this host, each with its remedy. Opens no port and moves no line.

mod gpio;
mod host;
mod reach;
mod service;
mod wake;

use std::path::Path;

use serde::Serialize;

use super::exit::Exit;
use super::screen::Screen;
use super::{Failure, check};
use crate::drivers::{self, DriverConfig};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Looked {
    grade: Grade,
    what: String,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Looked {
    pub(super) fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { grade: Grade::Ok, what: what.into(), found: found.into(), remedy: None }
    }

    pub(super) fn bad(
        grade: Grade,
        what: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { grade, what: what.into(), found: found.into(), remedy }
    }
}

#[derive(Debug, Serialize)]
struct DoctorJson {
    exit: u8,
    looked: Vec<Looked>,
}

pub(crate) async fn doctor(file: &Path, screen: &mut Screen) -> Result<Exit, Failure> {
    let Some(config) = check::load(file, screen)? else { return Ok(Exit::RackFile) };
    let mut looked = vec![host::user()];
    let processes = serial_port::processes::all();
    let mut lines = Vec::new();
    for (name, device) in &config.devices {
        if let Some(port) = device.port() {
            looked.push(host::port(name.as_str(), port, &processes));
        }
        if let Some(port) = device.serial_port() {
            looked.extend(host::adapter(name.as_str(), port));
        }
        match device {
            DriverConfig::Gpio(device) => lines.push((name, drivers::gpio::look_at(device))),
            #[cfg(feature = "rppal")]
            DriverConfig::Rppal(device) => lines.push((name, drivers::rppal::look_at(device))),
            DriverConfig::Wol(device) => looked.extend(wake::device(name.as_str(), device)),
            DriverConfig::Lcus(_) | DriverConfig::FirmwareBridge(_) => {}
        }
    }
    if !lines.is_empty() {
        let service = service::of_agent(&processes).await;
        for (name, seen) in lines {
            looked.extend(gpio::tell(name.as_str(), seen, service.as_ref()));
        }
    }
    looked.extend(wake::signs(&config));
    looked.extend(host::grabbers(&processes));
    looked.extend(host::state(&config.agent.state));
    looked.push(host::clock());
    looked.extend(host::usb());
    looked.extend(host::ssh(&config));
    looked.extend(reach::certificates(&config));
    looked.push(reach::socket(&config.agent.socket).await);
    looked.extend(reach::nomad(config.nomad.as_ref()).await);
    let worst = looked.iter().map(|looked| looked.grade).max().unwrap_or(Grade::Ok);
    let exit = if worst == Grade::Ok { Exit::Ok } else { Exit::Partial };
    if screen.json {
        screen.answer_json(&DoctorJson { exit: exit.code(), looked })?;
        return Ok(exit);
    }
    for Looked { grade, what, found, remedy } in &looked {
        let word = match grade {
            Grade::Ok => "ok  ",
            Grade::Warn => "warn",
            Grade::Fail => "FAIL",
        };
        screen.answer(&format!("{word}  {what}: {found}"))?;
        if let Some(remedy) = remedy {
            screen.answer(&format!("      help: {remedy}"))?;
        }
    }
    Ok(exit)
}
