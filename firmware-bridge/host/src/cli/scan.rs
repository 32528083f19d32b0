//! The serial ports of this host. To find out by writing what is on a line is to risk an order to something else.

use std::path::{Path, PathBuf};

use anyhow::Result;
use firmware_bridge::words;
use serial_port::{PortSettings, adapter};

use super::Target;
use super::ask::Talk;

/// Where udev names ports by where they are plugged in.
const BY_PATH: &str = "/dev/serial/by-path";

/// More ports than any host has.
const PORTS_MAX: usize = 256;

pub(super) async fn scan(greet: &[PathBuf], json: bool) -> Result<()> {
    if !greet.is_empty() {
        for port in greet {
            tell(port, &greeted(port).await, json);
        }
        return Ok(());
    }
    let Ok(entries) = std::fs::read_dir(BY_PATH) else {
        println!("no serial ports: {BY_PATH} is not there");
        return Ok(());
    };
    let mut ports: Vec<PathBuf> =
        entries.flatten().take(PORTS_MAX).map(|entry| entry.path()).collect();
    ports.sort_unstable();
    for port in ports {
        let settings = PortSettings { path: port.clone(), usb: None, serial: None, dtr: true };
        let seen = port.canonicalize().ok().and_then(|real| adapter(&settings, &real));
        let seen = match seen {
            Some(Ok(usb)) => usb.to_string(),
            Some(Err(what)) => what,
            None => "on no USB adapter".to_owned(),
        };
        tell(&port, &seen, json);
    }
    Ok(())
}

async fn greeted(port: &Path) -> String {
    match Talk::open(&Target { port: port.to_owned(), board: None }).await {
        Ok(talk) => format!(
            "board {}, firmware {}, {} outlets",
            words::identity(talk.welcome.identity),
            talk.welcome.firmware,
            talk.welcome.outlets
        ),
        Err(error) => format!("{error:#}"),
    }
}

fn tell(port: &Path, what: &str, json: bool) {
    if json {
        println!("{}", serde_json::json!({ "port": port, "found": what }));
    } else {
        println!("{}  {what}", port.display());
    }
}
